"""Every change made through the plugin, and the way back from each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Blueprint, render_template

from ocsp_stapling.journal import NAME, Journal, Operation
from ocsp_stapling.web.context import services
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.progress import ACTIONS
from ocsp_stapling.web.words import ENDINGS, Tone

blueprint = Blueprint("history", __name__)
_SHOWN = 200


@dataclass(frozen=True)
class Row:
    """One change."""

    identity: str
    when: datetime
    what: str
    who: str
    reason: str
    tone: Tone
    word: str
    sentence: str
    undoable: bool


@blueprint.get("/history")
@operators_only
def show() -> str:
    """Show the changes, newest first."""
    directory = services().settings.state_directory
    if not (directory / NAME).exists():
        return render_template("history.html", rows=[], lost="")
    with Journal(directory) as journal:
        rows = [_row(one) for one in journal.operations(limit=_SHOWN)]
        return render_template("history.html", rows=rows, lost=journal.lost)


def _row(one: Operation) -> Row:
    tone, word = ENDINGS.get(one.state, ("calm", one.state))
    return Row(
        one.id,
        datetime.fromtimestamp(one.started, UTC),
        ACTIONS.get(one.action, one.action),
        one.who,
        one.reason,
        tone,
        word,
        str(one.result.get("message", "")),
        one.state == "done" and one.action in ("off", "on") and bool(one.plan.get("files")),
    )
