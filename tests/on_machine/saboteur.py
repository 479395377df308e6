"""Runs the command inside a machine and strikes at one chosen point of its work.

Usage: python -m tests.on_machine.saboteur STRIKE POINT -- WORDS...
STRIKE is `count`, `kill` (SIGKILL before the point with an even number, after it with an odd one), `kill-step`
(SIGKILL when the step of that number stands in the journal and nothing of it is done), `jump` (the clock goes back
an hour) or the name of an errno (the call fails with it: ENOSPC, EIO, EACCES, EROFS, EPERM). Points are the calls
that change the disk or the journal, in the order in which they happen; `count` prints how many there were.
The code under test is not prepared for this: the system calls it makes are wrapped.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from ocsp_stapling import files
from ocsp_stapling.change import journal
from ocsp_stapling.cli import main as command

_lock = threading.Lock()


class Saboteur:
    """Counts points and strikes at one of them."""

    def __init__(self, strike: str, point: int) -> None:
        self.strike, self.point, self.seen, self.steps = strike, point, 0, 0

    def wrap(self, call: Callable[..., Any], *, fails: bool) -> Callable[..., Any]:
        """Return the call with a point at it; only one that `fails` can fail with an errno."""

        def wrapped(*args: Any, **options: Any) -> Any:
            if not fails and hasattr(errno, self.strike):
                return call(*args, **options)
            with _lock:
                number, self.seen = self.seen, self.seen + 1
            self._before(number)
            result = call(*args, **options)
            if self.strike == "kill" and number * 2 + 1 == self.point:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    def recorded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call that records a step, with the strike after it."""

        def wrapped(*args: Any, **options: Any) -> Any:
            result = call(*args, **options)
            self.steps += 1
            if self.strike == "kill-step" and self.steps - 1 == self.point:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    def _before(self, number: int) -> None:
        if self.strike == "kill" and number * 2 == self.point:
            os.kill(os.getpid(), signal.SIGKILL)
        if hasattr(errno, self.strike) and number == self.point:
            code = getattr(errno, self.strike)
            raise OSError(code, os.strerror(code))
        if self.strike == "jump" and number == self.point:
            now = time.time
            time.time = lambda: now() - 3600


class _File:
    """A file whose writing is a point."""

    def __init__(self, file: IO[bytes], saboteur: Saboteur) -> None:
        self._file = file
        self.write = saboteur.wrap(file.write, fails=True)
        self.flush = saboteur.wrap(file.flush, fails=True)
        self.fileno = file.fileno

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def arm(saboteur: Saboteur) -> None:
    """Put a point at every call that changes something."""
    for name in ("fsync", "replace", "rename", "link", "unlink", "fchmod", "fchown"):
        setattr(os, name, saboteur.wrap(getattr(os, name), fails=True))
    files._swap = saboteur.wrap(files._swap, fails=True)
    journal.Journal._write = saboteur.wrap(journal.Journal._write, fails=False)  # type: ignore[method-assign]
    journal.Journal.step = saboteur.recorded(journal.Journal.step)  # type: ignore[method-assign]
    real_open, real_fdopen = os.open, os.fdopen
    opening = saboteur.wrap(real_open, fails=True)

    def opened(path: Any, flags: int, *args: Any, **options: Any) -> int:
        call = opening if flags & os.O_EXCL else real_open
        return int(call(path, flags, *args, **options))

    def fdopened(descriptor: int, mode: str = "r", *args: Any, **options: Any) -> Any:
        file = real_fdopen(descriptor, mode, *args, **options)
        return _File(file, saboteur) if mode == "wb" else file

    os.open, os.fdopen = opened, fdopened  # type: ignore[assignment]
    subprocess.Popen = saboteur.wrap(subprocess.Popen, fails=False)  # type: ignore[assignment,misc]


def main() -> None:
    strike, point, _, *words = sys.argv[1:]
    saboteur = Saboteur(strike, int(point))
    arm(saboteur)
    sys.argv = ["ocsp-stapling", *words]
    try:
        command()
    finally:
        if strike == "count":
            print(f"points: {saboteur.seen}", file=sys.stderr)


if __name__ == "__main__":
    main()
