"""How bad it is: only handshakes decide, and turning off is advised only where they stall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.diagnosis import Action, Cause, Severity, diagnose
from ocsp_stapling.check.diagnosis.explanation import Confidence
from ocsp_stapling.check.diagnosis.handshakes import measure, queue_words
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    ConfigurationEvidence,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    ResponderEvidence,
    Site,
)
from ocsp_stapling.check.report import document, exit_status
from ocsp_stapling.check.words import harm_words
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import (
    FINE,
    HANGS,
    NOISE,
    OFF,
    address,
    evidence,
    meeting,
    responder,
    seen,
    stalled,
    unstapled,
)


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
    assert "allow_networks" in found.advice and "issued anew" not in found.advice
    assert "issued anew" in diagnose(unstapled(private, FINE)).advice
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


def test_error_lines_on_quick_sites_are_noise() -> None:
    found = diagnose(evidence(FINE, log=NOISE))

    assert seen(found) == (Cause.HEALTHY, Severity.NOISE, Action.NOTHING)
    assert any("900" in reason for reason in found.reasons_against)


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


def test_where_nothing_staples_no_line_of_the_log_says_that_apache_died_of_it() -> None:
    """Under mod_cgid any script writes such a line; whoever believes it leaves Apache down for longer."""
    host = HostEvidence(front=Server.NOBODY, apache_running=False)
    log = LogEvidence(kinds={"startup-fatal-no-cache": 9})
    off = ConfigurationEvidence(on=False, has_cache=False)

    found = diagnose(evidence(FINE, host=host, handshakes=(), log=log, configuration=off))

    assert (found.cause, found.advice.startswith("Start Apache")) == (Cause.NOT_SERVED, True)


def test_a_certificate_that_demands_a_staple_nobody_can_give_is_a_warning() -> None:
    strict = (Site("strict.example", must_staple=True),)
    for made in (evidence(FINE, handshakes=tuple(meeting(FINE))), evidence()):
        found = diagnose(replace(made, never_stapled=strict))
        assert (found.cause, found.action, exit_status(found)) == (
            Cause.MUST_STAPLE_WITHOUT_URL,
            Action.REISSUE,
            1,
        )


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


def test_a_quick_repeat_elsewhere_hides_no_worker_that_crashes_here() -> None:
    """One that crashes breaks off whomever else it serves, and these are served the next time."""
    bad = responder(fault=Outcome.URL_UNUSABLE)
    met = (*meeting(bad, error="reset", staple=""), *meeting(FINE, error="reset", staple=""))
    beside = replace(met[-1], repeated=True, error="")
    same, other = (replace(met[1], repeated=True, error=error) for error in ("", "reset"))

    crashes = measure(evidence(bad, FINE, handshakes=(*met, beside, other)))
    other_key = measure(evidence(bad, FINE, handshakes=(*met, beside, other, replace(same, key="ecdsa"))))
    restarted = measure(evidence(bad, FINE, handshakes=(*met, beside, same)))
    not_tried_again = measure(evidence(bad, FINE, handshakes=(*met, beside)))

    assert crashes.aborted == other_key.aborted == (met[1],)
    assert restarted.aborted == not_tried_again.aborted == ()


def test_the_responder_for_which_visitors_wait_leads_before_one_with_more_sites() -> None:
    many, few = (
        responder(name, Outcome.REPLY_TIMEOUT, sites=count) for name, count in (("many", 9), ("few", 1))
    )
    waits = meeting(few, seconds=3.5, error="timeout", staple="")
    found = diagnose(evidence(many, few, handshakes=(*meeting(many), *waits)))
    assert "lets no answer of ocsp.few.example reach" in found.sentence


def test_who_asks_for_no_staple_is_said_to_be_served_only_where_somebody_tried() -> None:
    served = "clients that ask for none are served at once"
    whole = stalled(HANGS)
    asking = tuple(each for each in whole.handshakes if each.asked)
    told = [
        " ".join(map(str, asdict(diagnose(each)).values()))
        for each in (whole, replace(whole, handshakes=asking))
    ]
    assert [served in each for each in told] == [True, False]
