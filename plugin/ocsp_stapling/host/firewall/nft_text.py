"""Writes a rule of `nft -j` roughly as nft itself would, for people."""

from __future__ import annotations

from typing import Any

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
