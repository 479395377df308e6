"""Operators, not names, are independent witnesses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocsp_stapling.ca.directory import shipped
from ocsp_stapling.check.diagnosis import diagnose
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence
from ocsp_stapling.check.diagnosis.witnesses import by_operator
from ocsp_stapling.check.evidence import ResponderEvidence
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import address, responder, stalled

DROP = Outcome.CONNECT_TIMEOUT


def at(host: str, operator: str = "", where: str = "192.0.2.9", outcome: Outcome = DROP) -> ResponderEvidence:
    """A responder with that name, at one address."""
    one = responder(host.replace(".", "-"), address(where, outcome), operator=operator)
    return replace(one, finding=replace(one.finding, url=f"http://{host}", host=host))


def test_brands_of_one_operator_that_fail_together_are_its_outage_and_no_block_of_the_network() -> None:
    brands = at("ocsp.sectigo.com", "Sectigo"), at("zerossl.ocsp.sectigo.com", "Sectigo", "192.0.2.10")
    found = diagnose(stalled(*brands))
    assert (found.cause, found.confidence) == (Cause.CA_OUTAGE, Confidence.MEDIUM)
    assert any("All responders of Sectigo that were asked fail together" in why for why in found.reasons_for)


def test_the_same_with_another_operator_that_answers() -> None:
    brands = at("ocsp.sectigo.com", "Sectigo"), at("zerossl.ocsp.sectigo.com", "Sectigo", "192.0.2.10")
    found = diagnose(stalled(*brands, at("ocsp.digicert.com", "DigiCert", "192.0.2.11", Outcome.OK)))
    assert found.cause is Cause.CA_OUTAGE


def test_two_operators_that_fail_together_are_a_block_of_the_network() -> None:
    both = at("ocsp.sectigo.com", "Sectigo"), at("ocsp.digicert.com", "DigiCert", "192.0.2.10")
    found = diagnose(stalled(*both))
    assert (found.cause, found.confidence) == (Cause.NETWORK_BLOCK, Confidence.HIGH)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (at("a.brand.example"), at("b.brand.example", where="192.0.2.10")),
        (at("ocsp.one.example"), at("ocsp.two.example")),
        (at("ocsp.sectigo.com", "Sectigo"), at("ocsp.reseller.sectigo.com", where="192.0.2.10")),
        (at("a.brand.co.uk"), at("b.brand.co.uk", where="192.0.2.10")),
    ],
    ids=["one suffix", "one address", "below a known name", "a suffix of three labels"],
)
def test_unknown_brands_with_a_shared_address_or_name_are_one_witness(
    first: ResponderEvidence, second: ResponderEvidence
) -> None:
    assert len(by_operator([first, second])) == 1


def test_unknown_brands_with_nothing_in_common_are_several_and_one_may_join_two() -> None:
    one, two = at("ocsp.one.co.uk"), at("ocsp.two.co.uk", where="192.0.2.10")
    assert len(by_operator([one, two])) == 2
    bridge = at("x.one.co.uk", where="192.0.2.10")
    assert len(by_operator([one, two, bridge])) == 1


def test_two_known_operators_at_one_address_of_a_content_network_stay_two() -> None:
    assert len(by_operator([at("ocsp.a.example", "A"), at("ocsp.b.example", "B")])) == 2


def test_every_operator_of_the_table_is_an_authority_of_the_table() -> None:
    names = {one.name for one in shipped()}
    assert {one.operator for one in shipped() if one.operator} <= names


def test_several_responders_at_fault_are_counted() -> None:
    both = at("ocsp.sectigo.com", "Sectigo"), at("ocsp.digicert.com", "DigiCert", "192.0.2.10")
    works = at("ocsp.entrust.net", "Entrust", "192.0.2.11", Outcome.OK)
    assert "ocsp.digicert.com: both responders fail." in diagnose(stalled(*both)).sentence
    assert ": 2 of 3 responders fail." in diagnose(stalled(*both, works)).sentence
    three = *both, at("ocsp.entrust.net", "Entrust", "192.0.2.11")
    assert ": all 3 responders fail." in diagnose(stalled(*three)).sentence
    assert "of 2 responders" not in diagnose(stalled(both[0], works)).sentence


def test_trouble_of_another_kind_is_told_behind_what_the_first_does_to_visitors() -> None:
    broken = at("ocsp.evil.example", "Evil", "192.0.2.12", Outcome.NOT_OCSP)
    works = at("ocsp.entrust.net", "Entrust", "192.0.2.11", Outcome.OK)
    told = diagnose(stalled(at("ocsp.sectigo.com", "Sectigo"), broken, works)).sentence
    assert told.index("handshakes wait for it") < told.index(
        "There is trouble with ocsp.evil.example, too: 2 of 3"
    )


def test_of_several_that_fail_alike_visitors_wait_for_them() -> None:
    told = diagnose(
        stalled(at("ocsp.sectigo.com", "Sectigo"), at("ocsp.entrust.net", "Entrust", "192.0.2.11"))
    ).sentence
    assert "The same holds for " in told
    assert "Visitors' handshakes wait for them" in told
