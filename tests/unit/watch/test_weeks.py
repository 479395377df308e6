"""Whole passes over simulated weeks: real rules, real memory, real journal, a real include file; a made-up world.

Weather, reboots, a clock that is set, daylight saving and an administrator who edits: whatever comes, the counts of
switches and mails, and how long stapling is off, stay within what the rules promise.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling import files
from ocsp_stapling.apache import managed_block
from ocsp_stapling.change.journal import FileRecord, Journal
from ocsp_stapling.settings import NotifySettings, Settings, WatchSettings
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.observe import WHO
from ocsp_stapling.watch.one_pass import Told, _afterwards, one_pass
from ocsp_stapling.watch.policy import LONGEST_WAIT_SECONDS, ActionKind, Task, Topic
from ocsp_stapling.watch.tools import Ended, Tools

PASS, HOUR, DAY = 300.0, 3600.0, 86400.0
WEEK = 7 * DAY
# The hour that Europe and America have twice lies in the weeks after this: 2026-10-20.
START = 1_792_454_400.0
URL = "http://ocsp.example.com"
OFF = ["# off", "<IfModule ssl_module>", "SSLUseStapling Off", "</IfModule>"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the switch's files belong to root")


def _responder(outcome: str, address: Mapping[str, object]) -> dict[str, object]:
    cause = "healthy" if outcome == "ok" else "ca-outage"
    return {
        "url": URL,
        "host": "ocsp.example.com",
        "outcome": outcome,
        "cause": cause,
        "shared": True,
        "holds_up": outcome != "ok",
        "serial": "",
        "site_names": ["a.test"],
        "ok": outcome == "ok",
        "addresses": [address],
    }


@dataclass
class World:
    """A server whose responder is down when `down(seconds)` says so."""

    directory: Path
    down: Callable[[float], bool]
    watch: WatchSettings = field(default_factory=WatchSettings)
    offset: Callable[[float], float] = lambda _: 0.0
    t: float = 0.0
    mails: list[tuple[float, Task]] = field(default_factory=list)
    switches: list[tuple[float, str, str]] = field(default_factory=list)
    off_spans: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.include.write_text("# the administrator's\n")
        self.include.chmod(0o600)

    @property
    def include(self) -> Path:
        return self.directory / "pre_virtualhost_global.conf"

    @property
    def settings(self) -> Settings:
        return Settings(state_directory=self.directory / "state", watch=self.watch, notify=NotifySettings())

    def now(self) -> float:
        return START + self.t + self.offset(self.t)

    def off(self) -> bool:
        return b"SSLUseStapling Off" in self.include.read_bytes()

    def look(self, _settings: Settings) -> Mapping[str, Any]:
        down, off = self.down(self.t), self.off()
        stalls = down and not off
        outcome = "reply-timeout" if down else "ok"
        address = {"address": "192.0.2.1", "family": "ipv4", "outcome": outcome, "http_ms": 9.0}
        return {
            "cause": "ca-outage" if stalls else "off-by-plugin" if off else "healthy",
            "severity": "stalling" if stalls else "none",
            "advice": "turn-off" if stalls else "nothing",
            "sentence": "handshakes hang" if stalls else "fine",
            "configuration": {
                "stapling": "off" if off else "on",
                "origin": "managed-block" if off else "template",
            },
            "responders": [_responder(outcome, address)],
            "this_server": {"apache_running": True},
        }

    def switch(
        self, action: str, reason: str, _settings: Settings, who: str = WHO, chosen: bool = True
    ) -> Ended:
        """As the real one: journal, write, verify, and back again if turning on meets a stall."""
        old = files.snapshot(self.include)
        foreign = managed_block.remove(old.content or b"")
        new = managed_block.apply(foreign, OFF) if action == "off" else foreign
        state = "done" if action == "off" or not self.down(self.t + 1) else "restored"
        with Journal(self.settings.state_directory, clock=self.now) as journal:
            plan = {"return_when_healthy": chosen and action == "off"}
            operation = journal.begin(action, who, reason, plan, [FileRecord(self.include, old.content, new)])
            if state == "done":
                files.replace(old, new)
            journal.finish(operation.id, state, {})
        self.switches.append((self.t, action, state))
        return Ended(state, f"{action} ended as {state}")

    def tell(self, action: Task, _check: Mapping[str, Any], _settings: Settings) -> list[str]:
        self.mails.append((self.t, action))
        return []

    def one_pass(self) -> Told:
        tools = Tools(self.look, self.switch, lambda _: False, self.tell, self.now)
        told = one_pass(self.settings, tools)
        assert told is not None
        assert told.problems == () or "ended as" in told.problems[0], told.problems
        return told

    def run(self, seconds: float, awake: Callable[[float], bool] = lambda _: True) -> World:
        end = self.t + seconds
        while self.t < end:
            if awake(self.t):
                self.one_pass()
            self._note_off()
            self.t += PASS
        return self

    def _note_off(self) -> None:
        if not self.off():
            return
        if self.off_spans and self.off_spans[-1][1] == self.t - PASS:
            self.off_spans[-1] = (self.off_spans[-1][0], self.t)
        else:
            self.off_spans.append((self.t, self.t))

    def returns(self) -> list[float]:
        return [t for t, action, state in self.switches if (action, state) == ("on", "done")]


def outages(seed: int, seconds: float) -> list[tuple[float, float]]:
    """Outages of minutes to days, with calm between."""
    chance, t, found = random.Random(seed), 3 * HOUR, []
    while t < seconds:
        length = chance.choice([2, 3, 7, 30, 200, 600]) * PASS
        found.append((t, min(t + length, seconds)))
        t += length + chance.choice([1, 6, 40, 300]) * PASS
    return found


def during(spans: list[tuple[float, float]]) -> Callable[[float], bool]:
    return lambda t: any(begin <= t < end for begin, end in spans)


DEFENDING = WatchSettings(turn_off_when_stalling=True, turn_offs_per_day=3)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
def test_weeks_of_outages_keep_every_promise(tmp_path: Path, seed: int) -> None:
    spans = outages(seed, 10 * DAY)
    world = World(tmp_path, during(spans), DEFENDING).run(10 * DAY)
    world.down = lambda _: False
    world.run(2 * DAY)
    assert not world.off()
    assert world.returns()
    for t in world.returns():
        assert not any(during(spans)(t - i * PASS) for i in range(3))
    # Off no longer than its causes, and after the last of them no longer than the waiting rule.
    for begin, end in world.off_spans:
        causes = [over for began, over in spans if began <= end]
        assert end - max([begin, *causes]) <= LONGEST_WAIT_SECONDS + 4 * PASS
    offs = [t for t, action, _ in world.switches if action == "off"]
    assert offs
    assert all(sum(t <= other < t + DAY for other in offs) <= 3 + 3 for t in offs)
    assert len(world.mails) <= len(world.switches) + 12 * 6
    stalls = [t for t, mail in world.mails if mail.topic is Topic.STALL]
    assert all(later - earlier >= HOUR for earlier, later in itertools.pairwise(stalls))


def test_the_memory_holds_the_outages_as_they_were(tmp_path: Path) -> None:
    world = World(tmp_path, during([(HOUR, 3 * HOUR), (30 * HOUR, 31 * HOUR)])).run(2 * DAY)
    with Memory(world.settings.state_directory) as memory:
        found = [(o.began - START, o.ended and o.ended - START) for o in memory.outages() if o.subject == URL]
        tally = memory.tallies(START)[URL]
    assert found == [(30 * HOUR, 31 * HOUR), (HOUR, 3 * HOUR)]
    assert (tally.passes, tally.passes - tally.good) == (576, 36)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_daylight_saving_changes_nothing(tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock on the wall goes back an hour in these days; switches and mails come as in UTC."""

    def lived(name: str) -> tuple[object, ...]:
        monkeypatch.setenv("TZ", name)
        time.tzset()
        directory = tmp_path / name.replace("/", "-")
        directory.mkdir()
        saving = 5 * DAY  # 2026-10-25 in Europe, 2026-11-01 in America
        spans = [(saving - HOUR, saving + 5 * HOUR), (12 * DAY - HOUR, 12 * DAY + 6 * HOUR)]
        world = World(directory, during(spans), DEFENDING)
        world.t = saving - 3 * HOUR
        world.run(16 * HOUR)
        world.t = 12 * DAY - 3 * HOUR
        world.run(16 * HOUR)
        return world.switches, [(t, mail) for t, mail in world.mails]

    try:
        assert lived(zone) == lived("UTC")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("step", [-400 * DAY, -2 * HOUR, 2 * HOUR, 400 * DAY])
def test_a_clock_that_is_set_delays_no_return_and_hastens_none(tmp_path: Path, step: float) -> None:
    world = World(
        tmp_path, during([(0, 8 * HOUR)]), DEFENDING, offset=lambda t: step if t >= 4 * HOUR else 0.0
    )
    world.run(DAY)
    assert world.returns() == [8 * HOUR + 2 * PASS]
    assert len(world.mails) <= 4


def test_through_reboots_the_outage_is_waited_out_and_the_close_watch_goes_on(tmp_path: Path) -> None:
    """Down for maintenance twice; the second time just after the return, with the responder failing again."""
    spans = [(HOUR, 5 * HOUR), (5 * HOUR + 3 * PASS, 9 * HOUR)]
    world = World(tmp_path, during(spans), DEFENDING)
    world.run(DAY, awake=lambda t: not 2 * HOUR <= t < 2.5 * HOUR and t != 5 * HOUR + 3 * PASS)
    kinds = [(action, state) for _, action, state in world.switches]
    assert kinds[:3] == [("off", "done"), ("on", "done"), ("off", "done")]
    assert not world.off()


def test_what_an_administrator_edits_stays_as_it_is_for_weeks(tmp_path: Path) -> None:
    world = World(tmp_path, during([(HOUR, 5 * HOUR), (3 * DAY, 4 * DAY)]), DEFENDING)
    world.run(2 * HOUR)
    assert world.off()
    edited = world.include.read_text().replace("# off", "# off, and it shall stay so until Monday. Eve")
    world.include.write_text(edited)
    world.run(WEEK)
    assert world.include.read_text() == edited
    assert [mail.about for _, mail in world.mails if mail.topic is Topic.HANDS_OFF] == ["edited"]


def test_an_administrators_off_without_the_choice_is_only_announced(tmp_path: Path) -> None:
    world = World(tmp_path, during([(0, 5 * HOUR)]))
    world.switch("off", "by hand", world.settings, who="root", chosen=False)
    world.run(3 * DAY)
    assert world.off()
    assert [(mail.topic, mail.about) for _, mail in world.mails] == [(Topic.RETURN, "possible")]


def test_with_a_memory_that_cannot_be_written_it_only_looks(tmp_path: Path) -> None:
    world = World(tmp_path, lambda _: False)
    world.switch("off", "by hand", world.settings, who="root")
    tools = Tools(world.look, world.switch, lambda _: False, world.tell, world.now)
    (tmp_path / "state/watch.sqlite").mkdir()
    for _ in range(5):
        told = one_pass(world.settings, tools)
        assert told is not None
        assert "memory" in told.problems[0]
    assert (world.off(), world.mails) == (True, [])


def test_while_a_change_runs_a_pass_only_looks(tmp_path: Path) -> None:
    world = World(tmp_path, lambda _: False)
    world.switch("off", "by hand", world.settings, who="root")
    tools = Tools(world.look, world.switch, lambda _: True, world.tell, world.now)
    for _ in range(5):
        one_pass(world.settings, tools)
        world.t += PASS
    assert len(world.switches) == 1


def with_a_dead_relay(world: World, give_up: Callable[[bool, Settings], Ended]) -> Tools:
    return Tools(
        world.look,
        world.switch,
        lambda _: False,
        world.tell,
        world.now,
        shield=lambda *_: True,
        give_up=give_up,
    )


@pytest.mark.parametrize("down", [False, True])
def test_a_dead_relay_is_given_up_with_a_mail_and_apache_asks_by_itself_only_where_all_are_well(
    tmp_path: Path, down: bool
) -> None:
    world = World(tmp_path, lambda _: down)
    asked: list[bool] = []

    def give_up(healthy: bool, _settings: Settings) -> Ended:
        asked.append(healthy)
        return Ended("done")

    tools = with_a_dead_relay(world, give_up)
    one_pass(world.settings, tools)
    assert asked == [not down]
    assert any("cannot be revived" in action.reason for _, action in world.mails)


def test_a_dead_relay_that_cannot_be_given_up_is_told_once_and_tried_again_at_each_pass(
    tmp_path: Path,
) -> None:
    world, tries = World(tmp_path, lambda _: False), itertools.count()

    def refused(_healthy: bool, _settings: Settings) -> Ended:
        return Ended("refused", f"try {next(tries)}")

    tools = with_a_dead_relay(world, refused)
    for _ in range(4):
        one_pass(world.settings, tools)
        world.t += PASS
    assert next(tries) == 4
    assert [action.about for _, action in world.mails] == ["relay-dead"]


def test_a_mail_about_a_switch_tells_what_was_seen_of_it_and_advises_what_comes_after_it(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, during([(HOUR, 3 * HOUR)]), DEFENDING).run(8 * HOUR)
    off, on = (task for _, task in world.mails if task.about in ("turn-off-done", "turn-on-done"))
    assert (off.seen, on.seen) == ("off ended as done", "on ended as done")
    assert "Stapling returns by itself" in off.advice
    assert "Nothing needs to be done" in on.advice


@pytest.mark.parametrize(
    ("sites", "way_back"),
    [
        (("shop.example",), "`ocsp-stapling on --site shop.example`"),
        (("@anna",), "`ocsp-stapling on --account anna`"),
        (("a.example", "b.example"), "`ocsp-stapling on --site NAME`"),
    ],
)
def test_a_mail_about_a_single_site_names_the_way_back_for_it(sites: tuple[str, ...], way_back: str) -> None:
    assert way_back in _afterwards(Task(ActionKind.TURN_OFF, "a stall", sites=sites))
