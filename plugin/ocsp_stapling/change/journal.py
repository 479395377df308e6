"""What was done and what is being done: operations, their steps and the bytes to go back to.

SQLite with full synchronisation: a step is on disk before it is taken. The switch must work even when this file is
lost, damaged, locked or cannot be written; then `lost` says so and the operation goes on without a history.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ocsp_stapling.problem import reason_of
from ocsp_stapling.text import moment

NAME = "journal.sqlite"
_BUSY_SECONDS = 3.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS operations (
    id TEXT PRIMARY KEY, action TEXT NOT NULL, who TEXT NOT NULL, reason TEXT NOT NULL,
    started REAL NOT NULL, finished REAL, state TEXT NOT NULL, plan TEXT NOT NULL, result TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS steps (
    operation TEXT NOT NULL REFERENCES operations (id), number INTEGER NOT NULL, at REAL NOT NULL,
    name TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (operation, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    operation TEXT NOT NULL REFERENCES operations (id), path TEXT NOT NULL, before BLOB, after BLOB,
    PRIMARY KEY (operation, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS incidents (id TEXT PRIMARY KEY, began REAL NOT NULL, document BLOB NOT NULL);
"""
# The bytes of old changes go; what was done, when and by whom stays.
_KEPT = 200
_FORGET = "DELETE FROM files WHERE operation NOT IN (SELECT id FROM operations ORDER BY rowid DESC LIMIT ?)"
_KEPT_INCIDENTS, _NEWEST_INCIDENTS = 100, 10
RUNNING = "running"
_ENDINGS = {
    RUNNING: "under way",
    "done": "done",
    "refused": "refused, nothing touched",
    "restored": "failed, everything put back",
    "failed": "FAILED and not put back",
}
_EARLIER = {
    "message": "sentence",
    "files": "changes",
    "samples": "verification",
    "staple": "staple_wanted",
    "responder": "responder_host",
    "must_staple": "must_staple_sites",
    "sites_affected": "sites_affected_count",
}
"""What plans, results and steps were called before documents had a `schema`."""
_T = TypeVar("_T")


def ending(state: str, result: Mapping[str, Any] | None = None) -> str:
    """Return how an operation ended, in words; its result tells where a change that was made did not help."""
    told = _ENDINGS.get(state, state)
    return f"{told}, but some visitors still wait" if (result or {}).get("still_waiting_names") else told


_RUNGS = {
    "whm-api": "Asking WHM to restart Apache",
    "signal-parent": "Signalling Apache itself",
    "end-old-workers": "Ending Apache's old workers, which still hang",
    "stop-start": "Stopping Apache and starting it anew",
    "start": "Starting Apache, which WHM's restart left stopped",
}
_STEPS = {
    "write": "Writing an include",
    "configtest": "Testing the configuration with httpd",
    "rebuild": "Letting cPanel rebuild httpd.conf",
    "restart": "Restarting Apache",
    "whm-said": "WHM's own words",
    "verify": "Testing sites to see the effect",
    "restore": "Putting everything back as it was",
    "recover": "Bringing the interrupted change to its end",
}
_SAID = 160
_COLOUR = re.compile(r"\x1b\[[\d;]*[A-Za-z]")


def step_words(name: str, detail: Mapping[str, Any]) -> str:
    """Return a step in one line, the same for terminal and page."""
    if name == "write" and detail.get("path"):
        return f"Writing {detail['path']}"
    if name == "restart":
        because = f". {detail['because']}" if detail.get("because") else ""
        return _RUNGS.get(str(detail.get("rung")), _STEPS[name]) + because
    if name == "verify" and detail.get("sentence"):
        return f"Verified: {detail['sentence']}"
    if name == "return":
        wish = "It shall turn on by itself" if detail.get("armed") else "It shall not turn on by itself"
        return f"{wish}, says {detail.get('who', 'somebody')}"
    if name == "whm-said" and detail.get("said"):
        said = _COLOUR.sub("", str(detail["said"]))
        return f"{_STEPS[name]}: {' '.join(said.split())[:_SAID]}"
    return _STEPS.get(name, name)


class FileRecord(NamedTuple):
    """A file of an operation: its bytes before, and the bytes wanted after (None: no such file)."""

    path: Path
    before: bytes | None
    after: bytes | None


class Step(NamedTuple):
    """One step of an operation; `at` is seconds since the epoch."""

    at: float
    name: str
    detail: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the step as `history OPERATION --json` shows it."""
        return {"at": moment(self.at), "step": self.name, "facts": dict(self.detail)}


@dataclass(frozen=True)
class Operation:
    """One off, on or undo: who asked for it and why, when, how it ended. Times are seconds since the epoch.

    `state` is `running`, `done`, `refused`, `restored` (failed, everything as before) or `failed`.
    """

    id: str
    action: str
    who: str
    reason: str
    started: float
    finished: float | None
    state: str
    plan: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def site(self) -> str:
        """Return the only site (`@NAME`: those of an account) that it concerns, "" for all."""
        return str(self.plan.get("site") or "")

    def as_json(self) -> dict[str, Any]:
        """Return the operation as `history --json` and `status --json` show it, without plan, steps and result."""
        return {
            "operation": self.id,
            "action": self.action,
            "who": self.who,
            "reason": self.reason or None,
            "site": self.plan.get("site"),
            "started": moment(self.started),
            "finished": moment(self.finished) if self.finished else None,
            "state": self.state,
            "sentence": self.result.get("sentence"),
            "still_waiting_names": list(self.result.get("still_waiting_names") or ()),
        }


def unfinished(directory: Path) -> Operation | None:
    """Return a change that was begun and has not ended, None if there is none; the newest of several."""
    with Journal(directory, create=False) as journal:
        return next(iter(journal.operations(limit=1, state=RUNNING)), None)


def last_change(directory: Path) -> float:
    """Return when the last change ended that touched anything, 0 if none is known."""
    with Journal(directory, create=False) as journal:
        ended = journal.operations(limit=5)
    return max((one.finished or 0.0 for one in ended if one.state != "refused"), default=0.0)


class IncidentRow(NamedTuple):
    """An incident as it is kept: what `document` means, only those know who write it."""

    id: str
    began: float
    document: bytes


class Journal:
    """The journal in `directory`. Its methods never raise for a database that fails: see `lost`.

    With `create` false a journal that is not there stays away and reads as empty.
    """

    def __init__(
        self, directory: Path, clock: Callable[[], float] = time.time, *, create: bool = True
    ) -> None:
        self._path = directory / NAME
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self.lost = ""
        if create or self._path.exists():
            self._open_or_replace()

    def close(self) -> None:
        """Release the database."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(
        self,
        action: str,
        who: str,
        reason: str,
        plan: Mapping[str, Any],
        files: Sequence[FileRecord],
        identity: str = "",
    ) -> Operation:
        """Record an operation that is about to start, with every byte needed to go back."""
        operation = Operation(
            identity or new_identity(), action, who, reason, self._clock(), None, RUNNING, plan, {}
        )

        def write(database: sqlite3.Connection) -> None:
            row = (operation.id, action, who, reason, operation.started, RUNNING, json.dumps(plan), "{}")
            database.execute("INSERT INTO operations VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?)", row)
            rows = [(operation.id, str(f.path), f.before, f.after) for f in files]
            database.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", rows)
            database.execute(_FORGET, (_KEPT,))

        self._write(write)
        return operation

    def step(self, operation: str, name: str, detail: Mapping[str, Any] | None = None) -> Step:
        """Record a step before it is taken."""
        step = Step(self._clock(), name, detail or {})

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "INSERT INTO steps SELECT ?, 1 + COALESCE(MAX(number), 0), ?, ?, ? FROM steps WHERE operation = ?",
                (operation, step.at, name, json.dumps(step.detail, default=str), operation),
            )

        self._write(write)
        return step

    def finish(self, operation: str, state: str, result: Mapping[str, Any]) -> None:
        """Record how an operation ended."""

        def write(database: sqlite3.Connection) -> None:
            database.execute(
                "UPDATE operations SET state = ?, finished = ?, result = ? WHERE id = ?",
                (state, self._clock(), json.dumps(result, default=str), operation),
            )

        self._write(write)

    def choose_return(self, operation: str, *, armed: bool, who: str) -> None:
        """Record, after the fact, whether the watch shall take this change back when all is healthy."""

        def write(database: sqlite3.Connection) -> None:
            query = "SELECT plan FROM operations WHERE id = ?"
            for (plan,) in database.execute(query, (operation,)).fetchall():
                chosen = json.dumps({**_loads(plan), "return_when_healthy": armed})
                database.execute("UPDATE operations SET plan = ? WHERE id = ?", (chosen, operation))

        self._write(write)
        self.step(operation, "return", {"armed": armed, "who": who})

    def operations(self, limit: int = 50, state: str = "", since: float = 0.0) -> list[Operation]:
        """Return the newest operations first, of one state or begun `since` then; by their order: clocks can jump."""

        def read(database: sqlite3.Connection) -> list[Operation]:
            wanted = "? IN ('', state) AND started >= ?"
            query = f"SELECT * FROM operations WHERE {wanted} ORDER BY rowid DESC LIMIT ?"  # noqa: S608 - ours
            return [_operation(row) for row in database.execute(query, (state, since, limit))]

        return self._read(read, [])

    def operation(self, identity: str) -> Operation | None:
        """Return one operation, None if it is unknown."""

        def read(database: sqlite3.Connection) -> Operation | None:
            row = database.execute("SELECT * FROM operations WHERE id = ?", (identity,)).fetchone()
            return _operation(row) if row else None

        return self._read(read, None)

    def called(self, word: str) -> Operation | None:
        """Return the operation that people call so: its identity, its number in the history, or `last`."""
        number = 1 if word == "last" else int(word) if re.fullmatch(r"[0-9]{1,4}", word) else 0
        if not number:
            return self.operation(word)
        found = self.operations(limit=number)
        return found[-1] if len(found) == number else None

    def steps(self, operation: str) -> list[Step]:
        """Return an operation's steps in order."""

        def read(database: sqlite3.Connection) -> list[Step]:
            query = "SELECT at, name, detail FROM steps WHERE operation = ? ORDER BY number"
            return [
                Step(at, name, _loads(detail)) for at, name, detail in database.execute(query, (operation,))
            ]

        return self._read(read, [])

    def files(self, operation: str) -> list[FileRecord]:
        """Return the files of an operation with their bytes before and after."""

        def read(database: sqlite3.Connection) -> list[FileRecord]:
            query = "SELECT path, before, after FROM files WHERE operation = ? ORDER BY path"
            return [FileRecord(Path(p), b, a) for p, b, a in database.execute(query, (operation,))]

        return self._read(read, [])

    def incidents(self, limit: int) -> list[bytes]:
        """Return the incidents' documents, the one amended last first."""
        return self._read(lambda database: _incidents(database, limit), [])

    def amend_incidents(
        self, amend: Callable[[Sequence[bytes]], Iterable[IncidentRow]], stays: Callable[[bytes], bool]
    ) -> None:
        """Keep what `amend` makes of the documents amended last; nobody else writes in between.

        Where there are too many, the oldest go, those first that need not stay.
        """

        def write(database: sqlite3.Connection) -> None:
            rows = [(one.id, one.began, one.document) for one in amend(_incidents(database, 3))]
            database.executemany("INSERT OR REPLACE INTO incidents VALUES (?, ?, ?)", rows)
            (count,) = database.execute("SELECT COUNT(*) FROM incidents").fetchone()
            if (surplus := count - _KEPT_INCIDENTS) > 0:
                query = "SELECT id, CAST(document AS BLOB) FROM incidents ORDER BY rowid LIMIT ?"
                old = database.execute(query, (count - _NEWEST_INCIDENTS,)).fetchall()
                old.sort(key=lambda row: stays(row[1]))
                gone = [(identity,) for identity, _ in old[:surplus]]
                database.executemany("DELETE FROM incidents WHERE id = ?", gone)

        self._write(write)

    @property
    def missing(self) -> str:
        """Return what of the history is lost, now or since an earlier one was damaged; "" if nothing is."""
        aside = max(self._path.parent.glob(f"{NAME}.damaged-*"), default=None)
        then = f"an earlier one was damaged and was put aside as {aside}; this one begins after it"
        return self.lost or (then if aside else "")

    # -- the database, which may fail ----------------------------------------------------------------------

    def _open_or_replace(self) -> None:
        try:
            self._database = _connect(self._path)
        except (sqlite3.OperationalError, OSError) as error:
            # Locked, read-only, no space, no permission: nothing that moving the file away would mend.
            self.lost = f"{self._path} cannot be used ({reason_of(error)})"
        except sqlite3.DatabaseError as error:
            self._replace_damaged(error)

    def _replace_damaged(self, error: Exception) -> None:
        self.close()
        self.lost = f"{self._path} was damaged ({error}) and was put aside; the history begins anew"
        aside = self._path.with_name(f"{NAME}.damaged-{int(self._clock())}")
        try:
            for suffix in ("-journal", "-wal", "-shm"):
                self._path.with_name(NAME + suffix).unlink(missing_ok=True)
            self._path.replace(aside)
            self._database = _connect(self._path)
        except (sqlite3.Error, OSError) as second:
            self.lost = f"{self._path} cannot be used ({reason_of(second)})"

    def _write(self, action: Callable[[sqlite3.Connection], None]) -> None:
        if self._database is None:
            return
        try:
            with transaction(self._database) as database:
                action(database)
        except sqlite3.Error as error:
            self.lost = f"{self._path} cannot be written ({error})"
            self.close()

    def _read(self, action: Callable[[sqlite3.Connection], _T], default: _T) -> _T:
        if self._database is None:
            return default
        try:
            return action(self._database)
        except sqlite3.OperationalError as error:
            self.lost = f"{self._path} cannot be read ({error})"
        except (sqlite3.DatabaseError, ValueError) as error:
            self._replace_damaged(error)
        return default


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Hold a write transaction: committed at the end, taken back whole if anything is raised."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def new_identity() -> str:
    """Return an identity for an operation: sortable by time, unique, safe in a URL and a file name."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + os.urandom(3).hex()


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Created by us with a mode of our choosing: backups may hold what only root may read.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _incidents(database: sqlite3.Connection, limit: int) -> list[bytes]:
    # By their order, for clocks can jump; as bytes: text that is no UTF-8 would read as a database that fails.
    query = "SELECT CAST(document AS BLOB) FROM incidents ORDER BY rowid DESC LIMIT ?"
    return [found for (found,) in database.execute(query, (limit,))]


def _operation(row: Sequence[Any]) -> Operation:
    identity, action, who, reason, started, finished, state, plan, result = row
    return Operation(identity, action, who, reason, started, finished, state, _loads(plan), _loads(result))


def _loads(text: str) -> Mapping[str, Any]:
    found = _renamed(json.loads(text))
    return found if isinstance(found, dict) else {}


def _renamed(found: Any) -> Any:
    """What an earlier version wrote, in today's names."""
    if isinstance(found, list):
        return [_renamed(each) for each in found]
    if not isinstance(found, dict) or "schema" in found:
        return found
    if "milliseconds" in found:  # a handshake
        found = {**found, "seconds": found["milliseconds"] / 1000, "failure": found.get("error")}
        return {name: value for name, value in found.items() if name not in ("milliseconds", "error")}
    return {_EARLIER.get(name, name): _renamed(value) for name, value in found.items()}
