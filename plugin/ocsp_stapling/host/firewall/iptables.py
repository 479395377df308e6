"""Reads `iptables-save` and `ip6tables-save` (iptables-extensions(8)): what our questions and replies pass."""

from __future__ import annotations

import ipaddress
import pwd
import shlex
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from ocsp_stapling.host.firewall.ruleset import (
    NOTRACK,
    UNKNOWABLE,
    Condition,
    FirewallRule,
    Hook,
    IPAddress,
    Packet,
    RuleAction,
    any_of,
)

# Table and chain through which a packet leaves or comes in. (nat only rewrites; the routing decision is before them.)
_HOOKS = (
    ("raw", "OUTPUT"),
    ("mangle", "OUTPUT"),
    ("filter", "OUTPUT"),
    ("security", "OUTPUT"),
    ("mangle", "POSTROUTING"),
    ("raw", "PREROUTING"),
    ("mangle", "PREROUTING"),
    ("mangle", "INPUT"),
    ("filter", "INPUT"),
    ("security", "INPUT"),
)
_INWARD = ("PREROUTING", "INPUT")
_TARGETS = {
    "ACCEPT": RuleAction.ACCEPT,
    "DROP": RuleAction.DROP,
    "REJECT": RuleAction.REJECT,
    "RETURN": RuleAction.RETURN,
    "TARPIT": RuleAction.DROP,
}
_HARMLESS_MODULES = {"tcp", "udp", "multiport", "owner", "conntrack", "state", "comment", "set"}
_FAMILIES = {"iptables": "ip", "ip6tables": "ip6"}
_TEXT_LIMIT = 300

# What a named ipset holds, None if that cannot be found out.
IpSet = Callable[[IPAddress], bool | None]
IpSets = Callable[[str], IpSet]


@dataclass
class _Table:
    policies: dict[str, str] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)


def parse(text: str, tool: str, ipsets: IpSets) -> tuple[Hook, ...]:
    """Return the hooks in the output of `tool` ("iptables" or "ip6tables"). Never raises.

    An option it does not know makes a rule uncertain, not an error.
    """
    tables = _tables(text)
    return tuple(
        _hook(tables[table], table, chain, tool, ipsets)
        for table, chain in _HOOKS
        if table in tables and (chain in tables[table].policies or chain in tables[table].chains)
    )


def tables_shown(text: str) -> tuple[str, ...]:
    """Return the tables in the output that the kernel keeps as nftables: `nft` would list them a second time."""
    return tuple(_tables(text)) if "(nf_tables)" in text[:400] else ()


def _tables(text: str) -> dict[str, _Table]:
    tables: dict[str, _Table] = {}
    table = _Table()
    for line in text.split("\n"):
        if line.startswith("*"):
            table = tables.setdefault(line[1:].strip(), _Table())
        elif line.startswith(":"):
            words = line[1:].split()
            if len(words) > 1:
                table.policies[words[0]] = words[1]
                table.chains.setdefault(words[0], [])
        elif line.startswith("-A ") and len(words := line.split(None, 2)) > 1:
            table.chains.setdefault(words[1], []).append(line)
    return tables


def _hook(table: _Table, name: str, chain: str, tool: str, ipsets: IpSets) -> Hook:
    chains = {c: tuple(_rule(line, table, ipsets) for line in lines) for c, lines in table.chains.items()}
    policy = RuleAction.DROP if table.policies.get(chain) == "DROP" else RuleAction.ACCEPT
    where = f"table {name}, chain {chain}"
    rules, inward = chains.get(chain, ()), chain in _INWARD
    return Hook(tool, where, _FAMILIES[tool], rules, policy, chains, inward, early=name == "raw")


def _rule(line: str, table: _Table, ipsets: IpSets) -> FirewallRule:
    try:
        words = shlex.split(line)[2:]
    except ValueError:
        return FirewallRule((UNKNOWABLE,), RuleAction.CONTINUE, text=line[:_TEXT_LIMIT])
    reader = _Words(words, ipsets)
    tests = tuple(reader.tests())
    if reader.target in table.chains:
        action = RuleAction.GOTO if reader.goto else RuleAction.JUMP
    else:
        action = _TARGETS.get(reader.target, RuleAction.CONTINUE)
    target = NOTRACK if "--notrack" in reader.words else reader.target
    return FirewallRule(tests, action, target, line[:_TEXT_LIMIT])


class _Words:
    """Reads a rule's options one after the other; what follows the target belongs to the target."""

    def __init__(self, words: list[str], ipsets: IpSets) -> None:
        self.words = words
        self.ipsets = ipsets
        self.target = ""
        self.goto = False

    def tests(self) -> Iterator[Condition]:
        negated = False
        while self.words:
            word = self.words.pop(0)
            if word == "!":
                negated = True
                continue
            if word in ("-j", "-g", "--jump", "--goto"):
                self.target, self.goto = self._next(), word in ("-g", "--goto")
                return
            test = self._test(word)
            if test is not None:
                yield _negate(test) if negated else test
            negated = False

    def _next(self) -> str:
        return self.words.pop(0) if self.words else ""

    def _test(self, option: str) -> Condition | None:
        """The condition an option stands for; None for one that asks nothing."""
        if option in ("-m", "--match"):
            return None if self._next() in _HARMLESS_MODULES else UNKNOWABLE
        if option == "--comment":
            self._next()
            return None
        if option == "--syn":
            return Condition(lambda packet: packet.flags == {"SYN"})
        if option == "--tcp-flags":
            return _tcp_flags(self._next(), self._next())
        if option == "--match-set":
            return self._match_set(self._next(), self._next())
        if option in _OPTIONS:
            return _OPTIONS[option](self._next())
        while self.words and not self.words[0].startswith(("-", "!")):
            self._next()
        return UNKNOWABLE

    def _match_set(self, name: str, directions: str) -> Condition:
        if directions not in ("src", "dst"):
            return UNKNOWABLE
        holds, back = self.ipsets(name), directions == "src"

        def holds_it(packet: Packet) -> bool | None:
            address = packet.source if back else packet.destination
            return None if address is None else holds(address)

        return Condition(holds_it, aimed=not back, aimed_back=back)


def _negate(test: Condition) -> Condition:
    def holds(packet: Packet) -> bool | None:
        held = test.holds(packet)
        return None if held is None else not held

    return Condition(holds, test.aimed, test.aimed_back)


def _tcp_flags(mask: str, expected: str) -> Condition:
    every = {"FIN", "SYN", "RST", "PSH", "ACK", "URG"}
    looked_at = every if mask == "ALL" else set(mask.split(","))
    wanted = every if expected == "ALL" else set(expected.split(",")) - {"NONE"}
    return Condition(lambda packet: packet.flags & looked_at == wanted)


def _protocol(text: str) -> Condition:
    return Condition(lambda _: text.lower() in ("tcp", "6", "all", "0"))


def _address(text: str, *, back: bool) -> Condition:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return UNKNOWABLE

    def holds(packet: Packet) -> bool | None:
        address = packet.source if back else packet.destination
        return None if address is None and network.prefixlen else address is None or address in network

    some = network.prefixlen > 0
    return Condition(holds, aimed=some and not back, aimed_back=some and back)


def _ports(text: str, *, back: bool) -> Condition:
    ranges = [_range(part, ":", _service, 65535) for part in text.split(",")]
    known = [each for each in ranges if each is not None]
    if len(known) < len(ranges):
        return UNKNOWABLE

    def holds(packet: Packet) -> bool | None:
        port = packet.source_port if back else packet.destination_port
        return any_of(port.within(each.start, each.stop - 1) for each in known)

    return Condition(holds, aimed=not back, aimed_back=back)


def _owner(text: str, *, group: bool) -> Condition:
    """What comes back has no owner yet."""
    numbers = _range(text, "-", int if group else _user, 2**32 - 1)
    if numbers is None:
        return UNKNOWABLE

    def holds(packet: Packet) -> bool | None:
        return None if packet.reply else (packet.gid if group else packet.uid) in numbers

    return Condition(holds, aimed=True)


def _range(text: str, separator: str, read: Callable[[str], int], last: int) -> range | None:
    low, found, high = text.partition(separator)
    try:
        first = read(low) if low else 0
        return range(first, (read(high) if high else last) + 1 if found else first + 1)
    except (ValueError, KeyError, OSError):
        return None


def _service(text: str) -> int:
    return int(text) if text.isdecimal() else socket.getservbyname(text, "tcp")


def _user(text: str) -> int:
    return int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid


def _states(text: str) -> Condition:
    states = text.upper().split(",")
    return Condition(lambda packet: None if packet.state is None else packet.state.upper() in states)


def _device(text: str, *, inward: bool) -> Condition:
    def holds(packet: Packet) -> bool | None:
        if packet.reply is not inward:
            return False  # the kernel compares with no name: it has come in nowhere, or goes out nowhere
        if packet.device is None:
            return False if text == "lo" else None
        return packet.device.startswith(text[:-1]) if text.endswith("+") else packet.device == text

    return Condition(holds)


_OPTIONS: dict[str, Callable[[str], Condition]] = {
    name: read
    for read, *names in (
        (_protocol, "-p", "--protocol"),
        (partial(_address, back=False), "-d", "--destination"),
        (partial(_address, back=True), "-s", "--source"),
        (partial(_device, inward=False), "-o", "--out-interface"),
        (partial(_device, inward=True), "-i", "--in-interface"),
        (partial(_ports, back=False), "--dport", "--destination-port", "--dports", "--destination-ports"),
        (partial(_ports, back=True), "--sport", "--source-port", "--sports", "--source-ports"),
        (partial(_owner, group=False), "--uid-owner"),
        (partial(_owner, group=True), "--gid-owner"),
        (_states, "--ctstate", "--state"),
    )
    for name in names
}
