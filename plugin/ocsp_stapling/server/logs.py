"""Where this server's Apache logs what it says about stapling, and whether its LogLevel lets it say so."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shlex
import stat
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from ocsp_stapling import files
from ocsp_stapling.apache.errorlog.form import Form, forms_of
from ocsp_stapling.apache.tree import ConfigTree, Directive
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.state import ServerState
from ocsp_stapling.text import listed

MOST_FILES = 40
_NAMES_READ, _LOOKED_AT = 20_000, 100
_Listing = Callable[[str], list[str]]
_NO_FILE = re.compile(r"syslog|\||/dev/")
_HIDING = ("emerg", "alert", "crit")
"""Levels at which mod_ssl's complaints about responders (`error`) are not written."""


@dataclass(frozen=True)
class ErrorLogs:
    """The logs to read. `client_checks`: whether client certificates are checked by OCSP, whose lines look alike."""

    files: tuple[Path, ...]
    """The server's first, then those of virtual hosts."""
    client_checks: bool
    hidden_by: Directive | None = None
    """The LogLevel that keeps stapling's errors out of the log."""
    hidden_for: tuple[Directive, ...] = ()
    """The same of single virtual hosts: what Apache has to say of their certificates is not written."""
    elsewhere: tuple[Directive, ...] = ()
    """Each ErrorLog that goes to syslog, or to a program of which no file is known."""
    left_out: int = 0
    """Logs of virtual hosts beyond MOST_FILES."""
    foreign: tuple[Path, ...] = ()
    """Those of them that others than root could have written: what they say of this very moment proves nothing."""

    forms: tuple[Form, ...] = ()
    """How to read lines of the server's own ErrorLogFormats."""
    unwritten: Path | None = None
    """The server's, where its ErrorLog leads elsewhere and there is no such file."""
    full: bool = False
    """Whether the disk of the server's has no room left for Apache's user."""

    @property
    def unheard(self) -> tuple[str, ...]:
        """What these logs do not tell, in sentences: that they are silent proves nothing then."""
        silent = (
            ("Apache does not log stapling's errors", (self.hidden_by,) if self.hidden_by else ()),
            ("A LogLevel of virtual hosts keeps stapling's errors of theirs out of the log", self.hidden_for),
            ("What goes to syslog, a program or a device is not read", self.elsewhere),
        )
        told = [
            f"{what}: {listed([f'{line.text.strip()} ({line.file}:{line.line})' for line in lines])}."
            for what, lines in silent
            if lines
        ]
        full = [f"The disk of {self.files[0]} is full, so Apache cannot log there."] if self.full else []
        return (*told, *full)

    @property
    def roots(self) -> tuple[Path, ...]:
        """Those that nobody but root can have written."""
        return tuple(path for path in self.files if path not in (*self.foreign, self.unwritten))


def error_logs(server: ServerState) -> ErrorLogs:
    """Return the error logs of the server and of its virtual hosts; of piped ones the file at the end."""
    main = server.layout.error_log
    listed_in = cache(_names_in)  # many virtual hosts have their logs in one folder
    lines = {line: _files(line.value, server.tree, listed_in) for line in _lines(server.tree)}
    last = list({line.vhost: line for line in lines}.values())
    found = dict.fromkeys(path for paths in lines.values() for path in paths)
    own = {path: _is_foreign(path) for path in found if not _same(path, main)}
    read = sorted(own, key=lambda path: own[path])[
        :MOST_FILES
    ]  # nobody crowds out root's with logs of theirs
    return ErrorLogs(
        (main, *read),
        server.stapling.client_checks is not None,
        hidden_by=_hiding(server.tree),
        hidden_for=_hiding_vhosts(server.tree),
        elsewhere=tuple(line for line in last if not lines[line] and _NO_FILE.match(line.value)),
        left_out=len(own) - len(read),
        foreign=tuple(path for path in read if own[path]),
        forms=forms_of(_formats(server.tree)),
        unwritten=_unwritten(main, {line: lines[line] for line in last if line.vhost is None}),
        full=_is_full(main),
    )


def _unwritten(main: Path, lines: dict[Directive, list[Path]]) -> Path | None:
    """`lines`: the server's own ErrorLog, and the files that it leads to."""
    elsewhere = any(paths or _NO_FILE.match(line.value) for line, paths in lines.items())
    return main if elsewhere and not _plain(main) else None


def _is_full(main: Path) -> bool:
    try:
        disk = os.statvfs(main)
    except OSError:
        return False
    return disk.f_blocks > 0 and disk.f_bavail == 0  # some file systems count nothing


def _is_foreign(log: Path) -> bool:
    """Whether a log stands where an account holder can put another in its place, or is theirs already."""
    try:
        for each in (log, log.resolve()):
            files.refuse_unsafe_directory(each)
        found = log.stat()
    except (Problem, OSError, RuntimeError):
        return True
    by_group = found.st_mode & stat.S_IWGRP and found.st_gid != 0
    return bool(found.st_uid not in (0, os.geteuid()) or found.st_mode & stat.S_IWOTH or by_group)


def _lines(tree: ConfigTree) -> Iterator[Directive]:
    return (line for line in tree.directives if line.name == "ErrorLog" and line.certain)


def _formats(tree: ConfigTree) -> Iterator[str]:
    """The formats of messages; a virtual host's own may stand in the server's log as well."""
    found = (line.value for line in tree.directives if line.name == "ErrorLogFormat")
    return (value for value in found if value.lower() not in ("connection", "request"))


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _files(value: str, tree: ConfigTree, listed_in: _Listing) -> list[Path]:
    """The file of an ErrorLog, or those that its program writes: whatever absolute path follows the program."""
    if not value.startswith("|"):
        return [] if value.startswith("syslog") else _plain(tree.server_root / value)
    try:
        words = shlex.split(value.lstrip("|$"))[1:]
    except ValueError:
        return []
    paths = (word.partition("=")[2] if word.startswith("--") else word for word in words)
    return [found for path in paths if path.startswith("/") for found in _newest(path, listed_in)]


def _plain(path: Path) -> list[Path]:
    try:
        return [path] if path.is_file() else []
    except OSError:  # a name that is too long
        return []


def _newest(path: str, listed_in: _Listing) -> list[Path]:
    """The file, or (rotatelogs writes the time into or behind the name) the newest; none if that cannot be told."""
    folder, name = os.path.split(time.strftime(path) if "%" in os.path.dirname(path) else path)  # noqa: PTH120
    begin, *parts = re.split(r"%[A-Za-z]", name)
    written = "*".join(map(glob.escape, (begin, *parts)))
    # Not with a pattern of our own: whose the folder is chooses names on which one tries billions of ways.
    fits = [
        re.compile(fnmatch.translate(each)) for each in (written, *([] if parts else [f"{written}.[0-9]*"]))
    ]
    names = listed_in(folder)
    alike = names[bisect_left(names, begin) : bisect_left(names, f"{begin}\U0010ffff")]
    fitting = [each for each in alike if any(one.match(each) for one in fits)]
    found = [Path(folder, each) for each in fitting[-_LOOKED_AT:]]
    try:
        return sorted((one for one in found if one.is_file()), key=lambda one: one.stat().st_mtime)[-1:]
    except OSError:  # a name that is too long, or a file that rotation takes away just now
        return []


def _names_in(folder: str) -> list[str]:
    """Sorted; a bounded part of a folder that an account holder has filled with names without end."""
    try:
        with os.scandir(folder) as found:
            return sorted(entry.name for entry in islice(found, _NAMES_READ))
    except OSError:
        return []


def _hiding(tree: ConfigTree) -> Directive | None:
    line = tree.last("LogLevel")
    return line if line and _ssl_level(line.value) in _HIDING else None


def _hiding_vhosts(tree: ConfigTree) -> tuple[Directive, ...]:
    """The last LogLevel of each virtual host, where it hides; a value of its own keeps nothing of the server's."""
    lines = (line for line in tree.directives if line.name == "LogLevel" and line.vhost and line.certain)
    last = {line.vhost: line for line in lines}
    return tuple(line for line in last.values() if _ssl_level(line.value) in _HIDING)


def _ssl_level(value: str) -> str:
    """The level that holds for mod_ssl in `LogLevel warn ssl:crit`."""
    general, own = "warn", ""
    for word in value.lower().split():
        module, colon, level = word.rpartition(":")
        if not colon:
            general = level
        elif module in ("ssl", "mod_ssl.c", "ssl_module"):
            own = level
    return own or general
