"""What the pages stand on: the last check brought up to date, as far as the caller may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flask import g

from ocsp_stapling.change.journal import NAME as JOURNAL_NAME
from ocsp_stapling.change.journal import Journal, Operation
from ocsp_stapling.check import result
from ocsp_stapling.check.diagnosis import Diagnosis, diagnose
from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.check.result import Check
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.pages import current
from ocsp_stapling.web.restricted import restricted
from ocsp_stapling.web.visibility import visible_to
from ocsp_stapling.whm.accounts import Visible

_RECENT = 20


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
    under_way = current.running(operations)
    if last is None:
        return Picture(None, None, None, under_way, None, visible)
    evidence, changed = current.up_to_date(last.evidence, operations)
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
    last = next((one for one in operations if one.state == current.DONE), None)
    if last is None or last.plan.get("stapling_then") != "off":
        return None
    configured = services().settings.watch.return_by_itself
    return bool(last.plan.get("return_when_healthy")) if configured == "ask" else configured == "always"
