"""The last check as text for whoever can act."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, render_template, request

from ocsp_stapling.check import report
from ocsp_stapling.check import ticket as writer
from ocsp_stapling.watch.returning import looks_needed
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture, story

blueprint = Blueprint("ticket", __name__)
_AUDIENCES = {
    "datacenter": "the datacenter or network provider",
    "ca": "the certificate authority",
    "root": "someone with root privileges",
}

_MAIL_LIMIT = 1800
"""Characters of a mailto link that every mail program takes."""


@blueprint.get("/ticket")
@operators_and_viewers
def show() -> str:
    """Show the text; parameters `for` (one of the audiences) and `redact=yes`. A viewer's names only their own."""
    seen = picture.picture()
    if seen.evidence is None or seen.diagnosis is None:
        return render_template("ticket.html", evidence=None)
    operator = caller().is_operator
    document = report.document(seen.evidence, seen.diagnosis)
    told = story.present()
    if not operator:
        document["this_server"]["name"] = _host()
    asked = request.args.get("for", "")
    audience = asked if asked in _AUDIENCES else writer.reader_for(document, told) if operator else "root"
    redact = request.args.get("redact") == "yes"
    passes = looks_needed(services().settings) if operator else 0
    text = writer.ticket(
        document,
        audience,
        redact=redact,
        incident=told,
        restricted=not operator,
        passes=passes,
        changed=seen.changed.what if seen.changed and seen.interim else "",
    )
    return render_template(
        "ticket.html",
        evidence=seen.evidence,
        text=text,
        mail=_mail(text),
        to_root=audience == "root" and not operator,
        audiences=_AUDIENCES.items(),
        audience=audience,
        redact=redact,
    )


def _host() -> str:
    """The name of the server whose WHM the sender is logged in to: without it nobody knows where to act."""
    last = picture.last_check(services().settings.state_directory)
    return last.evidence.host.hostname if last else ""


def _mail(text: str) -> str:
    """A link that opens a mail with the ticket; of a long one only the beginning fits."""
    head, body = writer.subject(text), text.partition("\n\n")[2]
    link = f"mailto:?subject={quote(head)}&body={quote(body)}"
    if len(link) <= _MAIL_LIMIT:
        return link
    begun = body[:600].rsplit("\n", 1)[0]
    rest = "[The whole text was copied on the page: paste it here.]"
    return f"mailto:?subject={quote(head)}&body={quote(begun + chr(10) * 2 + rest)}"
