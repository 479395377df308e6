"""Starts a change in a process of its own, which outlives the request, the page and the service, and follows it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocsp_stapling.change import lock
from ocsp_stapling.change.journal import RUNNING, Journal, Operation, Step
from ocsp_stapling.change.request import IDENTITY, ChangeRequest
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import SAFE_PATH, Completed, run
from ocsp_stapling.settings import PATH_VARIABLE
from ocsp_stapling.text import moment, versioned

STARTING, INTERRUPTED, REFUSED = "starting", "interrupted", "refused"
ENDED = ("done", REFUSED, "restored", "failed", INTERRUPTED)

_DIRECTORY = "operations"
_COMMAND = Path(sys.executable).with_name("ocsp-stapling")
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_KEPT_SECONDS = 7 * 86400
_START_SECONDS = 10.0
_OUTPUT_LIMIT = 1024 * 1024
# A shell line whose output file stays locked while its program lives: so an end is noticed, however it comes.
# It waits a moment, for who looks whether it lives locks the file that long.
_LOCKED_OUTPUT = 'exec 9>>"$0" && flock -x -w 5 9 && exec "$@" >&9 2>&9'

Launcher = Callable[[str, Sequence[str]], Completed]


@dataclass(frozen=True)
class JobOutput:
    """What a process of its own printed so far, the first `limit` bytes; `age` in seconds since it last did."""

    alive: bool
    age: float
    text: str

    @staticmethod
    def of(path: Path, limit: int = _OUTPUT_LIMIT) -> JobOutput | None:
        """Return what stands in an output file, None if there is none."""
        try:
            with path.open("rb") as file:
                alive = not _lockable(file.fileno())
                age = time.time() - os.fstat(file.fileno()).st_mtime
                return JobOutput(alive, age, file.read(limit).decode("utf-8", "replace"))
        except OSError:
            return None

    def document(self) -> dict[str, Any] | None:
        """Return the document that it ended with, None if the last line is none."""
        try:
            found = json.loads(self.text.strip().splitlines()[-1])
        except (ValueError, IndexError):
            return None
        return found if isinstance(found, dict) else None

    def no_result(self, what: str) -> Problem:
        """Return the Problem of one that ended without a document."""
        return Problem("no-result", f"{what} ended without a result.", self.text[-2000:])


def job_words(output: Path, words: Sequence[str]) -> list[str]:
    """Return what to start so that the words of a command are followed by their output file."""
    return ["/bin/sh", "-c", _LOCKED_OUTPUT, str(output), *words]


@dataclass(frozen=True)
class Progress:
    """How far an operation is. Times are seconds since the epoch.

    `state` is `starting`, `running`, `interrupted` (its process is gone and the change half done: the next
    command brings it to an end), or how it ended: `done`, `refused`, `restored` or `failed`.
    """

    identity: str
    state: str
    action: str = ""
    who: str = ""
    reason: str = ""
    started: float | None = None
    finished: float | None = None
    steps: tuple[Step, ...] = ()
    result: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.state in ENDED

    def as_json(self) -> dict[str, Any]:
        """Return what the page polls."""
        return {
            "operation": self.identity,
            "state": self.state,
            "ended": self.ended,
            "action": self.action,
            "who": self.who,
            "reason": self.reason,
            "started": moment(self.started) if self.started else None,
            "finished": moment(self.finished) if self.finished else None,
            "steps": [each.as_json() for each in self.steps],
            "result": self.result,
        }


class Operations:
    """The operations of this server, kept in `state_directory`."""

    def __init__(
        self, state_directory: Path, launch: Launcher | None = None, command: Path = _COMMAND
    ) -> None:
        self._state = state_directory
        self._launch = launch or launcher()
        self._command = command

    def start(self, request: ChangeRequest) -> None:
        """Start an operation; does nothing if one of that identity was started before (a form sent twice).

        Raises Problem `invalid-input` or `start-failed`.
        """
        _check(request)
        identity = request.identity
        self._forget_old()
        if not self._reserve(identity):
            return
        words = [str(self._command), *request.arguments()]
        done = self._launch(identity, job_words(self._output(identity), words))
        if not done.ok:
            self._output(identity).unlink(missing_ok=True)
            raise Problem(
                "start-failed",
                f"The change could not be started, so nothing was changed. Use ssh: {request.command}",
                (done.out + done.err)[-2000:],
            )

    def follow(self, identity: str) -> Progress:
        """Return how far an operation is. Raises Problem `operation-unknown`."""
        with Journal(self._state) as journal:
            found = journal.operation(identity) if IDENTITY.fullmatch(identity) else None
            steps = tuple(journal.steps(identity)) if found else ()
        if found and found.state != RUNNING:
            return _progress(found, found.state, steps)
        output = JobOutput.of(self._output(identity)) if IDENTITY.fullmatch(identity) else None
        if found:
            alive = output is None or output.alive  # started at a terminal: there is no output file to tell
            return _progress(found, RUNNING if alive else INTERRUPTED, steps)
        if output is None:
            raise Problem("operation-unknown", "There is no such operation.")
        return _without_journal(identity, output)

    def finish_interrupted(self) -> None:
        """Have a change that a killed process left half done brought to its end, by a process of its own.

        Quick, and nothing happens while a change is running: who runs one holds the lock.
        """
        if left := lock.interrupted(self._state):
            # Under the name of what is finished, so that systemd starts no second one beside it.
            self._launch(f"recovery-{left.id}", [str(self._command), "watch", "--recover"])

    def _output(self, identity: str) -> Path:
        return self._state / _DIRECTORY / f"{identity}.json"

    def _reserve(self, identity: str) -> bool:
        """Make the output file; False if there is one."""
        path = self._output(identity)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if path.exists():
                return False
            raise Problem(
                "start-failed", f"{path} cannot be written ({error.strerror}), so nothing was started."
            ) from error
        return True

    def _forget_old(self) -> None:
        """Results live in the journal; their output is only needed while somebody watches."""
        for path in (self._state / _DIRECTORY).glob("*.json"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                    path.unlink()


def _check(request: ChangeRequest) -> None:
    """A request that a form brought: its names are identities and nothing else."""
    if not IDENTITY.fullmatch(request.identity) or (
        request.undone and not IDENTITY.fullmatch(request.undone)
    ):
        raise Problem(
            "invalid-input", "The form does not name its operation, so nothing was done. Open the page anew."
        )


def _lockable(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _progress(found: Operation, state: str, steps: tuple[Step, ...]) -> Progress:
    return Progress(
        found.id,
        state,
        found.action,
        found.who,
        found.reason,
        found.started,
        found.finished,
        steps,
        found.result or None,
    )


def _without_journal(identity: str, output: JobOutput) -> Progress:
    """An operation that the journal does not know: not yet, or refused before it began, or the journal is lost."""
    if output.alive:
        return Progress(identity, RUNNING)
    if not output.text:
        return Progress(identity, STARTING if output.age < _START_SECONDS else INTERRUPTED)
    document = output.document()
    if document is None:
        problem = output.no_result("The change")
        return Progress(identity, INTERRUPTED, result=versioned("error", {"error": problem.as_json()}))
    state = str(document.get("state", REFUSED))
    return Progress(identity, state, str(document.get("action", "")), result=document)


def launcher() -> Launcher:
    """Return what starts a process that outlives its starter: systemd where it runs, else a session of its own."""
    return _as_unit if _BOOTED.is_dir() else _as_session


def _as_unit(identity: str, argv: Sequence[str]) -> Completed:
    """A transient unit (systemd-run(1)): outside the service's control group and outside its confinement."""
    options = [
        "--quiet",
        "--collect",
        "--no-block",
        "--service-type=oneshot",
        # Where Apache had to be started by httpd itself, it must not end with the change that started it.
        "--property=KillMode=process",
        f"--unit=ocsp-stapling-operation-{identity}",
        "--description=OCSP Stapling: a change of Apache's configuration",
        *[f"--setenv={name}={value}" for name, value in _environment().items()],
    ]
    # systemd would put variables' values into the words; a doubled sign stands for itself (systemd.service(5)).
    literal = [word.replace("$", "$$") for word in argv]
    return run(["systemd-run", *options, "--", *literal], timeout=20)


def _as_session(_identity: str, argv: Sequence[str]) -> Completed:
    """setsid(1) forks first, so that the process is init's child and no signal to us reaches it."""
    return run(["setsid", "--fork", *argv], timeout=20, env=_environment())


def _environment() -> dict[str, str]:
    configured = os.environ.get(PATH_VARIABLE, "")
    return {"PATH": SAFE_PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"} | (
        {PATH_VARIABLE: configured} if configured else {}
    )
