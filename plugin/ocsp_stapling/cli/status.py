"""`ocsp-stapling status`: how things stand, at once and without asking anybody."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from ocsp_stapling import settings
from ocsp_stapling.check.status import standing
from ocsp_stapling.cli.output import emit_json, printable, table
from ocsp_stapling.cli.pending import finish_interrupted
from ocsp_stapling.problem import not_root

_SHOWN = 5


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(as_json: bool) -> None:
    """Show whether stapling is on, who decided that, and what the last check said. Asks nothing over the network.

    The keys of --json: docs/json/status.schema.json.
    """
    if os.geteuid() != 0:
        raise not_root()
    configured = settings.load()
    finish_interrupted(configured)
    found = standing(configured, datetime.now(UTC))
    if as_json:
        emit_json("status", found)
    else:
        click.echo(_text(found))


def _text(found: Mapping[str, Any]) -> str:
    on = found["stapling"] == "on"
    head = click.style(f"Stapling is {found['stapling']}", fg="green" if on else "yellow", bold=True)
    return "\n".join([f"{head}{_since(found)}.", table(_rows(found))])


def _since(found: Mapping[str, Any]) -> str:
    return _since_of({**found, "since": found["off_since"], "by": found["off_by"]})


def _since_of(found: Mapping[str, Any]) -> str:
    when = f" since {_local(found['since'])}" if found["since"] else ""
    who = f", by {printable(found['by'])}" if found["by"] else ""
    why = f": {printable(found['reason'])}" if found["reason"] else ""
    return f"{when}{who}{why}"


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    line = found["decided_by"]
    decided = f"{line['file']}:{line['line']} ({found['origin']})" if line else "no line: Apache's default"
    rows = [("Decided by", decided), ("Sites", f"{found['site_count']} with TLS, {_strict(found)}")]
    if found["still_on"]:
        rows.append(("Still on", f"{len(found['still_on'])} sites by themselves: {_few(found['still_on'])}"))
    rows += [("Off alone", f"{printable(one['site'])}{_since_of(one)}") for one in found["off_alone"]]
    rows.append(("Last check", _last_check(found["last_check"])))
    rows.append(("Last change", _operation(found["last_operation"]) or "none through this plugin"))
    if pending := found["pending_operation"]:
        state = "was interrupted: the next command finishes it" if pending["interrupted"] else "is running"
        rows.append(("Pending", f"{_operation(pending)} {state}"))
    return rows


def _strict(found: Mapping[str, Any]) -> str:
    count = found["must_staple_count"]
    return f"{count} of them Must-Staple: {_few(found['must_staple_sites'])}" if count else "none Must-Staple"


def _few(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _last_check(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "none yet: ocsp-stapling check"
    return f"{_local(one['checked_at'])}: {one['monitoring_state']}, {one['sentence']}"


def _operation(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    why = f" ({one['reason']})" if one["reason"] else ""
    return f"{one['action']} by {one['who']}{why} at {_local(one['started'])}: {one['state']}"


def _local(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M %Z}"
