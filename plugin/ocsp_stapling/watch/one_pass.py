"""One pass of the watch: recover, look, decide, act, tell. Started by a timer; never two at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ocsp_stapling.change.journal import Journal
from ocsp_stapling.change.request import ACCOUNT, OFF, ON
from ocsp_stapling.change.transaction import DONE
from ocsp_stapling.check import metrics
from ocsp_stapling.problem import reason_of
from ocsp_stapling.settings import Settings
from ocsp_stapling.text import counted
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.observe import observe, reading
from ocsp_stapling.watch.policy import REMEMBERED, ActionKind, State, Task, Topic, Wishes, decide, switched
from ocsp_stapling.watch.tools import REAL, Document, Ended, Tools, noting

_LOCK = "watch.lock"
_OPERATIONS_IN_METRICS = 200


@dataclass(frozen=True)
class Told:
    """What one pass did, for whoever runs it by hand."""

    at: float
    sentence: str
    done: tuple[str, ...]
    problems: tuple[str, ...]


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
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


class _Pass:
    def __init__(self, settings: Settings, tools: Tools) -> None:
        self.settings, self.tools = settings, tools
        self.done: list[str] = []
        self.problems: list[str] = []
        self.busy = self.relay_dead = False

    def run(self) -> Told:
        with noting(self.problems):
            self.busy = self.tools.recover(self.settings)
        dead = False
        with noting(self.problems):
            # First, so that the check and what is told from it know what was just fetched.
            dead = self.tools.shield(self.settings, self.problems)
        check = self.tools.check(self.settings)
        if dead and not self.busy:
            self._give_up(check)
        now = self.tools.clock()
        try:
            with Memory(self.settings.state_directory) as memory:
                self._note_and_decide(check, memory, now)
        except (sqlite3.Error, OSError) as error:
            # Without a memory every pass would do and say the same again.
            self.problems.append(
                f"The watch's memory failed ({reason_of(error)}), so it does nothing by itself."
            )
        self._post()
        self._metrics(check)
        return Told(now, str(check["sentence"]), tuple(self.done), tuple(self.problems))

    def _note_and_decide(self, check: Document, memory: Memory, now: float) -> None:
        memory.add(reading(check, now))
        if self.busy:
            self.done.append("A change is running, so this pass only looked.")
            return
        with Journal(self.settings.state_directory) as journal:
            seen = observe(check, journal, self.settings.watch, now, relay_dead=self.relay_dead)
        chosen = self.settings.watch
        wishes = Wishes(chosen.turn_off_when_stalling, chosen.turn_offs_per_day)
        state, actions = decide(State.from_json(memory.recall(REMEMBERED)), seen, wishes)
        # Before acting: what never comes back must not be tried again by every pass to come.
        memory.remember(REMEMBERED, state.as_json())
        for action in actions:
            state = self._act(action, state, check)
            memory.remember(REMEMBERED, state.as_json())

    def _give_up(self, check: Document) -> None:
        """The shield's relay cannot be revived: Apache asks the authorities itself, or nobody."""
        with noting(self.problems):
            healthy = all(one["ok"] for one in check["responders"])
            ended = self.tools.give_up(healthy, self.settings)
            if ended.state != DONE:
                self.relay_dead = True
                self.problems.append(f"The shield's relay is dead and its block stays: {ended.sentence}")
                return
            what = "asks the authorities itself again" if healthy else "staples no more"
            told = f"The shield's relay cannot be revived, so Apache {what}"
            self.done.append(told)
            self._tell(Task(ActionKind.NOTIFY, told, Topic.SWITCH, "shield-down"), check)

    def _act(self, action: Task, state: State, check: Document) -> State:
        if action.kind is ActionKind.NOTIFY:
            self._tell(action, check)
            return state
        ended = self._switch(action)
        if ended.state != DONE and ended.sentence:
            self.problems.append(ended.sentence)
        state, told = switched(state, action.kind, ended.state, ended.state == DONE, self.tools.clock())
        for each in told:
            advice = _afterwards(action) if ended.state == DONE else ""
            reason = f"{each.reason}: {action.reason}"
            self._tell(replace(each, reason=reason, seen=ended.sentence, advice=advice), check)
        return state

    def _switch(self, action: Task) -> Ended:
        """Off for single sites where that is enough; for all where it cannot be done so."""
        name = OFF if action.kind is ActionKind.TURN_OFF else ON
        for site in action.sites:
            ended = self.tools.switch_alone(site, action.reason, self.settings)
            self.done.append(f"off --site {site}: {ended.state} ({action.reason})")
            if ended.state != DONE:
                break
        else:
            if action.sites:
                return ended
        ended = self.tools.switch(name, action.reason, self.settings)
        self.done.append(f"{name}: {ended.state} ({action.reason})")
        return ended

    def _tell(self, action: Task, check: Document) -> None:
        with noting(self.problems):
            self.problems += self.tools.tell(action, check, self.settings)
        self.done.append(f"told: {action.reason}")

    def _post(self) -> None:
        """What could not be told before is told now; what fails is a problem of this pass."""
        with noting(self.problems):
            if gone := self.tools.post(self.settings):
                self.done.append(f"delivered {counted(gone, 'mail')} that had waited")

    def _metrics(self, check: Document) -> None:
        if not self.settings.watch.metrics_file:
            return
        with noting(self.problems), Journal(self.settings.state_directory) as journal:
            text = metrics.render(check, journal.operations(_OPERATIONS_IN_METRICS))
            metrics.write(Path(self.settings.watch.metrics_file), text)


def _afterwards(done: Task) -> str:
    """What there is to do once the watch has switched."""
    if done.kind is ActionKind.TURN_ON:
        return (
            "Nothing needs to be done. Should the sites stall within a quarter of an hour, the watch turns stapling "
            "off again."
        )
    if done.sites:
        name = done.sites[0] if len(done.sites) == 1 else "NAME"
        back = f"--account {name.removeprefix(ACCOUNT)}" if name.startswith(ACCOUNT) else f"--site {name}"
        return f"Tell who can act: the ticket is attached. Off there until `ocsp-stapling on {back}`."
    return "Tell who can act: the ticket is attached. Stapling returns by itself once the responders are healthy."
