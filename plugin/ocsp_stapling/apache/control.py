"""Apache's processes: the parent that the pid file names, its generations of workers, and how to end an old one.

A worker is stuck in the stapling mutex for as long as the queue before it lasts, and a graceful restart waits for
it; so a restart can succeed while no worker is free to serve. Ending the old generation frees the slots.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_STATE, _PARENT, _STARTED = 0, 1, 19  # fields after the command name in /proc/PID/stat, proc(5)


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for another: its pid and when it started (clock ticks after boot)."""

    pid: int
    started: int


def parent(pid_file: Path, httpd: Path) -> Process | None:
    """Return Apache's parent process, None if the pid file is missing, stale, or names something else."""
    try:
        pid = int(pid_file.read_text()[:32])
    except (OSError, ValueError):
        return None
    found = _process(pid)
    return found if found and _program(pid) in _programs(httpd) else None


def is_alive(process: Process) -> bool:
    """Return whether exactly this process still runs (a zombie does not)."""
    return _process(process.pid) == process


def workers(of: Process) -> frozenset[Process]:
    """Return the parent's children that run httpd itself; piped loggers and other helpers are left out."""
    program = _program(of.pid)
    children = (_process(pid) for pid in _children(of.pid))
    return frozenset(child for child in children if child and _program(child.pid) == program)


def end(processes: Iterable[Process]) -> int:
    """Kill exactly these processes at once and return how many were still there."""
    return sum(_kill(process) for process in processes)


def wait_until_gone(process: Process, seconds: float) -> bool:
    """Return whether the process ended within `seconds`."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _kill(process: Process) -> bool:
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The handle pins the pid; only now is the comparison with the start time worth anything.
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _process(pid: int) -> Process | None:
    fields = _stat(pid)
    if fields is None or fields[_STATE] in ("Z", "X"):
        return None
    return Process(pid, int(fields[_STARTED]))


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split() or None


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in (PROC / f"{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        every = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
        return [each for each in every if (fields := _stat(each)) and fields[_PARENT] == str(pid)]


def _program(pid: int) -> str:
    try:
        return str((PROC / str(pid) / "exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""


def _programs(httpd: Path) -> set[str]:
    """The names under which httpd's program may show: itself, or what a wrapper script in its place starts."""
    real = httpd.resolve()
    return {str(httpd), str(real), *(str(real.parent / name) for name in ("httpd", "apache2"))}
