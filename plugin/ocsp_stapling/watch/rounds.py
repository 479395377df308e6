"""One pass of the watch: recover, look, decide, act, tell. Started by a timer; never two at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ocsp_stapling import metrics, report
from ocsp_stapling.diagnosis import diagnose
from ocsp_stapling.journal import Journal
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings
from ocsp_stapling.survey import Request as SurveyRequest
from ocsp_stapling.survey import survey
from ocsp_stapling.switch import operate
from ocsp_stapling.switch.transaction import DONE
from ocsp_stapling.ticket import ticket
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.observe import observe, reading
from ocsp_stapling.watch.policy import Action, ActionKind, State, Topic, Wishes, decide, switched
from ocsp_stapling.whm import notification

WHO = "the watch"
_LOCK = "watch.lock"
_POLICY = "policy"
_STATUS_PAGE_SECONDS = 600.0
_OPERATIONS_IN_METRICS = 200

Check = Callable[[Settings], Mapping[str, Any]]
Switch = Callable[[str, str, Settings], str]
"""Carry out `off` or `on` for a reason; return how it ended: done, refused, restored, failed."""


@dataclass(frozen=True)
class Told:
    """What one pass did, for whoever runs it by hand."""

    at: float
    sentence: str
    done: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Tools:
    """What a pass works with; tests put a world of their own in its place."""

    check: Check
    switch: Switch
    clock: Callable[[], float] = time.time


def make_check(settings: Settings) -> Mapping[str, Any]:
    """Survey the server, keep the result as the last check and return its document."""
    calm = replace(
        settings,
        status_pages=replace(
            settings.status_pages,
            cache_seconds=max(settings.status_pages.cache_seconds, _STATUS_PAGE_SECONDS),
        ),
    )
    evidence = survey(SurveyRequest(calm, settings.probe.deadline_seconds))
    document = report.document(evidence, diagnose(evidence))
    with contextlib.suppress(OSError):
        report.store(settings.state_directory, document)
    return document


def make_switch(action: str, reason: str, settings: Settings) -> str:
    """Carry out a switch in the watch's name. A return by itself is chosen with an `off` of the watch."""
    request = operate.Request(action, WHO, reason, return_when_healthy=action == "off")
    return operate.Operator(request, watcher=lambda *_: None, settings=settings).run().state


REAL = Tools(make_check, make_switch)


def one_pass(settings: Settings, tools: Tools = REAL) -> Told | None:
    """Make one pass and return what it did; None if another one is running.

    Raises Problem when the server cannot be looked at at all.
    """
    with _alone(settings.state_directory) as alone:
        return _Pass(settings, tools).run() if alone else None


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


class _Pass:
    def __init__(self, settings: Settings, tools: Tools) -> None:
        self.settings, self.tools = settings, tools
        self.done: list[str] = []
        self.problems: list[str] = []

    def run(self) -> Told:
        self._recover()
        check = self.tools.check(self.settings)
        now = self.tools.clock()
        with Memory(self.settings.state_directory) as memory:
            memory.add(reading(check, now))
            self._decide(check, memory, now)
        self._metrics(check)
        return Told(now, str(check["sentence"]), tuple(self.done), tuple(self.problems))

    def _recover(self) -> None:
        with self._noting():
            for result in operate.recover(self.settings, lambda *_: None):
                self.done.append(result.sentence)

    def _decide(self, check: Mapping[str, Any], memory: Memory, now: float) -> None:
        with Journal(self.settings.state_directory) as journal:
            seen = observe(check, journal, self.settings.watch, now)
        chosen = self.settings.watch
        wishes = Wishes(chosen.turn_off_when_stalling, chosen.turn_offs_per_day)
        state, actions = decide(State.from_json(memory.recall(_POLICY)), seen, wishes)
        # Before acting: a switch that never comes back must not be tried again by every pass to come.
        memory.remember(_POLICY, state.as_json())
        for action in actions:
            state = self._act(action, state, check)
        memory.remember(_POLICY, state.as_json())

    def _act(self, action: Action, state: State, check: Mapping[str, Any]) -> State:
        if action.kind is ActionKind.NOTIFY:
            self._notify(action, check)
            return state
        ended = self._switch("off" if action.kind is ActionKind.TURN_OFF else "on", action.reason)
        self._notify(_outcome(action, ended), check)
        return switched(state, action.kind, ended == DONE, self.tools.clock())

    def _switch(self, action: str, reason: str) -> str:
        try:
            ended = self.tools.switch(action, reason, self.settings)
        except Problem as problem:
            self.problems.append(problem.sentence)
            ended = "refused"
        self.done.append(f"{action}: {ended} ({reason})")
        return ended

    def _notify(self, action: Action, check: Mapping[str, Any]) -> None:
        subject = f"OCSP stapling: {action.reason}"
        if self.settings.notify.mail:
            with self._noting():
                notification.send(
                    notification.message(
                        notification.contacts(), subject, _text(action, check), ticket(check)
                    )
                )
        if self.settings.notify.command:
            with self._noting():
                notification.call_hook(self.settings.notify.command, _document(action, check))
        self.done.append(f"told: {action.reason}")

    def _metrics(self, check: Mapping[str, Any]) -> None:
        if not self.settings.watch.metrics_file:
            return
        with self._noting(), Journal(self.settings.state_directory) as journal:
            text = metrics.render(check, journal.operations(_OPERATIONS_IN_METRICS))
            metrics.write(Path(self.settings.watch.metrics_file), text)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """What fails beside the point is noted, and the pass goes on."""
        try:
            yield
        except Problem as problem:
            self.problems.append(problem.sentence)
        except OSError as error:
            self.problems.append(f"{error.filename or 'a file'}: {error.strerror}")


def _outcome(action: Action, ended: str) -> Action:
    """The notification about a switch that the watch made."""
    what = "turned off" if action.kind is ActionKind.TURN_OFF else "turned on again"
    told = f"stapling was {what} by the watch" if ended == DONE else f"stapling could not be {what} ({ended})"
    return Action(ActionKind.NOTIFY, f"{told}: {action.reason}", Topic.RETURN, f"{action.kind}-{ended}")


def _text(action: Action, check: Mapping[str, Any]) -> str:
    return (
        f"{action.reason}\n\n{check['sentence']}\n{check['advice']}\n\nOn the server: ocsp-stapling status\n"
    )


def _document(action: Action, check: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "topic": action.topic,
        "about": action.about,
        "message": action.reason,
        "server": check["host"]["name"],
        "cause": check["cause"],
        "severity": check["severity"],
        "action": check["action"],
        "sites_affected": len(check["sites_affected"]),
        "must_staple": len(check["must_staple"]),
    }
