"""What became of a mail, from the log of Exim, the mail system of every cPanel server.

Exim's specification, "Log files": `<=` a message arrived (with `id=` its Message-ID), `=>` and `->` delivered, `==`
put off, `**` failed, `Completed`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LOG = Path("/var/log/exim_mainlog")
_TAIL = 256 * 1024
_TICK = 0.25
_SHOWN = 300
_DELIVERED, _FAILED = ("=>", "->"), "**"


def fate(message_id: str, within: float, log: Path = LOG) -> str:
    """Return in a sentence what the log says of a mail, "" if nothing; `within` seconds are waited for its end."""
    deadline = time.monotonic() + within
    while True:
        told, ended = _told(_tail(log), message_id)
        if ended or time.monotonic() >= deadline or not log.exists():
            return told
        time.sleep(_TICK)


def _told(lines: list[str], message_id: str) -> tuple[str, bool]:
    wanted = f"id={message_id.strip('<>')}"
    mine = next((_fields(line)[0] for line in lines if " <= " in line and wanted in line.split()), "")
    if not mine:
        return "", False
    events = [(flag, rest) for one, flag, rest in map(_fields, lines) if one == mine]
    for flag, rest in reversed(events):
        if flag == _FAILED:
            return f"Exim could not deliver it: {rest}", True
        if flag in _DELIVERED:
            return f"Exim delivered it: {rest}", True
        if flag == "==":
            return f"Exim puts it off and tries again: {rest}", True
    return "Exim took it and has not delivered it yet.", False


def _fields(line: str) -> tuple[str, str, str]:
    """The message, the flag and the rest of a line: `2026-05-04 03:00:00 [pid] 1tX-0001-AB => who ...`."""
    words = [word for word in line.split() if not word.startswith("[")][2:]
    rest = "".join(c if c.isprintable() else "?" for c in " ".join(words[2:]))[:_SHOWN]
    return (words[0], words[1], rest) if len(words) > 2 else ("", "", "")


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            return file.read(_TAIL).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
