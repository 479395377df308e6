"""What docs/architecture.md promises of the code's shape: short functions, one thing behind one name."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

CODE = Path(__file__).resolve().parents[2] / "plugin/ocsp_stapling"
LINES = 40


def definitions() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(CODE.rglob("*.py")):
        where = path.relative_to(CODE).as_posix()
        yield from ((where, node) for node in ast.walk(ast.parse(path.read_text())))


def test_no_function_is_longer_than_a_screen() -> None:
    functions = [(where, each) for where, each in definitions() if isinstance(each, ast.FunctionDef)]
    assert len(functions) > 1000
    long = [
        f"{where}:{each.lineno} {each.name}"
        for where, each in functions
        if (each.end_lineno or each.lineno) - each.lineno >= LINES
    ]
    assert long == []


def test_no_two_classes_have_one_name() -> None:
    named = Counter(each.name for _, each in definitions() if isinstance(each, ast.ClassDef))
    assert len(named) > 200
    assert [name for name, count in named.items() if count > 1] == []


def test_the_diagnosis_is_pure() -> None:
    """No input, no output, no clock and no chance: it imports nothing that has them, and asks no time."""
    harmless = {
        "__future__",
        "dataclasses",
        "datetime",
        "enum",
        "ipaddress",
        "itertools",
        "statistics",
        "typing",
    }
    for path in sorted((CODE / "check/diagnosis").glob("*.py")):
        tree = list(ast.walk(ast.parse(path.read_text())))
        named = {each.module or "" for each in tree if isinstance(each, ast.ImportFrom)}
        named |= {alias.name for each in tree if isinstance(each, ast.Import) for alias in each.names}
        roots = {name.partition(".")[0] for name in named}
        assert roots <= harmless | {"collections", "ocsp_stapling"}, path.name
        called = {each.attr for each in tree if isinstance(each, ast.Attribute)}
        assert called.isdisjoint({"now", "today", "utcnow", "read_text", "read_bytes"}), path.name
        assert not any(isinstance(each, ast.Name) and each.id in ("open", "print") for each in tree), (
            path.name
        )


def imported(source: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the package that a file imports, be it where it begins, in a function, or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{each.name}" for each in node.names}
            found |= (whole & modules.keys()) or ({node.module} & modules.keys())
    return found


def test_no_files_import_each_other_in_a_circle() -> None:
    paths = sorted(CODE.rglob("*.py"))
    named = {path: ".".join(path.relative_to(CODE.parent).with_suffix("").parts) for path in paths}
    modules = {name.removesuffix(".__init__"): path for path, name in named.items()}
    graph = {name: imported(path, modules) for name, path in modules.items()}
    assert sum(map(len, graph.values())) > 500
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
