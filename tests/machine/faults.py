"""Faults of the responders and of the way to them: one list in one file, applied whole each time."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.machine.shape import Authority

RUN = Path("/run/machine")
FAULTS = RUN / "faults.json"
WORLD_PID = RUN / "world.pid"
WORLD_NET = RUN / "world.net"  # its network namespace, whoever looks and from where

# What the responder itself does wrong ...
ANSWERS = (
    *(
        "hang",
        "slow",
        "empty",
        "5xx",
        "redirect",
        "html",
        "not-ocsp",
        "oversize",
        "try-later",
        "unauthorized",
    ),
    *("revoked", "unknown", "stale", "future", "bad-signature", "wrong-certificate", "wrong-delegate"),
)
# ... what the network does to packets for it, and what the resolver says of its name.
PACKETS = ("drop", "refuse", "unreachable")
NAMES = ("dns", "dns-servfail", "dns-hang", "dns-stale", "dns-stranger")
KINDS = (*ANSWERS, *PACKETS, *NAMES)


@dataclass(frozen=True)
class Fault:
    """`kind` befalls the `ca` ("all" or a name) at `address` ("all", "4", "6" or one address).

    With `user` only connections of that local user are hit (packet faults only), with `serial` (hexadecimal) only
    questions about that certificate.
    """

    ca: str
    kind: str
    address: str = "all"
    user: str = ""
    serial: str = ""

    def hits(self, ca: str, address: str) -> bool:
        version = str(ipaddress.ip_address(address).version)
        return self.ca in ("all", ca) and self.address in ("all", version, address)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Read and write as one step: faults come from shells and from the page."""
    with FAULTS.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read() -> list[Fault]:
    try:
        return [Fault(**each) for each in json.loads(FAULTS.read_text())]
    except FileNotFoundError:
        return []


def write(found: list[Fault], authorities: list[Authority]) -> None:
    """Make `found` the whole truth: rules and routes are rebuilt, the responders read the file themselves."""
    FAULTS.with_suffix(".new").write_text(json.dumps([asdict(f) for f in found]))
    FAULTS.with_suffix(".new").replace(FAULTS)
    here, there, routes = _rules(found, authorities)
    _nft(here, [])
    _nft(there, ["nsenter", f"--net={WORLD_NET}"])
    for family in ("-4", "-6"):
        subprocess.run(
            ["ip", family, "route", "flush", "proto", "77"], stderr=subprocess.DEVNULL, check=False
        )
    for address in routes:
        subprocess.run(["ip", "route", "add", "throw", address, "proto", "77"], check=True)


def _rules(found: list[Fault], authorities: list[Authority]) -> tuple[list[str], list[str], set[str]]:
    here, there, routes = [], [], set()
    verdicts = {"drop": "drop", "refuse": "reject with tcp reset", "unreachable": "reject"}
    for fault in found:
        for authority in authorities:
            for address in authority.addresses:
                if fault.kind not in PACKETS or not fault.hits(authority.name, address):
                    continue
                family = "ip6" if ":" in address else "ip"
                match = f"{family} daddr {address} tcp dport 80"
                if fault.user:
                    here.append(f"meta skuid {fault.user} {match} {verdicts[fault.kind]}")
                elif fault.kind == "unreachable":
                    routes.add(address)
                else:
                    there.append(f"{match} {verdicts[fault.kind]}")
    return here, there, routes


def _nft(rules: list[str], prefix: list[str]) -> None:
    hook = "input" if prefix else "output"
    text = "table inet machine {}\ndelete table inet machine\n"
    if rules:
        lines = [f"type filter hook {hook} priority 0; policy accept;", *rules]
        text += "table inet machine {\nchain c {\n" + "\n".join(lines) + "\n}\n}\n"
    subprocess.run([*prefix, "nft", "-f", "-"], input=text, text=True, check=True)
