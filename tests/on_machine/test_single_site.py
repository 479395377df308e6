"""`off --site`: one customer's certificate makes everybody wait; the remedy costs that one customer's staple only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.machine import Machine, Shape
from tests.machine.shape import SLY_V4
from tests.on_machine.admin import REBUILD, RESTART, call, disk, meet, sabotage, stapled, switch, visits
from tests.on_machine.hostile import EVIL, customer, visited

pytestmark = pytest.mark.machine
SITE = "site0002.example.test"
OTHER = "site0001.example.test"
USERDATA = "/etc/apache2/conf.d/userdata"
OURS = f"{USERDATA}/ssl/2_4/user0002/{SITE}/zzz_ocsp_stapling_site.conf"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(Shape(sites=4, cas=2)) as started:
        yield started


def without_our_files(machine: Machine) -> None:
    """As after the next rebuild of httpd.conf: nothing names the directories any more."""
    machine.run("rm", "-rf", f"{USERDATA}/ssl")
    machine.run(REBUILD)
    machine.run(RESTART, "--hard")


def test_it_ends_the_waiting_of_all_and_costs_nobody_else_a_staple(
    machine: Machine, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: customer(machine, "http://ocsp.alpha-ca.test"))
    customer(machine, "http://10.255.255.1/")
    with visited(machine):
        assert any(met["seconds"] > 2 for met in visits(machine, 3))
        done = switch(machine, "off", "--site", EVIL)
        assert (done.code, done.document["action"], done.document["warnings"]) == (0, "site-off", [])
        assert all(met["seconds"] < 1 for met in visits(machine, 3))
        assert stapled(machine, OTHER)
        assert not meet(machine, EVIL)["stapled"]
    status = call(machine, "status", "--json").document
    assert (status["stapling"], [one["site"] for one in status["off_alone"]]) == ("on", [EVIL])
    assert f"off for {EVIL} alone" in call(machine, "history").out


def test_a_responder_that_lets_apache_alone_wait_is_named_and_its_site_turned_off(
    machine: Machine, request: pytest.FixtureRequest
) -> None:
    """It answers whoever asks while another question waits, and so every check; others lost their staples."""
    without_our_files(machine)
    request.addfinalizer(lambda: customer(machine, "http://ocsp.alpha-ca.test"))
    customer(machine, f"http://{SLY_V4}/")
    with visited(machine):
        found = call(machine, "check", "--json").document
    sly = next(one for one in found["responders"] if SLY_V4 in one["url"])
    assert (sly["ok"], found["severity"]) == (True, "stalling")
    assert (found["advice"], found["alone"]) == ("turn-off-site", [EVIL])
    assert SLY_V4 in found["sentence"]


def test_it_outlives_an_off_and_an_on_for_all_and_is_undone_by_its_own_word(machine: Machine) -> None:
    without_our_files(machine)
    plan = call(machine, "off", "--site", SITE, "--dry-run", "--json").document
    assert (plan["site"], plan["rebuild"], plan["sites_affected_count"], plan["stapling_then"]) == (
        SITE,
        True,
        1,
        "on",
    )
    assert [each["path"] for each in plan["changes"]] == [OURS]
    for action in ("off", "on"):
        assert switch(machine, "off", "--site", SITE).code == 0
        assert switch(machine, action).code == 0
        assert not stapled(machine, SITE)
        assert stapled(machine, OTHER) is (action == "on")
    for words in (("on", "--site", SITE), ("undo",), ("undo",)):
        done = switch(machine, *words)
        assert done.code == 0, done.told
        assert stapled(machine, SITE) is (words != ("undo",) or not machine.path(OURS).read_bytes())


def test_killed_at_a_journalled_step_it_is_recovered(
    machine: Machine, request: pytest.FixtureRequest
) -> None:
    """Every third step; `--long` takes every one."""
    without_our_files(machine)
    untouched = disk(machine)
    steps, endings = 0, set()
    while sabotage(machine, "kill-step", steps, "off", "--site", SITE, "--yes", "--json").code != 0:
        assert call(machine, "history").code == 0
        off = machine.path(OURS).exists() and bool(machine.path(OURS).read_bytes())
        assert stapled(machine, SITE) is not off, steps
        assert stapled(machine, OTHER), steps
        assert call(machine, "status", "--json").document["pending_operation"] is None
        machine.run("httpd", "-t")
        endings.add(off)
        without_our_files(machine)
        assert disk(machine) == untouched, steps
        steps += 1 if request.config.getoption("--long") else 3
    assert steps >= 5
    assert endings == {True, False}


@pytest.mark.parametrize("name", ["noocsp.example.test", "nobody.example.test", "../../x"])
def test_a_name_that_is_no_site_is_refused_and_nothing_is_touched(machine: Machine, name: str) -> None:
    before = disk(machine)
    done = switch(machine, "off", "--site", name)
    expected = (0, "") if name.startswith("noocsp") else (1, "no-such-site")
    assert (done.code, done.error) == expected
    if done.code:
        assert disk(machine) == before


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_watch_costs_only_the_customer_at_fault_a_staple(
    start_machine: Callable[[Shape], Machine],
) -> None:
    """The return is not held up by one customer's hanging responder, nor does it hang because of it."""
    machine = start_machine(Shape(sites=4, cas=2))
    machine.run("mkdir", "-p", "/etc/ocsp-stapling")
    machine.path("/etc/ocsp-stapling/config.toml").write_text("[watch]\nturn_off_when_stalling = true\n")
    customer(machine, "http://10.255.255.1/")
    with visited(machine):
        for _ in range(2):
            machine.run("ocsp-stapling", "watch")
        assert all(met["seconds"] < 1 for met in visits(machine, 3))
    status = call(machine, "status", "--json").document
    assert (status["stapling"], [one["site"] for one in status["off_alone"]]) == ("on", [EVIL])
    switch(machine, "on", "--site", EVIL)
    machine.run("rm", "-r", f"{USERDATA}/ssl", "/var/lib/ocsp-stapling")
    machine.run(REBUILD)
    assert switch(machine, "off", "--return").code == 0
    for _ in range(6):
        machine.run("ocsp-stapling", "watch")
    status = call(machine, "status", "--json").document
    assert (status["stapling"], [one["site"] for one in status["off_alone"]]) == ("on", [EVIL])
    assert stapled(machine, OTHER)
