"""What the pages stand on: the last check brought up to date, as far as the caller may see it."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from flask import g

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import NAME as JOURNAL_NAME
from ocsp_stapling.change.journal import RUNNING, Journal, Operation
from ocsp_stapling.change.request import ACCOUNT, CACHE_FIT, OF_ONE_SITE, ON, SHIELD_ON, SITE_ON, worded
from ocsp_stapling.check import result
from ocsp_stapling.check.diagnosis import Diagnosis, Severity, diagnose, unseen
from ocsp_stapling.check.evidence import (
    ConfigurationEvidence,
    Evidence,
    HandshakeEvidence,
    Site,
)
from ocsp_stapling.check.result import Check
from ocsp_stapling.watch.returning import standing
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

    @property
    def interim(self) -> bool:
        """Whether a change may have had an end put to what the check before it found failing."""
        if self.changed is None or not self.changed.on or self.diagnosis is None or self.evidence is None:
            return False
        failing = any(not one.ok for one in self.diagnosis.responders) or bool(unseen.told(self.evidence))
        return failing and self.diagnosis.severity is not Severity.STALLING


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


DONE, RESTORED = "done", "restored"
_KEEP_THE_SHIELD = (*OF_ONE_SITE, CACHE_FIT, ON, SHIELD_ON)


@dataclass(frozen=True)
class Changed:
    """A change that ended after the last check, or failed: what was done, and what it measured at its end."""

    identity: str
    on: bool
    when: datetime
    what: str
    sentence: str


def up_to_date(evidence: Evidence, operations: Sequence[Operation]) -> tuple[Evidence, Changed | None]:
    """Return the evidence as it would be after those of `operations` (newest first) since, and the latest of them.

    What was measured before a change says nothing about the time after it: those handshakes are left out, and the
    ones with which the latest change was verified take their place.
    """
    taken = evidence.taken_at.timestamp()
    ended = [one for one in operations if one.state in (DONE, RESTORED) and one.plan]
    since = [one for one in ended if (one.finished or 0) > taken]
    for one in reversed(since):
        evidence = _after(evidence, one)
    if not since:
        return evidence, None
    last = since[0]
    return evidence, Changed(
        last.id,
        evidence.configuration.on is not False,
        _when(last),
        _what(last),
        str(last.result.get("sentence") or ""),
    )


def _what(one: Operation) -> str:
    words = worded(one.action)
    told = words.done if one.state == DONE else f"{words.doing} failed, and everything was put back"
    told = f"{told}, for some sites alone" if one.site else told
    return f"{told}, but some visitors still wait" if one.result.get("still_waiting_names") else told


def _when(one: Operation) -> datetime:
    return datetime.fromtimestamp(one.finished or one.started, UTC)


def _after(evidence: Evidence, change: Operation) -> Evidence:
    evidence = replace(
        evidence,
        handshakes=tuple(_measured(evidence, change)),
        log=replace(evidence.log, fresh_timeouts=0),
        shield=evidence.shield if change.action in _KEEP_THE_SHIELD else None,
    )
    when = "stapling_then" if change.state == DONE else "stapling_now"
    on = (
        (change.action == SITE_ON) is (change.state == DONE) if change.site else change.plan.get(when) == "on"
    )
    responders = tuple(
        replace(each, sites=tuple(_so(on, site, change.site) for site in each.sites))
        for each in evidence.responders
    )
    evidence = replace(evidence, responders=responders)
    if change.site or on is evidence.configuration.on:
        return evidence
    return replace(evidence, configuration=_switched(evidence.configuration, change, on))


def _so(on: bool, site: Site, only: str) -> Site:
    mine = only in ("", site.name, f"{ACCOUNT}{site.owner}")
    return replace(site, stapling=on) if mine else site


def _measured(evidence: Evidence, change: Operation) -> Iterable[HandshakeEvidence]:
    """The handshakes at a change's end. It sees whether staples come; what they say the next check tells.

    Of others a change for one site says only that they still wait.
    """
    if change.site:
        yield from evidence.handshakes if change.result.get("still_waiting_names") else ()
        return
    named = {site.name: one.finding.url for one in evidence.responders for site in one.sites}
    verified = change.result.get("after")
    for one in verified.get("handshakes", ()) if isinstance(verified, Mapping) else ():
        yield HandshakeEvidence(
            str(one["site"]),
            str(one["address"]),
            int(one["port"]),
            named.get(str(one["site"]), ""),
            bool(one["asked"]),
            float(one["seconds"]),
            str(one["failure"] or ""),
            "good" if one["stapled"] else "",
            key=str(one.get("key") or ""),
        )


def _switched(before: ConfigurationEvidence, change: Operation, on: bool) -> ConfigurationEvidence:
    """What the change decided; whom Apache asks, and sites of their own mind, stay what they were."""
    bare = replace(before, on=on, where="", line="", off_since=None, off_by="", reason="", directives=())
    if on:
        return replace(bare, origin=Origin.UNKNOWN, still_on=())
    return replace(
        bare, origin=Origin.PLUGIN, off_since=_when(change), off_by=change.who, reason=change.reason
    )


def running(operations: Sequence[Operation]) -> Operation | None:
    """Return the operation that has begun and not ended, if there is one."""
    return next((one for one in operations if one.state == RUNNING), None)
