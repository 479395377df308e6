"""What timed handshakes show: who waits, who is turned away, who gets a staple. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from ocsp_stapling.check.evidence import Evidence, HandshakeEvidence
from ocsp_stapling.ocsp.finding import Outcome, ResponderFinding
from ocsp_stapling.text import duration, listed

STALL_SECONDS = 1.0
"""A handshake that takes longer is one a visitor waits for; healthy ones take hundredths of a second."""
ERROR_STAPLES = ("try-later", "unauthorized", "other-ocsp-error")
_TENTH = 10
BROKEN_OFF = "reset"
_MINUTES = 300.0
"""Seconds from which on a wait is told in minutes."""
_QUEUED = 1.5
"""The longest wait of several at once is so many times the shortest where one waits for the other."""


@dataclass(frozen=True)
class Measured:
    """What the handshakes show. `slow`: too late or not at all; `aborted`: by a TLS alert, or broken off."""

    slow: tuple[HandshakeEvidence, ...]
    aborted: tuple[HandshakeEvidence, ...]
    without_staple: tuple[HandshakeEvidence, ...]
    bad_staple: tuple[HandshakeEvidence, ...]
    stapled: tuple[HandshakeEvidence, ...]
    quick: bool
    """Whether any handshake that asks was served at once."""
    plain_quick: bool
    """Whether clients that ask for none are served at once where those that ask wait (True if none was tried)."""
    plain_met: bool
    """Whether any client that asks for no staple was seen to be served at once."""
    served: bool
    """Whether anything answered at all."""
    unmet: tuple[HandshakeEvidence, ...]
    """Refused, unreachable, or broken at this place for every client: nothing that a staple could cause."""
    once_only: bool
    """Whether every slow handshake was quick and well stapled when repeated."""
    slowest: float | None
    """Seconds of the slowest that a staple can have slowed: neither refused nor slow for every client."""
    slowest_again: float | None
    """The same, but of those that were quick when repeated the second."""
    given_up_after: float = 0.0
    """After how many seconds Apache gives up a responder that hangs, by its time-outs; 0: unknown."""

    @property
    def stalling(self) -> bool:
        """Whether visitors were seen to wait or to be turned away."""
        return bool(self.slow or self.aborted)

    @property
    def lasting(self) -> bool:
        """Whether visitors wait or are turned away, and not just the first one waits for a first fetch."""
        return bool(self.aborted) or (bool(self.slow) and not self.once_only)

    @property
    def judged(self) -> bool:
        """Whether any handshake that asks for a staple tells how visitors fare."""
        return self.stalling or self.quick

    @property
    def sentences(self) -> tuple[str, ...]:
        """The measurements in plain words."""
        return tuple(filter(None, (_slow_words(self), _aborted_words(self))))


def measure(evidence: Evidence) -> Measured:
    """Sort the handshakes of the evidence."""
    asked = [h for h in evidence.handshakes if h.asked and not h.repeated]
    plain = [h for h in evidence.handshakes if not h.asked]
    cured = {h.site for h in evidence.handshakes if h.repeated and is_quick(h) and h.staple == "good"}
    unmet = _unmet(asked, plain, evidence.handshakes)
    slow = tuple(h for h in asked if _is_slow(h) and h not in unmet)
    aborted = tuple(h for h in asked if _is_aborted(h, evidence.handshakes) and h not in unmet)
    done = [h for h in asked if not h.error]
    expected = _stapling_sites(evidence)
    return Measured(
        slow=slow,
        aborted=aborted,
        without_staple=tuple(h for h in done if not h.staple and h.site in expected),
        bad_staple=tuple(h for h in done if h.staple not in ("", "good")),
        stapled=tuple(h for h in done if h.staple == "good"),
        quick=any(map(is_quick, asked)),
        plain_quick=not slow or not all(_fails_for_all(h, plain) for h in (*slow, *aborted)),
        plain_met=any(map(is_quick, plain)),
        served=any(not h.error for h in evidence.handshakes) or any(map(_waits, evidence.handshakes)),
        unmet=unmet,
        once_only=bool(slow) and all(h.site in cured for h in slow),
        slowest=_slowest(evidence, unmet, ()),
        slowest_again=_slowest(evidence, unmet, cured),
        given_up_after=_given_up_after(evidence, slow),
    )


def _given_up_after(evidence: Evidence, slow: Sequence[HandshakeEvidence]) -> float:
    """Reckon what a look does not see that is cut off, or meets one site only of a responder that hangs.

    0 where the sites that were waited for differ in it.
    """
    waited = {(h.responder, h.site) for h in slow}
    found = {
        _waits_for(one.finding, site.responder_timeout)
        for one in evidence.responders
        for site in one.sites
        if (one.url, site.name) in waited
    } - {0.0}
    return found.pop() if len(found) == 1 else 0.0


def _waits_for(finding: ResponderFinding, timeout: float) -> float:
    """Apache tries one address after the other until one takes the connection; that one's answer it waits for.

    0 where it gets a good one in the end: then only the first visitor waits.
    """
    waits = 0.0
    for found in finding.addresses:
        if found.outcome is Outcome.CONNECT_TIMEOUT:
            waits += timeout
        elif found.tcp_ms is not None:
            silent = found.outcome is Outcome.REPLY_TIMEOUT
            return 0.0 if found.outcome.is_good else waits + timeout * silent
    return waits


def _slowest(evidence: Evidence, unmet: Sequence[HandshakeEvidence], cured: Container[str]) -> float | None:
    places = {_place(h) for h in unmet}
    met = [
        h
        for h in evidence.handshakes
        if h.asked
        and h.error in ("", "timeout")
        and h not in unmet
        and not (h.repeated and _place(h) in places)
    ]
    counted = [h.seconds for h in met if h.repeated or not (_is_slow(h) and h.site in cured)]
    return max(counted, default=None)


def _unmet(
    asked: Sequence[HandshakeEvidence], plain: Sequence[HandshakeEvidence], met: Sequence[HandshakeEvidence]
) -> tuple[HandshakeEvidence, ...]:
    """Those at which stapling has no part.

    An alert that meets every client, too, is none of stapling's. A place that is slow for every client, while
    others are served at once, has a fault of its own: an address behind a firewall, a broken virtual host. When
    everything is slow for everybody, the queue for staples may have taken all workers: that is judged later.
    """
    others_quick = any(map(is_quick, asked))
    return tuple(
        h
        for h in asked
        if (h.error and not _waits(h) and not _is_aborted(h, met))
        or (h.error.startswith("tls:") and _fails_for_all(h, plain))
        or (_is_slow(h) and others_quick and _fails_for_all(h, plain))
    )


def _is_slow(handshake: HandshakeEvidence) -> bool:
    return handshake.error in ("", "timeout") and handshake.seconds >= STALL_SECONDS


def _is_aborted(asked: HandshakeEvidence, met: Sequence[HandshakeEvidence]) -> bool:
    """Say whether it ended with an alert, or was broken off where a client that asks for none is served.

    A child that crashes over the question breaks the connection off, and sends no alert. So does a restart: then the
    next try at this place is served. Where so many were broken off that this one was not tried again, so are others.
    """
    if asked.error == BROKEN_OFF:
        again = [h for h in met if h.asked and h.repeated]
        there = [h for h in again if (_place(h), h.key) == (_place(asked), asked.key)]
        restarted = any(map(is_quick, there or again))
        return not restarted and any(is_quick(h) for h in met if not h.asked and _place(h) == _place(asked))
    return asked.error.startswith("tls:")


def _fails_for_all(asked: HandshakeEvidence, plain: Sequence[HandshakeEvidence]) -> bool:
    """Say whether clients that ask for no staple fared as badly at the same place (False if none was tried)."""
    there = [h for h in plain if _place(h) == _place(asked)]
    return bool(there) and all(_is_slow(h) or h.error not in ("", "timeout") for h in there)


def _place(handshake: HandshakeEvidence) -> tuple[str, str, int]:
    return handshake.site, handshake.address, handshake.port


def each_waits(ended: Sequence[float], cut: Sequence[float] = ()) -> float:
    """Return what each of several handshakes at once adds to the wait of the next, 0 where they do not queue.

    Apache asks a responder under one lock for the whole server, so of three the first waits one time-out, the
    second two, the third three. `cut` are those that were given up while they still waited.
    """
    waits, first = sorted(ended), min(ended, default=0.0)
    if len(waits) > 1:
        return (waits[-1] - waits[0]) / (len(waits) - 1) if waits[-1] >= _QUEUED * first else 0.0
    return first if cut and min(cut) > first >= STALL_SECONDS else 0.0


def queue_of(waits: Iterable[tuple[str, float, bool]]) -> float:
    """Return what each handshake adds to the wait of the next: `waits` are responder, seconds, whether cut off.

    Of one responder that hangs, what is behind it tells the queue; so do all together.
    """
    every = list(waits)
    groups = [every, *([one for one in every if one[0] == name] for name in {each[0] for each in every})]
    return max(
        each_waits(*([seconds for _, seconds, cut in group if cut is given_up] for given_up in (False, True)))
        for group in groups
    )


def queue_words(each: float) -> str:
    """Return what a queue means for visitors, "" where there is none."""
    if each < STALL_SECONDS:
        return ""
    tenth = each * _TENTH
    waits = f"{tenth:.0f} s" if tenth < _MINUTES else duration(tenth)
    return f"{rounded(each)} s each, one after the other: the tenth waits {waits}"


def rounded(seconds: float) -> str:
    """Return seconds with tenths where they matter, and no `3.0`."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}".removesuffix(".0")


def is_quick(handshake: HandshakeEvidence) -> bool:
    """Say whether a visitor would notice nothing."""
    return not handshake.error and handshake.seconds < STALL_SECONDS


def is_turned_away(handshake: HandshakeEvidence) -> bool:
    """Say whether a server was there and ended the handshake."""
    return handshake.error == BROKEN_OFF or handshake.error.startswith("tls:")


def _waits(handshake: HandshakeEvidence) -> bool:
    return handshake.error == "timeout" or handshake.error.startswith("tls:")


def _stapling_sites(evidence: Evidence) -> frozenset[str]:
    sites = (site for one in evidence.responders if not one.expired_only for site in one.sites)
    return frozenset(site.name for site in sites if site.stapling and site.chain_complete)


def _slow_words(measured: Measured) -> str:
    if not measured.slow:
        return ""
    waited = listed([f"{h.seconds:.1f} s" for h in measured.slow if not h.error])
    cut = sorted({f"more than {h.seconds:.1f} s" for h in measured.slow if h.error})
    waited = " or ".join(filter(None, [waited, *cut[-1:]]))
    if not measured.plain_quick:
        return f"Handshakes wait {waited}, whether they ask for a staple or not."
    plain = (
        "; clients that ask for none are served at once"
        if measured.plain_quick and measured.plain_met
        else ""
    )
    each = queue_of((h.responder, h.seconds, bool(h.error)) for h in measured.slow)
    queue = f"; {told}" if (told := queue_words(each)) else ""
    reckoned = measured.given_up_after if plain and not queue else 0.0
    later = f" {_reckoned_words(reckoned)}" if reckoned else ""
    return f"Handshakes that ask for a staple wait {waited}{queue}{plain}.{later}"


def _reckoned_words(each: float) -> str:
    """What the look did not see, by Apache's time-out at each address: said as a reckoning."""
    return f"By its time-outs Apache gives each up after {queue_words(each).replace(' each', '', 1)}."


def _aborted_words(measured: Measured) -> str:
    if not measured.aborted:
        return ""
    cut = [h.site for h in measured.aborted if h.error == BROKEN_OFF]
    alerted = [h.site for h in measured.aborted if h.site not in cut]
    told = [f"are aborted with a TLS alert: {listed(alerted)}"] if alerted else []
    if cut:
        told.append(f"are broken off, as by a worker that crashes (see Apache's error log): {listed(cut)}")
    return f"Handshakes that ask for a staple {'; others '.join(told)}."
