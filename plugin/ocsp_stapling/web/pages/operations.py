"""An operation in words: its steps with their times, how it ended, and how long visitors waited before and after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ocsp_stapling.change.jobs import Progress
from ocsp_stapling.change.journal import Step, step_words
from ocsp_stapling.change.request import SITE_OFF, ChangeRequest, worded
from ocsp_stapling.change.verify import paired
from ocsp_stapling.watch.returning import standing
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import story
from ocsp_stapling.web.pages.verdict import Fact
from ocsp_stapling.web.words import Tone, duration, ended, sentence

blueprint = Blueprint("operations", __name__, url_prefix="/operations")
UNDOABLE = ("off", "on", "site-off", "site-on", "cache-fit")
_AGAIN = ("off", "on", "shield-on", "shield-off", "cache-fit")
"""Whose plan can be shown anew without naming a site or a change."""
_DID = {
    "off": "Stapling is off",
    "on": "Stapling is on",
    "undo": "The change was taken back",
    "shield-on": "The shield is on: stapling stays on through outages",
    "shield-off": "The shield is off",
    "site-off": "Stapling is off for that site alone",
    "site-on": "Stapling is on for that site again",
    "cache-fit": "The staple cache holds every staple",
}


@dataclass(frozen=True)
class Act:
    """What to do next: a link that looks like a button, or a form with `fields`, and half a sentence about it."""

    label: str
    endpoint: str
    words: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


_BACK = Act("Back to the overview", "overview.show", "a new check is under way there")
ARM = Act(
    "Let it turn on by itself",
    "overview.change_return",
    "once the watch has found all responders healthy three times",
    fields={"armed": "yes"},
)
_TOO = Act(
    "Turn it off for these sites, too…",
    "plan.show",
    "where their own line stands in userdata",
    {"action": "off", "overrides": "yes"},
)
_FOR_ALL = Act("Turn it off for all…", "plan.show", "ends the waiting of the others, too", {"action": "off"})
_UNDO = "puts every file back as it was before this change, byte for byte"
_ON_AGAIN = "takes out this plugin's lines alone; what others changed since stays"


def next_acts(found: Progress, first: Sequence[Act] = ()) -> tuple[Act, ...]:
    """Return what to do once a change has ended, the most urgent first; `first` comes before all if it went well."""
    acts = [*first] if found.state == "done" else []
    if (found.result or {}).get("still_waiting_names"):
        acts.insert(0, _FOR_ALL if found.action == SITE_OFF else _TOO)
    acts.append(_BACK if found.state == "done" else replace(_BACK, words=""))
    if found.state == "done" and found.action in UNDOABLE and found.steps:
        acts.append(Act("Undo…", "plan.show", _UNDO, {"action": "undo", "undone": found.identity}))
    if found.state == "done" and found.action == "off":
        acts.append(Act("Turn stapling on again…", "plan.show", _ON_AGAIN, {"action": "on"}))
    problem = (found.result or {}).get("error") or {}
    if problem.get("code") == "changed-meanwhile" and found.action in _AGAIN:
        acts.insert(0, Act("Look at the new plan", "plan.show", "", {"action": found.action}))
    elif found.state == "restored" and found.action in _AGAIN:
        acts.append(Act("Try again…", "plan.show", "shows the plan first", {"action": found.action}))
    return tuple(acts)


@dataclass(frozen=True)
class StepLine:
    """One step: seconds since the beginning, words, and whether it is the one under way."""

    at: str
    words: str
    tone: Tone = "good"
    now: bool = False


@dataclass(frozen=True)
class Pair:
    """One site's handshake before and after."""

    site: str
    before: str
    after: str
    staple: str


@dataclass(frozen=True)
class OperationView:
    """Everything the page of an operation shows."""

    identity: str
    ended: bool
    tone: Tone
    kicker: str
    title: str
    sentence: str
    detail: str
    facts: tuple[Fact, ...]
    steps: tuple[StepLine, ...]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...]
    acts: tuple[Act, ...]


def operation_view(found: Progress, first: Sequence[Act] = (), armed: bool = False) -> OperationView:
    """Return an operation as it stands, for people; `armed`: stapling that it turned off turns on by itself."""
    result = found.result or {}
    tone, word = ended(found.state, result)
    problem = result.get("error") or {}
    return OperationView(
        found.identity,
        found.ended,
        tone,
        word,
        _title(found),
        sentence(str(result.get("sentence") or problem.get("sentence", ""))),
        str(problem.get("detail", "")),
        tuple(_facts(found, result, armed)),
        step_lines(found.steps, found.ended, found.started),
        tuple(_pairs(result)),
        tuple(sentence(str(each)) for each in result.get("warnings", ())),
        next_acts(found, first),
    )


def _title(found: Progress) -> str:
    if found.state == "done":
        did = _DID.get(found.action, "Done")
        return (
            f"{did}, but some visitors still wait" if (found.result or {}).get("still_waiting_names") else did
        )
    if not found.ended:
        return f"{worded(found.action).doing or 'Working'}…"
    if found.state == "refused":
        return "Nothing was changed"
    if found.state == "restored":
        return "It did not work; everything is as it was before"
    if found.state == "interrupted":
        return "The change was interrupted; the next command or check brings it to its end"
    return "It did not work, and could not be put right by itself"


def _facts(found: Progress, result: Mapping[str, Any], armed: bool) -> Iterable[Fact]:
    if found.started:
        yield Fact("Begun", when=datetime.fromtimestamp(found.started, UTC))
    if found.who:
        yield Fact("By", found.who)
    if found.reason:
        yield Fact("Why", found.reason)
    if armed:
        yield Fact("Turns on again", "by itself, once all is healthy")
    if found.ended and result.get("seconds"):
        yield Fact("Took", duration(float(result["seconds"])))
    if result.get("first_quick_seconds") is not None:
        yield Fact("First quick handshake", f"after {duration(float(result['first_quick_seconds']))}")


def step_lines(steps: Sequence[Step], ended: bool, started: float | None) -> tuple[StepLine, ...]:
    """Return the steps in words, each with the seconds since the operation began."""
    begin = started or (steps[0].at if steps else 0.0)
    last = len(steps) - 1
    return tuple(
        StepLine(
            f"{max(step.at - begin, 0):.1f} s",
            step_words(step.name, step.detail),
            _step_tone(step),
            not ended and number == last,
        )
        for number, step in enumerate(steps)
    )


def _step_tone(step: Step) -> Tone:
    if step.name in ("restore", "recover") or step.detail.get("rung") in ("end-old-workers", "stop-start"):
        return "warn"
    return "good"


def _pairs(result: Mapping[str, Any]) -> Iterable[Pair]:
    after = (result.get("after") or {}).get("handshakes", ())
    for site, before, then in paired(result.get("before", ()), after):
        yield Pair(
            site,
            _time(before),
            _time(then) if then else "–",
            ("sent" if then["stapled"] else "none") if then and not then["failure"] else "–",
        )


def _time(found: Mapping[str, Any]) -> str:
    if found["failure"] == "timeout":
        return f"did not answer (cut off at {float(found['seconds']):.1f} s)"
    return str(found["failure"] or duration(float(found["seconds"])))


_ENDING = ("off", "site-off", "shield-on")


@blueprint.post("")
@operators_only
def start() -> Response:
    """Start what the form says and answer at once: 202 with the identity, or 303 to where it can be followed.

    Fields: `operation` (an identity made when the form was shown: the same form twice starts one change),
    `action`, and as the action wants: `reason`, `tag` (of the plan that was shown), `undone`, `overrides`,
    `write_on`, `return`, `site`.
    """
    identity = request.form.get("operation", "")
    services().operations.start(_request(identity))
    if wants_json():
        return make_response(jsonify(operation=identity), 202)
    return routing.see_other("operations.follow", identity=identity)


@blueprint.get("/<identity>")
@operators_only
def follow(identity: str) -> Response:
    """Show the operation's progress: its state, every step with its time, and how it ended; as JSON with `lines`."""
    found = services().operations.follow(identity)
    if found.ended:
        services().live.forget()
    if wants_json():
        lines = step_lines(found.steps, found.ended, found.started)
        words = [{"at": one.at, "words": one.words} for one in lines]
        return jsonify(found.as_json() | {"title": operation_view(found).title, "lines": words})
    return make_response(render_template("operation.html", view=_view(found)))


def _view(found: Progress) -> OperationView:
    """What there is to do first: the ticket after a change that ended an outage, the return if nobody chose it."""
    if found.state != "done" or found.action not in _ENDING:
        return operation_view(found)
    acts, incident = [], story.present()
    if incident is not None and found.identity in incident.operations:
        acts.append(Act("Write the ticket", "ticket.show", "with the evidence from before the change"))
    now = standing(services().settings, time.time())
    mine = found.action == "off"
    if mine and now.armed is False and not now.fixed:
        acts.append(ARM)
    return operation_view(found, acts, armed=mine and bool(now.armed))


def _request(identity: str) -> ChangeRequest:
    form = request.form
    return ChangeRequest(
        form.get("action", ""),
        who=f"{caller().user} (WHM)",
        reason=form.get("reason", ""),
        with_overrides=form.get("overrides") == "yes",
        write_on=form.get("write_on") == "yes",
        return_when_healthy=form.get("return") == "yes",
        undone=form.get("undone", ""),
        identity=identity,
        tag=form.get("tag", ""),
        site=form.get("site", ""),
    )
