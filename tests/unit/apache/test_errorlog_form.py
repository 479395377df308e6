"""A log of the server's own ErrorLogFormat is read as one of httpd's own, and nobody forges a line of it."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ocsp_stapling.apache.errorlog.codes import Kind
from ocsp_stapling.apache.errorlog.failures import failures
from ocsp_stapling.apache.errorlog.form import forms_of, parse, time_of
from ocsp_stapling.apache.errorlog.line import Entry
from ocsp_stapling.apache.errorlog.read import entries
from tests.fixtures.errorlog.make import FORMATS
from tests.unit.apache.errorlog_lines import FIXTURES, SUMMARY

AT_START = ["AH02218", "AH02604"] * 2
RUNNING = ["AH01977", "AH01980", "AH01941", "AH01974", "AH01941", "AH01936", "AH01943"]
FORGED = "[Sun Nov 22 03:04:05 2026] [ssl:error] [pid 1] AH01958: SSLStapling: no stapling cache available"


def read(name: str) -> list[Entry]:
    return list(entries(FIXTURES / f"format-{name}.log", forms=forms_of([FORMATS[name]])))


@pytest.mark.parametrize("name", FORMATS)
def test_what_apache_writes_in_a_form_of_the_servers_own_is_read(name: str) -> None:
    found = read(name)
    assert [entry.code for entry in found] == AT_START + RUNNING
    assert {entry.responder for entry in found if entry.responder} == {"localhost:33981"}
    told = [one.kind for one in failures(found) if one.kind not in (Kind.NO_URI, Kind.NOT_CONFIGURED)]
    late = Kind.TIMEOUT if "%E" in FORMATS[name] or "%-E" in FORMATS[name] else Kind.BAD_RESPONSE
    assert told == [late, Kind.UNREACHABLE, Kind.INVALID]


@pytest.mark.parametrize("name", [name for name in FORMATS if "%P" in FORMATS[name]])
def test_the_process_is_known_where_the_form_tells_it(name: str) -> None:
    assert all(entry.pid for entry in read(name))


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if "t" in form.split("%M")[0][:12]])
def test_the_time_is_known_where_the_form_begins_with_it(name: str) -> None:
    dated = [entry.time for entry in read(name) if entry.code in ("AH01974", "AH01977")]
    assert all(when and when.startswith("2026-11-30T20:0") for when in dated)


def test_lines_of_httpds_own_form_are_read_beside_them() -> None:
    assert parse(FORGED.encode(), 1, forms_of(FORMATS.values())) is not None


SCRIPTS = {
    "bare": [f"error php 7 {SUMMARY}", f"error php 7 x {SUMMARY}", f"error ssl x {SUMMARY}", SUMMARY],
    "json": [
        '{"time":"2026-11-30 20:05:48.1","module":"php","level":"error","pid":"7","client":"192.0.2.1:5",'
        f'"error":"-","message":"{SUMMARY}"}}',
        '{"time":"2026-11-30 20:05:48.1","module":"php","level":"error","pid":"7","client":"192.0.2.1:5",'
        f'"error":"-","message":"x\\",\\"module\\":\\"ssl\\",\\"message\\":\\"{SUMMARY}"}}',
        f'{{"module":"ssl","message":"{SUMMARY}"}}',
    ],
    "one-field": [f"Mon Nov 30 20:05:54 2026|php|error|192.0.2.1:5|{SUMMARY}"],
    "without-time": [f"[php:error] [pid 7:tid 7] [client 192.0.2.1:5] {SUMMARY}"],
    "message-first": [
        f"{SUMMARY} [php:error] {{2026-11-30 20:05:57.4}}",
        f"{SUMMARY} [ssl:error] {{2026-11-30 20:05:57.4}} [php:error] {{2026-11-30 20:05:57.4}}",
    ],
    "request": [
        f"[2026-11-30 20:05:59.4] [a.test] [x] [Wabc] [Wabc] 0 192.0.2.1:5 a.c(1) php.error 7 {SUMMARY}",
        f"[2026-11-30 20:05:59.4] [a.test] [- ssl.error 7 {SUMMARY}] [W] [W] 0 192.0.2.1:5 a.c(1) php.error 7 x",
        f"[2026-11-30 20:05:59.4] [a.test] - mod_php.c(1) ssl.error 7 x {SUMMARY}",
    ],
}


@pytest.mark.parametrize(("name", "line"), [(name, line) for name in SCRIPTS for line in SCRIPTS[name]])
def test_what_a_script_or_a_visitor_writes_is_no_line_of_mod_ssls(name: str, line: str) -> None:
    assert parse(line.encode(), 1, forms_of([FORMATS[name]])) is None


def test_a_period_begins_where_the_forms_own_times_say_so() -> None:
    log, forms = FIXTURES / "format-json.log", forms_of([FORMATS["json"]])
    since = datetime(2026, 11, 30, 20, 5, 50, 800000)
    assert [entry.code for entry in entries(log, since, forms=forms)] == RUNNING[3:]


def test_dates_that_scripts_write_hide_nothing_of_a_log_without_times(tmp_path: Path) -> None:
    log = tmp_path / "error_log"
    old = b"[Sun Nov 22 03:04:05 2015] words of a script\n"
    log.write_bytes(f"error ssl 7 {SUMMARY}\n".encode() + old * 40_000)
    os.utime(log, (time.time(), time.time()))
    found = entries(log, datetime(2026, 11, 30), forms=forms_of([FORMATS["bare"]]))
    assert [entry.code for entry in found] == ["AH01941"]


def test_a_form_that_tells_nothing_of_the_module_takes_no_clients_word_for_staplings() -> None:
    forms = forms_of(["%l [client\\ %a] %M"])
    assert parse(f"error [client 192.0.2.1:5] {SUMMARY}".encode(), 1, forms) is None
    assert parse(f"error {SUMMARY}".encode(), 1, forms) is not None


items = st.sampled_from(
    ["M", "t", "{cu}t", "m", "-m", "l", "P", "a", "-a", "E", "7F", "{c}L", "L", "+{Y}e", " "]
)
pieces = items.map("%{}".format) | st.sampled_from(["\\ ", "%", "%{", "%q", *'% []({",\\x*\u00e9'])
lines = st.lists(
    st.sampled_from([SUMMARY.encode(), b"AH01941: ", b"error", b"ssl", b" ", b"[", b"(1)a", b"7", b"-"])
    | st.binary(max_size=9),
    max_size=9,
).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=14).map("".join), lines)
@example("%M %M", SUMMARY.encode())
def test_no_format_and_no_line_crashes(text: str, line: bytes) -> None:
    forms = forms_of([text])
    entry = parse(line, 1, forms)
    assert entry is None or entry.code.encode() in line
    time_of(line, forms)


def test_no_hostile_line_takes_long() -> None:
    forms = forms_of([*FORMATS.values(), "%M %E %F %a %A %v", "%M %M %t %M"])
    begun = time.process_time()
    for piece in ("(1)a: ", "AH01941: ", "[", " [ssl:error]", "error ssl 7 AH01974: could not connect "):
        parse(("AH01941: " + piece * 6000)[:30_000].encode(), 1, forms)
    assert time.process_time() - begun < 5
