"""What a round of handshakes means, and how long it is waited for a better one."""

from __future__ import annotations

import socket
import time

import pytest

from ocsp_stapling.change import verify
from ocsp_stapling.change.verify import Sample, judge, wait_until_served
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import Handshake

STAPLE = b"staple"


def sample(name: str, staple: bool | None, responder: str = "ocsp.ca.test") -> Sample:
    return Sample(Door("192.0.2.1", 443, name), responder, staple)


def met(of: Sample, error: str = "", staple: bytes | None = None) -> Handshake:
    return Handshake(of.door, True, 0.01, error, staple)


@pytest.mark.parametrize(
    ("wanted", "error", "staple", "served", "as_wanted"),
    [
        (False, "", None, True, True),
        (False, "", STAPLE, True, False),
        (True, "", STAPLE, True, True),
        (True, "", None, True, False),
        (None, "", None, True, True),
        (None, "", STAPLE, True, True),
        (False, "timeout", None, False, False),
        (False, "refused", None, False, False),
        (False, "tls: internal error", None, True, True),
    ],
)
def test_one_site(
    wanted: bool | None, error: str, staple: bytes | None, served: bool, as_wanted: bool
) -> None:
    one = sample("a.test", wanted)
    verdict = judge([one], [met(one, error, staple)])
    assert (verdict.served, verdict.as_wanted) == (served, as_wanted)
    assert verdict.sentence.endswith(".")


def test_one_hanging_site_means_not_served_and_one_refusing_site_a_warning() -> None:
    good, bad = sample("a.test", False), sample("b.test", False)
    assert not judge([good, bad], [met(good), met(bad, "timeout")]).served
    verdict = judge([good, bad], [met(good), met(bad, "refused")])
    assert verdict.served
    assert "b.test" in verdict.warnings[0]


def test_one_responder_that_fails_is_a_warning_and_all_of_them_a_failure() -> None:
    one, two = sample("a.test", True, "one.test"), sample("b.test", True, "two.test")
    verdict = judge([one, two], [met(one, staple=STAPLE), met(two)])
    assert verdict.as_wanted
    assert "two.test" in verdict.warnings[0]
    assert not judge([one, two], [met(one), met(two)]).as_wanted


def test_no_site_at_all_is_served_but_said() -> None:
    verdict = judge([], [])
    assert verdict.served
    assert "no TLS site" in verdict.sentence


def test_waiting_ends_in_time_or_when_it_is_hopeless() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        door = Door("127.0.0.1", silent.getsockname()[1], "a.test")
        waited = [Sample(door, "", False)]
        begin = time.monotonic()
        verdict = wait_until_served(waited, within=0.6, quick=0.2)
        assert not verdict.served
        assert time.monotonic() - begin < 10
        rounds: list[int] = []

        def hopeless() -> bool:
            rounds.append(1)
            return len(rounds) == 2

        assert not wait_until_served(waited, within=600, quick=0.2, hopeless=hopeless).served
        assert len(rounds) == 2


@pytest.mark.parametrize("error", ["refused", "reset"])
def test_a_round_in_a_restart_that_met_only_a_site_without_staple_is_not_the_end_of_an_on(
    monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    """Seen in a browser: after an `on` the page said "1 site tested, without staples"."""
    one, plain = sample("a.test", True), sample("plain.test", False, "")
    early, slow = [met(one, error), met(plain)], [met(one, "timeout"), met(plain)]
    rounds = iter([early, slow, [met(one, staple=STAPLE), met(plain)], [met(one, "timeout"), met(plain)]])
    monkeypatch.setattr(verify, "handshakes", lambda *_, **__: next(rounds))
    verdict = wait_until_served([one, plain], within=60, quick=1)
    assert (verdict.served, verdict.as_wanted) == (True, True)
    assert "2 sites tested, with staples" in verdict.sentence


def test_where_no_site_that_must_staple_can_be_met_the_wait_ends_and_does_not_say_without_staples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, plain = sample("a.test", True), sample("plain.test", False, "")
    monkeypatch.setattr(verify, "handshakes", lambda *_, **__: [met(one, "refused"), met(plain)])
    verdict = wait_until_served([one, plain], within=0.2, quick=0.1)
    assert (verdict.served, verdict.as_wanted) == (True, True)
    assert "without staples" not in verdict.sentence
    assert "a.test" in verdict.warnings[0]
