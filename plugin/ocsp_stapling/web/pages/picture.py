"""What the pages stand on: the last check brought up to date, as far as the caller may see it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from flask import g

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import NAME as JOURNAL_NAME
from ocsp_stapling.change.journal import RUNNING, Journal, Operation
from ocsp_stapling.check import result
from ocsp_stapling.check.diagnosis import Diagnosis, diagnose
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence
from ocsp_stapling.check.result import Check
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.restricted import restricted
from ocsp_stapling.web.visibility import visible_to
from ocsp_stapling.whm.accounts import Visible

_RECENT = 20


T = TypeVar("T")


class Latest(Generic[T]):
    """Keeps what was last made of some objects that never change, until it is asked to make it of others."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[object, ...], T] | None = None

    def of(self, make: Callable[..., T], *things: object) -> T:
        """Return what `make` makes of these very things (the same objects, not equal ones)."""
        kept = self._kept
        if kept is None or not all(map(operator.is_, kept[0], things)):
            kept = self._kept = things, make(*things)
        return kept[1]


@dataclass(frozen=True)
class Picture:
    """The present state as one caller may see it; without a check yet, `evidence` and `diagnosis` are None."""

    evidence: Evidence | None
    diagnosis: Diagnosis | None
    changed: Changed | None
    running: Operation | None
    returns: bool | None
    visible: Visible


def picture() -> Picture:
    """Return what the caller may see, worked out once a request. Raises Problem `accounts-unreadable`."""
    if "picture" not in g:
        g.picture = _picture()
    found = g.picture
    assert isinstance(found, Picture)
    return found


def _picture() -> Picture:
    directory = services().settings.state_directory
    visible = visible_to(caller())
    operations = recent_operations(directory)
    last = last_check(directory)
    under_way = running(operations)
    if last is None:
        return Picture(None, None, None, under_way, None, visible)
    evidence, changed = up_to_date(last.evidence, operations)
    returns = returns_by_itself(operations)
    if changed is None and visible.everything:
        return Picture(last.evidence, last.diagnosis, None, under_way, returns, visible)
    evidence = restricted(evidence, visible)
    return Picture(evidence, diagnose(evidence), changed, under_way, returns, visible)


def recent_operations(directory: Path) -> list[Operation]:
    """Return the newest operations, newest first; none before the first change (a look makes no journal)."""
    if not (directory / JOURNAL_NAME).exists():
        return []
    with Journal(directory) as journal:
        return journal.operations(limit=_RECENT)


def last_check(directory: Path) -> Check | None:
    """Return the last check, None if there is none or another version wrote it."""
    try:
        status = (directory / result.NAME).stat()
    except OSError:
        return None
    return _check(directory, status.st_mtime_ns, status.st_ino, status.st_size)


@lru_cache(maxsize=1)
def _check(directory: Path, _time: int, _inode: int, _size: int) -> Check | None:
    return result.load(directory)


def returns_by_itself(operations: Sequence[Operation]) -> bool | None:
    """Return whether the watch will turn stapling on again; None if the last change was not an off."""
    last = next((one for one in operations if one.state == DONE), None)
    if last is None or last.plan.get("stapling_then") != "off":
        return None
    configured = services().settings.watch.return_by_itself
    return bool(last.plan.get("return_when_healthy")) if configured == "ask" else configured == "always"


DONE = "done"


@dataclass(frozen=True)
class Changed:
    """A change that ended after the last check."""

    identity: str
    on: bool
    when: datetime
    sentence: str


def up_to_date(evidence: Evidence, operations: Sequence[Operation]) -> tuple[Evidence, Changed | None]:
    """Return the evidence as it would be after the latest of `operations` (newest first), and that change.

    What was measured before a change says nothing about the time after it, so those handshakes are left out.
    """
    last = next((one for one in operations if one.state == DONE and one.finished and one.plan), None)
    if last is None or last.finished is None or last.finished <= evidence.taken_at.timestamp():
        return evidence, None
    on = last.plan.get("stapling_then") == "on"
    when = datetime.fromtimestamp(last.finished, UTC)
    changed = Changed(last.id, on, when, str(last.result.get("sentence") or ""))
    configuration = _configuration(evidence.configuration, last, on, when)
    log = replace(evidence.log, fresh_timeouts=0)
    return replace(evidence, configuration=configuration, handshakes=(), log=log), changed


def _configuration(
    before: ConfigurationEvidence, last: Operation, on: bool, when: datetime
) -> ConfigurationEvidence:
    """What the change decided; whom Apache asks, and sites of their own mind, stay what they were."""
    bare = replace(before, on=on, where="", line="", off_since=None, off_by="", reason="", directives=())
    if on:
        return replace(bare, origin=Origin.UNKNOWN, still_on=())
    return replace(bare, origin=Origin.PLUGIN, off_since=when, off_by=last.who, reason=last.reason)


def running(operations: Sequence[Operation]) -> Operation | None:
    """Return the operation that has begun and not ended, if there is one."""
    return next((one for one in operations if one.state == RUNNING), None)
