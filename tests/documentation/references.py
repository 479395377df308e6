"""What the documents name: links, commands with their options, files, tests, settings. Each must exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import click

from tests.documentation.cli_page import commands
from tests.documentation.configuration_page import allowed
from tests.documentation.pages import DOCS, REPO

_FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.M | re.S)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.M)
_ANCHOR = re.compile(r'<a id="([^"]+)">')
_CALL = re.compile(r"(?:^|[\s(])ocsp-stapling +((?:[\w./:@=<>\[\],*-]+ ?)+)", re.M)
_SCRIPT = re.compile(r"(?:^|[\s/])((?:un)?install\.sh|tests/run)((?: +--?[a-z][a-z-]*)+)", re.M)
_PLACE = re.compile(r"(?:plugin|tests|docs|\.ci)/[\w./-]+(?:::\w+)?")
_SETTING = re.compile(r"(\w+)\.(\w+)(?: = .+)?")


def documents() -> list[Path]:
    """Return every page for people."""
    top = [path for path in REPO.glob("*.md") if path.is_file()]
    return sorted([*top, *DOCS.rglob("*.md"), REPO / "tests/README.md"])


def dead_links(path: Path) -> Iterator[str]:
    """Yield the links of a page to files or headings that do not exist; other servers are not asked."""
    for target in _LINK.findall(_without_code(path.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        no_heading = anchor and there.suffix == ".md" and there.exists() and anchor not in _anchors(there)
        if no_heading or not there.exists():
            yield target


def unknown_commands(path: Path) -> Iterator[str]:
    """Yield what a page tells people to type that the command line does not know."""
    known = commands()
    for text in _code(path.read_text()):
        for words in (found.split() for found in _CALL.findall(text)):
            name, *rest = words
            if name.startswith("-") or not re.fullmatch(r"[a-z]+", name):
                continue
            if name not in known:
                yield name
                continue
            options = {option for each in _params(known[name]) for option in each.opts} | {"--help"}
            yield from (f"{name} {word}" for word in rest if word.startswith("--") and word not in options)


def _params(command: click.Command) -> list[click.Parameter]:
    """Those of the command and, if it is a group, of its commands."""
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return [*command.params, *(each for one in inner for each in one.params)]


def unknown_script_options(path: Path) -> Iterator[str]:
    """Yield options of the scripts that the scripts do not know."""
    for text in _code(path.read_text()):
        for script, options in _SCRIPT.findall(text):
            source = (REPO / script).read_text() + (REPO / "tests/machine/sandbox.py").read_text()
            yield from (f"{script} {each}" for each in options.split() if each not in source)


def missing_places(path: Path) -> Iterator[str]:
    """Yield files and tests of this project that a page names and that are not there."""
    for text in _INLINE.findall(path.read_text()):
        if not _PLACE.fullmatch(text):
            continue
        name, _, test = text.partition("::")
        if not (REPO / name).exists() or (test and test not in _functions(REPO / name)):
            yield text


def unknown_settings(path: Path) -> Iterator[str]:
    """Yield settings that a page names and that do not exist."""
    known = allowed()
    sections = {each.partition(".")[0] for each in known if "." in each}
    for text in _INLINE.findall(path.read_text()):
        found = _SETTING.fullmatch(text)
        if found and found[1] in sections and f"{found[1]}.{found[2]}" not in known and not _is_file(text):
            yield text


def _is_file(text: str) -> bool:
    return Path(text).suffix in {".py", ".sqlite", ".lock", ".md", ".json", ".key"}


def _code(text: str) -> Iterator[str]:
    yield from _FENCE.findall(text)
    yield from _INLINE.findall(_FENCE.sub("", text))


def _without_code(text: str) -> str:
    return _INLINE.sub("``", _FENCE.sub("", text))


@functools.cache
def _anchors(path: Path) -> frozenset[str]:
    """The anchors of a page: GitHub's for its headings, and those set by hand."""
    text = path.read_text()
    headings = (re.sub(r"[^\w\- ]", "", found.lower()).replace(" ", "-") for found in _HEADING.findall(text))
    return frozenset([*headings, *_ANCHOR.findall(text)])


@functools.cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
