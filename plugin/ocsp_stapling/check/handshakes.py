"""Live handshakes: a few sites met with and without asking for a staple, three at once to make a queue visible.

A handshake that asks makes Apache itself ask the responder, under one lock for the whole server. So few are made,
and no further ones once the first have shown that visitors wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import cycle, islice, zip_longest

from ocsp_stapling.check.diagnosis.handshakes import BROKEN_OFF, STALL_SECONDS
from ocsp_stapling.check.evidence import HandshakeEvidence
from ocsp_stapling.check.questions import Subject
from ocsp_stapling.ocsp.answer import verify_answer
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.issuer import issuer_of
from ocsp_stapling.ocsp.prober import Target
from ocsp_stapling.ocsp.staple import Handshake, handshakes
from ocsp_stapling.problem import Problem

AT_ONCE = 3
AT_MOST = 6
"""Handshakes of one round: one for further responders, and rounds for those that must staple while there is time."""
_STRICT_SECONDS = 1.5
_GRACE_SECONDS = 0.5  # beyond Apache's own time-out, so that its giving up is seen as well
_REPORTING_SECONDS = 0.1
_FIRST_SHARE = 0.85
"""Of the time left, for the first round: where Apache waits longer than a check may last, those cut off still count.

What is late is lost, and on a busy server it takes long to be told.
"""

Failing = Callable[[float], frozenset[str]]


@dataclass(frozen=True)
class _Place:
    """Where to meet a site of which responder, and what that is asked."""

    door: Door
    url: str
    target: Target

    @property
    def where(self) -> tuple[str, str, int, str]:
        """What tells it from other places."""
        return self.door.site, self.door.address, self.door.port, self.door.key


def _where(met: HandshakeEvidence) -> tuple[str, str, int, str]:
    return met.site, met.address, met.port, met.key


def meet(
    subjects: Sequence[Subject],
    responder_timeout: float,
    deadline: float,
    failing: Failing,
    *,
    widely: bool = False,
) -> tuple[HandshakeEvidence, ...]:
    """Return the handshakes; done by `deadline` (monotonic).

    At most nine ask, then each certificate that must staple is met, as long as nobody waits and there is time for it.

    `failing(deadline)` waits for the probes and returns the URLs of the responders that can hold handshakes up: of
    those beyond the first three, their sites are met first. `widely`: further sites of the same responders are met.
    """
    first = _first(subjects)
    crowd = list(islice(cycle(first), AT_ONCE))
    limit = min(responder_timeout + _GRACE_SECONDS, _left(deadline) * _FIRST_SHARE)
    with ThreadPoolExecutor(2) as pool:
        plain = pool.submit(_round, first, False, limit)
        asked = _round(crowd, True, limit)
        # Several at one place show a queue, if there is one; else one of them tells the same.
        found = [*plain.result(), *(asked if _waited(asked) else asked[: len(first)])]
    if not _waited(found):
        rest = _rest(subjects, {place.url for place in first})
        rest += _others(subjects, [*first, *rest]) if widely else []
        strict = [place for place in _strict(subjects) if place.where not in {one.where for one in first}]
        if rest or strict:
            bad = failing(deadline - limit)
            rest.sort(key=lambda place: place.url not in bad)
            found += _round_and_compared(rest[:AT_MOST], limit, deadline)
            met = {_where(each) for each in found}
            # One handshake with a responder that hangs tells enough; more would hold up visitors.
            strict = [place for place in strict if place.where not in met and place.url not in bad]
            found += _met_in_rounds(strict, found, limit, deadline)
    return (*found, *_repeated(found, [*_others(subjects, ()), *_strict(subjects)], deadline))


def _round_and_compared(places: Sequence[_Place], limit: float, deadline: float) -> list[HandshakeEvidence]:
    made = _round(places, True, min(limit, _left(deadline)))
    return [*_compared(made, places, deadline), *made]


def _met_in_rounds(
    places: Sequence[_Place], before: Sequence[HandshakeEvidence], limit: float, deadline: float
) -> list[HandshakeEvidence]:
    """Meet a few at once, then the next few: their number is up to customers, so time is the bound."""
    until = min(time.monotonic() + _STRICT_SECONDS, deadline - limit)
    found: list[HandshakeEvidence] = []
    for begin in range(0, len(places), AT_MOST):
        if _waited([*before, *found]) or time.monotonic() >= until:
            break
        found += _round_and_compared(places[begin : begin + AT_MOST], limit, deadline)
    return found


def _compared(
    found: Iterable[HandshakeEvidence], places: Sequence[_Place], deadline: float
) -> list[HandshakeEvidence]:
    """Meet without asking where asking went wrong: what fails for every client is no matter of stapling."""
    bad = {_where(h) for h in found if h.error or h.seconds >= STALL_SECONDS}
    again = [place for place in places if place.where in bad]
    return _round(again[:AT_MOST], False, min(STALL_SECONDS + _GRACE_SECONDS, _left(deadline)))


def _first(subjects: Sequence[Subject]) -> list[_Place]:
    """Three places: of as many responders as there are, then further sites of the same ones."""
    by_responder = [_places(subject) for subject in _one_each(subjects)[:AT_ONCE]]
    in_turns = (place for turn in zip_longest(*by_responder) for place in turn if place)
    return list(in_turns)[:AT_ONCE]


def _one_each(subjects: Iterable[Subject]) -> list[Subject]:
    """One subject a responder, those of most accounts first."""
    found: dict[str, Subject] = {}
    for subject in sorted(subjects, key=lambda one: one.weight, reverse=True):
        if subject.doors:
            found.setdefault(subject.url, subject)
    return list(found.values())


def _rest(subjects: Sequence[Subject], met: set[str]) -> list[_Place]:
    return [_places(one)[0] for one in _one_each(subjects) if one.url not in met]


def _strict(subjects: Sequence[Subject]) -> list[_Place]:
    """Where certificates are met that must staple: each of them matters, and they are few."""
    return [
        _Place(door, subject.url, subject.target)
        for subject in subjects
        for single in (subject.asked, *subject.others)
        if single
        for door in single.doors
    ]


def _others(subjects: Sequence[Subject], met: Sequence[_Place]) -> list[_Place]:
    known = {place.where for place in met}
    every = (place for subject in subjects for place in _places(subject))
    return [place for place in {one.where: one for one in every}.values() if place.where not in known]


def _places(subject: Subject) -> list[_Place]:
    return [_Place(door, subject.url, subject.target) for door in subject.doors]


def _round(places: Sequence[_Place], ask: bool, limit: float) -> list[HandshakeEvidence]:
    if limit <= 0 or not places:
        return []
    made = handshakes([place.door for place in places], ask=ask, limit=limit)
    return [_evidence(place, each) for place, each in zip(places, made, strict=True)]


def _waited(found: Iterable[HandshakeEvidence]) -> bool:
    return any(each.asked and each.seconds >= STALL_SECONDS for each in found)


def _repeated(
    found: Sequence[HandshakeEvidence], places: Sequence[_Place], deadline: float
) -> list[HandshakeEvidence]:
    """Meet again whoever was slow but came with a good staple: was it just its first fetch?

    And before them whoever was broken off: was it just a restart? That is told of each place by itself.
    """
    slow = [h for h in found if h.asked and h.seconds >= STALL_SECONDS and not h.error and h.staple == "good"]
    cut = [h for h in found if h.asked and h.error == BROKEN_OFF]
    wanted = dict.fromkeys(_where(h) for h in (*cut, *slow))
    known = {place.where: place for place in places}
    broken_off = len({_where(h) for h in cut})
    again = [known[where] for where in wanted if where in known][: max(AT_ONCE, min(broken_off, AT_MOST))]
    made = _round(again, True, min(STALL_SECONDS, _left(deadline)))
    return [replace(each, repeated=True) for each in made]


def _evidence(place: _Place, made: Handshake) -> HandshakeEvidence:
    return HandshakeEvidence(
        made.door.site,
        made.door.address,
        made.door.port,
        place.url,
        made.asked,
        made.seconds,
        made.error,
        _staple(place, made),
        key=made.door.key,
    )


def _staple(place: _Place, made: Handshake) -> str:
    """Return the verdict on the staple; `unverified` if the server's chain does not let us judge it."""
    if made.staple is None:
        return ""
    try:
        leaf = parse(made.certificate or b"")
        issuer = issuer_of(leaf, [parse(der) for der in made.chain]) or place.target.issuer
    except Problem:
        return "unverified"
    if issuer is None:
        return "unverified"
    return verify_answer(made.staple, leaf, issuer, datetime.now(UTC), place.target.skew).verdict.value


def _left(deadline: float) -> float:
    return max(deadline - _REPORTING_SECONDS - time.monotonic(), 0.0)
