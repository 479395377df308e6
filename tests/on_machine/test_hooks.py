"""WHM tells of new certificates: one look for many of them, and the private key in what WHM sends is never kept."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from ocsp_stapling.shield.standing import wish
from tests.machine import Machine, Shape
from tests.machine.init import with_systemd

pytestmark = pytest.mark.machine
REPO = Path(__file__).resolve().parents[2]
HOOK = "/usr/local/sbin/certificates-changed"
EVENTS = (
    ("Whostmgr", "SSL::installssl"),
    ("Whostmgr", "AutoSSL::installssl"),
    ("Cpanel", "UAPI::SSL::install_ssl"),
)
UNIT = "ocsp-stapling-certificates-changed.service"


@pytest.fixture
def shape() -> Shape:
    return with_systemd(Shape())


@pytest.fixture
def hooked(machine: Machine) -> Machine:
    """A machine on which the hook is registered as the installer does it."""
    machine.run("cp", str(REPO / "plugin/hooks/certificates-changed"), HOOK)
    for category, event in EVENTS:
        where = ("--manual", "--category", category, "--event", event, "--stage", "post")
        escalated = ("--escalateprivs", "1") if category == "Cpanel" else ()
        machine.run("/usr/local/cpanel/bin/manage_hooks", "add", "script", HOOK, *where, *escalated)
    return machine


def tell(machine: Machine, event: str) -> float:
    begun = time.monotonic()
    machine.run("/usr/local/cpanel/bin/manage_hooks", "run", event)
    return time.monotonic() - begun


def waiting(machine: Machine) -> list[int]:
    """The processes of the look that waits, by their pids outside."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            same = (path / "ns/mnt").readlink() == Path(f"/proc/{machine.pid}/ns/mnt").readlink()
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if same and words[:2] == [b"sleep", b"60"]:
            found.append(int(path.name))
    return found


def until(machine: Machine, unit_is: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = machine.run("systemctl", "is-active", UNIT, check=False).stdout.strip()
        if (state == "active") == (unit_is == "active"):
            return
        time.sleep(0.1)
    raise AssertionError(f"{UNIT} did not become {unit_is}")


def test_many_certificates_are_one_look_and_the_picture_and_the_shields_answers_are_new_afterwards(
    hooked: Machine,
) -> None:
    wish(hooked.path("/var/lib/ocsp-stapling"), 340)
    for event in ("UAPI::SSL::install_ssl", "SSL::installssl", "AutoSSL::installssl", "AutoSSL::installssl"):
        tell(hooked, event)
    until(hooked, "active")
    deadline = time.monotonic() + 20
    while not waiting(hooked) and time.monotonic() < deadline:
        time.sleep(0.05)
    (sleeper,) = waiting(hooked)
    os.kill(sleeper, signal.SIGTERM)  # the minute is over
    until(hooked, "ended")
    check = json.loads(hooked.path("/var/lib/ocsp-stapling/last-check.json").read_text())
    assert check["monitoring_state"] == "OK"
    held = list(hooked.path("/var/lib/ocsp-stapling-shield").glob("*.ocsp"))
    assert len(held) == sum(site.ocsp_url for site in hooked.sites)
    wish(hooked.path("/var/lib/ocsp-stapling"), 0)
    hooked.run("rm", "-r", "/var/lib/ocsp-stapling-shield")


def test_the_key_that_whm_sends_is_kept_nowhere(hooked: Machine) -> None:
    tell(hooked, "SSL::installssl")
    found = hooked.run(
        "grep", "-rls", "SECRET-" + "x" * 50, "/var/lib", "/var/log", "/run", "/tmp", check=False
    )
    assert found.stdout == ""
    for pid in waiting(hooked):
        os.kill(pid, signal.SIGTERM)


def test_without_systemd_the_hook_still_ends_well(hooked: Machine) -> None:
    hooked.path("/usr/bin/systemd-run").unlink()
    tell(hooked, "SSL::installssl")
    assert waiting(hooked) == []
