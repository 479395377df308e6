"""Apache as it runs: its parent, whether that has read its files, and what signals, stops and starts it."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.apache import processes
from ocsp_stapling.apache.processes import Process
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import run
from ocsp_stapling.whm import api

TICK = 0.03
NEVER_SECONDS = 3600.0
"""What restarts, stops or starts Apache is not ended by us: that could be between stop and start."""
BUSY_TICKS = 5
"""Of its processor time: a parent that uses so many is reading its files."""
_QUIET_SECONDS = 1.0
_SETTLED_SECONDS = 0.3
_READING_SECONDS = 30.0
_STOP_SECONDS = 12.0
_START_SECONDS = 180.0
"""WHM allows Apache so long to start: thousands of sites are read before the parent is there."""
_LOOK_SECONDS = 0.2
_NO_SIGN_SECONDS = 15.0
"""Without any httpd of root's, what was called to start it does not."""
_RESET_SECONDS = 5.0
_PID_FILE_BYTES = 4096
_STEADY_SECONDS = 2.0


@dataclass(frozen=True)
class Apache:
    """What is needed to find Apache's processes and to start it as cPanel does."""

    httpd: Path
    conf: Path
    pid_file: Path

    def parent(self) -> Process | None:
        """Return Apache's parent process, None while there is none."""
        return processes.parent(self.pid_file, self.httpd)

    def mark(self) -> Mark:
        """Return what tells this running configuration from the next one."""
        parent = self.parent()
        return Mark(parent, _stamp(self.pid_file), processes.workers(parent) if parent else frozenset())


@dataclass(frozen=True)
class Mark:
    """Apache at one moment: its parent, its pid file (written anew at every restart), its workers."""

    parent: Process | None
    pid_file: tuple[int, int] | None
    workers: frozenset[Process]


def refuse_without_room(apache: Apache) -> None:
    """Raise Problem `pid-file-unwritable` where a restart would end Apache, whose pid file cannot be written.

    httpd's own test does not see it (AH10231).
    """
    directory = apache.pid_file.parent
    try:
        with os.fdopen(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(bytes(_PID_FILE_BYTES))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return
        raise Problem(
            "pid-file-unwritable",
            f"Apache could not write its pid file in {directory} ({error.strerror}), so a restart would end it. "
            "Nothing was touched; free space there, then try again.",
        ) from error


def stop(apache: Apache) -> None:
    """Stop Apache by cPanel's script; a parent that does not stop is ended with its workers."""
    old = apache.mark()
    api.stop_httpd(_STOP_SECONDS)
    if old.parent and not processes.wait_until_gone(old.parent, 1.0):
        processes.end([old.parent, *old.workers])
        processes.wait_until_gone(old.parent, 2.0)


def start(apache: Apache) -> bool:
    """Start Apache by cPanel's script, and by httpd itself if that fails: it must not stay down."""
    processes.end(_orphans(apache))
    # After five starts in ten seconds systemd refuses the sixth, and the script with it.
    run(["systemctl", "reset-failed", "httpd.service"], timeout=_RESET_SECONDS)
    _until_started(apache, api.start_httpd)
    if steady_parent(apache) is None:
        _until_started(apache, lambda seconds: run(_httpd_start(apache), timeout=seconds))
    return steady_parent(apache) is not None


def _until_started(apache: Apache, begin: Callable[[float], object]) -> None:
    """Wait for what starts Apache, for as long as an httpd of root's is there that may come up."""
    thread = threading.Thread(target=begin, args=(NEVER_SECONDS,), daemon=True)
    begun = sign = time.monotonic()
    thread.start()
    while thread.is_alive() and time.monotonic() < min(begun + _START_SECONDS, sign + _NO_SIGN_SECONDS):
        if processes.root_runs(apache.httpd.name):
            sign = time.monotonic()
        thread.join(_LOOK_SECONDS)


def _httpd_start(apache: Apache) -> Sequence[str]:
    return [str(apache.httpd), "-f", str(apache.conf), "-k", "start"]


def _orphans(apache: Apache) -> frozenset[Process]:
    """Workers without a parent keep the ports, so that no new parent can start."""
    return processes.orphans(apache.httpd) if apache.parent() is None else frozenset()


def signal_graceful(apache: Apache, mark: Mark) -> None:
    """Have the parent read its files by a signal, and wait until it has."""
    parent = apache.parent()
    if parent is not None:
        processes.send(parent, signal.SIGUSR1)
        wait_until_read(apache, mark)


def wait_until_read(apache: Apache, mark: Mark) -> bool:
    """Wait for Apache to have read its files; a parent at work is given time, for thousands of sites take seconds."""
    end = time.monotonic() + _READING_SECONDS
    quiet_until, seen = time.monotonic() + _QUIET_SECONDS, ticks(apache)
    while not reloaded(apache, mark):
        now, fresh = time.monotonic(), ticks(apache)
        if fresh - seen >= BUSY_TICKS:
            quiet_until, seen = now + _QUIET_SECONDS, fresh
        if now >= min(end, quiet_until):
            return False
        time.sleep(TICK)
    return True


def wait_until_quiet(apache: Apache) -> None:
    """Wait for the end of a restart that may be under way, by whomever.

    It may have read the files as they were before, and Apache forgets a signal that comes while it reads them.
    """
    end, quiet_since = time.monotonic() + _READING_SECONDS, time.monotonic()
    stamp, seen = _stamp(apache.pid_file), ticks(apache)
    while time.monotonic() < min(end, quiet_since + _SETTLED_SECONDS):
        time.sleep(TICK)
        now = _stamp(apache.pid_file), ticks(apache)
        if now[0] != stamp or now[1] - seen > 1:
            (stamp, seen), quiet_since = now, time.monotonic()


def ticks(apache: Apache) -> int:
    """Return how much processor time the parent has used, 0 while there is none."""
    parent = apache.parent()
    return processes.cpu_ticks(parent) if parent else 0


def reloaded(apache: Apache, mark: Mark) -> bool:
    """Return whether Apache read its configuration since the mark, and is there to tell."""
    parent = apache.parent()
    return parent is not None and (parent != mark.parent or _stamp(apache.pid_file) != mark.pid_file)


def steady_parent(apache: Apache, seconds: float = _STEADY_SECONDS) -> Process | None:
    """Return the parent; a pid file being written anew by another restart is waited for."""
    _wait(lambda: apache.parent() is not None, seconds)
    return apache.parent()


def _stamp(pid_file: Path) -> tuple[int, int] | None:
    try:
        found = pid_file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(TICK)
    return True
