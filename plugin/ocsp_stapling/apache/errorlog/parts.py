"""A big log read in parts, by this process and a few forked helpers, and put together again in order."""

from __future__ import annotations

import marshal
import os
import signal
import struct
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import BinaryIO, NamedTuple, NoReturn

from ocsp_stapling.apache.errorlog.codes import NEEDLES, Kind, Scope
from ocsp_stapling.apache.errorlog.form import Form, parse
from ocsp_stapling.apache.errorlog.line import Entry
from ocsp_stapling.apache.errorlog.scan import BLOCK, Fill, Scanner

PART = 4 * BLOCK
_HELPERS = 3  # at most, and never more than there are other processors
_HELP_FROM = 16 * PART  # smaller files are read before a helper has started
_LENGTH = struct.Struct("=Q")


class LogPart(NamedTuple):
    """What a part of the log said; `newlines` is 0 if they were not counted."""

    entries: list[Entry]
    newlines: int


class Reader:
    """Reads the lines of a file that begin within one part of start..end."""

    def __init__(self, fd: int, start: int, end: int, numbered: bool, forms: Sequence[Form] = ()) -> None:
        self._fd, self._start, self._end, self._numbered, self._forms = fd, start, end, numbered, forms
        self._scanner = Scanner(NEEDLES)

    def parts(self) -> range:
        """Return the numbers of the parts."""
        return range(-(-(self._end - self._start) // PART))

    def read(self, number: int, before: int = 0) -> LogPart:
        """Return what the lines say that begin in part `number`; `before` is how many lines precede it."""
        first = self._line_from(self._start + number * PART) if number else self._start
        last = self._line_from(self._start + (number + 1) * PART)
        lines = self._scanner.lines(filler(self._fd, first, last), self._numbered)
        found = [entry for at, line in lines if (entry := parse(line, at + before, self._forms))]
        return LogPart(found, self._scanner.newlines)

    def _line_from(self, offset: int) -> int:
        """Return where the first line begins that begins at `offset` or later."""
        at = offset - 1
        while at < self._end and (data := os.pread(self._fd, 4096 if at == offset - 1 else BLOCK, at)):
            if (found := data.find(b"\n")) >= 0:
                return min(at + found + 1, self._end)
            at += len(data)
        return self._end


def filler(fd: int, start: int, end: int) -> Fill:
    """Return what fills a buffer with the bytes start..end of a file."""
    offset = start

    def fill(view: memoryview) -> int:
        nonlocal offset
        got = os.preadv(fd, [view[: max(0, min(len(view), end - offset))]], offset)
        offset += got
        return got

    return fill


def read_parts(
    fd: int, start: int, end: int, numbered: bool, forms: Sequence[Form] = ()
) -> Generator[Entry, None, None]:
    """Yield what the lines between two offsets say, in order; line numbers (if wanted) are those of the file."""
    reader = Reader(fd, start, end, numbered, forms)
    helpers = _start_helpers(reader) if _worth_help(end - start) else []
    try:
        lines = _newlines_before(fd, start) if numbered else 0
        for number in reader.parts():
            worker = number % (len(helpers) + 1)
            part = (helpers[worker - 1].receive(lines) if worker else None) or reader.read(number, lines)
            yield from part.entries
            lines += part.newlines
    finally:
        for helper in helpers:
            helper.close()


def _worth_help(size: int) -> bool:
    # A fork among threads can inherit a lock that nobody will release.
    return size >= _HELP_FROM and threading.active_count() == 1


def _newlines_before(fd: int, end: int) -> int:
    buffer = bytearray(BLOCK)
    fill = filler(fd, 0, end)
    return sum(buffer.count(b"\n", 0, got) for got in iter(lambda: fill(memoryview(buffer)), 0))


def _start_helpers(reader: Reader) -> list[Helper]:
    """Return one helper for every other processor that may be used; each reads every so many parts."""
    step = min(len(os.sched_getaffinity(0)), _HELPERS + 1)
    helpers: list[Helper] = []
    try:
        for first in range(1, step):
            helpers.append(Helper(reader, reader.parts()[first::step], helpers))
    except OSError:  # no room for another process: then without help
        for helper in helpers:
            helper.close()
        return []
    return helpers


class Helper:
    """A forked process that reads some of the parts and sends what they said."""

    def __init__(self, reader: Reader, parts: range, elder: list[Helper]) -> None:
        pipe, write = os.pipe()
        self._pipe = os.fdopen(pipe, "rb")
        with os.fdopen(write, "wb") as stream:
            self._child = os.fork()
            if self._child == 0:
                # A pipe that any helper can read from would not end when its reader does.
                for held in (self, *elder):
                    os.close(held._pipe.fileno())
                _help_and_exit(reader, parts, stream)

    def receive(self, before: int) -> LogPart | None:
        """Return the helper's next part, which `before` lines precede, or None if the helper is gone."""
        length = self._pipe.read(_LENGTH.size)
        if len(length) < _LENGTH.size:
            return None
        data = self._pipe.read(_LENGTH.unpack(length)[0])
        return unpack(data, before) if len(data) == _LENGTH.unpack(length)[0] else None

    def close(self) -> None:
        """End the helper, whatever it is doing."""
        self._pipe.close()
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)


def _help_and_exit(reader: Reader, parts: range, stream: BinaryIO) -> NoReturn:
    """Run as the child: leave by _exit, so that nothing the parent prepared (buffers, handlers) runs twice."""
    try:
        with suppress(BaseException):
            for number in parts:
                data = pack(reader.read(number))
                stream.write(_LENGTH.pack(len(data)) + data)
                stream.flush()
    finally:
        os._exit(0)


_KINDS = {str(kind): kind for kind in Kind}
_SCOPES = {str(scope): scope for scope in Scope}


def pack(part: LogPart) -> bytes:
    """Return a part as bytes: marshal is fast and safe between a process and its own child."""
    plain = [
        (*entry[:4], entry.kind and str(entry.kind), *entry[5:9], str(entry.scope), *entry[10:])
        for entry in part.entries
    ]
    return marshal.dumps((plain, part.newlines))


def unpack(data: bytes, before: int) -> LogPart:
    """Return the part that `pack` made bytes of, its lines numbered on from those before it."""
    plain, newlines = marshal.loads(data)  # noqa: S302 - written by our own child
    entries = [
        Entry(
            number + before,
            time,
            pid,
            code,
            _KINDS.get(kind),
            responder,
            proven,
            tid,
            client,
            _SCOPES[scope],
            *others,
        )
        for number, time, pid, code, kind, responder, proven, tid, client, scope, *others in plain
    ]
    return LogPart(entries, newlines)
