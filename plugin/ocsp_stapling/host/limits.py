"""The load, and what a new connection needs: room in the kernel's table of connections, and SELinux's leave."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NETFILTER = Path("/proc/sys/net/netfilter")
SELINUX = Path("/sys/fs/selinux")
_BOOLEANS = ("httpd_can_network_connect", "httpd_can_network_relay")
"""Either lets Apache connect to port 80 elsewhere (httpd_selinux(8)); both are off on a fresh system."""
_FULL = 0.98
"""While new connections are dropped, others end: the count then stays just under the limit."""


def tracking_full(directory: Path = NETFILTER) -> str:
    """Return in words that connection tracking is full, so that packets of new connections are dropped; "" if not."""
    try:
        count, most = (int((directory / f"nf_conntrack_{name}").read_text()) for name in ("count", "max"))
    except (OSError, ValueError):
        return ""
    if most <= 0 or count < _FULL * most:
        return ""
    return (
        f"the kernel tracks {count:,} connections of {most:,} at most and drops new ones (nf_conntrack_max)"
    )


def selinux_denies(directory: Path = SELINUX) -> bool:
    """Say whether SELinux is enforced and keeps Apache, in its usual domain, from connecting to responders."""
    try:
        enforced = (directory / "enforce").read_text().strip() == "1"
        allowed = [(directory / "booleans" / name).read_text().split()[:1] == ["1"] for name in _BOOLEANS]
    except OSError:
        return False
    return enforced and not any(allowed)


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
