"""The guided steps."""

from __future__ import annotations

from flask import Blueprint, render_template

from ocsp_stapling.web.context import caller
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import fresh, guide, picture

blueprint = Blueprint("guide", __name__)


@blueprint.get("/guide")
@operators_and_viewers
def show() -> str:
    """Show the nine steps as they stand."""
    seen = picture.picture()
    found = guide.steps(seen.evidence, seen.diagnosis, operator=caller().is_operator)
    return render_template(
        "guide.html",
        steps=found,
        next=guide.next_step(found),
        evidence=seen.evidence,
        refreshing=fresh.refreshing(seen),
    )
