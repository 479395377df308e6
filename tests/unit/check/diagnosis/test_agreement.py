"""Headline, sentences, exit status, performance data and table of one check never contradict each other."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.check import report
from ocsp_stapling.check.diagnosis import Cause, Diagnosis, diagnose
from ocsp_stapling.check.evidence import (
    ConfigurationEvidence,
    Elsewhere,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    NameState,
    OwnSwitch,
    PublicAddresses,
    ResponderEvidence,
    Site,
    SteeringLine,
)
from ocsp_stapling.check.ticket import READERS, ticket
from ocsp_stapling.cli.check_text import as_text
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.host.routes import Ipv6Kind
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.shield.standing import ShieldedResponder, ShieldEvidence
from ocsp_stapling.text import place_of
from ocsp_stapling.web.restricted import restricted
from ocsp_stapling.whm.accounts import Visible
from tests.unit.check.diagnosis.agreement import Document, contradictions, first_line_is_the_verdict
from tests.unit.check.diagnosis.made import V4, V6, address, evidence, responder

ROUNDS = 1500
_ENDINGS = (
    (0.01, "", "good"),
    (0.01, "", "good"),
    (0.01, "", ""),
    (0.01, "", "revoked"),
    (0.01, "", "try-later"),
    (2.0, "", "good"),
    (2.0, "", ""),
    (3.5, "timeout", ""),
    (0.02, "tls: tlsv1 alert internal error", ""),
    (0.0, "refused", ""),
    (0.01, "reset", ""),
)


def made_responder(chance: random.Random, number: int) -> ResponderEvidence:
    if chance.random() < 0.15:
        fault = chance.choice(
            (Outcome.DNS_FAILURE, Outcome.DNS_TIMEOUT, Outcome.URL_UNUSABLE, Outcome.DEADLINE)
        )
        return responder(f"r{number}", fault=fault, must_staple=chance.random() < 0.3)
    good = chance.random() < 0.5
    first, second = (Outcome.OK, Outcome.OK) if good else chance.choices(list(Outcome), k=2)
    slow = {"http_ms": 2000.0} if chance.random() < 0.2 else {}
    v4 = address(V4, first, **(slow if first.is_good else {}))
    return responder(f"r{number}", v4, address(V6, second), sites=chance.randint(1, 3))


def made_handshakes(chance: random.Random, found: list[ResponderEvidence]) -> list[HandshakeEvidence]:
    made = []
    for one in found:
        for site in one.sites:
            seconds, error, staple = chance.choice(_ENDINGS)
            door = (site.name, "192.0.2.1", 443, one.url)
            asked = HandshakeEvidence(*door, asked=True, seconds=seconds, error=error, staple=staple)
            made.append(asked)
            if chance.random() < 0.6:
                plain_seconds, plain_error, _ = (
                    chance.choice(_ENDINGS) if chance.random() < 0.2 else (0.01, "", "")
                )
                made.append(HandshakeEvidence(*door, asked=False, seconds=plain_seconds, error=plain_error))
            if seconds == 2.0 and staple and chance.random() < 0.7:
                again = chance.choice(((0.01, "", "good"), (2.0, "", "good"), (1.0, "timeout", "")))
                made.append(replace(asked, seconds=again[0], error=again[1], staple=again[2], repeated=True))
    return made


def made_evidence(chance: random.Random) -> Evidence:
    found = [made_responder(chance, number) for number in range(chance.choice((0, 1, 1, 2, 3)))]
    places = chance.choice((None, 168))
    on = chance.random() < 0.85
    origin = Origin.TEMPLATE if on else Origin.PLUGIN
    count = chance.choice((9, 300))
    configuration = ConfigurationEvidence(on, origin, cache_places=places, stapled_certificates=count)
    more: dict[str, Any] = {
        "handshakes": tuple(made_handshakes(chance, found)) if chance.random() < 0.9 else (),
        "configuration": configuration,
        "log": LogEvidence(last_day=chance.choice((0, 9)), fresh_timeouts=chance.choice((0, 0, 3))),
        "host": HostEvidence(
            front=chance.choice((Server.HTTPD,) * 10 + (*Server,)),
            apache_running=chance.random() < 0.95,
        ),
        "incomplete_chains": (Site("bare.example"),) if chance.random() < 0.1 else (),
        "unreadable": (Site("odd.example"),) if chance.random() < 0.1 else (),
    }
    if more["host"].front is not Server.HTTPD and chance.random() < 0.3:  # it serves nobody at all
        more["handshakes"] = tuple(
            replace(each, seconds=3.5, error="timeout", staple="") for each in more["handshakes"]
        )
    return evidence(*found, **more)


_CAUSES_OF_ITS_OWN = (
    Outcome.DNS_FAILURE,
    Outcome.ADDRESS_FORBIDDEN,
    Outcome.CONNECT_TIMEOUT,
    Outcome.STALE,
    Outcome.NOT_YET_VALID,
)


def of_a_real_server(chance: random.Random, made: Evidence) -> Evidence:
    """The same with accounts, name servers, lines, clock, cache, shield and whatever else real servers have."""

    def maybe(one: Any, other: Any, odds: float = 0.1) -> Any:
        return one if chance.random() < odds else other

    owners = tuple(chance.choice(("ann", "bob", "")) for _ in range(4))
    line = SteeringLine("SSLStaplingCache", maybe("memcache:localhost", "shmcb:x(9)", 0.5), "/c.conf:3")
    proxy = SteeringLine("SSLOCSPProxyURL", "http://proxy.example:3128", "/c.conf:4")
    ahead = maybe(7200.0, None, 0.2)

    def lived_in(one: ResponderEvidence, number: int) -> ResponderEvidence:
        found, fault = one.finding, maybe(chance.choice(_CAUSES_OF_ITS_OWN), None, 0.3)
        if fault and found.addresses:
            only = found.addresses[: chance.choice((1, 2))]
            bad = tuple(address(each.address, fault, clock_ahead=ahead) for each in only)
            found = replace(found, addresses=(*bad, *found.addresses[len(bad) :]))
        public = PublicAddresses(("192.0.2.9",), maybe(("192.0.2.9",), (), 0.7), "192.0.2.53")
        return replace(
            one,
            finding=replace(found, resolve_ms=maybe(5000.0, 1.0)),
            sites=tuple(
                replace(site, owner=owners[number], stapling=maybe(False, True)) for site in one.sites
            ),
            name_state=chance.choice(list(NameState)),
            public=maybe(public, None),
            blocked_by=maybe(("a rule",), ()),
            shared=maybe(True, False, 0.5),
            steering=maybe((replace(proxy, of_site=True),), ()),
            elsewhere=maybe((Elsewhere("b", one.url, maybe(True, False, 0.5), "It works there."),), ()),
            expired_only=maybe(True, False),
        )

    responders = tuple(lived_in(one, number) for number, one in enumerate(made.responders))
    first = responders[0].url if responders else ""
    off = not made.configuration.on
    sites = tuple(site for one in responders for site in one.sites if site.stapling)
    end = made.taken_at + timedelta(hours=chance.choice((-2, 5, 90)))
    held = tuple(ShieldedResponder(one.finding.host, 1, earliest_end=end) for one in responders)
    shield = ShieldEvidence(
        maybe(False, True), 1, 2, revoked=maybe(("a.example",), ()), responders=held, earliest_end=end
    )
    configuration = replace(
        made.configuration,
        origin=chance.choice(list(Origin)) if off else Origin.TEMPLATE,
        where="/c.conf:1",
        still_on=maybe(("own.example",), ()) if off else (),
        force_url=maybe(SteeringLine("SSLStaplingForceURL", first, "/c.conf:2"), None, 0.05),
        proxy=maybe(proxy, None, 0.05),
        own_on=maybe((OwnSwitch("own.example", "/c.conf:9", userdata=True),), ()),
        refused=maybe("AH00526: Syntax error", "", 0.05),
        has_cache=maybe(False, True, 0.05),
        cache=line,
        cache_places=maybe(168, 4000),
        max_age=maybe(SteeringLine("SSLStaplingResponseMaxAge", "60", "/c.conf:5"), None, 0.05),
        md_stapling=maybe(SteeringLine("MDStapling", "on", "/c.conf:6"), None, 0.05),
    )
    host = replace(
        made.host,
        front=chance.choice(list(Server)) if chance.random() < 0.15 else Server.HTTPD,
        front_sentence="another program holds port 443",
        ipv6=chance.choice(list(Ipv6Kind)),
        load_normal=maybe(False, True),
        selinux_denies=maybe(True, False, 0.05),
        tracking_full=maybe("the table is full (9 of 9).", "", 0.05),
    )
    asked_for_long = {place_of(V4, 80): 0.9} | maybe({"192.0.2.77:80": 0.9}, {}, 0.3)
    return replace(
        made,
        responders=responders,
        stapling=sites,
        configuration=configuration,
        host=host,
        apache_asks=maybe(asked_for_long, {}, 0.3),
        log=replace(
            made.log,
            fresh_unkept=maybe(5, 0),
            kinds=maybe({"startup-fatal-no-cache": 1}, {}),
        ),
        never_stapled=maybe((Site("ended.example", must_staple=True),), ()),
        strict_off=maybe((Site("off0.example", "ann", True, stapling=False, where="/c.conf:7"),), ()),
        turned_off=maybe((responder("off", maybe(Outcome.REPLY_TIMEOUT, Outcome.OK, 0.3)),), (), 0.5),
        unasked=maybe((Site("many.example", "bob"),), ()),
        shield=maybe(shield, None, 0.2),
        shield_offered=maybe(True, False, 0.5),
        problems=maybe(("The log was not read in time.",), ()),
    )


def as_a_viewer_sees_it(made: Evidence) -> Evidence:
    own = frozenset(site.name for one in made.responders for site in one.sites if site.owner == "ann")
    return restricted(made, Visible(own | {"off0.example"}))


def judged(made: Evidence) -> Document:
    return report.document(made, diagnose(made))


def said(found: Diagnosis) -> str:
    return " ".join((found.sentence, *found.reasons_for, *found.reasons_against))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
def test_no_generated_evidence_makes_a_check_contradict_itself(seed: int) -> None:
    chance = random.Random(seed)
    documents = [judged(made_evidence(chance)) for _ in range(ROUNDS)]
    found = [one for document in documents for one in contradictions(document)]
    assert not found, f"{len(found)}: {found[:5]}"
    assert all(first_line_is_the_verdict(document) for document in documents[::10])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
def test_nor_does_that_of_a_real_server_for_root_or_viewer_whatever_the_cause(seed: int) -> None:
    chance = random.Random(seed)
    every = [of_a_real_server(chance, made_evidence(chance)) for _ in range(ROUNDS)]
    documents = [judged(one) for one in every]
    if seed == 0:  # a rare cause may be drawn in no round of another
        assert {one["cause"] for one in documents} == {cause.value for cause in Cause}, "each is reached"
    documents += [judged(as_a_viewer_sees_it(one)) for one in every]
    found = [one for document in documents for one in contradictions(document)]
    assert not found, f"{len(found)}: {found[:5]}"
    assert all(first_line_is_the_verdict(document) for document in documents[::10])


@pytest.mark.parametrize("reader", READERS)
def test_a_redacted_ticket_about_whatever_server_names_no_site_and_no_account(reader: str) -> None:
    chance = random.Random(1)
    for _ in range(ROUNDS // 10):
        made = of_a_real_server(chance, made_evidence(chance))
        off = tuple(OwnSwitch(each.name, each.where, userdata=True) for each in made.strict_off)
        made = replace(made, configuration=replace(made.configuration, own_off=off))
        if chance.random() < 0.2:
            made = replace(made, responders=(), problems=(), incomplete_chains=())
        sites = [site for one in (*made.responders, *made.turned_off) for site in one.sites]
        sites += [*made.strict_off, *made.unasked, *made.never_stapled]
        text = ticket(judged(made), reader, redact=True)
        for name in {site.name for site in sites} | {site.owner for site in sites} - {""}:
            assert not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text), text


def test_a_cache_that_is_too_small_is_not_blamed_for_a_tls_alert() -> None:
    """An alert is none of the cache's doing, and nobody waits for it."""
    fine = responder("zeta")
    door = (fine.sites[0].name, "192.0.2.1", 443, fine.url)
    alert = HandshakeEvidence(*door, asked=True, seconds=0.02, error="tls: tlsv1 alert internal error")
    small = ConfigurationEvidence(cache_places=168, stapled_certificates=300)
    found = diagnose(evidence(fine, handshakes=(alert,), configuration=small))
    assert "wait" not in said(found)
    assert "aborted" in found.sentence


def test_a_first_handshake_that_was_quick_when_repeated_is_in_no_threshold() -> None:
    fine = responder("zeta")
    door = (fine.sites[0].name, "192.0.2.1", 443, fine.url)
    first = HandshakeEvidence(*door, asked=True, seconds=2.0, staple="good")
    made = evidence(fine, handshakes=(first, replace(first, seconds=0.01, repeated=True)))
    document = report.document(made, diagnose(made))
    assert (document["exit_status"], document["slowest_handshake_seconds"]) == (0, 0.01)
    assert "slowest_handshake=0.010s;1;1" in as_text(document)


def test_a_refused_handshake_took_no_time_that_counts() -> None:
    fine = responder("zeta")
    door = (fine.sites[0].name, "192.0.2.1", 443, fine.url)
    refused = HandshakeEvidence(*door, asked=True, seconds=4.0, error="refused")
    quick = HandshakeEvidence(*door, asked=True, seconds=0.01, staple="good")
    made = evidence(fine, handshakes=(refused, quick))
    assert report.document(made, diagnose(made))["slowest_handshake_seconds"] == 0.01
