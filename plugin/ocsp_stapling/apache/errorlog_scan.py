"""Every line of a log that contains one of a few byte strings, with its number: fast, in bounded memory.

A log on a busy server has gigabytes, so the search runs at the speed of `grep -F`: blocks are read into one
buffer that stays in the processor's cache and searched with libc's memmem. Counting lines for their numbers
costs as much as the search, so for big files a child process counts meanwhile.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from ocsp_stapling.apache.errorlog_line import MAX_LINE

BLOCK = 1 << 20
STEP = 1 << 15  # bytes that newlines are counted by: each count fits 16 bits
_NEWLINE = 10
_FIRST = struct.Struct("=Q")
_COUNTS = struct.Struct(f"={BLOCK // STEP}H")
_FORK_FROM = 64 * BLOCK  # below that, a child costs more than it saves

# Fills (part of) a buffer and returns how many bytes; 0 at the end.
Fill = Callable[[memoryview], int]


class Numbering(Protocol):
    """How many newlines stand where: a scan asks only near its hits, so counting can be done elsewhere."""

    step: int
    """The bytes it can count by."""

    def before(self, block: int, step: int) -> int:
        """Return the newlines before step number `step` of block number `block`."""
        ...

    def passed(self, block: int, data: bytearray, start: int, end: int) -> None:
        """Take note that a block has been scanned; it stands in `data` between `start` and `end`."""
        ...


class CountHere:
    """Counts in this process, block by block; for streams and small files."""

    step = BLOCK

    def __init__(self, lines: int = 0) -> None:
        self._lines = lines

    def before(self, block: int, step: int) -> int:  # noqa: ARG002 - always asked for the block at hand
        return self._lines

    def passed(self, block: int, data: bytearray, start: int, end: int) -> None:  # noqa: ARG002
        self._lines += data.count(b"\n", start, end)


class CountInChild:
    """A forked child counts the newlines of a file, step by step, and tells them through a pipe."""

    step = STEP

    def __init__(self, fd: int, start: int, end: int) -> None:
        self._pipe, write = os.pipe()
        with suppress(OSError):  # room for the counts of 16 GiB, if the user's share of pipes allows it
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)
        self._child = os.fork()
        if self._child == 0:
            _count_and_exit(fd, start, end, write)
        os.close(write)
        self._lines, self._block = sum(self._receive(_FIRST)), -1
        self._steps: tuple[int, ...] = ()

    def before(self, block: int, step: int) -> int:
        while self._block < block:
            self._lines += sum(self._steps)
            self._steps = self._receive(_COUNTS)
            self._block += 1
        return self._lines + sum(self._steps[:step])

    def passed(self, block: int, data: bytearray, start: int, end: int) -> None:  # noqa: ARG002
        if block % 1024 == 1023:  # empty the pipe, or the child would wait for room in it
            self.before(block - 512, 0)

    def _receive(self, form: struct.Struct) -> tuple[int, ...]:
        data = os.read(self._pipe, form.size)  # written in one piece, so read in one piece
        # Nothing comes if the child met a file that was cut meanwhile: numbers then stand still.
        return form.unpack(data) if len(data) == form.size else ()

    def close(self) -> None:
        """Let the child go: closing the pipe ends it if it is still counting."""
        os.close(self._pipe)
        os.waitpid(self._child, 0)


def _count_and_exit(fd: int, start: int, end: int, pipe: int) -> None:
    """Run as the child: leave by _exit, so that nothing the parent prepared (buffers, handlers) runs twice."""
    try:
        buffer = bytearray(BLOCK)
        os.write(pipe, _FIRST.pack(_count(fd, 0, start, buffer)))
        while start < end and (got := os.preadv(fd, [memoryview(buffer)[: end - start]], start)):
            steps = (buffer.count(b"\n", at, min(at + STEP, got)) for at in range(0, BLOCK, STEP))
            os.write(pipe, _COUNTS.pack(*steps))
            start += got
    finally:
        os._exit(0)


def _count(fd: int, start: int, end: int, buffer: bytearray) -> int:
    """Return the number of newlines of a file between two offsets."""
    lines = 0
    while start < end and (got := os.preadv(fd, [memoryview(buffer)[: end - start]], start)):
        lines += buffer.count(b"\n", 0, got)
        start += got
    return lines


def numbering_of(fd: int, start: int, end: int) -> CountHere | CountInChild:
    """Return the cheaper way to number the lines of a file of which only start..end is searched."""
    # A fork among threads can inherit a lock nobody will release.
    if end >= _FORK_FROM and threading.active_count() == 1 and len(os.sched_getaffinity(0)) > 1:
        return CountInChild(fd, start, end)
    return CountHere(_count(fd, 0, start, bytearray(min(BLOCK, max(start, 1)))))


class _Finder:
    """memmem on one buffer: two to four times the speed of bytes.find, which is the fallback."""

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._memmem = _libc_memmem()
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))

    def find(self, needle: bytes, start: int, end: int) -> int:
        """Return where the needle is first found within start..end, or `end`."""
        if self._memmem is None:
            place = self._buffer.find(needle, start, end)
            return end if place < 0 else place
        found = self._memmem(self._address + start, end - start, needle, len(needle))
        return found - self._address if found else end


def _libc_memmem() -> Callable[[int, int, bytes, int], int | None] | None:
    try:
        memmem = ctypes.CDLL(None).memmem
    except (OSError, AttributeError):
        return None
    memmem.restype = ctypes.c_void_p
    memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    return memmem


def lines_with(
    needles: Sequence[bytes], fill: Fill, numbering: Numbering | None, unfinished: bool = True
) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of every line that contains a needle; numbers count from 1 (0 without `numbering`).

    Lines longer than MAX_LINE are passed over: Apache writes none. `unfinished` says whether a last line
    without a newline counts (no: Apache may be in the middle of writing it).
    """
    # The buffer is [room for the rest of the last line][block]: the rest always ends where the block begins.
    buffer = bytearray(MAX_LINE + BLOCK)
    view, finder = memoryview(buffer), _Finder(buffer)
    rest, too_long, block = 0, False, 0
    while got := fill(view[MAX_LINE:]):
        start, end = MAX_LINE - rest, MAX_LINE + got
        if too_long:  # the line began before this buffer: go on behind its end
            start = buffer.find(b"\n", MAX_LINE, end) + 1 or end
        whole = max(buffer.rfind(b"\n", start, end) + 1, start)
        hits = _hits(buffer, finder, needles, start, whole)
        yield from hits if numbering is None else _numbered(hits, buffer, numbering, block)
        if numbering:
            numbering.passed(block, buffer, MAX_LINE, end)
        too_long = end - whole > MAX_LINE or (too_long and start == end and buffer[end - 1] != _NEWLINE)
        rest = 0 if too_long else end - whole
        buffer[MAX_LINE - rest : MAX_LINE] = bytes(view[end - rest : end])
        block += 1
    last = bytes(view[MAX_LINE - rest : MAX_LINE])
    if unfinished and any(needle in last for needle in needles):
        yield (numbering.before(block, 0) + 1 if numbering else 0), last


def _hits(
    buffer: bytearray, finder: _Finder, needles: Sequence[bytes], start: int, end: int
) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) of the hits among the whole lines start..end of the buffer."""
    view, at = memoryview(buffer), start
    found = [finder.find(needle, at, end) for needle in needles]
    while (first := min(found)) < end:
        begin = buffer.rfind(b"\n", at, first) + 1 or at
        after = buffer.find(b"\n", first, end) + 1
        if after - begin <= MAX_LINE:
            yield begin, bytes(view[begin : after - 1])
        at = after
        for index, place in enumerate(found):
            if place < at:
                found[index] = finder.find(needles[index], at, end)


def _numbered(
    hits: Iterator[tuple[int, bytes]], buffer: bytearray, numbering: Numbering, block: int
) -> Iterator[tuple[int, bytes]]:
    """Give each hit its line number instead of its offset."""
    lines, counted = -1, 0
    for begin, line in hits:
        if lines < 0 or begin - counted > numbering.step:
            # What is left of the last block holds no newline, so this block's count is right for it too.
            step = max(0, begin - MAX_LINE) // numbering.step
            lines, counted = numbering.before(block, step), MAX_LINE + step * numbering.step
        lines += buffer.count(b"\n", counted, begin)
        counted = max(begin, counted)
        yield lines + 1, line
