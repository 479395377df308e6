"""The owner's side of a machine: start it, run programs in it, break things, stop it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from tests.machine.shape import MPMS, Authority, Shape, SitePlan, authorities, sites

__all__ = ["MPMS", "Machine", "Shape", "why_not_here"]

REPO = Path(__file__).resolve().parents[2]
TOOLS = ("apache2", "ip", "nft", "nsenter", "unshare", "mount")
# Directories that a machine has anew, so that what this system has there is out of its sight.
FRESH = (
    "/var/lib/ocsp-stapling",
    "/etc/ocsp-stapling",
    "/opt/ocsp-stapling",
    "/usr/local/cpanel",
    "/var/cpanel",
    "/var/log/apache2",
)
OWN_PLACES = (*FRESH, "/mnt", "/run", "/dev/shm", "/proc")
CLEAN = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
}


def why_not_here() -> str:
    """Return why a machine cannot run on this system in one sentence, or "" if it can."""
    if os.geteuid() != 0:
        return "the WHM-shaped machine needs root"
    if own := next((place for place in OWN_PLACES if REPO.is_relative_to(place)), ""):
        return f"this checkout lies in {own}, which the machine has for itself; move it elsewhere, such as to /root"
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=CLEAN["PATH"])]
    if missing:
        return f"the WHM-shaped machine needs {', '.join(missing)}"
    trial = [
        "unshare",
        *NAMESPACES,
        "sh",
        "-c",
        "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w && "
        "mount -t overlay o -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc && "
        "ip link add name trial0 type veth peer name trial1",
    ]
    if subprocess.run(trial, capture_output=True, check=False).returncode != 0:
        return (
            "this system does not allow mount, network and PID namespaces "
            "(a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN)"
        )
    return ""


NAMESPACES = (
    "--mount",
    "--net",
    "--pid",
    "--uts",
    "--ipc",
    "--fork",
    "--kill-child",
    "--propagation",
    "private",
)


class Machine:
    """A running WHM-shaped machine; a context manager that takes everything down at its end.

    The machine also ends by itself when this process ends in any way: its first process waits on a pipe that
    only this process holds open. `shared`: what of this system's /tmp it sees beside this checkout; the rest of
    its /tmp is its own.
    """

    shared: ClassVar[tuple[Path, ...]] = ()

    def __init__(self, shape: Shape | None = None) -> None:
        self.shape = shape or Shape()
        self.authorities: list[Authority] = authorities(self.shape)
        self.sites: list[SitePlan] = sites(self.shape)
        self._boot: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[str]] = []
        self.pid = 0

    def __enter__(self) -> Machine:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        argv = ["unshare", *NAMESPACES, sys.executable, "-m", "tests.machine.boot", self.shape.to_json()]
        argv += [str(path) for path in (REPO, *self.shared) if path.is_relative_to("/tmp")]
        self._boot = subprocess.Popen(
            argv,
            cwd=REPO,
            env=CLEAN,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._boot.stdout is not None
        self._await()

    def _await(self) -> None:
        """Wait until the machine is up, and know its first process."""
        assert self._boot is not None
        assert self._boot.stdout is not None
        line = self._boot.stdout.readline()
        if line != "ready\n":
            self.stop()
            raise RuntimeError(f"the machine did not start: {line!r}")
        self.pid = only_child(self._boot.pid)
        if self.shape.systemd:
            self.pid = only_child(_child_named(self.pid, "unshare"))

    def reboot(self) -> None:
        """Let its systemd stop everything and start again, on the same disks."""
        # systemd stops every process before it ends it; nsenter stops with its own, and would never see it end.
        for process in self._started:
            process.kill()
        self._started.clear()
        self.run("systemctl", "reboot")
        self._await()

    def stop(self) -> None:
        """End the machine; its namespaces, mounts and processes go with its first process."""
        if self._boot is None:
            return
        assert self._boot.stdin is not None
        assert self._boot.stdout is not None
        with contextlib.suppress(OSError):
            self._boot.stdin.close()
        try:
            self._boot.wait(10)
        except subprocess.TimeoutExpired:
            self._boot.kill()
            self._boot.wait(10)
        self._boot.stdout.close()
        self._boot = None

    def enter(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` inside the machine."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", "-i", "--", *argv]

    def run(
        self, *argv: str, check: bool = True, timeout: float = 120, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine as root, with a clean environment, and return what it printed."""
        done = subprocess.run(
            self.enter(argv),
            env=CLEAN,
            capture_output=True,
            text=True,
            timeout=timeout,
            input=input,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{argv} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def popen(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program in the machine in a session of its own."""
        process = subprocess.Popen(
            self.enter(argv),
            env=CLEAN,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def python(self, module: str, *args: str, timeout: float = 120, check: bool = True) -> str:
        """Run a module of this checkout in the machine with this interpreter; return its standard output."""
        return self.run(*_module(module, *args), timeout=timeout, check=check).stdout

    def python_lines(self, module: str, *args: str) -> Iterator[str]:
        """Run a module of this checkout in the machine; yield each line that it prints, when it does."""
        process = self.popen(*_module(module, *args))
        assert process.stdout is not None
        assert process.stderr is not None
        with process, process.stdout, process.stderr:
            yield from process.stdout
            if code := process.wait():
                raise AssertionError(f"{module} ended with {code}: {process.stderr.read()}")

    def fault(self, ca: str, kind: str, address: str = "all", user: str = "", serial: str = "") -> None:
        """Let `kind` befall the responder of `ca` (or "all") at `address` (all, 4, 6 or one address).

        `serial` (hexadecimal): only where it is asked about that certificate.
        """
        only = {"--user": user, "--serial": serial}
        options = [word for pair in only.items() if pair[1] for word in pair]
        self.run("machine", "fault", ca, kind, "--address", address, *options)

    def heal(self) -> None:
        """Take every fault away."""
        self.run("machine", "heal")

    def path(self, inside: str) -> Path:
        """Return the path outside under which a file of the machine can be read and written."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")


def _module(module: str, *args: str) -> list[str]:
    """The command line that runs a module of this checkout with this interpreter, wherever it is called."""
    return ["sh", "-c", f'cd "{REPO}" && exec "$0" "$@"', sys.executable, "-m", module, *args]


def _child_named(pid: int, name: str) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(each) for each in children if Path(f"/proc/{each}/comm").read_text().strip() == name)


def only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
