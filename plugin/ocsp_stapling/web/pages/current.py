"""The last check brought up to date with changes made since, so that the page never shows a state that is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import RUNNING, Operation
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence

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
