"""Every stable error code and the sentences that come with it, read from the source by its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "plugin"
_FRONT = re.compile(r"refuse\(\s*'\d{3} [^']*',\s*'([a-z-]+)',\s*((?:'[^']*'[\s.]*)+)\)")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def sentences() -> dict[str, list[str]]:
    """Return the sentences of every code, in order of appearance; parts known only at run time are in *stars*."""
    found: dict[str, list[str]] = {}
    for code, sentence in (*_of_python(), *_of_front()):
        told = found.setdefault(code, [])
        if sentence and sentence not in told:
            told.append(sentence)
    return dict(sorted(found.items()))


def _of_python() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.glob("ocsp_stapling/**/*.py")):
        tree = ast.parse(path.read_text())
        for call, scope in _problems(tree, tree):
            sentence = " ".join(_text(call.args[1], scope).split()) if len(call.args) > 1 else ""
            yield from ((code, sentence) for code in _codes(call.args[0], scope))


def _problems(node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.Call, ast.AST]]:
    """Yield each `Problem(...)` with the function around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and getattr(child.func, "id", "") == "Problem" and child.args:
            yield child, scope
        yield from _problems(child, child if isinstance(child, _Function) else scope)


def _codes(node: ast.expr, scope: ast.AST) -> list[str]:
    """The codes an expression can be; none where a Problem is only passed on."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return [*_codes(node.body, scope), *_codes(node.orelse, scope)]
    value = _assigned(node, scope)
    return _codes(value, scope) if value else []


def _assigned(node: ast.expr, scope: ast.AST) -> ast.expr | None:
    """What a name holds: the value of the last assignment above it in the same function."""
    if not isinstance(node, ast.Name):
        return None
    values = [
        each.value
        for each in ast.walk(scope)
        if isinstance(each, ast.Assign)
        and each.lineno < node.lineno
        and any(getattr(target, "id", "") == node.id for target in each.targets)
    ]
    return max(values, key=lambda value: value.lineno, default=None)


def _text(node: ast.expr, scope: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each, scope) for each in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left, scope) + _text(node.right, scope)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, scope)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "rstrip":
        return _text(node.func.value, scope)
    value = _assigned(node, scope)
    if isinstance(value, ast.Constant | ast.JoinedStr):
        return _text(value, scope)
    return f"*{_name(node)}*"


def _name(node: ast.expr) -> str:
    """A word for a value known only at run time: the last plain name in the expression."""
    names = [name for each in ast.walk(node) if (name := getattr(each, "attr", getattr(each, "id", "")))]
    return (names[0] if names else "value").strip("_").lower().replace("_", " ")


def _of_front() -> Iterator[tuple[str, str]]:
    """The refusals of index.cgi, which is Perl."""
    for code, text in _FRONT.findall((SOURCE / "index.cgi").read_text()):
        yield code, "".join(re.findall(r"'([^']*)'", text))
