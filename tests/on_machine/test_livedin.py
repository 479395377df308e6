"""A server after years of use: every kind of virtual host and include that EasyApache 4 writes, at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape, livedin, why_not_here
from tests.on_machine.admin import REBUILD, RESTART, call, file_state, stapled, switch, write

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def lived() -> Iterator[Machine]:
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=2, cas=2, extras=False)) as machine:
        livedin.live_in(machine)
        yield machine


def test_every_virtual_host_of_every_maker_is_found_with_its_port_and_its_own_stapling(
    lived: Machine,
) -> None:
    found = call(lived, "sites", "--json").document["sites"]
    names = {site.name for site in lived.sites} | {livedin.HOSTNAME}
    assert {(each["name"], each["port"]) for each in found} == {
        *((name, 443) for name in names),
        *((site.name, livedin.MESSENGER_PORT) for site in lived.sites),
    }
    assert {each["stapling"] for each in found if each["port"] == livedin.MESSENGER_PORT} == {"off"}
    assert all(each["responder"] and not each["finding_codes"] for each in found)
    seen = call(lived, "config", "--json").document
    assert (seen["stapling"], seen["origin"]) == ("on", "template")
    assert stapled(lived)


def test_an_outage_on_it_is_told_ended_and_taken_back(lived: Machine) -> None:
    before = file_state(lived)
    lived.fault("all", "drop")
    lived.run(RESTART, "--hard")
    called = call(lived, "check", "--json")
    found = called.document
    assert (called.code, found["severity"], found["advice"]) == (2, "stalling", "turn-off"), found
    off = call(lived, "off", "--yes")
    assert off.code == 0, off.told
    assert f"{lived.sites[0].name}:443" in off.out, "a site with a drop-in's port is called by name and port"
    assert not stapled(lived)
    lived.heal()
    on = switch(lived, "on")
    assert (on.code, on.document["state"]) == (0, "done"), on.told
    assert stapled(lived)
    assert file_state(lived) == before


def test_behind_a_balancer_without_ipv6_nobody_on_443_means_nothing(lived: Machine) -> None:
    settings = b"apache_port=0.0.0.0:8080\napache_ssl_port=0.0.0.0:8443\nipv6_listen=0\n"
    write(lived, "/var/cpanel/cpanel.config", settings, 0o644)
    lived.run(REBUILD)
    lived.fault("all", "drop")
    lived.run(RESTART, "--hard")
    found = call(lived, "check", "--json").document
    assert (found["severity"], found["advice"]) == ("stalling", "turn-off"), found
    assert {each["port"] for each in found["handshakes"]} <= {8443, livedin.MESSENGER_PORT}
    lived.heal()
