"""Load and uptime: the outage this tool is about comes with a load that is normal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """Load averages over 1, 5 and 15 minutes, number of processors, seconds since boot (None: unknown)."""

    one: float
    five: float
    fifteen: float
    processors: int
    uptime_seconds: float | None

    @property
    def normal(self) -> bool:
        """Whether less than one task and a half per processor wanted to run during the last minute."""
        return self.one < 1.5 * self.processors

    @property
    def sentence(self) -> str:
        """The load in plain words."""
        word = "normal" if self.normal else "high"
        return f"the load is {word}: {self.one:.2f} over the last minute on {self.processors} processors"


def read_load(proc: Path = Path("/proc")) -> Load:
    """Return the server's load now."""
    one, five, fifteen = os.getloadavg()
    return Load(one, five, fifteen, os.cpu_count() or 1, _uptime(proc / "uptime"))


def _uptime(path: Path) -> float | None:
    try:
        return float(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
