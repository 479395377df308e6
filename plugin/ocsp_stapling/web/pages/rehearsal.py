"""*What would happen if this responder hung now*: worked out from the last check, nothing is asked or changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flask import Blueprint, render_template, request

from ocsp_stapling.check.diagnosis import queue
from ocsp_stapling.check.evidence import Evidence, ResponderEvidence
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import state as server
from ocsp_stapling.settings import Settings
from ocsp_stapling.watch.policy import STALLED_PASSES
from ocsp_stapling.web.context import services
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.words import Tone, counted, listed

blueprint = Blueprint("rehearsal", __name__)
_CROWD = 4


@dataclass(frozen=True)
class Rehearsal:
    """What would happen: in one sentence, and the lines about who, how long, Firefox and the watch."""

    tone: Tone
    sentence: str
    lines: tuple[str, ...]


def rehearse(one: ResponderEvidence, evidence: Evidence, timeout: int, settings: Settings) -> Rehearsal:
    """Return what would happen if a responder accepted connections and stayed silent from now on.

    `timeout` is Apache's SSLStaplingResponderTimeout in seconds, 0 if it is not known.
    """
    causing = tuple(dict.fromkeys(site.name for site in one.sites if site.stapling))
    if evidence.configuration.on is False and not evidence.configuration.still_on:
        return Rehearsal("good", "Nobody would wait: stapling is off, so Apache asks no responder.", ())
    if not causing:
        return Rehearsal("good", "Nobody would wait: no site that staples has a certificate of it.", ())
    if evidence.shield is not None and evidence.shield.answering:
        return Rehearsal(
            "good",
            "Nobody would wait: Apache asks the shield, which holds answers fetched ahead.",
            tuple(_shielded(evidence)),
        )
    waiting = queue.waiting(evidence)
    sentence = (
        f"Visitors of {counted(waiting, 'site')} would wait, as soon as Apache's staple of one of "
        f"{counted(causing, 'certificate')} has to be renewed: within an hour, at once after a restart."
    )
    lines = (*_queue(causing, waiting, timeout), *_firefox(evidence), _watch(settings))
    return Rehearsal("warn", sentence, lines)


def _shielded(evidence: Evidence) -> Iterable[str]:
    assert evidence.shield is not None
    yield f"It holds {evidence.shield.held_count:,} of {evidence.shield.certificate_count:,} answers."
    if missing := evidence.shield.missing_must_staple:
        yield f"Without an answer, and Must-Staple, which Firefox refuses: {listed(missing)}."


def _queue(causing: tuple[str, ...], waiting: tuple[str, ...], timeout: int) -> Iterable[str]:
    yield f"Causing it: {listed(causing)}."
    if set(causing) < set(waiting):
        yield "All others that staple would wait in the same queue: Apache asks one responder after the other."
    if timeout:
        yield (
            f"The first visitor would wait {timeout} s (SSLStaplingResponderTimeout) for each address tried, "
            f"the next as long again: of {_CROWD} who come at once, the last waits {_CROWD * timeout} s."
        )


def _firefox(evidence: Evidence) -> Iterable[str]:
    strict = queue.must_staple(evidence)
    if strict:
        yield (
            "Firefox would refuse these Must-Staple sites as soon as their staples are gone, and all the time "
            f"while stapling is off: {listed(strict)}."
        )


def _watch(settings: Settings) -> str:
    seen = f"The watch would see it within five minutes; after {STALLED_PASSES} such looks in a row"
    if settings.watch.turn_off_when_stalling:
        most = settings.watch.turn_offs_per_day
        return f"{seen} it would turn stapling off by itself (at most {counted(most, 'time')} a day) and tell root."
    return f"{seen} it would tell root, and leave the switch to you (watch.turn_off_when_stalling is off)."


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
