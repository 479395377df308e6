"""What the watch knows of the past, for people: availability of responders, outages, and the timeline."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocsp_stapling.change.journal import Operation
from ocsp_stapling.check.incident import Incident
from ocsp_stapling.problem import reason_of
from ocsp_stapling.text import moment
from ocsp_stapling.watch.memory import DAY, NAME, Memory, Outage, Reading, Tally
from ocsp_stapling.watch.outages import MERGED_SECONDS, SERVER

AVAILABILITY_DAYS = 30
_OUTAGES = 200


@dataclass(frozen=True)
class Past:
    """The past as the watch remembers it. `availability` by the responder's URL; `outages` newest first.

    `lost` says in words why there is nothing, if the watch's memory cannot be read.
    """

    days: int = AVAILABILITY_DAYS
    availability: Mapping[str, Tally] = field(default_factory=dict)
    outages: Sequence[Outage] = ()
    readings: Sequence[Reading] = ()
    lost: str = ""
    daily: Mapping[str, Mapping[int, Tally]] = field(default_factory=dict)
    """As `availability`, for each day (UTC, counted from the epoch) on which the watch looked."""


@dataclass(frozen=True)
class Event:
    """One entry of the timeline: an outage or an operation. Times are seconds since the epoch."""

    began: float
    ended: float | None
    outage: Outage | None = None
    operation: Operation | None = None


def past(directory: Path, now: float, days: int = AVAILABILITY_DAYS) -> Past:
    """Return the past of the last `days` days; empty while the watch has not run. Makes and changes no file."""
    if not (directory / NAME).exists():
        return Past(days)
    since = now - days * DAY
    try:
        with Memory(directory) as memory:
            found = tuple(memory.outages(since, _OUTAGES))
            readings = tuple(memory.readings(since))
            return Past(days, memory.tallies(since), found, readings, daily=memory.daily(since))
    except (sqlite3.Error, OSError) as error:
        return Past(days, lost=f"{directory / NAME} cannot be read ({reason_of(error)})")


def untold(outages: Iterable[Outage], incidents: Sequence[Incident]) -> list[Outage]:
    """Return the outages without those of the whole server that an incident tells."""
    return [
        one
        for one in outages
        if one.subject != SERVER
        or not any(_overlap(one, each.began, each.ended or each.seen) for each in incidents)
    ]


def _overlap(one: Outage, began: float, ended: float) -> bool:
    return one.began <= ended + MERGED_SECONDS and (one.ended or one.last) >= began - MERGED_SECONDS


def timeline(outages: Iterable[Outage], operations: Iterable[Operation]) -> list[Event]:
    """Return outages and operations together, newest first."""
    events = [Event(one.began, one.ended, outage=one) for one in outages]
    events += [Event(one.started, one.finished, operation=one) for one in operations]
    return sorted(events, key=lambda event: event.began, reverse=True)


def percent(tally: Tally) -> str:
    """Return the share of good passes for people, rounded down: what was not always good shall not read as if."""
    return f"{int(tally.percent * 100) / 100:g} %"


def as_json(found: Past) -> dict[str, Any]:
    """Return availability and outages as plain data; times are ISO 8601 with zone."""
    return {
        "availability_days": found.days,
        "availability": [
            {"url": url, "pass_count": one.passes, "good_count": one.good, "percent": round(one.percent, 3)}
            for url, one in found.availability.items()
        ],
        "outages": [
            {
                "scope": "server" if one.subject == SERVER else "responder",
                "url": one.subject or None,
                "what": one.what,
                "began": moment(one.began),
                "last_seen": moment(one.last),
                "ended": moment(one.ended) if one.ended else None,
            }
            for one in found.outages
        ],
        "watch_lost": found.lost or None,
    }
