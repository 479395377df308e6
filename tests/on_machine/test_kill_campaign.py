"""Killed at any instant, the switch leaves the old bytes or the wanted ones, and Apache running with them.

A run: an off, on or undo is killed at one point of its work (or at a random instant, or Apache or WHM's API is killed
under it); sometimes the recovery is killed too; then the next command is called. What is on disk and what Apache
serves must then agree, and nothing else on the machine may have changed.
`--long` runs every point of every action and hundreds of random instants and prints the sums.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ocsp_stapling.apache import managed_block
from tests.machine import Machine
from tests.on_machine.admin import (
    GLOBAL,
    REBUILD,
    RESTART,
    STATE,
    TWO,
    call,
    disk,
    file_state,
    kill,
    parent,
    points,
    processes,
    sabotage,
    stapled,
    switch,
    write,
)

pytestmark = pytest.mark.machine
FOREIGN = (b"# mine\nSSLUseStapling on\n# no line end at the end", b"LogLevel warn\r\n")
ACTIONS = ("off", "on", "undo")
VICTIMS: dict[str, Callable[[Machine], list[int]]] = {
    "Apache and its configuration test": lambda machine: processes(machine, "httpd"),
    "Apache's parent": lambda machine: [parent(machine)] if parent(machine) else [],
    "WHM's API": lambda machine: processes(machine, line="whmapi1"),
    "restartsrv_httpd": lambda machine: processes(machine, line="restartsrv_httpd"),
}


class Campaign:
    """Runs on one machine, one after the other; each begins where the last one ended."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        for path, content in zip((GLOBAL, TWO), FOREIGN, strict=True):
            write(machine, path, content, 0o640)
        machine.run(RESTART, "--hard")
        switch(machine, "off")
        switch(machine, "on")
        self.untouched = self._rest_of_disk()
        self.endings: Counter[str] = Counter()
        self.operations = 2

    def next_action(self, choice: random.Random) -> str:
        """Return an action that has something to do now."""
        wanted = "on" if self._blocked() else "off"
        return choice.choice([wanted, wanted, "undo"])

    def prepare(self, action: str) -> None:
        """Make sure that the action has something to do."""
        if action == "undo" or (action == "on") == self._blocked():
            return
        assert switch(self.machine, "off" if action == "on" else "on").code == 0
        self.operations = self._last()["count"]

    def kill_points(self, action: str) -> int:
        """Carry an action out and return at how many points it can be killed: before and after each call."""
        self.prepare(action)
        found = 2 * points(self.machine, action, "--yes", "--json")
        self.operations += 1
        return found

    def kill_at(self, action: str, point: int, strike: str = "kill") -> bool:
        """One run: killed at a point; False if the action came to its end before it."""
        self.prepare(action)
        before = file_state(self.machine)
        called = sabotage(self.machine, strike, point, action, "--yes", "--json")
        self.recover_and_check(action, before, f"{action}, {strike} at {point}")
        return called.code != 0

    def kill_after(self, action: str, seconds: float, recovery: float | None = None) -> None:
        """One run: killed after a time, and the recovery too if a time for it is given."""
        before = file_state(self.machine)
        self._killed_after(seconds, action, "--yes", "--json")
        if recovery is not None:
            self._killed_after(recovery, "history", "--json")
        self.recover_and_check(action, before, f"{action} after {seconds:.3f} s, recovery {recovery}")

    def kill_other(self, action: str, seconds: float, victim: str) -> None:
        """One run: Apache's parent, all of Apache or WHM's API is killed under the switch."""
        before = file_state(self.machine)
        started = self.machine.popen("ocsp-stapling", action, "--yes", "--json")
        time.sleep(seconds)
        kill(self.machine, signal.SIGKILL, VICTIMS[victim](self.machine))
        killed = time.time()
        out, err = started.communicate(timeout=120)
        assert started.returncode in (0, 1, 3), (action, seconds, victim, out, err)
        time.sleep(0.3)  # until whoever was killed is gone
        if not parent(self.machine):
            # Killed after the switch had looked for the last time, or before it began and httpd's own test with it.
            late = self._last()["finished"] < killed + 0.25
            assert late or "config-broken" in out, (action, seconds, victim, out)
            kill(self.machine, signal.SIGKILL, processes(self.machine, "httpd"))
            time.sleep(0.5)  # until the dead are buried: for `httpd -k start` a zombie is a running Apache
            self.machine.run(RESTART, "--start")
        self.recover_and_check(action, before, f"{action}, {victim} killed after {seconds:.3f} s")

    def recover_and_check(self, action: str, before: dict[str, Any], what: str) -> None:
        """The next command recovers; then everything must fit together."""
        done = call(self.machine, "history", "--json")
        assert done.code == 0, (what, done.told)
        now, last = file_state(self.machine), self._last()
        ending = self._ending(before, now, last)
        assert ending, (what, last, before, now)
        assert [each[1:] for each in now.values()] == [each[1:] for each in before.values()], what
        assert [managed_block.remove(each[0]) for each in now.values()] == list(FOREIGN), what
        assert parent(self.machine), what
        assert stapled(self.machine) is not self._blocked(), (what, ending)
        assert self._rest_of_disk() == self.untouched, what
        self.endings[ending] += 1
        self.operations = last["count"]

    def _ending(self, before: dict[str, Any], now: dict[str, Any], last: dict[str, Any]) -> str:
        """`old` or `wanted`, "" if the files are neither or the journal says otherwise."""
        wanted = last["after"]
        if now == before:
            # "done" is then the operation before this one, which was killed before it began.
            states = (
                ("restored", "refused")
                if last["count"] > self.operations
                else ("done", "restored", "refused")
            )
            return "old" if last["state"] in states else ""
        content = {path: each[0] for path, each in now.items()}
        return "wanted" if content == wanted and last["state"] == "done" else ""

    def _last(self) -> dict[str, Any]:
        """The journal's last operation, read by SQLite itself."""
        database = sqlite3.connect(":memory:")
        database.deserialize(self.machine.path(f"{STATE}/journal.sqlite").read_bytes())
        with contextlib.closing(database):
            rows = database.execute("SELECT id, state, finished FROM operations ORDER BY rowid").fetchall()
            assert not [each for each in rows if each[1] == "running"], rows
            identity, state, finished = rows[-1]
            after = database.execute("SELECT path, after FROM files WHERE operation = ?", (identity,))
            content = dict(after.fetchall())
            return {"state": state, "finished": finished, "after": content, "count": len(rows)}

    def _killed_after(self, seconds: float, *words: str) -> None:
        started = self.machine.popen("ocsp-stapling", *words)
        time.sleep(seconds)
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()

    def _blocked(self) -> bool:
        return managed_block.find(self.machine.path(GLOBAL).read_bytes()) is not None

    def _rest_of_disk(self) -> dict[str, Any]:
        names = {f"etc/upper{path.removeprefix('/etc')}" for path in (GLOBAL, TWO)}
        return {name: found for name, found in disk(self.machine).items() if name not in names}


@pytest.fixture
def campaign(machine: Machine) -> Iterator[Campaign]:
    yield Campaign(machine)


@pytest.mark.parametrize("action", ["off", "on"])
def test_a_switch_killed_at_any_journalled_step_is_recovered(campaign: Campaign, action: str) -> None:
    steps = 0
    while campaign.kill_at(action, steps, "kill-step"):
        steps += 1
    assert steps >= 5
    assert set(campaign.endings) == {"old", "wanted"}


@pytest.mark.parametrize("action", ["off", "on"])
def test_a_switch_killed_at_a_point_of_its_work_is_recovered(campaign: Campaign, action: str) -> None:
    """Four points of each action, spread over all of them; `--long` takes every one."""
    found = campaign.kill_points(action)
    for point in range(found // 8, found, max(1, found // 4)):
        campaign.kill_at(action, point)
    assert set(campaign.endings) == {"old", "wanted"}


def test_a_switch_killed_at_any_instant_is_recovered_even_if_the_recovery_is_killed(
    campaign: Campaign,
) -> None:
    choice = random.Random(1)
    for _ in range(6):
        recovery = choice.uniform(0.1, 0.5) if choice.random() < 0.5 else None
        campaign.kill_after(campaign.next_action(choice), choice.uniform(0.15, 0.5), recovery)


def test_apache_or_the_api_killed_under_the_switch_leaves_apache_running(campaign: Campaign) -> None:
    choice = random.Random(2)
    for victim in VICTIMS:
        campaign.kill_other(campaign.next_action(choice), choice.uniform(0.2, 0.45), victim)


@pytest.mark.parametrize("words", [("status",), ("check", "--json"), ("history",), ("watch", "--recover")])
def test_whichever_command_comes_next_recovers(campaign: Campaign, words: tuple[str, ...]) -> None:
    sabotage(campaign.machine, "kill", campaign.kill_points("off") // 2, "on", "--yes", "--json")
    call(campaign.machine, *words)
    found = call(campaign.machine, "status", "--json").document
    assert found["pending_operation"] is None
    assert found["last_operation"]["state"] in ("done", "restored")
    assert stapled(campaign.machine) is (found["stapling"] == "on")


def test_a_switch_killed_around_a_rebuild_of_httpd_conf_is_recovered(machine: Machine) -> None:
    for path in (GLOBAL, TWO):
        machine.path(path).unlink()
    machine.run(REBUILD)
    machine.run(RESTART, "--hard")
    found = 2 * points(machine, "off", "--yes", "--json")
    for point in range(found // 4, found, max(1, found // 4)):
        for path in (GLOBAL, TWO):
            machine.path(path).unlink(missing_ok=True)
        machine.run(REBUILD)
        machine.run(RESTART, "--hard")
        sabotage(machine, "kill", point, "off", "--yes", "--json")
        assert call(machine, "history").code == 0
        content = machine.path(GLOBAL).read_bytes() if machine.path(GLOBAL).exists() else b""
        assert stapled(machine) is (managed_block.find(content) is None), point
        assert managed_block.remove(content) == b""
        machine.run("httpd", "-t")
        assert not machine.path(TWO).exists()


def points_campaign(campaign: Campaign) -> None:
    for action in ACTIONS:
        for point in range(campaign.kill_points(action)):
            campaign.kill_at(action, point)
        steps = 0
        while campaign.kill_at(action, steps, "kill-step"):
            steps += 1


def instants_campaign(campaign: Campaign) -> None:
    choice = random.Random(3)
    for _ in range(350):
        recovery = choice.uniform(0.1, 0.6) if choice.random() < 0.4 else None
        campaign.kill_after(campaign.next_action(choice), choice.uniform(0.12, 0.8), recovery)


def others_campaign(campaign: Campaign) -> None:
    choice = random.Random(4)
    for _ in range(150):
        victim = choice.choice(list(VICTIMS))
        campaign.kill_other(campaign.next_action(choice), choice.uniform(0.15, 0.7), victim)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("runs", [points_campaign, instants_campaign, others_campaign])
def test_the_long_campaign(campaign: Campaign, runs: Callable[[Campaign], None]) -> None:
    """Every point of every action; random instants; Apache and WHM's API killed. Prints the sums."""
    began = time.monotonic()
    runs(campaign)
    sums = {"runs": campaign.endings.total(), **campaign.endings}
    print(f"\n{runs.__name__}: {json.dumps(sums)} in {time.monotonic() - began:.0f} s")
