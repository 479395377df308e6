"""Another vantage point: the command to run on another machine, and a box for what it printed."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, Response, render_template, request

from ocsp_stapling.check import vantage as reading
from ocsp_stapling.check.evidence import Elsewhere, Evidence, ResponderEvidence
from ocsp_stapling.web import routing
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.pages.check import checks
from ocsp_stapling.web.words import Tone

blueprint = Blueprint("elsewhere", __name__, url_prefix="/elsewhere")


@blueprint.get("")
@operators_only
def show() -> str:
    """Show the command for a responder (parameter `responder`: its URL), those that fail first."""
    seen = picture.picture()
    if seen.evidence is None or seen.diagnosis is None:
        return render_template("elsewhere.html", evidence=None)
    bad = {one.url for one in seen.diagnosis.responders if not one.ok}
    commands = {one.url: one.command for one in _ordered(seen.evidence, bad) if one.command}
    asked = request.args.get("responder", "")
    chosen = asked if asked in commands else next(iter(commands), "")
    return render_template(
        "elsewhere.html",
        evidence=seen.evidence,
        responders=[(url, f"{url} (fails here)" if url in bad else url) for url in commands],
        chosen=chosen,
        command=commands.get(chosen, ""),
        told=[_told(one) for responder in seen.evidence.responders for one in responder.elsewhere],
    )


@blueprint.post("")
@operators_only
def tell() -> Response:
    """Take a pasted result into account, in a new check. Raises Problem `elsewhere-unreadable`."""
    pasted = request.form.get("pasted", "")
    reading.parse(pasted)
    checks().start(pasted)
    return routing.see_other("check.follow", back="elsewhere.show")


def _ordered(evidence: Evidence, bad: set[str]) -> Iterable[ResponderEvidence]:
    return sorted(evidence.responders, key=lambda one: (one.url not in bad, -len(one.sites)))


def _told(one: Elsewhere) -> dict[str, object]:
    tone: Tone = "calm" if one.works is None else "good" if one.works else "bad"
    word = "Not certain" if one.works is None else "Works there" if one.works else "Fails there too"
    return {"tone": tone, "word": word, "sentence": f"{one.url}: {one.sentence}"}
