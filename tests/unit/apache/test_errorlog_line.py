"""One line of the log: formats that are understood, texts that merely look alike."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ocsp_stapling.apache.errorlog import line as line_reader
from ocsp_stapling.apache.errorlog.codes import NEEDLES, RULES, pattern_of
from ocsp_stapling.apache.errorlog.line import Entry, moment, parse, time_of
from tests.unit.apache.errorlog_lines import FIXTURES, ISO, SUMMARY, TIME, TIMEOUT, UNREACHABLE, fixture, line


def shown(text: str | bytes) -> Entry | None:
    entry = parse(text.encode() if isinstance(text, str) else text, 1)
    return entry if entry and entry.kind else None


PLAIN = f"[ssl:error] [pid 4711] {SUMMARY}"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (f"[{TIME}] {PLAIN}", ISO),
        (f"[Sun Nov 22 03:04:05 2026] {PLAIN}", ISO[:19]),
        (f"[Sun Nov  2 03:04:05 2026] {PLAIN}", "2026-11-02T03:04:05"),
        (f"[2026-11-22 03:04:05.123456] {PLAIN}", ISO),
        (f"[2026-11-22T03:04:05.123456+01:00] {PLAIN}", ISO + "+01:00"),
        (PLAIN, None),
        (f"[{TIME}] [error] [pid 4711] {SUMMARY}", ISO),
        (f"[{TIME}] [pid 4711] [ssl:error] {SUMMARY}", ISO),
        (f"[{TIME}] [ssl:error] [pid 4711:tid 140061] ssl_util_stapling.c(555): {SUMMARY}", ISO),
        (f"[{TIME}] [error] [pid 4711] ssl_util_stapling.c(555): [client {SUMMARY}", ISO),
        (f"[{TIME}] {PLAIN}\r", ISO),
        (f"\0\0\0[{TIME}] {PLAIN}", ISO),
        (f"Nov 22 03:04:05 web1 httpd[1]: {PLAIN}", None),
        (f"<187>Nov  2 03:04:05 web1 httpd[1]: {PLAIN}", None),
        (f"Nov 22 03:04:05 web1 httpd[1]:  [{TIME}] {PLAIN}", ISO),
        (f"2026-11-22T03:04:05.123456+01:00 web1 httpd[1]: {PLAIN}", ISO + "+01:00"),
        (f"<11>1 2026-11-22T03:04:05.123456Z web1 httpd 1 - - {PLAIN}", ISO + "Z"),
        (f"2026-11-22T03:04:05.123456789Z stderr F [{TIME}] {PLAIN}", ISO),
        (f"2026-11-22T03:04:05.123456789Z [{TIME}] {PLAIN}", ISO),
        (f"web-1  | [{TIME}] {PLAIN}", ISO),
        (f"\x1b[33mweb-1  |\x1b[0m [{TIME}] {PLAIN}", ISO),
        (f"[pod/web-0/httpd] [{TIME}] {PLAIN}", ISO),
        (f'{{"log":"[{TIME}] {PLAIN}\\n","stream":"stderr","time":"2026-11-22T03:04:05Z"}}', ISO),
        (f"[{TIME}] {PLAIN}[{TIME}] [core:notice] [pid 1] AH00094: Command line: 'httpd'", ISO),
    ],
)
def test_every_format_of_the_header_is_understood(text: str, time: str | None) -> None:
    entry = shown(text)
    assert entry is not None
    assert (entry.code, entry.kind, entry.pid, entry.time) == ("AH01941", "responder-error", 4711, time)
    assert entry.stapling is True


@pytest.mark.parametrize(
    "text",
    [
        SUMMARY,
        f"[{TIME}] [php:error] [pid 1] {SUMMARY}",
        f"[{TIME}] [:error] [pid 1] [client 203.0.113.7:1] {SUMMARY}",
        f"[{TIME}] [error] [pid 1] [client 203.0.113.7:1] {SUMMARY}",
        f"[{TIME}] [error] [pid 1] mod_php.c(12): {SUMMARY}",
        f"[{TIME}] [cgi:error] [pid 1] [client 203.0.113.7:1] AH01215: {SUMMARY}",
        f"[{TIME}] [core:error] [pid 1] [client 203.0.113.7:1] AH00126: Invalid URI in request GET /{PLAIN}",
        f"[{TIME}] [ssl:error] [pid 1] AH02032: Hostname {SUMMARY} provided via SNI and hostname x",
        f"[{TIME}] [ssl:error] [pid 1] AH01909: example.com:443:0 server certificate [{TIME}] {PLAIN}",
        f"[{TIME}] [autoindex:error] [pid 1] [client 203.0.113.7:1] AH01276: Cannot, referer: [{TIME}] {PLAIN}",
        f'203.0.113.7 - - [22/Nov/2026:03:04:05 +0000] "GET /{PLAIN} HTTP/1.1" 404 1',
        f"Nov 22 03:04:05 web1 sshd[1]: Invalid user {PLAIN}",
        f"[{TIME}] [ssl:error] [pid 1] AH01941: OCSP stapling: responder timed out",
        f"[{TIME}] [ssl:error] [pid 1] AH01941: stapling_renew_response: responder errors are frequent",
        f"[{TIME}] [ssl:error] [pid 1] AH01942: stapling_renew_response: responder error",
        f"[{TIME}] [ssl:error] [pid 1] AH01974: OCSP responder cannot be reached",
        f"[{TIME}] [ssl:error] [pid 1] AH02604: Unable to configure certificate for stapling",
        f"[{TIME}] [ssl:error] [pid 1] ah01941: stapling_renew_response: responder error",
        f"[{TIME}] [ssl:error] [pid 1] AH01941 stapling_renew_response: responder error",
        f"[{TIME}] [ssl:error] [pid 1] AH01941: stapling_renew_response: responder err",
        f"r:error] [pid 4711] {SUMMARY}",
        f"[{TIME}] [ssl:error] [pid 1] AH01909: x\0[{TIME}] {PLAIN}",
    ],
)
def test_lines_that_merely_look_alike_are_not_counted(text: str) -> None:
    assert shown(text) is None


CLIENT = "[client 203.0.113.7:1] "


@pytest.mark.parametrize(
    ("message", "kind", "responder"),
    [
        (UNREACHABLE, "responder-unreachable", "ocsp.example.com"),
        (
            f"(111)Connection refused: {CLIENT}AH01974: could not connect to OCSP responder '[2001:db8::1]:81'",
            "responder-unreachable",
            "[2001:db8::1]:81",
        ),
        (
            f"(113)No route to host: {CLIENT}AH01974: could not connect to OCSP responder \u2018a.example\u2019",
            "responder-unreachable",
            "a.example",
        ),
        (
            f"(110)Connection timed out: {CLIENT}AH01974: could not connect to OCSP responder 'a.example'",
            "responder-timeout",
            "a.example",
        ),
        (
            f"(70007)The timeout specified has expired: {CLIENT}AH01974: could not connect to OCSP responder ''",
            "responder-timeout",
            None,
        ),
        (
            f"(111)Connection refused: {CLIENT}AH01974: could not connect to proxy 'proxy.example:3128'",
            "responder-unreachable",
            None,
        ),
        (
            f"(EAI 2)Name or service not known: {CLIENT}AH01972: could not resolve address of OCSP responder a:81",
            "responder-dns-failure",
            "a:81",
        ),
        (
            f"(32)Broken pipe: {CLIENT}AH01976: failed to send request to OCSP responder 'a.example'",
            "responder-unreachable",
            "a.example",
        ),
        (
            f"(104)Connection reset by peer: {CLIENT}AH01977: failed reading line from OCSP server",
            "responder-bad-response",
            None,
        ),
        (
            f"(70007)The timeout specified has expired: {CLIENT}AH01977: failed reading line from OCSP server",
            "responder-timeout",
            None,
        ),
        (TIMEOUT, "responder-timeout", None),
        (f"{CLIENT}AH01980: bad response from OCSP server: (none)", "responder-bad-response", None),
        (f"{CLIENT}AH02321: empty response from OCSP server", "responder-bad-response", None),
        ("AH01940: stapling_renew_response: Unsupported uri https://a/", "responder-bad-uri", "https://a/"),
        ("AH02621: stapling_renew_response: no uri for responder", "responder-bad-uri", None),
        ("AH01936: stapling_check_response: response times invalid", "response-invalid", None),
        (
            "AH02969: stapling_check_response: response has certificate status revoked "
            "(reason: (UNKNOWN)) for serial number 0A",
            "cert-status-not-good",
            None,
        ),
        (
            "AH02969: stapling_check_response: response has certificate status revoked "
            "(reason: keyCompromise) for serial number 0A",
            "cert-status-not-good",
            None,
        ),
        ("AH02217: ssl_stapling_init_cert: Can't retrieve issuer certificate!", "init-no-issuer", None),
        (
            "AH02217: ssl_stapling_init_cert: can\u2019t retrieve issuer certificate! [subject: CN=x / issuer: y]",
            "init-no-issuer",
            None,
        ),
        ("AH02218: ssl_stapling_init_cert: no responder URL", "init-no-ocsp-uri", None),
        (
            "AH02604: Unable to configure certificate a.example:443:0 for stapling",
            "init-cert-not-configured",
            None,
        ),
        ("AH01955: stapling_cb: fatal error renewing response", "handshake-aborted", None),
        ("AH01872: Could not initialize stapling cache. Exiting.", "startup-fatal-no-cache", None),
        ("AH01953: stapling_cb: retrieved cached response", "stapling-ok-info", None),
        (f"{CLIENT}AH01922: OCSP response not successful: 6", None, None),
    ],
)
def test_kind_and_responder(message: str, kind: str | None, responder: str | None) -> None:
    entry = shown(line(message))
    assert (entry and entry.kind, entry and entry.responder) == (kind, responder)


def test_quotes_of_windows_1252() -> None:
    raw = line(UNREACHABLE).encode().replace(b"'ocsp.example.com'", b"\x91ocsp.example.com\x92")
    entry = shown(raw)
    assert entry is not None
    assert entry.responder == "ocsp.example.com"


@pytest.mark.parametrize("name", sorted(file.stem for file in FIXTURES.glob("*.log")))
def test_the_fast_way_reads_like_the_general_one(name: str) -> None:
    for raw in fixture(name):
        assert parse(raw) == line_reader._parse_unusual(raw, 0)


@pytest.mark.parametrize("name", sorted(file.stem for file in FIXTURES.glob("*.log")))
def test_the_search_finds_every_line_that_means_something(name: str) -> None:
    for raw in fixture(name):
        entry = parse(raw)
        assert (
            entry is None or entry.code in ("AH02039", "AH02276") or any(needle in raw for needle in NEEDLES)
        )


def test_the_search_finds_every_message() -> None:
    # AH01921 is no evidence (it comes before any query), so it may be missed. AH02039 and AH02276 are evidence that a
    # paste shows; a whole log is not searched for them: they are written about every visitor's bad certificate.
    missed = {
        code
        for code, rule in RULES.items()
        if not any(needle in _sample(code, pattern_of(rule).pattern) for needle in NEEDLES)
    }
    assert missed == {b"AH01921", b"AH02039", b"AH02276"}


def _sample(code: bytes, pattern: bytes) -> bytes:
    """Return roughly the line a pattern is for: escapes gone."""
    return b"[ssl:error] " + code + b": " + pattern.replace(b"\\", b"")


def test_impossible_times_are_no_times() -> None:
    for time in ("Sun Feb 30 03:04:05 2026", "Sun Nov 22 33:04:05 2026", "Sun Foo 22 03:04:05 2026"):
        entry = shown(f"[{time}] {PLAIN}")
        assert entry is not None
        assert entry.time is None


def test_times_of_other_lines() -> None:
    assert time_of(f"[{TIME}] [core:notice] [pid 1] AH00094: x".encode()) == ISO
    assert time_of(b"2026-11-22T03:04:05Z stderr F hello") == "2026-11-22T03:04:05Z"
    assert time_of(b"PHP Warning:  [Sun Nov 22] x") is None


def test_a_time_with_a_zone_becomes_local() -> None:
    assert moment("2026-11-22T03:04:05") == datetime(2026, 11, 22, 3, 4, 5)
    utc = moment("2026-11-22T03:04:05Z")
    other = moment("2026-11-22T04:04:05+01:00")
    assert utc is not None
    assert utc == other == datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC).astimezone().replace(tzinfo=None)
    assert utc.tzinfo is None
