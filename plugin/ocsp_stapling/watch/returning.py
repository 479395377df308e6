"""Whether stapling that this plugin turned off returns by itself: how that stands, and choosing it after the fact."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling import files
from ocsp_stapling.apache import managed_block
from ocsp_stapling.change.journal import NAME as JOURNAL
from ocsp_stapling.change.journal import FileRecord, Journal, Operation
from ocsp_stapling.change.transaction import DONE
from ocsp_stapling.check.incident.words import clock
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings
from ocsp_stapling.text import listed
from ocsp_stapling.watch.memory import NAME as MEMORY
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.policy import GAP_SECONDS, HEALTHY_PASSES, REMEMBERED, State


@dataclass(frozen=True)
class ReturnStanding:
    """How the return stands. `armed` is None where this plugin has not turned stapling off.

    `fixed`: the configuration decides, so it cannot be chosen here. `healthy` of `needed` looks of the watch in a
    row found every responder healthy. `not_before` (seconds since the epoch) is when it may be tried; 0: now.
    """

    armed: bool | None
    fixed: bool
    healthy: int = 0
    needed: int = HEALTHY_PASSES
    not_before: float = 0.0

    @property
    def progress(self) -> str:
        """How near it is, in words."""
        return f"healthy {min(self.healthy, self.needed)} of {self.needed}"

    @property
    def sentence(self) -> str:
        """How it stands, for people."""
        if self.armed is None:
            return "No change in this plugin's history keeps stapling off, so there is no return to choose."
        why = " (watch.return_by_itself in the configuration)" if self.fixed else ""
        if not self.armed:
            return f"Stapling stays off until somebody turns it on{why}."
        later = (
            f"; not before {clock(self.not_before)}, for it was tried a short while ago"
            if self.not_before
            else ""
        )
        told = f"Stapling turns on by itself once the watch has found all healthy{why}: {self.progress} looks"
        return f"{told}{later}."


def standing(settings: Settings, now: float) -> ReturnStanding:
    """Return how the return stands at `now` (seconds since the epoch)."""
    configured = settings.watch.return_by_itself
    last = _last_off(settings.state_directory)
    if last is None:
        return ReturnStanding(None, configured != "ask")
    state = _remembered(settings.state_directory)
    # A count that is hours old, or from before stapling was turned off, proves nothing about now.
    counts = now - state.last_pass <= GAP_SECONDS and state.last_pass >= (last.finished or last.started)
    armed = bool(last.plan.get("return_when_healthy")) if configured == "ask" else configured == "always"
    healthy = state.healthy_passes if counts else 0
    later = state.not_before if state.not_before > now else 0.0
    return ReturnStanding(armed, configured != "ask", healthy, not_before=later)


def looks_needed(settings: Settings) -> int:
    """Return how many good looks in a row the return waits for, 0 where stapling does not return by itself."""
    found = standing(settings, time.time())
    return found.needed if found.armed else 0


def choose(settings: Settings, *, armed: bool, who: str) -> None:
    """Have stapling return by itself, or not; noted with the change that turned it off.

    Raises Problem `no-return` where this plugin did not turn it off, `return-configured` where the configuration
    decides otherwise.
    """
    configured, last = settings.watch.return_by_itself, _last_off(settings.state_directory)
    if last is None:
        raise Problem("no-return", f"{ReturnStanding(None, False).sentence} Nothing was changed.")
    if configured != "ask" and (configured == "always") is not armed:
        raise Problem(
            "return-configured",
            f'The configuration says watch.return_by_itself = "{configured}", and that holds; nothing was changed.',
        )
    with Journal(settings.state_directory) as journal:
        journal.choose_return(last.id, armed=armed, who=who)
        if journal.lost:
            raise Problem(
                "no-return", f"It could not be noted, so nothing was changed: {listed([journal.lost])}."
            )


def _last_off(directory: Path) -> Operation | None:
    """The change that turned stapling off for the server, if that is what is in force."""
    if not (directory / JOURNAL).exists():
        return None
    with Journal(directory) as journal:
        done = journal.operations(limit=200, state=DONE)
        last = next((one for one in done if not one.site), None)
        if last is None or last.plan.get("stapling_then") != "off" or _taken_out(journal.files(last.id)):
            return None
    return last


def _taken_out(records: Iterable[FileRecord]) -> bool:
    """Whether somebody took our lines out by hand since."""
    with contextlib.suppress(Problem):
        ours = [one.path for one in records if managed_block.find(one.after or b"")]
        return bool(ours) and not any(
            managed_block.find(files.snapshot(each).content or b"") for each in ours
        )
    return False


def _remembered(directory: Path) -> State:
    if not (directory / MEMORY).exists():
        return State()
    with contextlib.suppress(sqlite3.Error, OSError), Memory(directory) as memory:
        return State.from_json(memory.recall(REMEMBERED))
    return State()
