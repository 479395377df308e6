"""What the shield's tests and its benchmark share: its unit without an installer, its command, visitors at a rate."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from tests.machine import Machine
from tests.machine.machine import REPO
from tests.on_machine.admin import GLOBAL

UNIT = "ocsp-stapling-shield.service"
PORT = 340
_RELAY = re.compile(r"^ *SSLStaplingForceURL http://127\.0\.0\.1:(\d+)/$", re.M)


def put_unit(machine: Machine) -> None:
    """Put the relay's unit in place, as the installer does."""
    shutil.copy(REPO / "plugin/systemd" / UNIT, machine.path("/etc/systemd/system") / UNIT)
    machine.run("systemctl", "daemon-reload")


def shield(machine: Machine, *words: str) -> dict[str, Any]:
    """Call `ocsp-stapling shield` and return its document."""
    done = machine.run("ocsp-stapling", "shield", *words, "--json", check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def traffic(machine: Machine, rate: float, seconds: float) -> dict[str, float]:
    """Return what visitors meet who come at a steady rate, each asking for a staple, at all sites in turn."""
    words = (str(rate), str(seconds), str(machine.shape.sites))
    return dict(json.loads(machine.python("tests.machine.traffic", *words, timeout=60 + 2 * seconds)))


def until_stapled(machine: Machine, seconds: float = 120) -> None:
    """Visit until every site staples: what fetches ahead has had its time then."""
    end = time.monotonic() + seconds
    while traffic(machine, 50, machine.shape.sites / 50)["stapled_percent"] < 100:
        assert time.monotonic() < end, "not every site staples although all responders answer"
        shield(machine, "refresh")


def before_other_work(machine: Machine) -> None:
    """Put the machine and its visitors, and in it the relay by as much as its unit says, before what else runs here.

    Where the kernel shares processors out by session, this is what a measurement needs; elsewhere nothing happens.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-9")
    relay = machine.run("systemctl", "show", "--property=MainPID", "--value", UNIT).stdout.strip()
    each = "for p in /proc/[0-9]*; do echo -9 >$p/autogroup; done"
    machine.run("sh", "-c", f"{{ {each}; echo -19 >/proc/{relay}/autogroup; }} 2>/dev/null", check=False)


def asked_port(machine: Machine) -> int:
    """Return the relay's port to which the block sends Apache, 0 if there is no such block."""
    found = _RELAY.search(machine.path(GLOBAL).read_text())
    return int(found[1]) if found else 0


def relay_answers(machine: Machine, port: int = PORT) -> bool:
    """Whether a relay answers there, asked with a program that has no part in it."""
    ask = ("-s", "-m", "1", "--data-binary", "0", f"http://127.0.0.1:{port}/", "-o", "/dev/null")
    told = machine.run("curl", *ask, "-w", "%{http_code}", check=False).stdout
    return told == "200"
