"""Requests as cPanel's front sends them."""

from __future__ import annotations

from flask import Flask
from werkzeug.test import TestResponse

from ocsp_stapling.web.identity import HEADER, Caller, Role

OPERATOR = Caller("root", Role.OPERATOR, "/cpsess1234567890")
VIEWER = Caller("reseller1", Role.VIEWER, "/cpsess0987654321")


def headers(caller: Caller) -> dict[str, str]:
    """The headers that name a caller."""
    return {
        HEADER + "User": caller.user,
        HEADER + "Role": caller.role,
        HEADER + "Token": caller.token_prefix,
    }


def get(app: Flask, query: str, caller: Caller = OPERATOR) -> TestResponse:
    """GET a page as somebody."""
    return app.test_client().get(f"/?{query}", headers=headers(caller))


def post(app: Flask, query: str, fields: dict[str, str], caller: Caller = OPERATOR) -> TestResponse:
    """Send a form as somebody."""
    return app.test_client().post(f"/?{query}", headers=headers(caller), data=fields)
