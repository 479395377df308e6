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

from ocsp_stapling.change.journal import transaction
from ocsp_stapling.watch.outages import Outage, Reading, follow

__all__ = ["DAY", "HOUR", "NAME", "Memory", "Outage", "Reading", "Tally"]

NAME = "watch.sqlite"
HOUR, DAY = 3600.0, 86400.0
# Older than this many seconds: one survey in each span of that many seconds is kept.
THINNING = ((DAY, HOUR), (31 * DAY, DAY))
KEPT_READINGS = 288 + 31 * 24 + 731  # a day, a month, two years; by number, so that no clock can empty it
KEPT_OUTAGES = 5000
KEPT_DAYS = 62
_BUSY_SECONDS = 3.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS surveys (at REAL PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outages (
    subject TEXT, began REAL, last REAL NOT NULL, ended REAL, what TEXT NOT NULL,
    PRIMARY KEY (subject, began)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outages_began ON outages (began);
CREATE TABLE IF NOT EXISTS tallies (
    day INTEGER, url TEXT, passes INTEGER NOT NULL, good INTEGER NOT NULL,
    PRIMARY KEY (day, url)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Tally:
    """How many passes asked a responder, and in how many every address gave a verified good answer."""

    passes: int
    good: int

    @property
    def percent(self) -> float:
        """The share of good passes, 0 to 100."""
        return 100.0 * self.good / self.passes if self.passes else 0.0


class Memory:
    """The watch's database in `directory`. A damaged one is put aside and begun anew.

    Raises sqlite3.Error or OSError, from any method, when it cannot be used (locked, disk full, read-only).
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        try:
            self._database = _connect(self._path)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._put_aside()

    def close(self) -> None:
        """Release the database."""
        self._database.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError) and _is_damage(error):
            # Found only on reading further: the next pass begins anew.
            _move_aside(self._path)

    def recall(self, name: str) -> dict[str, Any]:
        """Return what was remembered under `name`, {} if nothing was."""
        row = self._database.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        with contextlib.suppress(ValueError):
            found = json.loads(row[0]) if row else {}
            return found if isinstance(found, dict) else {}
        return {}

    def remember(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep `value` under `name`; it is on disk when this returns."""
        self._database.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, json.dumps(value)))

    def add(self, reading: Reading) -> None:
        """Keep a reading with what follows from it, and thin out the old ones."""
        row = [reading.cause, reading.severity, reading.stapling, reading.addresses]
        blob = zlib.compress(json.dumps(row, separators=(",", ":")).encode(), 6)
        with transaction(self._database) as database:
            database.execute("INSERT OR REPLACE INTO surveys VALUES (?, ?)", (reading.at, blob))
            self._count(reading)
            self._follow(reading)
            self._thin(reading.at)

    def readings(self, since: float = 0.0) -> Iterator[Reading]:
        """Return the readings since a moment, oldest first; unreadable ones are passed over."""
        query = "SELECT at, document FROM surveys WHERE at >= ? ORDER BY at"
        for at, blob in self._database.execute(query, (since,)):
            with contextlib.suppress(ValueError, zlib.error, TypeError, AttributeError):
                cause, severity, stapling, addresses = json.loads(zlib.decompress(blob))
                yield Reading(at, cause, severity, stapling, {k: (v[0], v[1]) for k, v in addresses.items()})

    def outages(self, since: float = 0.0, limit: int = KEPT_OUTAGES) -> list[Outage]:
        """Return the outages that were going on at some time since a moment, newest first."""
        query = (
            "SELECT subject, began, last, ended, what FROM outages WHERE COALESCE(ended, last) >= ? "
            "ORDER BY began DESC, subject LIMIT ?"
        )
        return [Outage(*row) for row in self._database.execute(query, (since, limit))]

    def tallies(self, since: float) -> dict[str, Tally]:
        """Return how often each responder was good since the day (UTC) of a moment, by URL."""
        query = "SELECT url, SUM(passes), SUM(good) FROM tallies WHERE day >= ? GROUP BY url ORDER BY url"
        return {url: Tally(*counts) for url, *counts in self._database.execute(query, (int(since // DAY),))}

    def daily(self, since: float) -> dict[str, dict[int, Tally]]:
        """Return the same for each day (UTC, counted from the epoch) since that of a moment, by URL."""
        query = "SELECT url, day, passes, good FROM tallies WHERE day >= ? ORDER BY url, day"
        found: dict[str, dict[int, Tally]] = {}
        for url, day, *counts in self._database.execute(query, (int(since // DAY),)):
            found.setdefault(url, {})[day] = Tally(*counts)
        return found

    def _count(self, reading: Reading) -> None:
        day = int(reading.at // DAY)
        rows = [(day, url, outcome == "ok") for url, outcome in reading.outcomes().items()]
        self._database.executemany(
            "INSERT INTO tallies VALUES (?, ?, 1, ?) ON CONFLICT (day, url) "
            "DO UPDATE SET passes = passes + 1, good = good + excluded.good",
            rows,
        )

    def _follow(self, reading: Reading) -> None:
        query = "SELECT subject, MAX(began), last, ended, what FROM outages WHERE began <= ? GROUP BY subject"
        known = {row[0]: Outage(*row) for row in self._database.execute(query, (reading.at,))}
        rows = [(o.subject, o.began, o.last, o.ended, o.what) for o in follow(known, reading)]
        self._database.executemany("INSERT OR REPLACE INTO outages VALUES (?, ?, ?, ?, ?)", rows)

    def _thin(self, now: float) -> None:
        """Keep the first reading of each span, and of everything no more than there is room for."""
        execute = self._database.execute
        # A clock that was once far ahead must not leave what never ages.
        for table, column in (("surveys", "at"), ("outages", "began"), ("tallies", f"day * {DAY:.0f}")):
            execute(f"DELETE FROM {table} WHERE {column} > ?", (now + DAY,))  # noqa: S608 - names of ours
        for age, span in THINNING:
            execute(
                "DELETE FROM surveys WHERE at < ? AND at NOT IN "
                "(SELECT MIN(at) FROM surveys WHERE at < ? GROUP BY CAST(at / ? AS INTEGER))",
                (now - age, now - age, span),
            )
        newest = "(SELECT at FROM surveys ORDER BY at DESC LIMIT ?)"
        execute(f"DELETE FROM surveys WHERE at NOT IN {newest}", (KEPT_READINGS,))  # noqa: S608
        newest = "(SELECT began FROM outages ORDER BY began DESC LIMIT 1 OFFSET ?)"
        execute(f"DELETE FROM outages WHERE began < {newest}", (KEPT_OUTAGES,))  # noqa: S608
        newest = "(SELECT DISTINCT day FROM tallies ORDER BY day DESC LIMIT ?)"
        execute(f"DELETE FROM tallies WHERE day NOT IN {newest}", (KEPT_DAYS,))  # noqa: S608

    def _put_aside(self) -> None:
        _move_aside(self._path)
        self._database = _connect(self._path)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Locked, read-only, disk full and the like are operational errors: moving the file away mends none of them."""
    return not isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError)


def _move_aside(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.replace(path.with_name(f"{path.name}.damaged"))
        for suffix in ("-journal", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database
