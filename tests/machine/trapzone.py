"""The zone of a customer who means harm, `trap.test`, as this server's name servers hand it on.

Each name in it is one trick; what a trick leads to in the end is the first authority's responder, which is in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

ZONE = "trap.test"
NOWHERE_V4 = [f"44.129.{i // 250}.{i % 250 + 1}" for i in range(200)]
NOWHERE_V6 = "2a0f:c0de:dead::1"
INNER = ("127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1")
INNER_V6 = ("::1", "::ffff:127.0.0.1", "fd00::1", "fe80::1")
LATE_SECONDS = {"late-nothing": 1.6, "very-late-nothing": 4.5, "late": 1.6}
TRICKS = (
    *("loop", "chain", "aaaa-nowhere", "rebind", "rebind-back", "inner", "mixed", "many", "many-inner"),
    *("nothing", "servfail", "refused", "truncated", "stranger", "empty", "garbage", "silent", *LATE_SECONDS),
)


class Reply(NamedTuple):
    """What a name server sends, b"" for nothing, and after how many seconds."""

    wire: bytes
    after: float = 0.0


class TrapZone:
    """Answers questions about the zone; `good` are a responder's addresses."""

    def __init__(self, good: tuple[str, ...]) -> None:
        self._good = good
        self._turns: dict[str, Iterator[int]] = {}

    def reply(self, query: dns.message.Message) -> Reply | None:
        """The reply to a question, None for one about another zone. A number behind a trick makes it another name."""
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        label, _, zone = name.partition(".")
        trick = label.rstrip("0123456789")
        if zone != ZONE or trick not in TRICKS:
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        wanted = query.question[0].rdtype
        if trick in ("silent", "garbage"):
            return Reply(b"" if trick == "silent" else reply.to_wire()[:12] + b"\xc0\x0c" * 40)
        self._fill(reply, trick, name, wanted)
        return Reply(reply.to_wire(), LATE_SECONDS.get(trick, 0.0))

    def _fill(
        self, reply: dns.message.Message, trick: str, name: str, wanted: dns.rdatatype.RdataType
    ) -> None:
        codes = {"servfail": dns.rcode.SERVFAIL, "refused": dns.rcode.REFUSED}
        if trick in codes or trick.endswith("nothing"):
            reply.set_rcode(codes.get(trick, dns.rcode.NXDOMAIN))
        elif trick == "truncated":
            reply.flags |= dns.flags.TC
        elif trick == "loop":
            _alias(reply, name, f"other.{name}")
            _alias(reply, f"other.{name}", name)
        elif trick == "chain":
            names = [name, *(f"c{number}.{name}" for number in range(40))]
            for one, other in itertools.pairwise(names):
                _alias(reply, one, other)
            _addresses(reply, names[-1], wanted, self._good)
        elif trick == "stranger":
            _addresses(reply, f"another.{name}", wanted, self._good)
        else:
            _addresses(reply, name, wanted, self._addresses_of(trick, name, wanted))

    def _addresses_of(self, trick: str, name: str, wanted: dns.rdatatype.RdataType) -> tuple[str, ...]:
        turn = next(self._turns.setdefault(f"{name} {wanted}", itertools.count()))
        inner = (*INNER, *INNER_V6)
        return {
            "late": self._good,
            "aaaa-nowhere": (NOWHERE_V6,),
            "rebind": self._good if turn == 0 else inner,
            "rebind-back": inner if turn % 2 == 0 else self._good,
            "inner": inner,
            "mixed": (*INNER, *self._good, *INNER_V6),
            "many": tuple(NOWHERE_V4),
            "many-inner": tuple(f"127.0.0.{number + 1}" for number in range(200)),
        }.get(trick, ())


def _alias(reply: dns.message.Message, name: str, other: str) -> None:
    reply.answer.append(dns.rrset.from_text(f"{name}.", 0, "IN", "CNAME", f"{other}."))


def _addresses(
    reply: dns.message.Message, name: str, wanted: dns.rdatatype.RdataType, addresses: tuple[str, ...]
) -> None:
    sign = {dns.rdatatype.A: ".", dns.rdatatype.AAAA: ":"}.get(wanted)
    found = [one for one in addresses if sign and (":" in one) == (sign == ":")]
    if found:
        reply.answer.append(dns.rrset.from_text_list(f"{name}.", 0, "IN", wanted, found))
