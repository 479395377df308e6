"""What one pass of the watch does about what it saw. Pure: a state goes in, a state and actions come out.

The rules, in words (docs/decisions/0008-watch-rules.md): stapling that this plugin turned off returns after
three healthy passes if that was chosen; a return that stalls within a quarter of an hour is taken back, and
the next attempt waits twice as long, up to a day; people are told once about a change of state, and ever more
rarely while it flaps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from ocsp_stapling.change.request import called
from ocsp_stapling.text import listed

FIRST_QUIET_SECONDS = 3600.0
LONGEST_QUIET_SECONDS = 6 * 3600.0
CALM_SECONDS = 24 * 3600.0


class Topic(StrEnum):
    """What people are told about; each topic has its own memory of what was said last."""

    STALL = "stall"
    OFF = "off"
    RETURN = "return"
    SWITCH = "switch"
    HANDS_OFF = "hands-off"
    SHIELD = "shield"
    RELAY = "relay"
    REVOKED = "revoked"


def say(state: State, now: float, topic: Topic, about: str) -> State | None:
    """Return the state in which `about` has been said of `topic`; None if it is not to be said now.

    After each word a topic is quiet for an hour, then for two, up to six, until it has been calm for a day. What
    is held back is said when the quiet ends, if it is still so.
    """
    since = now - state.told_at.get(topic, -CALM_SECONDS)
    if state.told.get(topic) == about or since < state.quiet.get(topic, 0.0):
        return None
    return tell_now(state, now, topic, about)


def tell_now(state: State, now: float, topic: Topic, about: str) -> State:
    """Return the state in which `about` has been said of `topic`, however lately something was."""
    since = now - state.told_at.get(topic, -CALM_SECONDS)
    again = min(state.quiet.get(topic, 0.0) * 2, LONGEST_QUIET_SECONDS)
    quiet = FIRST_QUIET_SECONDS if since >= CALM_SECONDS else max(again, FIRST_QUIET_SECONDS)
    return replace(
        told_about(state, topic, about),
        told_at=_with(state.told_at, topic, now),
        quiet=_with(state.quiet, topic, quiet),
    )


def told_about(state: State, topic: Topic, about: str) -> State:
    """Return the state in which `about` is what people know of `topic` already, without a word."""
    return replace(state, told=_with(state.told, topic, about))


def forget(state: State, topic: Topic) -> State:
    """What was said is no longer so; when it is so again it may be said again, after the quiet."""
    if topic not in state.told:
        return state
    return replace(state, told={name: said for name, said in state.told.items() if name != topic})


_V = TypeVar("_V")


def _with(known: Mapping[str, _V], topic: Topic, value: _V) -> dict[str, _V]:
    return {**known, topic: value}


REMEMBERED = "policy"
"""Under this name the watch's memory holds the state."""
HEALTHY_PASSES = 3
STALLED_PASSES = 2
CLOSE_WATCH_SECONDS = 15 * 60
FIRST_WAIT_SECONDS = 15 * 60
LONGEST_WAIT_SECONDS = 24 * 3600
DAY_SECONDS = 24 * 3600
RELAY_DEAD = "relay-dead"
REVOKED_AT_ONCE = 6
"""So many words about revocations a day wait for nothing: a customer's own authority may revoke all day long."""
GAP_SECONDS = 2 * 3600
"""After so long without a pass (the server was down) passes before it prove nothing about now."""


class ActionKind(StrEnum):
    """What a pass can do."""

    TURN_ON = "turn-on"
    TURN_OFF = "turn-off"
    NOTIFY = "notify"


@dataclass(frozen=True)
class Task:
    """Something to do now; for `notify` the topic, what it is about (its state) and a plain sentence."""

    kind: ActionKind
    reason: str
    topic: Topic | None = None
    about: str = ""
    sites: tuple[str, ...] = ()
    """For `turn-off`: only these, () for all."""
    seen: str = ""
    """For `notify` about a change: what was seen of it, and `advice` what there is to do after it."""
    advice: str = ""


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
    `returned`: the watch's own return if that is the last change, "" if it is not, None if the history is lost;
    `returned_at` is when it ended. `waits_for` says in words which responders are not healthy.
    `alone` are the sites of one customer for which turning stapling off ends the stall (one `@ACCOUNT` where they are
    many), () if that would not do.
    """

    now: float
    stapling: str
    healthy: bool
    stalled: bool
    return_chosen: bool = False
    changed_by_hand: bool = False
    sentence: str = ""
    returned: str | None = None
    returned_at: float = 0.0
    waits_for: str = ""
    alone: tuple[str, ...] = ()
    shield_trouble: tuple[str, ...] = ()
    """Under the shield: `ends-soon:HOST` whose staples end in a day; `must-staple:SITE` without one; `relay-dead`."""
    revoked: tuple[str, ...] | None = None
    """The site of each certificate that its authority has revoked; None: not under the shield, or not seen."""


@dataclass(frozen=True)
class State:
    """What the watch remembers from pass to pass. Times are seconds since the epoch.

    `attempts` counts the returns that did not hold for a day, the last one at `attempted_at`; `not_before` is when
    the next may be tried.
    `told`, `told_at` and `quiet` are what people know: see `say`.
    """

    last_pass: float = 0.0
    healthy_passes: int = 0
    stalled_passes: int = 0
    quick_passes: int = 0
    off_since: float | None = None
    returned: str = ""
    returned_at: float | None = None
    attempts: int = 0
    attempted_at: float = 0.0
    not_before: float = 0.0
    turn_offs: tuple[float, ...] = ()
    revocations: tuple[float, ...] = ()
    """When revocations were told, within a day."""
    told: Mapping[str, str] = field(default_factory=dict)
    told_at: Mapping[str, float] = field(default_factory=dict)
    quiet: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return dict(vars(self))

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> State:
        """Read back what `as_json` wrote; anything unusable starts afresh."""
        try:
            known = {name: found[name] for name in State.__dataclass_fields__ if name in found}
            times = {name: tuple(map(float, known.get(name, ()))) for name in ("turn_offs", "revocations")}
            return State(**{**known, **times})
        except (TypeError, ValueError):
            return State()


Decision = tuple[State, tuple[Task, ...]]


def decide(state: State, seen: Observation, wishes: Wishes) -> Decision:
    """Return the state after this pass and what to do now, in order.

    The state counts a switch as tried and in vain before it is tried: one that never comes back (the server
    dies in it) must not be tried again by every pass to come. `switched` corrects that afterwards.
    """
    state, revoked = _revocations(_counted(_with_steady_clock(state, seen.now), seen), seen)
    state, told = _shield(state, seen)
    return _add((*revoked, *told), _decide(state, seen, wishes))


def _decide(state: State, seen: Observation, wishes: Wishes) -> Decision:
    if seen.stapling == "off-by-plugin":
        return _while_off(replace(state, off_since=_first(state.off_since, seen.now)), seen)
    state = replace(state, off_since=None)
    if seen.stapling == "on":
        return _while_on(_with_return(state, seen), seen, wishes)
    return _while_off_elsewhere(replace(state, returned_at=None), seen)


def switched(state: State, kind: ActionKind, ended: str, done: bool, now: float) -> Decision:
    """Return the state after a switch that `decide` asked for has ended, and what to tell about it.

    A switch that was made is always told. One that fails is told once, however often it is tried again.
    """
    what = "turned off" if kind is ActionKind.TURN_OFF else "turned on again"
    if done:
        state = replace(state, stalled_passes=0, healthy_passes=0)
        if kind is ActionKind.TURN_ON:
            state = replace(state, returned_at=now)
        sentence = f"stapling was {what} by the watch"
        return tell_now(state, now, Topic.SWITCH, f"{kind}-{ended}"), (
            _notify(Topic.SWITCH, kind, ended, sentence),
        )
    told = say(state, now, Topic.SWITCH, f"{kind}-{ended}")
    if told is None:
        return state, ()
    sentence = f"stapling could not be {what} by the watch ({ended})"
    return told, (_notify(Topic.SWITCH, kind, ended, sentence),)


def _notify(topic: Topic, kind: ActionKind, ended: str, sentence: str) -> Task:
    return Task(ActionKind.NOTIFY, sentence, topic, f"{kind}-{ended}")


# -- the shield ---------------------------------------------------------------------------------------------


def _shield(state: State, seen: Observation) -> Decision:
    """Nobody waits under the shield, so it is told in good time what would cost staples: a day before they end.

    Each responder and each site is told by itself, lest one that is dark for good hide the next.
    """
    state, relay = _relay(state, seen)
    found = [one for one in seen.shield_trouble if one != RELAY_DEAD]
    known = state.told.get(Topic.SHIELD, "").split()
    gone = [one for one in known if one not in found]
    state = told_about(state, Topic.SHIELD, " ".join(one for one in known if one in found)) if gone else state
    fresh = [one for one in found if one not in known]
    told = say(state, seen.now, Topic.SHIELD, " ".join(found)) if fresh else None
    if told is None:
        return state, relay
    about = " ".join(dict.fromkeys(one.partition(":")[0] for one in found))
    return told, (*relay, Task(ActionKind.NOTIFY, _shield_words(fresh), Topic.SHIELD, about))


def _relay(state: State, seen: Observation) -> Decision:
    """A topic of its own: what a customer's certificates cause must not keep a dead relay quiet."""
    if RELAY_DEAD not in seen.shield_trouble:
        return forget(state, Topic.RELAY), ()
    sentence = "the shield's relay is dead and could not be replaced: ocsp-stapling shield off"
    return _say(state, seen, Topic.RELAY, RELAY_DEAD, sentence)


def _shield_words(fresh: Sequence[str]) -> str:
    """What is new. The check's own sentence is about all there is, and may begin with what was told long ago."""
    hosts, sites = (
        [name for kind, _, name in (one.partition(":") for one in fresh) if kind == wished]
        for wished in ("ends-soon", "must-staple")
    )
    words = [f"staples of {listed(hosts)} end within a day, or have ended"] if hosts else []
    words += [f"no staple is held for {listed(sites)}, which Firefox refuses without one"] if sites else []
    return "; ".join(words)


def _revocations(state: State, seen: Observation) -> Decision:
    """Browsers refuse the site from now on: each is told at once, once, whatever else was told lately."""
    if seen.revoked is None:
        return state, ()
    now, before = Counter(seen.revoked), Counter(state.told.get(Topic.REVOKED, "").split())
    still, fresh = now & before, now - before
    state = told_about(state, Topic.REVOKED, " ".join(still.elements())) if before - still else state
    at_once = len(state.revocations) < REVOKED_AT_ONCE
    told = (tell_now if at_once else say)(state, seen.now, Topic.REVOKED, " ".join(now.elements()))
    if not fresh or told is None:
        return state, ()
    told = replace(told, revocations=(*told.revocations, seen.now))
    sentence = f"the authority has revoked the certificate of {listed(sorted(fresh))}: browsers refuse it"
    return told, (Task(ActionKind.NOTIFY, sentence, Topic.REVOKED, "revoked"),)


# -- stapling is off by this plugin ------------------------------------------------------------------------


def _while_off(state: State, seen: Observation) -> Decision:
    """Off by us: wait for health, then return or say that it could."""
    state = replace(state, returned_at=None)
    state, told = _stall_of_single_sites(state, seen)
    if seen.changed_by_hand:
        return _add(told, _hands_off(state, seen, "on"))
    state = forget(state, Topic.HANDS_OFF)
    if state.healthy_passes < HEALTHY_PASSES:
        return _add(told, _held_up(forget(state, Topic.RETURN), seen))
    if not seen.return_chosen:
        sentence = "the responders have been healthy for three passes: stapling can be turned on again"
        return _add(told, _say(state, seen, Topic.RETURN, "possible", sentence))
    if seen.now < state.not_before:
        return state, told
    if seen.alone:
        # First what would make everybody wait again; then three more passes.
        reason = f"nothing else keeps stapling from returning, for {_alone(seen)} alone"
        action = Task(ActionKind.TURN_OFF, reason, sites=seen.alone)
        return replace(state, healthy_passes=0), (*told, action)
    action = Task(ActionKind.TURN_ON, "every needed responder has been healthy for three passes")
    state = replace(state, attempts=state.attempts + 1, attempted_at=seen.now)
    return _put_off(state, seen.now), (*told, action)


def _hands_off(state: State, seen: Observation, way: str) -> Decision:
    sentence = (
        "somebody edited the lines of this plugin, or its history could not be written: the watch does not turn "
        f"stapling {way} by itself"
    )
    return _say(state, seen, Topic.HANDS_OFF, "edited", sentence)


def _alone(seen: Observation) -> str:
    return listed([called(site) for site in seen.alone])


def _stall_of_single_sites(state: State, seen: Observation) -> Decision:
    """Sites that turn stapling on themselves go on hanging; else whatever stalled before is over with the switch."""
    if state.stalled_passes >= STALLED_PASSES:
        return _say(state, seen, Topic.STALL, "stalled", _stall_words(seen))
    return (state if seen.stalled else forget(state, Topic.STALL)), ()


def _held_up(state: State, seen: Observation) -> Decision:
    """Temporary must not become permanent unnoticed: after a day say once what the return waits for."""
    if state.off_since is None or seen.now - state.off_since < DAY_SECONDS or not seen.waits_for:
        return state, ()
    sentence = f"stapling has been off for a day; its return waits for {seen.waits_for}"
    return _say(state, seen, Topic.OFF, "held-up", sentence)


# -- stapling is on ----------------------------------------------------------------------------------------


def _while_on(state: State, seen: Observation, wishes: Wishes) -> Decision:
    state = told_about(forget(state, Topic.RETURN), Topic.OFF, "on")
    if state.returned_at is not None and seen.now - state.returned_at > CLOSE_WATCH_SECONDS:
        state = replace(state, returned_at=None)
    if state.healthy_passes >= HEALTHY_PASSES and seen.now - state.attempted_at > DAY_SECONDS:
        # The return held for a day: the next outage starts with the shortest wait again.
        state = replace(state, attempts=0, not_before=0.0)
    if seen.stalled and state.returned_at is not None and not seen.changed_by_hand:
        state = replace(state, returned_at=None, attempts=max(state.attempts, 1))
        return _turned_off(state, seen, "the sites stalled again soon after stapling returned")
    if state.stalled_passes < STALLED_PASSES:
        return _over(state, seen)
    if wishes.turn_off_when_stalling and not seen.changed_by_hand and _may_turn_off(state, wishes):
        return _turned_off(state, seen, "handshakes hung in two passes in a row")
    state, told = _say(state, seen, Topic.STALL, "stalled", _stall_words(seen))
    return _add(told, _why_not(state, seen)) if wishes.turn_off_when_stalling else (state, told)


def _may_turn_off(state: State, wishes: Wishes) -> bool:
    return len(state.turn_offs) < wishes.turn_offs_per_day


def _why_not(state: State, seen: Observation) -> Decision:
    """Self-defence was chosen, but somebody's hand was in it, or it is used up."""
    if seen.changed_by_hand:
        return _hands_off(state, seen, "off")
    sentence = "the watch has turned stapling off as often as it may within a day; the next step is yours"
    return _say(state, seen, Topic.HANDS_OFF, "used-up", sentence)


def _turned_off(state: State, seen: Observation, reason: str) -> Decision:
    state = replace(state, turn_offs=(*state.turn_offs, seen.now))
    state = _put_off(state, seen.now) if state.attempts else state
    whom = f", for {_alone(seen)} alone" if seen.alone else ""
    return state, (Task(ActionKind.TURN_OFF, f"{reason}{whom}", sites=seen.alone),)


def _over(state: State, seen: Observation) -> Decision:
    """Say once that a stall is over - when the sites have been quick for as long as it takes to be sure."""
    if state.told.get(Topic.STALL) == "stalled" and state.quick_passes >= HEALTHY_PASSES:
        return _say(state, seen, Topic.STALL, "over", "the sites answer quickly again")
    return state, ()


def _stall_words(seen: Observation) -> str:
    return seen.sentence or "HTTPS handshakes hang"


def _while_off_elsewhere(state: State, seen: Observation) -> Decision:
    """Somebody else's decision; worth a word only where stapling was seen on before."""
    if state.told.get(Topic.OFF) != "on":
        return state, ()
    return _say(
        state, seen, Topic.OFF, "elsewhere", "stapling was turned off elsewhere; the watch leaves it so"
    )


# -- counting and remembering ------------------------------------------------------------------------------


def wait_seconds(attempts: int) -> float:
    """Return how long to wait after so many attempts: twice as long each time, up to a day."""
    return float(min(FIRST_WAIT_SECONDS * 2 ** min(max(attempts - 1, 0), 20), LONGEST_WAIT_SECONDS))


def _put_off(state: State, now: float) -> State:
    return replace(state, not_before=now + wait_seconds(state.attempts), healthy_passes=0)


def _with_return(state: State, seen: Observation) -> State:
    """Take note of the watch's own return, also one whose process died or was finished by the recovery.

    A change that somebody else made since ends the close watch: it is theirs now.
    """
    if seen.returned == "":
        return replace(state, returned="", returned_at=None)
    if seen.returned is None or seen.returned == state.returned:
        return state
    return replace(state, returned=seen.returned, returned_at=min(seen.returned_at, seen.now))


def _counted(state: State, seen: Observation) -> State:
    if seen.now - state.last_pass > GAP_SECONDS:
        state = replace(state, healthy_passes=0, stalled_passes=0, quick_passes=0)
    return replace(
        state,
        last_pass=seen.now,
        healthy_passes=state.healthy_passes + 1 if seen.healthy and not seen.stalled else 0,
        stalled_passes=state.stalled_passes + 1 if seen.stalled else 0,
        quick_passes=0 if seen.stalled else state.quick_passes + 1,
        turn_offs=tuple(at for at in state.turn_offs if seen.now - at < DAY_SECONDS),
        revocations=tuple(at for at in state.revocations if seen.now - at < DAY_SECONDS),
    )


def _with_steady_clock(state: State, now: float) -> State:
    """A clock set back must not make a wait last for years: everything remembered moves back with it."""
    step = state.last_pass - now
    if step <= 0:
        return state
    return replace(
        state,
        last_pass=now,
        off_since=None if state.off_since is None else state.off_since - step,
        returned_at=None if state.returned_at is None else state.returned_at - step,
        attempted_at=state.attempted_at - step,
        not_before=state.not_before - step,
        turn_offs=tuple(at - step for at in state.turn_offs),
        revocations=tuple(at - step for at in state.revocations),
        told_at={topic: at - step for topic, at in state.told_at.items()},
    )


def _first(since: float | None, now: float) -> float:
    return now if since is None else since


def _add(told: tuple[Task, ...], decision: Decision) -> Decision:
    return decision[0], (*told, *decision[1])


def _say(state: State, seen: Observation, topic: Topic, about: str, sentence: str) -> Decision:
    told = say(state, seen.now, topic, about)
    return (state, ()) if told is None else (told, (Task(ActionKind.NOTIFY, sentence, topic, about),))
