"""Responders with every address, and what their authorities say of themselves."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture, responders, trends

blueprint = Blueprint("responders", __name__)


@blueprint.get("/responders")
@operators_and_viewers
def show() -> Response:
    """Show a row for each responder; `open` names the URL of one to unfold; as JSON only what `row` unfolds to."""
    seen = picture.picture()
    found: list[responders.ResponderRow] = []
    if seen.evidence is not None and seen.diagnosis is not None:
        opened = request.args.get("open", "")
        found = responders.responder_rows(seen.evidence, seen.diagnosis, trends.trends(), opened)
    values = {"evidence": seen.evidence, "rows": found, "shares": trends.availability()}
    if wants_json():
        wanted = [row for row in found if row.anchor == request.args.get("row")]
        return jsonify(html=render_template("responder_details.html", **(values | {"rows": wanted})))
    return make_response(render_template("responders.html", **values))


@blueprint.get("/authorities")
@operators_and_viewers
def authorities() -> str:
    """Show each authority's own word and what it means here."""
    seen = picture.picture()
    found: list[responders.AuthorityRow] = []
    if seen.evidence is not None and seen.diagnosis is not None:
        found = responders.authority_rows(seen.evidence, seen.diagnosis)
    return render_template("authorities.html", evidence=seen.evidence, rows=found)
