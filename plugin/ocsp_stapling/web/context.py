"""What views work with: the caller, the settings, the operations, the form tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import Flask, current_app, g

from ocsp_stapling.change.jobs import Operations
from ocsp_stapling.settings import Settings
from ocsp_stapling.web.csrf import FormTokens
from ocsp_stapling.web.identity import Caller
from ocsp_stapling.web.live import Live
from ocsp_stapling.web.turns import Jobs, Pace, Turns

_EXTENSION = "ocsp_stapling"


@dataclass(frozen=True)
class Services:
    """What lives as long as the application."""

    settings: Settings
    tokens: FormTokens
    operations: Operations
    turns: Turns = field(default_factory=Turns)
    meetings: Jobs[Any] = field(default_factory=Jobs)
    live: Live = field(default_factory=Live)
    pace: Pace = field(default_factory=Pace)


def attach(app: Flask, services: Services) -> None:
    """Give the application what its views work with."""
    app.extensions[_EXTENSION] = services


def services() -> Services:
    """Return what the running application works with."""
    found = current_app.extensions[_EXTENSION]
    assert isinstance(found, Services)
    return found


def caller() -> Caller:
    """Return who asks, inside a view."""
    found = g.caller
    assert isinstance(found, Caller)
    return found
