"""What the command and the watch do with the shield: look at it, and refresh what it holds."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path

from ocsp_stapling.server.state import ServerState
from ocsp_stapling.server.state import look as look_at_server
from ocsp_stapling.settings import Settings
from ocsp_stapling.shield.refresh import DIRECTORY, Pass, Refresher, asking, wanted
from ocsp_stapling.shield.standing import Standing, standing

_FALLBACK_USER = "nobody"
_LOCK = "shield-pass.lock"


def look(settings: Settings) -> tuple[ServerState, Standing]:
    """Return the server and how its shield stands. Raises Problem as reading the configuration does."""
    here = look_at_server(settings.state_directory)
    here.require_readable()
    return here, standing(*wanted(here.endpoints, here.stapling.on), settings.state_directory, DIRECTORY)


def refresh_now(settings: Settings, seconds: float, at_once: bool = False) -> Pass:
    """Make one pass over the answers that are due; an empty one if another is at it for all of `seconds`.

    `at_once` is as in `Refresher.run`. Raises Problem, or OSError if nothing can be kept.
    """
    end = time.monotonic() + seconds
    with _alone(settings.state_directory, seconds) as alone:
        if not alone:
            return Pass(why_none="Another pass is asking for answers already.")
        here = look_at_server(settings.state_directory)
        ask = asking(settings.probe, _identity(here))
        every = wanted(here.endpoints, here.stapling.on).certificates
        left = max(0.5, end - time.monotonic())
        return Refresher(DIRECTORY, settings.state_directory, ask).run(every, left, at_once)


@contextlib.contextmanager
def _alone(directory: Path, seconds: float) -> Iterator[bool]:
    """Hold off other passes, which would remove what this one is writing; wait for them so long, then give way."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(directory / _LOCK, flags, 0o600)
    try:
        end = time.monotonic() + seconds
        while not _locked(descriptor):
            if time.monotonic() >= end:
                yield False
                return
            time.sleep(0.1)
        yield True
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity(here: ServerState) -> tuple[int, int] | None:
    """Apache's worker user, who asks; None where we are not root and can be nobody else."""
    if os.geteuid() != 0:
        return None
    for name in (here.worker, _FALLBACK_USER):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_uid:
            return account.pw_uid, _group(here.tree.group) or account.pw_gid
    return None


def _group(name: str | None) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid if name else None
    except KeyError:
        return None
