"""Whom Apache was seen to ask while visitors waited: a responder may answer us at once, and let Apache alone wait.

Apache asks under one lock for the whole server, so that at any moment one question is on its way: whoever is asked
in most looks is whom all others wait for, whatever he says to this check. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocsp_stapling.check.diagnosis import queue
from ocsp_stapling.check.diagnosis.advice import Action, turning_off, turning_off_alone
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence
from ocsp_stapling.check.diagnosis.handshakes import Measured
from ocsp_stapling.check.diagnosis.model import Diagnosis, Severity
from ocsp_stapling.check.evidence import Evidence, ResponderEvidence
from ocsp_stapling.ocsp.finding import HTTP
from ocsp_stapling.text import host_of, listed, place_of

_SHARE = 0.25
"""Of the looks: one whose answers come in time is hardly ever met while it is asked."""


def asked_for_long(evidence: Evidence) -> list[ResponderEvidence]:
    """Return the responders that Apache was seen to ask most of the time; none where one of them is a stranger."""
    if asks_a_stranger(evidence):
        return []
    return [one for one in evidence.responders if not _long(evidence).isdisjoint(_places(one))]


def asks_a_stranger(evidence: Evidence) -> bool:
    """Say whether Apache was seen to ask for long where no responder's name led us: it may lead Apache there alone.

    Then whoever else is asked for long may only be kept busy by the one who hides. What is asked at a port that
    stands in no certificate is none of stapling's (a site behind Apache), provided that every certificate is known.
    """
    return bool(_strangers(evidence))


def stranger_words(evidence: Evidence) -> str:
    """Return whom Apache waits for where no responder's name led this check, "" if there is nobody."""
    places = _strangers(evidence)
    if not places:
        return ""
    shares = listed([f"{place} ({evidence.apache_asks[place]:.0%} of the looks)" for place in places])
    return f"Apache waits for {shares}, where no responder's name led this check."


def _strangers(evidence: Evidence) -> list[str]:
    known = {place for one in evidence.responders for place in _places(one)}
    ports = {_port(one) for one in evidence.responders}
    complete = not (evidence.unreadable or evidence.unasked)
    far = sorted(_long(evidence).difference(known))
    return [place for place in far if not complete or place.rpartition(":")[2] in ports]


def _long(evidence: Evidence) -> frozenset[str]:
    return frozenset(place for place, share in evidence.apache_asks.items() if share >= _SHARE)


def _places(one: ResponderEvidence) -> list[str]:
    port = int(_port(one))
    return [place_of(found.address, port) for found in one.finding.addresses]


def _port(one: ResponderEvidence) -> str:
    return str(one.finding.port or HTTP)


def verdict(evidence: Evidence, measured: Measured, alone: Sequence[str], account: str) -> Diagnosis | None:
    """Return the verdict where handshakes wait and nobody is at fault, but Apache was seen to ask somebody for long.

    `alone` and `account`: who can be turned off by themselves.
    """
    held = asked_for_long(evidence)
    if not (held and measured.lasting and measured.slow and measured.plain_quick):
        return None
    waits = queue.waiting(evidence)
    causes = tuple(dict.fromkeys(site.name for one in held for site in one.sites))
    names = listed(list(dict.fromkeys(host_of(one.url) for one in held)))
    shares = [f"{place} in {share:.0%} of the looks" for place, share in evidence.apache_asks.items()]
    who = queue.words(evidence, causes)
    advice = turning_off_alone(alone, account) if alone else turning_off(evidence.configuration)
    return Diagnosis(
        Cause.UNKNOWN,
        Severity.STALLING,
        Confidence.MEDIUM,
        Action.TURN_OFF_SITE if alone else Action.TURN_OFF,
        f"Apache waits for {names}, which did not let this check wait: it may tell the two apart. Visitors' "
        f"handshakes wait for it{f': {who}' if who else ''}.",
        advice,
        (f"While visitors waited, Apache was seen to ask {listed(shares)}.",),
        sites=waits or causes,
        causing=causes,
        waiting=waits,
        alone=tuple(alone),
        alone_account=account,
    )
