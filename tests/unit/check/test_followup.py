"""What is asked only after a failed probe, and of whom never."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ocsp_stapling.check import followup, network, vantage
from ocsp_stapling.check.evidence import Elsewhere
from ocsp_stapling.check.questions import Subject
from ocsp_stapling.host.resolver import Comparison, LookupOutcome, NameAnswer, NameCheck
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.responder import Target
from tests.unit.ocsp.authority import encoded, issue, make_authority

CA = make_authority()


def finding(url: str, outcome: Outcome, port: int = 80, address: str = "192.0.2.9") -> ResponderFinding:
    one = AddressFinding(address, "ipv4", outcome)
    return ResponderFinding(url, "ocsp.test", port, True, 1.0, 1, (one,), None)


def subject(url: str) -> Subject:
    target = Target(url, parse(encoded(issue(CA, url))), parse(encoded(CA.certificate)))
    return Subject(target, "CA", "issuer", (), ())


def test_other_machines_are_asked_about_public_responders_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(_hosts: object, pinned: list[vantage.Pinned], *_: object) -> dict[str, tuple[Elsewhere, ...]]:
        asked.extend(target.url for target, _ in pinned)
        return {}

    monkeypatch.setattr(vantage, "ask_by_ssh", note)
    monkeypatch.setattr(network, "root_connects", lambda *_: frozenset())
    monkeypatch.setattr(network, "firewall_rules", lambda *_: network.Rules())
    found = [
        finding("http://metadata.test", Outcome.ADDRESS_FORBIDDEN),
        finding("http://database.test:9200", Outcome.CONNECT_TIMEOUT, 9200),
        finding("http://ocsp.test", Outcome.CONNECT_TIMEOUT),
    ]
    subjects = [subject(one.url) for one in found]

    after = followup.Followup(
        subjects,
        found,
        "nobody",
        {},
        ["there"],
        datetime.now(UTC),
        5,
        checks={},
        ask=lambda _targets, _seconds: (),
        trace=False,
    )
    evidence = after.responders(deadline=1e12)

    assert asked == ["http://ocsp.test"]
    assert [bool(one.command) for one in evidence] == [False, True, True]


def test_publicly_resolved_addresses_are_asked_of_those_alone_that_answer_rightly_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def note(targets: Sequence[Target], _seconds: float) -> Sequence[ResponderFinding]:
        asked.extend((target.url, target.at) for target in targets)
        return [finding(target.url, Outcome.OK, address=target.at[0]) for target in targets]

    monkeypatch.setattr(network, "root_connects", lambda *_: frozenset())
    monkeypatch.setattr(network, "firewall_rules", lambda *_: network.Rules())
    dead, half = (finding(f"http://{name}.test", Outcome.CONNECT_TIMEOUT) for name in ("dead", "half"))
    half = replace(half, addresses=(*half.addresses, AddressFinding("192.0.2.10", "ipv4", Outcome.OK)))
    here, there = (
        NameAnswer(who, LookupOutcome.ANSWERED, (address,))
        for who, address in (("system", "192.0.2.9"), ("192.0.2.53", "192.0.2.99"))
    )
    after = followup.Followup(
        [subject(dead.url), subject(half.url)],
        [dead, half],
        "nobody",
        {},
        (),
        datetime.now(UTC),
        5,
        checks={"ocsp.test": NameCheck("ocsp.test", Comparison.DIFFERENT, here, (), (there,), (), "")},
        ask=note,
        trace=False,
    )
    found = after.responders(deadline=1e12)

    assert asked == [("http://dead.test", ("192.0.2.99",))]
    assert [one.public.right if one.public else None for one in found] == [("192.0.2.99",), None]


def test_thousands_of_dead_addresses_do_not_use_up_the_files_a_process_may_open() -> None:
    found = [
        finding(f"http://r{n}.test", Outcome.CONNECT_TIMEOUT, address=f"10.0.{n // 250}.{n % 250}")
        for n in range(3000)
    ]

    assert 10 < len(network.unconnected(found)) < 200
    assert "10.0.0.0" in network.unconnected(found)
