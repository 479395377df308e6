"""What one check found, and where an installation has its parts."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

OK, WARNING, FAILED = "ok", "warning", "failed"
INSTALL_AGAIN = "Run install.sh of the release again; it puts back what is missing and touches nothing else."


@dataclass(frozen=True)
class DoctorCheck:
    """What was looked at, how it stands (`ok`, `warning`, `failed`), in one sentence, and how to mend it."""

    name: str
    state: str
    sentence: str
    mend: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the check as `doctor --json` prints it."""
        return {"name": self.name, "grade": self.state, "sentence": self.sentence, "mend": self.mend}


@dataclass(frozen=True)
class Places:
    """Where the parts are; `root` is / except in tests, `release` is where this program runs from."""

    root: Path = Path("/")
    release: Path = field(default_factory=lambda: Path(sys.prefix))

    @property
    def home(self) -> Path:
        return self.root / "opt/ocsp-stapling"

    @property
    def files(self) -> Path:
        """The tree that mirrors every file the release has elsewhere."""
        return self.release / "files"

    @property
    def units(self) -> tuple[str, ...]:
        """The units that run all the time: sockets and timers."""
        directory = self.files / "etc/systemd/system"
        return tuple(sorted(p.name for p in directory.glob("*") if p.suffix in (".socket", ".timer")))
