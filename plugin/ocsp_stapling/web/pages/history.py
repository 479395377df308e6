"""The timeline: every change made through the plugin with the way back from it, and the outages the watch saw."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, render_template

from ocsp_stapling.change.journal import Journal, Operation
from ocsp_stapling.change.request import alone, worded
from ocsp_stapling.check.incident import OPERATIONS, brought_up_to_date, known, one_of
from ocsp_stapling.check.incident.postmortem import report
from ocsp_stapling.check.words import cause_words, trouble_words
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.watch import outbox
from ocsp_stapling.watch.history import Past, past, percent, timeline, untold
from ocsp_stapling.watch.outages import SERVER, Outage
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import services
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.pages.operations import UNDOABLE
from ocsp_stapling.web.pages.past_chart import Strip, availability_tone, incidents_chart, strip
from ocsp_stapling.web.pages.story import stories
from ocsp_stapling.web.words import Tone, counted, ended, lasted

blueprint = Blueprint("history", __name__)
_SHOWN = 200
_TELLING_PASSES = 12
"""An hour's looks of the watch."""


@dataclass(frozen=True)
class HistoryRow:
    """One change or outage; `identity` is empty for an outage."""

    identity: str
    when: datetime
    what: str
    who: str
    reason: str
    tone: Tone
    word: str
    sentence: str
    undoable: bool


@dataclass(frozen=True)
class Share:
    """How often a responder was good at every address."""

    url: str
    tone: Tone
    good: str
    note: str
    strip: Strip


@blueprint.get("/history/report/<identity>")
@operators_only
def export(identity: str) -> Response:
    """Hand an incident's post-mortem out as a Markdown file. Raises Problem `unknown-incident`."""
    with Journal(services().settings.state_directory, create=False) as journal:
        found = one_of(journal, identity)
        text = report(found, journal.operations(OPERATIONS), socket.gethostname())
    answer = Response(text, mimetype="text/markdown")
    answer.headers["Content-Disposition"] = f'attachment; filename="incident-{found.id}.md"'
    return answer


@blueprint.get("/history")
@operators_only
def show() -> str:
    """Show changes and outages, newest first, and the responders' availability."""
    directory = services().settings.state_directory
    seen = past(directory, time.time())
    with Journal(directory, create=False) as journal:
        brought_up_to_date(journal)
        incidents = stories(journal)
        operations = journal.operations(limit=_SHOWN)
        chart = incidents_chart(known(journal), operations, time.time())
        events = timeline(untold(seen.outages, known(journal)), operations)
        rows = [
            _row(one.operation) if one.operation else _outage_row(one.outage)
            for one in events
            if one.operation or one.outage
        ]
        lost = "; ".join(filter(None, (journal.missing, seen.lost)))
    shares = list(_shares(seen, _failing_now()))
    return render_template(
        "history.html",
        incidents=incidents,
        chart=chart,
        rows=rows,
        shares=shares,
        days=seen.days,
        lost=lost,
        post=outbox.post(directory),
    )


def _failing_now() -> frozenset[str]:
    """The responders that the last check found failing."""
    found = picture.picture().diagnosis
    return frozenset(one.url for one in found.responders if not one.ok) if found else frozenset()


def _shares(seen: Past, failing: frozenset[str]) -> Iterable[Share]:
    """The worst first. What rests on a few looks says little, and nothing is green that fails now."""
    for url, one in sorted(seen.availability.items(), key=lambda item: item[1].percent):
        tone = availability_tone(one)
        if tone == "good" and one.passes < _TELLING_PASSES:
            tone = "calm"
        if tone in ("good", "calm") and url in failing:
            tone = "warn"
        words = f"{percent(one)} of {counted(one.passes, 'look')}"
        days = strip(seen.daily.get(url, {}), time.time())
        yield Share(url, tone, words, "fails now" if url in failing else "", days)


def _outage_row(one: Outage | None) -> HistoryRow:
    assert one is not None
    ended = one.ended is not None
    span = lasted(timedelta(seconds=(one.ended or one.last) - one.began))
    return HistoryRow(
        "",
        datetime.fromtimestamp(one.began, UTC),
        "HTTPS handshakes hung" if one.subject == SERVER else "A responder failed",
        "seen by the watch",
        "" if one.subject == SERVER else one.subject,
        "calm" if ended else "bad",
        f"over after {span}" if ended else f"for {span} now",
        _what(one),
        False,
    )


def _what(one: Outage) -> str:
    if one.subject == SERVER:
        return f"Cause: {cause_words(one.what)}"
    try:
        return Outcome(one.what).sentence
    except ValueError:  # of another version
        return trouble_words(one.what)


def _row(one: Operation) -> HistoryRow:
    tone, word = ended(one.state, one.result)
    return HistoryRow(
        one.id,
        datetime.fromtimestamp(one.started, UTC),
        _change_words(one),
        one.who,
        one.reason,
        tone,
        word,
        str(one.result.get("sentence") or ""),
        one.state == "done" and one.action in UNDOABLE and bool(one.plan.get("changes")),
    )


def _change_words(one: Operation) -> str:
    return alone(worded(one.action).do, one.site)


@blueprint.post("/mails")
@operators_only
def test_mail() -> Response:
    """Send a test mail to the server's contact and lead to the history, which says what became of it."""
    outbox.send_test(services().settings.state_directory, socket.gethostname())
    return routing.see_other("history.show")
