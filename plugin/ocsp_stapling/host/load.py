"""The load: the outage this tool is about comes with a load that is normal."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """Load average over one minute, number of processors."""

    one: float
    processors: int

    @property
    def normal(self) -> bool:
        """Whether less than one task and a half per processor wanted to run during the last minute."""
        return self.one < 1.5 * self.processors

    @property
    def sentence(self) -> str:
        """The load in plain words."""
        word = "normal" if self.normal else "high"
        return f"the load is {word}: {self.one:.2f} over the last minute on {self.processors} processors"


def read_load() -> Load:
    """Return the server's load now."""
    return Load(os.getloadavg()[0], os.cpu_count() or 1)
