"""What the tests of `install.sh --sandbox` share: start it as a person would, and see what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

from tests.machine.machine import REPO

SANDBOX = [str(REPO / "install.sh"), "--sandbox"]
PROMPT = "[WHM-shaped machine]"
_PLACES = {
    "whm": r"WHM, a stand-in +(https://127\.0\.0\.1:\d+/)",
    "outages": r"Outages +(http://127\.0\.0\.1:\d+/)",
    "root": r"log in as root,.*; password:\n +(\S+)\n",
    "reseller1": r"or as reseller1,.*; password:\n +(\S+)\n",
}
_KINDS = ("mnt", "net", "pid")


@dataclass(frozen=True)
class Serving:
    """A sandbox that runs, and what it printed about itself: where its pages are, and the passwords."""

    process: subprocess.Popen[str]
    places: dict[str, str]


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Serving]:
    """Start the sandbox and wait until it has said where its pages are; a tour says none, for it ends by itself."""
    process = subprocess.Popen(
        [*SANDBOX, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        shown = ""
        for line in process.stdout:
            shown += line
            if "From another computer" in line or "visitors have set out" in line:
                break
        stays = "--tour" not in options
        yield Serving(process, {name: _one(pattern, shown) for name, pattern in _PLACES.items() if stays})
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _one(pattern: str, shown: str) -> str:
    found = re.search(pattern, shown)
    assert found, shown
    return found[1]


class Person:
    """Somebody with a browser on this system, who accepted WHM's certificate."""

    def __init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor(CookieJar())
        )

    def get(self, url: str) -> str:
        """Return the page at an address."""
        with self.opener.open(url, timeout=120) as answer:
            return str(answer.read().decode())

    def post(self, url: str, **fields: str) -> tuple[str, str]:
        """Send a form; return the address to which it led and the page there."""
        with self.opener.open(url, urlencode(fields).encode(), timeout=120) as answer:
            return str(answer.url), str(answer.read().decode())


class Shell:
    """The sandbox's shell at a terminal."""

    def __init__(self, argv: list[str]) -> None:
        self.unread = ""
        self.terminal, child = pty.openpty()
        self.process = subprocess.Popen(
            argv, cwd=REPO, stdin=child, stdout=child, stderr=child, start_new_session=True
        )
        os.close(child)

    def __enter__(self) -> Shell:
        self.read_until(PROMPT)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def read_until(self, *wanted: str) -> str:
        """Return what the terminal shows up to one of these; pytest's time-out ends a wait in vain."""
        pattern = re.compile("|".join(map(re.escape, wanted)))
        while not (found := pattern.search(self.unread)):
            self.unread += os.read(self.terminal, 65536).decode("utf-8", "replace")
        shown, self.unread = self.unread[: found.end()], self.unread[found.end() :]
        return shown


def machine_of(pid: int) -> int:
    """Return the process that holds the machine of a sandbox: its first child."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextlib.contextmanager
def namespaces_of(pid: int) -> Iterator[set[str]]:
    """Give every namespace in which a process of the sandbox's machine lives.

    They are held open meanwhile: the kernel gives the number of one that has ended to the next that begins, which may
    be another test's.
    """
    first = machine_of(machine_of(pid))
    members = [each for each in _processes() if _namespaces(each)[2:] == _namespaces(first)[2:]]
    with contextlib.ExitStack() as held:
        names = set()
        for path in (Path(f"/proc/{member}/ns/{kind}") for member in members for kind in _KINDS):
            with contextlib.suppress(OSError):  # ended just now
                names.add(
                    str(Path(f"/proc/self/fd/{held.enter_context(path.open('rb')).fileno()}").readlink())
                )
        yield names - set(_namespaces(os.getpid()))


def still_there(namespaces: set[str]) -> list[str]:
    """Return the command lines of processes that live in one of these namespaces."""
    return [
        Path(f"/proc/{pid}/comm").read_text() for pid in _processes() if namespaces & set(_namespaces(pid))
    ]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _namespaces(pid: int) -> list[str]:
    """Mount, network and PID namespace of a process; none of one that has ended."""
    try:
        return [str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in _KINDS]
    except OSError:
        return []
