"""Every line of a log that contains one of a few byte strings, with its number: fast, in bounded memory.

A log on a busy server has gigabytes, so the search runs at the speed of `grep -F`: blocks are read into one
buffer that stays in the processor's cache and searched with libc's memmem.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence

from ocsp_stapling.apache.errorlog.line import MAX_LINE

BLOCK = 1 << 20
_NEWLINE = 10

# Fills (part of) a buffer and returns how many bytes; 0 at the end.
Fill = Callable[[memoryview], int]
Hit = tuple[int, bytes]


class Scanner:
    """Searches one stream after the other with the same buffer."""

    newlines = 0
    """How many newlines the last stream had, if they were counted."""

    def __init__(self, needles: Sequence[bytes]) -> None:
        # The buffer is [room for the rest of the last line][block]: the rest always ends where the block begins.
        self._buffer = bytearray(MAX_LINE + BLOCK)
        self._view = memoryview(self._buffer)
        self._find = _finder(self._buffer)
        self._needles = needles

    def lines(self, fill: Fill, numbered: bool = True, unfinished: bool = True) -> Iterator[Hit]:
        """Yield (number, line) of every line that contains a needle; numbers count from 1 (0 if not wanted).

        Lines longer than MAX_LINE are passed over: Apache writes none. `unfinished` says whether a last line
        without a newline counts (no: Apache may be in the middle of writing it).
        """
        buffer, view = self._buffer, self._view
        rest, too_long, self.newlines = 0, False, 0
        while got := fill(view[MAX_LINE:]):
            start, end = MAX_LINE - rest, MAX_LINE + got
            if too_long:  # the line began before this buffer: go on behind its end
                start = buffer.find(b"\n", MAX_LINE, end) + 1 or end
            whole = max(buffer.rfind(b"\n", start, end) + 1, start)
            hits = self._hits(start, whole)
            yield from self._numbered(hits, end) if numbered else ((0, line) for _, line in hits)
            too_long = end - whole > MAX_LINE or (too_long and start == end and buffer[end - 1] != _NEWLINE)
            rest = 0 if too_long else end - whole
            buffer[MAX_LINE - rest : MAX_LINE] = bytes(view[end - rest : end])
        last = bytes(view[MAX_LINE - rest : MAX_LINE])
        if unfinished and any(needle in last for needle in self._needles):
            yield (self.newlines + 1 if numbered else 0), last

    def _hits(self, start: int, end: int) -> Iterator[Hit]:
        """Yield (offset, line) of the hits among the whole lines start..end of the buffer."""
        buffer, find, at = self._buffer, self._find, start
        found = [find(needle, at, end) for needle in self._needles]
        while (first := min(found)) < end:
            begin = buffer.rfind(b"\n", at, first) + 1 or at
            after = buffer.find(b"\n", first, end) + 1
            if after - begin <= MAX_LINE:
                yield begin, bytes(self._view[begin : after - 1])
            at = after
            for index, place in enumerate(found):
                if place < at:
                    found[index] = find(self._needles[index], at, end)

    def _numbered(self, hits: Iterator[Hit], end: int) -> Iterator[Hit]:
        """Give each hit its line number instead of its offset, and count the block to its end."""
        # What is left of the last block holds no newline, so counting can begin with the block.
        lines, counted = self.newlines, MAX_LINE
        for begin, line in hits:
            lines += self._buffer.count(b"\n", counted, begin)
            counted = max(begin, counted)
            yield lines + 1, line
        self.newlines = lines + self._buffer.count(b"\n", counted, end)


def _finder(buffer: bytearray) -> Callable[[bytes, int, int], int]:
    """Return a function that tells where a needle first stands between two offsets, or the second of them."""
    memmem = _libc_memmem()
    if memmem is None:
        return lambda needle, start, end: place if (place := buffer.find(needle, start, end)) >= 0 else end
    # The buffer is never resized, so its address holds as long as the function (which keeps it) does.
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))

    def find(needle: bytes, start: int, end: int, _keep: bytearray = buffer) -> int:
        found = memmem(address + start, end - start, needle, len(needle))
        return found - address if found else end

    return find


def _libc_memmem() -> Callable[[int, int, bytes, int], int | None] | None:
    """Return libc's memmem, two to four times as fast as bytes.find, or None where there is none."""
    try:
        memmem = ctypes.CDLL(None).memmem
    except (OSError, AttributeError):
        return None
    memmem.restype = ctypes.c_void_p
    memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    return memmem
