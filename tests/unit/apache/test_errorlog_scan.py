"""The fast search agrees with a slow, obvious one."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocsp_stapling.apache import errorlog_scan
from ocsp_stapling.apache.errorlog_files import filler, opened
from ocsp_stapling.apache.errorlog_line import MAX_LINE
from ocsp_stapling.apache.errorlog_scan import BLOCK, CountHere, CountInChild, lines_with

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

    return list(lines_with(NEEDLES, fill, CountHere()))


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
    monkeypatch.setattr(errorlog_scan, "_libc_memmem", lambda: None)
    data = some_log(7, 2 * BLOCK)
    assert scan(data) == slowly(data)


def test_the_last_line_needs_no_newline_unless_told() -> None:
    data = b"one\nstapling"
    assert scan(data) == [(2, b"stapling")]
    stream = io.BytesIO(data)
    assert list(lines_with(NEEDLES, stream.readinto, CountHere(), unfinished=False)) == []


def test_lines_no_apache_writes_are_passed_over_in_bounded_memory() -> None:
    monster = b"stapling" + b"x" * (5 * BLOCK) + b" stapling\n"
    assert scan(b"a\n" + monster + b"my stapling\n" + monster[:-1]) == [(3, b"my stapling")]


@pytest.fixture
def big(tmp_path: Path) -> Iterator[tuple[Path, bytes]]:
    data = some_log(1, 6 * BLOCK + 12345)
    path = tmp_path / "error_log"
    path.write_bytes(data)
    yield path, data


def test_a_child_counts_the_same_numbers(big: tuple[Path, bytes]) -> None:
    path, data = big
    with opened(path) as log:
        child = CountInChild(log.fd, 0, log.size)
        try:
            assert list(lines_with(NEEDLES, filler(log, 0, log.size), child)) == slowly(data)
        finally:
            child.close()


def test_a_child_counts_what_stands_before_the_part_searched(big: tuple[Path, bytes]) -> None:
    path, data = big
    start = data.index(b"\n", 2 * BLOCK) + 1
    before = data[:start].count(b"\n")
    with opened(path) as log:
        child = CountInChild(log.fd, start, log.size)
        try:
            found = list(lines_with(NEEDLES, filler(log, start, log.size), child))
        finally:
            child.close()
    assert found == [(number, line) for number, line in slowly(data) if number > before]


def test_closing_early_leaves_no_child_behind(big: tuple[Path, bytes]) -> None:
    with opened(big[0]) as log:
        child = CountInChild(log.fd, 0, log.size)
        child.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(child._child, os.WNOHANG)


def test_a_file_cut_while_it_is_read_ends_the_scan(big: tuple[Path, bytes]) -> None:
    path, _ = big
    with opened(path) as log:
        child = CountInChild(log.fd, 0, log.size)
        found = lines_with(NEEDLES, filler(log, 0, log.size), child)
        next(found)
        os.truncate(path, 0)
        assert len(list(found)) < 1 + len(slowly(big[1]))
        child.close()
