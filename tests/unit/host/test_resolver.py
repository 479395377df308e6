"""Names as this server resolves them, compared with others, on real DNS servers."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from ocsp_stapling.host import resolver
from ocsp_stapling.host.resolver import (
    Comparison,
    LookupOutcome,
    NameAnswer,
    NameCheck,
    ask,
    ask_system,
    check_names,
)
from tests.unit.host.dns_server import Reply, code, dns_server, zone
from tests.unit.host.namespace import in_namespace, needs_namespace

NAME = "ocsp.example.com"
PUBLIC = ["93.184.216.34", "2606:2800:220:1::1"]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (zone({}), LookupOutcome.NO_SUCH_NAME),
        (zone({NAME: []}), LookupOutcome.NO_ADDRESS),
        (code(dns.rcode.SERVFAIL), LookupOutcome.FAILED),
        (code(dns.rcode.REFUSED), LookupOutcome.FAILED),
        (lambda query: None, LookupOutcome.TIMED_OUT),
        (lambda query: b"\x00", LookupOutcome.FAILED),
        (lambda query: query.to_wire()[:2] + b"\xff" * 40, LookupOutcome.FAILED),
    ],
    ids=["no name", "no address", "servfail", "refused", "silent", "too short", "garbage"],
)
def test_outcome_of_a_name_server(reply: Reply, outcome: LookupOutcome) -> None:
    with dns_server(reply) as port:
        assert (
            ask("127.0.0.1", NAME, 0.3 if outcome is LookupOutcome.TIMED_OUT else 20, port).outcome is outcome
        )


def test_addresses_of_both_families_come_back() -> None:
    with dns_server(zone({NAME: PUBLIC})) as port:
        assert ask("127.0.0.1", NAME, 20, port) == NameAnswer(
            "127.0.0.1", LookupOutcome.ANSWERED, tuple(PUBLIC)
        )


@needs_namespace
def test_name_server_without_a_route_is_unreachable() -> None:
    code = (
        "from ocsp_stapling.host.resolver import ask\nshow(ask('192.0.2.53', 'ocsp.example.com', 20).outcome)"
    )
    assert in_namespace("", code) == str(LookupOutcome.UNREACHABLE)


@pytest.mark.parametrize("name", ["", "." * 3, "x" * 300, "a..b", "\udcff", "a b\x00", "ü" * 70])
def test_what_is_no_name_fails_plainly(name: str) -> None:
    assert ask_system(name).outcome is not LookupOutcome.ANSWERED or name == ""
    with dns_server(zone({})) as port:
        assert ask("127.0.0.1", name, 20, port).outcome in {LookupOutcome.FAILED, LookupOutcome.NO_SUCH_NAME}


def check(tmp_path: Path, ours: Reply, theirs: Reply, system: NameAnswer, hosts: str = "") -> NameCheck:
    """One check with our name server on 127.0.0.1, a public one on 127.0.0.2, and what the C library says."""
    (found,) = checked(tmp_path, [NAME, NAME], ours, theirs, system, hosts)
    return found


def checked(
    tmp_path: Path, names: list[str], ours: Reply, theirs: Reply, system: NameAnswer, hosts: str = ""
) -> tuple[NameCheck, ...]:
    (tmp_path / "hosts").write_text(hosts)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    with (
        dns_server(ours) as port,
        dns_server(theirs, "127.0.0.2", port),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(resolver, "ask_system", lambda name: system)
        return check_names(
            names,
            ["127.0.0.2"],
            2.0,
            hosts=tmp_path / "hosts",
            resolv_conf=tmp_path / "resolv.conf",
            port=port,
        )


def answered(*addresses: str) -> NameAnswer:
    return NameAnswer("system", LookupOutcome.ANSWERED, addresses)


def silent(query: dns.message.Message) -> None:
    return None


GOOD = zone({NAME: PUBLIC})
NOT_FOUND = NameAnswer("system", LookupOutcome.NO_SUCH_NAME)
TRY_AGAIN = NameAnswer("system", LookupOutcome.TIMED_OUT)


@pytest.mark.parametrize(
    ("ours", "theirs", "system", "verdict"),
    [
        (GOOD, GOOD, answered(*PUBLIC), Comparison.SAME),
        (GOOD, zone({NAME: ["8.8.4.4"]}), answered(*PUBLIC), Comparison.DIFFERENT),
        (zone({NAME: ["10.0.0.1"]}), GOOD, answered("10.0.0.1"), Comparison.PRIVATE_ANSWER),
        (GOOD, silent, answered(*PUBLIC), Comparison.NOT_COMPARED),
        (silent, GOOD, TRY_AGAIN, Comparison.RESOLVER_DEAD),
        (silent, silent, TRY_AGAIN, Comparison.RESOLVER_DEAD),
        (code(dns.rcode.SERVFAIL), GOOD, TRY_AGAIN, Comparison.RESOLVER_FAILS),
        (zone({}), GOOD, NOT_FOUND, Comparison.RESOLVER_FAILS),
        (zone({}), zone({}), NOT_FOUND, Comparison.NO_SUCH_NAME),
        (zone({}), silent, NOT_FOUND, Comparison.NO_SUCH_NAME),
    ],
    ids=[
        "same",
        "other place",
        "private",
        "no public resolver",
        "dead",
        "all dead",
        "servfail",
        "only here",
        "gone",
        "gone, uncompared",
    ],
)
def test_verdict(tmp_path: Path, ours: Reply, theirs: Reply, system: NameAnswer, verdict: Comparison) -> None:
    found = check(tmp_path, ours, theirs, system)
    assert found.verdict is verdict
    assert NAME in found.sentence


OTHER = "ocsp.other.example"


def trap(query: dns.message.Message) -> bytes | None:
    """Another name is found; NAME's zone is a trap that says nothing."""
    return zone({OTHER: PUBLIC})(query) if OTHER in query.question[0].to_text() else None


def spoilt(query: dns.message.Message) -> bytes | None:
    return trap(query) or code(dns.rcode.SERVFAIL)(query)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (trap, trap, Comparison.FAILS_EVERYWHERE),
        (spoilt, spoilt, Comparison.FAILS_EVERYWHERE),
        (spoilt, silent, Comparison.RESOLVER_FAILS),
        (trap, GOOD, Comparison.RESOLVER_FAILS),
        (silent, trap, Comparison.RESOLVER_DEAD),
    ],
)
def test_name_servers_that_answer_for_other_names_are_not_at_fault_for_one(
    tmp_path: Path, ours: Reply, theirs: Reply, verdict: Comparison
) -> None:
    first, _ = checked(tmp_path, [NAME, OTHER], ours, theirs, TRY_AGAIN)
    assert first.verdict is verdict
    assert bool(first.dead_nameservers) is (ours is silent)


def test_of_an_answer_only_what_belongs_to_the_name_counts() -> None:
    """Through its aliases, however they loop; an address of another name is none of it."""
    aliases = {
        NAME: "a.example.com",
        "a.example.com": "b.example.com",
        "x.test": "y.test",
        "y.test": "x.test",
    }

    def reply(query: dns.message.Message) -> bytes:
        answer = dns.message.make_response(query)
        for name, other in aliases.items():
            answer.answer.append(dns.rrset.from_text(f"{name}.", 0, "IN", "CNAME", f"{other}."))
        answer.answer.append(dns.rrset.from_text("b.example.com.", 0, "IN", "A", "93.184.216.34"))
        return answer.to_wire()

    with dns_server(reply) as port:
        assert ask("127.0.0.1", NAME, 20, port).addresses == ("93.184.216.34",)
        for name in ("x.test", "c.example.com"):
            assert ask("127.0.0.1", name, 20, port).outcome is LookupOutcome.NO_ADDRESS


def test_hosts_override_is_the_verdict_with_its_line(tmp_path: Path) -> None:
    found = check(tmp_path, GOOD, GOOD, answered("192.0.2.7"), f"\n192.0.2.7 {NAME}\n")
    assert found.verdict is Comparison.HOSTS_OVERRIDE
    assert found.sentence == f"/etc/hosts gives {NAME} the address 192.0.2.7 (line 2), whatever DNS says"
    assert found.system.milliseconds is not None


def test_dead_name_servers_are_named(tmp_path: Path) -> None:
    assert check(tmp_path, silent, GOOD, answered(*PUBLIC)).dead_nameservers == ("127.0.0.1",)


def test_stuck_resolver_does_not_hold_the_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    release = threading.Event()

    def stuck(*_: object, **__: object) -> None:
        release.wait(120)
        raise socket.gaierror(socket.EAI_AGAIN, "again")

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    started = time.monotonic()
    checks = check_names(
        [f"{n}.example.com" for n in range(100)], (), 0.4, resolv_conf=tmp_path / "none", port=9
    )
    release.set()
    assert len(checks) == 64
    assert {c.system.outcome for c in checks} == {LookupOutcome.TIMED_OUT}
    assert time.monotonic() - started < 60


REAL = """
from ocsp_stapling.host.resolver import check_names
from tests.unit.host.dns_server import dns_server, zone
good = zone({{"ocsp.example.com": ["93.184.216.34"]}})
with dns_server(zone({ours}), "127.0.0.53", 53), dns_server(good, "127.0.0.54", 53):
    (c,) = check_names(["ocsp.example.com"], ["127.0.0.54"], 2.0)
    show([c.verdict.value, c.system.outcome.value, list(c.system.addresses)])
"""
FILES = """
printf 'nameserver 127.0.0.53\\noptions timeout:1 attempts:1\\n' >{folder}/resolv.conf
printf '{hosts}' >{folder}/hosts
mount --bind {folder}/resolv.conf /etc/resolv.conf
mount --bind {folder}/hosts /etc/hosts
"""


@needs_namespace
@pytest.mark.parametrize(
    ("ours", "hosts", "expected"),
    [
        ({NAME: ["93.184.216.34"]}, "", ["same", "answered", ["93.184.216.34"]]),
        ({}, "", ["resolver-fails", "no-such-name", []]),
        ({NAME: ["10.1.1.1"]}, "", ["private-answer", "answered", ["10.1.1.1"]]),
        ({NAME: PUBLIC}, f"192.0.2.7 {NAME}", ["hosts-override", "answered", ["192.0.2.7"]]),
    ],
    ids=["same", "fails here", "private", "hosts"],
)
def test_the_real_resolver_of_a_server(
    tmp_path: Path, ours: object, hosts: str, expected: list[object]
) -> None:
    setup = FILES.format(folder=tmp_path, hosts=hosts)
    assert in_namespace(setup, REAL.format(ours=repr(ours))) == expected


def test_no_public_resolver_is_asked_unless_configured(tmp_path: Path) -> None:
    (found,) = check_names(["localhost"], (), 0.4, resolv_conf=tmp_path / "none", port=9)
    assert found.public == ()
