"""Which files an Include names: wildcards, directories and order as in httpd (server/config.c)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice

MAX_DIRECTORY_DEPTH = 20  # httpd's AP_MAX_INCLUDE_DIR_DEPTH
MAX_FILES = 100_000  # more is a mistake such as `Include /`

Overlay = Mapping[str, bytes | None]
"""Files as they would be: absolute path -> content, or None for a file that would not exist."""


def expand(pattern: str, overlay: Overlay = {}) -> list[str]:  # noqa: B006 - never changed
    """Return the files that `Include pattern` reads, in httpd's order; `pattern` is absolute.

    Without a wildcard the path itself is returned even if it does not exist. A directory stands for every file
    below it, sorted by byte value. Raises OSError when a directory cannot be listed or holds too many files.
    """
    extra: dict[bytes, dict[bytes, bool]] = {}
    for path, content in overlay.items():
        directory, name = os.path.split(os.fsencode(path))
        extra.setdefault(directory, {})[name] = content is not None
    found = list(islice(_Expansion(extra).parts(os.fsencode(pattern).split(b"/")[1:], b"/"), MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise OSError(f"more than {MAX_FILES} files")
    return found


def has_wildcard(text: str) -> bool:
    """Say whether httpd takes it for a pattern (apr_fnmatch_test)."""
    return "*" in text or "?" in text or ("[" in text and "]" in text)


class _Expansion:
    """One expansion; `extra` tells by directory which names would be there (True) or gone (False)."""

    def __init__(self, extra: Mapping[bytes, Mapping[bytes, bool]]) -> None:
        self.extra = extra

    def parts(self, parts: list[bytes], base: bytes) -> Iterator[str]:
        """The files for the remaining components of a pattern below `base`."""
        part, rest = parts[0], parts[1:]
        if not has_wildcard(os.fsdecode(part)):
            path = os.path.join(base, part)  # noqa: PTH118 - bytes: names are matched and sorted by byte value
            yield from self.parts(rest, path) if rest else self.whole(path, 0)
            return
        matches = _matcher(part)
        for name in sorted(filter(matches, self.listed(base, missing_ok=True))):
            path = os.path.join(base, name)  # noqa: PTH118
            if not rest:
                yield from self.whole(path, 0)
            elif os.path.isdir(path):  # noqa: PTH112
                yield from self.parts(rest, path)

    def whole(self, path: bytes, depth: int) -> Iterator[str]:
        """The file, or every file below the directory."""
        if not os.path.isdir(path):  # noqa: PTH112
            yield os.fsdecode(path)
        elif depth < MAX_DIRECTORY_DEPTH:
            for name in sorted(self.listed(path)):
                yield from self.whole(os.path.join(path, name), depth + 1)  # noqa: PTH118

    def listed(self, directory: bytes, *, missing_ok: bool = False) -> list[bytes]:
        """The names in a directory, with the overlay's."""
        try:
            names = os.listdir(directory)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            if not missing_ok:
                raise
            names = []
        extra = self.extra.get(directory)
        if not extra:
            return names
        return [name for name in {*names, *extra} if extra.get(name, True)]


@lru_cache(maxsize=256)
def _matcher(pattern: bytes) -> Callable[[bytes], object]:
    try:
        return re.compile(_regex(pattern), re.DOTALL).fullmatch
    except re.error:  # a reversed range such as [z-a] matches nothing
        return lambda _name: None


def _regex(pattern: bytes) -> bytes:
    """apr_fnmatch with APR_FNM_PERIOD: a leading period must be matched by a period."""
    out, at = b"" if pattern.startswith((b".", b"\\.")) else rb"(?!\.)", 0
    while at < len(pattern):
        piece, at = _piece(pattern, at)
        out += piece
    return out


def _piece(pattern: bytes, at: int) -> tuple[bytes, int]:
    char = pattern[at : at + 1]
    if char == b"*":
        return b".*", at + 1
    if char == b"?":
        return b".", at + 1
    if char == b"\\" and at + 1 < len(pattern):
        return re.escape(pattern[at + 1 : at + 2]), at + 2
    found = re.compile(rb"\[([!^]?)((?:\\.|[^\]\\])(?:\\.|[^\]\\])*)\]", re.DOTALL).match(pattern, at)
    if found is None:
        return re.escape(char), at + 1
    body = re.sub(rb"([\[&~|^])", rb"\\\1", found[2])
    return b"[" + (b"^" if found[1] else b"") + body + b"]", found.end()
