"""The fault matrix: every fault of the machine, and what `check` must say of it. Test and documentation share it.

Usage: python -m tests.on_machine.fault_matrix    (prints the tables of docs/diagnosis.md)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.machine.faults import ANSWERS, KINDS, NAMES, PACKETS

# Cause and remedy, in short.
BLOCK = ("network-block", "contact-datacenter")
FIREWALL = ("local-firewall", "fix-here")
ROUTE = ("no-route", "fix-here")
IPV6 = ("ipv6-broken", "fix-here")
IPV6_WAY = ("ipv6-broken", "contact-datacenter")
DNS = ("dns", "fix-here")
INTERCEPTED = ("interception", "contact-datacenter")
OUTAGE = ("ca-outage", "wait-for-ca")
WRONG = ("ca-bad-answer", "wait-for-ca")
CLOCK = ("clock", "fix-here")
REVOKED = ("certificate-revoked", "reissue")

PLACES = ("all", "6", "4")
"""Both families, IPv6 only, IPv4 only. Apache tries IPv6 first, so a fault of IPv4 alone costs nobody time."""
Verdict = tuple[str, str]

# fault -> for one authority of three, then for all three at once, each at both families, IPv6 only, IPv4 only
EVERYBODY: dict[str, tuple[tuple[Verdict, Verdict, Verdict], tuple[Verdict, Verdict, Verdict]]] = {
    "drop": ((BLOCK, IPV6_WAY, BLOCK), (BLOCK, IPV6, BLOCK)),
    "refuse": ((BLOCK, IPV6_WAY, BLOCK), (BLOCK, IPV6, BLOCK)),
    "unreachable": ((ROUTE, IPV6_WAY, ROUTE), (ROUTE, IPV6, ROUTE)),
    "hang": ((OUTAGE, OUTAGE, OUTAGE), (BLOCK, IPV6, BLOCK)),
    "empty": ((OUTAGE, OUTAGE, OUTAGE), (BLOCK, IPV6, BLOCK)),
    "slow": ((OUTAGE, OUTAGE, OUTAGE), (OUTAGE, OUTAGE, OUTAGE)),
    "5xx": ((OUTAGE, OUTAGE, OUTAGE), (OUTAGE, OUTAGE, OUTAGE)),
    "try-later": ((OUTAGE, OUTAGE, OUTAGE), (OUTAGE, OUTAGE, OUTAGE)),
    "html": ((INTERCEPTED, INTERCEPTED, INTERCEPTED), (INTERCEPTED, INTERCEPTED, INTERCEPTED)),
    "not-ocsp": ((WRONG, WRONG, WRONG), (INTERCEPTED, INTERCEPTED, INTERCEPTED)),
    "redirect": ((WRONG, WRONG, WRONG), (INTERCEPTED, INTERCEPTED, INTERCEPTED)),
    "revoked": ((REVOKED, REVOKED, REVOKED), (REVOKED, REVOKED, REVOKED)),
}
# An answer that is wrong is the authority's doing wherever it is seen.
EVERYBODY |= {
    kind: ((WRONG, WRONG, WRONG), (WRONG, WRONG, WRONG)) for kind in ANSWERS if kind not in EVERYBODY
}
# Of every authority at once, at every address, times from the past or the future are this server's clock.
EVERYBODY |= dict.fromkeys(("stale", "future"), ((WRONG, WRONG, WRONG), (CLOCK, WRONG, WRONG)))
RESOLVER: dict[str, tuple[Verdict, Verdict]] = dict.fromkeys(NAMES, (DNS, DNS))

WAITS = frozenset({"drop", "hang", "dns-hang", "dns-stale"})
WORKER_WAITS = {"drop": ("all", "6"), "unreachable": ("all", "6")}
"""Where visitors go on waiting when only Apache's user is stopped. A local rule that rejects with ICMP is seen by
the socket only after a second, also with IPv4 in order behind it: so long waits whose staple has run out."""


@dataclass(frozen=True)
class Cell:
    """One fault as it is injected, and what `check` must find."""

    kind: str
    who: str
    """`one` authority of three, or `all`."""
    address: str
    user: str
    cause: str
    severity: str
    remedy: str
    in_ci: bool

    @property
    def action(self) -> str:
        """Waiting visitors are helped first; only they are."""
        return "turn-off" if self.severity == "stalling" else self.remedy

    def __str__(self) -> str:
        return "-".join(filter(None, (self.kind, self.who, f"ip{self.address}", self.user)))


def cells() -> Iterator[Cell]:
    """Yield the whole matrix."""
    for kind, both in EVERYBODY.items():
        for who, verdicts in zip(("one", "all"), both, strict=True):
            for address, (cause, remedy) in zip(PLACES, verdicts, strict=True):
                in_ci = _in_ci(kind, who, address)
                yield Cell(kind, who, address, "", cause, _severity(kind, who, address), remedy, in_ci)
    for kind, pair in RESOLVER.items():
        for who, (cause, remedy) in zip(("one", "all"), pair, strict=True):
            yield Cell(kind, who, "all", "", cause, _severity(kind, who, "all"), remedy, in_ci=who == "one")
    for kind in PACKETS:
        for who in ("one", "all"):
            for address in PLACES:
                waits = address in WORKER_WAITS.get(kind, ())
                severity = "stalling" if waits else "failing"
                in_ci = (who, address) == ("one", "all")
                yield Cell(kind, who, address, "nobody", *_split(FIREWALL, severity), in_ci=in_ci)


def _in_ci(kind: str, who: str, address: str) -> bool:
    """One cell of each sort; `--long` has them all."""
    if kind == "drop":
        return address != "4" or who == "one"
    if kind in (*PACKETS, "hang"):
        return address == "all" or (address, who) == ("6", "all")
    same = EVERYBODY[kind][0][0] == EVERYBODY[kind][1][0]
    return address == "all" and (who == "one" or not same or kind == "slow")


def _split(verdict: Verdict, severity: str) -> tuple[str, str, str]:
    return verdict[0], severity, verdict[1]


def _severity(kind: str, who: str, address: str) -> str:
    if kind == "slow":
        # Right but late: one authority's sites wait once each; three at once make a queue that lasts.
        return "stalling" if who == "all" and address != "4" else "noise"
    return "stalling" if kind in WAITS and address != "4" else "failing"


@dataclass(frozen=True)
class Elsewise:
    """What `check` must find on a server of another shape, beside a fault of that many authorities ("" for none)."""

    shape: str
    kind: str
    who: str
    cause: str
    severity: str
    action: str
    afterwards: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.shape, self.kind, self.who)))


SHAPES = {
    "small-cache": "a staple cache for 5 certificates of 7",
    "nginx": "nginx in front",
    "two-certificates": "a second certificate, by the authority at fault",
}
ELSEWISE = (
    Elsewise("small-cache", "", "", "cache-too-small", "failing", "fix-here"),
    Elsewise("small-cache", "slow", "all", "cache-too-small", "stalling", "fix-here"),
    Elsewise("nginx", "hang", "all", "not-in-front", "none", "nothing"),
    Elsewise("two-certificates", "hang", "one", "ca-outage", "stalling", "turn-off", "wait-for-ca"),
)


def check_complete() -> None:
    """Raise AssertionError unless every fault of the machine is in the matrix."""
    missing = set(KINDS) - set(EVERYBODY) - set(RESOLVER)
    assert not missing, f"not in the fault matrix: {sorted(missing)}"


# --- documentation ---------------------------------------------------------------------------------------

_PLACE_NAMES = {"all": "IPv4 and IPv6", "6": "IPv6 only", "4": "IPv4 only"}


def as_markdown() -> str:
    """Return the matrix as the tables of docs/diagnosis.md: cells that say the same share a line."""
    lines = [
        "| fault | for whom | authorities | addresses | cause | severity | action |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(row)} |" for row in _rows()]
    return "\n".join(lines) + "\n"


def _rows() -> Iterator[tuple[str, ...]]:
    grouped: dict[tuple[str, str, str, str, str, str], list[str]] = {}
    for cell in cells():
        key = (cell.kind, cell.user, cell.who, cell.cause, cell.severity, _action(cell))
        grouped.setdefault(key, []).append(
            _PLACE_NAMES[cell.address] if cell.kind not in RESOLVER else "name"
        )
    for (kind, user, who, cause, severity, action), places in grouped.items():
        whom = "Apache's user" if user else "everyone"
        where = "any" if len(places) == len(PLACES) else ", ".join(places)
        yield f"`{kind}`", whom, who, where, f"`{cause}`", severity, action
    for one in ELSEWISE:
        fault = f"`{one.kind}`, {SHAPES[one.shape]}" if one.kind else SHAPES[one.shape]
        then = f", then `{one.afterwards}`" if one.afterwards else ""
        action = f"`{one.action}`{then}"
        yield fault, "everyone", one.who or "-", "any", f"`{one.cause}`", one.severity, action


def _action(cell: Cell) -> str:
    if cell.severity != "stalling":
        return f"`{cell.remedy}`"
    return f"`turn-off`, then `{cell.remedy}`"


if __name__ == "__main__":
    print(as_markdown(), end="")
