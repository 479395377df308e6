"""Reads `nft -j list ruleset` (libnftables-json(5)): the chains that our questions and their replies pass."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from ocsp_stapling.host.firewall.nft_match import Elements, condition, only, rule_text
from ocsp_stapling.host.firewall.ruleset import NOTRACK, UNKNOWABLE, Condition, FirewallRule, Hook, RuleAction

TOOL = "nft"

_HOOKS = {"output": False, "postrouting": False, "prerouting": True, "input": True}
"""Whether packets come in there."""
_TRACKED_FROM = -200
"""The priority at which the kernel looks to which connection a packet belongs (NF_IP_PRI_CONNTRACK)."""
_TYPES = {"filter", "route"}
_FAMILIES = {"ip": "ip", "ip6": "ip6", "inet": "both"}
_VERDICTS = {action.value: action for action in RuleAction}
_XT_TARGETS = {
    "REJECT": RuleAction.REJECT,
    "DROP": RuleAction.DROP,
    "ACCEPT": RuleAction.ACCEPT,
    "RETURN": RuleAction.RETURN,
}
_LIMITS = {"limit", "quota", "ct count", "xt", "fib", "socket", "osf", "hash", "meter"}


def parse(text: str, skip_tables: Collection[tuple[str, str]] = ()) -> tuple[Hook, ...]:
    """Return the hooks of a ruleset in JSON, without the tables (family, name) another tool has reported.

    Raises ValueError if it is not a ruleset. Statements it does not know make a rule uncertain, not an error.
    """
    try:
        listed = json.loads(text)["nftables"]
        objects = [(kind, body) for entry in listed for kind, body in entry.items() if isinstance(body, dict)]
        return tuple(_hooks(objects, skip_tables))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a ruleset") from error


def _hooks(objects: list[tuple[str, dict[str, Any]]], skip: Collection[tuple[str, str]]) -> Iterator[Hook]:
    sets = Sets(objects)
    chains: dict[tuple[str, str], dict[str, list[FirewallRule]]] = {}
    for kind, body in objects:
        if kind == "rule" and (table := _key(body, "chain"))[:2] not in skip:
            chains.setdefault(table[:2], {}).setdefault(table[2], []).extend(_rules(body, sets))
    for kind, body in objects:
        family, table_name, name = _key(body, "name")
        if kind != "chain" or (family, table_name) in skip or family not in _FAMILIES:
            continue
        hook = str(body.get("hook"))
        if hook in _HOOKS and str(body.get("type")) in _TYPES:
            known = {n: tuple(rules) for n, rules in chains.get((family, table_name), {}).items()}
            policy = RuleAction.DROP if body.get("policy") == "drop" else RuleAction.ACCEPT
            where = f"table {family} {table_name}, chain {name}"
            early = isinstance(body.get("prio"), int) and body["prio"] < _TRACKED_FROM
            rules = known.get(name, ())
            yield Hook(TOOL, where, _FAMILIES[family], rules, policy, known, _HOOKS[hook], early)


def _key(body: dict[str, Any], last: str) -> tuple[str, str, str]:
    return str(body.get("family")), str(body.get("table")), str(body.get(last))


# In a table for both families nft does not print a condition on the family that the way of rejecting implies.
_REJECTS: dict[Any, Condition] = {
    "icmp": Condition(lambda packet: packet.responder.version == 4),
    "icmpv6": Condition(lambda packet: packet.responder.version == 6),
}


class Sets:
    """The named sets and maps of a ruleset."""

    def __init__(self, objects: list[tuple[str, dict[str, Any]]]) -> None:
        self._listed = {
            _key(body, "name"): body.get("elem", []) for kind, body in objects if kind in ("set", "map")
        }
        self._ready: dict[tuple[str, str, str], Elements] = {}

    def written(self, data: Any, body: dict[str, Any]) -> list[Any] | None:
        """Return the elements of a set or map that a rule writes in place or names; None if unknown."""
        if isinstance(data, str) and data.startswith("@"):
            data = self._listed.get(self._named(data, body))
        elif isinstance(data, dict) and "set" in data:
            data = data["set"]
        return data if isinstance(data, list) else None

    def elements(self, data: Any, body: dict[str, Any]) -> Elements | None:
        """Return the right side of a condition, ready to be asked; a named set is made ready only once."""
        single = not isinstance(data, list) and only(data)[0] != "set" and not str(data).startswith("@")
        if single:
            return Elements([data])
        if isinstance(data, list):
            return Elements(data)
        written = self.written(data, body)
        if written is None or not isinstance(data, str):
            return None if written is None else Elements(written)
        named = self._named(data, body)
        if named not in self._ready:
            self._ready[named] = Elements(written)
        return self._ready[named]

    @staticmethod
    def _named(data: str, body: dict[str, Any]) -> tuple[str, str, str]:
        return (*_key(body, "chain")[:2], data[1:])


def _rules(body: dict[str, Any], sets: Sets) -> Iterator[FirewallRule]:
    """The rule; a verdict map becomes one rule per element."""
    tests: list[Condition] = []
    expressions = body.get("expr", [])
    text = rule_text(expressions)
    for expression in expressions if isinstance(expressions, list) else []:
        kind, content = only(expression)
        if kind == "match":
            tests.append(_match(content, body, sets))
        elif kind == "vmap":
            yield from _verdict_map(content, body, sets, tuple(tests), text)
        elif kind == "xt" and _xt_target(content):
            yield FirewallRule(tuple(tests), _XT_TARGETS[content["name"]], text=text)
        elif kind == "notrack":
            yield FirewallRule(tuple(tests), RuleAction.CONTINUE, NOTRACK, text)
        elif kind in _LIMITS:
            tests.append(UNKNOWABLE)
        elif kind in _VERDICTS:
            yield _verdict(tuple(tests), kind, content, text)


def _xt_target(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and content.get("type") == "target"
        and str(content.get("name")) in _XT_TARGETS
    )


def _verdict(tests: tuple[Condition, ...], kind: str, content: Any, text: str) -> FirewallRule:
    options = content if isinstance(content, dict) else {}
    implied = _REJECTS.get(str(options.get("type"))) if kind == "reject" else None
    return FirewallRule(
        (*tests, implied) if implied else tests, _VERDICTS[kind], str(options.get("target", "")), text
    )


def _verdict_map(
    content: Any, body: dict[str, Any], sets: Sets, tests: tuple[Condition, ...], text: str
) -> Iterator[FirewallRule]:
    if not isinstance(content, dict):
        return
    for element in sets.written(content.get("data"), body) or []:
        if isinstance(element, list) and len(element) == 2:
            kind, target = only(element[1])
            if kind in _VERDICTS:
                match = {"op": "==", "left": content.get("key"), "right": element[0]}
                yield _verdict((*tests, _match(match, body, sets)), kind, target, text)


def _match(content: Any, body: dict[str, Any], sets: Sets) -> Condition:
    if not isinstance(content, dict):
        return UNKNOWABLE
    return condition(content.get("left"), content.get("op", "=="), sets.elements(content.get("right"), body))
