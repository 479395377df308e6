"""Numbers in the verdict: who waits and who causes it, and the wait that a look which was cut off did not see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocsp_stapling.check.diagnosis import Cause, Severity, diagnose
from ocsp_stapling.check.diagnosis.queue import must_staple, waiting
from ocsp_stapling.check.evidence import ResponderEvidence, Site
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import (
    FINE,
    HANGS,
    OFF,
    V4,
    V6,
    address,
    evidence,
    meeting,
    responder,
    stalled,
    unstapled,
)


def test_whoever_staples_waits_also_where_no_responder_of_theirs_was_asked() -> None:
    more = (Site("late.example"), Site("strict.example", must_staple=True))
    found = stalled(HANGS, stapling=more)
    assert set(waiting(found)) == {site.name for one in found.responders for site in one.sites} | {
        "late.example",
        "strict.example",
    }
    assert "strict.example" in must_staple(found)


def test_a_sentence_about_several_responders_or_sites_has_their_number() -> None:
    one, two, refuses = responder("one"), responder("two"), responder(v4=Outcome.REFUSED)

    assert diagnose(unstapled(one, two)).sentence.startswith(
        "All 2 responders answer rightly, yet Apache sends no staple for 2 of 2 sites tested (one0.example, two0"
    )
    nowhere = [replace(each, error="refused") for each in unstapled(one, two).handshakes]
    assert "All 2 responders answer rightly, but no site of 2 tested could be reached" in (
        diagnose(evidence(one, two, handshakes=tuple(nowhere))).sentence
    )
    slow = [replace(each, seconds=3.0) for each in evidence(refuses, one).handshakes]
    assert "Besides, 1 of 2 responders fails at once, which holds nobody up: ocsp.alpha.example." in (
        diagnose(evidence(refuses, one, handshakes=tuple(slow))).reasons_against
    )
    assert diagnose(unstapled(one, two, **OFF)).advice == (
        "All 2 responders answer rightly: turn stapling on again."
    )


def test_an_answer_later_than_apaches_own_time_out_is_no_answer() -> None:
    slow = timed(responder("alpha", address(V4, Outcome.OK, http_ms=2000.0)), 1)

    found = diagnose(unstapled(slow, FINE))

    assert (found.cause, found.severity) == (Cause.CA_OUTAGE, Severity.FAILING)
    assert "Apache gives up after 1 s (SSLStaplingResponderTimeout)" in found.sentence
    assert "slowly" in diagnose(unstapled(timed(slow, 3), FINE)).sentence


def test_all_that_staple_wait_and_those_that_cause_it_are_counted_apart() -> None:
    """One queue for the whole server: three certificates can keep a hundred sites waiting."""
    found = diagnose(stalled(responder(v4=Outcome.REPLY_TIMEOUT, sites=3), responder("zeta", sites=97)))

    assert "all 100 HTTPS sites wait; certificates of 3 cause it" in found.sentence
    assert found.causing == ("alpha0.example", "alpha1.example", "alpha2.example")
    assert len(found.waiting) == len(found.sites) == 100


def test_sites_that_do_not_staple_are_not_said_to_wait() -> None:
    bare = replace(FINE, sites=tuple(replace(site, stapling=False) for site in FINE.sites))
    found = diagnose(stalled(HANGS, bare))

    assert "all 2 HTTPS sites that staple wait" in found.sentence
    assert set(found.waiting) == set(found.causing) == {"alpha0.example", "alpha1.example"}


def test_who_lives_on_a_staple_apache_still_has_is_not_said_to_wait_already() -> None:
    beta = responder("beta")
    found = diagnose(evidence(HANGS, beta, handshakes=(*stalled(HANGS).handshakes, *meeting(beta))))

    assert "all 4 HTTPS sites wait, each once its staple has run out" in found.sentence


def test_nobody_waits_for_a_responder_that_fails_at_once() -> None:
    found = diagnose(unstapled(responder(v4=Outcome.UNAUTHORIZED), FINE))
    assert (found.waiting, found.causing) == ((), ("alpha0.example", "alpha1.example"))


@pytest.mark.parametrize(
    ("v6", "v4", "told"),
    [
        (
            Outcome.CONNECT_TIMEOUT,
            Outcome.CONNECT_TIMEOUT,
            "after 6 s, one after the other: the tenth waits 60 s",
        ),
        (
            Outcome.CONNECT_TIMEOUT,
            Outcome.REPLY_TIMEOUT,
            "after 6 s, one after the other: the tenth waits 60 s",
        ),
        (
            Outcome.REPLY_TIMEOUT,
            Outcome.CONNECT_TIMEOUT,
            "after 3 s, one after the other: the tenth waits 30 s",
        ),
        (Outcome.REFUSED, Outcome.CONNECT_TIMEOUT, "after 3 s, one after the other: the tenth waits 30 s"),
    ],
)
def test_what_a_look_that_was_cut_off_did_not_see_is_reckoned(v6: Outcome, v4: Outcome, told: str) -> None:
    one = responder("alpha", v4, address(V6, v6))
    found = diagnose(stalled(timed(one, 3)))

    assert any(f"By its time-outs Apache gives each up {told}." in text for text in found.reasons_for)


def test_one_site_of_a_responder_that_hangs_and_others_behind_it_are_reckoned_too() -> None:
    hangs, fine = timed(responder("alpha", Outcome.REPLY_TIMEOUT), 3), responder("beta")
    made = [*meeting(hangs, seconds=3.0, staple=""), *meeting(fine, seconds=3.1)]

    found = diagnose(evidence(hangs, fine, handshakes=tuple(made)))

    assert any("gives each up after 3 s, one after the other" in text for text in found.reasons_for)


def test_nothing_is_reckoned_where_every_client_waits() -> None:
    one = timed(responder("alpha", Outcome.REPLY_TIMEOUT), 3)
    slow = tuple(replace(h, seconds=3.5, error="timeout", staple="") for h in meeting(one))

    assert not any("gives each up" in text for text in diagnose(evidence(one, handshakes=slow)).reasons_for)


def test_nothing_is_reckoned_where_another_address_answers_in_the_end() -> None:
    one = timed(responder("alpha", Outcome.OK, address(V6, Outcome.CONNECT_TIMEOUT)), 3)

    found = diagnose(evidence(one, handshakes=tuple(meeting(one, seconds=3.1))))

    assert not any("gives each up" in text for text in found.reasons_for)


def timed(one: ResponderEvidence, seconds: int) -> ResponderEvidence:
    return replace(one, sites=tuple(replace(site, responder_timeout=seconds) for site in one.sites))


def test_nothing_is_reckoned_of_sites_with_different_time_outs() -> None:
    both = [timed(responder(name, Outcome.CONNECT_TIMEOUT), wait) for name, wait in (("a", 3), ("b", 30))]

    assert not any("By its time-outs" in text for text in diagnose(stalled(*both)).reasons_for)


def test_a_site_that_waits_behind_another_ones_responder_hides_no_queue() -> None:
    hangs, fine = responder("alpha", Outcome.REPLY_TIMEOUT), responder("beta")
    made = [
        *meeting(hangs, seconds=3.0, staple=""),
        *meeting(fine, seconds=3.1),
        *meeting(hangs, seconds=3.5, error="timeout", staple=""),
    ]
    found = diagnose(evidence(hangs, fine, handshakes=tuple(made)))

    assert any("3 s each, one after the other: the tenth waits 30 s" in text for text in found.reasons_for)


def test_nothing_is_reckoned_where_the_wait_was_measured() -> None:
    one = responder("alpha", Outcome.CONNECT_TIMEOUT)
    made = [
        *meeting(one, seconds=3.0, staple=""),
        *meeting(one, seconds=3.5, error="timeout", staple=""),
    ]
    found = diagnose(evidence(timed(one, 3), handshakes=tuple(made)))

    assert any("3 s each, one after the other: the tenth waits 30 s" in text for text in found.reasons_for)
    assert not any("By its time-outs" in text for text in found.reasons_for)
