"""The overview: the verdict and its button, how long visitors wait, and one tile for each area."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flask import Blueprint, Response, render_template, request

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.change.request import alone, worded
from ocsp_stapling.check.diagnosis import Cause, Diagnosis, Severity
from ocsp_stapling.check.diagnosis.queue import refused
from ocsp_stapling.check.evidence import Evidence, HandshakeEvidence
from ocsp_stapling.check.incident import Incident, words
from ocsp_stapling.check.since import Changed
from ocsp_stapling.problem import Problem
from ocsp_stapling.watch.outbox import post
from ocsp_stapling.watch.returning import choose, looks_needed, standing
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.identity import operators_and_viewers, operators_only
from ocsp_stapling.web.pages import fresh, picture, shield, story, verdict
from ocsp_stapling.web.words import LEVELS, Tone, counted, decided, listed, sentence

blueprint = Blueprint("overview", __name__)
_SHOWN_HANDSHAKES = 8
_NO_SHIELD = (Cause.NOT_APPLICABLE, Cause.NOT_SERVED, Cause.NOT_IN_FRONT, Cause.MOD_MD)
"""Where there is nothing to shield, or no Apache that would take it, so none is offered."""
_SLOW_SECONDS = 1.0
"""What fills a bar at least: less is no wait."""


@dataclass(frozen=True)
class Tile:
    """One area at a glance."""

    title: str
    tone: Tone
    word: str
    lines: tuple[str, ...]
    endpoint: str
    more: str


@dataclass(frozen=True)
class Handshakes:
    """The handshakes to show, the time that fills a bar, and how many are left out."""

    shown: tuple[HandshakeEvidence, ...]
    longest: float
    more: int


@blueprint.get("/")
@operators_and_viewers
def show() -> str:
    """Show the overview."""
    seen = picture.picture()
    operator = caller().is_operator
    values: dict[str, object] = {"verdict": verdict.UNCHECKED, "changed": seen.changed}
    if seen.running is not None and operator:
        what = alone(worded(seen.running.action).do, seen.running.site)
        who = f"{what}: under way, begun by {seen.running.who}."
        values["running"] = {"sentence": who, "identity": seen.running.id}
    values["post"] = post(services().settings.state_directory).sentence if operator else ""
    incident = story.present()
    if incident is not None and story.fresh(incident):
        values["incident"] = words.sentence(incident, looks_needed(services().settings) if operator else 0)
        values["incident_over"] = incident.ended is not None
    if seen.evidence is not None and seen.diagnosis is not None:
        values |= {
            "evidence": seen.evidence,
            "diagnosis": seen.diagnosis,
            "verdict": fresh.told(_verdict(seen, incident), seen),
            "interim": seen.interim,
            "strict": _strict(seen.evidence, seen.diagnosis),
            "handshakes": _handshakes(seen.evidence),
            "shield": shield.card(offered=seen.diagnosis.cause not in _NO_SHIELD) if operator else None,
            "returning": standing(services().settings, time.time())
            if operator and seen.returns is not None and seen.evidence.configuration.on is False
            else None,
            "tiles": [
                _aged(tile, seen)
                for tile in _tiles(seen.evidence, seen.diagnosis, operator, _ours(seen.changed))
            ],
        }
    return render_template("overview.html", **values)


def _ours(changed: Changed | None) -> bool:
    """Whether what was changed after the last check was changed through this plugin, and its history tells of it."""
    return changed is not None and bool(changed.identity)


def _strict(evidence: Evidence, diagnosis: Diagnosis) -> tuple[str, ...]:
    """What Firefox refuses for want of a staple; while stapling is on, the verdict names some of those itself."""
    told = () if evidence.configuration.on is False else diagnosis.must_staple
    return tuple(name for name in refused(evidence) if name not in told)


def _verdict(seen: picture.Picture, incident: Incident | None) -> verdict.Band:
    assert seen.evidence is not None
    assert seen.diagnosis is not None
    if seen.changed is not None and seen.interim:
        return verdict.just_changed(seen.changed.what, seen.changed.sentence)
    return verdict.verdict_of(
        seen.diagnosis,
        seen.evidence,
        operator=caller().is_operator,
        since=_since(seen.diagnosis, incident if caller().is_operator else None),
        returns=seen.returns,
    )


def _since(diagnosis: Diagnosis, incident: Incident | None) -> datetime | None:
    """When this trouble began; an incident is everybody's, so it does not hold for a viewer's sites."""
    troubled = diagnosis.severity in (Severity.STALLING, Severity.FAILING)
    if not troubled or incident is None or incident.ended is not None:
        return None
    return datetime.fromtimestamp(incident.began, UTC)


def _handshakes(evidence: Evidence) -> Handshakes:
    """The slowest first; of those that asked for nothing, a few for comparison."""
    asked = sorted((h for h in evidence.handshakes if h.asked), key=lambda h: -h.seconds)
    plain = [h for h in evidence.handshakes if not h.asked]
    shown = (*asked[: _SHOWN_HANDSHAKES - min(len(plain), 2)], *plain[:2])
    longest = max([_SLOW_SECONDS, *(h.seconds for h in shown)])
    return Handshakes(shown, longest, len(evidence.handshakes) - len(shown))


def _tiles(evidence: Evidence, diagnosis: Diagnosis, operator: bool, changed: bool) -> Iterable[Tile]:
    yield _responders(evidence, diagnosis)
    yield _authorities(evidence)
    if operator:
        yield _log(evidence)
        yield _configuration(evidence, changed)


def _aged(tile: Tile, seen: picture.Picture) -> Tile:
    """Nothing is green for what was so once."""
    old = fresh.age_of(seen) >= fresh.OLD_SECONDS and tile.tone == "good"
    return replace(tile, tone="calm") if old else tile


def _responders(evidence: Evidence, diagnosis: Diagnosis) -> Tile:
    broken = [one for one in diagnosis.responders if not one.ok]
    if not diagnosis.responders:
        lines: tuple[str, ...] = ("No certificate in use names a responder.",)
        return Tile("Responders", "calm", "None", lines, "responders.show", "Responders")
    count = counted(diagnosis.responders, "responder")
    if not broken:
        whose = " of these certificates" if evidence.unseen is not None else ""
        lines = (f"{count.capitalize()}{whose} asked, every answer verified.",)
        return Tile("Responders", "good", "All answer", lines, "responders.show", "Every address")
    lines = tuple(one.why.sentence for one in broken[:2])
    more = (f"And {len(broken) - 2:,} more.",) if len(broken) > 2 else ()
    word = f"{len(broken)} of {len(diagnosis.responders)} in trouble"
    return Tile("Responders", "bad", word, (*lines, *more), "responders.show", "Every address")


def _authorities(evidence: Evidence) -> Tile:
    troubled = [one for one in evidence.authorities if one.level in (Level.DEGRADED, Level.OUTAGE)]
    title, endpoint, more = "Authorities", "responders.authorities", "What they say"
    if troubled:
        worst = max(troubled, key=lambda one: one.level is Level.OUTAGE)
        tone, word = LEVELS[worst.level]
        return Tile(title, tone, word, (sentence(worst.sentence),), endpoint, more)
    known = [one for one in evidence.authorities if one.level is Level.OPERATIONAL]
    if known:
        lines = (f"No trouble reported: {listed([one.name for one in known], 4)}.",)
        return Tile(title, "good", "No trouble", lines, endpoint, more)
    return Tile(
        title, "calm", "Unknown", ("No status page could be read, or none is known.",), endpoint, more
    )


def _log(evidence: Evidence) -> Tile:
    log = evidence.log
    if log.unreadable:
        return Tile("Error log", "warn", "Tells nothing", (log.unreadable,), "errorlog.show", "Error log")
    if not log.last_day:
        lines = ("No stapling failure in the last 24 hours.", *([log.unheard] if log.unheard else ()))
        quiet: Tone = "calm" if log.unheard else "good"
        return Tile("Error log", quiet, "Quiet", lines, "errorlog.show", "Error log")
    lines = (f"{counted(log.last_day, 'failure')} in 24 hours, {log.last_hour:,} in the last hour.",)
    tone: Tone = "warn" if log.last_hour else "calm"
    return Tile(
        "Error log",
        tone,
        f"{log.last_hour:,} in the last hour",
        lines,
        "errorlog.show",
        "Chart and last failures",
    )


def _configuration(evidence: Evidence, changed: bool) -> Tile:
    found = evidence.configuration
    on = found.on is not False
    lines = ["Changed through this plugin after the last check." if changed else decided(found.origin)]
    if found.still_on:
        lines.append(f"These sites keep it on themselves: {listed(found.still_on)}.")
    if found.own_off and on:
        names = listed([one.site for one in found.own_off])
        lines.append(f"Off for {counted(len(found.own_off), 'site')} alone: {names}.")
    more = "Every line that takes part"
    return Tile(
        "Configuration",
        "good" if on else "off",
        f"Stapling {'on' if on else 'off'}",
        tuple(lines),
        "configuration.show",
        more,
    )


@blueprint.post("/return")
@operators_only
def change_return() -> Response:
    """Take the choice (field `armed`: `yes` or `no`) and lead back to the overview. Raises Problem."""
    wish = request.form.get("armed")
    if wish not in ("yes", "no"):
        raise Problem("invalid-input", "The form does not say what is wanted, so nothing was changed.")
    choose(services().settings, armed=wish == "yes", who=f"{caller().user} (WHM)")
    return routing.see_other("overview.show")
