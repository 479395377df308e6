"""Whether httpd takes the lines inside `<IfModule>` and its like: yes, no, or maybe when it cannot be known."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path

Version = tuple[int, int, int]


class Truth(IntEnum):
    """Ordered so that nested conditions combine with min()."""

    NO = 0
    MAYBE = 1
    YES = 2


@dataclass(frozen=True)
class Binary:
    """What only the httpd program itself knows, before it has read any configuration."""

    version: Version | None = None
    static_modules: frozenset[str] | None = None
    """Source file names of compiled-in modules, as `httpd -l` prints them (`core.c`); None if unknown."""
    defines: frozenset[str] | None = None
    """The -D names of the command line; None if they are unknown."""


Asked = Callable[[], Binary]
"""Asks httpd, which takes two processes: called only where a condition around a line of interest hangs on it."""


@dataclass
class Known:
    """What has been read so far: httpd judges each condition at the moment it reads it."""

    asked: Asked
    server_root: Path
    modules: dict[str, Truth] = field(default_factory=dict)
    sources: dict[str, Truth] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    """Of loaded modules, by identifier."""
    defines: dict[str, Truth] = field(default_factory=dict)
    variables: dict[bytes, bytes] = field(default_factory=dict)

    @cached_property
    def binary(self) -> Binary:
        """What httpd says of itself, asked when it is first needed."""
        return self.asked()

    def lookup(self, name: bytes) -> bytes | None:
        """Return the value of `${name}`; httpd keeps variables in a case-insensitive table."""
        return self.variables.get(name.lower())

    def load(self, identifier: str, truth: Truth, file: str = "") -> None:
        """Note a LoadModule line."""
        self.files[identifier] = self.server_root / file
        best = max(truth, self.modules.get(identifier, Truth.NO))
        self.modules[identifier] = self.sources[source_of(identifier)] = best


# Modules whose source file is not named mod_NAME.c.
_SOURCES = {"core_module": "core.c", "http_module": "http_core.c"}


def judge(kind: str, word: str, negated: bool, known: Known) -> Truth:
    """Judge a section such as `<IfModule !ssl_module>`: kind `ifmodule`, word `ssl_module`, negated.

    Only a sign before the quotes negates, and only one: a second one belongs to a name that nothing has.
    """
    truth = _JUDGES.get(kind, _unknown)(word, known)
    return Truth(Truth.YES - truth) if negated else truth


def _module(name: str, known: Known) -> Truth:
    """`<IfModule>` takes an identifier (ssl_module) or a source file (mod_ssl.c); names are case-sensitive."""
    source = name if name.endswith(".c") else source_of(name)
    loaded = known.sources.get(name, Truth.NO) if source == name else known.modules.get(name, Truth.NO)
    if loaded is Truth.YES:
        return loaded
    static = known.binary.static_modules
    if static is not None and source in static:
        return Truth.YES
    return max(loaded, Truth.MAYBE) if static is None else loaded


def source_of(identifier: str) -> str:
    """Return the source file name that belongs to a module identifier: `ssl_module` is `mod_ssl.c`."""
    stem = identifier.removesuffix("_module")
    if stem.startswith("mpm_") and stem != "mpm_itk":
        return stem.removeprefix("mpm_") + ".c"
    if stem == "mpm_itk":
        return "mpm_itk.c"
    return _SOURCES.get(identifier, f"mod_{stem}.c")


def _define(name: str, known: Known) -> Truth:
    if name in known.defines:
        return known.defines[name]
    if known.binary.defines is None:
        return Truth.MAYBE
    return Truth.YES if name in known.binary.defines else Truth.NO


_VERSION = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?")
_COMPARE: dict[str, Callable[[Version, Version], bool]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


def _version(argument: str, known: Known) -> Truth:
    """mod_version: `[operator] 2.4.10`, or `~ regex`, or `= /regex/`; no operator means equal."""
    operator, _, operand = argument.rpartition(" ")
    operator, operand = operator.strip() or "=", operand.strip("\"'")
    own = known.binary.version
    if own is None:
        return Truth.MAYBE
    if operator == "~" or (operator in ("=", "==") and operand.startswith("/")):
        return _matches(operand.strip("/"), own)
    wanted = _VERSION.fullmatch(operand)
    if wanted is None or operator not in _COMPARE:
        return Truth.MAYBE
    major, minor, patch = (int(part or 0) for part in wanted.groups())
    return Truth.YES if _COMPARE[operator](own, (major, minor, patch)) else Truth.NO


def _matches(pattern: str, own: Version) -> Truth:
    """Only patterns of literal text and anchors are judged: others may mean more to PCRE than to us."""
    if not re.fullmatch(r"\^?[\d.\\]*\$?", pattern):
        return Truth.MAYBE
    try:
        found = re.search(pattern, "{}.{}.{}".format(*own))
    except re.error:
        return Truth.MAYBE
    return Truth.YES if found else Truth.NO


def _file(name: str, known: Known) -> Truth:
    try:
        return Truth.YES if (known.server_root / name).exists() else Truth.NO
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return Truth.MAYBE


_SECTIONS = ("virtualhost", "directory", "files", "location", "ifmodule", "ifdefine", "if", "limit")


def _directive(name: str, known: Known) -> Truth:
    """Which directives there are only the modules know; mod_ssl's begin with its name, and its file holds them."""
    if "!" in name:  # within quotes it is part of a name that nothing has
        return Truth.NO
    if not name.lower().startswith("ssl"):
        return Truth.MAYBE
    try:
        held = known.files["ssl_module"].read_bytes().lower()
    except (KeyError, OSError):
        return _module("ssl_module", known)
    return _module("ssl_module", known) if name.lower().encode() + b"\0" in held else Truth.NO


def _section(name: str, _known: Known) -> Truth:
    """Sections of the core are there in any httpd; of others only their module knows."""
    if "!" in name:
        return Truth.NO
    return Truth.YES if name.lower() in _SECTIONS else Truth.MAYBE


def _unknown(_argument: str, _known: Known) -> Truth:
    return Truth.MAYBE


_JUDGES: dict[str, Callable[[str, Known], Truth]] = {
    "ifmodule": _module,
    "ifdefine": _define,
    "ifversion": _version,
    "iffile": _file,
    "ifdirective": _directive,
    "ifsection": _section,
}
