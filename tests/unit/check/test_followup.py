"""What is asked only after a failed probe, and of whom never."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ocsp_stapling.check import followup, network, vantage
from ocsp_stapling.check.evidence import Elsewhere
from ocsp_stapling.check.questions import Subject
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.responder import Target
from tests.unit.ocsp.authority import encoded, issue, make_authority

CA = make_authority()


def finding(url: str, outcome: Outcome, port: int = 80, address: str = "192.0.2.9") -> ResponderFinding:
    one = AddressFinding(address, "ipv4", outcome)
    return ResponderFinding(url, "ocsp.test", port, True, 1.0, 1, (one,), None)


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
    issuer = parse(encoded(CA.certificate))
    subjects = [
        Subject(Target(one.url, parse(encoded(issue(CA, one.url))), issuer), "CA", "issuer", (), ())
        for one in found
    ]

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


def test_thousands_of_dead_addresses_do_not_use_up_the_files_a_process_may_open() -> None:
    found = [
        finding(f"http://r{n}.test", Outcome.CONNECT_TIMEOUT, address=f"10.0.{n // 250}.{n % 250}")
        for n in range(3000)
    ]

    assert 10 < len(network.unconnected(found)) < 200
    assert "10.0.0.0" in network.unconnected(found)
