"""A real HAProxy in front of Apache: it staples by itself, nobody waits in an outage, and `check` knows why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.machine import Machine, Shape, haproxy, why_not_here
from tests.on_machine.admin import RESTART, call, stapled, switch, visits

pytestmark = pytest.mark.machine
needs_staples = pytest.mark.skipif(
    bool(haproxy.why_not_here()), reason=haproxy.why_not_here() or "it is here"
)
WITH_ROOT, WITHOUT = "site0001.example.test", "site0002.example.test"


@pytest.fixture(scope="module")
def behind() -> Iterator[Machine]:
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=2, cas=1, v6=0, extras=False)) as machine:
        haproxy.put_in_front(machine, without_root=(WITHOUT,))
        yield machine


@needs_staples
def test_it_staples_by_itself_where_it_knows_the_root_of_the_answers_signer(behind: Machine) -> None:
    deadline = time.monotonic() + 60
    while not stapled(behind, WITH_ROOT):
        assert time.monotonic() < deadline, "HAProxy never stapled"
        time.sleep(0.5)
    time.sleep(6)  # longer than it waits between two attempts
    assert not stapled(behind, WITHOUT)


@needs_staples
def test_an_outage_holds_no_visitor_up_and_check_off_and_on_say_who_is_in_front(behind: Machine) -> None:
    behind.fault("all", "hang")
    behind.run(RESTART, "--hard")
    met = visits(behind, 3)
    assert all(each["seconds"] < 1 and not each["error"] for each in met)
    assert stapled(behind, WITH_ROOT)
    found = call(behind, "check", "--json").document
    assert (found["cause"], found["severity"], found["advice"]) == ("not-in-front", "none", "nothing")
    assert "haproxy" in found["sentence"]
    for action in ("off", "on"):
        done = switch(behind, action)
        assert (done.code, done.document["state"]) == (0, "done"), done.told
        assert stapled(behind, WITH_ROOT)
        behind.heal()


@pytest.mark.skipif(bool(haproxy.missing()), reason=haproxy.missing() or "it is here")
@pytest.mark.parametrize(
    ("passing", "verdict"),
    [(True, ("ca-outage", "stalling", "turn-off")), (False, ("not-in-front", "none", "nothing"))],
    ids=["passes TLS on", "ends TLS"],
)
def test_whether_it_passes_tls_on_decides_whether_visitors_meet_apaches_stall(
    start_machine: Callable[[Shape], Machine], passing: bool, verdict: tuple[str, str, str]
) -> None:
    machine = start_machine(Shape(sites=2, cas=1, v6=0, extras=False))
    haproxy.put_plainly_in_front(machine, passing=passing)
    machine.fault("all", "hang")
    machine.run(RESTART, "--hard")
    found = call(machine, "check", "--json").document
    assert (found["cause"], found["severity"], found["advice"]) == verdict
    assert found["this_server"]["front"] == "haproxy"
