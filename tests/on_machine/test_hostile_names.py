"""A customer's own DNS zone against the check: no trick of it leads inside, hides an outage, or alarms for others.

Nor do hundreds of certificate files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ocsp_stapling.server.certificate_files import MAX_FILE_BYTES
from tests.machine import Machine, Shape
from tests.machine.pki import AuthorityKeys, combined, new_key
from tests.machine.shape import SitePlan
from tests.machine.trapzone import TRICKS, ZONE
from tests.on_machine.admin import call
from tests.on_machine.hostile import EVIL, authority, customer, customers, flood, serve
from tests.on_machine.shielding import put_unit

pytestmark = pytest.mark.machine
DEADLINE_SECONDS = 8
HANG = ("aaaa-nowhere", "many", "silent", "late-nothing", "very-late-nothing", "late")
"""What makes Apache wait, so that others can wait behind it."""
INWARDS = ("rebind", "rebind-back", "inner", "mixed", "many-inner")
_INSIDE = """
table inet trap {
  counter inside { }
  chain out {
    type filter hook output priority -10;
    ip daddr { 127.0.0.0/8, 10.0.0.0/8, 169.254.0.0/16, 192.168.0.0/16 } tcp dport 80 counter name inside
    ip6 daddr { fd00::/8, fe80::/10 } tcp dport 80 counter name inside
  }
}
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Shape(sites=4, cas=2, extras=False)) as started:
        yield started


def check(machine: Machine) -> dict[str, Any]:
    """A check, which must end in its time; the start of the program and a busy machine are not counted."""
    found = call(machine, "check", "--json").document
    assert found["seconds"] <= DEADLINE_SECONDS + 1
    return found


def asked_inside(machine: Machine) -> int:
    """How many packets went to port 80 of an address that is not public."""
    told = json.loads(machine.run("nft", "--json", "list", "counter", "inet", "trap", "inside").stdout)
    return int(next(one["counter"]["packets"] for one in told["nftables"] if "counter" in one))


def every_trick(machine: Machine, tricks: tuple[str, ...] = TRICKS, count: int = 1) -> None:
    """Each trick is an account's own site; `count` names of each, for an answer that changes does so by name."""
    customers(
        machine,
        {
            f"{trick}{number}.evil.test": (f"m{at:02}", f"http://{trick}{number}.{ZONE}/")
            for at, trick in enumerate(tricks)
            for number in range(count)
        },
    )


def test_no_name_leads_to_an_address_that_is_not_public(machine: Machine) -> None:
    """Neither check (and so watch), probe nor the shield's fetcher; under the shield Apache asks its relay alone."""
    put_unit(machine)
    every_trick(machine, INWARDS, count=3)
    assert call(machine, "shield", "on", "--yes", "--json").code == 0
    machine.run("nft", "-f", "-", input=_INSIDE)

    check(machine)
    call(machine, "probe", f"http://rebind7.{ZONE}/", "--json")
    refreshed = call(machine, "shield", "refresh", "--json")

    assert refreshed.document["asked_count"] >= len(INWARDS)
    assert asked_inside(machine) == 0
    machine.run("python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 80))", check=False)
    assert asked_inside(machine) > 0  # the trap itself works


def test_all_tricks_at_once_hide_no_outage_of_another_authority(machine: Machine) -> None:
    every_trick(machine)
    machine.fault("beta", "hang")
    machine.run("/usr/local/cpanel/scripts/restartsrv_httpd", "--hard")

    found = check(machine)

    assert (found["severity"], found["exit_status"]) == ("stalling", 2)
    beta = next(one for one in found["responders"] if "beta" in one["url"])
    assert (beta["outcome"], beta["holds_up"]) == ("reply-timeout", True)


def test_tricks_that_fail_at_once_alarm_for_nobody_else(machine: Machine) -> None:
    every_trick(machine, tuple(trick for trick in TRICKS if trick not in HANG))

    found = check(machine)

    assert (found["exit_status"], found["advice"] == "turn-off") == (1, False)
    assert not any(word in found["advice_sentence"] for word in ("ocsp-stapling off.", "resolv.conf"))
    fine = {one["url"] for one in found["responders"] if one["ok"]}
    assert {f"http://ocsp.{name}-ca.test" for name in ("alpha", "beta")} <= fine


@pytest.mark.parametrize(
    "trick",
    [pytest.param(trick, marks=() if trick == "late-nothing" else pytest.mark.long) for trick in TRICKS],
)
def test_one_trick_alone_costs_nobody_else_a_staple(machine: Machine, trick: str) -> None:
    """Where others can wait behind it, its site is named and turned off alone; else nothing is turned off."""
    customer(machine, f"http://{trick}.{ZONE}/")
    started = time.monotonic()

    found = check(machine)

    assert time.monotonic() - started < 60
    if found["severity"] == "stalling":
        assert trick in HANG
        assert (found["advice"], found["alone"]) == ("turn-off-site", [EVIL])
    else:
        assert found["advice"] not in ("turn-off", "turn-off-site")


def test_an_issuer_of_ones_own_with_an_authoritys_name_is_told_of_by_itself(machine: Machine) -> None:
    """Named at the authority's own responder, which knows nothing of it, by the first of all sites."""
    real = authority(machine)
    forged, key = AuthorityKeys.create(real.authority), new_key()
    certificate = forged.certificate(SitePlan(EVIL, "mallory", "alpha"), key)
    serve(machine, EVIL, "mallory", combined(certificate, key, forged.issuer), first=True)

    found = check(machine)

    assert (found["severity"], found["sites_affected"]) == ("failing", [EVIL])
    fine = next(one for one in found["responders"] if "site0001.example.test" in one["site_names"])
    assert (fine["ok"], EVIL in fine["site_names"]) == (True, False)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_hundreds_of_large_certificate_files_hide_no_outage(machine: Machine) -> None:
    """400 of the largest size that is read, of one account. Apache itself takes minutes to read them."""
    flood(machine, 400, MAX_FILE_BYTES - 1)
    machine.fault("beta", "hang")

    found = check(machine)

    assert (found["severity"], found["cause"]) == ("stalling", "ca-outage")
    assert "beta" in found["sentence"]
    assert len(found["unasked_sites"]) > 300
    assert any("account mallory" in problem for problem in found["problems"])
