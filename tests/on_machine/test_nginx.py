"""A real nginx in front of Apache: visitors meet nginx, whatever befalls the responders, and the product knows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape, nginx, why_not_here
from tests.machine.whm import log_in, open_whm
from tests.on_machine.admin import RESTART, call, switch, visits

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin"), reason="nginx is missing (nginx-light)"),
]


@pytest.fixture(scope="module")
def behind() -> Iterator[Machine]:
    """One machine whose Apache stands behind nginx, with every responder out of reach and no staple cached."""
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=2, cas=1)) as machine:
        nginx.put_in_front(machine)
        machine.fault("all", "drop")
        machine.run(RESTART, "--hard")
        open_whm(machine)
        yield machine


def test_it_passes_visitors_on_to_apache(behind: Machine) -> None:
    site = behind.sites[1].name
    curl = ("curl", "-sk", "--resolve", f"{site}:443:44.128.1.2", f"https://{site}/")
    assert behind.run(*curl).stdout.strip() == site


def nobody_waits(behind: Machine) -> None:
    """In the outage visitors are served at once and without a staple; check and page say why that is."""
    met = visits(behind, 3)
    assert all(each["seconds"] < 1 and not each["error"] and not each["stapled"] for each in met)
    called = call(behind, "check", "--json")
    found = called.document
    verdict = (called.code, found["cause"], found["severity"], found["advice"])
    assert verdict == (0, "not-in-front", "none", "nothing")
    assert found["this_server"]["front"] == "nginx"
    assert {each["port"] for each in found["handshakes"]} == {443}
    assert {each["ok"] for each in found["responders"]} == {False}
    page = log_in(behind).get().text
    assert "Another server is in front" in page
    assert "Visitors reach nginx, not Apache" in page


def off_and_on(behind: Machine) -> None:
    """Both are done, the second one with healthy responders, and say that visitors meet nginx."""
    off = switch(behind, "off")
    assert (off.code, off.document["state"]) == (0, "done"), off.told
    assert any("nginx answers on port 443" in each for each in off.document["warnings"])
    behind.heal()
    on = switch(behind, "on")
    assert (on.code, on.document["state"]) == (0, "done"), on.told


def test_without_stapling_of_its_own_it_lets_nobody_wait_and_check_page_off_and_on_say_who_is_in_front(
    behind: Machine,
) -> None:
    nobody_waits(behind)
    off_and_on(behind)
    assert not visits(behind)[0]["stapled"]


def test_with_stapling_of_its_own_neither_and_its_staples_come_back(behind: Machine) -> None:
    behind.fault("all", "drop")
    nginx.staple(behind, on=True)
    nobody_waits(behind)
    off_and_on(behind)
    end = time.monotonic() + 20
    while not visits(behind)[0]["stapled"] and time.monotonic() < end:
        time.sleep(0.3)
    called = call(behind, "check", "--json")
    assert (called.code, called.document["cause"]) == (0, "not-in-front")
    assert any(each["staple"] == "good" for each in called.document["handshakes"])
