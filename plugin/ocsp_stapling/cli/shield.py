"""`ocsp-stapling shield`: stapling that never waits, so that it need not be turned off in an outage."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ocsp_stapling.cli import PlainGroup
from ocsp_stapling.cli.options import change_options, json_option
from ocsp_stapling.text import moment

PORT_VARIABLE = "OCSP_STAPLING_SHIELD_PORT"
_PASS_SECONDS = 50.0
"""With the questions that are on their way then, a pass stays under a minute."""


@click.group(cls=PlainGroup)
def shield() -> None:
    """Keep stapling on through outages: answers are fetched ahead and handed to Apache at once."""


@shield.command()
@click.option("--port", type=click.IntRange(1, 1023), help="The relay's port on the loopback address [340].")
@change_options
def on(port: int | None, **options: Any) -> None:
    """Have Apache ask a relay on this machine instead of the authorities, verified.

    The relay is started and asked before anything is written. Stapling is turned on where it is off.

    Exit status: 0 done, 1 refused (nothing touched), 3 failed and restored, 4 failed and not restored.
    """
    from ocsp_stapling import settings
    from ocsp_stapling.shield import standing

    chosen = port or standing.wished_port(settings.load().state_directory) or standing.PORT
    code = _change("shield-on", chosen, options)
    if code == 0 and not options["dry_run"]:
        _refresh(_PASS_SECONDS)
    sys.exit(code)


@shield.command()
@change_options
def off(**options: Any) -> None:
    """Have Apache ask the authorities again, as the configuration says; the relay is stopped afterwards.

    Exit status: 0 done, 1 refused (nothing touched), 3 failed and restored, 4 failed and not restored.
    """
    sys.exit(_change("shield-off", 0, options))


def _change(action: str, port: int, options: dict[str, Any]) -> int:
    from ocsp_stapling.change.operate import require_root
    from ocsp_stapling.cli.switching import carry_out

    require_root()
    return carry_out(action, options, port)


@shield.command()
@json_option
def refresh(as_json: bool) -> None:
    """Ask for the answers that are due or missing, and keep the good ones; nothing while the shield is off.

    The watch does it by itself, and so does a change of certificates that WHM tells of.
    """
    from collections import Counter

    from ocsp_stapling.change.operate import require_root
    from ocsp_stapling.cli.output import emit_json, printable, wrapped
    from ocsp_stapling.text import counted

    require_root()
    done = _refresh(_PASS_SECONDS)
    if as_json:
        facts = {
            "asked_count": done.asked,
            "stored_count": done.stored,
            "left_count": done.left,
            "failures": _failures(Counter(done.failed.values()).most_common()),
        }
        emit_json("shield-refresh", facts)
    else:
        counts = f"{done.stored:,} stored, {len(done.failed):,} failed, {done.left:,} left for the next pass"
        click.echo(f"Asked for {counted(done.asked, 'answer')}: {counts}." if done.asked else done.why_none)
        for reason, count in Counter(done.failed.values()).most_common(3):
            click.echo(wrapped(f"Failed for {counted(count, 'certificate')}: {printable(reason)}"))
    sys.exit(1 if done.failed else 0)


def _refresh(seconds: float) -> Any:
    from ocsp_stapling import settings
    from ocsp_stapling.shield.keeping import refresh_now
    from ocsp_stapling.shield.refresh import Pass
    from ocsp_stapling.shield.standing import wished_port

    chosen = settings.load()
    if not wished_port(chosen.state_directory):
        return Pass(why_none="The shield is off, so there is nothing to fetch.")
    return refresh_now(chosen, seconds, at_once=True)


@shield.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether the relay answers, which answers it holds, and which are missing. Changes nothing.

    Exit status: 0 all is held, or the shield is off; 1 something is missing; 2 the relay does not answer.
    """
    from ocsp_stapling import settings
    from ocsp_stapling.cli.output import emit_json
    from ocsp_stapling.shield.keeping import look

    here, found = look(settings.load())
    in_force, stapling = here.shielded, here.stapling.on
    if as_json:
        emit_json("shield", {"on": bool(found.port), "in_force": in_force, **_facts(found)})
    else:
        click.echo(_text(found, in_force, stapling))
    sys.exit(
        0
        if not found.port
        else 2
        if not found.answering
        else int(bool(found.missing or found.revoked or found.unread))
    )


def _facts(found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    told, last = asdict(found), found.last_failure
    responders = told.pop("responders")
    return {
        **told,
        "earliest_end": _moment(found.earliest_end),
        "oldest": _moment(found.oldest),
        "next_refresh": _moment(found.next_refresh),
        "last_failure": last and {**told["last_failure"], "at": _moment(last.at)},
        "failures": _failures(found.failures),
        "held_by_responder": [
            {**one, "earliest_end": _moment(one["earliest_end"]), "stuck_end": _moment(one["stuck_end"])}
            for one in responders
        ],
    }


def _moment(at: datetime | None) -> str | None:
    return moment(at.timestamp()) if at is not None else None


def _failures(counted: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"failure": failure, "failure_count": count} for failure, count in counted]


def _text(found: Any, in_force: bool, stapling: bool = True) -> str:
    from ocsp_stapling.cli.output import printable, table, wrapped
    from ocsp_stapling.text import listed, when

    if not found.port:
        now = "Apache asks the authorities itself" if stapling else "stapling is off, too"
        return wrapped(f"The shield is off: {now}. `ocsp-stapling shield on` changes that.")
    word = "answers" if found.answering else "DOES NOT ANSWER"
    rows = [
        ("Relay", f"127.0.0.1:{found.port}, {word}"),
        (
            "Apache",
            "asks the relay" if in_force else "does not ask it: stapling is off, or another line decides",
        ),
        ("Answers", f"{found.held_count} of {found.certificate_count} held"),
    ]
    if found.oldest:
        rows.append(("Oldest", f"signed {when(found.oldest)}"))
    if found.earliest_end:
        rows.append(("First to end", when(found.earliest_end)))
    if found.next_refresh is not None:
        soon = found.next_refresh <= datetime.now(UTC)
        rows.append(("Next refresh", "with the watch's next look" if soon else when(found.next_refresh)))
    if found.missing:
        rows.append(("Missing", f"{len(found.missing)}: {printable(listed(found.missing))}"))
    if found.missing_must_staple:
        rows.append(("Must-Staple", f"without an answer: {printable(listed(found.missing_must_staple))}"))
    if found.revoked:
        rows.append(("REVOKED", printable(listed(found.revoked))))
    if last := found.last_failure:
        at = f"{when(last.at)}, " if last.at else ""
        rows.append(("Last failure", f"{at}{printable(last.responder)} ({printable(last.site)})"))
    on = click.style("on", fg="green" if found.answering else "red", bold=True)
    return f"The shield is {on}.\n{table([*rows, *_faults(found)])}"


def _faults(found: Any) -> list[tuple[str, str]]:
    """What went wrong of late, and what could not be read."""
    from ocsp_stapling.cli.output import printable
    from ocsp_stapling.text import when

    rows = [
        ("No new one", f"for {printable(site)} from {printable(host)}; the last is valid until {when(end)}")
        for end, site, host in found.stuck[:3]
    ]
    rows += [("Failed", f"{count}: {printable(reason)}") for reason, count in found.failures[:3]]
    if found.unread:
        rows.append(("Not read", printable(found.unread_words)))
    return rows + [("Damaged", printable(text)) for text in found.damaged[:3]]


@shield.command()
@click.option("--directory", type=click.Path(path_type=Path), hidden=True)
@click.option("--port", type=int, hidden=True)
def serve(directory: Path | None, port: int | None) -> None:
    """Run the relay (systemd does, in ocsp-stapling-shield.service)."""
    from ocsp_stapling.shield import relay

    chosen = port if port is not None else int(os.environ.get(PORT_VARIABLE, "340"))
    words = relay.command(str(directory or "/var/lib/ocsp-stapling-shield"), chosen)
    os.execv(words[0], words)  # noqa: S606 - what a command has loaded would stay in memory
