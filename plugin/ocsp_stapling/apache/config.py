"""Walks Apache's configuration from httpd.conf as httpd reads it, collecting what takes part in stapling.

What httpd does while reading is followed here (server/config.c, server/core.c, mod_so, mod_version, mod_macro):
Include and IncludeOptional, conditional sections, Define, LoadModule, ServerRoot, Macro. Nothing is executed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ocsp_stapling import files
from ocsp_stapling.apache.conditions import Asked, Binary, Known, Truth, judge
from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.apache.statements import (
    BEGIN,
    END,
    MAX_WORD,
    NAMES,
    PART_BEGINS,
    PART_ENDS,
    Statement,
    resolve,
    scan,
    words,
)
from ocsp_stapling.apache.tree import ConfigTree, Directive, Finding, ManagedBlock, Place, VirtualHost
from ocsp_stapling.apache.wildcard import Overlay, expand, has_wildcard
from ocsp_stapling.problem import Problem, reason_of

Resolver = Callable[[bytes], str]
"""Makes a file name absolute, as httpd does against ServerRoot."""


class OpenVhost:
    """Collects what its lines say; `first_file` counts the files read before it."""

    def __init__(self, place: Place, certain: bool, first_file: int) -> None:
        self.place, self.certain, self.first_file = place, certain, first_file
        self.name, self.document_root = "", ""
        self.aliases: list[str] = []
        self.engine: bool | None = None
        self.certificates: list[Path] = []
        self.chain_file: Path | None = None
        self.stapling: Directive | None = None
        self.trusted_file: Path | None = None
        self.trusted_path: Path | None = None
        self.own: list[Directive] = []

    def take(self, name: bytes, values: Sequence[bytes], absolute: Resolver) -> None:
        """Take a line whose name is in VHOST_LINES; one without arguments (httpd refuses it) says nothing."""
        if values:
            VHOST_LINES[name](self, values, absolute)

    def closed(self, files: Sequence[Path]) -> VirtualHost:
        """Return the finished virtual host; `files` are all files read so far."""
        return VirtualHost(
            self.place,
            self.name,
            tuple(self.aliases),
            self.document_root,
            self.engine,
            tuple(self.certificates),
            self.chain_file,
            self.stapling,
            tuple(files[self.first_file :]),
            self.certain,
            self.trusted_file,
            self.trusted_path,
            tuple(self.own),
        )


_Taker = Callable[[OpenVhost, Sequence[bytes], Resolver], None]


def _text_in(field: str) -> _Taker:
    return lambda vhost, values, _absolute: setattr(vhost, field, _text(values[0]))


def _path_in(field: str) -> _Taker:
    return lambda vhost, values, absolute: setattr(vhost, field, Path(absolute(values[0])))


def _alias(vhost: OpenVhost, values: Sequence[bytes], _absolute: Resolver) -> None:
    vhost.aliases.extend(map(_text, values))


def _engine(vhost: OpenVhost, values: Sequence[bytes], _absolute: Resolver) -> None:
    vhost.engine = values[0].lower() in (b"on", b"optional")


def _certificate(vhost: OpenVhost, values: Sequence[bytes], absolute: Resolver) -> None:
    vhost.certificates.append(Path(absolute(values[0])))


VHOST_LINES: dict[bytes, _Taker] = {
    b"servername": _text_in("name"),
    b"serveralias": _alias,
    b"documentroot": _text_in("document_root"),
    b"sslengine": _engine,
    b"sslcertificatefile": _certificate,
    b"sslcertificatechainfile": _path_in("chain_file"),
    b"sslcacertificatefile": _path_in("trusted_file"),
    b"sslcacertificatepath": _path_in("trusted_path"),
}


MAX_DEPTH = 128  # httpd's AP_MAX_INCLUDE_DEPTH
MAX_FILE_BYTES = 256 << 20
MAX_STATEMENTS = 2_000_000  # bounds what includes of includes of includes can multiply up to

_CANONICAL = {key.encode(): name for key, name in NAMES.items()}


def read_config(
    layout: Layout, binary: Asked = Binary, overlay: Mapping[Path, bytes | None] | None = None
) -> ConfigTree:
    """Read the whole configuration, beginning with `layout.conf`; what is odd in it becomes a finding.

    `binary` asks httpd about itself (`Httpd.binary`); without it some conditions stay uncertain. With
    `overlay` the configuration is read as it would be with these file contents (None: file absent). Raises
    Problem `no-httpd-conf` if httpd.conf itself cannot be read.
    """
    walk = _TreeWalk(layout, binary, {str(path): content for path, content in (overlay or {}).items()})
    walk.include(str(layout.conf), required=True)
    if not walk.files:
        detail = walk.findings[0].message if walk.findings else ""
        raise Problem("no-httpd-conf", f"Apache's configuration {layout.conf} cannot be read.", detail)
    return walk.tree(layout.conf)


class _TreeWalk:
    """The state of one reading."""

    def __init__(self, layout: Layout, binary: Asked, overlay: Overlay) -> None:
        self._overlay, self._userdata = overlay, layout.userdata
        self.known = Known(binary, layout.base)
        self.files: list[Path] = []
        self.directives: list[Directive] = []
        self.vhosts: list[VirtualHost] = []
        self.managed: dict[tuple[Path, int], ManagedBlock] = {}
        self.findings: list[Finding] = []
        self.vhost: OpenVhost | None = None
        self.file, self.line = Path(), 0
        self.sections: list[tuple[str, Truth]] = []
        self.in_block = False
        self._parts = 0
        """How many sections are open whose lines concern only a part of what is served."""
        self._stack: list[str] = []
        self._scans: dict[str, list[Statement]] = {}
        self._left = MAX_STATEMENTS
        self._macros: dict[bytes, tuple[Path, list[bytes], Sequence[Statement]]] = {}
        self._judged: dict[tuple[bytes, bytes], tuple[str, Truth]] = {}
        self._addresses: dict[bytes, tuple[str, ...]] = {}

    def tree(self, conf: Path) -> ConfigTree:
        """Freeze what was collected."""
        return ConfigTree(
            conf,
            self.known.server_root,
            tuple(self.files),
            tuple(self.directives),
            tuple(self.vhosts),
            tuple(self.managed.values()),
            tuple(self.findings),
            self._userdata,
        )

    # --- files ---

    def include(self, pattern: str, *, required: bool) -> None:
        """Read every file that the absolute pattern names."""
        try:
            paths = expand(pattern, self._overlay)
        except (OSError, ValueError) as error:
            self._find("include-unreadable", f"The include {pattern} cannot be listed: {reason_of(error)}.")
            return
        if required and not paths:
            self._find("include-missing", f"No file matches the include {pattern}: httpd refuses to start.")
        may_be_absent = not required and not has_wildcard(pattern)
        for path in paths:
            if not may_be_absent or self._exists(path):
                self._read(path)

    def _exists(self, path: str) -> bool:
        if path in self._overlay:
            return self._overlay[path] is not None
        return os.path.exists(path)  # noqa: PTH110 - a str, by the thousand

    def _read(self, path: str) -> None:
        if path in self._stack or len(self._stack) >= MAX_DEPTH:
            self._find("include-loop", f"{path} includes itself; httpd gives up on it and refuses to start.")
            return
        try:
            if path not in self._scans:
                self._scans[path] = scan(self._content(path))
        except (OSError, ValueError) as error:
            self._find(
                "include-unreadable", f"{path} cannot be read ({reason_of(error)}): httpd does not start."
            )
            return
        self._stack.append(path)
        self.files.append(Path(path))
        self._evaluate_as(self.files[-1], self._scans[path])
        self._stack.pop()

    def _content(self, path: str) -> bytes:
        if path not in self._overlay:
            return _content(path)
        if (content := self._overlay[path]) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return content

    def _evaluate_as(self, file: Path, statements: Sequence[Statement]) -> None:
        """Evaluate in the name of a file; sections left open end with it."""
        outer = self.file, self.line, self.in_block, self.vhost, len(self.sections)
        parts = self._parts
        self.file, self.in_block = file, False
        self._evaluate(statements)
        if self.vhost is not outer[3]:
            self._end_vhost()
        del self.sections[outer[4] :]
        self.file, self.line, self.in_block = outer[:3]
        self._parts = parts

    # --- lines ---

    def _evaluate(self, statements: Sequence[Statement]) -> None:
        at, end = 0, len(statements)
        if self._left < 0:
            return
        self._left -= end
        if self._left < 0:
            self._find(
                "include-too-much", "The includes multiply beyond any sensible size; the rest is not read."
            )
            return
        while at < end:
            name, args, self.line, written = statements[at]
            at += 1
            if name in PART_BEGINS or name in PART_ENDS:
                self._parts = max(0, self._parts + (1 if name in PART_BEGINS else -1))
            elif name in _STEERING:
                _STEERING[name](self, args)
            elif name.startswith(b"<if"):
                if self._open(name, args) is Truth.NO:
                    at = _after_section(statements, at)
            elif name.startswith(b"</if"):
                del self.sections[-1:]
            elif name == b"<macro":
                at = self._define_macro(args, statements, at)
            elif self._parts:
                continue
            elif self.vhost is not None and name in VHOST_LINES:
                self.vhost.take(name, words(args, self.known.lookup), self.absolute)
            elif name in _CANONICAL:
                self._collect(name, args, written)

    def _open(self, name: bytes, args: bytes) -> Truth:
        """Enter a conditional section unless httpd skips it."""
        if (name, args) not in self._judged:
            self._judged[name, args] = self._judge(name, args)
        label, truth = self._judged[name, args]
        if truth is not Truth.NO:
            self.sections.append((label, truth))
        return truth

    def _judge(self, name: bytes, args: bytes) -> tuple[str, Truth]:
        kind = _text(name[1:])
        argument = args[: args.rfind(b">")].strip() if b">" in args else args.strip()
        negated = argument.startswith(b"!")
        bare = argument[negated:].strip()
        if kind == "ifversion":
            word = resolve(bare, self.known.lookup)
        else:
            word = next(iter(words(bare, self.known.lookup)), b"")
        subject = _text(word)
        label = f"{_SECTION_NAMES.get(kind, kind)} {'!' * negated}{subject}"
        return label, judge(kind, subject, negated, self.known)

    def _collect(self, name: bytes, args: bytes, written: bytes) -> None:
        """Keep a directive that takes part."""
        value = _text(self._value(name, args))
        # A word that httpd refuses decides nothing: what runs was read before.
        refused = _CANONICAL[name] == "SSLUseStapling" and value.lower() not in ("on", "off")
        directive = Directive(
            name=_CANONICAL[name],
            value=value,
            file=self.file,
            line=self.line,
            vhost=self.vhost.place if self.vhost else None,
            condition=tuple(label for label, _ in self.sections),
            certain=not refused and self._truth() is Truth.YES and (self.vhost is None or self.vhost.certain),
            managed=self.in_block,
            text=_text(written + b" " + args.strip()),
        )
        self.directives.append(directive)
        vhost = self.vhost
        if vhost:
            vhost.own.append(directive)
        if (
            vhost
            and name == b"sslusestapling"
            and not refused
            and (directive.certain or vhost.stapling is None)
        ):
            vhost.stapling = directive

    def _value(self, name: bytes, args: bytes) -> bytes:
        """Only these take several arguments; httpd ignores what follows On or Off, such as a comment."""
        if name in (b"listen", b"loglevel"):
            return b" ".join(words(args, self.known.lookup))
        return self._first(args)

    def _truth(self) -> Truth:
        return min((truth for _, truth in self.sections), default=Truth.YES)

    def _find(self, code: str, message: str) -> None:
        self.findings.append(Finding(code, message, self.file if self.line else None, self.line))

    def _first(self, args: bytes) -> bytes:
        return next(iter(words(args, self.known.lookup)), b"")

    def absolute(self, word: bytes) -> str:
        """Resolve a file name against ServerRoot as httpd does (ap_server_root_relative)."""
        path = _text(word)
        if not path.startswith("/"):
            path = f"{self.known.server_root}/{path}"
        if "//" in path or "/." in path:
            path = "/" + os.path.normpath(path).lstrip("/")
        return path

    # --- virtual hosts ---

    def _begin_vhost(self, args: bytes) -> None:
        if self.vhost:
            self._end_vhost()
        if args not in self._addresses:  # a server's virtual hosts share a few
            inner = args[: args.rfind(b">")] if b">" in args else args
            self._addresses[args] = tuple(map(_text, words(inner, self.known.lookup)))
        place = Place(self.file, self.line, self._addresses[args])
        self.vhost = OpenVhost(place, self._truth() is Truth.YES, len(self.files))

    def _end_vhost(self, _args: bytes = b"") -> None:
        if self.vhost:
            self.vhosts.append(self.vhost.closed(self.files))
        self.vhost = None

    # --- lines that steer the reading ---

    def _include(self, args: bytes) -> None:
        if word := self._first(args):
            self.include(self.absolute(word), required=True)

    def _include_optional(self, args: bytes) -> None:
        if word := self._first(args):
            self.include(self.absolute(word), required=False)

    def _server_root(self, args: bytes) -> None:
        if (word := self._first(args)).startswith(b"/"):
            self.known.server_root = Path(_text(word))

    def _forget(self) -> None:
        """What was worked out with what was known before."""
        self._judged.clear()
        self._addresses.clear()

    def _load_module(self, args: bytes) -> None:
        self._forget()
        identifier, *file = words(args, self.known.lookup)[:2] or [b""]
        self.known.load(_text(identifier), self._truth(), _text(file[0]) if file else "")

    def _define(self, args: bytes) -> None:
        given = words(args, self.known.lookup)
        self._forget()
        if given:
            self.known.defines[_text(given[0])] = self._truth()
        if len(given) > 1:
            self.known.variables[given[0].lower()] = given[1]

    def _undefine(self, args: bytes) -> None:
        name = self._first(args)
        self._forget()
        self.known.defines[_text(name)] = Truth.NO if self._truth() is Truth.YES else Truth.MAYBE
        self.known.variables.pop(name.lower(), None)

    def _define_macro(self, args: bytes, statements: Sequence[Statement], at: int) -> int:
        """Keep the lines up to `</Macro>` for later `Use`; return the place behind them."""
        end = next((i for i in range(at, len(statements)) if statements[i][0] == b"</macro"), len(statements))
        name, *parameters = words(args.rstrip().removesuffix(b">"), self.known.lookup) or [b""]
        self._macros[name.lower()] = self.file, parameters, statements[at:end]
        return end + 1

    def _use(self, args: bytes) -> None:
        given = words(args, self.known.lookup) or [b""]
        name = f"macro {_text(given[0].lower())}"
        file, parameters, body = self._macros.get(given[0].lower(), (self.file, [], ()))
        if name in self._stack or len(self._stack) >= MAX_DEPTH:
            self._find("include-loop", f"The {name} uses itself; httpd gives up on it and refuses to start.")
            return
        pairs = sorted(zip(parameters, given[1:], strict=False), key=lambda pair: -len(pair[0]))
        self._stack.append(name)
        self._evaluate_as(file, [(key, _substituted(args, pairs), line, key) for key, args, line, _ in body])
        self._stack.pop()

    # --- our own block ---

    def _begin_block(self, _args: bytes) -> None:
        self.in_block = True
        self.managed[self.file, self.line] = ManagedBlock(self.file, self.line, None)

    def _end_block(self, _args: bytes) -> None:
        if self.in_block:
            (file, begin), _ = self.managed.popitem()
            self.managed[file, begin] = ManagedBlock(file, begin, self.line)
        self.in_block = False


_STEERING: dict[bytes, Callable[[_TreeWalk, bytes], None]] = {
    b"<virtualhost": _TreeWalk._begin_vhost,
    b"</virtualhost": _TreeWalk._end_vhost,
    b"include": _TreeWalk._include,
    b"includeoptional": _TreeWalk._include_optional,
    b"serverroot": _TreeWalk._server_root,
    b"loadmodule": _TreeWalk._load_module,
    b"define": _TreeWalk._define,
    b"undefine": _TreeWalk._undefine,
    b"use": _TreeWalk._use,
    BEGIN: _TreeWalk._begin_block,
    END: _TreeWalk._end_block,
}
_SECTION_NAMES = {
    name.lower(): name for name in ("IfModule", "IfDefine", "IfVersion", "IfFile", "IfDirective", "IfSection")
}


def _after_section(statements: Sequence[Statement], at: int) -> int:
    """Return the place behind the section that was just opened and that httpd skips."""
    depth = 1
    while depth and at < len(statements):
        name = statements[at][0]
        at += 1
        depth += name.startswith(b"<if")
        depth -= name.startswith(b"</if")
    return at


def _substituted(args: bytes, pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The arguments of a macro's line with its parameters replaced; too long ones are left out."""
    for parameter, value in pairs:
        if parameter and args.count(parameter) * len(value) <= MAX_WORD:
            args = args.replace(parameter, value)
    return args


def _content(path: str) -> bytes:
    """The bytes of a regular file; httpd, too, refuses everything else but /dev/null. Never blocks on a FIFO."""
    if path == os.devnull:
        return b""
    with os.fdopen(files.open_regular(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise OSError("too large")
        return file.read(MAX_FILE_BYTES)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
