"""Whatever bytes the log holds: no crash, no hang, and foreign lines never change what the real ones say."""

from __future__ import annotations

import gc
import io
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsp_stapling.apache.errorlog.attribution import prove
from ocsp_stapling.apache.errorlog.failures import failures
from ocsp_stapling.apache.errorlog.line import MAX_LINE, Entry, _parse_unusual, moment, parse, time_of
from ocsp_stapling.apache.errorlog.paste import Paste
from ocsp_stapling.apache.errorlog.read import _of_stream, entries_of_stream
from tests.unit.apache.errorlog_lines import SUMMARY, TIME, TIMEOUT, UNREACHABLE, fixture, line

REAL = [raw for name in ("event", "client-refused", "client-stale-debug", "prefork") for raw in fixture(name)]
# Pieces that real lines are made of, so that random lines come near to them.
PIECES = [
    *(piece.encode() for piece in (SUMMARY, UNREACHABLE, TIMEOUT, TIME, f"[{TIME}] ")),
    *b"[ssl:error] |[php:error] |[error] |[pid 1] |[pid 1:tid 2] |[client 1.2.3.4:5] |(111)Refused: |AH01941: ".split(
        b"|"
    ),
    *(b"\0", b"\r", b"\xff\xfe", "\u2018".encode(), b"'", b" OCSP ", b"stapling", b'{"log":"', b"web-1  | "),
    b"Nov 22 03:04:05 web1 httpd[1]: ",
    b"2026-11-22T03:04:05Z stderr F ",
]
near_lines = st.lists(st.sampled_from(PIECES) | st.binary(max_size=12), max_size=9).map(b"".join)
any_line = (near_lines | st.binary(max_size=200)).map(lambda raw: raw.replace(b"\n", b" "))


def read(data: bytes) -> list[Entry]:
    return list(prove(_of_stream(io.BytesIO(data).readinto)))


def mutated(raw: bytes, at: int, put: bytes, drop: int) -> bytes:
    at %= len(raw) + 1
    return (raw[:at] + put + raw[at + drop :]).replace(b"\n", b" ")


real_mutations = st.builds(
    mutated, st.sampled_from(REAL), st.integers(0, 999), st.binary(max_size=6), st.integers(0, 9)
)


@settings(max_examples=150, deadline=None)
@given(any_line | real_mutations)
def test_no_line_crashes_and_both_ways_of_reading_agree(raw: bytes) -> None:
    entry = parse(raw)
    assert entry == _parse_unusual(raw, 0)
    when = time_of(raw)
    assert (when and moment(when)) is None or entry is None or entry.time in (None, when)
    if entry and entry.kind:
        assert entry.code.encode() in raw


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=4000) | st.lists(any_line | real_mutations, max_size=30).map(b"\n".join))
def test_no_log_crashes_reading_grouping_or_order(data: bytes) -> None:
    found = read(data)
    assert [entry.line_number for entry in found] == sorted({entry.line_number for entry in found})
    assert all(entry.kind for entry in found)
    assert len(list(failures(found))) <= len(found)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(REAL)), any_line), max_size=25))
def test_foreign_lines_change_nothing_but_line_numbers(inserted: list[tuple[int, bytes]]) -> None:
    mixed = list(REAL)
    for place, raw in sorted(inserted, key=lambda one: one[0], reverse=True):
        if parse(raw) is None:  # foreign: not itself a line of mod_ssl
            mixed.insert(place, raw)
    expected = [entry._replace(line_number=0) for entry in read(b"\n".join(REAL))]
    assert [entry._replace(line_number=0) for entry in read(b"\n".join(mixed))] == expected


def monsters() -> list[bytes]:
    """Return lines made to send a careless pattern backtracking."""
    head = f"[{TIME}] [ssl:error] [pid 1] ".encode()
    size = MAX_LINE - 200
    return [
        head
        + b"AH02969: stapling_check_response: response has certificate status "
        + b"(reason: " * (size // 9),
        head + b"AH01974: could not connect to OCSP responder '" + b"' " * (size // 2) + b"x",
        head + b"AH01972: could not resolve address of OCSP responder " + b" " * size + b"x",
        head + b"AH02604: Unable to configure certificate " + b" for stapling " * (size // 14),
        head + b"(1)" + b"x: " * (size // 3),
        head + b"[client " + b"1" * size,
        b"\0" * size + b"stapling",
        b"Nov 22 03:04:05 " + b"a " * (size // 2) + b" OCSP ",
        b"[" * size + b" OCSP ",
        (f"[{TIME}] " * (size // 36)).encode() + b" OCSP ",
    ]


@pytest.mark.parametrize("number", range(len(monsters())))
def test_no_line_takes_long(number: int) -> None:
    begin = time.process_time()
    for _ in range(20):
        parse(monsters()[number])
    # Milliseconds if the patterns are linear; minutes if one is not.
    assert time.process_time() - begin < 20


PASTES = {
    "empty lines": "\n" * (4 << 20),
    "lines of one letter": "a\n" * (2 << 20),
    "a page in one line": "OCSP\r" * 40_000,
    "another page in one line": "OCSP<br>" * 40_000,
    "a page in each line": ("AH01941 " + "1\r" * 65_000 + "\n") * 30,
    "a page in each object": ('{"log":"OCSP' + "\\n(" * 20_000 + '"}\n') * 60,
    "lines that never end": ("[ssl:error] AH01974: could not\n" + "x\n" * 11) * 78_000,
    "blanks without end": ("a" + "\t" * 30_000 + "stapling_\r\n") * 4,
    "what ends rows and does not": ("stapling_" + ",'" * 15_000 + "AH01980\n") * 4,
    "dots behind an answer": ("response: responder error" + " ." * 15_000 + "x\n") * 8,
    "dots without end": ("[ssl:error] stapling: " + "." * 30_000 + " error\n") * 8,
}


@pytest.mark.parametrize("kind", PASTES)
def test_no_paste_takes_long(kind: str) -> None:
    data = io.BytesIO(PASTES[kind].encode())
    begin = time.process_time()
    for _ in entries_of_stream(data, Paste()):
        pass
    # A few seconds at most; most of a minute where every line or piece of one is looked at from all sides.
    assert time.process_time() - begin < 15


def test_reading_much_keeps_little() -> None:
    lines = "\n".join(
        line(UNREACHABLE, pid=n) + "\n" + line("AH01935: x stapling " + "y" * 900, pid=n) for n in range(1000)
    )
    data = (lines + "\n").encode()

    def read_it() -> None:
        for _ in entries_of_stream(io.BytesIO(data), Paste()):
            pass

    read_it()
    gc.collect()
    tracemalloc.start()
    read_it()
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 17
    assert peak < 3 << 20  # the text itself is a third of that
