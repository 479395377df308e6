"""What a new connection needs of this server: room in the kernel's table of connections."""

from __future__ import annotations

from pathlib import Path

NETFILTER = Path("/proc/sys/net/netfilter")
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
