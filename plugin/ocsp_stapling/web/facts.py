"""What the pages stand on: the last check brought up to date, as far as the caller may see it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from ocsp_stapling import report
from ocsp_stapling.diagnosis import Diagnosis, diagnose
from ocsp_stapling.evidence import Evidence
from ocsp_stapling.journal import NAME as JOURNAL_NAME
from ocsp_stapling.journal import Journal, Operation
from ocsp_stapling.watch.memory import NAME as MEMORY_NAME
from ocsp_stapling.watch.memory import Memory, Reading
from ocsp_stapling.watch.past import past, percent
from ocsp_stapling.web import current
from ocsp_stapling.web.chart import SPARK_HEIGHT, Point
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.restricted import restricted
from ocsp_stapling.web.stored import evidence_of
from ocsp_stapling.web.visibility import visible_to
from ocsp_stapling.web.words import counted, duration, moment
from ocsp_stapling.whm.accounts import Visible

_RECENT = 20
_POINTS = 24
_TREND_SECONDS = 4 * 3600.0
_SINCE_SECONDS = 7 * 86400.0
_GOOD = ("ok", "reachable")
_TROUBLE = ("stalling", "failing")


@dataclass(frozen=True)
class Picture:
    """The present state as one caller may see it; without a check yet, `evidence` and `diagnosis` are None."""

    evidence: Evidence | None
    diagnosis: Diagnosis | None
    changed: current.Changed | None
    running: Operation | None
    returns: bool | None
    visible: Visible


def picture() -> Picture:
    """Return what the caller of this request may see. Raises Problem `accounts-unreadable`."""
    directory = services().settings.state_directory
    visible = visible_to(caller())
    operations = recent_operations(directory)
    evidence = last_evidence(directory)
    under_way = current.running(operations)
    if evidence is None:
        return Picture(None, None, None, under_way, None, visible)
    evidence, changed = current.up_to_date(evidence, operations)
    evidence = restricted(evidence, visible)
    returns = returns_by_itself(operations)
    return Picture(evidence, diagnose(evidence), changed, under_way, returns, visible)


def recent_operations(directory: Path) -> list[Operation]:
    """Return the newest operations, newest first; none before the first change (a look makes no journal)."""
    if not (directory / JOURNAL_NAME).exists():
        return []
    with Journal(directory) as journal:
        return journal.operations(limit=_RECENT)


def last_evidence(directory: Path) -> Evidence | None:
    """Return the last check's evidence, None if there is none or another version wrote it."""
    try:
        status = (directory / report.LAST_CHECK).stat()
    except OSError:
        return None
    return _evidence(directory, status.st_mtime_ns, status.st_ino, status.st_size)


@lru_cache(maxsize=1)
def _evidence(directory: Path, _time: int, _inode: int, _size: int) -> Evidence | None:
    document = report.load(directory)
    try:
        return evidence_of(document) if document else None
    except (ValueError, TypeError, KeyError):
        return None


def trends() -> Mapping[str, tuple[Point, ...]]:
    """Return the watch's last readings of each responder by URL, oldest first."""
    found: dict[str, list[Point]] = {}
    for reading in _readings(_TREND_SECONDS)[-_POINTS:]:
        by_url: dict[str, list[tuple[str, float | None]]] = {}
        for name, seen in reading.addresses.items():
            by_url.setdefault(name.rpartition(" ")[0], []).append(seen)
        for url, addresses in by_url.items():
            found.setdefault(url, []).append(_point(reading.at, addresses))
    return {url: tuple(points) for url, points in found.items()}


def availability() -> Mapping[str, str]:
    """Return in words how often each responder was good at every address in the last weeks, by URL."""
    seen = past(services().settings.state_directory, time.time())
    return {
        url: f"{percent(one)} of the last {seen.days} days ({counted(one.passes, 'look')} by the watch)"
        for url, one in seen.availability.items()
    }


def trouble_since() -> datetime | None:
    """Return since when the watch has seen trouble without a break, None if it sees none now."""
    first = None
    for reading in reversed(_readings(_SINCE_SECONDS)):
        if reading.severity not in _TROUBLE:
            break
        first = reading.at
    return datetime.fromtimestamp(first, UTC) if first else None


def returns_by_itself(operations: Sequence[Operation]) -> bool | None:
    """Return whether the watch will turn stapling on again; None if the last change was not an off."""
    last = next((one for one in operations if one.state == current.DONE), None)
    if last is None or last.plan.get("stapling_then") != "off":
        return None
    configured = services().settings.watch.return_by_itself
    return bool(last.plan.get("return_when_healthy")) if configured == "ask" else configured == "always"


def _readings(seconds: float) -> list[Reading]:
    directory = services().settings.state_directory
    if not (directory / MEMORY_NAME).exists():
        return []
    try:
        with Memory(directory) as memory:
            return list(memory.readings(time.time() - seconds))
    except (sqlite3.Error, OSError):
        return []


def _point(at: float, addresses: Sequence[tuple[str, float | None]]) -> Point:
    bad = [outcome for outcome, _ in addresses if outcome not in _GOOD]
    slowest = max((took or 0.0 for _, took in addresses), default=0.0)
    when = moment(datetime.fromtimestamp(at, UTC))
    if bad:
        return Point("bad", SPARK_HEIGHT, f"{bad[0]} at {when}")
    height = round(6 + 14 * min(slowest / 1000, 1))
    return Point("good", height, f"good in {duration(slowest / 1000)} at {when}")
