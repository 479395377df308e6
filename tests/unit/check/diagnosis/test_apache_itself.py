"""What is not the responder's: Apache that is down, its cache, its configuration, stapling off, a server in front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.check.diagnosis import Action, Cause, Severity, diagnose
from ocsp_stapling.check.evidence import (
    ConfigurationEvidence,
    Evidence,
    HostEvidence,
    LogEvidence,
    OwnSwitch,
    ResponderEvidence,
    SteeringLine,
)
from ocsp_stapling.check.incident.look import look_at
from ocsp_stapling.check.report import document, exit_status
from ocsp_stapling.cli.check_text import as_text
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.watch.observe import is_stalled
from tests.unit.check.diagnosis.made import (
    FINE,
    HANGS,
    NOISE,
    OFF,
    V4,
    evidence,
    meeting,
    seen,
    stalled,
    unstapled,
)


def test_lines_about_the_cache_prove_nothing_of_one_in_shared_memory() -> None:
    """Any customer's responder can send answers too large for a place in it, or a script write such lines."""
    shared = ConfigurationEvidence(cache=SteeringLine("SSLStaplingCache", "shmcb:/run/x(256000)", "/a:1"))
    log = replace(NOISE, fresh_unkept=9)
    assert diagnose(evidence(FINE, log=log, configuration=shared)).cause is Cause.HEALTHY
    waiting = stalled(FINE, log=log, configuration=shared)
    assert diagnose(waiting).action is Action.TURN_OFF


def test_apache_that_stapling_without_a_cache_keeps_from_starting() -> None:
    host = HostEvidence(front=Server.NOBODY, front_sentence="nothing listens on port 443")
    log = LogEvidence(kinds={"startup-fatal-no-cache": 1})
    without = ConfigurationEvidence(has_cache=False)

    found = diagnose(evidence(FINE, host=host, log=log, handshakes=(), configuration=without))

    assert "without an SSLStaplingCache (AH01958)" in found.sentence


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


def test_with_apache_down_all_sites_are_and_no_certificate_causes_it() -> None:
    host = HostEvidence(front=Server.NOBODY, apache_running=False)
    names = ("a.test", "b.test", "b.test:8443")
    made = replace(evidence(HANGS, handshakes=(), host=host), names=names)
    told = document(made, diagnose(made))
    assert (told["cause"], told["sites_affected"], told["site_count"]) == ("not-served", [*names], 3)
    assert "sites_affected=3" in as_text(told).splitlines()[0]
    assert look_at(told, "check").sites == 0


ASK_BESIDE = (Server.NGINX, Server.LITESPEED, Server.OPENLITESPEED, Server.HAPROXY, Server.CADDY)


@pytest.mark.parametrize("of", [FINE, HANGS], ids=["all answer", "one hangs"])
@pytest.mark.parametrize("front", [*ASK_BESIDE, Server.OTHER_HTTPD, Server.OTHER])
def test_a_front_that_serves_no_client_at_all_is_no_stall_of_stapling(
    front: Server, of: ResponderEvidence
) -> None:
    host = HostEvidence(front=front, front_sentence="port 443 belongs to another")
    dead = [replace(each, seconds=3.5, error="timeout", staple="") for each in meeting(of)]
    made = evidence(of, host=host, handshakes=tuple(dead))

    found = diagnose(made)

    calm = front in ASK_BESIDE
    assert seen(found)[:2] == (Cause.NOT_IN_FRONT, Severity.NONE if calm else Severity.FAILING)
    assert exit_status(found) == (0 if calm else 1)
    assert "It serves no client in time" in found.sentence
    assert "no matter of stapling" in found.sentence
    assert "ocsp-stapling off" not in found.advice
    told = document(made, found)
    assert told["slowest_handshake_seconds"] is None
    text = as_text(told)
    assert "the server in front serves nobody in time" in text
    assert "visitors notice nothing" not in text
    assert "quickly" not in text
    assert not look_at(told, "check").opens or not calm
    assert not is_stalled(told)


@pytest.mark.parametrize(
    ("front", "who"),
    [
        (Server.HITCH, "Hitch, not Apache"),
        (Server.CADDY, "Caddy, not Apache"),
        (Server.HAPROXY, "HAProxy, and through it perhaps Apache"),
        (Server.OTHER, "another program, and through it perhaps Apache"),
        (Server.OTHER_HTTPD, "another Apache, not the one of this server's sites"),
    ],
)
def test_what_may_pass_tls_on_is_not_said_to_stand_in_apaches_place(front: Server, who: str) -> None:
    host = HostEvidence(front=front, front_sentence="port 443 belongs to it")
    found = diagnose(evidence(FINE, host=host, handshakes=tuple(meeting(FINE))))
    assert found.sentence == f"Visitors reach {who}: port 443 belongs to it."


@pytest.mark.parametrize("front", [Server.NGINX, Server.HAPROXY, Server.OTHER])
def test_where_apache_waits_for_a_responder_meanwhile_a_front_may_be_late_through_apache(
    front: Server,
) -> None:
    """With all of Apache's workers taken, whoever meets them through a front waits, asked for a staple or not."""
    host = HostEvidence(front=front, front_sentence="port 443 belongs to another")
    dead = tuple(replace(each, seconds=3.5, error="timeout", staple="") for each in meeting(HANGS))

    found = diagnose(evidence(HANGS, host=host, handshakes=dead, apache_asks={f"{V4}:80": 0.9}))

    assert (found.cause, found.severity) == (Cause.CA_OUTAGE, Severity.STALLING)
    assert any("seems to pass TLS on" in told for told in found.reasons_for)
    assert "only those that ask" not in " ".join((found.sentence, *found.reasons_for, *found.reasons_against))


@pytest.mark.parametrize("front", [*ASK_BESIDE, Server.OTHER_HTTPD, Server.OTHER])
def test_where_only_those_that_ask_for_a_staple_wait_it_is_a_stall_whoever_is_in_front(front: Server) -> None:
    assert diagnose(stalled(HANGS, host=HostEvidence(front=front))).severity is Severity.STALLING
