"""What is kept of one survey, and the outages that follow from one reading after the other. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

SERVER = ""
"""The subject of an outage of the whole server: handshakes were seen to stall."""
_WORKING = ("ok", "reachable", "revoked")
"""Outcomes of a responder that works; what they say of a certificate concerns that alone."""
MERGED_SECONDS = 900.0
"""An outage that comes back so soon is one that flaps, not a second one."""
UNSEEN_SECONDS = 7200.0
"""After so long without a reading nobody knows when an outage ended: it counts until it was last seen."""


@dataclass(frozen=True)
class Reading:
    """One survey in short: when (seconds since the epoch), cause, severity, and every address' outcome.

    `addresses` maps "URL address" to (outcome, milliseconds of the whole answer or None).
    """

    at: float
    cause: str
    severity: str
    stapling: str
    addresses: Mapping[str, tuple[str, float | None]]

    def outcomes(self) -> dict[str, str]:
        """Return each responder's outcome by URL: `ok`, or the first that is wrong at any of its addresses."""
        found: dict[str, str] = {}
        for name, (outcome, _) in self.addresses.items():
            url = name.rpartition(" ")[0]
            if found.get(url, "ok") == "ok":
                found[url] = "ok" if outcome in _WORKING else outcome
        return found

    def troubles(self) -> dict[str, str]:
        """Return what is wrong by subject: a responder's URL, or SERVER when visitors wait."""
        found = {url: outcome for url, outcome in self.outcomes().items() if outcome != "ok"}
        return {SERVER: self.cause, **found} if self.severity == "stalling" else found


@dataclass(frozen=True)
class Outage:
    """One outage of a responder (by URL) or of the server (SERVER). Times are seconds since the epoch.

    `last` is when it was last seen; `ended` is None while it goes on.
    """

    subject: str
    began: float
    last: float
    ended: float | None
    what: str


def follow(known: Mapping[str, Outage], reading: Reading) -> list[Outage]:
    """Return the outages that begin, go on or end with a reading; `known` is the latest one of each subject."""
    troubles = reading.troubles()
    begun = [_seen(known.get(subject), subject, what, reading.at) for subject, what in troubles.items()]
    over = [
        replace(one, ended=_end(one, reading.at))
        for subject, one in known.items()
        if one.ended is None and subject not in troubles
    ]
    return [*begun, *over]


def _seen(latest: Outage | None, subject: str, what: str, now: float) -> Outage:
    if latest is not None and _goes_on(latest, now):
        return replace(latest, last=now, ended=None)
    return Outage(subject, now, now, None, what)


def _goes_on(latest: Outage, now: float) -> bool:
    quiet = now - (latest.ended if latest.ended is not None else latest.last)
    return 0 <= quiet <= (MERGED_SECONDS if latest.ended is not None else UNSEEN_SECONDS)


def _end(one: Outage, now: float) -> float:
    return now if 0 <= now - one.last <= UNSEEN_SECONDS else one.last
