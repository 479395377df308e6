"""Runs other programs: full paths, a clean environment, bounded time and output, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from ocsp_stapling.problem import reason_of

SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLEAN_ENVIRONMENT: Mapping[str, str] = {"LC_ALL": "C", "PATH": SAFE_PATH, "HOME": "/root"}
OUTPUT_LIMIT = 32 * 1024 * 1024
NOT_FOUND = 127  # what a shell reports, so that callers treat "missing" and "failed" alike

_CHUNK = 65536
_TICK = 0.02  # how often a program that closed nothing is asked whether it has ended
_LINGER = 0.2  # how long output is awaited after the end: a daemon it started may hold the pipe for ever


@dataclass(frozen=True)
class Completed:
    """How a program ended: exit status (negative: killed by that signal, 127: not found) and what it wrote.

    Text is UTF-8 with undecodable bytes replaced. `truncated` tells that it wrote more than was kept.
    """

    code: int
    out: str
    err: str
    timed_out: bool = False
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.code == 0 and not self.timed_out


def find(program: str) -> str | None:
    """Return the full path of a program in the safe PATH (or of an absolute path), None if there is none."""
    return shutil.which(program, path=SAFE_PATH)


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    input: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    limit: int = OUTPUT_LIMIT,
) -> Completed:
    """Run a program to its end or for at most `timeout` seconds and return how it went; never raises for it.

    `env` is added to the clean environment. Standard input is `input`, else /dev/null. Up to `limit` bytes of
    each output are kept, the rest is read and dropped so that the program does not block. The program has its
    own session; on time-out, or if this function is interrupted, its whole process group is killed. A daemon
    that it leaves behind on purpose (httpd after a restart) is neither killed nor waited for.
    """
    path = find(argv[0])
    if path is None:
        return Completed(NOT_FOUND, "", f"{argv[0]}: not found")
    try:
        with _standard_input(input) as stdin:
            process = subprocess.Popen(
                [path, *argv[1:]],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**CLEAN_ENVIRONMENT, **(env or {})},
                cwd="/",
                start_new_session=True,
            )
    except (OSError, ValueError) as error:  # no permission, wrong format, a NUL byte in an argument
        return Completed(NOT_FOUND - 1, "", f"{argv[0]}: {reason_of(error)}")
    with process:
        return _attend(process, time.monotonic() + timeout, limit)


def _standard_input(given: str | bytes | None) -> IO[bytes]:
    """An open file holding the input: a file in memory cannot dead-lock the way a pipe can."""
    if given is None:
        return open(os.devnull, "rb")  # noqa: PTH123 - a device
    file = os.fdopen(os.memfd_create("input"), "w+b")
    file.write(given.encode() if isinstance(given, str) else given)
    file.seek(0)
    return file


def _attend(process: subprocess.Popen[bytes], deadline: float, limit: int) -> Completed:
    """Collect the output until the program ends or its time is up."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Keeper(limit), _Keeper(limit)
    try:
        timed_out = not _collect(process, {process.stdout: out, process.stderr: err}, deadline)
        if not timed_out and process.poll() is None:
            timed_out = not _wait(process, deadline)
    except BaseException:
        _kill_group(process)
        raise
    if timed_out:
        _kill_group(process)
    code = process.wait()
    return Completed(code, out.text(), err.text(), timed_out, out.truncated or err.truncated)


def _collect(process: subprocess.Popen[bytes], keepers: Mapping[IO[bytes], _Keeper], deadline: float) -> bool:
    """Read both pipes until they close, or the program has ended and is silent; False when time ran out."""
    ended_at: float | None = None
    with selectors.DefaultSelector() as selector:
        for pipe, keeper in keepers.items():
            selector.register(pipe, selectors.EVENT_READ, keeper)
        while selector.get_map():
            now = time.monotonic()
            if ended_at is not None and now - ended_at > _LINGER:
                return True
            if ended_at is None and now >= deadline:
                return process.poll() is not None
            for key, _ in selector.select(_TICK):
                chunk = os.read(key.fd, _CHUNK)
                key.data.add(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
            if ended_at is None and process.poll() is not None:
                ended_at = now
    return True


def _wait(process: subprocess.Popen[bytes], deadline: float) -> bool:
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class _Keeper:
    """Keeps the first `limit` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self.kept = bytearray()
        self.limit = limit
        self.truncated = False

    def add(self, chunk: bytes) -> None:
        room = self.limit - len(self.kept)
        self.kept += chunk[:room]
        self.truncated = self.truncated or len(chunk) > room

    def text(self) -> str:
        return self.kept.decode("utf-8", "replace")
