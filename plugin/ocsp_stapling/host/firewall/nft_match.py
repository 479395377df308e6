"""Conditions of `nft -j` rules: what of a packet is looked at, and whether it is what the rule names."""

from __future__ import annotations

import bisect
import ipaddress
import operator
import pwd
import socket
from collections.abc import Callable
from typing import Any

from ocsp_stapling.host.firewall.ruleset import UNKNOWABLE, Condition, IPAddress, Packet, Port, any_of

Value = Callable[[Packet], Any]

_WRONG_HEADER = (
    object()
)  # the rule looks into a header our packet does not have: no match, whatever it compares
_OTHER_PROTOCOLS = {"udp", "udplite", "icmp", "icmpv6", "sctp", "dccp", "esp", "ah", "comp", "igmp"}


class _User(int):
    """A user's number, which rulesets may also write as a name."""


class _Group(int):
    """A group's number."""


class _Device:
    """An interface: perhaps unknown, but surely not loopback, since the guard lets no question go there."""

    def __init__(self, name: str | None) -> None:
        self.name = name


def condition(left: Any, compared: Any, elements: Elements | None) -> Condition:
    """Return the condition that compares `left` (a libnftables-json expression) with `elements`."""
    value, name = _value(*only(left))
    if value is None or elements is None:
        return UNKNOWABLE
    return Condition(
        lambda packet: _compare(value(packet), compared, elements), name in _AIMED, name in _AIMED_BACK
    )


def _value(kind: str, field: Any) -> tuple[Value | None, str]:
    """The function that takes the looked-at value from a packet, and the name of what is looked at."""
    if not isinstance(field, dict):
        return None, ""
    if kind == "payload":
        if str(field.get("protocol")) in _OTHER_PROTOCOLS:
            return (lambda _: _WRONG_HEADER), ""
        name = f"{field.get('protocol')} {field.get('field')}"
    else:
        name = f"{kind} {field.get('key')}"
    return _VALUES.get(name), name


def _in_ip(version: int, value: Value) -> Value:
    """The value, if the packet is of that IP version."""
    return lambda packet: value(packet) if packet.responder.version == version else _WRONG_HEADER


def _outward(value: Value) -> Value:
    """The value of a packet that leaves: one that comes in has no owner yet, and no way out."""
    return lambda packet: None if packet.reply else value(packet)


_AIMED = {"tcp dport", "th dport", "ip daddr", "ip6 daddr", "meta skuid", "meta skgid"}
"""What tells questions like ours apart, and below what tells replies."""
_AIMED_BACK = {"tcp sport", "th sport", "ip saddr", "ip6 saddr"}
_VALUES: dict[str, Value] = {
    "tcp dport": lambda p: p.destination_port,
    "th dport": lambda p: p.destination_port,
    "tcp sport": lambda p: p.source_port,
    "th sport": lambda p: p.source_port,
    "ip daddr": _in_ip(4, lambda p: p.destination),
    "ip6 daddr": _in_ip(6, lambda p: p.destination),
    "ip saddr": _in_ip(4, lambda p: p.source),
    "ip6 saddr": _in_ip(6, lambda p: p.source),
    "ip protocol": _in_ip(4, lambda _: "tcp"),
    "ip6 nexthdr": _in_ip(6, lambda _: "tcp"),
    "meta l4proto": lambda _: "tcp",
    "meta nfproto": lambda p: f"ipv{p.responder.version}",
    "meta protocol": lambda p: "ip" if p.responder.version == 4 else "ip6",
    "meta skuid": _outward(lambda p: _User(p.uid)),
    "meta skgid": _outward(lambda p: _Group(p.gid)),
    "meta oifname": _outward(lambda p: _Device(p.device)),
    "meta oif": _outward(lambda p: _Device(p.device)),
    "meta iifname": lambda p: _Device(p.device) if p.reply else None,
    "meta iif": lambda p: _Device(p.device) if p.reply else None,
    "ct state": lambda p: p.state,
}

_ORDER: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _compare(value: Any, compared: Any, elements: Elements) -> bool | None:
    if value is _WRONG_HEADER:
        return False
    if value is None:
        return None
    if compared in ("==", "in"):
        return elements.hold(value)
    if compared == "!=":
        held = elements.hold(value)
        return None if held is None else not held
    bound = elements.single_number()
    ordered = (
        isinstance(value, int) and bound is not None and isinstance(compared, str) and compared in _ORDER
    )
    if isinstance(value, Port) and bound is not None and compared in _ORDER:
        ends = {_ORDER[compared](end, bound) for end in value}
        return ends.pop() if len(ends) == 1 else None
    return _ORDER[compared](value, bound) if ordered and bound is not None else None


class Elements:
    """What a rule compares with: single values, prefixes and ranges. Large address sets are asked quickly."""

    def __init__(self, written: list[Any]) -> None:
        self.addresses: set[IPAddress] = set()
        self.others: list[Any] = []
        spans: list[tuple[int, int, int]] = []
        for element in map(_bare, written):
            span = _span(element)
            if span is None:
                self.others.append(element)
            elif span[0] == span[1]:
                self.addresses.add(span[0])
            else:
                spans.append((span[0].version, int(span[0]), int(span[1])))
        self.spans = _merged(spans)

    def hold(self, value: Any) -> bool | None:
        """Return whether the value is among them, None if that cannot be known."""
        if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
            return value in self.addresses or self._in_span(value) or (None if self.others else False)
        return any_of(_same(value, other) for other in self.others)

    def _in_span(self, address: IPAddress) -> bool:
        number = int(address)
        place = bisect.bisect_right(self.spans, (address.version, number, 2**128))
        return (
            place > 0 and self.spans[place - 1][0] == address.version and number <= self.spans[place - 1][2]
        )

    def single_number(self) -> int | None:
        """Return the number, if that is all there is."""
        only_one = self.others[0] if len(self.others) == 1 else None
        return only_one if isinstance(only_one, int) else None


def _bare(element: Any) -> Any:
    """The value of an element that carries a time-out, a counter or a comment."""
    kind, content = only(element)
    return content.get("val") if kind == "elem" and isinstance(content, dict) else element


def _span(element: Any) -> tuple[IPAddress, IPAddress] | None:
    """First and last address of an element, None if it is not about addresses."""
    kind, content = only(element)
    try:
        if isinstance(element, str):
            address = ipaddress.ip_address(element)
            return address, address
        if kind == "prefix":
            network = ipaddress.ip_network(f"{content['addr']}/{content['len']}", strict=False)
            return network[0], network[-1]
        if kind == "range" and isinstance(content[0], str):
            low, high = map(ipaddress.ip_address, content)
            return (low, high) if low.version == high.version else None
    except (ValueError, TypeError, KeyError, IndexError):
        pass
    return None


def _merged(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The spans in order, overlapping ones joined, so that one look-up decides."""
    joined: list[tuple[int, int, int]] = []
    for version, low, high in sorted(spans):
        if joined and joined[-1][0] == version and low <= joined[-1][2]:
            joined[-1] = (version, joined[-1][1], max(high, joined[-1][2]))
        else:
            joined.append((version, low, high))
    return joined


def _same(value: Any, other: Any) -> bool | None:
    kind, content = only(other)
    try:
        if isinstance(value, Port):
            low, high = content if kind == "range" else (other, other)
            return value.within(_number(0, low), _number(0, high))
        if kind == "range":
            low, high = content
            return bool(_number(value, low) <= value <= _number(value, high))
        if isinstance(value, _Device):
            return _same_device(value.name, other)
        if isinstance(value, int):
            return bool(value == _number(value, other))
    except (ValueError, TypeError, KeyError, OSError):
        return None
    return other in (value, _PROTOCOL_NUMBERS.get(value)) if isinstance(other, str | int) else None


_PROTOCOL_NUMBERS = {"tcp": 6}


def _number(value: int, text: Any) -> int:
    """A port, user or group as a number, whatever the tool's version wrote. Raises ValueError, KeyError, OSError."""
    if isinstance(text, int):
        return text
    if not isinstance(text, str):
        raise ValueError
    if text.isdecimal():
        return int(text)
    if isinstance(value, _Group):
        raise ValueError
    return pwd.getpwnam(text).pw_uid if isinstance(value, _User) else socket.getservbyname(text, "tcp")


def _same_device(name: str | None, other: Any) -> bool | None:
    if not isinstance(other, str):
        return None
    if name is None:
        return False if other == "lo" else None
    return name.startswith(other[:-1]) if other.endswith("*") else name == other


_TEXT_LIMIT = 300
_ELEMENTS = 8


def rule_text(expressions: Any) -> str:
    """Return the statements of a rule as text, capped."""
    words = [_expression(e) for e in expressions] if isinstance(expressions, list) else []
    return " ".join(word for word in words if word)[:_TEXT_LIMIT]


def only(expression: Any) -> tuple[str, Any]:
    """Return kind and content of a statement, which is an object with one key."""
    return next(iter(expression.items())) if isinstance(expression, dict) and expression else ("", None)


def _expression(expression: Any) -> str:
    kind, content = only(expression)
    if kind == "match" and isinstance(content, dict):
        operator = content.get("op")
        shown = "" if operator in ("==", "in") else f"{operator} "
        return f"{_operand(content.get('left'))} {shown}{_operand(content.get('right'))}"
    if kind in ("jump", "goto") and isinstance(content, dict):
        return f"{kind} {content.get('target')}"
    if kind == "vmap" and isinstance(content, dict):
        return f"{_operand(content.get('key'))} vmap {_operand(content.get('data'))}"
    return "" if kind in ("counter", "log") else kind


def _operand(operand: Any) -> str:
    kind, content = only(operand)
    if isinstance(operand, str | int):
        return str(operand)
    if isinstance(operand, list) or kind == "set":
        return _collection(operand if isinstance(operand, list) else content)
    if kind == "range" and isinstance(content, list):
        return "-".join(map(str, content))
    return _object(kind, content) if isinstance(content, dict) else "..."


def _collection(elements: Any) -> str:
    if not isinstance(elements, list):
        return "..."
    shown = [_element(element) for element in elements[:_ELEMENTS]]
    return "{ " + ", ".join(shown + ["..."] * (len(elements) > _ELEMENTS)) + " }"


def _element(element: Any) -> str:
    if isinstance(element, list) and len(element) == 2:
        return f"{_operand(element[0])} : {_expression(element[1])}"
    return _operand(element)


def _object(kind: str, content: dict[str, Any]) -> str:
    if kind == "prefix":
        return f"{content.get('addr')}/{content.get('len')}"
    if kind == "payload":
        return f"{content.get('protocol')} {content.get('field')}"
    if kind in ("meta", "ct"):
        return f"{kind} {content.get('key')}"
    return _operand(content["val"]) if kind == "elem" and isinstance(content.get("val"), str | int) else "..."
