"""What named ipsets hold, asked only for sets that a rule uses (ipset(8))."""

from __future__ import annotations

import time

from ocsp_stapling.host.firewall.iptables import IpSet
from ocsp_stapling.host.firewall.nft_match import Elements
from ocsp_stapling.host.firewall.ruleset import IPAddress
from ocsp_stapling.run import run

_ADDRESS_TYPES = ("hash:ip", "hash:net", "bitmap:ip")


class IpSetReader:
    """Reads a set when it is first asked for; `deadline` is on the monotonic clock."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._known: dict[str, Elements | None] = {}

    def __call__(self, name: str) -> IpSet:
        def holds(address: IPAddress) -> bool | None:
            if name not in self._known:
                self._known[name] = self._read(name)
            elements = self._known[name]
            return None if elements is None else elements.hold(address)

        return holds

    def _read(self, name: str) -> Elements | None:
        left = self.deadline - time.monotonic()
        done = run(["ipset", "save", name], timeout=left) if left > 0 else None
        return parse(done.out) if done is not None and done.ok and not done.truncated else None


def parse(text: str) -> Elements | None:
    """Return the elements in the output of `ipset save NAME`; None for sets of anything but plain addresses."""
    elements: list[object] = []
    for line in text.split("\n"):
        words = line.split()
        if words[:1] == ["create"] and (len(words) < 3 or words[2] not in _ADDRESS_TYPES):
            return None
        if words[:1] == ["add"] and len(words) > 2:
            if "nomatch" in words:
                return None
            elements.append(_element(words[2]))
    return Elements(elements)


def _element(text: str) -> object:
    """An address, network or range in the form of libnftables-json."""
    address, slash, length = text.partition("/")
    if slash:
        return {"prefix": {"addr": address, "len": length}}
    low, dash, high = text.partition("-")
    return {"range": [low, high]} if dash else text
