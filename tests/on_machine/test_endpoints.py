"""One virtual host with an RSA and an ECDSA certificate of two authorities; an issuer that stands in no chain."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape, why_not_here
from tests.machine.ea4 import TLS
from tests.machine.pki import AuthorityKeys, combined, new_key, new_rsa_key, pem, pem_key
from tests.machine.shape import SERVER_V4
from tests.on_machine.admin import RESTART, call, disk, switch, userdata, write

pytestmark = pytest.mark.machine
SITE, QUIET = "site0001.example.test", "site0002.example.test"
ALPHA, BETA = "http://ocsp.alpha-ca.test", "http://ocsp.beta-ca.test"
ALGORITHMS = {"rsa": "RSA-PSS+SHA256", "ecdsa": "ECDSA+SHA256"}


def keys(machine: Machine, name: str) -> AuthorityKeys:
    authority = next(one for one in machine.authorities if one.name == name)
    return AuthorityKeys.load(authority, machine.path("/run/machine/pki"))


def restart(machine: Machine) -> None:
    """Start Apache anew, with no staple in its cache."""
    machine.run(RESTART, "--stop")
    machine.run(RESTART, "--start")


def met(machine: Machine, kind: str) -> tuple[float, bool]:
    """Seconds and staple of a client that takes a certificate of that kind only."""
    line = f"echo | timeout 60 openssl s_client -connect {SERVER_V4}:443 -servername {SITE} -status"
    began = time.monotonic()
    said = machine.run("sh", "-c", f"{line} -sigalgs {ALGORITHMS[kind]} 2>&1", check=False).stdout
    assert "BEGIN CERTIFICATE" in said, said
    return time.monotonic() - began, "Cert Status: good" in said


@pytest.fixture(scope="module")
def both() -> Iterator[Machine]:
    """A machine on which one site has an ECDSA certificate of alpha and an RSA certificate of beta."""
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=2, cas=2, sites_per_ca=(2, 0), extras=False)) as machine:
        beta, key = keys(machine, "beta"), new_rsa_key()
        leaf = beta.certificate(machine.sites[0], key)
        write(machine, f"{TLS}/{SITE}/rsa", combined(leaf, key, beta.issuer), 0o640)
        userdata(machine, SITE, f"SSLCertificateFile {TLS}/{SITE}/rsa\n", "rsa.conf")
        yield machine


def test_both_certificates_of_an_endpoint_are_listed_met_and_verified(both: Machine) -> None:
    found = next(one for one in call(both, "sites", "--json").document["sites"] if one["name"] == SITE)
    assert [one["responder"] for one in found["certificates"]] == [ALPHA, BETA]
    plan = call(both, "off", "--dry-run", "--json").document
    wanted = {(one["site"], one["key"]) for one in plan["verification"]}
    assert {(SITE, "rsa"), (SITE, "ecdsa")} <= wanted
    off = switch(both, "off")
    assert (off.code, off.document["state"]) == (0, "done"), off.told
    assert {kind: met(both, kind)[1] for kind in ALGORITHMS} == {"rsa": False, "ecdsa": False}
    on = switch(both, "on")
    assert (on.code, on.document["state"]) == (0, "done"), on.told
    assert {kind: met(both, kind)[1] for kind in ALGORITHMS} == {"rsa": True, "ecdsa": True}


def test_where_the_responder_of_one_certificate_hangs_it_alone_is_named_and_turned_off(both: Machine) -> None:
    both.fault("beta", "hang")
    restart(both)
    try:
        met(both, "ecdsa")  # its staple is in the cache: who waits now waits for the other certificate
        assert met(both, "rsa")[0] >= 2.5

        found = call(both, "check", "--json").document

        assert (found["severity"], found["advice"]) == ("stalling", "turn-off-site"), found
        assert [(one["url"], one["ok"]) for one in found["responders"]] == [(ALPHA, True), (BETA, False)]
        assert found["sites_causing"] == [SITE]
        named = [text for text in found["for"] if "stands in the certificate" in text]
        assert len(named) == 1, "only the URL at fault is named"
        assert BETA in named[0]
        kinds = {one["key"] for one in found["handshakes"] if one["site"] == SITE and one["asked"]}
        assert "rsa" in kinds

        off = switch(both, "off", "--site", SITE)
        assert (off.code, off.document["state"]) == (0, "done"), off.told
        assert {kind: met(both, kind)[0] < 2 for kind in ALGORITHMS} == {"rsa": True, "ecdsa": True}

        before = disk(both)
        on = switch(both, "on", "--site", SITE)
        assert on.document["state"] == "restored", (
            "it is not on again while one of its certificates makes them wait"
        )
        assert disk(both) == before
    finally:
        both.heal()
    on = switch(both, "on", "--site", SITE)
    assert (on.code, on.document["state"]) == (0, "done"), on.told
    assert {kind: met(both, kind)[1] for kind in ALGORITHMS} == {"rsa": True, "ecdsa": True}


def test_an_issuer_that_only_the_trusted_certificates_hold_is_asked_about_and_its_outage_found(
    machine: Machine,
) -> None:
    alpha, key, plan = keys(machine, "alpha"), new_key(), machine.sites[0]
    alone = pem_key(key) + pem(alpha.certificate(plan, key))
    write(machine, f"{TLS}/{SITE}/combined", alone, 0o640)
    write(machine, "/etc/apache2/conf.d/trusted.pem", pem(alpha.issuer), 0o644)
    write(
        machine,
        "/etc/apache2/conf.d/trusted.conf",
        b"SSLCACertificateFile /etc/apache2/conf.d/trusted.pem\n",
        0o644,
    )
    restart(machine)
    assert met(machine, "ecdsa")[1], "Apache finds the issuer among the trusted ones"
    site = next(one for one in call(machine, "sites", "--json").document["sites"] if one["name"] == SITE)
    (certificate,) = site["certificates"]
    assert (certificate["responder"], certificate["issuer_file"]) == (
        ALPHA,
        "/etc/apache2/conf.d/trusted.pem",
    )

    machine.fault("alpha", "hang")
    restart(machine)
    found = call(machine, "check", "--json").document

    assert (found["severity"], found["advice"]) == ("stalling", "turn-off"), found
    assert SITE in found["sites_causing"]
    off = switch(machine, "off")
    assert (off.code, off.document["state"]) == (0, "done"), off.told
    assert met(machine, "ecdsa")[0] < 2
