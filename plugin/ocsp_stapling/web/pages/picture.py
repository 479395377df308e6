"""What the pages stand on: the last check brought up to date, as far as the caller may see it."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from flask import g

from ocsp_stapling.change.journal import RUNNING, Operation
from ocsp_stapling.check import result
from ocsp_stapling.check.diagnosis import Diagnosis, diagnose
from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.check.result import Check
from ocsp_stapling.check.since import Changed, interim, recent_operations, up_to_date
from ocsp_stapling.watch.returning import standing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.restricted import restricted
from ocsp_stapling.web.visibility import visible_to
from ocsp_stapling.whm.accounts import Visible

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

    @property
    def interim(self) -> bool:
        """Whether a change may have had an end put to what the check before it found failing."""
        if self.diagnosis is None or self.evidence is None:
            return False
        return interim(self.changed, self.evidence, self.diagnosis)


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
    returns = standing(services().settings, time.time()).armed
    if changed is None and visible.everything:
        return Picture(last.evidence, last.diagnosis, None, under_way, returns, visible)
    evidence = restricted(evidence, visible)
    if changed and not visible.everything:
        changed = replace(changed, sentence="")  # it may name others' sites, and files of theirs
    return Picture(evidence, diagnose(evidence), changed, under_way, returns, visible)


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


def running(operations: Sequence[Operation]) -> Operation | None:
    """Return the operation that has begun and not ended, if there is one."""
    return next((one for one in operations if one.state == RUNNING), None)
