"""The shield on a real Apache: no visitor waits, whatever the authorities do, and staples are there all the same."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.machine import Machine
from tests.on_machine.admin import GLOBAL, RESTART, switch
from tests.on_machine.installing import SERVER, Kit

pytestmark = pytest.mark.machine


SITES = replace(SERVER, sites=4, cas=2)


@pytest.fixture
def shielded(kit: Kit) -> Iterator[Machine]:
    """A machine with the plugin installed and the shield turned on while all was well."""
    with Machine(SITES) as machine:
        kit.installed(machine)
        called = shield(machine, "on", "--yes")
        assert called["state"] == "done", called
        yield machine


def shield(machine: Machine, *words: str) -> dict[str, object]:
    found = json.loads(machine.run("ocsp-stapling", "shield", *words, "--json", check=False).stdout)
    assert isinstance(found, dict)
    return found


def visits(machine: Machine, count: int = 2) -> list[tuple[float, bool]]:
    """How long visitors of the stapling sites wait, and whether they get a staple."""
    found = []
    for site in [one for one in machine.sites if one.ocsp_url][:count]:
        begun = time.monotonic()
        told = machine.run(
            *("openssl", "s_client", "-connect", "44.128.1.2:443", "-servername", site.name),
            "-status",
            input="",
            check=False,
        ).stdout
        found.append((time.monotonic() - begun, "Cert Status: good" in told))
    return found


def outage(machine: Machine, kind: str = "hang") -> None:
    machine.fault("all", kind)
    machine.run(RESTART, "--hard")


@pytest.mark.parametrize("kind", ["hang", "drop"])
def test_in_an_outage_everybody_is_served_at_once_and_stapled(shielded: Machine, kind: str) -> None:
    outage(shielded, kind)
    assert all(seconds < 1 and stapled for seconds, stapled in visits(shielded, 4))
    done = shielded.run("ocsp-stapling", "check", "--json", check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["severity"]) == (0, "noise")
    assert "Not one visitor waits" in found["sentence"]
    told = shielded.run("tail", "-n", "200", "/etc/apache2/logs/error_log").stdout
    assert "AH01941" not in told.rpartition("resuming normal operations")[2]


def test_turned_on_in_the_middle_of_an_outage_it_ends_it_and_staples_come_back_by_themselves(
    kit: Kit,
) -> None:
    with Machine(SITES) as machine:
        kit.installed(machine)
        outage(machine)
        assert any(seconds > 2 for seconds, _ in visits(machine))
        called = shield(machine, "on", "--yes")
        assert called["state"] == "done", called
        assert all(seconds < 1 for seconds, _ in visits(machine, 4))
        machine.heal()
        attempts = machine.path("/var/lib/ocsp-stapling/shield-attempts.json")
        attempts.unlink(missing_ok=True)  # as if the first five minutes of its patience were over
        machine.run("ocsp-stapling", "shield", "refresh")
        deadline = time.monotonic() + 20
        while not all(stapled for _, stapled in visits(machine, 4)):
            assert time.monotonic() < deadline
            time.sleep(1)


def test_off_replaces_the_shield_on_returns_to_it_and_shield_off_takes_it_away(shielded: Machine) -> None:
    assert switch(shielded, "off").code == 0
    assert "SSLStaplingForceURL" not in shielded.path(GLOBAL).read_text()
    assert not any(stapled for _, stapled in visits(shielded))
    assert switch(shielded, "on").code == 0
    assert "SSLStaplingForceURL http://127.0.0.1:340/" in shielded.path(GLOBAL).read_text()
    called = shield(shielded, "off", "--yes")
    assert called["state"] == "done", called
    assert b"OCSP Stapling" not in shielded.path(GLOBAL).read_bytes()
    assert shield(shielded, "status")["on"] is False
    assert all(seconds < 1 and stapled for seconds, stapled in visits(shielded))


def test_the_relay_may_die_and_nobody_waits(shielded: Machine) -> None:
    shielded.run("systemctl", "stop", "ocsp-stapling-shield.service")
    shielded.run(RESTART)
    assert all(seconds < 1 for seconds, _ in visits(shielded, 4))
    found = json.loads(shielded.run("ocsp-stapling", "check", "--json", check=False).stdout)
    assert found["cause"] == "shield-down"
    assert shielded.run("ocsp-stapling", "shield", "status", check=False).returncode == 2


def test_a_port_that_is_taken_or_that_anybody_may_have_is_refused_and_nothing_is_written(kit: Kit) -> None:
    with Machine(SITES) as machine:
        kit.installed(machine)
        before = machine.path(GLOBAL).read_bytes()
        code = "import socket, time; held = socket.create_server(('127.0.0.1', 340)); time.sleep(60)"
        taker = machine.popen("python3", "-c", code)
        try:
            while ":340 " not in machine.run("ss", "-ltn").stdout:
                time.sleep(0.05)
            assert shield(machine, "on", "--yes")["error"]["code"] == "shield-port"  # type: ignore[index]
        finally:
            os.killpg(taker.pid, signal.SIGKILL)  # with what it started in the machine
            taker.communicate()
        machine.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start")
        assert shield(machine, "on", "--yes")["error"]["code"] == "shield-port"  # type: ignore[index]
        assert machine.path(GLOBAL).read_bytes() == before


def test_removal_takes_the_block_out_then_the_relay_then_the_store(shielded: Machine, kit: Kit) -> None:
    shielded.run(str(kit.tree / "uninstall.sh"), "--yes", "--purge")
    assert b"OCSP Stapling" not in shielded.path(GLOBAL).read_bytes()
    assert not shielded.path("/var/lib/ocsp-stapling-shield").exists()
    assert all(seconds < 1 and stapled for seconds, stapled in visits(shielded))
