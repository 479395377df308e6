"""The page of the rehearsal."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from ocsp_stapling.problem import Problem
from ocsp_stapling.server import state as server
from ocsp_stapling.web.context import services
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.pages.rehearsal import rehearse

blueprint = Blueprint("rehearsal", __name__)


@blueprint.get("/rehearsal")
@operators_only
def show() -> str:
    """Show what would happen if the responder of the parameter `responder` (a URL) hung now."""
    evidence = picture.picture().evidence
    asked = request.args.get("responder", "")
    every = evidence.responders if evidence is not None else ()
    one = next((each for each in every if each.url == asked), next(iter(every), None))
    found = None
    if one is not None and evidence is not None:
        found = rehearse(one, evidence, _timeout(), services().settings)
    return render_template(
        "rehearsal.html",
        evidence=evidence,
        responders=[(each.url, f"{each.finding.host} ({each.authority})") for each in every],
        chosen=one.url if one is not None else "",
        found=found,
    )


def _timeout() -> int:
    try:
        return server.look(services().settings.state_directory).stapling.responder_timeout
    except Problem:
        return 0
