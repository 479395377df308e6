"""Verdicts under the shield: what counts is the relay and how long answers last, not whether a responder answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ocsp_stapling.check.diagnosis.advice import ADVICE, Action
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence
from ocsp_stapling.check.diagnosis.handshakes import Measured
from ocsp_stapling.check.diagnosis.model import Diagnosis, ResponderDiagnosis, Severity, besides
from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.server.sites import host_of
from ocsp_stapling.shield.standing import ShieldedResponder, ShieldEvidence
from ocsp_stapling.text import counted, listed, shown, uncapital, when

_DAY = timedelta(days=1)
_FETCH: dict[str, Any] = {
    "action": Action.FIX_HERE,
    "advice": "Ask for it now: ocsp-stapling shield refresh, which says why it fails.",
}
_OTHERWISE = (Cause.PROXY, Cause.FORCED_URL, Cause.CACHE_TOO_SMALL)
"""A line of the administrator's sends questions elsewhere, or a remedy of its own is smaller than the shield."""


def shielded(
    evidence: Evidence, found: Diagnosis, each: Sequence[ResponderDiagnosis], measured: Measured
) -> Diagnosis:
    """Under the shield a responder's trouble holds up nobody, so it is no alarm until its answers end."""
    shield = evidence.shield
    if shield is None or not evidence.responders or found.cause in (Cause.NOT_SERVED, Cause.NO_CACHE):
        return found
    if not shield.answering:
        return _down(evidence, _held(evidence, shield), found, measured)
    if measured.stalling:
        return found
    others = [one for one in each if one.cause is not Cause.CERTIFICATE_REVOKED]
    theirs = found.cause in {one.cause for one in others if not one.ok}
    if theirs and found.severity in (Severity.FAILING, Severity.NOISE):
        found = _nobody_waits(evidence, shield, found, others)
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


def _down(evidence: Evidence, held: str, found: Diagnosis, measured: Measured) -> Diagnosis:
    helps = measured.stalling and evidence.configuration.on is not False
    return replace(
        found,
        cause=Cause.SHIELD_DOWN,
        severity=Severity.STALLING if measured.stalling else Severity.FAILING,
        confidence=Confidence.HIGH,
        action=Action.TURN_OFF if helps else Action.FIX_HERE,
        sentence=f"The shield's relay does not answer, so new staples do not come ({held}).",
        advice="Start it anew: systemctl restart ocsp-stapling-shield. If that fails: ocsp-stapling shield off.",
        shield_trouble=("relay-down",),
    )


def _held(evidence: Evidence, shield: ShieldEvidence) -> str:
    if evidence.unseen is not None:  # how many certificates this server has is not told
        some = any(one.missing_count for one in shield.responders)
        return f"answers are held{' for some of these certificates, not for all' if some else ''}"
    return f"{shield.held_count} of {shield.certificate_count} answers are held"


def _nobody_waits(
    evidence: Evidence, shield: ShieldEvidence, found: Diagnosis, each: Sequence[ResponderDiagnosis]
) -> Diagnosis:
    """The answers of responders that do not answer: how long they last is how long nothing needs to be done."""
    dark = {host_of(one.url) for one in each if not one.ok}
    theirs = sorted((one for one in shield.responders if one.host in dark), key=_end)
    turn = {one.host: number for number, one in enumerate(theirs)}
    every = sorted(each, key=lambda one: turn.get(host_of(one.url), len(turn)))
    leading = next(one for one in every if not one.ok)
    same, other = besides(leading, every, every)
    told = (
        f"{leading.why.sentence}{same} Not one visitor waits, for the shield is on: "
        f"{_held(evidence, shield)}{_lasting(evidence, theirs)}.{other}"
    )
    if ending := tuple(one.host for one in theirs if _ends_soon(one, evidence.taken_at)):
        trouble = (*found.shield_trouble, "ends-soon")
        return replace(
            found, severity=Severity.FAILING, sentence=told, shield_trouble=trouble, shield_ending=ending
        )
    if any(site in shield.missing_must_staple for one in each if not one.ok for site in one.sites):
        return replace(found, sentence=told)  # Firefox refuses that one now, so its cure is wanted now
    return replace(
        found,
        severity=Severity.NOISE,
        action=Action.NOTHING,
        sentence=told,
        advice=f"Nothing needs to be done now: the watch asks again until {_they(dark)}.",
        sites=(),
        must_staple=(),
    )


def _they(hosts: Collection[str]) -> str:
    return "it answers" if len(hosts) == 1 else "they answer"


def _end(one: ShieldedResponder) -> datetime:
    """When the first of its staples ends that are still valid; those of whom none is, last."""
    return one.earliest_end or datetime.max.replace(tzinfo=UTC)


def _lasting(evidence: Evidence, theirs: Sequence[ShieldedResponder]) -> str:
    """What has ended comes first: that others last for days is no comfort to those sites.

    `theirs` stand in the order in which they end; of several those are named that matter.
    """
    several = len(theirs) > 1
    gone = [one for one in theirs if one.ended_count]
    told = []
    if gone:
        # How many is not told to everybody.
        hidden = evidence.unseen is not None
        count = "staples" if hidden else counted(sum(one.ended_count for one in gone), "staple")
        told.append(f"{count}{_of(gone) if several else ''} ended without a new one")
    if lasting := [one for one in theirs if one.earliest_end]:
        first, whose = when(_end(lasting[0])), "the others" if gone else "staples"
        soon = [one for one in lasting if _end(one) - evidence.taken_at < _DAY]
        if several and soon:
            whose = "those" if gone else "staples"
            told.append(f"{whose}{_of(soon)} end within a day, the first at {first}")
        else:
            told.append(f"{whose} last until {first}{' at least' if several else ''}")
    return f"; {', '.join(told)}" if told else ""


def _of(responders: Sequence[ShieldedResponder]) -> str:
    return f" of {listed([shown(one.host) for one in responders])}"


def _ends_soon(one: ShieldedResponder, now: datetime) -> bool:
    """Whether a staple ends within a day, or has ended. What was never held is as before the shield: nobody waits."""
    return bool(one.ended_count) or _end(one) - now < _DAY


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
    told = f"{shown(first.host)} gives no new answer for the certificate of {first.stuck_site}; its staple {ends}."
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
            **_FETCH if found.action is Action.NOTHING else {},
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
