"""The faults as the outage page knows them: each authority's responder is in one mood in each address family."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from tests.machine import faults
from tests.machine.faults import Fault
from tests.machine.shape import Authority

BOTH = "all"
FAMILIES = {"4": "IPv4", "6": "IPv6"}
WORDS = {
    "hang": "accepts connections and never answers",
    "drop": "its packets are lost",
    "refuse": "refuses connections",
    "unreachable": "there is no route to it",
    "5xx": "answers 503 Service Unavailable",
    "dns": "its name does not exist (NXDOMAIN)",
    "html": "sends a web page, as an intercepting proxy does",
    "slow": "answers after two seconds",
    "empty": "closes without an answer",
    "redirect": "redirects elsewhere",
    "not-ocsp": "sends something that is no OCSP answer",
    "oversize": "sends an answer larger than Apache takes",
    "try-later": "answers tryLater",
    "unauthorized": "answers unauthorized",
    "revoked": "says that every certificate is revoked",
    "unknown": "does not know any certificate",
    "stale": "sends an answer that has expired",
    "future": "sends an answer of the future (a clock is wrong)",
    "bad-signature": "signs wrongly",
    "wrong-certificate": "answers for another certificate",
    "wrong-delegate": "lets a stranger sign",
    "dns-servfail": "its name servers fail (SERVFAIL)",
    "dns-hang": "its name servers do not answer",
    "dns-stale": "its name has an old address, where nobody is",
    "dns-stranger": "its name has an old address, with somebody else's web server",
}


@dataclass(frozen=True)
class Mood:
    """What befalls the responder of an authority in one address family ("4", "6"), or as a whole ("all")."""

    authority: str
    family: str
    kind: str


def families_of(kind: str) -> tuple[str, ...]:
    """The choices of address family that a fault has; a name is broken as a whole."""
    return (BOTH,) if kind in faults.NAMES else (BOTH, *FAMILIES)


def moods(authorities: list[Authority]) -> list[Mood]:
    """Return every present mood, whoever caused it."""
    found = [piece for fault in faults.read() for piece in _pieces(fault, authorities)]
    return list(dict.fromkeys(Mood(f.ca, _family(f), f.kind) for f in found))


def strike(authorities: list[Authority], ca: str, kind: str, family: str) -> None:
    """Let this and nothing else befall an authority's responder in that family."""
    with faults.alone():
        kept = _without(authorities, ca, family)
        chosen = families_of(kind)[1:] or (BOTH,)
        new = [Fault(ca, kind, each) for each in chosen if family in (BOTH, each)]
        faults.write([*kept, *new], authorities)


def heal(authorities: list[Authority], ca: str) -> None:
    """Take away what befalls an authority's responder, or everything ("all")."""
    with faults.alone():
        faults.write([] if ca == "all" else _without(authorities, ca, BOTH), authorities)


def _without(authorities: list[Authority], ca: str, family: str) -> list[Fault]:
    pieces = [piece for fault in faults.read() for piece in _pieces(fault, authorities)]
    return [p for p in pieces if p.ca != ca or not _overlap(_family(p), family)]


def _overlap(one: str, other: str) -> bool:
    return BOTH in (one, other) or one == other


def _pieces(fault: Fault, authorities: list[Authority]) -> list[Fault]:
    """Split a fault into those of one authority and one family each."""
    names = [a.name for a in authorities] if fault.ca == "all" else [fault.ca]
    split = fault.address == BOTH and fault.kind not in faults.NAMES
    addresses = list(FAMILIES) if split else [fault.address]
    return [Fault(name, fault.kind, address, fault.user) for name in names for address in addresses]


def _family(fault: Fault) -> str:
    if fault.address in (BOTH, *FAMILIES):
        return fault.address
    return str(ipaddress.ip_address(fault.address).version)
