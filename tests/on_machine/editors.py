"""Whoever else saves the includes: two ways of saving a file, and an editor that goes on doing so."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ocsp_stapling.files import _swap

Save = Callable[[Path, bytes], None]


def in_place(path: Path, line: bytes) -> None:
    """Save as WHM's Include Editor may: read, truncate, write; of one open file, so never a copy that is old."""
    with path.open("r+b") as file:
        content = file.read()
        file.seek(0)
        file.truncate(0)
        time.sleep(0.002)
        file.write(line + content)


def by_rename(path: Path, line: bytes) -> None:
    """Save as careful editors do: write beside, with the owner and mode of the old one, then change places.

    What lay there is looked at afterwards: a change that came between reading and saving goes back and is kept, for
    a check before a plain rename would let a busy processor save an old copy over it.
    """
    beside = path.with_name(".editor")
    while True:
        content, status = path.read_bytes(), path.stat()
        beside.write_bytes(line + content)
        beside.chmod(status.st_mode & 0o7777)
        _swap(beside, path)
        if beside.read_bytes() == content:
            return beside.unlink()
        _swap(beside, path)


class Editor(threading.Thread):
    """Adds a line at the top again and again; afterwards every line must be there, in order, before `start`."""

    def __init__(self, path: Path, save: Save, start: bytes, pauses: Callable[[], float]) -> None:
        super().__init__(daemon=True)
        self.path, self.save, self.start_with, self.pauses = path, save, start, pauses
        self.lines: list[bytes] = []
        self.enough, self.at_work = threading.Event(), threading.Lock()
        path.write_bytes(start)

    @property
    def wanted(self) -> bytes:
        """What must be in the file beside the plugin's own block."""
        return b"".join(reversed(self.lines)) + self.start_with

    def run(self) -> None:
        """Save until it is enough; whoever holds `at_work` makes it pause."""
        while not self.enough.wait(self.pauses()):
            with self.at_work:
                line = b"# line %d\n" % len(self.lines)
                self.save(self.path, line)
                self.lines.append(line)


def now_and_then(choice: random.Random, longest: float) -> Callable[[], float]:
    """Pauses of random length, in seconds."""
    return lambda: choice.uniform(0.05, longest)
