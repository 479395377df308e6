"""The probe against real responders on loopback: every outcome that loopback can produce."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import ocsp

from ocsp_stapling import codec
from ocsp_stapling.ocsp.answer import Verdict
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.request import ocsp_request
from ocsp_stapling.ocsp.responder import Target, probe
from ocsp_stapling.problem import Problem

from .authority import (
    DAY,
    NOW,
    Handler,
    Responder,
    answer,
    encoded,
    error_answer,
    issue,
    key,
    make_authority,
    replying,
    silent_listener,
    was_contacted,
)

CA = make_authority()
LEAF = issue(CA, "http://ocsp.example.com/")
LEAF_PARSED = parse(encoded(LEAF))
GOOD = answer(CA, LEAF)
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
NOBODY = {"uid": 65534, "gid": 65534} if os.geteuid() == 0 else {}


def ask(*urls: str, question: bool = True, skew: int = 300, **options: Any) -> tuple[ResponderFinding, ...]:
    certificate, issuer = (LEAF_PARSED, CA.parsed) if question else (None, None)
    options = {
        "allowed_networks": LOOPBACK,
        "timeout_seconds": 1.0,
        "deadline_seconds": 20.0,
        **NOBODY,
        **options,
    }
    return probe([Target(url, certificate, issuer, skew=skew) for url in urls], **options)


def ask_one(handler: Handler, **options: Any) -> AddressFinding:
    with Responder(handler) as responder:
        (found,) = ask(responder.url, **options)
    assert len(found.addresses) == 1
    return found.addresses[0]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    linger_zero = b"\1\0\0\0\0\0\0\0"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
    writer.transport.abort()


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)


async def drop_by_drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    for byte in b"HTTP/1.0 200 OK\r\n\r\n" + GOOD:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.1)


async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    for part in (b"HTTP/1.0 200 OK\r\n\r\n", GOOD[:50], GOOD[50:]):
        await asyncio.sleep(0.5)
        writer.write(part)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
    while True:
        writer.write(b"0" * 65536)
        await writer.drain()


async def endless_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    writer.write(b"HTTP/1.0 200 OK\r\n")
    while True:
        writer.write(b"X-Header: " + b"0" * 6000 + b"\r\n")
        await writer.drain()


async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD)
    await asyncio.sleep(3600)


def head(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\n".encode()


PAGE = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
CASES: list[tuple[str, Handler, Outcome]] = [
    ("a good answer", replying(GOOD), Outcome.OK),
    ("201 is as good as 200 to Apache", replying(GOOD, head("201 Created")), Outcome.OK),
    ("HTTP 500", replying(b"", head("500 Internal Server Error")), Outcome.HTTP_ERROR),
    ("HTTP 404", replying(PAGE, head("404 Not Found")), Outcome.HTTP_ERROR),
    ("HTTP 301", replying(b"", head("301 Moved") + b"Location: http://127.0.0.1/\r\n"), Outcome.REDIRECT),
    ("a web page", replying(PAGE), Outcome.HTML),
    ("a web page with blanks and a mark before it", replying(b"\xef\xbb\xbf\r\n \t" + PAGE), Outcome.HTML),
    ("a huge web page", replying(PAGE * 1000), Outcome.HTML),
    ("no body", replying(b""), Outcome.EMPTY_REPLY),
    ("nothing at all", close_at_once, Outcome.EMPTY_REPLY),
    ("a reset", reset, Outcome.RESET),
    ("silence", never, Outcome.REPLY_TIMEOUT),
    ("a good answer, but the connection stays open", keep_alive, Outcome.REPLY_TIMEOUT),
    ("a good answer, late", slowly, Outcome.SLOW),
    ("an endless body", endless, Outcome.OVERSIZE),
    ("an endless header", endless_header, Outcome.NOT_HTTP),
    ("not HTTP", replying(b"", b"SSH-2.0-OpenSSH_9.2\r\n"), Outcome.NOT_HTTP),
    ("not HTTP and no line", replying(b"\x15\x03\x01", b"\x16\x03\x01"), Outcome.NOT_HTTP),
    ("too large", replying(GOOD + b"\0" * 10_241), Outcome.OVERSIZE),
    ("not OCSP", replying(b"hello"), Outcome.NOT_OCSP),
    ("try later", replying(error_answer(ocsp.OCSPResponseStatus.TRY_LATER)), Outcome.TRY_LATER),
    ("unauthorized", replying(error_answer(ocsp.OCSPResponseStatus.UNAUTHORIZED)), Outcome.UNAUTHORIZED),
    (
        "internal error",
        replying(error_answer(ocsp.OCSPResponseStatus.INTERNAL_ERROR)),
        Outcome.OTHER_OCSP_ERROR,
    ),
    ("revoked", replying(answer(CA, LEAF, ocsp.OCSPCertStatus.REVOKED)), Outcome.REVOKED),
    ("unknown", replying(answer(CA, LEAF, ocsp.OCSPCertStatus.UNKNOWN)), Outcome.UNKNOWN),
    ("expired", replying(answer(CA, LEAF, updates=(NOW - 9 * DAY, NOW - 2 * DAY))), Outcome.STALE),
    (
        "from the future",
        replying(answer(CA, LEAF, updates=(NOW + DAY, NOW + 9 * DAY))),
        Outcome.NOT_YET_VALID,
    ),
    ("another certificate's", replying(answer(CA, issue(CA))), Outcome.WRONG_CERTIFICATE),
    ("badly signed", replying(GOOD[:-1] + bytes([GOOD[-1] ^ 1])), Outcome.BAD_SIGNATURE),
    ("signed by a customer", replying(answer(CA, LEAF, signer=(issue(CA), key(2)))), Outcome.WRONG_DELEGATE),
]
ACCEPTED_BY_APACHE = {
    Outcome.OK,
    Outcome.SLOW,
    Outcome.REVOKED,
    Outcome.UNKNOWN,
    Outcome.BAD_SIGNATURE,
    Outcome.WRONG_DELEGATE,
}


def test_every_fault_is_told_apart_and_all_are_asked_at_once() -> None:
    with ExitStack() as stack:
        responders = [stack.enter_context(Responder(handler)) for _, handler, _ in CASES]
        findings = ask(*[responder.url for responder in responders])
    for (case, _, expected), finding in zip(CASES, findings, strict=True):
        (found,) = finding.addresses
        assert (case, finding.outcome, found.outcome) == (case, expected, expected)
        assert (case, found.apache_accepts) == (case, expected in ACCEPTED_BY_APACHE)
        assert (found.route, found.tcp_ms is not None) == (True, True)
        assert "alert" not in str(finding.as_json()), "what a responder sends is never echoed"


def test_the_request_on_the_wire_is_that_of_mod_ssl() -> None:
    with Responder(replying(GOOD)) as responder:
        ask(responder.url + "some/path?x=1")
    question = ocsp_request(LEAF_PARSED, CA.parsed)
    assert b"".join(responder.requests) == (
        f"POST /some/path?x=1 HTTP/1.0\r\nHost: 127.0.0.1:{responder.port}\r\n"
        "Content-Type: application/ocsp-request\r\nConnection: close\r\n"
        f"Content-Length: {len(question)}\r\n\r\n".encode()
        + question
    )


def test_a_good_answer_is_reported_in_full() -> None:
    found = ask_one(replying(GOOD))
    assert (found.outcome, found.verdict, found.certificate_status) == (Outcome.OK, Verdict.GOOD, "good")
    assert (found.this_update, found.next_update) == (NOW - DAY, NOW + 6 * DAY)
    assert (found.address, found.family, found.http_status) == ("127.0.0.1", "ipv4", 200)
    assert found.allowed_by_operator
    assert codec.from_plain(codec.plain(found), AddressFinding) == found


def test_a_connection_left_open_still_tells_the_verdict() -> None:
    found = ask_one(keep_alive)
    assert (found.outcome, found.verdict, found.apache_accepts) == (
        Outcome.REPLY_TIMEOUT,
        Verdict.GOOD,
        False,
    )


def test_an_answer_drop_by_drop_is_slow_when_the_deadline_comes() -> None:
    assert ask_one(drop_by_drop, deadline_seconds=3.0).outcome is Outcome.SLOW


def test_what_is_late_at_the_deadline_is_found_to_be_late() -> None:
    found = ask_one(never, deadline_seconds=3.0, timeout_seconds=30.0)
    assert (found.outcome, found.route) == (Outcome.DEADLINE, True)


@pytest.mark.parametrize("end", [reset, close_at_once])
def test_how_long_nothing_took_to_come_is_told(end: Handler) -> None:
    """A responder that lets Apache wait and then breaks off holds visitors up, though it seems to fail at once."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await end(reader, writer)

    found = ask_one(late)
    assert found.outcome in (Outcome.RESET, Outcome.EMPTY_REPLY)
    assert found.http_ms is not None
    assert found.http_ms >= 290


def test_a_refused_connection() -> None:
    (found,) = ask(f"http://127.0.0.1:{closed_port()}/")
    assert found.outcome is Outcome.REFUSED


def test_a_connection_that_is_never_accepted_times_out() -> None:
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # the queue of connections is full: further ones are dropped
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        (found,) = ask(f"http://127.0.0.1:{full.getsockname()[1]}/")
    assert found.outcome is Outcome.CONNECT_TIMEOUT


def test_both_families() -> None:
    with Responder(replying(GOOD)) as old, Responder(replying(GOOD), "::1") as new:
        findings = ask(old.url, new.url)
    assert [finding.addresses[0].family for finding in findings] == ["ipv4", "ipv6"]
    assert [finding.outcome for finding in findings] == [Outcome.OK, Outcome.OK]


def test_a_name_that_does_not_exist() -> None:
    (found,) = ask("http://no-such-host.invalid/")
    assert (found.outcome, found.addresses) in ((Outcome.DNS_FAILURE, ()), (Outcome.DNS_TIMEOUT, ()))


@pytest.mark.parametrize("url", ["https://ocsp.example.com/", "ftp://x/", "garbage", "HTTP://127.0.0.1/"])
def test_an_unusable_url(url: str) -> None:
    (found,) = ask(url)
    assert (found.outcome, found.addresses) == (Outcome.URL_UNUSABLE, ())


def test_a_url_that_is_no_utf8_costs_nobody_elses_finding() -> None:
    """As SSLStaplingForceURL hands it on from a file with such bytes."""
    odd, fine = ask("http://caf\udce9.invalid/", "garbage")
    assert (odd.url, odd.addresses) == ("http://caf\udce9.invalid/", ())
    assert fine.outcome is Outcome.URL_UNUSABLE


def test_without_a_certificate_only_reachability_is_probed() -> None:
    with Responder(replying(PAGE, head("404 Not Found"))) as responder:
        (found,) = ask(responder.url, question=False)
    assert responder.requests[0].startswith(b"GET / HTTP/1.0\r\n")
    assert (found.outcome, found.question, found.addresses[0].apache_accepts) == (
        Outcome.REACHABLE,
        False,
        None,
    )


def test_nothing_reaches_a_forbidden_address_however_it_is_spelt() -> None:
    with silent_listener() as old, silent_listener("::1") as new:
        port, port6 = old.getsockname()[1], new.getsockname()[1]
        hosts = [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.1",
            "127.1",
            "localhost",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
        ]
        urls = [f"http://{host}:{port}/" for host in hosts]
        urls += [f"http://{host}:{port6}/" for host in ("[::1]", "[::]", "[::7f00:1]", "localhost")]
        findings = ask(*urls, allowed_networks=())
        assert not was_contacted(old)
        assert not was_contacted(new)
    assert len(findings) == len(urls)
    assert {
        bool(finding.addresses) for finding in findings if finding.outcome is Outcome.ADDRESS_FORBIDDEN
    } == {True}
    for finding in findings:
        assert finding.outcome in (Outcome.ADDRESS_FORBIDDEN, Outcome.DNS_FAILURE)
        assert all(found.route is None and found.icmp_ms is None for found in finding.addresses)


def test_a_redirect_to_another_address_is_not_followed() -> None:
    with silent_listener() as secret:
        location = f"Location: http://127.0.0.1:{secret.getsockname()[1]}/\r\n".encode()
        found = ask_one(replying(b"", head("302 Found") + location))
        assert not was_contacted(secret)
    assert found.outcome is Outcome.REDIRECT


def test_own_addresses_are_refused() -> None:
    with silent_listener() as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        (found,) = ask(url, allowed_networks=(), own_addresses=(ip_address("127.0.0.1"),))
        assert not was_contacted(listening)
    assert found.addresses[0].detail == "it is this server's own address"


def test_proxies_in_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_listener() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert ask_one(replying(GOOD)).outcome is Outcome.OK
        assert not was_contacted(proxy)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_the_connection_is_made_by_the_user_named() -> None:
    seen: list[str] = []

    async def who_asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        port = f":{writer.get_extra_info('peername')[1]:04X}"
        table = await asyncio.to_thread(open, "/proc/net/tcp")
        with table:
            seen.extend(line.split()[7] for line in table if line.split()[1].endswith(port))
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD)

    assert ask_one(who_asks, uid=12345, gid=23456).outcome is Outcome.OK
    assert seen == ["12345"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_who_asks_has_no_rights_and_can_gain_none() -> None:
    seen: list[dict[str, str]] = []

    def look() -> None:
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                found = dict(
                    line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
                )
                seen.extend([found] * found["Uid"].startswith("12345\t"))

    async def who_asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        await asyncio.to_thread(look)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD)

    assert ask_one(who_asks, uid=12345, gid=23456).outcome is Outcome.OK
    assert seen
    for one in seen:
        assert one["NoNewPrivs"] == "1"
        assert {int(one[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
        assert (one["Uid"].split(), one["Gid"].split()) == (["12345"] * 4, ["23456"] * 4)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
@pytest.mark.parametrize(
    "identity", [{}, {"uid": 0, "gid": 0}, {"uid": 65534, "gid": 0}, {"uid": 0, "gid": 65534}]
)
def test_root_never_asks_as_root(identity: dict[str, int]) -> None:
    with pytest.raises(Problem) as caught:
        probe([Target("http://127.0.0.1/")], uid=identity.get("uid"), gid=identity.get("gid"))
    assert caught.value.code == "probe-user"


def test_a_late_answer_of_one_does_not_hold_up_the_deadline_of_all() -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(Responder(never)) for _ in range(3)]
        good = stack.enter_context(Responder(replying(GOOD)))
        findings = ask(*[one.url for one in silent], good.url, timeout_seconds=30.0, deadline_seconds=4.0)
    assert [finding.outcome for finding in findings] == [Outcome.DEADLINE] * 3 + [Outcome.OK]


def test_an_expired_answer_within_the_tolerance_is_good() -> None:
    now = datetime.now(UTC)  # not when this file was read: a whole run takes longer than the tolerance
    recent = answer(CA, LEAF, updates=(now - DAY, now - timedelta(seconds=10)))
    assert ask_one(replying(recent)).outcome is Outcome.OK


def test_an_answer_is_forgiven_its_times_as_long_as_apache_forgives_them() -> None:
    now = datetime.now(UTC)
    old = answer(CA, LEAF, updates=(now - DAY, now - timedelta(minutes=20)))
    with Responder(replying(old)) as responder:
        found = [ask(responder.url, skew=seconds)[0].outcome for seconds in (300, 3600)]
    assert found == [Outcome.STALE, Outcome.OK]
