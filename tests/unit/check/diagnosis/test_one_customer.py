"""One customer's certificates: what they cannot hide from others, nor cause for all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.check.diagnosis import Action, Cause, Severity, diagnose
from ocsp_stapling.check.diagnosis.explanation import can_hold_up
from ocsp_stapling.check.evidence import (
    AskedCertificates,
    ConfigurationEvidence,
    ResponderEvidence,
    Site,
)
from ocsp_stapling.check.report import exit_status
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import (
    FINE,
    NOISE,
    OFF,
    V4,
    address,
    evidence,
    meeting,
    responder,
    seen,
    stalled,
    unstapled,
)


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
    asks = {"44.0.0.9:80": 0.9, f"{V4}:80": 0.1, "44.0.0.7:80": 0.2}

    seen_so = diagnose(evidence(his, FINE, handshakes=waiting, apache_asks=asks))
    unseen_so = diagnose(evidence(his, FINE, handshakes=waiting, apache_asks={f"{V4}:80": 0.1}))
    both = {"44.0.0.9:80": 0.5, f"{V4}:80": 0.5}
    others = diagnose(evidence(his, FINE, handshakes=waiting, apache_asks=both))
    quick = diagnose(evidence(his, FINE, apache_asks=asks))

    assert seen(seen_so) == (Cause.UNKNOWN, Severity.STALLING, Action.TURN_OFF_SITE)
    assert (seen_so.alone, "ocsp.sly.example" in seen_so.sentence) == (("his.example",), True)
    assert "44.0.0.9:80 in 90% of the looks" in " ".join(seen_so.reasons_for)
    assert "ocsp-stapling off --site his.example" in seen_so.advice
    assert (unseen_so.action, others.action, quick.action) == (
        Action.TURN_OFF,
        Action.TURN_OFF,
        Action.NOTHING,
    )


def sly(outcome: Outcome = Outcome.OK) -> ResponderEvidence:
    found = address("44.0.0.9", outcome, failed_ms=None if outcome.is_good else 5.0)
    return replace(responder("sly", v4=found), sites=ONE_OF_MALLORY)


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.REFUSED])
def test_where_apache_asks_somebody_unknown_for_long_nobody_is_blamed_alone(outcome: Outcome) -> None:
    """His name leads Apache elsewhere than us, and he keeps Apache busy with an innocent's responder besides."""
    innocent = sly(outcome)
    waiting = tuple(meeting(innocent, seconds=3.0, error="timeout", staple=""))
    facts: dict[str, Any] = {"handshakes": waiting}
    known = {"44.0.0.9:80": 0.4}

    blamed = diagnose(evidence(innocent, FINE, apache_asks=known, **facts))
    hidden = diagnose(evidence(innocent, FINE, apache_asks={"44.0.0.8:80": 1.0} | known, **facts))

    assert (blamed.action, blamed.alone) == (Action.TURN_OFF_SITE, ("his.example",))
    assert (hidden.severity, hidden.action, hidden.alone) == (Severity.STALLING, Action.TURN_OFF, ())
    told = "Apache waits for 44.0.0.8:80 (100% of the looks), where no responder's name led this check."
    assert told in hidden.reasons_for
    assert "Apache waits for" not in " ".join((*blamed.reasons_for, *blamed.reasons_against))


def test_a_site_behind_apache_is_taken_for_no_responder() -> None:
    """Neither at the address of one, on another port, nor where it would hide who lets Apache alone wait."""
    his = sly()
    waiting = tuple(meeting(FINE, seconds=3.0, error="timeout", staple=""))

    def alone(*asked: str, **more: Any) -> tuple[str, ...]:
        asks = dict.fromkeys(asked, 1.0)
        return diagnose(evidence(his, FINE, handshakes=waiting, apache_asks=asks, **more)).alone

    assert alone("44.0.0.9:443") == ()
    assert alone("44.0.0.9:80", "127.0.0.1:3000") == ("his.example",)
    assert alone("44.0.0.9:80", "44.0.0.9:443", "[2001:db8::9]:8080") == ("his.example",)
    unread = (Site("odd.example"),)
    assert alone("44.0.0.9:80", "127.0.0.1:3000", unreadable=unread) == ()
    assert alone("44.0.0.9:80", "127.0.0.1:3000", unasked=unread) == ()


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


@pytest.mark.parametrize("outcome", [Outcome.REVOKED, Outcome.ADDRESS_FORBIDDEN])
def test_one_customers_certificate_does_not_keep_stapling_off(outcome: Outcome) -> None:
    assert diagnose(unstapled(responder(v4=outcome, sites=1), FINE, **OFF)).action is Action.TURN_ON


def test_a_certificate_that_cannot_be_read_forbids_that_all_is_well() -> None:
    unknown = (Site("odd.example"),)
    for made in (evidence(FINE, handshakes=tuple(meeting(FINE))), evidence()):
        found = diagnose(replace(made, unreadable=unknown))
        assert found.cause is not Cause.NOT_APPLICABLE
        assert exit_status(found) == 1
        assert "odd.example" in found.sentence


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


def owned(one: ResponderEvidence, owner: str) -> ResponderEvidence:
    return replace(one, sites=tuple(replace(site, owner=owner) for site in one.sites))


def test_one_customers_many_faults_leave_room_in_the_verdict_for_those_of_others() -> None:
    """Neither a revoked certificate of others nor their responder is "and 197 more"."""
    own = [owned(responder(f"aaa{n}", Outcome.HTTP_ERROR, sites=1), "mallory") for n in range(200)]
    revoked = replace(owned(responder("nu", Outcome.REVOKED, sites=1), "anna"), serial="A1")
    dead = replace(responder("zet", Outcome.HTTP_ERROR), shared=True)

    found = diagnose(evidence(*own, revoked, dead, FINE))
    besides = [
        replace(owned(responder(f"bbb{n}", Outcome.REVOKED, sites=1), "mallory"), serial=f"B{n}")
        for n in range(30)
    ]
    many = diagnose(evidence(*besides, *own, revoked, dead, FINE))

    told = " ".join((found.sentence, *found.reasons_against))
    assert "ocsp.zet.example" in told
    assert "nu0.example (serial A1)" in told
    assert "nu0.example (serial A1)" in " ".join((many.sentence, *many.reasons_against))
    assert len(" ".join(many.reasons_against)) < 2000
