"""Runs the parts of a survey side by side; what is not done by the deadline is left behind and named."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ocsp_stapling.problem import Problem

T = TypeVar("T")


class Part(Generic[T]):
    """One part, begun at once in a thread of its own. `what` names it for people ("the error log")."""

    def __init__(self, what: str, work: Callable[[], T]) -> None:
        self.what = what
        self._work = work
        self._error = ""
        self._late = False
        self._done = threading.Event()
        self._found: T | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._found = self._work()
        except Problem as problem:
            self._error = f"{self.what} could not be looked at: {problem.sentence}"
        except Exception as error:  # one broken part must not cost the whole survey at three in the morning
            self._error = f"{self.what} could not be looked at ({type(error).__name__}: {error})."
        finally:
            self._done.set()

    @property
    def problem(self) -> str:
        """Why nothing was found, or not in time when it was last asked for; "" if it was."""
        return self._error or (f"{self.what} did not answer in time." if self._late else "")

    def result(self, deadline: float, default: T) -> T:
        """Return what the part found by `deadline` (time.monotonic), else `default`; `problem` says why."""
        self._late = not self._done.wait(max(deadline - time.monotonic(), 0))
        if self._late:
            return default
        return default if self._found is None else self._found
