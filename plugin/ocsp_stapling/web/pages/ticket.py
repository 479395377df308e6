"""The last check as text for whoever can act."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from ocsp_stapling.check import report
from ocsp_stapling.check import ticket as writer
from ocsp_stapling.web.context import caller
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture

blueprint = Blueprint("ticket", __name__)
_AUDIENCES = {
    "datacenter": "the datacenter or network provider",
    "ca": "the certificate authority",
    "root": "someone with root privileges",
}


@blueprint.get("/ticket")
@operators_and_viewers
def show() -> str:
    """Show the text; parameters `for` (one of the audiences) and `redact=yes`. A viewer's names only their own."""
    seen = picture.picture()
    if seen.evidence is None or seen.diagnosis is None:
        return render_template("ticket.html", evidence=None)
    document = report.document(seen.evidence, seen.diagnosis)
    asked = request.args.get("for", "")
    audience = (
        asked if asked in _AUDIENCES else writer.reader_for(document) if caller().is_operator else "root"
    )
    redact = request.args.get("redact") == "yes"
    return render_template(
        "ticket.html",
        evidence=seen.evidence,
        text=writer.ticket(document, audience, redact=redact),
        audiences=_AUDIENCES.items(),
        audience=audience,
        redact=redact,
    )
