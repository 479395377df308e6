"""The fast search agrees with a slow, obvious one."""

from __future__ import annotations

import io
import random

import pytest

from ocsp_stapling.apache.errorlog import scan as finder
from ocsp_stapling.apache.errorlog.line import MAX_LINE
from ocsp_stapling.apache.errorlog.scan import BLOCK, Scanner

NEEDLES = (b"stapling", b" OCSP ", b"AH0197")
Found = list[tuple[int, bytes]]


def slowly(data: bytes) -> Found:
    lines = data.split(b"\n")
    return [
        (number, line)
        for number, line in enumerate(lines, start=1)
        if len(line) < MAX_LINE and any(needle in line for needle in NEEDLES)
    ]


def scan(data: bytes, pieces: list[int] | None = None) -> Found:
    stream, sizes = io.BytesIO(data), iter(pieces or [])

    def fill(view: memoryview) -> int:
        return stream.readinto(view[: next(sizes, len(view))])

    return list(Scanner(NEEDLES).lines(fill))


def some_log(seed: int, size: int) -> bytes:
    rng = random.Random(seed)
    parts: list[bytes] = []
    while size > 0:
        kind = rng.random()
        length = (
            rng.choice([0, 3, 100, 900, 7000])
            if kind < 0.99
            else rng.choice([MAX_LINE - 9, MAX_LINE, 3 * MAX_LINE])
        )
        text = bytearray(rng.randbytes(8).hex().encode() * (length // 16 + 1))[:length]
        if rng.random() < 0.1:
            at = rng.randrange(len(text) + 1)
            text[at:at] = rng.choice(NEEDLES)
        parts.append(bytes(text) + b"\n")
        size -= len(text) + 1
    return b"".join(parts)


@pytest.mark.parametrize("seed", range(4))
def test_search_and_numbers_agree_with_the_obvious_way(seed: int) -> None:
    data = some_log(seed, 3 * BLOCK + seed)
    assert scan(data) == slowly(data)


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_in_small_pieces_reads_the_same(seed: int) -> None:
    data = some_log(seed, 200_000)
    rng = random.Random(seed)
    assert scan(data, [rng.randrange(1, 3000) for _ in range(1000)]) == slowly(data)


def test_without_memmem_the_search_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "_libc_memmem", lambda: None)
    data = some_log(7, 2 * BLOCK)
    assert scan(data) == slowly(data)


def test_the_last_line_needs_no_newline_unless_told() -> None:
    data = b"one\nstapling"
    assert scan(data) == [(2, b"stapling")]
    stream = io.BytesIO(data)
    assert list(Scanner(NEEDLES).lines(stream.readinto, unfinished=False)) == []


def test_lines_no_apache_writes_are_passed_over_in_bounded_memory() -> None:
    monster = b"stapling" + b"x" * (5 * BLOCK) + b" stapling\n"
    assert scan(b"a\n" + monster + b"my stapling\n" + monster[:-1]) == [(3, b"my stapling")]


def test_numbers_are_left_out_if_not_wanted() -> None:
    scanner = Scanner(NEEDLES)
    assert list(scanner.lines(io.BytesIO(b"one\nstapling\n").readinto, numbered=False)) == [(0, b"stapling")]
    assert scanner.newlines == 0


def test_a_scanner_can_be_used_again() -> None:
    scanner = Scanner(NEEDLES)
    for seed in range(3):
        data = some_log(seed, 50_000)
        assert list(scanner.lines(io.BytesIO(data).readinto)) == slowly(data)
        assert scanner.newlines == data.count(b"\n")
