"""Outside a machine: the plugin comes into it by the unmodified install.sh, offline, as on a server without internet.

What takes long is kept in build/sandbox/ of this checkout: the wheels of the pinned packages, and the release that
install.sh built of them. The next machine finds that release on its disk, as a run of install.sh does that repeats an
interrupted one; install.sh itself checks every file of it, and builds anew when the plugin has changed since.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.machine.machine import CLEAN, REPO, Machine, only_child

KEPT = REPO / "build/sandbox"
HOME = "/opt/ocsp-stapling"
Tell = Callable[[str], None]


class InstallationError(Exception):
    """The plugin could not be installed; the text says why."""


def install(machine: Machine, tell: Tell) -> None:
    """Install this checkout's plugin in a machine, telling each step."""
    wheels = wheelhouse(tell)
    with _alone():
        for archive in KEPT.glob("*.tar"):
            machine.run("mkdir", "-p", HOME)
            machine.run("tar", "-xf", str(archive), "-C", HOME)
    argv = [str(REPO / "install.sh"), "--wheelhouse", str(wheels)]
    tell(f"Installing the plugin in it: {argv[0]} --wheelhouse ... (the same install.sh, unmodified)")
    if _followed(machine.enter(argv), tell) != 0:
        raise InstallationError("install.sh failed in the machine; what it said stands above")
    with _alone():
        _keep_release(machine)


def _followed(argv: list[str], tell: Tell) -> int:
    """Run a program, telling its lines as they come; return its exit status."""
    process = subprocess.Popen(
        argv,
        env=CLEAN,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            tell(f"   {line.rstrip()}")
        return process.wait()
    finally:
        _end(process)
        process.stdout.close()


def _end(process: subprocess.Popen[str]) -> None:
    """Let an interrupted install.sh throw away what it began."""
    if process.poll() is None:
        with contextlib.suppress(OSError, IndexError, subprocess.TimeoutExpired):
            os.kill(only_child(process.pid), signal.SIGTERM)
            process.wait(10)
    process.kill()
    process.wait()


def wheelhouse(tell: Tell) -> Path:
    """Return the directory with the wheels of the pinned packages: the release's own, or fetched once."""
    if (REPO / "wheels").is_dir():
        return REPO / "wheels"
    lock = (REPO / "plugin/requirements.lock").read_bytes()
    wheels = KEPT / f"wheels-{hashlib.sha256(lock).hexdigest()[:10]}"
    with _alone():
        if not wheels.is_dir():
            tell("Fetching the plugin's Python packages, once (into build/sandbox) ...")
            _fetch(wheels)
    return wheels


def _fetch(wheels: Path) -> None:
    for older in KEPT.glob("wheels-*"):
        shutil.rmtree(older)
    new = KEPT / f"wheels-{wheels.name[-10:]}.new"
    argv = [sys.executable, str(REPO / ".ci/lock"), "--wheels", str(new)]
    if subprocess.run(argv, stdin=subprocess.DEVNULL, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        raise InstallationError(
            "the plugin's Python packages could not be fetched; the first start needs internet"
        )
    new.rename(wheels)


def _keep_release(machine: Machine) -> None:
    """Keep the release that is in force in the machine, unless it is the one that is kept already."""
    release = machine.run("readlink", f"{HOME}/current").stdout.strip()  # releases/NAME
    archive = KEPT / f"{Path(release).name}.tar"
    if archive.exists():
        return
    machine.run("tar", "-cf", f"{archive}.new", "-C", HOME, release)
    for older in KEPT.glob("*.tar"):
        older.unlink()
    Path(f"{archive}.new").rename(archive)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Several machines may start at once."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
