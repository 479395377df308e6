"""Another vantage point: the command to run on another machine, and a box for what it printed.

The check's own commands ask about whichever certificate it chose, and that may be another customer's: a viewer gets
one about a certificate of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import islice

from flask import Blueprint, Response, make_response, render_template, request

from ocsp_stapling.check import vantage as reading
from ocsp_stapling.check.evidence import Elsewhere, Evidence, ResponderEvidence
from ocsp_stapling.check.followup import vetted_address
from ocsp_stapling.check.questions import question
from ocsp_stapling.check.vantage import command
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import state as server
from ocsp_stapling.server.sites import Endpoint
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import services
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.pages.check import checks
from ocsp_stapling.web.words import Tone
from ocsp_stapling.whm.accounts import Visible

blueprint = Blueprint("elsewhere", __name__, url_prefix="/elsewhere")
_QUESTION = re.compile(reading.MARK + r" ([0-9a-f]{16})")


@blueprint.get("")
@operators_only
def show() -> str:
    """Show the command for a responder (parameter `responder`: its URL), those that fail first."""
    return _page(request.args.get("responder", ""))


@blueprint.post("")
@operators_only
def tell() -> Response:
    """Take a pasted result into account, in a new check; a wrong one is shown again with what is wrong about it."""
    pasted = request.form.get("pasted", "")[: reading.SIZE_LIMIT]
    if wrong := _what_is_wrong(pasted):
        return make_response(_page(request.form.get("responder", ""), pasted, wrong), 400)
    checks().start(pasted)
    return routing.see_other("check.follow", back="elsewhere.show")


def _page(asked: str, pasted: str = "", wrong: str = "") -> str:
    seen = picture.picture()
    if seen.evidence is None or seen.diagnosis is None:
        return render_template("elsewhere.html", evidence=None)
    bad = {one.url for one in seen.diagnosis.responders if not one.ok}
    commands = {one.url: one.command for one in _ordered(seen.evidence, bad) if one.command}
    chosen = asked if asked in commands else next(iter(commands), "")
    return render_template(
        "elsewhere.html",
        evidence=seen.evidence,
        responders=[(url, f"{url} (fails here)" if url in bad else url) for url in commands],
        chosen=chosen,
        command=commands.get(chosen, ""),
        told=[_told(one) for responder in seen.evidence.responders for one in responder.elsewhere],
        pasted=pasted,
        wrong=wrong,
    )


def _what_is_wrong(pasted: str) -> str:
    """Say in a sentence why the text is no result, "" if it is one."""
    if not pasted.strip():
        return "Nothing was pasted."
    try:
        replies = reading.parse(pasted)
    except Problem:
        return _why_unreadable(pasted)
    if not {one.id for one in replies} & _asked_for():
        return (
            "This is the result of another command: of another server, or of a certificate that was replaced since. "
            "Run the command above and paste what it prints."
        )
    return ""


def _why_unreadable(pasted: str) -> str:
    if "mktemp" in pasted and reading.END in pasted:
        return "This is the command itself. Run it on another machine and paste what it prints there."
    if reading.MARK not in pasted:
        return f"This is not what the command prints: that begins with {reading.MARK} and ends with {reading.END}."
    return f"The result is not whole. Paste everything from {reading.MARK} to {reading.END}, both included."


def _asked_for() -> set[str]:
    """What ties results to the questions of the commands that are shown."""
    evidence = picture.picture().evidence
    return (
        {found for one in evidence.responders for found in _QUESTION.findall(one.command)}
        if evidence
        else set()
    )


def _ordered(evidence: Evidence, bad: set[str]) -> Iterable[ResponderEvidence]:
    return sorted(evidence.responders, key=lambda one: (one.url not in bad, -len(one.sites)))


def _told(one: Elsewhere) -> dict[str, object]:
    tone: Tone = "calm" if one.works is None else "good" if one.works else "bad"
    word = "Not certain" if one.works is None else "Works there" if one.works else "Fails there too"
    return {"tone": tone, "word": word, "sentence": f"{one.url}: {one.sentence}"}


_TRIED = 8
"""Sites whose certificate files are read for one command."""


def own_command(evidence: Evidence, failing: Collection[str], visible: Visible) -> str:
    """Return the line that asks a failing responder about a certificate of the viewer, "" if there is none."""
    found = {one.url: vetted_address(one.finding) for one in evidence.responders if one.url in failing}
    if not any(found.values()):
        return ""
    try:
        here = server.look(services().settings.state_directory)
        own = [one for one in here.endpoints if visible.domain(one.name)]
        lines = (_line(own, url, address) for url, address in found.items() if address)
        return next(filter(None, lines), "")
    except Problem:
        return ""


def _line(own: Collection[Endpoint], url: str, address: str) -> str:
    asks = (one for one in own if any(each.responder == url for each in one.certificates))
    targets = (question(one, url) for one in islice(asks, _TRIED))
    return next((line for one in targets if one and (line := command(one, address))), "")
