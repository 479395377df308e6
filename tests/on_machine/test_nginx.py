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
        yield machine


def test_it_passes_visitors_on_to_apache(behind: Machine) -> None:
    site = behind.sites[1].name
    curl = ("curl", "-sk", "--resolve", f"{site}:443:44.128.1.2", f"https://{site}/")
    assert behind.run(*curl).stdout.strip() == site


def test_an_outage_holds_no_visitor_up_and_check_and_page_say_who_is_in_front(behind: Machine) -> None:
    met = visits(behind, 3)
    assert all(each["seconds"] < 1 and not each["error"] and not each["stapled"] for each in met)
    called = call(behind, "check", "--json")
    found = called.document
    verdict = (called.code, found["cause"], found["severity"], found["advice"])
    assert verdict == (0, "not-in-front", "none", "nothing")
    assert found["this_server"]["front"] == "nginx"
    assert {each["port"] for each in found["handshakes"]} == {443}
    assert {each["ok"] for each in found["responders"]} == {False}
    open_whm(behind)
    page = log_in(behind).get().text
    assert "Another server is in front" in page
    assert "Visitors reach nginx, not Apache" in page


def test_off_and_on_are_done_and_say_that_visitors_meet_nginx(behind: Machine) -> None:
    off = switch(behind, "off")
    assert (off.code, off.document["state"]) == (0, "done"), off.told
    assert any("nginx answers on port 443" in each for each in off.document["warnings"])
    behind.heal()
    on = switch(behind, "on")
    assert (on.code, on.document["state"]) == (0, "done"), on.told
    assert not visits(behind)[0]["stapled"]


def test_nginx_that_staples_by_itself_lets_nobody_wait(behind: Machine) -> None:
    behind.fault("all", "drop")
    nginx.staple(behind, on=True)
    met = visits(behind, 3)
    assert all(each["seconds"] < 1 and not each["error"] and not each["stapled"] for each in met)
    behind.heal()
    end = time.monotonic() + 20
    while not visits(behind)[0]["stapled"] and time.monotonic() < end:
        time.sleep(0.3)
    called = call(behind, "check", "--json")
    assert (called.code, called.document["cause"]) == (0, "not-in-front")
    assert any(each["staple"] == "good" for each in called.document["handshakes"])
