"""Simulated weeks: outages, flapping, clock steps. The real rules, a made-up world, an injected clock."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsp_stapling.watch.policy import (
    DAY_SECONDS,
    LONGEST_WAIT_SECONDS,
    RELAY_DEAD,
    ActionKind,
    Observation,
    State,
    Task,
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
    awake: Callable[[float], bool] = lambda _: True
    state: State = field(default_factory=State)
    switches: list[tuple[float, ActionKind]] = field(default_factory=list)
    mails: list[tuple[float, Task]] = field(default_factory=list)
    off_seconds: float = 0.0

    def run(self, seconds: float) -> World:
        for i in range(int(seconds / PASS)):
            if self.awake(i * PASS):
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
            waits_for="ocsp.example.com (connect-timeout)" if down else "",
        )
        self.state = State.from_json(self.state.as_json())
        self.state, actions = decide(self.state, seen, self.wishes)
        for action in actions:
            self.act(action, t)

    def act(self, action: Task, t: float) -> None:
        if action.kind is ActionKind.NOTIFY:
            self.mails.append((t, action))
            return
        self.switches.append((t, action.kind))
        # Turning on into an outage fails its verification and is taken back by the switch itself.
        done = action.kind is ActionKind.TURN_OFF or not self.down(t + 1)
        if done:
            self.stapling = "off-by-plugin" if action.kind is ActionKind.TURN_OFF else "on"
        ended = "done" if done else "restored"
        self.state, told = switched(self.state, action.kind, ended, done, self.clock(t))
        for each in told:
            self.act(each, t)

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
            world.state, _ = switched(world.state, ActionKind.TURN_ON, "done", True, START + t)
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
    assert sum(kind is ActionKind.TURN_OFF for _, kind in flapping.switches) == 3


@pytest.mark.parametrize(
    "wishes", [Wishes(), Wishes(turn_off_when_stalling=True)], ids=["told", "defends itself"]
)
@pytest.mark.parametrize("seed", range(8))
def test_flapping_never_floods_the_mailbox(seed: int, wishes: Wishes) -> None:
    chance = random.Random(seed)
    weather = [chance.random() < 0.5 for _ in range(int(WEEK / PASS) + 2)]
    world = World(lambda t: weather[int(t // PASS)], wishes).run(WEEK)
    assert 0 < len(world.mails) <= 7 * 12, len(world.mails)
    for topic in set(Topic) - {Topic.SWITCH}:
        times = [t for t, action in world.mails if action.topic is topic]
        assert all(b - a >= HOUR for a, b in itertools.pairwise(times))
        assert len(times) <= 5 * 7


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


def test_reboots_and_missed_passes_neither_prove_health_nor_lose_the_return() -> None:
    """The server is down for half a day in the middle of counting: passes before that prove nothing."""
    world = World(between(0, HOUR), stapling="off-by-plugin")
    world.awake = lambda t: not HOUR + 2 * PASS <= t < 13 * HOUR
    world.run(DAY_SECONDS)
    assert world.switches == [(13 * HOUR + 2 * PASS, ActionKind.TURN_ON)]


def test_short_gaps_do_not_start_the_count_again() -> None:
    world = World(between(0, HOUR), stapling="off-by-plugin")
    world.awake = lambda t: t % (3 * PASS) == 0
    world.run(DAY_SECONDS)
    assert world.switches == [(HOUR + 6 * PASS, ActionKind.TURN_ON)]


@pytest.mark.parametrize("step", [90, HOUR, 3 * HOUR, 400 * DAY_SECONDS])
def test_a_clock_set_forward_turns_nothing_on_early(step: float) -> None:
    world = World(between(0, 5 * HOUR), stapling="off-by-plugin")
    world.clock = lambda t: START + t + (step if t >= 2 * HOUR else 0)
    world.run(DAY_SECONDS)
    assert world.switches == [(5 * HOUR + 2 * PASS, ActionKind.TURN_ON)]
    assert len(world.mails) <= 2


def test_a_switch_that_never_comes_back_is_not_tried_by_every_pass() -> None:
    """The process dies in the switch: what `decide` returned was remembered before, nothing after."""
    state, tries = State(), []
    for i in range(int(DAY_SECONDS / PASS)):
        now = START + i * PASS
        state, actions = decide(state, Observation(now, "off-by-plugin", True, False, True), Wishes())
        tries += [now for action in actions if action.kind is ActionKind.TURN_ON]
    waits = [b - a for a, b in itertools.pairwise(tries)]
    assert 3 < len(tries) <= 8
    assert all(later >= 1.5 * earlier for earlier, later in itertools.pairwise(waits[:-1]))


def test_self_defence_that_never_comes_back_still_counts() -> None:
    state, tries = State(), 0
    wishes = Wishes(turn_off_when_stalling=True, turn_offs_per_day=2)
    for i in range(100):
        state, actions = decide(state, Observation(START + i * PASS, "on", False, True), wishes)
        tries += sum(action.kind is ActionKind.TURN_OFF for action in actions)
    assert tries == 2
    assert state.told[Topic.HANDS_OFF] == "used-up"


def test_a_switch_that_always_fails_is_told_once() -> None:
    """Something else forbids the return: tried ever more rarely for weeks, told once."""
    world = World(lambda _: False, stapling="off-by-plugin")
    world.down = lambda t: t % PASS == 1  # healthy to every probe, failing at the switch's own verification
    world.run(4 * WEEK)
    assert world.stapling == "off-by-plugin"
    assert world.topics() == [(Topic.SWITCH, "turn-on-restored")]
    assert len(world.switches) <= 4 * 7 + 8


def test_a_return_that_waits_for_a_day_is_told_with_what_it_waits_for() -> None:
    world = World(lambda _: True, stapling="off-by-plugin").run(WEEK)
    assert world.topics() == [(Topic.OFF, "held-up")]
    assert "ocsp.example.com" in world.mails[0][1].reason


def test_off_elsewhere_from_the_beginning_is_nobodys_news() -> None:
    world = World(lambda _: False, stapling="off-elsewhere").run(WEEK)
    assert (world.switches, world.mails) == ([], [])


def test_turned_off_elsewhere_is_told_once_each_time() -> None:
    world = World(lambda _: False)
    for i in range(int(4 * DAY_SECONDS / PASS)):
        world.stapling = "off-elsewhere" if (i * PASS) % (2 * DAY_SECONDS) > DAY_SECONDS else "on"
        world.one_pass(i * PASS)
    assert world.topics() == [(Topic.OFF, "elsewhere")] * 2
    assert world.switches == []


def seen(t: float, stapling: str, *, stalled: bool = False, **more: object) -> Observation:
    return Observation(START + t, stapling, not stalled, stalled, **more)  # type: ignore[arg-type]


def test_a_return_finished_by_the_recovery_is_watched_closely_too() -> None:
    """The pass died in the switch; the next one finds its own return in the journal, and the sites hanging."""
    own = {"returned": "id1", "returned_at": START}
    _, actions = decide(State(last_pass=START), seen(PASS, "on", stalled=True, **own), Wishes())
    assert [action.kind for action in actions] == [ActionKind.TURN_OFF]


def test_what_somebody_else_turned_on_meanwhile_is_not_taken_back() -> None:
    state, _ = decide(State(), seen(0, "on", returned="id1", returned_at=START), Wishes())
    _, actions = decide(state, seen(PASS, "on", stalled=True, returned=""), Wishes())
    assert actions == ()


def test_an_edited_block_is_not_touched_by_self_defence_and_that_is_said() -> None:
    state, wishes = State(), Wishes(turn_off_when_stalling=True)
    state, _ = decide(state, seen(0, "on", stalled=True, changed_by_hand=True), wishes)
    _, actions = decide(state, seen(PASS, "on", stalled=True, changed_by_hand=True), wishes)
    assert [action.topic for action in actions] == [Topic.STALL, Topic.HANDS_OFF]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.booleans()), min_size=1, max_size=15),
    st.lists(st.tuples(st.integers(0, 800), st.integers(-400_000, 400_000)), max_size=4),
)
def test_whatever_clock_and_reboots_do_nothing_is_turned_on_into_a_stall_and_mails_stay_few(
    spans: list[tuple[int, bool, bool]], steps: list[tuple[int, int]]
) -> None:
    weather = [(down, awake) for length, down, awake in spans for _ in range(length)]
    world = World(lambda t: weather[int(t // PASS)][0], Wishes(turn_off_when_stalling=True))
    world.awake = lambda t: weather[int(t // PASS)][1]
    world.clock = lambda t: START + t + sum(by for at, by in steps if t >= at * PASS)
    weather.append(weather[-1])
    world.run((len(weather) - 1) * PASS)
    for t, kind in world.switches:
        if kind is ActionKind.TURN_ON:
            before = [down for down, awake in weather[: int(t // PASS) + 1] if awake][-3:]
            assert before == [False] * 3
    days = len(weather) * PASS / DAY_SECONDS + len(steps) + 1
    assert len(world.mails) <= 16 * days


def under_the_shield(t: float, *trouble: str) -> Observation:
    return Observation(
        START + t,
        "on",
        healthy=False,
        stalled=False,
        sentence="staples last until ...",
        shield_trouble=trouble,
    )


def test_under_the_shield_it_is_told_once_that_staples_end_within_a_day() -> None:
    state, told = State(), []
    for number in range(100):
        trouble = ("ends-soon:ocsp.a.test",) if number > 10 else ()
        state, actions = decide(state, under_the_shield(number * PASS, *trouble), Wishes())
        told += [(number, each.topic, each.reason) for each in actions]
    assert told == [(11, Topic.SHIELD, "staples of ocsp.a.test end within a day, or have ended")]


def test_a_mail_about_the_shield_names_what_is_new_and_not_what_the_check_names_first() -> None:
    old, strict = "ends-soon:ocsp.old.test", ("must-staple:a.test", "must-staple:b.test")
    state, _ = decide(State(), under_the_shield(0, old), Wishes())
    seen = under_the_shield(DAY_SECONDS, old, "ends-soon:ocsp.new.test", *strict)
    _, (mail,) = decide(state, seen, Wishes())
    assert mail.reason == (
        "staples of ocsp.new.test end within a day, or have ended; "
        "no staple is held for a.test, b.test, which Firefox refuses without one"
    )
    assert mail.about == "ends-soon must-staple"


def test_a_dead_relay_is_told_at_once_also_just_after_what_a_customer_causes_and_then_ever_more_rarely() -> (
    None
):
    state, told = State(), []
    for number in range(288):
        trouble = [f"ends-soon:ocsp.h{number // 12}.test"]
        trouble += [RELAY_DEAD] if number >= 3 and number % 2 else []
        state, actions = decide(state, under_the_shield(number * PASS, *trouble), Wishes())
        told += [number * PASS for each in actions if each.about == RELAY_DEAD]
    assert told[0] == 3 * PASS
    assert len(told) <= 7


def test_more_trouble_under_the_shield_is_told_again_and_a_later_outage_too() -> None:
    state, told = State(), []
    soon, strict = "ends-soon:ocsp.a.test", "must-staple:a.test"
    spans = [(0, (soon,)), (30, (soon, strict)), (60, ()), (400, (soon,))]
    for number in range(500):
        trouble = max(one for one in spans if one[0] <= number)[1]
        state, actions = decide(state, under_the_shield(number * PASS, *trouble), Wishes())
        told += [(number, each.about) for each in actions]
    assert told == [(0, "ends-soon"), (30, "ends-soon must-staple"), (400, "ends-soon")]


def test_a_responder_that_is_dark_for_good_hides_no_other_whose_staples_end() -> None:
    """A customer's own may be; else nobody would hear of the next outage."""
    dark = "ends-soon:ocsp.gone.test"
    spans = [
        (0, (dark,)),
        (288, (dark, "ends-soon:ocsp.a.test")),
        (400, (dark,)),
        (900, ("relay-dead", dark)),
    ]
    state, told = State(), []
    for number in range(1000):
        trouble = max(one for one in spans if one[0] <= number)[1]
        state, actions = decide(state, under_the_shield(number * PASS, *trouble), Wishes())
        told += [(number, each.about) for each in actions]
    assert told == [(0, "ends-soon"), (288, "ends-soon"), (900, "relay-dead")]


def revoked(t: float, *sites: str, trouble: tuple[str, ...] = ()) -> Observation:
    return replace(under_the_shield(t, *trouble), revoked=sites)


def told_of(seen: Iterable[Observation]) -> list[tuple[float, str]]:
    """When what is told, in hours since the first pass."""
    state, told = State(), []
    for each in seen:
        state, actions = decide(State.from_json(state.as_json()), each, Wishes())
        told += [((each.now - START) / HOUR, task.reason) for task in actions]
    return told


def test_each_revocation_is_told_at_once_and_once_also_just_after_another_word_of_the_shield() -> None:
    def at(t: float) -> Observation:
        sites = [site for begin, site in ((900, "a.test"), (1200, "b.test"), (1200, "b.test")) if t >= begin]
        return revoked(t, *sites, trouble=("ends-soon:ocsp.a.test",) if t >= 600 else ())

    told = told_of(at(number * PASS) for number in range(600))
    assert [(hour * HOUR, reason.partition(":")[0]) for hour, reason in told] == [
        (600, "staples of ocsp.a.test end within a day, or have ended"),
        (900, "the authority has revoked the certificate of a.test"),
        (1200, "the authority has revoked the certificate of b.test"),
    ]


def test_a_revocation_is_told_again_after_another_certificate_but_not_after_a_look_that_saw_nothing() -> None:
    spans = [revoked(0, "a.test"), under_the_shield(PASS), revoked(2 * PASS, "a.test")]
    again = [revoked(3 * PASS), revoked(4 * PASS, "a.test")]
    assert [round(hour * HOUR / PASS) for hour, _ in told_of([*spans, *again])] == [0, 4]


def test_an_authority_that_revokes_all_day_long_does_not_flood_the_mailbox() -> None:
    """Nor is one lost: what is held back is told with the next word."""
    every = [f"site{number}.test" for number in range(7 * 288)]
    told = told_of(revoked(number * PASS, *every[: number + 1]) for number in range(len(every)))
    assert len(told) <= 7 * 12
    named = [re.findall(r"site\d+\.test", reason) for _, reason in told]
    more = [int(found[1]) for _, reason in told if (found := re.search(r"and (\d+) more", reason))]
    assert len(every) - sum(map(len, named)) - sum(more) <= 72  # what six hours still hold back
