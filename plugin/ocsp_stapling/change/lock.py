"""One change at a time on a server: a lock that ends with its holder, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocsp_stapling import files
from ocsp_stapling.change.journal import Operation, last_change, unfinished
from ocsp_stapling.problem import Problem, reason_of

NAME = "switch.lock"
_TICK = 0.05
_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid
FALLBACK = Path("/run/ocsp-stapling-lock")


@contextlib.contextmanager
def hold(directory: Path, who: str, what: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the server's lock; `who` and `what` are shown to anybody who meets it.

    Raises Problem `busy` if it is still held by somebody else after `wait` seconds.
    """
    descriptor = _opened(directory)
    try:
        if not _acquire(descriptor, wait):
            raise _busy(descriptor)
        _write_holder(descriptor, {"who": who, "what": what, "pid": os.getpid(), "since": time.time()})
        yield
    finally:
        os.close(descriptor)


def is_held(directory: Path) -> bool:
    """Return whether a change is running now."""
    return any(_is_held(each / NAME) for each in (directory, FALLBACK))


def overtaken(directory: Path, since: float, wait: float) -> bool:
    """Return whether a change is running or has ended since then; one that runs is waited for, so many seconds."""
    held, end = is_held(directory), time.monotonic() + wait
    while is_held(directory) and time.monotonic() < end:
        time.sleep(_TICK)
    return held or last_change(directory) >= since


def interrupted(directory: Path) -> Operation | None:
    """Return a change that a killed process left half done: nobody runs one. Mostly there is none; this is quick."""
    return None if is_held(directory) else unfinished(directory)


def _is_held(path: Path) -> bool:
    """Asks the kernel who would be in the way; taking a lock to find out would itself be in a change's way."""
    try:
        descriptor = files.open_regular(path, follow=False)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def _whole_file(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)


def _opened(directory: Path) -> int:
    """The lock file; where its directory cannot be written, one in a directory of root's that is in memory.

    A server whose disk is full or read-only is a server that needs the switch.
    """
    try:
        return _open_in(directory)
    except OSError:
        try:
            return _open_in(FALLBACK)
        except OSError as error:
            sentence = f"Neither {directory} nor {FALLBACK} can be written, so a second change could not be kept out."
            raise Problem("no-lock", f"{sentence} Nothing was touched.", reason_of(error)) from error


def _open_in(directory: Path) -> int:
    files.refuse_unsafe_directory(directory.resolve() / NAME)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(directory / NAME, flags, 0o600)


def _acquire(descriptor: int, wait: float) -> bool:
    deadline = time.monotonic() + wait
    while not _try(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_TICK)
    return True


def _try(descriptor: int) -> bool:
    """Lock the open file: both locks end with it, however its holder ends.

    The first (fcntl(2), "Open file description locks") can be asked about. It and flock(2) do not see each other, and
    version 0.1.0 took flock alone: so both are taken, and during an upgrade neither version changes beside the other.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _write_holder(descriptor: int, holder: dict[str, Any]) -> None:
    # Only shown to people: a full disk must not stop the one action that mends the sites.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _busy(descriptor: int) -> Problem:
    holder: dict[str, Any] = {}
    with contextlib.suppress(ValueError, OSError):
        holder = json.loads(os.pread(descriptor, 4096, 0))
    seconds = max(0, round(time.time() - float(holder.get("since", time.time()))))
    who = f"'{holder.get('what', 'a change')}' by {holder.get('who', 'somebody')}, for {seconds} s now"
    sentence = (
        f"Another change is running ({who}), so nothing was touched. Wait until it ends, then look again."
    )
    return Problem("busy", sentence)
