"""Where incidents are kept: a table of the journal, fed by every check and by the changes that stand beside it.

A row that cannot be read is passed over: it must neither cost the history of changes nor the check that meets it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ocsp_stapling import codec
from ocsp_stapling.change.journal import NAME, RUNNING, IncidentRow, Journal, Operation
from ocsp_stapling.check.incident.follow import LAST_WAITS, done, seen
from ocsp_stapling.check.incident.look import Look, look_at
from ocsp_stapling.check.incident.model import Incident
from ocsp_stapling.problem import Problem

_RECENT_CHANGES = 50
OPERATIONS = 1000
"""So many of the newest changes are looked through for those of an incident."""


def look_taken(directory: Path, document: dict[str, Any], source: str, before: float = 0.0) -> None:
    """Feed a check's document into the record of this server; `source` is `check`, `page` or `watch`.

    `before` is the time of the look before it. Where nothing was ever recorded and nothing is wrong, no file is made.
    A journal that cannot be written costs the record only.
    """
    look = look_at(document, source)
    if look.opens or (directory / NAME).exists():
        with Journal(directory) as journal:
            _amended(journal, look, before)


def brought_up_to_date(journal: Journal) -> None:
    """Take over what changes have done since the last look; without such nothing is written."""
    last = latest(journal)
    if _followed(last, _changes(journal, _open_since(last)), None):
        _amended(journal, None)


def known(journal: Journal, limit: int = 100) -> list[Incident]:
    """Return the incidents, newest first."""
    return _read(journal.incidents(limit))


def one_of(journal: Journal, identity: str) -> Incident:
    """Return the incident of this identity; `latest` is the newest. Raises Problem `unknown-incident`."""
    for one in known(journal):
        if identity in (one.id, "latest"):
            return one
    if identity == "latest":
        raise Problem("unknown-incident", "No incident is in the history of this server.")
    raise Problem(
        "unknown-incident",
        "That incident is not in the history; `ocsp-stapling history` lists those that are.",
    )


def latest(journal: Journal) -> Incident | None:
    """Return the newest incident, None if there never was one."""
    return next(iter(known(journal, 3)), None)


def present(directory: Path) -> Incident | None:
    """Return the newest incident, up to date with changes; a server on which nothing ever happened has no journal."""
    if not (directory / NAME).exists():
        return None
    with Journal(directory) as journal:
        brought_up_to_date(journal)
        return latest(journal)


def _amended(journal: Journal, look: Look | None, before: float = 0.0) -> None:
    changes = _changes(journal)

    def amend(rows: Sequence[bytes]) -> Iterable[IncidentRow]:
        last = next(iter(_read(rows)), None)
        return [_row(one) for one in _followed(last, changes, look, before)]

    journal.amend_incidents(amend, _hit_visitors)


def _hit_visitors(row: bytes) -> bool:
    """What hit nobody goes first: one customer's own responder may fail and heal as often as they like."""
    return any(one.hits for one in _read([row]))


def _changes(journal: Journal, since: float = 0.0) -> list[Operation]:
    every = journal.operations(_RECENT_CHANGES, since=since)
    return [one for one in reversed(every) if one.state != RUNNING]


def _open_since(last: Incident | None) -> float:
    """From when on a change can have a part in what comes after it."""
    return 0.0 if last is None else (last.began if last.ended is None else last.ended) - 1


def _followed(
    last: Incident | None, changes: Sequence[Operation], look: Look | None, before: float = 0.0
) -> list[Incident]:
    """Changes first, in their order: the look was taken after them, and no incident it opens began before them."""
    found: dict[str, Incident] = {}
    for change in changes:
        if change.started < _open_since(last):
            continue
        if (after := done(last, change)) is not None:
            last = found[after.id] = after
    if look is not None:
        changed = max((each.finished or each.started for each in changes), default=-LAST_WAITS) + LAST_WAITS
        found |= {one.id: one for one in seen(last, look, max(before, changed))}
    return list(found.values())


def _row(one: Incident) -> IncidentRow:
    return IncidentRow(one.id, one.began, codec.to_json(one))


def _read(rows: Iterable[bytes]) -> list[Incident]:
    found = []
    for row in rows:
        with contextlib.suppress(codec.UnreadableError):
            found.append(codec.from_plain(codec.from_json(row), Incident))
    return found
