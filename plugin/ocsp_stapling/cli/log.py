"""`ocsp-stapling log`: what Apache's error log says about stapling, for people or one JSON object a line."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO

import click

from ocsp_stapling.apache.errorlog.codes import Kind
from ocsp_stapling.apache.errorlog.failures import Failure, Summary, summarise
from ocsp_stapling.apache.errorlog.line import Entry
from ocsp_stapling.apache.errorlog.read import entries, entries_of_stream
from ocsp_stapling.cli.output import printable, table

PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "all": None}
_IN_WORDS = {"1h": "in the last hour", "24h": "in the last 24 hours", "all": "in the whole file"}

# What each kind means, for people.
WORDS = {
    Kind.UNREACHABLE: "could not connect",
    Kind.TIMEOUT: "no answer in time",
    Kind.DNS: "name did not resolve",
    Kind.BAD_RESPONSE: "answer was not OCSP",
    Kind.BAD_URI: "certificate names a URL that Apache cannot use",
    Kind.SUMMARY: "failed, no cause logged",
    Kind.INVALID: "answer unusable (stale, or for another certificate)",
    Kind.CERT_STATUS: "certificate revoked or unknown to its CA",
    Kind.NO_ISSUER: "issuer certificate missing from the chain",
    Kind.NO_URI: "certificate without an OCSP URL (harmless)",
    Kind.NOT_CONFIGURED: "stapling not set up for a certificate",
    Kind.ABORTED: "handshake aborted",
    Kind.NO_CACHE: "Apache did not start: no stapling cache or mutex",
}
_UNNAMED = "(not named in the log)"


@click.command()
@click.argument("file", required=False)
@click.option("--since", type=click.Choice(list(PERIODS)), help="Period [24h; whole FILE if one is named].")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for every line about stapling.")
def log(file: str | None, since: str | None, as_json: bool) -> None:
    """Show stapling failures in Apache's error log.

    FILE is a log, or - for standard input; without it, the error log of this server's Apache is read, rotated files
    included where the period needs them.
    """
    period = since or ("all" if file else "24h")
    now = datetime.now()
    length = PERIODS[period]
    with _reader_may_leave(), _lines(file, now - length if length else None, as_json) as lines:
        if as_json:
            _print_objects(lines, at_once=_stream_of(file) is not None)
        else:
            _print_summary(summarise(lines, now), period)


@contextmanager
def _lines(file: str | None, since: datetime | None, numbered: bool) -> Iterator[Iterable[Entry]]:
    descriptor = _stream_of(file)
    if descriptor is None:
        yield entries(Path(file) if file else _default_log(), since, numbered)
        return
    with _open_stream(descriptor) as stream:
        yield entries_of_stream(stream, since)


def _stream_of(file: str | None) -> str | int | None:
    """Return what to open if FILE is standard input or a pipe of the shell's own, `<(command)`."""
    if file == "-":
        return 0
    if file and file.startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/")) and _is_pipe(file):
        return file
    return None


def _is_pipe(file: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(file).st_mode)  # noqa: PTH116 - may be no valid path
    except (OSError, ValueError):
        return False


def _open_stream(descriptor: str | int) -> IO[bytes]:
    return open(descriptor, "rb", closefd=descriptor != 0)


def _default_log() -> Path:
    from ocsp_stapling.apache.layout import read_layout  # only needed without FILE

    return read_layout().error_log


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Let `log | head` end quietly when head has seen enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output once more when it ends; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_objects(lines: Iterable[Entry], at_once: bool) -> None:
    """Print one object a line; gathered unless somebody may be watching a live stream."""
    batch: list[str] = []
    for line in lines:
        batch.append(_object(line))
        if at_once or len(batch) >= 512:
            sys.stdout.write("".join(batch))
            batch.clear()
            if at_once:
                sys.stdout.flush()
    sys.stdout.write("".join(batch))


_JSON = {None: "null", True: "true", False: "false"}


def _object(line: Entry) -> str:
    """Return the line as JSON; written out because a log may have millions and only two fields are free text."""
    return (
        f'{{"line_number": {line.line_number}, "time": {_quoted(line.time)}, '
        f'"pid": {"null" if line.pid is None else line.pid}, "code": "{line.code}", "kind": "{line.kind}", '
        f'"responder": {_named(line.responder)}, "stapling": {_JSON[line.stapling]}}}\n'
    )


def _quoted(time: str | None) -> str:
    return f'"{time}"' if time else "null"  # ISO 8601 has nothing to escape


@lru_cache(maxsize=256)
def _named(responder: str | None) -> str:
    return json.dumps(responder)


def _print_summary(found: Summary, period: str) -> None:
    where = _IN_WORDS[period]
    if not found.total:
        click.echo(f"No stapling failures {where}.")
    else:
        click.echo(f"{_plural(found.total, 'stapling failure')} {where}{_recently(found, period)}.")
        click.echo()
        header = ["RESPONDER", "FAILURES", "FIRST", "LAST", "WHAT"]
        click.echo(table(_responder_rows(found), header))
        click.echo("\nLast ones:")
        click.echo(table(_recent_row(failure) for failure in found.recent))
    _print_notes(found)


def _recently(found: Summary, period: str) -> str:
    if period == "1h" or not found.last_day:
        return ""
    return f", {found.last_hour:,} in the last hour" + (
        f", {found.last_day:,} in the last 24 hours" if period == "all" else ""
    )


def _responder_rows(found: Summary) -> Iterator[list[str]]:
    for one in found.responders:
        what = ", ".join(f"{WORDS[kind]} ({count:,})" for kind, count in one.kinds[:3])
        yield [one.responder or _UNNAMED, f"{one.failures:,}", _short(one.first), _short(one.last), what]


def _recent_row(failure: Failure) -> list[str]:
    return [
        _short(failure.time),
        failure.responder or _UNNAMED,
        WORDS[failure.kind],
        " ".join(failure.codes),
    ]


def _print_notes(found: Summary) -> None:
    if found.noted:
        click.echo("\nBesides:")
        click.echo(table([f"{count:,}", WORDS[kind]] for kind, count in found.noted))
    if found.unproven:
        what = _plural(found.unproven, "OCSP error line")
        click.echo(f"\nNot counted: {what} that may be about client certificates instead.")
    if found.undated:
        click.echo(f"\n{_plural(found.undated, 'failure')} without a time in the log.")


def _short(time: str | None) -> str:
    return printable(time[:19].replace("T", " ")) if time else "-"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
