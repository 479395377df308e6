"""How bad it is and what to do about it: only handshakes decide, and nothing is switched off without need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.diagnosis import Action, Cause, Diagnosis, Severity, diagnose
from ocsp_stapling.check.diagnosis.explanation import Confidence, can_hold_up
from ocsp_stapling.check.diagnosis.handshakes import queue_words
from ocsp_stapling.check.evidence import (
    AskedCertificates,
    AuthorityEvidence,
    ConfigurationEvidence,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    OwnSwitch,
    ResponderEvidence,
    Site,
    SteeringLine,
)
from ocsp_stapling.check.report import document, exit_status
from ocsp_stapling.check.words import harm_words
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.server.sites import host_of
from ocsp_stapling.shield.standing import ShieldedResponder, ShieldEvidence
from tests.unit.check.diagnosis.made import (
    NOW,
    V4,
    V6,
    address,
    evidence,
    meeting,
    responder,
    stalled,
    unstapled,
)

HANGS = responder(v4=Outcome.REPLY_TIMEOUT, must_staple=True)
FINE = responder("zeta")
NOISE = LogEvidence(last_hour=40, last_day=900)
OFF = {"configuration": ConfigurationEvidence(False, Origin.PLUGIN, off_since=NOW, off_by="root")}


def seen(found: Diagnosis) -> tuple[Cause, Severity, Action]:
    return found.cause, found.severity, found.action


def test_a_healthy_server_needs_nothing() -> None:
    assert seen(diagnose(evidence(FINE))) == (Cause.HEALTHY, Severity.NONE, Action.NOTHING)


def test_a_server_without_any_ocsp_url_is_calmly_not_applicable() -> None:
    assert seen(diagnose(evidence())) == (Cause.NOT_APPLICABLE, Severity.NONE, Action.NOTHING)


def test_a_measured_stall_is_ended_first_and_its_cause_afterwards() -> None:
    found = diagnose(stalled(HANGS, FINE))

    assert seen(found) == (Cause.CA_OUTAGE, Severity.STALLING, Action.TURN_OFF)
    assert found.afterwards is Action.WAIT_FOR_CA
    assert found.must_staple == ("alpha0.example",)
    assert any("Must-Staple" in reason for reason in found.reasons_against)


def test_a_dead_responder_whose_staples_are_still_served_is_no_reason_to_turn_off() -> None:
    found = diagnose(evidence(HANGS, FINE))

    assert seen(found) == (Cause.CA_OUTAGE, Severity.FAILING, Action.WAIT_FOR_CA)
    assert "when these run out" in found.sentence
    assert "do not restart Apache" in found.advice


def test_a_private_responder_that_serves_apache_and_is_not_asked_on_purpose_is_no_fault() -> None:
    private = responder(v4=Outcome.ADDRESS_FORBIDDEN)
    found = diagnose(evidence(private, FINE))

    assert seen(found) == (Cause.BAD_OCSP_URL, Severity.NONE, Action.FIX_HERE)
    assert "was not asked. The sites answer quickly and with staples." in found.sentence
    assert "allow_networks" in found.advice
    assert diagnose(unstapled(private, FINE)).severity is Severity.FAILING
    assert diagnose(stalled(private, FINE)).severity is Severity.STALLING


def test_missing_staples_on_quick_sites_are_no_reason_to_turn_off() -> None:
    found = diagnose(unstapled(responder(v4=Outcome.UNAUTHORIZED)))

    assert seen(found) == (Cause.CA_BAD_ANSWER, Severity.FAILING, Action.WAIT_FOR_CA)


def test_visitors_who_waited_a_moment_ago_count_for_more_than_good_answers_to_us() -> None:
    log = replace(NOISE, last="2026-11-22T03:41:07", fresh_timeouts=2)
    found = diagnose(evidence(FINE, log=log))
    assert (found.severity, found.confidence, exit_status(found)) == (Severity.FAILING, Confidence.LOW, 1)
    assert "03:41:07" in found.sentence
    assert diagnose(evidence(FINE, log=replace(log, fresh_timeouts=1))).severity is Severity.NOISE


@pytest.mark.parametrize(
    "more",
    [
        {"incomplete_chains": (Site("his.example", "mallory"),)},
        {"unreadable": (Site("his.example", "mallory"),)},
        {"unasked": (Site("his.example", "mallory"),)},
        {"never_stapled": (Site("his.example", "mallory", must_staple=True),)},
        {"responders": (FINE, responder("his", Outcome.REFUSED, sites=1))},
        {"responders": (FINE, responder("his", fault=Outcome.URL_UNUSABLE, sites=1))},
        {"responders": (FINE, responder("his", Outcome.REVOKED, sites=1))},
    ],
)
def test_nobody_hides_that_visitors_waited_a_moment_ago_behind_a_certificate_of_ones_own(
    more: dict[str, Any],
) -> None:
    log = replace(NOISE, last="2026-11-22T03:41:07", fresh_timeouts=2)
    found = diagnose(
        evidence(FINE, log=log, **more) if "responders" not in more else evidence(log=log, **more)
    )
    assert found.severity is Severity.FAILING
    assert "the last at 03:41:07" in found.sentence + " ".join(found.reasons_against)
    if "unreadable" in more:
        assert "certificate of his.example could not be read" in " ".join(found.reasons_against)


def test_lines_about_the_cache_prove_nothing_of_one_in_shared_memory() -> None:
    """Any customer's responder can send answers too large for a place in it, or a script write such lines."""
    shared = ConfigurationEvidence(cache=SteeringLine("SSLStaplingCache", "shmcb:/run/x(256000)", "/a:1"))
    log = replace(NOISE, fresh_unkept=9)
    assert diagnose(evidence(FINE, log=log, configuration=shared)).cause is Cause.HEALTHY
    waiting = stalled(FINE, log=log, configuration=shared)
    assert diagnose(waiting).action is Action.TURN_OFF


def test_error_lines_on_quick_sites_are_noise() -> None:
    found = diagnose(evidence(FINE, log=NOISE))

    assert seen(found) == (Cause.HEALTHY, Severity.NOISE, Action.NOTHING)
    assert any("900" in reason for reason in found.reasons_against)


ABORTED = {"error": "tls: tlsv1 alert internal error", "staple": ""}


def test_an_unusable_url_of_one_site_is_no_stall_of_the_server() -> None:
    """One customer's certificate must not have stapling turned off for everybody."""
    one = responder(fault=Outcome.URL_UNUSABLE)

    found = diagnose(evidence(one, FINE, handshakes=(*meeting(one, **ABORTED), *meeting(FINE))))

    assert seen(found) == (Cause.BAD_OCSP_URL, Severity.FAILING, Action.REISSUE)


ONE_OF_MALLORY = (Site("his.example", "mallory", where="/etc/apache2/conf/httpd.conf:7"),)


@pytest.mark.parametrize(
    "fault", [Outcome.ADDRESS_FORBIDDEN, Outcome.URL_UNUSABLE, Outcome.DNS_TIMEOUT, Outcome.DEADLINE]
)
def test_where_one_customers_certificate_makes_others_wait_that_site_alone_is_turned_off(
    fault: Outcome,
) -> None:
    his = replace(responder(fault=fault), sites=ONE_OF_MALLORY)
    waiting = meeting(FINE, seconds=3.0, error="timeout", staple="")

    found = diagnose(evidence(his, FINE, handshakes=tuple(waiting)))

    assert (found.severity, found.action, found.alone) == (
        Severity.STALLING,
        Action.TURN_OFF_SITE,
        ("his.example",),
    )
    assert "ocsp-stapling off --site his.example" in found.advice
    assert any("account mallory" in reason and "httpd.conf:7" in reason for reason in found.reasons_for)


@pytest.mark.parametrize("outcome", [Outcome.TRY_LATER, Outcome.EMPTY_REPLY, Outcome.REVOKED, Outcome.OK])
@pytest.mark.parametrize("slow", [{"http_ms": 2700.0}, {"tcp_ms": 2700.0}])
def test_who_answers_only_just_before_apache_gives_up_is_turned_off_alone_like_one_that_hangs(
    outcome: Outcome, slow: dict[str, Any]
) -> None:
    """Whatever the answer is: one that is right, but for a moment only, is asked for again and again."""
    his = replace(responder(v4=address(V4, outcome, **slow)), sites=ONE_OF_MALLORY)
    waiting = tuple(meeting(FINE, seconds=3.0, error="timeout", staple=""))

    found = diagnose(evidence(his, FINE, handshakes=waiting))

    assert (found.action, found.alone) == (Action.TURN_OFF_SITE, ("his.example",))
    assert can_hold_up(his.finding) is (outcome is not Outcome.OK)
    quick = replace(responder(v4=address(V4, Outcome.TRY_LATER)), sites=ONE_OF_MALLORY)
    assert not can_hold_up(quick.finding)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.NO_ROUTE])
def test_who_refuses_late_or_at_hundreds_of_addresses_holds_up_like_one_that_hangs(outcome: Outcome) -> None:
    """Apache tries each address in turn, and a firewall may take its time to refuse."""
    late = responder(v4=address(V4, outcome, failed_ms=2700.0))
    often = responder(v4=address(V4, outcome, failed_ms=20.0))
    quick = often.finding
    assert can_hold_up(late.finding)
    assert can_hold_up(replace(quick, address_count=200))
    assert not can_hold_up(quick)
    behind = replace(quick.addresses[0], outcome=Outcome.OK, failed_ms=None, tcp_ms=10.0)
    assert not can_hold_up(replace(quick, address_count=200, addresses=(*quick.addresses, behind)))

    waiting = tuple(meeting(FINE, seconds=3.0, error="timeout", staple=""))
    found = diagnose(evidence(replace(late, sites=ONE_OF_MALLORY), FINE, handshakes=waiting))

    assert (found.action, found.alone) == (Action.TURN_OFF_SITE, ("his.example",))


def test_where_one_customers_site_alone_was_seen_to_wait_it_alone_is_turned_off() -> None:
    """Although its responder fails at once when it is asked by us; another's quick sites have old staples."""
    his = replace(responder(v4=address(V4, Outcome.REFUSED, failed_ms=5.0)), sites=ONE_OF_MALLORY)
    alone = (*meeting(his, seconds=1.6, staple=""), *meeting(FINE))
    everybody = (*meeting(his, seconds=1.6, staple=""), *meeting(FINE, seconds=2.0, staple=""))

    seen_alone, seen_all = (diagnose(evidence(his, FINE, handshakes=each)) for each in (alone, everybody))

    assert (seen_alone.action, seen_alone.alone) == (Action.TURN_OFF_SITE, ("his.example",))
    assert seen_all.action is Action.TURN_OFF


def test_who_lets_apache_alone_wait_is_found_by_whom_apache_was_seen_to_ask() -> None:
    """Each answers us at once; an address that Apache asks most of the time is whom all others wait for."""
    his = replace(responder("sly", v4=address("44.0.0.9", Outcome.OK)), sites=ONE_OF_MALLORY)
    waiting = (*meeting(FINE, seconds=3.0, error="timeout", staple=""), *meeting(his))
    asks = {"44.0.0.9": 0.9, V4: 0.1, "44.0.0.7": 0.4}

    seen_so = diagnose(evidence(his, FINE, handshakes=waiting, apache_asks=asks))
    unseen_so = diagnose(evidence(his, FINE, handshakes=waiting, apache_asks={V4: 0.1}))
    others = diagnose(evidence(his, FINE, handshakes=waiting, apache_asks={"44.0.0.9": 0.5, V4: 0.5}))
    quick = diagnose(evidence(his, FINE, apache_asks=asks))

    assert seen(seen_so) == (Cause.UNKNOWN, Severity.STALLING, Action.TURN_OFF_SITE)
    assert (seen_so.alone, "ocsp.sly.example" in seen_so.sentence) == (("his.example",), True)
    assert "44.0.0.9 in 90% of the looks" in " ".join(seen_so.reasons_for)
    assert "ocsp-stapling off --site his.example" in seen_so.advice
    assert (unseen_so.action, others.action, quick.action) == (
        Action.TURN_OFF,
        Action.TURN_OFF,
        Action.NOTHING,
    )


def test_more_sites_of_one_customer_do_not_turn_the_remedy_on_everybody() -> None:
    many = tuple(Site(f"his{number}.example", "mallory") for number in range(40))
    his = replace(responder(fault=Outcome.ADDRESS_FORBIDDEN), sites=many)
    waiting = meeting(FINE, seconds=3.0, error="timeout", staple="")

    found = diagnose(evidence(his, FINE, handshakes=tuple(waiting)))

    assert (found.severity, found.action, found.alone_account) == (
        Severity.STALLING,
        Action.TURN_OFF_SITE,
        "mallory",
    )
    assert len(found.alone) == 40
    assert "ocsp-stapling off --account mallory" in found.advice
    assert len(found.advice) < 300


UNASKED = tuple(Site(f"his{number}.example", "mallory") for number in range(60))


def test_what_was_not_asked_forbids_ok_and_is_a_warning_that_names_the_account() -> None:
    found = diagnose(evidence(FINE, unasked=UNASKED, problems=("60 responders were not asked.",)))

    assert seen(found) == (Cause.UNKNOWN, Severity.FAILING, Action.FIX_HERE)
    assert "account mallory" in found.sentence
    assert "ocsp-stapling off --account mallory" in found.advice


def test_where_none_was_asked_the_account_is_named_all_the_same() -> None:
    found = diagnose(evidence(unasked=UNASKED, handshakes=(), problems=("60 were not asked.",)))

    assert seen(found) == (Cause.UNKNOWN, Severity.FAILING, Action.FIX_HERE)
    assert "account mallory" in found.sentence
    assert "answer" not in found.sentence


def test_what_was_not_asked_hides_no_outage_and_makes_no_quiet_server_critical() -> None:
    hangs = responder("beta", v4=Outcome.REPLY_TIMEOUT)
    waiting = meeting(hangs, seconds=3.0, error="timeout", staple="")

    quiet = diagnose(evidence(FINE, unasked=UNASKED, handshakes=tuple(meeting(FINE))))
    outage = diagnose(evidence(hangs, FINE, unasked=UNASKED, handshakes=tuple(waiting)))

    assert quiet.severity is Severity.FAILING
    assert outage == replace(
        diagnose(evidence(hangs, FINE, handshakes=tuple(waiting))), responders=outage.responders
    )


def test_what_was_not_asked_keeps_nobodys_stapling_off() -> None:
    off = ConfigurationEvidence(on=False, origin=Origin.PLUGIN)

    found = diagnose(evidence(FINE, unasked=UNASKED, configuration=off))

    assert found.action is Action.TURN_ON
    assert "account mallory" in found.advice


def test_a_site_that_apache_turns_away_waits_for_others_never_for_itself() -> None:
    """An https URL is not asked at all: where its own site waits, it stands in the queue for what hangs."""
    his = replace(responder(fault=Outcome.URL_UNUSABLE), sites=ONE_OF_MALLORY)
    others = responder("beta", v4=Outcome.REPLY_TIMEOUT)
    waiting = meeting(his, seconds=3.0, error="timeout", staple="")

    found = diagnose(evidence(his, others, FINE, handshakes=(*waiting, *meeting(others), *meeting(FINE))))

    assert found.cause is not Cause.BAD_OCSP_URL
    assert "beta" in found.sentence
    assert (found.severity, found.action, found.alone) == (Severity.STALLING, Action.TURN_OFF, ())


def test_nobody_hides_the_outage_of_another_responder_behind_a_fault_of_ones_own() -> None:
    his = replace(responder(fault=Outcome.ADDRESS_FORBIDDEN), sites=ONE_OF_MALLORY)
    others = responder("beta", v4=Outcome.REPLY_TIMEOUT)
    waiting = meeting(others, seconds=3.0, error="timeout", staple="")

    found = diagnose(evidence(his, others, FINE, handshakes=tuple(waiting)))

    assert (found.severity, found.action, found.alone) == (Severity.STALLING, Action.TURN_OFF, ())


def test_where_others_wait_beside_it_or_nobody_is_served_it_is_a_stall() -> None:
    one = responder(fault=Outcome.URL_UNUSABLE)
    waiting = meeting(FINE, seconds=3.0, error="timeout", staple="")
    for others in (waiting, []):
        found = diagnose(evidence(one, FINE, handshakes=(*meeting(one, **ABORTED), *others)))
        assert (found.severity, found.action) == (Severity.STALLING, Action.TURN_OFF)


def shield(hours: float = 72, missing: int = 0, ended: int = 0, **more: Any) -> ShieldEvidence:
    """The shield with answers of the responder that hangs which last so long, and of a healthy one for an hour."""
    last = NOW + timedelta(hours=hours)
    theirs = ShieldedResponder(host_of(HANGS.url), 2, missing, 0, last, ended_count=ended)
    others = ShieldedResponder("ocsp.short-lived.example", 1, 0, 0, NOW + timedelta(hours=1))
    facts: dict[str, Any] = {
        "held_count": 3,
        "certificate_count": 3 + missing,
        "responders": (theirs, others),
    }
    return ShieldEvidence(**({"answering": True} | facts | more))


def test_under_the_shield_a_dead_responder_is_no_alarm_until_a_day_before_the_answers_end() -> None:
    made = evidence(HANGS, handshakes=tuple(meeting(HANGS)), shield=shield())
    found = diagnose(made)
    assert (found.severity, found.action, exit_status(found)) == (Severity.NOISE, Action.NOTHING, 0)
    assert "Not one visitor waits" in found.sentence
    assert f"staples last until {NOW + timedelta(hours=72):%Y-%m-%d %H:%M}" in found.sentence
    assert found.shield_trouble == ()
    soon = diagnose(replace(made, shield=shield(20)))
    assert (soon.severity, exit_status(soon), soon.shield_trouble) == (Severity.FAILING, 1, ("ends-soon",))
    never_held = diagnose(replace(made, shield=shield(missing=1)))
    assert (exit_status(never_held), never_held.shield_trouble) == (0, ())
    ended = diagnose(replace(made, shield=shield(missing=1, ended=1)))
    assert (exit_status(ended), ended.shield_trouble) == (1, ("ends-soon",))
    last = f"{NOW + timedelta(hours=72):%Y-%m-%d %H:%M}"
    assert f"1 staple ended without a new one, the others last until {last}" in ended.sentence
    assert "staples last until" not in ended.sentence
    bare = diagnose(replace(made, shield=shield(missing_must_staple=("a.example",))))
    assert exit_status(bare) == 1


def under_the_shield(*ends: int | None, ended: int = 0) -> Diagnosis:
    """Of as many responders that hang the answers last so many hours (None: none is held); another one is well."""
    names = "abcdefgh"[: len(ends)]
    dark = [responder(name, Outcome.REPLY_TIMEOUT) for name in names]
    theirs = [
        ShieldedResponder(
            f"ocsp.{name}.example",
            2,
            0,
            1,
            None if hours is None else NOW + timedelta(hours=hours),
            ended_count=ended,
        )
        for name, hours in zip(names, ends, strict=True)
    ]
    made = evidence(*dark, FINE, handshakes=tuple(meeting(FINE)), shield=shield(responders=tuple(theirs)))
    return diagnose(made)


def test_under_the_shield_every_dark_responder_counts_and_those_whose_answers_end_first_are_named() -> None:
    found = under_the_shield(90, 72, 80, 100, 60)
    assert found.sentence.startswith("The responder ocsp.e.example ")
    assert (
        " The same holds for ocsp.b.example, ocsp.c.example, ocsp.a.example and 1 more: 5 of 6 responders fail."
        in found.sentence
    )
    assert f"staples last until {NOW + timedelta(hours=60):%Y-%m-%d %H:%M}" in found.sentence
    assert found.sentence.endswith(" at least.")
    assert found.advice.endswith("the watch asks again until they answer.")
    assert (exit_status(found), found.shield_ending) == (0, ())


def test_under_the_shield_all_are_named_whose_staples_end_soon_or_have_ended() -> None:
    soon = under_the_shield(72, 20, None, 5)
    first = f"{NOW + timedelta(hours=5):%Y-%m-%d %H:%M}"
    assert (
        f"; staples of ocsp.d.example, ocsp.b.example end within a day, the first at {first}" in soon.sentence
    )
    assert soon.shield_ending == ("ocsp.d.example", "ocsp.b.example")
    over = under_the_shield(None, 20, ended=1)
    assert (
        "; 2 staples of ocsp.b.example, ocsp.a.example ended without a new one, those of ocsp.b.example end within"
        in over.sentence
    )
    assert set(over.shield_ending) == {"ocsp.a.example", "ocsp.b.example"}
    assert "not one visitor waits" in over.sentence.lower()


def test_under_the_shield_another_kind_of_trouble_is_told_behind_the_first() -> None:
    dark, other = responder("a", Outcome.REPLY_TIMEOUT), responder("b", Outcome.BAD_SIGNATURE)
    theirs = tuple(
        ShieldedResponder(f"ocsp.{letter}.example", 2, 0, 1, NOW + timedelta(hours=72)) for letter in "ab"
    )
    found = diagnose(evidence(dark, other, handshakes=(), shield=shield(responders=theirs)))
    assert found.sentence.endswith(" There is trouble with ocsp.b.example, too: both responders fail.")


def test_under_the_shield_one_certificate_that_gets_no_new_answer_is_told_a_day_before_its_staple_ends() -> (
    None
):
    def stuck(hours: float, **more: Any) -> ShieldEvidence:
        theirs = ShieldedResponder(
            "ocsp.fine.example", 9, 0, 1, NOW, "a.example", NOW + timedelta(hours=hours)
        )
        return shield(responders=(theirs,), **more)

    made = evidence(FINE, handshakes=tuple(meeting(FINE)), shield=stuck(30))
    assert (exit_status(diagnose(made)), diagnose(made).shield_trouble) == (0, ())
    soon = diagnose(replace(made, shield=stuck(20)))
    assert (soon.severity, exit_status(soon), soon.sites) == (Severity.FAILING, 1, ("a.example",))
    assert (soon.shield_trouble, soon.shield_ending) == (("ends-soon",), ("ocsp.fine.example",))
    assert "no new answer for the certificate of a.example" in soon.sentence
    assert "Not one visitor waits" in soon.sentence
    over = diagnose(replace(made, shield=stuck(-1)))
    assert (over.severity, over.shield_ending) == (Severity.FAILING, ("ocsp.fine.example",))
    assert f"its staple ended at {NOW - timedelta(hours=1):%Y-%m-%d %H:%M}" in over.sentence
    both = diagnose(replace(made, shield=stuck(20, revoked=("r.example",))))
    assert both.cause is Cause.CERTIFICATE_REVOKED
    assert "a.example" in both.sentence


def test_a_revoked_certificate_is_shouted_whatever_else_holds() -> None:
    for one in (FINE, HANGS):
        made = evidence(one, handshakes=tuple(meeting(one)), shield=shield(revoked=("r.example",)))
        found = diagnose(made)
        assert (found.cause, found.action) == (Cause.CERTIFICATE_REVOKED, Action.REISSUE)
        assert (exit_status(found), found.shield_trouble) == (1, ("revoked",))
        assert "revoked the certificate of r.example" in found.sentence


def test_a_relay_that_does_not_answer_is_named_and_a_stall_behind_it_is_a_stall() -> None:
    down = diagnose(evidence(FINE, handshakes=tuple(meeting(FINE)), shield=shield(answering=False)))
    assert (down.cause, down.severity, down.action) == (Cause.SHIELD_DOWN, Severity.FAILING, Action.FIX_HERE)
    slow = diagnose(stalled(FINE, shield=shield(answering=False)))
    assert (slow.severity, slow.action) == (Severity.STALLING, Action.TURN_OFF)


def test_stalls_behind_healthy_responders_stay_unexplained_but_are_ended() -> None:
    assert seen(diagnose(stalled(FINE))) == (Cause.UNKNOWN, Severity.STALLING, Action.TURN_OFF)


def test_a_server_that_is_slow_for_everybody_is_not_helped_by_turning_off() -> None:
    door = ("zeta0.example", "192.0.2.1", 443, FINE.url)
    slow = tuple(
        HandshakeEvidence(*door, asked=asked, seconds=3.5, error="timeout") for asked in (False, True)
    )

    assert seen(diagnose(evidence(FINE, handshakes=slow))) == (
        Cause.UNKNOWN,
        Severity.STALLING,
        Action.FIX_HERE,
    )


def for_all(one: ResponderEvidence, error: str, seconds: float = 3.5) -> tuple[HandshakeEvidence, ...]:
    """A site that fails in the same way for clients that ask for a staple and for those that do not."""
    return tuple(replace(each, error=error, seconds=seconds, staple="") for each in meeting(one))


def test_an_overloaded_server_is_not_blamed_on_a_responder_that_fails_at_once() -> None:
    """Any customer can have a certificate with a dead OCSP URL."""
    customers = responder("eta", v4=Outcome.REFUSED, sites=1)

    found = diagnose(evidence(customers, FINE, handshakes=for_all(FINE, "timeout")))

    assert seen(found) == (Cause.UNKNOWN, Severity.STALLING, Action.FIX_HERE)
    assert any("ocsp.eta.example" in fact for fact in found.reasons_against)


def test_a_hanging_responder_that_has_taken_all_workers_is_blamed_although_everybody_waits() -> None:
    assert diagnose(evidence(HANGS, handshakes=for_all(HANGS, "timeout"))).action is Action.TURN_OFF


@pytest.mark.parametrize(
    ("error", "seconds"), [("timeout", 3.5), ("", 2.0), ("tls: wrong version number", 0.01)]
)
@pytest.mark.parametrize("other", [FINE, responder("alpha", v4=Outcome.REFUSED)], ids=["healthy", "refusing"])
def test_one_site_that_fails_for_every_client_is_no_matter_of_stapling(
    error: str, seconds: float, other: ResponderEvidence
) -> None:
    lame = responder("lame")

    found = diagnose(evidence(lame, other, handshakes=(*for_all(lame, error, seconds), *meeting(other))))

    assert found.severity is not Severity.STALLING
    assert found.action is not Action.TURN_OFF


def test_no_answer_for_anybody_may_be_a_firewall_and_the_load_is_named_once() -> None:
    host = HostEvidence(load_normal=False, load_sentence="the load is high: 40")

    found = diagnose(evidence(FINE, host=host, handshakes=for_all(FINE, "timeout")))

    assert "no client in time" in found.sentence
    assert "firewall" in found.advice
    assert [*found.reasons_for, *found.reasons_against].count("The load is high: 40.") == 1


def test_a_slow_responder_whose_first_visitor_waits_is_not_said_to_be_quick() -> None:
    late = responder("late", v4=address("198.51.100.7", Outcome.OK, http_ms=2000.0))
    first = meeting(late, seconds=2.2)
    again = replace(first[1], seconds=0.01, repeated=True)

    found = diagnose(evidence(late, handshakes=(*first, again)))

    assert found.severity is Severity.NOISE
    assert "first visitor waits" in found.sentence


def test_an_alert_that_meets_every_client_is_not_taken_for_a_staples_fault() -> None:
    found = diagnose(evidence(FINE, handshakes=for_all(FINE, "tls: unrecognized name", 0.01)))

    assert seen(found) == (Cause.UNKNOWN, Severity.FAILING, Action.FIX_HERE)


def test_a_slow_first_fetch_beside_a_responder_that_fails_at_once_is_no_stall() -> None:
    customers = responder("eta", v4=Outcome.REFUSED, sites=1)
    first = meeting(FINE, seconds=1.4)
    again = replace(first[1], seconds=0.01, repeated=True)

    found = diagnose(evidence(customers, FINE, handshakes=(*first, again)))

    assert found.severity is Severity.FAILING
    assert any("eta0.example" in reason for reason in found.reasons_for)


def test_without_a_handshake_nothing_is_said_about_quickness() -> None:
    for one in (FINE, HANGS):
        found = diagnose(evidence(one, handshakes=()))

        assert "quickly" not in found.sentence


def test_a_hanging_responder_of_expired_certificates_stalls_and_one_that_refuses_is_nothing() -> None:
    hangs = responder(v4=Outcome.REPLY_TIMEOUT, expired_only=True)
    refuses = responder(v4=Outcome.REFUSED, expired_only=True)

    assert diagnose(stalled(hangs)).action is Action.TURN_OFF
    assert seen(diagnose(unstapled(refuses, FINE))) == seen(diagnose(unstapled(FINE)))
    assert seen(diagnose(unstapled(refuses))) == (Cause.NOT_APPLICABLE, Severity.NONE, Action.NOTHING)


def test_apache_that_stapling_without_a_cache_keeps_from_starting() -> None:
    host = HostEvidence(front=Server.NOBODY, front_sentence="nothing listens on port 443")
    log = LogEvidence(kinds={"startup-fatal-no-cache": 1})
    without = ConfigurationEvidence(has_cache=False)

    found = diagnose(evidence(FINE, host=host, log=log, handshakes=(), configuration=without))

    assert "without an SSLStaplingCache (AH01958)" in found.sentence


def test_one_slow_first_fetch_from_a_healthy_responder_is_no_stall() -> None:
    first = meeting(FINE, seconds=1.4)
    again = replace(first[1], seconds=0.01, repeated=True)

    found = diagnose(evidence(FINE, handshakes=(*first, again)))

    assert seen(found) == (Cause.HEALTHY, Severity.NONE, Action.NOTHING)


def test_right_but_slow_answers_are_noise_while_the_sites_are_quick() -> None:
    late = responder(v4=address("198.51.100.7", Outcome.OK, http_ms=2000.0))

    assert seen(diagnose(evidence(late))) == (Cause.CA_OUTAGE, Severity.NOISE, Action.WAIT_FOR_CA)


@pytest.mark.parametrize("make", [evidence, unstapled, stalled])
@pytest.mark.parametrize("outcome", [each for each in Outcome if each.is_good or each in list(Outcome)[6:]])
def test_turning_off_is_recommended_only_where_handshakes_stall(
    make: Callable[..., Evidence], outcome: Outcome
) -> None:
    found = diagnose(make(responder(v4=outcome), log=NOISE))

    assert (found.action is Action.TURN_OFF) == (make is stalled)


def test_a_red_status_page_beside_a_verified_answer_is_mentioned_and_no_more() -> None:
    page = AuthorityEvidence("Zeta", Level.OUTAGE, "the status page of Zeta reports an outage")

    found = diagnose(evidence(FINE, authorities=(page,)))

    assert seen(found) == (Cause.HEALTHY, Severity.NONE, Action.NOTHING)
    assert any("status page of Zeta" in reason for reason in found.reasons_against)


@pytest.mark.parametrize(
    ("origin", "cause"),
    [
        (Origin.PLUGIN, Cause.OFF_BY_PLUGIN),
        (Origin.HAND, Cause.OFF_ELSEWHERE),
        (Origin.WHM, Cause.OFF_ELSEWHERE),
        (Origin.DEFAULT, Cause.OFF_ELSEWHERE),
    ],
)
def test_off_with_healthy_responders_may_be_turned_on(origin: Origin, cause: Cause) -> None:
    off = ConfigurationEvidence(False, origin, "/etc/apache2/x.conf:3")

    assert seen(diagnose(unstapled(FINE, configuration=off))) == (cause, Severity.NONE, Action.TURN_ON)


def test_off_with_a_dead_responder_stays_off() -> None:
    found = diagnose(unstapled(HANGS, FINE, **OFF))

    assert seen(found) == (Cause.OFF_BY_PLUGIN, Severity.NONE, Action.WAIT_FOR_CA)
    assert found.afterwards is Action.TURN_ON
    assert "Keep it off" in found.advice
    assert found.sites == ()


@pytest.mark.parametrize("outcome", [Outcome.REVOKED, Outcome.ADDRESS_FORBIDDEN])
def test_one_customers_certificate_does_not_keep_stapling_off(outcome: Outcome) -> None:
    assert diagnose(unstapled(responder(v4=outcome, sites=1), FINE, **OFF)).action is Action.TURN_ON


def test_off_at_server_level_while_a_site_turns_it_on_for_itself() -> None:
    off = ConfigurationEvidence(False, Origin.PLUGIN, still_on=("alpha0.example",))

    found = diagnose(stalled(HANGS, configuration=off))

    assert (found.cause, found.action) == (Cause.OFF_BY_PLUGIN, Action.FIX_HERE)
    assert "alpha0.example" in found.sentence


@pytest.mark.parametrize(
    ("front", "make", "severity", "action"),
    [
        (Server.NGINX, evidence, Severity.NONE, Action.NOTHING),
        (Server.LITESPEED, evidence, Severity.NONE, Action.NOTHING),
        (Server.LITESPEED, stalled, Severity.STALLING, Action.TURN_OFF),
        (Server.OTHER, evidence, Severity.NONE, Action.NOTHING),
    ],
)
def test_another_server_in_front_of_apache(
    front: Server, make: Callable[..., Evidence], severity: Severity, action: Action
) -> None:
    host = HostEvidence(front=front, front_sentence=f"port 443 belongs to {front.value}")

    assert seen(diagnose(make(HANGS, host=host))) == (Cause.NOT_IN_FRONT, severity, action)


@pytest.mark.parametrize("front", [Server.NGINX, Server.OTHER])
def test_a_front_that_passes_tls_on_lets_visitors_meet_apaches_stall(front: Server) -> None:
    host = HostEvidence(front=front, front_sentence="port 443 belongs to haproxy")

    found = diagnose(stalled(HANGS, host=host))

    assert seen(found) == (Cause.CA_OUTAGE, Severity.STALLING, Action.TURN_OFF)
    assert any("haproxy, which passes TLS on to Apache" in text for text in found.reasons_for)


@pytest.mark.parametrize("front", [Server.NGINX, Server.OTHER])
def test_a_front_that_is_slow_while_no_responder_hangs_is_slow_by_itself(front: Server) -> None:
    found = diagnose(stalled(FINE, host=HostEvidence(front=front, front_sentence="port 443 belongs to it")))

    assert seen(found) == (Cause.NOT_IN_FRONT, Severity.STALLING, Action.FIX_HERE)


def test_apache_that_does_not_run_is_no_matter_of_stapling() -> None:
    host = HostEvidence(front=Server.NOBODY, front_sentence="nothing listens on port 443")
    refused = tuple(replace(each, error="refused", staple="") for each in meeting(FINE))

    found = diagnose(evidence(FINE, host=host, handshakes=refused))

    assert (found.cause, found.action) == (Cause.NOT_SERVED, Action.FIX_HERE)
    assert "Apache does not run" in found.sentence


def test_a_handshake_given_up_early_for_want_of_time_proves_no_stall() -> None:
    hurried = tuple(meeting(FINE, seconds=0.3, error="timeout", staple=""))

    assert diagnose(evidence(FINE, handshakes=hurried)).severity is not Severity.STALLING


def test_sites_that_could_not_be_met_are_not_called_quick() -> None:
    refused = tuple(replace(each, error="refused", staple="") for each in meeting(FINE))
    other = responder("eta")

    nobody = diagnose(evidence(FINE, handshakes=refused))
    some = diagnose(evidence(FINE, other, handshakes=(*refused, *meeting(other))))

    assert seen(nobody) == (Cause.UNKNOWN, Severity.FAILING, Action.FIX_HERE)
    assert some.cause is Cause.HEALTHY
    assert any("zeta0.example" in reason for reason in some.reasons_against)


def test_a_chain_without_its_issuer_is_named_when_nothing_is_worse() -> None:
    lame = (Site("lame.example", must_staple=True, chain_complete=False),)

    alone = diagnose(evidence(FINE, incomplete_chains=lame))
    beside = diagnose(stalled(HANGS, incomplete_chains=lame))

    assert seen(alone) == (Cause.CHAIN_INCOMPLETE, Severity.FAILING, Action.FIX_HERE)
    assert alone.must_staple == ("lame.example",)
    assert beside.cause is Cause.CA_OUTAGE
    assert any("lame.example" in reason for reason in beside.reasons_against)


def test_staples_missing_although_responders_are_healthy() -> None:
    found = diagnose(unstapled(FINE))
    assert seen(found) == (Cause.UNKNOWN, Severity.FAILING, Action.NOTHING)
    assert "Apache remembers a failed answer for 60 seconds" in found.advice
    assert (
        "Look again in an hour: the shield asks again within it (at once: ocsp-stapling shield refresh)"
        in diagnose(unstapled(FINE, shield=shield())).advice
    )


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


def test_the_sites_without_a_good_staple_are_named_beside_those_that_have_one() -> None:
    refuses = responder(v4=Outcome.REFUSED)
    made = evidence(refuses, FINE)
    bare = replace(meeting(refuses)[1], site="alpha1.example", staple="")
    assert "no good staple came from alpha1.example." in (
        diagnose(replace(made, handshakes=(*made.handshakes, bare))).sentence
    )


def test_what_could_not_be_gathered_is_said_and_lowers_the_confidence() -> None:
    found = diagnose(evidence(FINE, problems=("The error log could not be read.",)))

    assert "The error log could not be read." in found.reasons_against
    assert found.confidence.value == "medium"


def test_nothing_gathered_is_unknown_and_never_not_applicable() -> None:
    found = diagnose(evidence(problems=("The configuration could not be read.",)))

    assert (found.cause, found.severity) == (Cause.UNKNOWN, Severity.NONE)


@pytest.mark.parametrize("make", [evidence, unstapled, stalled])
@pytest.mark.parametrize("outcome", list(Outcome), ids=lambda each: each.value)
@pytest.mark.parametrize(
    "extra", [{}, OFF, {"host": HostEvidence(front=Server.NGINX)}], ids=["on", "off", "nginx"]
)
def test_every_diagnosis_ends_its_sentences(
    make: Callable[..., Evidence], outcome: Outcome, extra: dict[str, Any]
) -> None:
    found = diagnose(make(responder(v4=outcome), **extra))

    for text in (found.sentence, found.advice, *found.reasons_for, *found.reasons_against):
        assert text.endswith("."), text
        assert ".." not in text, text


def test_apache_that_died_of_stapling_is_revived_by_turning_it_off() -> None:
    host = HostEvidence(front=Server.NOBODY, apache_running=False)
    refused = tuple(replace(each, error="refused", staple="") for each in meeting(FINE))
    cases: tuple[dict[str, Any], ...] = (
        {
            "log": LogEvidence(kinds={"startup-fatal-no-cache": 1}),
            "configuration": ConfigurationEvidence(on=None, has_cache=False),
        },
        {"configuration": ConfigurationEvidence(has_cache=False)},
    )
    for more in cases:
        made = evidence(FINE, host=host, handshakes=refused, **more)
        found = diagnose(made)
        assert (found.cause, found.action) == (Cause.NO_CACHE, Action.TURN_OFF)
        assert "ocsp-stapling off" in found.advice
        assert exit_status(found) == 2


def test_where_nothing_staples_no_line_of_the_log_says_that_apache_died_of_it() -> None:
    """Under mod_cgid any script writes such a line; whoever believes it leaves Apache down for longer."""
    host = HostEvidence(front=Server.NOBODY, apache_running=False)
    log = LogEvidence(kinds={"startup-fatal-no-cache": 9})
    off = ConfigurationEvidence(on=False, has_cache=False)

    found = diagnose(evidence(FINE, host=host, handshakes=(), log=log, configuration=off))

    assert (found.cause, found.advice.startswith("Start Apache")) == (Cause.NOT_SERVED, True)


CACHE = SteeringLine("SSLStaplingCache", "dbm:/root/nowhere", "/pre.conf:1")


def test_a_cache_that_apache_cannot_set_up_is_mended_and_not_turned_off() -> None:
    host = HostEvidence(
        front=Server.NOBODY, apache_running=False, front_sentence="nothing listens on port 443"
    )
    log = LogEvidence(kinds={"startup-fatal-no-cache": 1})
    made = evidence(FINE, host=host, log=log, handshakes=(), configuration=ConfigurationEvidence(cache=CACHE))

    found = diagnose(made)

    assert (found.cause, found.action, exit_status(found)) == (Cause.NO_CACHE, Action.FIX_HERE, 2)
    assert "dbm:/root/nowhere, /pre.conf:1" in found.sentence
    assert "would not be enough" in found.advice
    assert found.advice.startswith("Start Apache")  # before anybody mends a line that a forged one blames


@pytest.mark.parametrize(
    ("more", "severity"),
    [({}, Severity.FAILING), ({"seconds": 1.4, "error": "timeout", "staple": ""}, Severity.STALLING)],
)
def test_a_cache_that_keeps_nothing_is_the_cause_while_responders_are_in_order(
    more: dict[str, Any], severity: Severity
) -> None:
    log = LogEvidence(last_hour=9, last_day=9, fresh_unkept=3)
    made = tuple(meeting(FINE, **more))

    found = diagnose(
        evidence(FINE, log=log, handshakes=made, configuration=ConfigurationEvidence(cache=CACHE))
    )

    assert (found.cause, found.severity, found.action) == (Cause.CACHE_BROKEN, severity, Action.FIX_HERE)
    assert "dbm:/root/nowhere, /pre.conf:1" in found.sentence
    one = diagnose(evidence(FINE, log=replace(log, fresh_unkept=1)))
    assert one.cause is Cause.HEALTHY


def test_an_answer_later_than_apaches_own_time_out_is_no_answer() -> None:
    slow = timed(responder("alpha", address(V4, Outcome.OK, http_ms=2000.0)), 1)

    found = diagnose(unstapled(slow, FINE))

    assert (found.cause, found.severity) == (Cause.CA_OUTAGE, Severity.FAILING)
    assert "Apache gives up after 1 s (SSLStaplingResponderTimeout)" in found.sentence
    assert "slowly" in diagnose(unstapled(timed(slow, 3), FINE)).sentence


BROKEN = (
    "AH00526: Syntax error on line 6 of /x.conf:\nSSLStaplingCache cannot occur within <VirtualHost> section"
)


def test_what_httpd_refuses_comes_before_any_advice_to_switch() -> None:
    found = diagnose(stalled(HANGS, configuration=ConfigurationEvidence(refused=BROKEN)))
    assert (found.severity, found.action, found.afterwards) == (
        Severity.STALLING,
        Action.FIX_HERE,
        Action.TURN_OFF,
    )
    assert found.sentence.startswith("Apache refuses its configuration")
    assert "line 6 of /x.conf" in found.reasons_for[0]


def test_a_refused_configuration_of_a_healthy_server_is_a_warning() -> None:
    found = diagnose(evidence(FINE, configuration=ConfigurationEvidence(refused=BROKEN)))
    assert (found.cause, exit_status(found)) == (Cause.CONFIG_BROKEN, 1)


def test_sites_that_turn_stapling_on_themselves_are_named_with_the_way_to_turn_them_off() -> None:
    own = OwnSwitch("alpha0.example", "/u/ssl/2_4/x.conf:1", True)
    found = diagnose(stalled(HANGS, configuration=ConfigurationEvidence(own_on=(own,))))
    assert "ocsp-stapling off --overrides" in found.advice
    by_hand = OwnSwitch("alpha1.example", "/c/y.conf:7", False)
    found = diagnose(stalled(HANGS, configuration=ConfigurationEvidence(own_on=(own, by_hand))))
    assert "alpha1.example (/c/y.conf:7)" in found.advice


SMALL = ConfigurationEvidence(cache_places=168, stapled_certificates=300)


def test_a_cache_that_is_too_small_is_no_ok_however_quick_the_check_was_served() -> None:
    found = diagnose(evidence(FINE, configuration=SMALL, handshakes=tuple(meeting(FINE))))
    assert (found.cause, found.severity, exit_status(found)) == (Cause.CACHE_TOO_SMALL, Severity.FAILING, 1)
    assert "ocsp-stapling cache fit" in found.advice
    assert "1228800 bytes" in found.advice
    assert (
        "holds 168 staples and 300 certificates need one, so Apache asks for all of them again"
        in found.sentence
    )


def test_a_first_wait_with_a_cache_that_is_too_small_comes_again_and_again() -> None:
    slow = meeting(FINE, seconds=2.0)
    once = (*slow, replace(slow[1], seconds=0.01, repeated=True))
    assert diagnose(evidence(FINE, handshakes=once)).severity is not Severity.STALLING
    found = diagnose(evidence(FINE, handshakes=once, configuration=SMALL))
    assert (found.cause, found.severity) == (Cause.CACHE_TOO_SMALL, Severity.STALLING)
    assert "up to 2.0 s" in found.sentence
    assert found.waiting


def test_a_cache_that_is_too_small_is_named_beside_another_cause() -> None:
    found = diagnose(stalled(HANGS, configuration=SMALL))
    assert found.cause is not Cause.CACHE_TOO_SMALL
    assert any("ocsp-stapling cache fit" in fact for fact in found.reasons_against)


@pytest.mark.parametrize("more", [{"cache_places": None}, {"cache_places": 689}, {"on": False}])
def test_a_cache_that_is_large_enough_is_none(more: dict[str, Any]) -> None:
    made = evidence(FINE, configuration=replace(SMALL, **more), handshakes=tuple(meeting(FINE)))
    assert diagnose(made).cause is not Cause.CACHE_TOO_SMALL


def test_a_certificate_that_cannot_be_read_forbids_that_all_is_well() -> None:
    unknown = (Site("odd.example"),)
    for made in (evidence(FINE, handshakes=tuple(meeting(FINE))), evidence()):
        found = diagnose(replace(made, unreadable=unknown))
        assert found.cause is not Cause.NOT_APPLICABLE
        assert exit_status(found) == 1
        assert "odd.example" in found.sentence


def test_a_certificate_that_demands_a_staple_nobody_can_give_is_a_warning() -> None:
    strict = (Site("strict.example", must_staple=True),)
    for made in (evidence(FINE, handshakes=tuple(meeting(FINE))), evidence()):
        found = diagnose(replace(made, never_stapled=strict))
        assert (found.cause, found.action, exit_status(found)) == (
            Cause.MUST_STAPLE_WITHOUT_URL,
            Action.REISSUE,
            1,
        )


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


def test_a_certificate_that_demands_a_staple_which_nobody_gives_is_a_warning_whatever_else_holds() -> None:
    strict = (Site("strict.example", must_staple=True),)
    found = diagnose(evidence(FINE, never_stapled=strict, handshakes=tuple(meeting(FINE))))
    assert (found.cause, exit_status(found)) == (Cause.MUST_STAPLE_WITHOUT_URL, 1)
    found = diagnose(stalled(HANGS, never_stapled=strict))
    assert found.cause is not Cause.MUST_STAPLE_WITHOUT_URL
    assert any("strict.example" in fact for fact in found.reasons_against)
    front = HostEvidence(front=Server.NGINX, front_sentence="port 443 belongs to nginx")
    found = diagnose(evidence(FINE, never_stapled=strict, host=front))
    assert exit_status(found) == 1


def test_a_revoked_certificate_is_named_with_its_site_and_serial_number() -> None:
    revoked = replace(responder(v4=Outcome.REVOKED), serial="0A1B")
    revoked = replace(revoked, sites=revoked.sites[:1])
    found = diagnose(evidence(FINE, revoked))
    assert found.cause is Cause.CERTIFICATE_REVOKED
    assert f"the certificate of {revoked.sites[0].name} (serial 0A1B) is revoked" in found.sentence
    unknown = replace(revoked, finding=responder(v4=Outcome.UNKNOWN).finding)
    found = diagnose(evidence(FINE, unknown))
    assert (
        f"its answer about the certificate of {revoked.sites[0].name} (serial 0A1B) is wrong"
        in found.sentence
    )


def test_a_cause_that_others_would_explain_as_well_is_marked_as_inferred() -> None:
    assert diagnose(stalled(HANGS)).inferred
    assert not diagnose(evidence(FINE, handshakes=tuple(meeting(FINE)))).inferred


def test_a_site_that_browsers_refuse_without_a_staple_and_that_is_sent_none_is_a_warning() -> None:
    strict = responder("alpha", must_staple=True)
    met = (*meeting(FINE), *meeting(strict, staple=""))
    found = diagnose(evidence(FINE, strict, handshakes=met))
    assert (found.severity, found.must_staple, exit_status(found)) == (
        Severity.FAILING,
        ("alpha0.example",),
        1,
    )
    assert "Firefox refuses alpha0.example" in found.sentence


def test_in_an_outage_the_shield_is_recommended_and_turning_off_is_the_fallback() -> None:
    outage = replace(stalled(HANGS, FINE), shield_offered=True)
    found = diagnose(outage)
    assert (found.recommended, found.action) == (Action.SHIELD_ON, Action.TURN_OFF)
    assert found.advice.index("ocsp-stapling shield on") < found.advice.index("ocsp-stapling off")


def test_the_shield_is_not_recommended_where_it_cannot_be_or_nobody_waits() -> None:
    outage = replace(stalled(HANGS, FINE), shield_offered=True)
    behind = replace(outage, host=replace(outage.host, front=Server.NGINX))
    quick = replace(evidence(HANGS, FINE), shield_offered=True)
    for one in (stalled(HANGS, FINE), behind, quick, replace(evidence(FINE), shield_offered=True)):
        assert diagnose(one).recommended is Action.NOTHING


def test_the_place_that_httpd_refuses_is_in_the_first_sentence() -> None:
    broken = ConfigurationEvidence(refused=BROKEN, refused_at="/x.conf line 6")
    for made in (stalled(HANGS, configuration=broken), evidence(FINE, configuration=broken)):
        assert diagnose(made).sentence.startswith("Apache refuses its configuration (/x.conf line 6)")


def test_a_line_of_an_own_template_that_turns_stapling_off_is_named_there() -> None:
    where = "/var/cpanel/templates/apache2_4/ea4_main.local:30"
    found = diagnose(evidence(FINE, configuration=ConfigurationEvidence(False, Origin.OWN_TEMPLATE, where)))
    assert found.cause is Cause.OFF_ELSEWHERE
    assert f"own template ({where})" in found.sentence
    assert "an edit of httpd.conf would be lost" in found.sentence


def test_a_front_that_serves_no_client_at_all_is_no_stall_of_stapling() -> None:
    front = HostEvidence(front=Server.NGINX, front_sentence="port 443 belongs to nginx")
    dead = [replace(each, seconds=3.5, error="timeout", staple="") for each in meeting(FINE)]
    made = evidence(FINE, host=front, handshakes=tuple(dead))
    found = diagnose(made)
    assert (found.cause, found.severity, exit_status(found)) == (Cause.NOT_IN_FRONT, Severity.FAILING, 1)
    assert document(made, found)["slowest_handshake_seconds"] is None
    assert "It serves no client in time" in found.sentence


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


@pytest.mark.parametrize(
    ("asked", "confidence", "told"),
    [
        (
            AskedCertificates(500, 81, 0),
            "high",
            "Asked about 81 of 500 certificates, each by itself: the next",
        ),
        (
            AskedCertificates(500, 81, 1),
            "medium",
            "; 1 Must-Staple certificate among those left out: the next",
        ),
        (AskedCertificates(81, 81, 0), "high", ""),
    ],
)
def test_certificates_that_were_not_asked_about_are_counted_beside_the_all_clear(
    asked: AskedCertificates, confidence: str, told: str
) -> None:
    found = diagnose(evidence(responder("alpha"), asked=asked))

    assert (found.cause, found.confidence.value) == (Cause.HEALTHY, confidence)
    assert [text for text in found.reasons_against if "Asked about" in text and told in text] or not told
    assert any("Asked about" in text for text in found.reasons_against) is bool(told)


def test_what_was_not_asked_in_time_is_not_said_to_fail_at_once() -> None:
    late = responder(fault=Outcome.DEADLINE)
    found = diagnose(evidence(late))
    assert found.cause is Cause.UNKNOWN
    assert "at once" not in repr(found)
    several = [responder(name, v4=Outcome.NOT_HTTP) for name in ("beta", "gamma")]
    (told,) = diagnose(evidence(late, *several)).reasons_against
    assert told == (
        "Besides, 2 of 3 responders fail at once, which holds nobody up: ocsp.beta.example, ocsp.gamma.example."
    )


def test_of_a_site_with_two_certificates_only_the_url_at_fault_is_said_to_stand_in_one() -> None:
    site = Site("both.example", "account", where="/etc/apache2/conf/httpd.conf:57")
    hangs = replace(responder("rsa", v4=Outcome.REPLY_TIMEOUT), sites=(site,))
    fine = replace(responder("ecdsa"), sites=(site, Site("other.example", "other")))
    found = diagnose(stalled(hangs, fine))
    assert found.action is Action.TURN_OFF_SITE
    assert [text for text in found.reasons_for if "stands in" in text] == [
        "http://ocsp.rsa.example stands in the certificate of both.example (account account, "
        "/etc/apache2/conf/httpd.conf:57)."
    ]


@pytest.mark.parametrize(("each", "tenth"), [(3.0, "30 s"), (27.0, "270 s"), (120.0, "20 minutes")])
def test_the_wait_of_the_tenth_is_told_in_the_unit_that_fits(each: float, tenth: str) -> None:
    assert queue_words(each).endswith(f"the tenth waits {tenth}")


def test_the_effect_of_an_apache_that_does_not_run_is_that_no_site_is_served() -> None:
    down = HostEvidence(front=Server.NOBODY, apache_running=False)
    refused = tuple(replace(each, error="refused", staple="") for each in evidence(FINE).handshakes)
    made = evidence(FINE, host=down, handshakes=refused)
    assert harm_words(document(made, diagnose(made))) == "no site is served"


def test_handshakes_that_are_broken_off_alarm_unless_the_next_try_is_served() -> None:
    """A restart in the middle of a check breaks connections off, too."""
    bad = responder(fault=Outcome.URL_UNUSABLE)
    made = evidence(bad, handshakes=tuple(meeting(bad, error="reset", staple="")))
    assert diagnose(made).severity is Severity.STALLING
    again = replace(made.handshakes[-1], repeated=True, error="")
    assert diagnose(replace(made, handshakes=(*made.handshakes, again))).severity is Severity.FAILING
    plain, asked = made.handshakes
    everybody = replace(made, handshakes=(replace(plain, error="reset"), asked))
    assert diagnose(everybody).severity is Severity.FAILING
