"""The page that answers a customer's question."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from ocsp_stapling.web.context import caller
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import customer, picture, sites
from ocsp_stapling.web.visibility import visible_to

blueprint = Blueprint("customer", __name__)


@blueprint.get("/customer")
@operators_and_viewers
def show() -> str:
    """Ask for a domain; with `domain`, say whether visitors of that site wait, and give a reply to send."""
    seen = picture.picture()
    domain = customer.domain_of(request.args.get("domain", ""))
    found = None
    if domain and seen.evidence is not None and seen.diagnosis is not None:
        row = sites.named(domain, visible_to(caller()))
        found = customer.answer(domain, row, seen.evidence, seen.diagnosis)
    return render_template(
        "customer.html",
        evidence=seen.evidence,
        domain=domain,
        found=found,
    )
