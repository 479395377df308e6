"""What an administrator does on a machine and looks at afterwards: calls, include files, Apache, the whole disk."""

from __future__ import annotations

import contextlib
import ctypes
import email
import email.policy
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.machine import Machine
from tests.machine.clients import handshake
from tests.machine.machine import REPO
from tests.machine.shape import SERVER_V4

INCLUDES = "/etc/apache2/conf.d/includes"
GLOBAL = f"{INCLUDES}/pre_virtualhost_global.conf"
TWO = f"{INCLUDES}/pre_virtualhost_2.conf"
LATE = f"{INCLUDES}/post_virtualhost_global.conf"
CONF = "/etc/apache2/conf/httpd.conf"
PID_FILE = "/run/apache2/httpd.pid"
API_MODE = "/run/machine/whmapi1.mode"
RESTART_MOOD = "/run/machine/restart.mood"
RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
REBUILD = "/usr/local/cpanel/scripts/rebuildhttpdconf"
STATE = "/var/lib/ocsp-stapling"
_SENDMAIL = '#!/bin/sh\nn=$(ls /run/mails | wc -l)\ncat >"/run/mails/$n"\n'
_CLONE_NEWNET = 0x40000000
# What may differ after a change that left the server as it was: the history and the logs.
_MOVING = ("var/upper/lib", "var/upper/log", "var/upper/cache")


@dataclass(frozen=True)
class Called:
    """One call of the command: its exit status, its document ({} if it printed none), what it told people."""

    code: int
    document: dict[str, Any]
    out: str
    err: str

    @property
    def error(self) -> str:
        """The code of the problem, "" if there was none."""
        found = self.document.get("error") or {}
        return str(found.get("code", ""))

    @property
    def told(self) -> str:
        """Everything said, for people or programs."""
        return self.out + self.err


def call(machine: Machine, *words: str) -> Called:
    """Call `ocsp-stapling` with these words."""
    done = machine.run("ocsp-stapling", *words, check=False)
    return _called(done)


def switch(machine: Machine, action: str, *words: str) -> Called:
    """Call off, on or undo with consent and read its document."""
    return call(machine, action, "--yes", "--json", *words)


def _called(done: subprocess.CompletedProcess[str]) -> Called:
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = {}
    return Called(done.returncode, document if isinstance(document, dict) else {}, done.stdout, done.stderr)


def sabotage(machine: Machine, strike: str, point: int, *words: str) -> Called:
    """Call the command with a saboteur at one point of its work (tests/on_machine/saboteur.py)."""
    line = f'cd "{REPO}" && exec "$0" -m tests.on_machine.saboteur "$@"'
    return _called(
        machine.run("sh", "-c", line, sys.executable, strike, str(point), "--", *words, check=False)
    )


def points(machine: Machine, *words: str) -> int:
    """Carry out a call and return at how many points a saboteur can strike in it."""
    return int(sabotage(machine, "count", 0, *words).err.rpartition("points: ")[2])


def take_mails(machine: Machine) -> None:
    """Have the machine's mails taken from now on, and an administrator who gets them."""
    machine.path("/run/mails").mkdir()
    machine.path("/usr/sbin/sendmail").write_text(_SENDMAIL)
    machine.path("/usr/sbin/sendmail").chmod(0o755)
    machine.path("/etc/wwwacct.conf").write_text("CONTACTEMAIL admin@example.com\n")


def mails(machine: Machine) -> list[EmailMessage]:
    """Return the mails that were taken, in order."""
    files = sorted(machine.path("/run/mails").iterdir(), key=lambda path: int(path.name))
    found = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in files]
    return [mail for mail in found if isinstance(mail, EmailMessage)]


def file_state(machine: Machine, *paths: str) -> dict[str, tuple[bytes, int, int, int]]:
    """Return bytes, mode, owner and group of files; of both pre_virtualhost includes if none is named."""
    found = {}
    for path in paths or (GLOBAL, TWO):
        outside = machine.path(path)
        status = outside.stat()
        found[path] = (outside.read_bytes(), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    return found


def write(machine: Machine, path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file of the machine as an administrator's editor would."""
    outside = machine.path(path)
    outside.parent.mkdir(parents=True, exist_ok=True)
    outside.write_bytes(content)
    outside.chmod(mode)


def visits(machine: Machine, count: int = 1, *options: str) -> list[dict[str, Any]]:
    """Meet the sites with clients that ask for a staple."""
    printed = machine.python("tests.machine.clients", str(count), *options)
    return [json.loads(line) for line in printed.splitlines()]


@contextlib.contextmanager
def crowd(machine: Machine, count: int, settle: float = 2.5) -> Iterator[None]:
    """Visitors who all ask for a staple at once and wait; they leave at the end."""
    visitors = machine.popen("sh", "-c", f"exec machine visit {count} >/dev/null 2>&1")
    try:
        time.sleep(settle)
        yield
    finally:
        os.killpg(visitors.pid, signal.SIGKILL)
        visitors.communicate()


def stapled(machine: Machine, site: str = "site0001.example.test") -> bool:
    """Return whether a site sends a staple. Raises AssertionError if it does not answer."""
    found = meet(machine, site)
    assert found["error"] == "", found
    return bool(found["stapled"])


def meet(machine: Machine, site: str, limit: float = 10.0) -> dict[str, Any]:
    """Meet a site from this very process: a socket belongs to the network of the thread that makes it."""
    found: list[dict[str, Any]] = []

    def visit() -> None:
        with machine.path("/proc/1/ns/net").open() as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _CLONE_NEWNET) == 0:
                found.append(handshake(site, True, SERVER_V4, limit))

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    return found[0]


def parent(machine: Machine) -> int:
    """Return the pid of Apache's parent as the machine's processes show it, 0 if Apache does not run."""
    return min(processes(machine, "httpd"), default=0)


def processes(machine: Machine, name: str = "", line: str = "") -> list[int]:
    """Return the living processes of that name, or with that text in their command line, as numbered inside."""
    found = []
    for entry in machine.path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            comm, _, fields = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            if fields.split()[0] not in "ZX" and (comm == name if name else line in words):
                found.append(int(entry.name))
    return found


def kill(machine: Machine, number: int, found: list[int]) -> None:
    """Send a signal to processes of the machine."""
    if found:
        machine.run("sh", "-c", f"kill -{number} {' '.join(map(str, found))}", check=False)


def pid_stamp(machine: Machine) -> tuple[int, int]:
    """Return what changes whenever Apache starts or reads its configuration anew."""
    found = machine.path(PID_FILE).stat()
    return found.st_ino, found.st_mtime_ns


def disk(machine: Machine) -> dict[str, tuple[object, ...]]:
    """Return everything that was written on the machine's disk since it was made, without history and logs."""
    base = machine.path("/mnt")
    return {
        name: found
        for top in sorted(base.glob("*/upper"))
        for name, found in _walk(top, base)
        if not name.startswith(_MOVING)
    }


def _walk(top: Path, base: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    for directory, names, file_names in os.walk(top):
        for name in [*names, *file_names]:
            path = Path(directory, name)
            yield str(path.relative_to(base)), _seen(path)


def _seen(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
    return status.st_mode, status.st_uid, status.st_gid, content


def userdata(machine: Machine, site: str, text: str, name: str = "ocsp.conf") -> str:
    """Give a site a userdata include, have httpd.conf rebuilt, and return the include's path."""
    user = next(each.user for each in machine.sites if each.name == site)
    path = f"/etc/apache2/conf.d/userdata/ssl/2_4/{user}/{site}/{name}"
    write(machine, path, text.encode(), 0o644)
    machine.run(REBUILD)
    machine.run(RESTART, "--hard")
    return path
