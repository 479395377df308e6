"""The runbook's commands, copied from the page as they are printed, end a real outage."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.documentation.pages import DOCS
from tests.machine import Machine, Shape
from tests.on_machine.admin import GLOBAL, RESTART, file_state

pytestmark = pytest.mark.machine

START = Callable[[Shape], Machine]
OURS = {"www.example.com": "site0001.example.test", "ocsp.example.com": "ocsp.alpha-ca.test"}
_SHELL = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)


def stalled(start_machine: START, plugin: bool) -> Machine:
    machine = start_machine(Shape(sites=2, cas=2, plugin=plugin))
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")
    return machine


def blocks(section: str) -> list[str]:
    """The shell blocks of a part of the runbook, with names of this machine's sites and responders."""
    _, _, text = (DOCS / "runbook.md").read_text().partition(section)
    for name, ours in OURS.items():
        text = text.replace(name, ours)
    return _SHELL.findall(text)


def run(machine: Machine, block: str, status: int = 0) -> str:
    done = machine.run("bash", "-c", block, check=False)
    assert done.returncode == status, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_with_the_plugin(start_machine: START) -> None:
    machine = stalled(start_machine, plugin=True)
    before = file_state(machine)
    check, off, again, ticket, on = blocks("# Runbook")[:5]
    assert "Turn stapling off now" in run(machine, check, status=2)
    assert "Done after" in run(machine, off)
    assert "was turned off" in run(machine, again, status=1)
    text = run(machine, ticket)
    assert "Request" in text
    assert "Outage:   Sites waited " in text  # stapling is off by now: what it was turned off for comes first
    assert "Effect:   visitors wait or are turned away" in text
    machine.heal()
    run(machine, on.replace("ocsp-stapling on", "ocsp-stapling on --yes"))
    assert file_state(machine) == before


def test_without_the_plugin(start_machine: START) -> None:
    machine = stalled(start_machine, plugin=False)
    found, which, reach, end, harder = blocks("## Without the plugin")
    told = run(machine, found)
    assert "AH01941" in told
    assert slow_then_quick(told)
    site = found.partition("\n")[0]
    assert "http://ocsp.alpha-ca.test" in run(machine, f"{site}\n{which}")
    assert len(re.findall(r"^000 ", run(machine, reach.replace("-m 8", "-m 1"), status=28), re.M)) == 2
    assert "Syntax OK" in run(machine, end)
    assert "SSLUseStapling Off" in machine.path(GLOBAL).read_text()
    assert not slow_then_quick(run(machine, found))
    run(machine, harder)
    assert not slow_then_quick(run(machine, found))


def slow_then_quick(told: str) -> bool:
    """Whether the first of two timed commands waited for a responder and the second did not."""
    first, second = (float(seconds) for seconds in re.findall(r"^real\s+0m([0-9.]+)s$", told, re.M))
    return first > 2.5 > second
