"""A log read in parts by several processes says what it says read in one go."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest

from ocsp_stapling.apache.errorlog import parts as reader
from ocsp_stapling.apache.errorlog.line import MAX_LINE, Entry, parse
from ocsp_stapling.apache.errorlog.parts import Helper, LogPart, Reader, pack, read_parts, unpack
from ocsp_stapling.apache.errorlog.scan import Scanner
from tests.unit.apache.errorlog_lines import failure, fixture

SMALL = 64 * 1024


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PART", SMALL)
    monkeypatch.setattr(reader, "_HELP_FROM", SMALL)
    monkeypatch.setattr("threading.active_count", lambda: 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})


def some_log(seed: int) -> bytes:
    rng = random.Random(seed)
    parts: list[bytes] = []
    for _ in range(4000):
        parts.append(
            failure(rng.randrange(1, 99)).encode()
            if rng.random() < 0.3
            else b"x" * rng.randrange(300) + b"\n"
        )
        if rng.random() < 0.002:
            parts.append(b"stapling" * rng.choice([MAX_LINE // 8, SMALL // 4]) + b"\n")
    return b"".join(parts) + failure().encode()[:-1]


def slowly(data: bytes) -> list[Entry]:
    lines = enumerate(data.split(b"\n"), start=1)
    return [entry for number, line in lines if (entry := parse(line, number))]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "error_log"


def read(path: Path, start: int = 0, numbered: bool = True) -> list[Entry]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(read_parts(fd, start, path.stat().st_size, numbered))
    finally:
        os.close(fd)


@pytest.mark.parametrize("seed", range(3))
def test_parts_make_the_whole(log: Path, seed: int) -> None:
    data = some_log(seed)
    log.write_bytes(data)
    assert read(log) == slowly(data)
    assert read(log, numbered=False) == [entry._replace(line_number=0) for entry in slowly(data)]


def test_the_rest_of_a_file_keeps_the_numbers_of_the_file(log: Path) -> None:
    data = some_log(5)
    log.write_bytes(data)
    start = data.index(b"\n", len(data) // 3) + 1
    before = data[:start].count(b"\n")
    assert read(log, start) == [entry for entry in slowly(data) if entry.line_number > before]


def test_parts_that_begin_at_a_line_share_none(log: Path) -> None:
    line = failure().encode().split(b"\n")[0]
    data = (
        line + b"\n" + b"x" * (SMALL // 4 - len(line) - 2) + b"\n"
    ) * 20  # a part is exactly four of these
    log.write_bytes(data)
    assert read(log) == slowly(data)


def test_a_helper_that_dies_is_replaced(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = some_log(1)
    log.write_bytes(data)
    monkeypatch.setattr(reader, "pack", lambda _: os._exit(1))
    assert read(log) == slowly(data)


def test_a_helper_ends_with_its_reader(log: Path) -> None:
    log.write_bytes(some_log(1))
    fd = os.open(log, os.O_RDONLY)
    reading = read_parts(fd, 0, log.stat().st_size, True)
    next(reading)
    reading.close()
    Helper(Reader(fd, 0, log.stat().st_size, True), range(1, 9), []).close()
    os.close(fd)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_file_cut_while_it_is_read_ends_early_and_quietly(log: Path) -> None:
    data = some_log(2)
    log.write_bytes(data)
    fd = os.open(log, os.O_RDONLY)
    reading = read_parts(fd, 0, len(data), True)
    next(reading)
    os.truncate(log, 0)
    assert len(list(reading)) < len(slowly(data))
    os.close(fd)


@pytest.mark.parametrize("name", ["event", "client-stale-debug"])
def test_parts_travel_unchanged(name: str) -> None:
    data = b"\n".join(fixture(name))
    entries = [
        entry
        for number, line in Scanner([b""]).lines(io.BytesIO(data).readinto)
        if (entry := parse(line, number))
    ]
    part = LogPart(entries, data.count(b"\n"))
    assert unpack(pack(part), 0) == part
    assert [e.line_number for e in unpack(pack(part), 100).entries] == [e.line_number + 100 for e in entries]
