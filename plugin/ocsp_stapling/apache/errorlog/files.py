"""The error log as files: opened safely, entered where a period begins, with its rotated and gzipped neighbours."""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from ocsp_stapling import files
from ocsp_stapling.apache.errorlog.cut import MENTION
from ocsp_stapling.apache.errorlog.form import Form, time_of
from ocsp_stapling.apache.errorlog.line import moment
from ocsp_stapling.apache.errorlog.scan import BLOCK, Fill
from ocsp_stapling.apache.errorlog.undress import MODULE
from ocsp_stapling.problem import Problem, reason_of

# Lines are not strictly in order, and when summer time ends an hour is written twice.
SLACK = timedelta(hours=2)
_PROBE = 64 * 1024
_NEIGHBOURS = 64  # rotated files looked at
_UNPACKED = 8 << 30  # bytes read from one gzipped neighbour: a bound on what a crafted one can cost
_DIGEST = 256


@dataclass(frozen=True)
class LogFile:
    """An open log: what was there when it was opened. Rotation renames it, but this stays readable."""

    path: Path
    fd: int
    size: int
    inode: int
    device: int
    packed: bool = False


@dataclass(frozen=True)
class Bookmark:
    """Where a pass stopped, so that the next reads only what is new; every field fits into JSON.

    `digest` is of the bytes just before `offset`: a file that was emptied and has grown again is recognised.
    """

    device: int
    inode: int
    offset: int
    digest: str


@contextmanager
def opened(path: Path, packed: bool = False) -> Iterator[LogFile]:
    """Open a log for reading. Raises Problem when it is absent, unreadable or not a regular file."""
    fd = _open(path)
    try:
        found = os.fstat(fd)
        yield LogFile(path, fd, found.st_size, found.st_ino, found.st_dev, packed)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    try:
        return files.open_regular(path)
    except FileNotFoundError as error:
        raise Problem("log-not-found", f"There is no error log {path}.") from error
    except files.NotRegularError as error:
        what = "a directory" if path.is_dir() else "not a regular file (a pipe or a device)"
        sentence = f"{path} is {what}; name a log file, or - for standard input."
        raise Problem("log-not-a-file", sentence) from error
    except (OSError, ValueError) as error:
        sentence = f"The error log {path} cannot be read; run this as root or name another file."
        raise Problem("log-unreadable", sentence, reason_of(error)) from error


@contextmanager
def unpacked(log: LogFile) -> Iterator[Fill]:
    """Give what fills a buffer from a gzipped log; a damaged or unfinished file ends where the damage begins."""
    with gzip.open(os.fdopen(os.dup(log.fd), "rb"), "rb") as stream:
        left = _UNPACKED

        def fill(view: memoryview) -> int:
            nonlocal left
            try:
                # read1, since readinto would drop what precedes the damage.
                data = stream.read1(min(len(view), left))
            except (OSError, EOFError, zlib.error):
                return 0
            view[: len(data)] = data
            left -= len(data)
            return len(data)

        yield fill


HEAD_BYTES = 64 * 1024
"""By which it is told whether a text is a log."""
_LOGGED = re.compile(
    rb"^.{0,80}(?:\d\d:\d\d:\d\d|\[(?:\w+:)?(?:emerg|alert|crit|error|warn|notice|info|debug)\]|AH\d{5})",
    re.MULTILINE,
)
_COMPLAINS = re.compile(
    rb"\b(?:error|warning|failed|fatal|blocked|denied)\b|^[\w./-]{2,40}(?:\[\d+\])?: ",
    re.IGNORECASE | re.MULTILINE,
)
_VISITS = re.compile(rb"\s*\S+ \S+ \S+ \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] \"")
_PACKED = {
    b"\xfd7zXZ\0": "a file packed by xz (xzcat prints its text)",
    b"(\xb5/\xfd": "a file packed by zstd (zstdcat prints its text)",
    b"BZh": "a file packed by bzip2 (bzcat prints its text)",
    b"PK\3\4": "a ZIP archive (unzip -p prints its text)",
}
_ELSE = (
    ("a certificate or key", re.compile(rb"(?:[^\n]*\n){0,40}?-----BEGIN [A-Z ]+-----")),
    ("a web page", re.compile(rb"\s*<(?:!doctype|html|head|\?xml)", re.IGNORECASE)),
    ("no text", re.compile(rb"[^\0]{0,4096}\0[^\0]*\0", re.DOTALL)),
    (
        "a configuration file",
        re.compile(
            rb"(?:\s*#[^\n]*\n|\s*\n){0,200}\s*(?:</?(?:VirtualHost|IfModule|Directory|Location)\b|"
            rb"(?:SSL\w+|ServerName|ServerRoot|Listen|LoadModule|Include\w*|DocumentRoot|ErrorLog|CustomLog)[ \t])"
        ),
    ),
)


def is_packed(head: bytes) -> bool:
    """Say whether a file that begins so is gzipped, whatever its name."""
    return head.startswith(b"\x1f\x8b")


def written_from(log: LogFile, start: int) -> int:
    """Return where from `start` on something was written; the end of a log in which nothing is.

    A rotation that empties a file which somebody goes on writing leaves a hole before what comes next: gigabytes of
    NULs that lie on no disk and need not be read.
    """
    try:
        return os.lseek(log.fd, start, os.SEEK_DATA)
    except OSError as error:  # ENXIO: nothing but a hole; else a file system that cannot tell
        return max(start, log.size) if error.errno == errno.ENXIO else start


def head_of(log: LogFile) -> bytes:
    """Return the first bytes that were written into a file; NULs if nothing was written but its size."""
    return os.pread(log.fd, HEAD_BYTES, written_from(log, 0)) or os.pread(log.fd, HEAD_BYTES, 0)


def what_else(head: bytes) -> str:
    """Return what a file whose first written bytes are these is, if it is no log; "" if it may be one."""
    if head and not head.strip(b"\0"):
        return "no text"
    if packed := next((what for magic, what in _PACKED.items() if head.startswith(magic)), ""):
        return packed
    head = head.lstrip(b"\0")
    for what, pattern in _ELSE[:3]:
        if pattern.match(head):
            return what
    if _VISITS.match(head) and not (MODULE.search(head) or MENTION.search(head)):
        return "a log of visits"
    if _LOGGED.search(head):
        return ""
    known = next((what for what, pattern in _ELSE[3:] if pattern.match(head)), "")
    maybe = not head.strip() or MENTION.search(head) or _COMPLAINS.search(head)
    return known or ("" if maybe else "a text without a line of any log")


@contextmanager
def reader(log: LogFile, packed: bool) -> Iterator[IO[bytes]]:
    """Give a log's bytes as a stream; of a gzipped one at most so many as `unpacked` gives."""
    if not packed:
        with os.fdopen(os.dup(log.fd), "rb") as plain:
            plain.seek(0)
            yield plain
        return
    with unpacked(log) as fill, io.BufferedReader(_Filled(fill)) as stream:
        yield stream


class _Filled(io.RawIOBase):
    """A raw stream over a function that fills a buffer."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._fill(memoryview(buffer))


def first_time(log: LogFile, forms: Sequence[Form] = ()) -> datetime | None:
    """Return the latest time among the lines of the first 64 KiB, None if none is dated."""
    if not log.packed:
        return _latest(os.pread(log.fd, _PROBE, 0), forms)
    with unpacked(log) as fill:
        buffer = bytearray(_PROBE)
        return _latest(bytes(buffer[: fill(memoryview(buffer))]), forms)


def _latest(data: bytes, forms: Sequence[Form]) -> datetime | None:
    """Return the latest time a line begins with: one line with an invented past must not hide the others."""
    times = (moment(time) for line in data.split(b"\n") if (time := time_of(line.lstrip(b"\0"), forms)))
    return max((when for when in times if when), default=None)


def offset_of(log: LogFile, since: datetime, forms: Sequence[Form] = ()) -> int:
    """Return the offset of a line from which on nothing of the period is missed, by bisection over the times.

    0 if the lines carry no times. Some lines before `since` may follow the offset; filter them.
    """
    wanted = since - SLACK
    low, high = 0, log.size
    while high - low > _PROBE:
        middle = (low + high) // 2
        data = os.pread(log.fd, _PROBE, middle)
        begin = data.find(b"\n") + 1
        latest = _latest(data[begin:], forms) if begin else None
        if latest is None:  # 64 KiB without a time: not worth being clever
            break
        if latest < wanted:
            low = middle + begin
        else:
            high = middle
    return low


def neighbours(log: LogFile, since: datetime, forms: Sequence[Form] = ()) -> list[Path]:
    """Return the rotated files of a log that reach into the period, oldest first.

    Known names: error_log.1, error_log.2.gz, error_log-20261101, error_log-20261101.gz, beside the log or in
    `archive/` (where cPanel's own rotation puts them).
    """
    chosen: list[Path] = []
    head = _head(log)
    for path in _candidates(log.path, since):
        with suppress(Problem, OSError), opened(path, packed=path.suffix == ".gz") as older:
            if (older.device, older.inode) == (log.device, log.inode) or (head and _head(older) == head):
                continue  # the log itself, or the copy that "copytruncate" is about to make of it
            chosen.append(path)
            begin = first_time(older, forms)
            if begin and begin < since - SLACK:
                break
    return chosen[::-1]


def _candidates(path: Path, since: datetime) -> list[Path]:
    """Return files named like rotated copies and written since, newest first; of x and x.gz only x."""
    oldest = (since - SLACK).timestamp()
    found: dict[Path, float] = {}
    real = Path(os.path.realpath(path))
    for place in (real.parent, real.parent / "archive"):
        with suppress(OSError), os.scandir(place) as listing:
            for item in listing:
                if _is_copy(item.name, real.name) and item.is_file(follow_symlinks=False):
                    found[Path(item.path)] = item.stat(follow_symlinks=False).st_mtime
    twice = {path for path in found if path.suffix == ".gz" and path.with_suffix("") in found}
    recent = [(when, path) for path, when in found.items() if when >= oldest and path not in twice]
    return [path for _, path in sorted(recent, reverse=True)[:_NEIGHBOURS]]


def _is_copy(name: str, log: str) -> bool:
    suffix = name[len(log) :].removesuffix(".gz")
    return name.startswith(log) and suffix[:1] in (".", "-") and suffix[1:].replace("-", "").isdigit()


def _head(log: LogFile) -> bytes:
    """Return the first bytes of a log: two files that begin alike, to the microsecond, are copies."""
    if log.packed:
        return b""
    return os.pread(log.fd, 512, 0)


def mark(log: LogFile, offset: int) -> Bookmark:
    """Return the bookmark for `offset`, which must be the beginning of a line."""
    return Bookmark(log.device, log.inode, offset, _digest(log, offset))


def _digest(log: LogFile, offset: int) -> str:
    import hashlib  # late: it loads OpenSSL, which reading a log does not need

    start = max(0, offset - _DIGEST)
    return hashlib.sha256(os.pread(log.fd, offset - start, start)).hexdigest()[:16]


def fits(log: LogFile, bookmark: Bookmark) -> bool:
    """Return whether the bookmark was made in this file and what it was made after is still there."""
    same = (log.device, log.inode) == (bookmark.device, bookmark.inode)
    return same and 0 <= bookmark.offset <= log.size and _digest(log, bookmark.offset) == bookmark.digest


def end_of_lines(log: LogFile) -> int:
    """Return the offset behind the last finished line."""
    end = log.size
    while end > 0:
        begin = max(0, end - BLOCK)
        found = os.pread(log.fd, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def copy_with(path: Path, bookmark: Bookmark) -> Path | None:
    """Return the rotated file the bookmark was made in, if it is still there and not yet packed."""
    for candidate in _candidates(path, datetime.fromtimestamp(0) + SLACK):
        if candidate.suffix != ".gz":
            with suppress(Problem, OSError), opened(candidate) as older:
                if fits(older, bookmark):
                    return candidate
    return None
