"""A firewall's outgoing rules in one form, and the way of one packet through them, in three-valued logic.

What a rule asks that we cannot know (a mark, a rate, a set we cannot read) is None: neither yes nor no. A block
behind such a rule is reported as uncertain.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

HTTP = 80
EPHEMERAL = 45_000  # stands for any source port a client gets (ip_local_port_range: 32768 to 60999)

_DEPTH = 32
_STEPS = 100_000  # rules looked at for one packet: far above any real ruleset, below any loop


@dataclass(frozen=True)
class Packet:
    """A packet of a question to a responder: TCP to port 80, from a process.

    `new`: the first one (SYN); the others belong to an established connection.
    """

    destination: IPAddress
    uid: int
    gid: int
    device: str | None = None
    new: bool = True
    port: int = HTTP


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
    """One condition. `aimed`: it names a port, a user or an address, so a match means packets like ours."""

    holds: Callable[[Packet], bool | None]
    aimed: bool = False


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
            aimed = aimed or (held is True and test.aimed)
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

    def sees(self, destination: IPAddress) -> bool:
        """Whether packets to this destination come by here."""
        return self.family in ("both", "ip" if destination.version == 4 else "ip6")


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
    walk = _PacketWalk(hook, packet)
    if hook.sees(packet.destination) and not walk.chain(hook.rules, sure=True, depth=0):
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
