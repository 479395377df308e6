"""Writes docs/captures: what every command prints at a terminal of 80 columns, in one story on a WHM-shaped machine.

Usage (root): python -m tests.captures [DIRECTORY]; then python -m tests.documentation puts them into docs/cli.md.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from tests.machine.installation import install
from tests.machine.machine import CLEAN, REPO, Machine, Shape, why_not_here
from tests.machine.steady import CHAPTER, STORY

DIRECTORY = REPO / "docs/captures"
COLUMNS = 80
RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
HEALTHY = (
    ("check", "check"),
    ("status", "status"),
    ("probe", "probe site0001.example.test"),
    ("sites", "sites"),
    ("config", "config"),
    ("cache", "cache fit --dry-run"),
    ("shield", "shield status"),
)
OUTAGE = (
    ("check-outage", "check"),
    ("log", "log"),
    ("probe-typo", "probe typo.example"),
    ("ticket", "ticket --last"),
    ("watch", "watch"),
)
OFF = (("check-off", "check"), ("status-off", "status"), ("return", "return on"), ("history", "history"))
HEALED = (
    ("history-incident", "history --incident latest"),
    ("report", "report"),
    ("metrics", "metrics | head -8"),
    ("doctor", "doctor"),
)
AS_INSTALLED = ("doctor",)
_MOMENT = re.compile(r"\b(\d{4}-\d\d-\d\d)([ T]\d\d:\d\d:\d\d)?\b")
_OPERATION = re.compile(r"\b(i?)\d{8}T\d{6}-[0-9a-f]{4,6}\b")
_CHANCE = (
    (re.compile(r"(OCSP-ELSEWHERE )[0-9a-f]{16}"), r"\g<1>0123456789abcdef"),
    (re.compile(r"(http://ocsp\.[a-z.-]+/)M[\w%+=/-]{40,}"), r"\g<1>MFUwUzBRME8wTTAJBgUrDgMCGgUA..."),
    (re.compile(r"\b\d{1,2} seconds ago"), "just now"),
    (re.compile(r"\b\d+ workers now"), "3 workers now"),
    (re.compile(r"\b\d\.\d s(?= after|: )"), "1.1 s"),
    (re.compile(r"after \d\.\d s:"), "after 1.1 s:"),
)
_STEP = re.compile(r"^ +\d+\.\d\d s(?=  )")


def at_terminal(machine: Machine, words: str, answer: str, chapters: Sequence[float]) -> str:
    """Return what a command line prints at a terminal; it is asked with [y/N] and gets the answer."""
    # What looks at the installation itself must be the installed command.
    steadily = f'cd "{REPO}" && "$0" -m tests.machine.steady {words}'
    line = f"/usr/local/sbin/ocsp-stapling {words}" if words in AS_INSTALLED else steadily
    terminal, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    process = subprocess.Popen(
        machine.enter(["sh", "-c", line, sys.executable]),
        env={**CLEAN, "TERM": "dumb", "TZ": "UTC", "STORY_CHAPTERS": ",".join(map(str, chapters))},
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    shown, asked, deadline = "", 0, time.monotonic() + 120
    with process:
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 1)[0]:
                try:
                    shown += os.read(terminal, 65536).decode()
                except OSError:  # the other end is closed
                    break
            if shown.count("[y/N]") > asked:
                asked += 1
                os.write(terminal, f"{answer}\n".encode())
        process.kill()
    os.close(terminal)
    return shown.replace("\r\n", "\n")


def steady(text: str, now: datetime, today: date) -> str:
    """Return the text with the story's times and identities in place of this run's; no width changes in a table."""
    text = _MOMENT.sub(lambda found: _told(found[1], found[2] or "", now, today), text)
    known: dict[str, str] = {}
    text = _OPERATION.sub(lambda found: known.setdefault(found[0], _identity(found, len(known))), text)
    for pattern, instead in _CHANCE:
        text = pattern.sub(instead, text)
    return "\n".join(_steps(text.splitlines())) + "\n"


def _told(day: str, time_of_day: str, now: datetime, today: date) -> str:
    """A moment of this run as one of the story; a day as far from the story's as it is from today."""
    if day == f"{STORY:%Y-%m-%d}":
        return day + time_of_day  # the command has told it so
    there = date.fromisoformat(day) - today + STORY.date()
    return f"{there}{time_of_day[0]}{now:%H:%M:%S}" if time_of_day else f"{there}"


def _identity(found: re.Match[str], number: int) -> str:
    end = "1f2e" if found[1] else "3a4b5c"
    return f"{found[1]}{STORY:%Y%m%d}T{STORY:%H%M}{number:02}-{end}"


def _steps(lines: list[str]) -> Iterator[str]:
    """The lines, those of a change's steps with steady times in their order."""
    number = 0
    for line in lines:
        if found := _STEP.match(line):
            number += 1
            width = len(found[0])
            line = f"{number * 0.2:.2f} s".rjust(width) + line[width:]
        yield line.rstrip()


class Story:
    """The machine's story, each command's text kept under its name."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.texts, self._chapters = machine, dict[str, str](), list[float]()

    def tell(self) -> dict[str, str]:
        """Healthy, outage, off, healed, on."""
        self._take(*HEALTHY)
        self.machine.fault("alpha", "hang")
        self.machine.run(RESTART, "--hard")
        self.machine.run("machine", "visit", "4")
        self._take(*OUTAGE)
        self._take(("off", "off --reason 'the responder of alpha hangs'"), answer="y")
        self._take(*OFF)
        self.machine.heal()
        self._take(("on", "on"), answer="y")
        self._take(("undo", "undo last"), answer="n")
        self._take(*HEALED)
        return self.texts

    def _take(self, *commands: tuple[str, str], answer: str = "n") -> None:
        self._chapters.append(time.time())
        now = STORY + CHAPTER * (len(self._chapters) - 1)
        for name, words in commands:
            shown = at_terminal(self.machine, words, answer, self._chapters)
            text = steady(shown, now, datetime.now(UTC).date())
            self.texts[name] = f"# ocsp-stapling {words}\n{text}"


def told() -> dict[str, str]:
    """Tell the story on a machine of its own; return the captures by their names."""
    with Machine(Shape(plugin=False)) as machine:
        machine.python("tests.machine.cpanel", "prepare")
        install(machine, lambda _text: None)
        return Story(machine).tell()


def main() -> None:
    """Write all captures."""
    if reason := why_not_here():
        raise SystemExit(reason)
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in told().items():
        (directory / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    main()
