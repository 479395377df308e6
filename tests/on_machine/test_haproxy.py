"""A real HAProxy in front of Apache, with `ocsp-update on`: in an outage nobody waits, and `check` knows why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape, haproxy, why_not_here
from tests.on_machine.admin import RESTART, call, switch, visits

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(bool(haproxy.why_not_here()), reason=haproxy.why_not_here() or "it is here"),
]


@pytest.fixture(scope="module")
def behind() -> Iterator[Machine]:
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=1, cas=1, v6=0, extras=False)) as machine:
        haproxy.put_in_front(machine)
        yield machine


def test_an_outage_holds_no_visitor_up_and_check_off_and_on_say_who_is_in_front(behind: Machine) -> None:
    behind.fault("all", "hang")
    behind.run(RESTART, "--hard")
    met = visits(behind, 3)
    assert all(each["seconds"] < 1 and not each["error"] for each in met)
    found = call(behind, "check", "--json").document
    assert (found["cause"], found["severity"], found["advice"]) == ("not-in-front", "none", "nothing")
    assert "haproxy" in found["sentence"]
    for action in ("off", "on"):
        done = switch(behind, action)
        assert (done.code, done.document["state"]) == (0, "done"), done.told
        behind.heal()
