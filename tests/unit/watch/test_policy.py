"""Simulated weeks: outages, flapping, clock steps. The real rules, a made-up world, an injected clock."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsp_stapling.watch.policy import (
    DAY_SECONDS,
    LONGEST_WAIT_SECONDS,
    Action,
    ActionKind,
    Observation,
    State,
    Topic,
    Wishes,
    decide,
    switched,
)

PASS = 300.0
START = 1_800_000_000.0


@dataclass
class World:
    """A server whose responder is down when `down(seconds)` says so."""

    down: Callable[[float], bool]
    wishes: Wishes = field(default_factory=Wishes)
    return_chosen: bool = True
    stapling: str = "on"
    clock: Callable[[float], float] = lambda t: START + t
    edited: bool = False
    state: State = field(default_factory=State)
    switches: list[tuple[float, ActionKind]] = field(default_factory=list)
    mails: list[tuple[float, Action]] = field(default_factory=list)
    off_seconds: float = 0.0

    def run(self, seconds: float) -> World:
        for i in range(int(seconds / PASS)):
            self.one_pass(i * PASS)
        return self

    def one_pass(self, t: float) -> None:
        down = self.down(t)
        if self.stapling == "off-by-plugin":
            self.off_seconds += PASS
        seen = Observation(
            self.clock(t),
            self.stapling,
            not down,
            down and self.stapling == "on",
            self.return_chosen,
            self.edited,
        )
        self.state = State.from_json(self.state.as_json())
        self.state, actions = decide(self.state, seen, self.wishes)
        for action in actions:
            self.act(action, t)

    def act(self, action: Action, t: float) -> None:
        if action.kind is ActionKind.NOTIFY:
            self.mails.append((t, action))
            return
        self.switches.append((t, action.kind))
        # Turning on into an outage fails its verification and is taken back by the switch itself.
        done = action.kind is ActionKind.TURN_OFF or not self.down(t + 1)
        if done:
            self.stapling = "off-by-plugin" if action.kind is ActionKind.TURN_OFF else "on"
        self.state = switched(self.state, action.kind, done, self.clock(t))

    def topics(self) -> list[tuple[Topic | None, str]]:
        return [(action.topic, action.about) for _, action in self.mails]


def between(begin: float, end: float) -> Callable[[float], bool]:
    return lambda t: begin <= t < end


HOUR, WEEK = 3600.0, 7 * DAY_SECONDS


def test_a_quiet_week_switches_nothing_and_tells_nobody() -> None:
    world = World(lambda _: False).run(WEEK)
    assert (world.switches, world.mails) == ([], [])


def test_stapling_returns_by_itself_after_three_healthy_passes() -> None:
    world = World(between(0, 5 * HOUR), stapling="off-by-plugin").run(DAY_SECONDS)
    assert world.switches == [(5 * HOUR + 2 * PASS, ActionKind.TURN_ON)]
    assert world.stapling == "on"


def test_without_that_choice_the_operator_is_told_once_instead() -> None:
    world = World(between(0, 5 * HOUR), stapling="off-by-plugin", return_chosen=False).run(WEEK)
    assert world.switches == []
    assert world.topics() == [(Topic.RETURN, "possible")]


def test_what_somebody_edited_is_never_touched_and_that_is_said() -> None:
    world = World(between(0, HOUR), stapling="off-by-plugin", edited=True).run(WEEK)
    assert world.switches == []
    assert world.topics() == [(Topic.HANDS_OFF, "edited")]


def test_a_stall_is_told_in_its_second_pass_and_its_end_once() -> None:
    world = World(between(HOUR, 6 * HOUR)).run(DAY_SECONDS)
    assert world.switches == []
    assert world.topics() == [(Topic.STALL, "stalled"), (Topic.STALL, "over")]
    assert world.mails[0][0] == HOUR + PASS


def test_opted_in_the_watch_ends_a_stall_and_returns_afterwards() -> None:
    world = World(between(HOUR, 6 * HOUR), Wishes(turn_off_when_stalling=True)).run(DAY_SECONDS)
    assert [kind for _, kind in world.switches] == [ActionKind.TURN_OFF, ActionKind.TURN_ON]
    assert world.off_seconds <= 5 * HOUR + 3 * PASS


def test_a_return_that_stalls_is_taken_back_and_the_waits_double_up_to_a_day() -> None:
    """A responder that works only while nobody needs it: healthy to the probe, hanging once stapling is on."""
    world = World(lambda t: False, stapling="off-by-plugin")
    for i in range(int(6 * DAY_SECONDS / PASS)):
        t = i * PASS
        world.down = (lambda _: True) if world.stapling == "on" else (lambda _: False)
        world.one_pass(t)
        if world.switches and world.switches[-1] == (t, ActionKind.TURN_ON):
            world.stapling = "on"
            world.state = switched(world.state, ActionKind.TURN_ON, True, START + t)
    returns = [t for t, kind in world.switches if kind is ActionKind.TURN_ON]
    waits = [b - a for a, b in itertools.pairwise(returns)]
    assert waits == sorted(waits)
    assert waits[1] >= 1.5 * waits[0]
    assert max(waits) <= LONGEST_WAIT_SECONDS + 4 * PASS
    assert len(returns) <= 14


def test_self_defence_stops_at_its_number_of_times_a_day() -> None:
    """Down for ten minutes every hour: without a limit this would switch all day long."""
    flapping = World(lambda t: t % HOUR < 2 * PASS, Wishes(turn_off_when_stalling=True, turn_offs_per_day=3))
    flapping.run(DAY_SECONDS)
    assert sum(kind is ActionKind.TURN_OFF for _, kind in flapping.switches) <= 3


@pytest.mark.parametrize(
    "wishes", [Wishes(), Wishes(turn_off_when_stalling=True)], ids=["told", "defends itself"]
)
@pytest.mark.parametrize("seed", range(8))
def test_flapping_never_floods_the_mailbox(seed: int, wishes: Wishes) -> None:
    chance = random.Random(seed)
    weather = [chance.random() < 0.5 for _ in range(int(WEEK / PASS) + 2)]
    world = World(lambda t: weather[int(t // PASS)], wishes).run(WEEK)
    assert len(world.mails) <= 7 * 24 * 2
    times = [t for t, action in world.mails if action.topic is Topic.STALL]
    assert all(b - a >= HOUR for a, b in itertools.pairwise(times))


def test_a_clock_set_back_a_year_does_not_stop_the_return() -> None:
    world = World(between(0, 5 * HOUR), stapling="off-by-plugin")
    world.clock = lambda t: START + t - (365 * DAY_SECONDS if t >= 4 * HOUR else 0)
    world.run(DAY_SECONDS)
    assert [kind for _, kind in world.switches] == [ActionKind.TURN_ON]


def test_a_damaged_memory_starts_afresh() -> None:
    assert State.from_json({"turn_offs": "x", "last_pass": "never"}) == State()
    assert State.from_json({"unknown": 1}) == State()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.booleans()), min_size=1, max_size=12), st.booleans())
def test_stapling_is_never_off_longer_than_the_cause_and_the_waiting_rule(
    spans: list[tuple[int, bool]], defends: bool
) -> None:
    weather = [down for length, down in spans for _ in range(length)]
    weather += [False] * int(2 * DAY_SECONDS / PASS)
    world = World(
        lambda t: weather[min(int(t // PASS), len(weather) - 1)],
        Wishes(turn_off_when_stalling=defends),
        stapling="off-by-plugin",
    ).run(len(weather) * PASS)
    assert world.stapling == "on"
    last_down = max((i for i, down in enumerate(weather) if down), default=-1) * PASS
    last_on = max(t for t, kind in world.switches if kind is ActionKind.TURN_ON)
    assert last_on <= last_down + LONGEST_WAIT_SECONDS + 4 * PASS


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=3, max_size=400))
def test_the_watch_never_turns_on_into_a_stall_it_could_have_measured(weather: list[bool]) -> None:
    world = World(lambda t: weather[min(int(t // PASS), len(weather) - 1)], stapling="off-by-plugin")
    world.run(len(weather) * PASS)
    for t, kind in world.switches:
        if kind is ActionKind.TURN_ON:
            at = int(t // PASS)
            assert not any(weather[max(0, at - 2) : at + 1])
