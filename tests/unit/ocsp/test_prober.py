"""The prober with a resolver under the tests' control: rebinding, thousands of addresses, many responders."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocsp_stapling.ocsp import prober
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.exchange import ExchangeError, Reply, receive
from ocsp_stapling.ocsp.finding import Outcome, ResponderFinding
from ocsp_stapling.ocsp.icmp import Pinger, open_sockets
from ocsp_stapling.ocsp.prober import (
    MAX_ADDRESSES_PER_FAMILY,
    Address,
    Limits,
    Resolver,
    Target,
    probe_all,
)

from .authority import (
    Responder,
    answer,
    encoded,
    issue,
    make_authority,
    replying,
    silent_listener,
    was_contacted,
)

CA = make_authority()
LEAF = issue(CA, "http://ocsp.example.com/")
LOOPBACK = (ip_network("127.0.0.0/8"),)


def run(targets: Sequence[Target], resolver: Resolver, limits: Limits) -> list[ResponderFinding]:
    found: dict[int, ResponderFinding] = {}

    def report(number: int, finding: ResponderFinding) -> None:
        assert number not in found, "each target is reported once"
        found[number] = finding

    async def work() -> None:
        await probe_all(targets, limits, Pinger({}), report, resolver)

    asyncio.run(work())
    return [found[number] for number in range(len(targets))]


def limits(deadline: float = 20.0, timeout: float = 1.0) -> Limits:
    return Limits(deadline, timeout, LOOPBACK)


def v4(*addresses: str) -> list[Address]:
    return [(socket.AF_INET, address) for address in addresses]


def test_a_resolver_that_changes_its_mind_is_asked_once() -> None:
    with Responder(replying(answer(CA, LEAF))) as good, silent_listener("127.0.0.66") as secret:
        answers = iter([v4("127.0.0.1"), v4("127.0.0.66"), v4("127.0.0.66")])
        port = secret.getsockname()[1]
        found = run(
            [Target(f"http://rebinding.example:{number}/") for number in (good.port, port)],
            lambda host: next(answers),
            limits(),
        )
        assert not was_contacted(secret)
    assert found[0].addresses[0].address == found[1].addresses[0].address == "127.0.0.1"


def test_of_thousands_of_addresses_only_a_few_of_each_family_are_asked() -> None:
    many = [(socket.AF_INET6, f"2001:db8::{number:x}") for number in range(5000)]
    (found,) = run([Target("http://many.example/")], lambda host: [*many, *v4("10.0.0.1")], limits())
    assert found.address_count == 5001
    assert len(found.addresses) == MAX_ADDRESSES_PER_FAMILY + 1
    assert {one.outcome for one in found.addresses} == {Outcome.ADDRESS_FORBIDDEN}


def test_hundreds_of_addresses_that_hang_keep_nobody_elses_responder_from_being_asked() -> None:
    """Forty names of one customer with eight hanging addresses each resolve before that of another customer."""
    hanging = [f"127.0.1.{number}" for number in range(1, 9)]
    with ExitStack() as stack:
        good = stack.enter_context(Responder(replying(answer(CA, LEAF))))
        port = stack.enter_context(silent_listener("0.0.0.0")).getsockname()[1]

        def resolver(host: str) -> list[Address]:
            time.sleep(0.5 if host == "good.example" else 0.0)
            return v4("127.0.0.1") if host == "good.example" else v4(*hanging)

        his = [Target(f"http://n{number}.example:{port}/") for number in range(40)]
        asked = Target(f"http://good.example:{good.port}/", parse(encoded(LEAF)), CA.parsed)
        found = run([asked, *his], resolver, limits(deadline=3.0, timeout=5.0))
    assert found[0].outcome is Outcome.OK


def test_the_good_addresses_of_a_name_are_asked_and_the_forbidden_ones_shown() -> None:
    with Responder(replying(answer(CA, LEAF))) as good:
        target = Target(f"http://mixed.example:{good.port}/", parse(encoded(LEAF)), CA.parsed)
        (found,) = run([target], lambda host: v4("127.0.0.1", "169.254.169.254"), limits())
    assert [one.outcome for one in found.addresses] == [Outcome.OK, Outcome.ADDRESS_FORBIDDEN]
    assert found.outcome is Outcome.ADDRESS_FORBIDDEN


def test_the_kernel_tells_this_server_s_own_addresses_that_nobody_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prober, "refusal", lambda *_: "")  # as if loopback were a public address
    with silent_listener() as listening:
        target = Target(f"http://own.example:{listening.getsockname()[1]}/")
        (found,) = run([target], lambda host: v4("127.0.0.1"), Limits(20.0, 1.0))
        assert not was_contacted(listening)
    assert (found.outcome, found.addresses[0].detail) == (
        Outcome.ADDRESS_FORBIDDEN,
        "it is this server's own address",
    )


def test_a_resolver_that_hangs_is_a_dns_timeout_and_holds_up_nobody_else() -> None:
    release = threading.Event()

    def resolver(host: str) -> Sequence[Address]:
        if host == "hangs.example":
            release.wait(60)
        return v4("127.0.0.1")

    with Responder(replying(answer(CA, LEAF))) as good:
        targets = [Target("http://hangs.example/"), Target(f"http://good.example:{good.port}/")]
        found = run(targets, resolver, limits(deadline=2.0))
    release.set()
    assert [one.outcome for one in found] == [Outcome.DNS_TIMEOUT, Outcome.REACHABLE]


def test_a_name_without_an_address_is_a_dns_failure() -> None:
    (found,) = run([Target("http://empty.example/")], lambda host: [], limits())
    assert found.outcome is Outcome.DNS_FAILURE


def test_thirty_responders_with_four_addresses_half_of_them_dropping_take_as_long_as_one() -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("0.0.0.0", 0))
        full.listen(0)
        for _ in range(3):  # its queue is full, so the kernel drops what else comes
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", full.getsockname()[1]))
        targets = [Target(f"http://r{number}.example:{full.getsockname()[1]}/") for number in range(30)]
        started = time.monotonic()
        found = run(
            targets, lambda host: v4("127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"), limits(60.0, 2.0)
        )
        took = time.monotonic() - started
    assert {one.outcome for responder in found for one in responder.addresses} == {Outcome.CONNECT_TIMEOUT}
    assert sum(len(responder.addresses) for responder in found) == 120
    assert took < 60, "one after the other they would take 240 seconds"


def test_pings_loopback_where_the_system_permits() -> None:
    async def work() -> float | None:
        pinger = Pinger(open_sockets())
        try:
            return await pinger.ping(socket.AF_INET, "127.0.0.1", 5.0)
        finally:
            pinger.close()

    sockets = open_sockets()
    possible = socket.AF_INET in sockets
    for opened in sockets.values():
        opened.close()
    assert (asyncio.run(work()) is not None) == possible


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 2", b"HTTP/1.0 200\n"]),
)
def test_no_bytes_break_the_http_reader(data: bytes, start: bytes) -> None:
    async def work() -> Reply:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(start + data)
            theirs.shutdown(socket.SHUT_WR)
            reply = Reply()
            await receive(ours, reply, 5.0, whole=True)
            return reply

    try:
        reply = asyncio.run(work())
    except ExchangeError as error:
        assert error.outcome in (Outcome.NOT_HTTP, Outcome.EMPTY_REPLY)
    else:
        assert reply.status is not None
        assert reply.body or not 200 <= reply.status <= 299


class Counting(Pinger):
    """A pinger that notes what had been asked of the responder when it was to be pinged."""

    def __init__(self, responder: Responder) -> None:
        super().__init__({})
        self.responder = responder
        self.asked_before: list[int] = []

    async def ping(self, family: socket.AddressFamily, address: str, timeout: float) -> float | None:
        self.asked_before.append(len(self.responder.requests))
        return None


@pytest.mark.parametrize("good", [True, False])
def test_nobody_is_pinged_before_the_question_has_failed(good: bool) -> None:
    """A responder that sees a ping first could behave for as long as we look."""
    with Responder(replying(answer(CA, LEAF) if good else b"broken")) as responder:
        pinger = Counting(responder)
        target = Target(responder.url, parse(encoded(LEAF)), parse(encoded(CA.certificate)))
        asyncio.run(probe_all([target], Limits(5, 2, LOOPBACK), pinger, lambda *_: None))
    assert pinger.asked_before == ([] if good else [1])


def test_a_responder_is_asked_about_hundreds_of_certificates_a_few_dozen_at_once() -> None:
    together = most = 0
    reply = replying(answer(CA, LEAF))

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.05)
        await reply(reader, writer)
        together -= 1

    with Responder(slowly) as one:
        target = Target(f"http://one.example:{one.port}/", parse(encoded(LEAF)), CA.parsed, at=("127.0.0.1",))
        found = run([target] * 100, lambda host: v4("127.0.0.1"), limits())

    assert {each.outcome for each in found} == {Outcome.OK}
    assert 1 < most <= 32


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b"Content-Encoding: gzip\r\n", "it is compressed, and Apache reads it as it comes"),
        (b"transfer-encoding: chunked\r\n", "it is sent in chunks, and Apache reads it as it comes"),
        (b"X-Content-Encoding: none\r\n", ""),
    ],
)
def test_an_answer_that_is_packed_as_apache_does_not_unpack_it_is_called_so(header: bytes, told: str) -> None:
    packed = b"\x1f\x8b" + answer(CA, LEAF)
    with Responder(replying(packed, b"HTTP/1.1 200 OK\r\n" + header)) as one:
        target = Target(f"http://packed.example:{one.port}/", parse(encoded(LEAF)), CA.parsed)
        (found,) = run([target], lambda host: v4("127.0.0.1"), limits())

    assert (found.outcome, found.addresses[0].detail) == (Outcome.NOT_OCSP, told)
