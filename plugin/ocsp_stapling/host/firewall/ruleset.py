"""A firewall's rules in one form, and the way of one packet through them, out or back in, in three-valued logic.

What a rule asks that we cannot know (a mark, a rate, a set we cannot read) is None: neither yes nor no. A block
behind such a rule is reported as uncertain.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

HTTP = 80
NOTRACK = "NOTRACK"
"""The target of rules after which the kernel does not know to which connection a packet belongs."""

_DEPTH = 32
_STEPS = 100_000  # rules looked at for one packet: far above any real ruleset, below any loop


@dataclass(frozen=True)
class Packet:
    """A packet of a question to a responder: TCP to port 80, from a process; or of what comes back.

    `new`: the first one (SYN); the others belong to an established connection. A `reply` comes from the responder,
    the first one (SYN and ACK) with `new`. `tracked`: whether the kernel surely knows the connection.
    """

    responder: IPAddress
    uid: int
    gid: int
    device: str | None = None
    new: bool = True
    reply: bool = False
    own: IPAddress | None = None
    tracked: bool = True

    @property
    def source(self) -> IPAddress | None:
        """The address that it comes from, None if that is one of ours and not known."""
        return self.responder if self.reply else self.own

    @property
    def destination(self) -> IPAddress | None:
        """The address that it goes to, likewise."""
        return self.own if self.reply else self.responder

    @property
    def state(self) -> str | None:
        """What connection tracking takes it for."""
        if not self.tracked:
            return None
        return "new" if self.new and not self.reply else "established"

    @property
    def flags(self) -> set[str]:
        """A connection begins with SYN, answered by SYN and ACK, and goes on with ACK."""
        return {*({"SYN"} if self.new else ()), *({"ACK"} if self.reply or not self.new else ())}

    @property
    def destination_port(self) -> Port:
        """The port that it goes to."""
        return EPHEMERAL if self.reply else _HTTP

    @property
    def source_port(self) -> Port:
        """The port that it comes from."""
        return _HTTP if self.reply else EPHEMERAL


class Port(NamedTuple):
    """A port, or any one of several: of a client's nobody knows which it gets."""

    first: int
    last: int

    def within(self, low: int, high: int) -> bool | None:
        """Say whether it is one of these, None if it may be."""
        if low <= self.first and self.last <= high:
            return True
        return False if high < self.first or self.last < low else None


_HTTP = Port(HTTP, HTTP)
EPHEMERAL = Port(32768, 60999)
"""A client's (the kernel's ip_local_port_range, as it is unless somebody sets it)."""


class RuleAction(Enum):
    """What a rule does with a packet that matches."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    CONTINUE = "continue"


BLOCKING = (RuleAction.DROP, RuleAction.REJECT)


@dataclass(frozen=True)
class Condition:
    """One condition. `aimed`: it names a port, a user or an address, so a match means packets like ours.

    So does one that is `aimed_back` of replies.
    """

    holds: Callable[[Packet], bool | None]
    aimed: bool = False
    aimed_back: bool = False


def any_of(held: Iterable[bool | None]) -> bool | None:
    """Say whether one of several holds, None if that cannot be known."""
    unknown = False
    for one in held:
        if one:
            return True
        unknown = unknown or one is None
    return None if unknown else False


UNKNOWABLE = Condition(lambda _: None)


@dataclass(frozen=True)
class FirewallRule:
    """Conditions, an action, the chain it leads to, and the rule as the tool writes it."""

    tests: tuple[Condition, ...]
    action: RuleAction
    target: str = ""
    text: str = ""

    def matches(self, packet: Packet) -> tuple[bool | None, bool]:
        """Return whether the rule matches, and whether a condition aimed at packets like this one holds."""
        unknown = aimed = False
        for test in self.tests:
            held = test.holds(packet)
            if held is False:
                return False, False
            unknown = unknown or held is None
            aimed = aimed or (held is True and (test.aimed_back if packet.reply else test.aimed))
        return (None if unknown else True), aimed


@dataclass(frozen=True)
class Hook:
    """A place where the kernel asks the rules: a base chain, and the chains it can lead to."""

    tool: str
    where: str
    family: str  # "ip", "ip6" or "both"
    rules: tuple[FirewallRule, ...]
    policy: RuleAction
    chains: Mapping[str, tuple[FirewallRule, ...]] = field(default_factory=dict)
    inward: bool = False
    early: bool = False
    """Whether packets come by here before the kernel looks to which connection they belong."""

    def sees(self, packet: Packet) -> bool:
        """Whether this packet comes by here."""
        version = "ip" if packet.responder.version == 4 else "ip6"
        return self.family in ("both", version) and self.inward == packet.reply

    def may_untrack(self, packet: Packet) -> bool:
        """Whether a rule here may keep the kernel from following this packet's connection."""
        every = (rule for rules in (self.rules, *self.chains.values()) for rule in rules)
        return self.sees(packet) and any(
            rule.target == NOTRACK and rule.matches(packet)[0] is not False for rule in every
        )


@dataclass(frozen=True)
class Blocked:
    """Where a packet ends: the rule's text, or the policy's."""

    tool: str
    where: str
    text: str
    action: RuleAction
    certain: bool


def blocks(hook: Hook, packet: Packet) -> tuple[Blocked, ...]:
    """Return where this packet is, or may be, dropped or rejected at this hook."""
    walk = _PacketWalk(hook, replace(packet, tracked=False) if hook.early else packet)
    if hook.sees(packet) and not walk.chain(hook.rules, sure=True, depth=0):
        walk.end(hook.policy, f"policy {hook.policy.value}", certain=True)
    return tuple(walk.found)


class _PacketWalk:
    """One packet on its way. `passed`: a rule that may match may have accepted it already."""

    def __init__(self, hook: Hook, packet: Packet) -> None:
        self.hook = hook
        self.packet = packet
        self.found: list[Blocked] = []
        self.passed = False
        self.steps = 0

    def chain(self, rules: tuple[FirewallRule, ...], sure: bool, depth: int) -> bool:
        """Follow a chain; True if the packet's way certainly ends in it (given that it got here)."""
        for rule in rules if depth < _DEPTH else ():
            self.steps += 1
            if self.steps > _STEPS:
                return True
            matched, aimed = rule.matches(self.packet)
            if matched is False or rule.action is RuleAction.CONTINUE:
                continue
            if rule.action is RuleAction.RETURN:
                if matched:
                    return False
                sure = False
            elif self._follow(rule, matched is True, aimed, sure, depth):
                return True
            elif rule.action is RuleAction.GOTO and matched:
                return False
        return False

    def _follow(self, rule: FirewallRule, matched: bool, aimed: bool, sure: bool, depth: int) -> bool:
        """Do what the rule says; True if the packet's way ends here."""
        if rule.action is RuleAction.ACCEPT:
            self.passed = self.passed or not (matched and sure)
            return matched
        if rule.action in BLOCKING:
            if matched or aimed:
                self.end(rule.action, rule.text, certain=matched and sure)
            return matched
        inner = self.chain(self.hook.chains.get(rule.target, ()), sure and matched, depth + 1)
        return inner and matched

    def end(self, action: RuleAction, text: str, certain: bool) -> None:
        """Note where the packet ends, if it ends."""
        if action in BLOCKING:
            sure = certain and not self.passed
            self.found.append(Blocked(self.hook.tool, self.hook.where, text, action, sure))
