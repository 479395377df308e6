"""What one pass of the watch does about what it saw. Pure: a state goes in, a state and actions come out.

The rules, in words (docs/decisions/0008-watch-rules.md): stapling that this plugin turned off returns after
three healthy passes if that was chosen; a return that stalls within a quarter of an hour is taken back, and
the next attempt waits twice as long, up to a day; people are told once about a change, never in a flood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

HEALTHY_PASSES = 3
STALLED_PASSES = 2
CLOSE_WATCH_SECONDS = 15 * 60
FIRST_WAIT_SECONDS = 15 * 60
LONGEST_WAIT_SECONDS = 24 * 3600
QUIET_SECONDS = 3600
DAY_SECONDS = 24 * 3600


class Topic(StrEnum):
    """What people are told about; each topic has its own memory of what was said last."""

    STALL = "stall"
    OFF = "off"
    RETURN = "return"
    HANDS_OFF = "hands-off"


class ActionKind(StrEnum):
    """What a pass can do."""

    TURN_ON = "turn-on"
    TURN_OFF = "turn-off"
    NOTIFY = "notify"


@dataclass(frozen=True)
class Action:
    """Something to do now; for `notify` the topic, what it is about (its state) and a plain sentence."""

    kind: ActionKind
    reason: str
    topic: Topic | None = None
    about: str = ""


@dataclass(frozen=True)
class Wishes:
    """What the operator configured."""

    turn_off_when_stalling: bool = False
    turn_offs_per_day: int = 3


@dataclass(frozen=True)
class Observation:
    """What one pass saw. `now` is seconds since the epoch.

    `stapling`: `on`, `off-by-plugin` or `off-elsewhere`. `healthy`: every needed responder gave a verified good
    answer at every address. `stalled`: a timed handshake that asked for a staple hung. `return_chosen`: the
    operator asked for the return when turning off. `changed_by_hand`: somebody edited what the plugin wrote.
    """

    now: float
    stapling: str
    healthy: bool
    stalled: bool
    return_chosen: bool = False
    changed_by_hand: bool = False
    sentence: str = ""


@dataclass(frozen=True)
class State:
    """What the watch remembers from pass to pass. Times are seconds since the epoch."""

    last_pass: float = 0.0
    healthy_passes: int = 0
    stalled_passes: int = 0
    returned_at: float | None = None
    wait_seconds: float = FIRST_WAIT_SECONDS
    not_before: float = 0.0
    turn_offs: tuple[float, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict)
    told_at: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return asdict(self)

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> State:
        """Read back what `as_json` wrote; anything unusable starts afresh."""
        try:
            known = {name: found[name] for name in State.__dataclass_fields__ if name in found}
            return State(**{**known, "turn_offs": tuple(map(float, known.get("turn_offs", ())))})
        except (TypeError, ValueError):
            return State()


def decide(state: State, seen: Observation, wishes: Wishes) -> tuple[State, tuple[Action, ...]]:
    """Return the state after this pass and what to do now, in order."""
    state = _counted(_with_steady_clock(state, seen.now), seen)
    if seen.stapling == "off-by-plugin":
        return _while_off(state, seen)
    if seen.stapling == "on":
        return _while_on(state, seen, wishes)
    return _say(
        state, seen, Topic.OFF, "off-elsewhere", "Stapling was turned off elsewhere; the watch leaves it."
    )


def switched(state: State, action: ActionKind, done: bool, now: float) -> State:
    """Return the state after a switch that `decide` asked for has ended; `done` tells whether it succeeded."""
    if action is ActionKind.TURN_OFF:
        return replace(state, stalled_passes=0, turn_offs=(*state.turn_offs, now))
    if done:
        return replace(state, returned_at=now, healthy_passes=0)
    return _put_off(state, now)


def _while_off(state: State, seen: Observation) -> tuple[State, tuple[Action, ...]]:
    """Off by us: wait for health, then return or say that it could."""
    state = replace(state, returned_at=None)
    if seen.changed_by_hand:
        sentence = (
            "Somebody edited the lines of this plugin, so the watch does not turn stapling on by itself."
        )
        return _say(state, seen, Topic.HANDS_OFF, "edited", sentence)
    if state.healthy_passes < HEALTHY_PASSES:
        return _forget(state, Topic.RETURN, "possible"), ()
    if not seen.return_chosen:
        sentence = "The responders have been healthy for three passes: stapling can be turned on again."
        return _say(state, seen, Topic.RETURN, "possible", sentence)
    if seen.now < state.not_before:
        return state, ()
    return state, (Action(ActionKind.TURN_ON, "every needed responder has been healthy for three passes"),)


def _while_on(state: State, seen: Observation, wishes: Wishes) -> tuple[State, tuple[Action, ...]]:
    returned = state.returned_at
    if returned is not None and seen.now - returned > CLOSE_WATCH_SECONDS:
        # The return held: the next outage starts with the shortest wait again.
        state = replace(state, returned_at=None, wait_seconds=FIRST_WAIT_SECONDS, not_before=0.0)
        returned = None
    if seen.stalled and returned is not None and not seen.changed_by_hand:
        state = _put_off(replace(state, returned_at=None), seen.now)
        return state, (Action(ActionKind.TURN_OFF, "the sites stalled again soon after stapling returned"),)
    if state.stalled_passes < STALLED_PASSES:
        return _over(state, seen)
    state, told = _say(state, seen, Topic.STALL, "stalled", seen.sentence or "HTTPS handshakes hang.")
    if wishes.turn_off_when_stalling and not seen.changed_by_hand and _may_turn_off(state, seen.now, wishes):
        return state, (*told, Action(ActionKind.TURN_OFF, "handshakes hung in two passes"))
    return state, told


def _over(state: State, seen: Observation) -> tuple[State, tuple[Action, ...]]:
    """Say once that a stall is over - when the sites have been quick for as long as it takes to be sure."""
    if state.told.get(Topic.STALL) == "stalled" and state.healthy_passes >= HEALTHY_PASSES:
        return _say(state, seen, Topic.STALL, "over", "The sites answer quickly again.")
    return state, ()


def _may_turn_off(state: State, now: float, wishes: Wishes) -> bool:
    return sum(now - at < DAY_SECONDS for at in state.turn_offs) < wishes.turn_offs_per_day


def _put_off(state: State, now: float) -> State:
    """Make the next attempt to return wait, each time twice as long."""
    longer = min(state.wait_seconds * 2, LONGEST_WAIT_SECONDS)
    return replace(state, not_before=now + state.wait_seconds, wait_seconds=longer, healthy_passes=0)


def _counted(state: State, seen: Observation) -> State:
    recent = tuple(at for at in state.turn_offs if seen.now - at < DAY_SECONDS)
    return replace(
        state,
        last_pass=seen.now,
        healthy_passes=state.healthy_passes + 1 if seen.healthy and not seen.stalled else 0,
        stalled_passes=state.stalled_passes + 1 if seen.stalled else 0,
        turn_offs=recent,
    )


def _with_steady_clock(state: State, now: float) -> State:
    """A clock set back must not make a wait last for years: everything remembered moves back with it."""
    step = state.last_pass - now
    if step <= 0:
        return state
    return replace(
        state,
        last_pass=now,
        returned_at=None if state.returned_at is None else state.returned_at - step,
        not_before=state.not_before - step,
        turn_offs=tuple(at - step for at in state.turn_offs),
        told_at={topic: at - step for topic, at in state.told_at.items()},
    )


def _say(
    state: State, seen: Observation, topic: Topic, about: str, sentence: str
) -> tuple[State, tuple[Action, ...]]:
    """Tell people about a change: once, and within an hour no second time about the same topic.

    What is held back is said when the hour is over, if it is still so.
    """
    if state.told.get(topic) == about or seen.now - state.told_at.get(topic, -QUIET_SECONDS) < QUIET_SECONDS:
        return state, ()
    state = replace(state, told={**state.told, topic: about}, told_at={**state.told_at, topic: seen.now})
    return state, (Action(ActionKind.NOTIFY, sentence, topic, about),)


def _forget(state: State, topic: Topic, about: str) -> State:
    """What was said is no longer so; when it is so again it may be said again."""
    if state.told.get(topic) != about:
        return state
    return replace(state, told={name: said for name, said in state.told.items() if name != topic})
