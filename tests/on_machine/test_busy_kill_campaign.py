"""Killed while others are at work: slow restarts that stop Apache whole, editors saving, a second administrator.

A run: WHM's restart stops Apache, waits up to four seconds and starts it, after up to a second and a half in which
it does nothing yet; two editors save both includes again and again; a second administrator calls something of the
plugin, a restart or a rebuild at some moment; and the change is killed at a random instant, in one of five runs with
WHM's restart under it, in three of ten the recovery too. Then the next command is called. Every line that an editor
saved must be there, both includes must say the same as the journal, Apache must serve what they say, and whoever said
that everything is as it was must have said so while sites answered. `--long` runs five hundred and prints the sums.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ocsp_stapling.apache import managed_block
from tests.machine import Machine, Shape
from tests.on_machine.admin import (
    GLOBAL,
    REBUILD,
    RESTART,
    RESTART_MOOD,
    STATE,
    TWO,
    call,
    disk,
    file_state,
    kill,
    meet,
    parent,
    processes,
    stapled,
    switch,
    write,
)
from tests.on_machine.editors import Editor, by_rename, in_place, now_and_then

pytestmark = pytest.mark.machine
FOREIGN = (
    (GLOBAL, in_place, b"# mine\nSSLUseStapling on\n# no line end at the end"),
    (TWO, by_rename, b"LogLevel warn\r\n"),
)
OURS = "ocsp-stapling"
SECOND = (
    *((OURS, action, "--yes", "--json", "--wait=30") for action in ("off", "on", "undo", "off")),
    *((OURS, action, "--yes", "--json") for action in ("off", "on", "undo")),
    *((OURS, word, "--json") for word in ("status", "history", "config")),
    (OURS, "watch", "--recover"),
    (REBUILD,),
    (RESTART, "--graceful"),
)


@dataclass(frozen=True)
class Run:
    """One run: what is called, when it and its recovery are killed, and what the second administrator does."""

    action: str
    killed_after: float
    with_restart: bool
    recovery_after: float | None
    second: tuple[str, ...]
    second_after: float
    mood: str


def drawn(choice: random.Random, blocked: bool) -> Run:
    """Return a run that has something to do now."""
    pause, before = choice.choice((0.0, 0.5, 2.0, 4.0)), choice.choice((0.0, 0.0, 0.5, 1.5))
    wanted = "on" if blocked else "off"
    killed_after = choice.uniform(0.12, 2.5 + pause + before)
    return Run(
        choice.choice((wanted, wanted, "undo")),
        killed_after,
        choice.random() < 0.2,
        choice.uniform(0.1, 2.0) if choice.random() < 0.3 else None,
        choice.choice(SECOND),
        choice.uniform(0.0, killed_after + 1.0),
        f"stop-start {pause} {before}",
    )


class BusyCampaign:
    """Runs on one machine, one after the other; each begins where the last one ended."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self.machine, self.choice = machine, random.Random(seed)
        for path, _, start in FOREIGN:
            write(machine, path, start, 0o640)
        machine.run(REBUILD)
        machine.run(RESTART, "--hard")
        switch(machine, "off")
        switch(machine, "on")
        self.owners = self._owners()
        self.untouched = self._rest_of_disk()
        self.endings: Counter[str] = Counter()
        pauses = now_and_then(self.choice, 2.0)
        self.editors = [Editor(machine.path(path), save, start, pauses) for path, save, start in FOREIGN]

    def run(self) -> None:
        """One run, and everything that must hold after it."""
        run = drawn(self.choice, self._blocked())
        self.machine.path(RESTART_MOOD).write_text(run.mood)
        began = time.monotonic()
        ours = self.machine.popen(OURS, run.action, "--yes", "--json")
        moments = sorted(((run.killed_after, "kill"), (run.second_after, "second")))
        second: subprocess.Popen[str] | None = None
        for moment, what in moments:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            if what == "second":
                second = self.machine.popen(*run.second)
            else:
                self._kill(ours, run.with_restart)
        if run.recovery_after is not None:
            self._kill(self.machine.popen(OURS, "history", "--json"), False, run.recovery_after)
        assert second is not None
        self._second_ended(run, second)
        self._recovered_and_right(run)

    def _kill(self, started: subprocess.Popen[str], with_restart: bool, after: float = 0.0) -> None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        if with_restart:
            for line in ("whmapi1", "restartsrv_httpd"):
                kill(self.machine, signal.SIGKILL, processes(self.machine, line=line))
        started.communicate()

    def _second_ended(self, run: Run, second: subprocess.Popen[str]) -> None:
        """The second administrator's call ends by itself, with a reason, and tells no untruth about the sites."""
        out, err = second.communicate(timeout=300)
        if run.second[0] != OURS:
            return
        assert "Traceback" not in err, (run, err)
        assert second.returncode in (0, 1, 3), (run, second.returncode, out, err)
        if second.returncode == 3:
            assert meet(self.machine, "site0001.example.test")["error"] == "", (
                run,
                "restored, but down",
                out,
            )
            self.endings["second administrator: restored"] += 1

    def _recovered_and_right(self, run: Run) -> None:
        done = call(self.machine, "history", "--json")
        assert done.code == 0, (run, done.told)
        met = meet(self.machine, "site0001.example.test")
        assert met["error"] == "", (run, met, done.told[-3000:])
        with contextlib.ExitStack() as stack:
            for each in self.editors:
                stack.enter_context(each.at_work)
            self._right(run)

    def _right(self, run: Run) -> None:
        found = file_state(self.machine)
        told = (run, self._operations()[-4:], found)
        for each, (path, _, _) in zip(self.editors, FOREIGN, strict=True):
            assert managed_block.remove(found[path][0]) == each.wanted, told
        blocks = {path: managed_block.find(content) is not None for path, (content, *_) in found.items()}
        assert len(set(blocks.values())) == 1, (
            run,
            blocks,
            [each["state"] for each in self._operations()[-4:]],
        )
        assert self._owners() == self.owners, told
        assert parent(self.machine), told
        assert self._journal_says() is self._blocked(), told
        assert stapled(self.machine) is not self._blocked(), told
        assert self._rest_of_disk() == self.untouched, run
        self.endings[self._operations()[-1]["state"]] += 1

    def _journal_says(self) -> bool:
        """Whether the journal says that the block is there: what was done last left it, or took it away."""
        done = [each for each in self._operations() if each["state"] == "done" and each["after"]]
        return b"BEGIN OCSP" in done[-1]["after"]

    def _operations(self) -> list[dict[str, Any]]:
        """The journal's operations, oldest first, read by SQLite itself; none may be open."""
        database = sqlite3.connect(":memory:")
        database.deserialize(self.machine.path(f"{STATE}/journal.sqlite").read_bytes())
        with contextlib.closing(database):
            rows = database.execute("SELECT id, action, state FROM operations ORDER BY rowid").fetchall()
            after = dict(
                database.execute("SELECT operation, after FROM files WHERE path = ?", (GLOBAL,)).fetchall()
            )
        assert not [each for each in rows if each[2] == "running"], rows[-3:]
        return [{"action": action, "state": state, "after": after.get(one)} for one, action, state in rows]

    def _blocked(self) -> bool:
        return managed_block.find(self.machine.path(GLOBAL).read_bytes()) is not None

    def _owners(self) -> list[tuple[int, int, int]]:
        return [each[1:] for each in file_state(self.machine).values()]

    def _rest_of_disk(self) -> dict[str, Any]:
        names = {f"etc/upper{path.removeprefix('/etc')}" for path in (GLOBAL, TWO)}
        return {name: found for name, found in disk(self.machine).items() if name not in names}


@contextlib.contextmanager
def busy(seed: int) -> Iterator[BusyCampaign]:
    """A machine on which two editors are at work."""
    with Machine(Shape()) as machine:
        campaign = BusyCampaign(machine, seed)
        for each in campaign.editors:
            each.start()
        try:
            yield campaign
        finally:
            for each in campaign.editors:
                each.enough.set()
                each.join()


def test_killed_beside_editors_and_a_second_administrator_it_is_recovered() -> None:
    with busy(1) as campaign:
        for _ in range(2):
            campaign.run()


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(20))
def test_the_long_campaign_beside_others(seed: int) -> None:
    began = time.monotonic()
    with busy(100 + seed) as campaign:
        for _ in range(25):
            campaign.run()
    print(f"\nseed {seed}: {json.dumps(campaign.endings)} in {time.monotonic() - began:.0f} s")
