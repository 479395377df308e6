"""What the watch takes from a check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.check import report
from ocsp_stapling.check.diagnosis import diagnose
from ocsp_stapling.check.evidence import ConfigurationEvidence, ResponderEvidence, Site
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome
from ocsp_stapling.settings import WatchSettings
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.observe import is_stalled, observe, reading
from ocsp_stapling.watch.policy import ActionKind, Observation, State, Wishes, decide, switched
from tests.unit.check.diagnosis.made import V4, address, evidence, responder


def healthy(directory: Path, *responders: ResponderEvidence) -> bool:
    found = evidence(*responders)
    with Journal(directory) as journal:
        return observe(report.document(found, diagnose(found)), journal, WatchSettings(), 0.0).healthy


def test_a_responder_of_expired_certificates_keeps_stapling_off_only_if_it_hangs(tmp_path: Path) -> None:
    fine = responder("zeta")

    assert healthy(tmp_path, fine, responder(v4=Outcome.REACHABLE, expired_only=True))
    assert healthy(tmp_path, fine, responder(v4=Outcome.REFUSED, expired_only=True))
    assert not healthy(tmp_path, fine, responder(v4=Outcome.REPLY_TIMEOUT, expired_only=True))
    assert not healthy(tmp_path, fine, responder(v4=Outcome.REFUSED, shared=True))


def test_one_customers_unusable_url_neither_keeps_stapling_off_nor_turns_it_off(tmp_path: Path) -> None:
    fine, unusable = responder("zeta"), responder(fault=Outcome.URL_UNUSABLE)

    assert healthy(tmp_path, fine, unusable)
    aborting = {"severity": "stalling", "advice": "turn-off", "cause": "bad-ocsp-url"}
    assert not is_stalled(aborting)


def test_only_a_stall_that_turning_off_would_end_counts() -> None:
    assert is_stalled({"severity": "stalling", "advice": "turn-off", "cause": "network-block"})
    assert not is_stalled({"severity": "stalling", "advice": "fix-here", "cause": "unknown"})
    assert not is_stalled({"severity": "failing", "advice": "contact-datacenter", "cause": "network-block"})


def test_a_revoked_certificate_concerns_its_own_site_only(tmp_path: Path) -> None:
    fine = responder("zeta")

    assert healthy(tmp_path, fine, responder(v4=Outcome.REVOKED))
    assert not healthy(tmp_path, fine, responder(v4=Outcome.REVOKED, v6=Outcome.REPLY_TIMEOUT))
    assert not healthy(tmp_path, fine, responder(v4=Outcome.UNKNOWN, shared=True))


def test_a_stall_of_others_is_a_stall_whoever_is_at_fault() -> None:
    """An OCSP URL of one customer's makes everybody wait: nobody may hide that behind its being his own fault."""
    at_fault = {"cause": "bad-ocsp-url", "outcome": "address-forbidden", "site_names": ["his.test"]}
    base = {"severity": "stalling", "advice": "turn-off", "cause": "bad-ocsp-url", "responders": [at_fault]}

    def waited(site: str, **more: Any) -> dict[str, Any]:
        return {"site": site, "asked": True, "repeated": False, "seconds": 3.0, "failure": None} | more

    assert not is_stalled(base | {"handshakes": [waited("his.test")]})
    assert not is_stalled(base | {"handshakes": [waited("other.test", seconds=0.1)]})
    assert not is_stalled(base | {"handshakes": [waited("other.test", asked=False)]})
    assert is_stalled(base | {"handshakes": [waited("other.test")]})
    assert is_stalled(base | {"handshakes": [waited("other.test", failure="timeout")]})
    # Others live on staples that Apache still has; at each restart they would wait, between two passes.
    alone = base | {"advice": "turn-off-site"}
    assert is_stalled(alone | {"handshakes": [waited("his.test", failure="timeout")]})
    assert not is_stalled(alone | {"handshakes": [waited("his.test", seconds=0.1)]})
    turned_away = at_fault | {"outcome": "url-unusable"}
    assert is_stalled(base | {"responders": [turned_away], "handshakes": [waited("his.test")]})


@pytest.mark.parametrize(
    "outcome", [Outcome.REFUSED, Outcome.NO_ROUTE, Outcome.HTTP_ERROR, Outcome.UNKNOWN, Outcome.TRY_LATER]
)
def test_what_one_customers_responder_does_at_once_keeps_nobodys_stapling_off(
    tmp_path: Path, outcome: Outcome
) -> None:
    assert healthy(tmp_path, responder("zeta"), responder(v4=outcome, sites=1))
    assert not healthy(tmp_path, responder("zeta"), responder(v4=outcome, shared=True))


@pytest.mark.parametrize(
    "outcome",
    [Outcome.REPLY_TIMEOUT, Outcome.CONNECT_TIMEOUT, address(V4, Outcome.TRY_LATER, http_ms=2700.0)],
    ids=["silent", "unreachable", "answering at the last moment"],
)
def test_one_customers_hanging_responder_is_turned_off_alone_before_the_return(
    tmp_path: Path, outcome: Outcome | AddressFinding
) -> None:
    his = replace(responder(v4=outcome, sites=1), sites=(Site("his.test", "mallory"),))
    found = evidence(
        responder("zeta"), his, configuration=ConfigurationEvidence(on=False, origin=Origin.PLUGIN)
    )
    with Journal(tmp_path) as journal:
        seen = observe(report.document(found, diagnose(found)), journal, WatchSettings(), 0.0)
    assert (seen.healthy, seen.alone, seen.stapling) == (True, ("his.test",), "off-by-plugin")
    seen = replace(seen, return_chosen=True)
    state, actions = decide(State(healthy_passes=2), seen, Wishes())
    assert [(one.kind, one.sites) for one in actions] == [(ActionKind.TURN_OFF, ("his.test",))]
    state, _ = switched(state, ActionKind.TURN_OFF, "done", True, 0.0)
    kinds = []
    for _ in range(3):
        state, actions = decide(state, replace(seen, alone=()), Wishes())
        kinds += [one.kind for one in actions if one.kind is not ActionKind.NOTIFY]
    assert kinds == [ActionKind.TURN_ON]


def test_a_stall_that_one_customer_causes_costs_that_customer_alone_a_staple() -> None:
    stall = Observation(0.0, "on", False, True, alone=("his.test",))
    _, actions = decide(State(stalled_passes=1), stall, Wishes(turn_off_when_stalling=True))
    assert [(one.kind, one.sites) for one in actions] == [(ActionKind.TURN_OFF, ("his.test",))]
    assert "his.test alone" in actions[0].reason


def test_names_out_of_certificates_are_one_word_each_for_the_memory_of_what_was_told(tmp_path: Path) -> None:
    """Else a responder with a blank in its URL (a user name is passed over) would be new at every pass."""
    found = evidence(responder())
    check = report.document(found, diagnose(found))
    check["shield"] = {
        "trouble": ("ends-soon", "must-staple"),
        "ending_hosts": ["a b@ocsp.test", "x" * 9000],
        "missing_must_staple": ["c d.test"],
        "revoked": ["e f.test"],
    }
    with Journal(tmp_path) as journal:
        seen = observe(check, journal, WatchSettings(), 0.0)
    assert seen.revoked == ("e?f.test",)
    first, second, third = seen.shield_trouble
    assert (first, third) == ("ends-soon:a?b@ocsp.test", "must-staple:c?d.test")
    assert len(second) < 200


def test_one_customers_many_sites_are_turned_off_as_one_account(tmp_path: Path) -> None:
    many = tuple(Site(f"his{number}.test", "mallory") for number in range(9))
    his = replace(responder(v4=Outcome.REPLY_TIMEOUT, sites=1), sites=many)
    found = evidence(
        responder("zeta"), his, configuration=ConfigurationEvidence(on=False, origin=Origin.PLUGIN)
    )
    with Journal(tmp_path) as journal:
        seen = observe(report.document(found, diagnose(found)), journal, WatchSettings(), 0.0)
    assert (seen.healthy, seen.alone) == (True, ("@mallory",))
    _, actions = decide(State(healthy_passes=2), replace(seen, return_chosen=True), Wishes())
    assert [(one.kind, one.sites) for one in actions] == [(ActionKind.TURN_OFF, ("@mallory",))]
    assert "the sites of account mallory alone" in actions[0].reason


def test_a_stall_from_a_staple_cache_that_is_too_small_or_keeps_nothing_is_one() -> None:
    base = {"severity": "stalling", "advice": "fix-here", "responders": []}
    assert is_stalled(base | {"cause": "cache-too-small"})
    assert is_stalled(base | {"cause": "cache-broken"})
    assert not is_stalled(base | {"cause": "unknown"})


def test_what_a_responder_says_of_one_certificate_is_no_word_on_the_responder() -> None:
    def row(serial: str, outcome: str) -> dict[str, object]:
        address = {"address": "192.0.2.1", "outcome": outcome, "http_ms": 1.0}
        return {"url": "http://o.test", "serial": serial, "outcome": outcome, "addresses": [address]}

    check = {
        "responders": [row("", "ok"), row("0A", "unknown")],
        "severity": "failing",
        "cause": "ca-bad-answer",
        "advice": "wait-for-ca",
        "configuration": {"stapling": "on"},
    }
    assert [outcome for outcome, _ in reading(check, 1.0).addresses.values()] == ["ok"]


def test_a_url_with_bytes_that_are_no_utf8_costs_no_pass_of_the_watch(tmp_path: Path) -> None:
    """As SSLStaplingForceURL hands it on: the watch could then neither turn off nor on again."""
    one = responder(v4=Outcome.REPLY_TIMEOUT)
    found = evidence(replace(one, finding=replace(one.finding, url="http://caf\udce9.example/")))
    with Memory(tmp_path) as memory:
        memory.add(reading(report.document(found, diagnose(found)), 1.0))
        (kept,) = memory.readings()
    assert kept.outcomes() == {"http://caf?.example/": "reply-timeout"}
