"""The failures of the last day, from the log's new lines alone: a pass must not read a day of them again.

Counts are kept by minute for two hours and by hour for a day, for so many responders as the log's own summary names.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ocsp_stapling.apache.errorlog.failures import OTHERS, summarise
from ocsp_stapling.apache.errorlog.form import Form
from ocsp_stapling.apache.errorlog.read import Bookmark, new_entries
from ocsp_stapling.check.evidence import LogEvidence
from ocsp_stapling.check.surroundings import read_foreign, read_log, together
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.logs import ErrorLogs
from ocsp_stapling.watch.memory import Memory

NAME = "log"
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_FINE = timedelta(hours=2)
_NAMES = 100
_MINUTE_LENGTH, _HOUR_LENGTH = len("2026-01-31T09:21"), len("2026-01-31T09")
Counts = Counter[tuple[str, str]]
"""How many, by (time, responder or kind); the time is as long as it is exact: to the minute or to the hour."""


class LogReader:
    """Reads on from where the last pass ended; a reader that the survey did not wait for can be waited for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # A second reading of this pass sees only what came after the first.
        self._since: Mapping[str, str] = {}
        self._begun, self._done = threading.Event(), threading.Event()

    def __call__(self, logs: ErrorLogs, now: datetime) -> LogEvidence:
        """Return the failures of the last day; the whole day is read where nothing can be remembered."""
        self._begun.set()
        try:
            local = now.astimezone().replace(tzinfo=None)
            found = []
            with Memory(self._directory) as memory:
                for number, path in enumerate(logs.roots):
                    name = f"{NAME} {path}" if number else NAME
                    one, known = read_on(path, memory.recall(name), local, logs.client_checks, logs.forms)
                    if known is not None:
                        memory.remember(name, known)
                    found.append(one)
            told = together([*found, read_foreign(logs, local)])
            self._since = {**told.since, **self._since}
            return replace(told, since=self._since)
        except (sqlite3.Error, OSError):
            return read_log(logs, now)
        finally:
            self._done.set()

    def wait(self, seconds: float) -> None:
        """Give a reader that is still at it some time: its first look at a huge log may outlast the survey."""
        if self._begun.is_set():
            self._done.wait(seconds)


def read_on(
    path: Path,
    known: Mapping[str, Any],
    now: datetime,
    client_checks: bool = True,
    forms: Sequence[Form] = (),
) -> tuple[LogEvidence, dict[str, Any] | None]:
    """Return what the log says of the last day, and what to know next time (None: nothing new, it is unreadable).

    `now` is naive local time, as the log's own times are.
    """
    bookmark, failures, kinds, last = _unpacked(known)
    try:
        lines, following = new_entries(path, bookmark, now - _DAY, forms)
    except Problem as problem:
        return LogEvidence(unreadable=problem.sentence), None
    fresh = summarise(lines, now, client_checks)
    failures.update({(minute, responder or ""): n for minute, responder, n in fresh.minutes})
    hour = _text(now)[:_HOUR_LENGTH]
    kinds.update({(hour, kind.value): n for kind, n in (*fresh.kinds, *fresh.noted)})
    failures, kinds = _aged(failures, now), _aged(kinds, now)
    last = fresh.last or last
    told = replace(
        _evidence(failures, kinds, last, now),
        fresh_timeouts=fresh.fresh_timeouts,
        fresh_unkept=fresh.fresh_unkept,
        since=dict(fresh.since),
    )
    return told, _packed(following, failures, kinds, last)


def _evidence(failures: Counts, kinds: Counts, last: str, now: datetime) -> LogEvidence:
    since = _text(now - _HOUR)
    recent = sum(n for (time, _), n in failures.items() if len(time) == _MINUTE_LENGTH and time >= since)
    return LogEvidence(recent, failures.total(), last, _by_name(failures), _by_name(kinds))


def _by_name(counts: Counts) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (_, name), n in counts.items():
        found[name] += n
    return dict(found.most_common())


def _aged(counts: Counts, now: datetime) -> Counts:
    """Drop what is older than a day (or of a clock that was ahead), and keep the older part by hours.

    Certificates name responders, so their number is up to customers: beyond the most frequent ones they are others.
    """
    oldest, fine, newest = _text(now - _DAY), _text(now - _FINE), _text(now + _HOUR)
    named = set(list(_by_name(counts))[:_NAMES])
    found: Counts = Counter()
    for (time, name), n in counts.items():
        if oldest[: len(time)] <= time <= newest:
            found[(time if time >= fine else time[:_HOUR_LENGTH]), name if name in named else OTHERS] += n
    return found


def _text(when: datetime) -> str:
    return when.isoformat(timespec="minutes")


def _packed(bookmark: Bookmark, failures: Counts, kinds: Counts, last: str) -> dict[str, Any]:
    return {"bookmark": asdict(bookmark), "failures": _rows(failures), "kinds": _rows(kinds), "last": last}


def _rows(counts: Counts) -> list[list[Any]]:
    return [[time, name, n] for (time, name), n in counts.items()]


def _unpacked(known: Mapping[str, Any]) -> tuple[Bookmark | None, Counts, Counts, str]:
    """Read back what `_packed` wrote; anything unusable begins anew, with the whole last day."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return (
            Bookmark(**known["bookmark"]),
            _counts(known["failures"]),
            _counts(known["kinds"]),
            str(known["last"]),
        )
    return None, Counter(), Counter(), ""


def _counts(rows: Iterable[Iterable[Any]]) -> Counts:
    return Counter({(str(time), str(name)): int(n) for time, name, n in rows})
