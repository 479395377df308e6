"""`ocsp-stapling status`: how things stand, at once and without asking anybody."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from ocsp_stapling import settings
from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import ending
from ocsp_stapling.change.request import alone, worded
from ocsp_stapling.check.status import standing
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json, place_of, printable, table, wrapped
from ocsp_stapling.cli.pending import finish_interrupted
from ocsp_stapling.problem import not_root
from ocsp_stapling.text import aged, counted

_SHOWN = 5


@click.command()
@json_option
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
        click.echo(_text(found | {"return_sentence": _return(configured, found["stapling"])}))


def _text(found: Mapping[str, Any]) -> str:
    head = f"Stapling is {found['stapling']}"
    colour = "green" if found["stapling"] == "on" else "yellow"
    # Coloured afterwards: what colours takes no room on a line, but counts when it is wrapped.
    told = wrapped(f"{head}{_since(found)}.").replace(head, click.style(head, fg=colour, bold=True), 1)
    return "\n".join([told, table(_rows(found))])


def _since(found: Mapping[str, Any]) -> str:
    return _since_of({**found, "since": found["off_since"], "by": found["off_by"]})


def _since_of(found: Mapping[str, Any]) -> str:
    when = f" since {_local(found['since'])}" if found["since"] else ""
    who = f", by {printable(found['by'])}" if found["by"] else ""
    why = f": {printable(found['reason'])}" if found["reason"] else ""
    return f"{when}{who}{why}"


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    decided = place_of(found["decided_by"], found["origin"])
    rows = [
        ("Decided by", decided),
        *_md_stapling(found["md_stapling"]),
        *_shield(found["shield_port"]),
        ("Sites", f"{counted(found['site_count'], 'TLS site')}, {_strict(found)}"),
    ]
    if found["still_on"]:
        rows.append(
            ("Still on", f"{counted(found['still_on'], 'site')} by themselves: {_few(found['still_on'])}")
        )
    rows += [("Off alone", f"{printable(one['site'])}{_since_of(one)}") for one in found["off_alone"]]
    rows.append(("Last check", _last_check(found["last_check"])))
    if step := _next_step(found["last_check"], found["last_operation"], found["stapling"]):
        rows.append(("Next step", step))
    rows.append(("Last change", _operation(found["last_operation"]) or _unknown(found["origin"])))
    if found["return_sentence"]:
        rows.append(("Return", found["return_sentence"]))
    if pending := found["pending_operation"]:
        state = "was interrupted: the next command finishes it" if pending["interrupted"] else "is running"
        rows.append(("Pending", f"{_operation(pending)} {state}"))
    return rows


def _return(configured: settings.Settings, stapling: str) -> str:
    """Whether stapling that is off turns on by itself; "" where it does not."""
    if stapling != "off":
        return ""
    from ocsp_stapling.watch.returning import standing as standing_of  # the watch is slow to load

    found = standing_of(configured, time.time())
    return found.sentence if found.armed else ""


def _unknown(origin: str) -> str:
    return "not in the history" if origin == Origin.PLUGIN.value else "none through this plugin"


def _md_stapling(line: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Where mod_md staples, the headline tells of a directive that decides nothing."""
    if line is None:
        return []
    where = f"{line['file']}:{line['line']}"
    return [
        (
            "But",
            f"mod_md staples, so SSLUseStapling decides nothing: {line['name']} {line['value']} ({where})",
        )
    ]


def _shield(port: int | None) -> list[tuple[str, str]]:
    told = f"on: Apache asks the relay, 127.0.0.1:{port} (ocsp-stapling shield status)"
    return [("Shield", told)] if port else []


def _strict(found: Mapping[str, Any]) -> str:
    count, strict, refused = (
        found[key] for key in ("must_staple_count", "must_staple_sites", "refused_sites")
    )
    if not count:
        return "none Must-Staple"
    every = ", which Firefox refuses while stapling is off" if set(strict) == set(refused) else ""
    some = f"; Firefox refuses {_few(refused)}: off there" if refused and not every else ""
    return f"{count} of them Must-Staple{every}: {_few(strict)}{some}"


def _few(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _last_check(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "none yet: ocsp-stapling check"
    return f"{one['monitoring_state']}, {_local(one['checked_at'])}: {one['sentence']}"


def _next_step(check: Mapping[str, Any] | None, change: Mapping[str, Any] | None, now: str) -> str:
    """What the last check advised, unless something was changed since: then that may be done already.

    `now`: whether stapling is on; somebody may have changed that by hand.
    """
    if check is None:
        return ""
    changed = datetime.fromisoformat(change["started"]) if change else None
    if changed and changed > datetime.fromisoformat(check["checked_at"]):
        return "ocsp-stapling check: the last one was made before the last change."
    if check["stapling"] not in (None, now):
        return f"ocsp-stapling check: stapling was {check['stapling']} when the last one was made."
    return "" if check["monitoring_state"] == "OK" else str(check["advice_sentence"])


def _operation(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    why = f" ({one['reason']})" if one["reason"] else ""
    what = alone(worded(one["action"]).typed, one["site"] or "")
    return printable(
        f"{what} by {one['who']}{why}, {_local(one['started'])}: {ending(one['state'], one)}", 1000
    )


def _local(text: str) -> str:
    return aged(datetime.fromisoformat(text))
