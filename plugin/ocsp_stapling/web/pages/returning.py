"""Choosing on the page whether stapling turns on by itself."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ocsp_stapling.problem import Problem
from ocsp_stapling.watch.returning import choose
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.identity import operators_only

blueprint = Blueprint("returning", __name__, url_prefix="/return")


@blueprint.post("")
@operators_only
def change() -> Response:
    """Take the choice (field `armed`: `yes` or `no`) and lead back to the overview. Raises Problem."""
    wish = request.form.get("armed")
    if wish not in ("yes", "no"):
        raise Problem("invalid-input", "The form does not say what is wanted, so nothing was changed.")
    choose(services().settings, armed=wish == "yes", who=f"{caller().user} (WHM)")
    return routing.see_other("overview.show")
