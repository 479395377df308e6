"""When people are told: once about a change of state, and ever more rarely while it flaps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ocsp_stapling.watch.policy import State

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
