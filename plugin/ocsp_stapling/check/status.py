"""How things stand, from stored facts alone: the configuration, the history, the last check. No network, no probe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocsp_stapling.apache.stapling import StaplingState
from ocsp_stapling.change import lock
from ocsp_stapling.change.journal import RUNNING, Journal
from ocsp_stapling.change.note import off_note, site_note, turned_off
from ocsp_stapling.check import result
from ocsp_stapling.server import state as server
from ocsp_stapling.server.sites import refused
from ocsp_stapling.settings import Settings


def standing(settings: Settings, now: datetime) -> dict[str, Any]:
    """Return how things stand as plain data. Raises Problem `no-cpanel`, `bad-paths-conf` or `no-httpd-conf`."""
    here = server.look(settings.state_directory, now=now)
    state, endpoints = here.stapling, here.endpoints
    strict = [one.name for one in endpoints if one.must_staple and not one.expired]
    return {
        **_stapling(state),
        "still_on": [] if state.on else [one.name for one in endpoints if one.stapling],
        "shield_port": here.relay_port if here.shielded else None,
        "off_alone": [_off_alone(name, file) for name, file in turned_off(here).items()],
        "site_count": len(endpoints),
        "must_staple_count": len(strict),
        "must_staple_sites": strict,
        "refused_sites": []
        if state.md_stapling
        else list(refused(one for one in endpoints if not one.expired)),
        "last_check": _last_check(settings, now),
        **_operations(settings),
    }


def _stapling(state: StaplingState) -> dict[str, Any]:
    note, line = off_note(state), state.decided_by
    return {
        "stapling": "on" if state.on else "off",
        "decided_by": line.as_json() if line else None,
        "origin": state.origin.value,
        "md_stapling": state.md_stapling.as_json() if state.md_stapling else None,
        "off_since": note.since.isoformat() if note.since else None,
        "off_by": note.by or None,
        "reason": note.reason or None,
    }


def _off_alone(site: str, file: Path) -> dict[str, Any]:
    note = site_note(file)
    return {
        "site": site,
        "file": str(file),
        "since": note.since.isoformat() if note.since else None,
        "by": note.by or None,
        "reason": note.reason or None,
    }


def _last_check(settings: Settings, now: datetime) -> dict[str, Any] | None:
    """The last check in brief, and how old it is in seconds (None if that cannot be told)."""
    found = result.load_document(settings.state_directory)
    if found is None:
        return None
    keys = (
        "checked_at",
        "monitoring_state",
        "cause",
        "severity",
        "confidence",
        "advice",
        "sentence",
        "advice_sentence",
    )
    brief = {key: found.get(key) for key in keys}
    return brief | {
        "age_seconds": _age(found, now),
        "sites_affected_count": len(found.get("sites_affected", [])),
        "stapling": found.get("configuration", {}).get("stapling"),
    }


def _age(found: Mapping[str, Any], now: datetime) -> int | None:
    try:
        then = datetime.fromisoformat(str(found["checked_at"]))
        return round((now - then.astimezone(UTC)).total_seconds())
    except (KeyError, ValueError):
        return None


def _operations(settings: Settings) -> dict[str, Any]:
    """The last change and one that is pending: running now, or interrupted if nobody holds the lock."""
    with Journal(settings.state_directory, create=False) as journal:
        running = journal.operations(limit=1, state=RUNNING)
        ended = [one for one in journal.operations(limit=5) if one.state != RUNNING]
    pending = (
        running[0].as_json() | {"interrupted": not lock.is_held(settings.state_directory)}
        if running
        else None
    )
    return {"last_operation": ended[0].as_json() if ended else None, "pending_operation": pending}
