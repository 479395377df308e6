"""`ocsp-stapling log`: what Apache's error log says about stapling, for people or one JSON object a line."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ocsp_stapling.apache.errorlog.codes import Kind
from ocsp_stapling.apache.errorlog.failures import Failure, Summary, summarise
from ocsp_stapling.apache.errorlog.line import Entry
from ocsp_stapling.apache.errorlog.others import sentence_of
from ocsp_stapling.apache.errorlog.paste import Paste
from ocsp_stapling.apache.errorlog.read import (
    entries,
    entries_of_all,
    named_entries,
    pasted_entries,
    piped_entries,
)
from ocsp_stapling.cli import output_is_lost
from ocsp_stapling.cli.output import printable, say, table
from ocsp_stapling.problem import Problem
from ocsp_stapling.text import ago, counted, local, when

if TYPE_CHECKING:
    from ocsp_stapling.server.logs import ErrorLogs

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_NAMES = {"m": "minute", "h": "hour", "d": "day", "w": "week"}
_LENGTH = re.compile(r"(\d{1,5})\s*([mhdw])")


@dataclass(frozen=True)
class Period:
    """Since when (naive local time, None: ever) and in words."""

    since: datetime | None
    words: str
    whole: bool = False


class PeriodType(click.ParamType):  # type: ignore[type-arg]
    """`all`, a length (`90m`, `12h`, `3d`, `2w`) or a date (`2026-11-24`, `2026-11-24 03:00`)."""

    name = "period"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Period:
        """Return the period, counted from now."""
        text = str(value).strip()
        if text == "all":
            return WHOLE
        if (length := _LENGTH.fullmatch(text)) and int(length[1]):
            count, unit = int(length[1]), length[2]
            what = _NAMES[unit] if count == 1 else f"{count} {_NAMES[unit]}s"
            return Period(datetime.now() - count * _UNITS[unit], f"in the last {what}")
        try:
            since = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{printable(text)} is no period: give 12h, 3d, a date or all.",
                param,
                ctx,
            )
        since = since.astimezone().replace(tzinfo=None) if since.tzinfo else since
        return Period(since, f"since {since:%Y-%m-%d %H:%M}")


WHOLE = Period(None, "in the whole file", whole=True)

# What each kind means, for people.
WORDS = {
    Kind.UNREACHABLE: "could not connect",
    Kind.TIMEOUT: "no answer in time",
    Kind.DNS: "name did not resolve",
    Kind.BAD_RESPONSE: "no proper OCSP answer",
    Kind.BAD_URI: "certificate names a URL that Apache cannot use",
    Kind.SUMMARY: "failed, no cause logged",
    Kind.INVALID: "answer stale, for another certificate, or not cached",
    Kind.CERT_STATUS: "certificate revoked or unknown to its CA",
    Kind.NO_ISSUER: "issuer missing from the chain: stapling not set up",
    Kind.NO_URI: "no OCSP URL: stapling not set up (harmless)",
    Kind.NOT_CONFIGURED: "stapling not set up for a certificate",
    Kind.ABORTED: "handshake aborted",
    Kind.NO_CACHE: "Apache did not start: no stapling cache or mutex",
    Kind.LOCK: "Apache could not use the lock of stapling",
}
# What a message tells besides its kind.
_EXACTLY = {
    "AH01928": "answer too big for Apache to cache",
    "AH01929": "Apache's staple cache did not take the answer",
    "AH01935": "answer for another certificate",
    "AH01936": "answer stale, or a clock is wrong",
    "AH01944": "responder told an OCSP error",
    "AH01988": "answer was not OCSP",
    "AH02321": "answer was empty",
}
_UNNAMED = "not named"
_NAMED = 3  # of the sites
_WRITERS = 6  # of lines in another form that are told


@dataclass
class _Source:
    """Where the lines come from, and what is to be said about it."""

    lines: Iterable[Entry]
    client_checks: bool | None
    paste: Paste | None = None
    logs: ErrorLogs | None = None
    here: bool = False
    """Whether this server wrote them, so that their times are in its zone."""


@click.command()
@click.argument("file", required=False, type=click.Path())
@click.option(
    "--since",
    type=PeriodType(),
    metavar="PERIOD",
    help="90m, 12h, 3d, a date, or all [24h; whole FILE if one is named].",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for every line about stapling.")
def log(file: str | None, since: Period | None, as_json: bool) -> None:
    """Show stapling failures in Apache's error log.

    FILE is a log, or a paste of one, or - for standard input; without it, the error logs of this server's Apache are
    read, those of virtual hosts too, rotated files included where the period needs them.
    """
    period = since or (
        WHOLE if file else Period(datetime.now() - timedelta(hours=24), "in the last 24 hours")
    )
    with _reader_may_leave(), _source(file, period.since, as_json) as source:
        if as_json:
            _print_objects(source, at_once=_stream_of(file) is not None)
        else:
            _print_summary(summarise(source.lines, datetime.now(), source.client_checks), period, source)
            if file is None:
                say("Whether visitors wait now, and what to do: ocsp-stapling check", gap=True)


@contextmanager
def _source(file: str | None, since: datetime | None, numbered: bool) -> Iterator[_Source]:
    if file is None:
        yield _of_this_server(since, numbered)
        return
    descriptor, paste = _stream_of(file), Paste()
    if descriptor is not None:
        with _open_stream(descriptor) as stream:
            yield _Source(piped_entries(stream, paste, since), None, paste)
    elif since is None:
        yield _Source(pasted_entries(Path(file), paste, numbered), None, paste)
    else:
        yield _Source(named_entries(Path(file), paste, since, numbered), None, paste)


def _of_this_server(since: datetime | None, numbered: bool) -> _Source:
    """The logs that the configuration names; if it cannot be read, the one that paths.conf names."""
    from ocsp_stapling.apache.layout import read_layout  # only needed without FILE
    from ocsp_stapling.server import state as server
    from ocsp_stapling.server.logs import error_logs

    layout = read_layout()
    try:
        logs = error_logs(server.look(layout=layout))
    except Problem:
        return _Source(entries(layout.error_log, since, numbered), None, here=True)
    lines = entries_of_all(logs.roots, since, logs.foreign, numbered, logs.forms)
    return _Source(lines, logs.client_checks, logs=logs, here=True)


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


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Let `log | head` end quietly when head has seen enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        output_is_lost(error)


def _print_objects(source: _Source, at_once: bool) -> None:
    """Print one object a line; gathered unless somebody may be watching a live stream."""
    batch: list[str] = []
    sure = source.client_checks is False
    for line in source.lines:
        batch.append(_object(line._replace(stapling=True) if sure and line.stapling is None else line))
        if at_once or len(batch) >= 512:
            sys.stdout.write("".join(batch))
            batch.clear()
            if at_once:
                sys.stdout.flush()
    sys.stdout.write("".join(batch))


_JSON = {None: "null", True: "true", False: "false"}


def _object(line: Entry) -> str:
    """Return the line as JSON; written out because a log may have millions and few fields are free text."""
    return (
        f'{{"line_number": {line.line_number}, "time": {_quoted(line.time)}, '
        f'"pid": {"null" if line.pid is None else line.pid}, "code": "{line.code}", "kind": "{line.kind}", '
        f'"responder": {_named(line.responder)}, "site": {_named(line.site)}, "stapling": {_JSON[line.stapling]}, '
        f'"answer": {_named(line.answer)}}}\n'
    )


def _quoted(time: str | None) -> str:
    return f'"{time}"' if time else "null"  # ISO 8601 has nothing to escape


@lru_cache(maxsize=256)
def _named(name: str | None) -> str:
    return json.dumps(name)


def _print_summary(found: Summary, period: Period, source: _Source) -> None:
    if found.total:
        counts = f"{counted(found.total, 'stapling failure')} {period.words}{_recently(found, period)}."
        say(f"{counts}{_last(found, source)}")
        click.echo()
        header = ["responder", "count", "first", "last", "what"]
        click.echo(table(_responder_rows(found, source.here), header))
        click.echo("\nLast ones:")
        click.echo(table(_recent_row(failure, source.here) for failure in found.recent))
    else:
        say(_without_failures(found, period, source))
    _print_notes(found)
    _print_about(source)


def _without_failures(found: Summary, period: Period, source: _Source) -> str:
    if found.never_started:
        return f"Stapling kept Apache from starting; no failures at handshakes {period.words}."
    unclear = source.paste.unclear if source.paste else 0
    if unclear:
        return f"No stapling failure in Apache's own form {period.words}."
    if source.logs and source.logs.unheard:
        return f"No stapling failures are logged {period.words}."
    return f"No stapling failures {period.words}."


def _print_about(source: _Source) -> None:
    """What could not be understood, what was read besides, and what Apache does not write."""
    paste, logs = source.paste, source.logs
    if paste and paste.unclear:
        verb = "looks like" if paste.unclear == 1 else "look like"
        say(
            f"{counted(paste.unclear, 'line')} {verb} stapling or OCSP in another form than mod_ssl's.",
            gap=True,
        )
        for writer, count in paste.writers.most_common(_WRITERS):
            say(sentence_of(writer, count, paste.unclear))
    if paste and paste.clients:
        verb = "is" if paste.clients == 1 else "are"
        say(
            f"{counted(paste.clients, 'line')} {verb} about OCSP for client certificates, not stapling.",
            gap=True,
        )
    if logs and len(logs.files) > 1:
        more = f"; {logs.left_out:,} more were not read" if logs.left_out else ""
        ends = "; of those that customers can write only the end" if logs.foreign else ""
        say(f"Read, too: {counted(len(logs.files) - 1, 'log')} of virtual hosts{ends}{more}.", gap=True)
    for told in logs.unheard if logs else ():
        say(printable(told, 1000), gap=True)


def _recently(found: Summary, period: Period) -> str:
    if not found.last_day or (period.since and datetime.now() - period.since < timedelta(minutes=61)):
        return ""
    day = f", {found.last_day:,} in the last 24 hours" if found.last_day < found.total or period.whole else ""
    return f", {found.last_hour:,} in the last hour{day}"


def _last(found: Summary, source: _Source) -> str:
    moment = _moment(found.last) if source.here else None
    return f" The last one: {ago(local(datetime.now(UTC)) - local(moment))}." if moment else ""


def _responder_rows(found: Summary, here: bool) -> Iterator[list[str]]:
    for one in found.responders:
        kinds = [f"{WORDS[kind]} ({count:,})" for kind, count in one.kinds[:3]]
        what = ", ".join(kinds) if len(kinds) > 1 else WORDS[one.kinds[0][0]]
        times = _told(one.first, here), _later(one.first, one.last, here)
        yield [one.responder or _UNNAMED, f"{one.failures:,}", *times, what]


def _recent_row(failure: Failure, here: bool) -> list[str]:
    what = next((_EXACTLY[code] for code in failure.codes if code in _EXACTLY), WORDS[failure.kind])
    if failure.reason:
        what += f" ({failure.reason})"
    return [
        _told(failure.time, here),
        failure.responder or _UNNAMED,
        what,
        " ".join(failure.codes),
    ]


def _print_notes(found: Summary) -> None:
    if found.noted:
        click.echo("\nBesides:")
        sites = dict(found.sites)
        rows = ([f"{count:,}", WORDS[kind], _some(sites.get(kind, ()))] for kind, count in found.noted)
        click.echo(table(rows))
    if found.unproven:
        what = counted(found.unproven, "OCSP error line")
        say(f"Not counted: {what} that may be about client certificates instead.", gap=True)
    if found.probable:
        what = counted(found.probable, "line")
        told = "that could be about client certificates as well, where Apache checks those."
        say(f"Probably stapling: {what} {told}", gap=True)
    if found.undated:
        say(f"No date could be read for {counted(found.undated, 'failure')}.", gap=True)


def _some(sites: Sequence[str]) -> str:
    more = f" and {len(sites) - _NAMED:,} more" if len(sites) > _NAMED else ""
    return ", ".join(sites[:_NAMED]) + more


def _moment(time: str | None) -> datetime | None:
    """A time of this server's log, which is local, as a moment."""
    with suppress(ValueError):
        return datetime.fromisoformat(time[:19]).astimezone() if time else None
    return None


def _told(time: str | None, here: bool) -> str:
    """A time as everywhere where this server wrote it; as it stands in a log of which nobody knows the zone."""
    if here and (moment := _moment(time)):
        return when(moment)
    return printable(time[:19].replace("T", " ")) if time else "-"


def _later(first: str | None, last: str | None, here: bool) -> str:
    """The later time, without its day where that is the first one's."""
    same = first and last and first[:10] == last[:10]
    return _told(last, here)[11 if same else 0 :]
