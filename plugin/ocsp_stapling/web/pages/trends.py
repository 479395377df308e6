"""What the watch remembers of the responders: trends, availability, since when there is trouble."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ocsp_stapling.check.words import trouble_words
from ocsp_stapling.watch.history import AVAILABILITY_DAYS, percent
from ocsp_stapling.watch.memory import DAY, NAME, Memory
from ocsp_stapling.web.context import services
from ocsp_stapling.web.pages.chart import SPARK_HEIGHT, Point
from ocsp_stapling.web.words import counted, duration, moment

_POINTS = 24
_TREND_SECONDS = 4 * 3600.0
_GOOD = ("ok", "reachable")
T = TypeVar("T")
Stamp = tuple[int, ...]


def trends() -> Mapping[str, tuple[Point, ...]]:
    """Return the watch's last readings of each responder by URL, oldest first."""
    return _trends(*_memory())


@lru_cache(maxsize=1)
def _trends(directory: Path, _stamp: Stamp) -> Mapping[str, tuple[Point, ...]]:
    found: dict[str, list[Point]] = {}
    since = time.time() - _TREND_SECONDS
    readings = _recall(lambda memory: list(memory.readings(since)), directory) or []
    for reading in readings[-_POINTS:]:
        by_url: dict[str, list[tuple[str, float | None]]] = {}
        for name, seen in reading.addresses.items():
            by_url.setdefault(name.rpartition(" ")[0], []).append(seen)
        for url, addresses in by_url.items():
            found.setdefault(url, []).append(_point(reading.at, addresses))
    return {url: tuple(points) for url, points in found.items()}


def availability() -> Mapping[str, str]:
    """Return in words how often each responder was good at every address in the last weeks, by URL."""
    return _availability(*_memory())


@lru_cache(maxsize=1)
def _availability(directory: Path, _stamp: Stamp) -> Mapping[str, str]:
    since = time.time() - AVAILABILITY_DAYS * DAY
    tallies = _recall(lambda memory: memory.tallies(since), directory) or {}
    return {
        url: f"{percent(one)} of {counted(one.passes, 'look')} by the watch in the last {AVAILABILITY_DAYS} days"
        for url, one in tallies.items()
    }


def _memory() -> tuple[Path, Stamp]:
    """Where the watch's memory is, and what changes with every pass: between two, nothing is worked out again."""
    directory = services().settings.state_directory
    try:
        found = (directory / NAME).stat()
    except OSError:
        return directory, ()
    return directory, (found.st_mtime_ns, found.st_ino, found.st_size)


def _recall(read: Callable[[Memory], T], directory: Path) -> T | None:
    """Ask the watch's memory; None while it has not run, or if it cannot be read."""
    if not (directory / NAME).exists():
        return None
    try:
        with Memory(directory) as memory:
            return read(memory)
    except (sqlite3.Error, OSError):
        return None


def _point(at: float, addresses: Sequence[tuple[str, float | None]]) -> Point:
    bad = [outcome for outcome, _ in addresses if outcome not in _GOOD]
    slowest = max((took or 0.0 for _, took in addresses), default=0.0)
    when = moment(datetime.fromtimestamp(at, UTC))
    if bad:
        return Point("bad", SPARK_HEIGHT, f"{trouble_words(bad[0])} at {when}")
    height = round(6 + 14 * min(slowest / 1000, 1))
    return Point("good", height, f"good in {duration(slowest / 1000)} at {when}")
