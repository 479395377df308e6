"""Headline, sentences, exit status, performance data and table of one check never contradict each other."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.check import report
from ocsp_stapling.check.diagnosis import Diagnosis, diagnose
from ocsp_stapling.check.evidence import (
    ConfigurationEvidence,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    ResponderEvidence,
    Site,
)
from ocsp_stapling.cli.check_text import as_text
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.finding import Outcome
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
            front=chance.choice((Server.HTTPD,) * 8 + (Server.NGINX, Server.LITESPEED)),
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
