"""What the watch remembers: its state, and past surveys, thinned as they age.

A database of its own: written every five minutes, it must never get in the way of the journal of
operations. Losing it loses curves, not the means to go back.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "watch.sqlite"
HOUR, DAY = 3600.0, 86400.0
# Older than this many seconds: one survey in each span of that many seconds is kept.
THINNING = ((DAY, HOUR), (31 * DAY, DAY))
KEPT_SECONDS = 731 * DAY
_SCHEMA = """
CREATE TABLE IF NOT EXISTS surveys (at REAL PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


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


class Memory:
    """The watch's database in `directory`. A damaged one is put aside and begun anew."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        try:
            self._database = _connect(self._path)
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self._path.replace(self._path.with_name(f"{NAME}.damaged"))
            self._database = _connect(self._path)

    def close(self) -> None:
        """Release the database."""
        self._database.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def recall(self, name: str) -> dict[str, Any]:
        """Return what was remembered under `name`, {} if nothing was."""
        row = self._database.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        with contextlib.suppress(ValueError):
            found = json.loads(row[0]) if row else {}
            return found if isinstance(found, dict) else {}
        return {}

    def remember(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep `value` under `name`."""
        self._database.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, json.dumps(value)))

    def add(self, reading: Reading) -> None:
        """Keep a reading and thin out the old ones."""
        row = [reading.cause, reading.severity, reading.stapling, reading.addresses]
        blob = zlib.compress(json.dumps(row, separators=(",", ":")).encode(), 6)
        self._database.execute("INSERT OR REPLACE INTO surveys VALUES (?, ?)", (reading.at, blob))
        self._thin(reading.at)

    def readings(self, since: float = 0.0) -> Iterator[Reading]:
        """Return the readings since a moment, oldest first; unreadable ones are passed over."""
        query = "SELECT at, document FROM surveys WHERE at >= ? ORDER BY at"
        for at, blob in self._database.execute(query, (since,)):
            with contextlib.suppress(ValueError, zlib.error, TypeError, AttributeError):
                cause, severity, stapling, addresses = json.loads(zlib.decompress(blob))
                yield Reading(at, cause, severity, stapling, {k: (v[0], v[1]) for k, v in addresses.items()})

    def _thin(self, now: float) -> None:
        """Keep the first reading of each span."""
        for age, span in THINNING:
            self._database.execute(
                "DELETE FROM surveys WHERE at < ? AND at NOT IN "
                "(SELECT MIN(at) FROM surveys WHERE at < ? GROUP BY CAST(at / ? AS INTEGER))",
                (now - age, now - age, span),
            )
        # A clock that was once far ahead must not leave readings that never age.
        self._database.execute("DELETE FROM surveys WHERE at < ? OR at > ?", (now - KEPT_SECONDS, now + DAY))


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=3.0, isolation_level=None)
    try:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database
