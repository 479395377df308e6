"""Mutants: does a test fail when the code is changed? Run by hand, never in CI; see tests/README.md.

    .venv/bin/python -m tests.mutants plugin/ocsp_stapling/server --sample 120 --tests tests/unit/server

One process collects the tests. Forks of it run them all and tell which lines each test meets; then every mutant is
a fork that changes one function (or, for what a module does while it is imported, imports everything anew) and runs
the tests that meet its line, the quickest first, until one fails. It needs `pip install coverage`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import importlib
import itertools
import math
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

PLUGIN = Path(__file__).resolve().parents[1] / "plugin"
SECONDS = 60
"""A mutant that runs longer than this is dead: a test would have been ended."""

_COMPARE: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.Mod: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: the n-th node of a file, replaced by one of its replacements."""

    path: Path
    node: int
    which: int
    kind: str
    change: str
    line: int
    statement: int
    in_function: bool
    """So that its code can be exchanged; else the module has to be imported anew."""


def replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what may stand in a node's place, each with its kind."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        yield "comparison", _with(node, ops=[_COMPARE[type(node.ops[0])]()])
    elif isinstance(node, ast.BoolOp):
        yield "and, or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield "arithmetic", _with(node, op=_ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.If | ast.IfExp):
        yield "condition", _with(node, test=ast.UnaryOp(op=ast.Not(), operand=node.test))
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield "filter", _with(node, ifs=node.ifs[1:])
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call left out", ast.Pass()
    elif isinstance(node, ast.Return) and node.value and not isinstance(node.value, ast.Constant):
        yield "return", _with(node, value=ast.Constant(None))
    elif isinstance(node, ast.Constant):
        yield from _constants(node.value)


def _constants(value: object) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int | float):
        yield "constant", ast.Constant(value + 1)
    elif isinstance(value, str):
        yield "text", ast.Constant("" if value else "mutant")


def _with(node: ast.AST, **fields: object) -> ast.AST:
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


class Walk(ast.NodeTransformer):
    """Goes through a file's nodes in one fixed order: lists its mutants, or makes the one that is wanted."""

    def __init__(self, path: Path, wanted: Mutant | None = None) -> None:
        self.path, self.wanted = path, wanted
        self.found: list[Mutant] = []
        self._node, self._statement, self._in_function = 0, 0, False
        self.tree = self.visit(ast.parse(path.read_text()))

    def visit(self, node: ast.AST) -> Any:
        self._node += 1
        if isinstance(node, ast.stmt):
            self._statement = node.lineno
        for which, (kind, made) in enumerate(replacements(node)):
            if self.wanted and (self.wanted.node, self.wanted.which) == (self._node, which):
                return ast.copy_location(made, node)
            line = getattr(node, "lineno", self._statement)
            told = "  ->  ".join(" ".join(ast.unparse(each).split())[:90] for each in (node, made))
            at = (line, self._statement, self._in_function)
            self.found.append(Mutant(self.path, self._node, which, kind, told, *at))
        return self._within(node)

    def _within(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return node  # a docstring
        if isinstance(node, ast.AnnAssign):
            node.value = self.visit(node.value) if node.value else None
        elif isinstance(node, ast.ClassDef):
            node.body = [self.visit(each) for each in node.body]
        elif isinstance(node, ast.FunctionDef | ast.Lambda):
            outside, self._in_function = self._in_function, True
            body = node.body if isinstance(node.body, list) else [node.body]
            made = [self.visit(each) for each in body]
            node.body = made if isinstance(node.body, list) else made[0]
            self._in_function = outside
        else:
            return self.generic_visit(node)
        return node

    def code(self) -> CodeType:
        """Return the changed file's code."""
        made: CodeType = compile(ast.fix_missing_locations(self.tree), str(self.path), "exec")
        return made


def exchange(mutant: Mutant) -> None:
    """Give every function of the mutant's file its changed code."""
    changed = {(one.co_qualname, one.co_firstlineno): one for one in _codes(Walk(mutant.path, mutant).code())}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename == str(mutant.path):
            one.__code__ = changed.get((one.__code__.co_qualname, one.__code__.co_firstlineno), one.__code__)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)


class _Changed(SourceFileLoader):
    """Imports the mutant in place of its file."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        name = ".".join(mutant.path.relative_to(PLUGIN).with_suffix("").parts).removesuffix(".__init__")
        super().__init__(name, str(mutant.path))

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return Walk(self.mutant.path, self.mutant).code()


def imported_anew(mutant: Mutant, nodes: Sequence[str]) -> bool:
    """Return whether a test fails once everything is imported anew, with the mutant."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("ocsp_stapling", "tests")]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Changed(mutant))
    return pytest.main(["-x", "-q", "-p", "no:cacheprovider", *nodes]) != 0


@dataclass
class Met:
    """What a test did in the unchanged code."""

    seconds: float
    lines: set[tuple[str, int]]


def trace(items: Sequence[pytest.Item]) -> dict[str, Met]:
    """Run the tests, and return what those that pass meet."""
    coverage = importlib.import_module("coverage").Coverage(
        data_file=None, source=[str(PLUGIN)], messages=False
    )
    coverage.start()
    found = {}
    for item, after in zip(items, [*items[1:], None], strict=True):
        begun = time.monotonic()
        coverage.switch_context(item.nodeid)
        reports = runtestprotocol(item, log=False, nextitem=after)
        if not any(report.failed or report.skipped for report in reports):
            found[item.nodeid] = Met(time.monotonic() - begun, set())
    coverage.stop()
    data = coverage.get_data()
    for path in data.measured_files():
        for line, nodes in data.contexts_by_lineno(path).items():
            for node in nodes:
                if node in found:
                    found[node].lines.add((path, line))
    return found


def fails(items: Sequence[pytest.Item]) -> bool:
    """Return whether one of the tests fails."""
    return any(
        report.failed
        for item, after in zip(items, [*items[1:], None], strict=False)  # of no tests none fails
        for report in runtestprotocol(item, log=False, nextitem=after)
    )


@dataclass(frozen=True)
class Fork:
    """A piece of work under way: its place, where its result comes, and until when it may run."""

    place: int
    result: Path
    until: float


def _ended(pid: int, until: float) -> bool:
    if time.monotonic() > until:
        os.killpg(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[0] == pid
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def forked(
    work: Sequence[Callable[[], object]], at_once: int, seconds: float = math.inf
) -> Iterator[tuple[int, Any]]:
    """Do each piece of work in a fork; yield its place and what it returned, `None` if its time was up."""
    left = list(enumerate(work))[::-1]
    running: dict[int, Fork] = {}
    with tempfile.TemporaryDirectory() as directory:
        while left or running:
            while left and len(running) < at_once:
                place, what = left.pop()
                result = Path(directory) / str(place)
                running[_fork(what, result)] = Fork(place, result, time.monotonic() + seconds)
            time.sleep(0.02)
            for pid in [pid for pid in running if _ended(pid, running[pid].until)]:
                one = running.pop(pid)
                yield one.place, pickle.loads(one.result.read_bytes()) if one.result.exists() else None


def _fork(what: Callable[[], object], result: Path) -> int:
    if pid := os.fork():
        return pid
    try:
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        result.write_bytes(pickle.dumps(what()))
    finally:
        os._exit(0)


class Mutation:
    """Runs in place of the tests, once they are collected."""

    def __init__(self, rooms: Mapping[str, Sequence[Path]], sample: int, seed: int, at_once: int) -> None:
        self.mutants: list[tuple[str, Mutant]] = []
        self.counts: dict[str, int] = {}
        self.at_once = at_once
        for room, paths in rooms.items():
            found = [one for path in paths for one in Walk(path).found]
            self.counts[room] = len(found)
            drawn = random.Random(seed).sample(range(len(found)), min(sample, len(found)))
            self.mutants += [(room, found[place]) for place in sorted(drawn)]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        files = defaultdict(list)
        for item in session.items:
            files[item.path].append(item)
        met: dict[str, Met] = {}
        runs = [lambda items=items: trace(items) for items in files.values()]
        for _, told in forked(runs, self.at_once):
            met |= told or {}
        tests = [self._tests(one, met) for _, one in self.mutants]
        work = [
            lambda one=one, nodes=nodes: self._dead(session, one, nodes)
            for (_, one), nodes in zip(self.mutants, tests, strict=True)
        ]
        ends = dict(forked(work, self.at_once, SECONDS))
        self._tell(tests, ends)
        return True

    def _tests(self, one: Mutant, met: Mapping[str, Met]) -> list[str]:
        """The tests that meet its line, or, for what stands outside functions, any line of its file."""
        path = str(one.path)
        for line in (one.line, one.statement):
            if found := [node for node, each in met.items() if (path, line) in each.lines]:
                return sorted(found, key=lambda node: met[node].seconds)
        if one.in_function:
            return []
        found = [node for node, each in met.items() if any(where == path for where, _ in each.lines)]
        return sorted(found, key=lambda node: met[node].seconds)

    def _dead(self, session: pytest.Session, one: Mutant, nodes: Sequence[str]) -> bool:
        if not one.in_function:
            return imported_anew(one, nodes)
        exchange(one)
        items = {item.nodeid: item for item in session.items}
        return fails([items[node] for node in nodes])

    def _tell(self, tests: Sequence[Sequence[str]], ends: Mapping[int, bool | None]) -> None:
        rooms: dict[str, Counter[str]] = defaultdict(Counter)
        for place, (room, one) in enumerate(self.mutants):
            rooms[room].update(["made", f"of {one.kind}"])
            rooms[room].update(["without a word"] if ends[place] is None else [])
            if ends[place] is False:
                rooms[room].update(["survived", one.kind, *([] if tests[place] else ["unmet"])])
                where = f"{one.path.relative_to(PLUGIN)}:{one.line}"
                print(f"{where}  {one.kind}  ({len(tests[place])} tests)  {one.change}")
        for room, told in rooms.items():
            kinds = [word.removeprefix("of ") for word in sorted(told) if word.startswith("of ")]
            print(
                f"{room}: {told['survived']} of {told['made']} survived ({told['survived'] / told['made']:.1%}), "
                f"{told['unmet']} in lines that none of these tests meets; {told['without a word']} dead by their "
                f"time or a crash; {self.counts[room]} can be made: "
                + ", ".join(f"{kind} {told[kind]}/{told[f'of {kind}']}" for kind in kinds)
            )


def _files(name: str) -> list[Path]:
    path = Path(name).resolve()
    return [path] if path.is_file() else list(path.rglob("*.py"))


def main() -> int:
    """Make mutants of files or directories, and tell which survive."""
    parser = argparse.ArgumentParser(description="Mutants: does a test fail when the code is changed?")
    parser.add_argument(
        "rooms", nargs="+", help="files and directories to change, commas between those of one room"
    )
    parser.add_argument(
        "--sample", type=int, default=100, help="this many mutants of each room, drawn by lot"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tests", nargs="+", default=["tests/unit"], help="what pytest is told to collect")
    given = parser.parse_args()
    rooms = {room: sorted(itertools.chain(*map(_files, room.split(",")))) for room in given.rooms}
    mutation = Mutation(rooms, given.sample, given.seed, given.at_once)
    return pytest.main(["-q", "-p", "no:cacheprovider", *given.tests], plugins=[mutation])


if __name__ == "__main__":
    sys.exit(main())
