"""What Apache's error log says about stapling: its lines, of a period or since the last look.

The parts: `scan` finds lines fast, `parts` shares that work among processes, `line` reads one line, `paste` and
`undress` what people hand on, `codes` knows the messages, `attribution` tells stapling from OCSP for client
certificates, `files` handles rotation, `failures` groups and counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO

from ocsp_stapling.apache.errorlog import files
from ocsp_stapling.apache.errorlog.attribution import prove
from ocsp_stapling.apache.errorlog.codes import NEEDLES
from ocsp_stapling.apache.errorlog.files import Bookmark, LogFile
from ocsp_stapling.apache.errorlog.form import Form, parse
from ocsp_stapling.apache.errorlog.line import Entry, moment
from ocsp_stapling.apache.errorlog.parts import read_parts
from ocsp_stapling.apache.errorlog.paste import MOST, Paste, utf_16
from ocsp_stapling.apache.errorlog.scan import Fill, Scanner
from ocsp_stapling.problem import Problem

__all__ = [
    "Bookmark",
    "entries",
    "entries_of_all",
    "entries_of_stream",
    "foreign_entries",
    "named_entries",
    "new_entries",
    "pasted_entries",
    "piped_entries",
]

FOREIGN_BYTES = 4 << 20
"""Of all logs that others than root can write together; what is full of failures takes half a second to read."""


def entries(
    path: Path, since: datetime | None = None, numbered: bool = True, forms: Sequence[Form] = ()
) -> Iterator[Entry]:
    """Yield every stapling line of a log, in the order written.

    `since` (naive local time) limits it to a period; rotated and gzipped neighbours are read if the period begins
    before the log does; a gzipped log (by its name) is read alone. Lines without a time are kept: nothing says that
    they are old. Without `numbered`, line numbers are 0 and the scan is faster. `forms` are those of the server's
    own ErrorLogFormat. Raises Problem when the log cannot be read.
    """
    with files.opened(path, packed=path.suffix == ".gz") as log:
        if log.packed:
            yield from (e for e in prove(_of_packed(log, forms)) if since is None or not _before(e, since))
        elif since is None:
            yield from prove(_of_file(log, 0, numbered, forms))
        else:
            yield from (e for e in prove(_of_period(log, since, numbered, forms)) if not _before(e, since))


def entries_of_all(
    paths: Sequence[Path],
    since: datetime | None,
    foreign: Sequence[Path] = (),
    numbered: bool = False,
    forms: Sequence[Form] = (),
) -> Iterator[Entry]:
    """Yield the stapling lines since then of several logs, one log after the other, those of `foreign` at last.

    Raises Problem when the first, the server's own, cannot be read; others that cannot be are passed over.
    """
    for path in paths[:1]:
        yield from entries(path, since, numbered, forms)
    for path in paths[1:]:
        with suppress(Problem, OSError):
            yield from entries(path, since, numbered, forms)
    yield from foreign_entries(foreign, since, forms)


def foreign_entries(
    paths: Sequence[Path], since: datetime | None, forms: Sequence[Form] = ()
) -> Iterator[Entry]:
    """Yield the stapling lines since then at the end of logs that anybody may have written; numbers are 0.

    How much is read of all together is bounded, whatever a log has become since it was looked at: an account holder
    can make one of a terabyte out of nothing, or a link to what is no file on a disk (which has no size).
    """
    for path in paths:
        with suppress(Problem, OSError), files.opened(path) as log:
            begin = max(0, log.size - FOREIGN_BYTES // len(paths))
            found = prove(_of_file(log, begin, False, forms))
            yield from (e for e in found if since is None or not _before(e, since))


def entries_of_stream(stream: IO[bytes], paste: Paste, since: datetime | None = None) -> Iterator[Entry]:
    """Yield every stapling line of a pipe as it comes; with `since` (naive local time) only those not older.

    The beginning is read as a paste: what is not in Apache's form is counted in `paste`.
    """
    read: Fill = getattr(stream, "readinto1", None) or stream.readinto  # type: ignore[attr-defined]
    lines = chain(paste.entries(stream.readline), _of_stream(read))
    return (e for e in prove(lines) if since is None or not _before(e, since))


def piped_entries(stream: IO[bytes], paste: Paste, since: datetime | None = None) -> Iterator[Entry]:
    """Yield what `entries_of_stream` yields. Raises Problem at the end of a text of which nothing is of a log."""
    silent = True
    for entry in entries_of_stream(stream, paste):
        silent = False
        if since is None or not _before(entry, since):
            yield entry
    head = paste.head
    if silent and not (paste.unclear or paste.clients or utf_16(head)):
        what = "a gzipped file" if files.is_packed(head) else files.what_else(head)
        if what:
            raise Problem(
                "log-not-a-log",
                f"Standard input is {what}, not an error log. Give it the lines of Apache's error log.",
            )


def named_entries(path: Path, paste: Paste, since: datetime, numbered: bool) -> Iterator[Entry]:
    """Yield a period of a file that somebody names: of a log, or, where none of its lines is one, of a paste.

    Raises Problem as `pasted_entries` does.
    """
    found = entries(path, since, numbered)
    first = next(found, None)
    if first is None:
        yield from (e for e in pasted_entries(path, paste, numbered) if not _before(e, since))
        return
    yield from chain((first,), found)


def pasted_entries(path: Path, paste: Paste, numbered: bool = True) -> Iterator[Entry]:
    """Yield every stapling line of a file that somebody names, read as a paste if it is no larger than one.

    What is not in Apache's form is counted in `paste`. Without `numbered`, line numbers of a long log are 0. Raises
    Problem when the file cannot be read, and `log-not-a-log` when it is something else than a log.
    """
    with files.opened(path) as log:
        head = files.head_of(log)
        packed = files.is_packed(head)
        readable = packed or (utf_16(head) and log.size <= MOST)
        if not readable and (what := files.what_else(head)):
            raise Problem(
                "log-not-a-log",
                f"{path} is {what}, not an error log. Name Apache's error log, or leave the name out.",
            )
        if not packed and log.size > MOST:
            yield from prove(_of_file(log, 0, numbered))
            return
        with files.reader(log, packed) as stream:
            yield from entries_of_stream(stream, paste)


def new_entries(
    path: Path, bookmark: Bookmark | None, since: datetime | None = None, forms: Sequence[Form] = ()
) -> tuple[list[Entry], Bookmark]:
    """Return the stapling lines written after `bookmark`, and the next bookmark; line numbers are 0.

    Only finished lines are read. After a rotation the rest of the old file comes first. Without a bookmark, or
    when nothing it knew is left, everything since `since` is read, neighbours included. Raises Problem.
    """
    with files.opened(path) as log:
        end = files.end_of_lines(log)
        if bookmark and files.fits(log, bookmark):
            found = list(prove(_of_file(log, bookmark.offset, False, forms, end)))
        elif bookmark and (old := files.copy_with(path, bookmark)):
            found = [*_rest(old, bookmark, forms), *prove(_of_file(log, 0, False, forms, end))]
        else:
            whole = (
                _of_period(log, since, False, forms, end) if since else _of_file(log, 0, False, forms, end)
            )
            lines = prove(whole)
            found = [e for e in lines if since is None or not _before(e, since)]
        return found, files.mark(log, end)


def _rest(path: Path, bookmark: Bookmark, forms: Sequence[Form]) -> list[Entry]:
    with files.opened(path) as log:
        return list(prove(_of_file(log, bookmark.offset, False, forms)))


def _before(entry: Entry, since: datetime) -> bool:
    when = moment(entry.time) if entry.time else None
    return when is not None and when < since


def _of_period(
    log: LogFile, since: datetime, numbered: bool, forms: Sequence[Form], end: int | None = None
) -> Iterator[Entry]:
    """Yield the lines of a log from about `since` on, those of rotated files first."""
    begin = files.first_time(log, forms)
    if begin is None or begin > since:
        for path in files.neighbours(log, since, forms):
            # A neighbour may vanish or be packed at any moment; what it said is then lost to this pass only.
            with suppress(Problem, OSError), files.opened(path, packed=path.suffix == ".gz") as older:
                yield from (
                    _of_packed(older, forms)
                    if older.packed
                    else _of_file(older, files.offset_of(older, since, forms), numbered, forms)
                )
    yield from _of_file(log, files.offset_of(log, since, forms), numbered, forms, end)
    if end is None:
        yield from _of_successor(log, numbered, forms)


def _of_successor(log: LogFile, numbered: bool, forms: Sequence[Form]) -> Iterator[Entry]:
    """Yield the lines of the file that took the log's place if it was rotated while it was read."""
    with suppress(Problem, OSError), files.opened(log.path) as now:
        if (now.device, now.inode) != (log.device, log.inode):
            yield from _of_file(now, 0, numbered, forms)


def _of_packed(log: LogFile, forms: Sequence[Form]) -> Iterator[Entry]:
    with files.unpacked(log) as fill:
        yield from _of_stream(fill, forms)


def _of_file(
    log: LogFile, start: int, numbered: bool, forms: Sequence[Form] = (), end: int | None = None
) -> Iterator[Entry]:
    """Yield the lines of a plain file between two offsets."""
    return read_parts(
        log.fd, files.written_from(log, start), log.size if end is None else end, numbered, forms
    )


def _of_stream(fill: Fill, forms: Sequence[Form] = ()) -> Iterator[Entry]:
    for number, line in Scanner(NEEDLES).lines(fill):
        if entry := parse(line, number, forms):
            yield entry
