"""How much one caller may ask for at once, so that nobody takes the page away from others."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ocsp_stapling.problem import Problem

REQUESTS_OF_A_VIEWER = 3
REQUESTS_OF_VIEWERS = 5  # of the service's eight threads: the rest is for root
JOBS_OF_A_CALLER = 2
JOBS_OF_VIEWERS = 4
JOBS = 6
_KEPT_SECONDS = 600.0
_KEPT = 200
_PAUSE_SECONDS = 60.0
T = TypeVar("T")


def _too_many() -> Problem:
    return Problem(
        "too-many",
        "You have asked for several things at once and they are still being worked on, so this one was not begun. "
        "Wait a few seconds and try again.",
    )


class Turns:
    """Counts the requests of viewers that are being answered; root's are never refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()

    def take(self, user: str) -> None:
        """Count one more request of a viewer. Raises Problem `too-many`."""
        with self._lock:
            if self._now[user] >= REQUESTS_OF_A_VIEWER or self._now.total() >= REQUESTS_OF_VIEWERS:
                raise _too_many()
            self._now[user] += 1

    def give_back(self, user: str) -> None:
        """Count one request less."""
        with self._lock:
            self._now[user] -= 1
            if self._now[user] <= 0:
                del self._now[user]


class Pace:
    """Lets a check begin by itself, for one reason once a minute: one that fails must not be begun by every look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = float("-inf")
        self._subject: object = None

    def may(self, subject: object) -> bool:
        """Say whether one may begin now on account of `subject`; if so, the next on its account a minute later."""
        with self._lock:
            due = subject != self._subject or time.monotonic() - self._last >= _PAUSE_SECONDS
            if due:
                self._last, self._subject = time.monotonic(), subject
            return due


@dataclass
class Job(Generic[T]):
    """Something that takes seconds; `found` is what came of it, None while it runs or if it failed."""

    user: str
    of_viewer: bool
    begun: float
    running: bool = True
    found: T | None = None


class Jobs(Generic[T]):
    """Work of a few seconds beside the requests: a form begins it and is answered at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[tuple[str, str], Job[T]] = OrderedDict()

    def begin(self, user: str, name: str, work: Callable[[], T], *, of_viewer: bool = False) -> None:
        """Begin a caller's work of that name unless it is under way. Raises Problem `too-many`.

        However many viewers there are, they leave room for root's.
        """
        with self._lock:
            self._forget_old()
            if (known := self._jobs.get((user, name))) and known.running:
                return
            running = [one for one in self._jobs.values() if one.running]
            if of_viewer and sum(one.of_viewer for one in running) >= JOBS_OF_VIEWERS:
                raise _too_many()
            if sum(one.user == user for one in running) >= JOBS_OF_A_CALLER or len(running) >= JOBS:
                raise _too_many()
            self._jobs.pop((user, name), None)
            job = self._jobs[user, name] = Job[T](user, of_viewer, time.monotonic())
        threading.Thread(target=_carry_out, args=(job, work), daemon=True).start()

    def look(self, user: str, name: str) -> Job[T] | None:
        """Return a caller's work of that name, None if it is not known (any more)."""
        with self._lock:
            return self._jobs.get((user, name))

    def _forget_old(self) -> None:
        limit = time.monotonic() - _KEPT_SECONDS
        ended = [key for key, one in self._jobs.items() if not one.running]
        for number, key in enumerate(ended):
            if self._jobs[key].begun < limit or number < len(ended) - _KEPT:
                del self._jobs[key]


def _carry_out(job: Job[T], work: Callable[[], T]) -> None:
    try:
        job.found = work()
    finally:
        job.running = False
