"""Verdicts under the shield: what counts is the relay and how long answers last, not whether a responder answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ocsp_stapling.check.diagnosis.advice import ADVICE, Action
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence
from ocsp_stapling.check.diagnosis.handshakes import Measured
from ocsp_stapling.check.diagnosis.model import Diagnosis, ResponderDiagnosis, Severity
from ocsp_stapling.check.evidence import Evidence, ShieldedResponder, ShieldEvidence
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.server.sites import host_of
from ocsp_stapling.text import counted, listed, uncapital, when

_DAY = timedelta(days=1)
_FETCH: dict[str, Any] = {
    "action": Action.FIX_HERE,
    "advice": "Ask for it now: ocsp-stapling shield refresh, which says why it fails.",
}
_OTHERWISE = (Cause.PROXY, Cause.FORCED_URL, Cause.CACHE_TOO_SMALL)
"""A line of the administrator's sends questions elsewhere, or a remedy of its own is smaller than the shield."""


def shielded(
    evidence: Evidence, found: Diagnosis, broken: Sequence[ResponderDiagnosis], measured: Measured
) -> Diagnosis:
    """Under the shield a responder's trouble holds up nobody, so it is no alarm until its answers end."""
    shield = evidence.shield
    if shield is None or not evidence.responders:
        return found
    if not shield.answering:
        return _down(_held(evidence, shield), found, measured)
    if measured.stalling:
        return found
    dark = [one for one in broken if one.cause is not Cause.CERTIFICATE_REVOKED]
    if dark and found.severity in (Severity.FAILING, Severity.NOISE):
        found = _nobody_waits(evidence, shield, found, dark)
    return _loud(shield, _stuck(evidence, shield, found))


def offered(evidence: Evidence, found: Diagnosis) -> Diagnosis:
    """Where turning stapling off would end a stall, so does the shield, and sites keep their staples."""
    fits = found.severity is Severity.STALLING and found.action is Action.TURN_OFF
    if not (evidence.shield_offered and fits) or evidence.host.front is not Server.HTTPD:
        return found
    if found.cause in _OTHERWISE:
        return found
    advice = f"{ADVICE[Action.SHIELD_ON]} If that is refused: {uncapital(found.advice)}"
    return replace(found, recommended=Action.SHIELD_ON, advice=advice)


def _down(held: str, found: Diagnosis, measured: Measured) -> Diagnosis:
    return replace(
        found,
        cause=Cause.SHIELD_DOWN,
        severity=Severity.STALLING if measured.stalling else Severity.FAILING,
        confidence=Confidence.HIGH,
        action=Action.TURN_OFF if measured.stalling else Action.FIX_HERE,
        sentence=f"The shield's relay does not answer, so new staples do not come ({held}).",
        advice="Start it anew: systemctl restart ocsp-stapling-shield. If that fails: ocsp-stapling shield off.",
        shield_trouble=("relay-down",),
    )


def _held(evidence: Evidence, shield: ShieldEvidence) -> str:
    if evidence.unseen is not None:  # how many certificates this server has is not told
        return "answers are held"
    return f"{shield.held_count} of {shield.certificate_count} answers are held"


def _nobody_waits(
    evidence: Evidence, shield: ShieldEvidence, found: Diagnosis, dark: Sequence[ResponderDiagnosis]
) -> Diagnosis:
    """The answers of responders that do not answer: how long they last is how long nothing needs to be done."""
    hosts = {host_of(one.url) for one in dark}
    theirs = [one for one in shield.responders if one.host in hosts]
    ends, first = min(
        ((one.earliest_end, one.host) for one in theirs if one.earliest_end), default=(None, "")
    )
    leading = next((one for one in dark if host_of(one.url) == first), dark[0])
    told = f"{leading.why.sentence} Not one visitor waits, for the shield is on: {_held(evidence, shield)}"
    told += f"{_lasting(evidence, theirs, ends)}."
    if ending := tuple(one.host for one in theirs if _ends_soon(one, evidence.taken_at)):
        trouble = (*found.shield_trouble, "ends-soon")
        return replace(
            found, severity=Severity.FAILING, sentence=told, shield_trouble=trouble, shield_ending=ending
        )
    return replace(
        found,
        severity=Severity.NOISE,
        action=Action.NOTHING,
        sentence=told,
        advice="Nothing needs to be done now: the watch asks again until it answers.",
        sites=(),
        must_staple=(),
    )


def _lasting(evidence: Evidence, theirs: Sequence[ShieldedResponder], ends: datetime | None) -> str:
    """What has ended comes first: that others last for days is no comfort to those sites."""
    ended = sum(one.ended_count for one in theirs)
    if not ended:
        return f"; staples last until {when(ends)}" if ends else ""
    gone = "staples" if evidence.unseen is not None else counted(ended, "staple")  # how many is not told
    return f"; {gone} ended without a new one{f', the others last until {when(ends)}' if ends else ''}"


def _ends_soon(one: ShieldedResponder, now: datetime) -> bool:
    """Whether a staple ends within a day, or has ended. What was never held is as before the shield: nobody waits."""
    return bool(one.ended_count or (one.earliest_end and one.earliest_end - now < _DAY))


def _stuck(evidence: Evidence, shield: ShieldEvidence, found: Diagnosis) -> Diagnosis:
    """A single certificate that gets no new answer, from a responder that is well: its staple ends just as soon."""
    soon = [
        one
        for one in shield.responders
        if one.stuck_end and one.stuck_end - evidence.taken_at < _DAY and one.host not in found.shield_ending
    ]
    if not soon:
        return found
    end, first = min(((one.stuck_end or evidence.taken_at, one) for one in soon), key=lambda pair: pair[0])
    ends = f"{'lasts until' if end > evidence.taken_at else 'ended at'} {when(end)}"
    told = f"{first.host} gives no new answer for the certificate of {first.stuck_site}; its staple {ends}."
    mild = found.severity in (Severity.NONE, Severity.NOISE)
    trouble = tuple(dict.fromkeys((*found.shield_trouble, "ends-soon")))
    found = replace(
        found, shield_trouble=trouble, shield_ending=(*found.shield_ending, *(one.host for one in soon))
    )
    if not mild:
        return replace(found, sentence=f"{found.sentence} {told}")
    return replace(
        found,
        severity=Severity.FAILING,
        cause=Cause.CA_BAD_ANSWER if found.cause is Cause.HEALTHY else found.cause,
        action=Action.REISSUE,
        sentence=f"{told} Not one visitor waits.",
        advice="See why: ocsp-stapling shield status. Ask its authority, or have the certificate issued anew.",
        sites=tuple(dict.fromkeys((str(first.stuck_site), *found.sites))),
    )


def _loud(shield: ShieldEvidence, found: Diagnosis) -> Diagnosis:
    """What no responder's health excuses: a revoked certificate, and a Must-Staple site without an answer."""
    if shield.missing_must_staple:
        names = listed(shield.missing_must_staple)
        told = f"The shield holds no answer for {names}, which Firefox refuses without a staple."
        trouble = (*found.shield_trouble, "must-staple")
        found = replace(
            found,
            severity=Severity.FAILING,
            sentence=f"{told} {found.sentence}",
            shield_trouble=trouble,
            **_FETCH if found.cause is Cause.HEALTHY else {},
            must_staple=tuple(dict.fromkeys((*found.must_staple, *shield.missing_must_staple))),
        )
    if shield.revoked:
        told = f"The authority has revoked the certificate of {listed(shield.revoked)}: browsers refuse it."
        found = replace(
            found,
            cause=Cause.CERTIFICATE_REVOKED,
            severity=Severity.FAILING,
            action=Action.REISSUE,
            sentence=told if found.cause is Cause.CERTIFICATE_REVOKED else f"{told} {found.sentence}",
            advice=ADVICE[Action.REISSUE],
            sites=tuple(dict.fromkeys((*shield.revoked, *found.sites))),
            shield_trouble=(*found.shield_trouble, "revoked"),
        )
    return found
