"""The guided steps."""

from __future__ import annotations

from flask import Blueprint, render_template

from ocsp_stapling.web.context import caller
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import guide, picture, story
from ocsp_stapling.web.pages.own_question import own_command

blueprint = Blueprint("guide", __name__)


@blueprint.get("/guide")
@operators_and_viewers
def show() -> str:
    """Show the nine steps as they stand."""
    seen = picture.picture()
    operator = caller().is_operator
    told = story.present() if operator else None
    told = told if story.fresh(told) else None
    verified = seen.changed.sentence if seen.changed else ""
    found = guide.steps(
        seen.evidence,
        seen.diagnosis,
        operator=operator,
        incident=told,
        verified=verified if operator else "",
        own_command="" if operator else _own_command(seen),
    )
    return render_template(
        "guide.html",
        steps=found,
        next=guide.next_step(found),
        solved=guide.solved(seen.diagnosis, told) if told is not None else "",
        evidence=seen.evidence,
    )


def _own_command(seen: picture.Picture) -> str:
    if seen.evidence is None or seen.diagnosis is None:
        return ""
    failing = [one.url for one in seen.diagnosis.responders if not one.ok]
    return own_command(seen.evidence, failing, seen.visible)
