"""`probe` on the machine: sites, responders and certificates of this server, asked as Apache's user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.machine import Machine, Shape

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(Shape(sites=3)) as machine:
        yield machine


def probe(machine: Machine, target: str) -> dict[str, Any]:
    done = machine.run("ocsp-stapling", "probe", target, "--json", check=False)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    assert found["exit_status"] == done.returncode
    return found


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("site0001.example.test", "site"),
        ("WWW.site0001.example.test", "site"),
        ("ocsp.alpha-ca.test", "host"),
        ("http://ocsp.alpha-ca.test", "url"),
        ("/var/cpanel/ssl/apache_tls/site0001.example.test/combined", "certificate"),
    ],
)
def test_whatever_names_a_responder_is_asked_about_a_certificate(
    machine: Machine, target: str, kind: str
) -> None:
    found = probe(machine, target)
    assert (found["target_kind"], found["outcome"]) == (kind, "ok")
    assert [each["verdict"] for each in found["responders"][0]["addresses"]] == ["good", "good"]


def test_a_site_without_a_responder_is_calmly_good(machine: Machine) -> None:
    found = probe(machine, "noocsp.example.test")
    assert (found["target_kind"], found["outcome"], found["exit_status"]) == ("site", None, 0)


def test_what_only_apaches_user_meets_is_met(machine: Machine) -> None:
    machine.fault("alpha", "refuse", user="nobody")
    outcomes = {
        each["outcome"] for each in probe(machine, "site0001.example.test")["responders"][0]["addresses"]
    }
    machine.heal()
    assert outcomes == {"refused"}


def test_this_servers_own_public_address_is_never_asked(machine: Machine) -> None:
    found = probe(machine, "http://44.128.1.2/")
    assert found["outcome"] == "address-forbidden"
    assert found["exit_status"] == 2


@pytest.mark.parametrize("target", ["ocsp.alpha-ca.test", "http://ocsp.alpha-ca.test"])
def test_without_root_no_healthy_responder_is_called_broken(machine: Machine, target: str) -> None:
    """It closes the connection on what is no question, and only root can read a certificate to ask about."""
    user = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    done = machine.run(*user, "ocsp-stapling", "probe", target, check=False)
    told = " ".join(done.stdout.split())
    assert done.returncode == 3, told
    assert told.startswith("UNKNOWN")
    assert "is reached, but does not answer a request without an OCSP question" in told
    assert "As root (sudo) a certificate of this server that names it is asked about." in told
