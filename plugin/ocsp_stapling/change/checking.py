"""A check in a process of its own, followed by the page: is one running, since when, what does it do, did it fail."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.change.jobs import JobOutput, Launcher, job_words, launcher
from ocsp_stapling.problem import Problem

_COMMAND = Path(sys.executable).with_name("ocsp-stapling")
_OUTPUT, _PASTED, _LOCK, _NEXT = "page-check.out", "page-check.pasted", "page-check.lock", "page-check.next"
_STARTING_SECONDS = 3.0
_JOINED_SECONDS = 1.0
"""Whoever asks again so soon after one began (a double click) has seen nothing change since."""
_WANTED_SECONDS = 120.0
_LIMIT = 64 * 1024


@dataclass(frozen=True)
class CheckState:
    """How the page's check stands. `lines` is what it said it is doing; `problem` why it gave up, if it did."""

    running: bool
    seconds: float = 0.0
    lines: tuple[str, ...] = ()
    problem: Problem | None = None


class Checks:
    """Starts checks, one at a time, and tells how the last one stands."""

    def __init__(
        self, state_directory: Path, launch: Launcher | None = None, command: Path = _COMMAND
    ) -> None:
        self._output = state_directory / _OUTPUT
        self._pasted = state_directory / _PASTED
        self._lock = state_directory / _LOCK
        self._next = state_directory / _NEXT
        self._launch = launch or launcher()
        self._command = command

    def start(self, pasted: str = "", *, anew: bool = False) -> None:
        """Start a check unless one is running; `pasted` is another machine's result. Raises Problem.

        One that runs may have looked before what changed since. So where `anew` says so, or there is a result that it
        does not know, the next one begins when it has ended.
        """
        with self._starting() as first:
            running = self._now() if first else None
            if running and not running.running:
                self._start(pasted)
            elif running and (pasted or (anew and running.seconds > _JOINED_SECONDS)):
                self._keep(self._next, pasted)

    @contextlib.contextmanager
    def _starting(self) -> Iterator[bool]:
        """Whether we are the one who may start: of many forms that come at once, one does."""
        try:
            self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(descriptor)

    def _start(self, pasted: str) -> None:
        arguments = ["check", "--json", "--progress"]
        try:
            self._prepare(pasted)
        except OSError as error:
            raise self._unwritable(error) from error
        if pasted:
            arguments.append(f"--elsewhere={self._pasted}")
        self._run(arguments)

    def _unwritable(self, error: OSError) -> Problem:
        return Problem(
            "start-failed", f"{self._output} cannot be written ({error.strerror}), so no check was started."
        )

    def state(self) -> CheckState:
        """Return how the last check stands; one that was wanted while another ran begins now. Raises Problem."""
        found = self._now()
        if found.running or not self._next.exists():
            return found
        with self._starting() as first:
            if first and not self._now().running and (pasted := self._wanted()) is not None:
                self._start(pasted)
        return self._now()

    def _wanted(self) -> str | None:
        """What was pasted for the next check, None if none is wanted (any more)."""
        try:
            age = time.time() - self._next.stat().st_mtime
            pasted = self._next.read_text("utf-8", "replace")
            self._next.unlink()
        except OSError:
            return None
        return pasted if age < _WANTED_SECONDS else None

    def _now(self) -> CheckState:
        output = JobOutput.of(self._output, _LIMIT)
        if output is None:
            return CheckState(False)
        if output.alive or (not output.text and output.age < _STARTING_SECONDS):
            return CheckState(
                True, self._since(), tuple(line for line in output.text.splitlines() if line[:1] != "{")
            )
        return CheckState(False, problem=_problem(output))

    def _prepare(self, pasted: str) -> None:
        self._output.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content in ((self._pasted, pasted), (self._output, "")):
            _write(path, content)

    def _keep(self, path: Path, content: str) -> None:
        try:
            _write(path, content)
        except OSError as error:
            raise self._unwritable(error) from error

    def _run(self, arguments: Sequence[str]) -> None:
        argv = job_words(self._output, [str(self._command), *arguments])
        done = self._launch(f"check-{time.time_ns()}", argv)
        if not done.ok:
            self._output.unlink(missing_ok=True)
            raise Problem(
                "start-failed",
                "The check could not be started. Use ssh: ocsp-stapling check",
                (done.out + done.err)[-2000:],
            )

    def _since(self) -> float:
        try:
            return max(time.time() - self._pasted.stat().st_mtime, 0.0)
        except OSError:
            return 0.0


def _write(path: Path, content: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.write(content)


def _problem(output: JobOutput) -> Problem | None:
    """Why a check that has ended gave no document, None if it gave one."""
    found = output.document()
    if found is None:
        # A document longer than what was read is one that did not fail.
        last = (output.text.strip().splitlines() or [""])[-1]
        return None if last.startswith("{") else output.no_result("The check")
    error = found.get("error")
    return Problem(error["code"], error["sentence"], error.get("detail", "")) if error else None
