"""Who stands behind a responder or an issuer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.ca.directory import directory, shipped
from ocsp_stapling.settings import Authority


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("ocsp.sectigo.com", "Sectigo"),
        ("ocsp.comodoca.com", "Sectigo"),
        ("ocsp.usertrust.com", "Sectigo"),
        ("OCSP.Sectigo.COM.", "Sectigo"),
        ("zerossl.ocsp.sectigo.com", "ZeroSSL"),
        ("ocsp.digicert.com", "DigiCert"),
        ("status.geotrust.com", "DigiCert"),
        ("status.rapidssl.com", "DigiCert"),
        ("status.thawte.com", "DigiCert"),
        ("ocsp.quovadisglobal.com", "DigiCert"),
        ("ocsp.globalsign.com", "GlobalSign"),
        ("ocsp2.globalsign.com", "GlobalSign"),
        ("ocsp.godaddy.com", "GoDaddy"),
        ("ocsp.starfieldtech.com", "GoDaddy"),
        ("ocsp.entrust.net", "Entrust"),
        ("o.pki.goog", "Google Trust Services"),
        ("ocsp.pki.goog", "Google Trust Services"),
        ("ocsp.rootca1.amazontrust.com", "Amazon Trust Services"),
        ("o.ss2.us", "Amazon Trust Services"),
        ("ocsp.swisssign.net", "SwissSign"),
        ("ocsp.int-x3.letsencrypt.org", "Let's Encrypt"),
        ("r3.o.lencr.org", "Let's Encrypt"),
        ("e5.o.lencr.org", "Let's Encrypt"),
    ],
)
def test_responder_in_the_field_has_its_authority(host: str, name: str) -> None:
    found = directory().find(responder=host)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "host", ["evilsectigo.com", "sectigo.com.evil.example", "com", "", "ocsp.example.com"]
)
def test_a_name_that_only_looks_alike_is_nobodys(host: str) -> None:
    assert directory().find(responder=host) is None


@pytest.mark.parametrize(
    ("organisation", "name"),
    [
        ("Let's Encrypt", "Let's Encrypt"),
        ("Sectigo Limited", "Sectigo"),
        ("cPanel, LLC", "Sectigo"),
        ("DigiCert Inc", "DigiCert"),
        ("GoDaddy.com, Inc.", "GoDaddy"),
        ("google trust services llc", "Google Trust Services"),
        ("GlobalSign nv-sa", "GlobalSign"),
    ],
)
def test_issuer_organisation_has_its_authority(organisation: str, name: str) -> None:
    found = directory().find(issuer=organisation)
    assert found is not None
    assert found.name == name


def test_responder_outranks_issuer() -> None:
    found = directory().find(responder="ocsp.digicert.com", issuer="Sectigo Limited")
    assert found is not None
    assert found.name == "DigiCert"


def test_configured_authority_is_found_and_replaces_its_namesake() -> None:
    own = Authority(name="sectigo", responders=("ocsp.sectigo.com",), status_page="https://own.example")
    found = directory([own])
    assert found.find(responder="ocsp.sectigo.com") is own
    assert found.named("SECTIGO") is own
    assert len(found.authorities) == len(shipped())


def test_brackets_in_an_organisation_are_text() -> None:
    own = Authority(name="X", issuers=("X [Test] ?*",))
    assert directory([own]).find(issuer="x [test] ? CA") is own
    assert directory([own]).find(issuer="x t y CA") is None


def test_data_file_says_when_lets_encrypt_ended_ocsp() -> None:
    found = directory().named("Let's Encrypt")
    assert found is not None
    assert found.ocsp_ended == "2025-08-06"
    assert "not stapling" in found.note


def test_names_in_the_data_file_are_unique() -> None:
    names = [authority.name for authority in shipped()]
    assert len(names) == len(set(names)) > 8


@given(st.text() | st.sampled_from(["", "ocsp.", "x.y."]).map(lambda host: f"{host}sectigo.com"), st.text())
def test_any_name_is_somebodys_or_nobodys(host: str, organisation: str) -> None:
    found = directory().find(host, organisation)
    assert found is None or found in shipped()
