"""What certificate files say, by the thousand, remembered until a file changes. Keys are never kept.

A cPanel server has thousands of combined files (key, certificate, chain). Each is read once; afterwards a stat
call tells that it is still the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ocsp_stapling import files

CACHE_NAME = "certificates.json"
MAX_CACHE_BYTES = 64 << 20
_VERSION = 3
NOT_READ = "certificate-not-read"
"""The problem of a file whose turn did not come: reading those of its account takes far longer than of others."""

Pair = tuple[str, str]
"""A certificate file and its chain file ("" if the chain stands in the same file)."""
Tag = tuple[int, int, int]
"""inode, size, ctime in nanoseconds: the time of the last write can be set back by whoever owns the file."""
Tags = tuple[Tag, ...]
"""Of the files of a pair; empty if unknown: then nothing is remembered."""


class CertificateReading(NamedTuple):
    """What the certificate in a file says. With `problem` (a code) everything else is empty."""

    issuer: str = ""
    organization: str = ""
    ocsp_urls: tuple[str, ...] = ()
    must_staple: bool = False
    self_signed: bool = False
    issuer_key: str = ""
    """Digest of the key of the issuer in the file or in the chain file; "" if there is none."""
    problem: str = ""
    not_after: int = 0
    """Seconds since the epoch."""

    @property
    def chain_complete(self) -> bool:
        """Whether the issuer was found, so that Apache can ask for a staple (else AH02217)."""
        return bool(self.issuer_key)


Entry = tuple[Tags, CertificateReading]
Reader = Callable[[Sequence[Pair], Mapping[Pair, str]], dict[Pair, Entry]]
"""Reads files, whose owners it is told."""
_Kind = tuple[str, str, tuple[str, ...], bool, bool, str, str]
"""What many certificates have alike: a reading without its end."""


class CertificateFiles:
    """What certificate files say: `read` reads them; they are remembered in the state directory if there is one."""

    def __init__(self, state_directory: Path | None, read: Reader) -> None:
        self._read = read
        self._path = state_directory / CACHE_NAME if state_directory else None

    def read(
        self, pairs: Iterable[Pair], owners: Mapping[Pair, str] | None = None
    ) -> dict[Pair, CertificateReading]:
        """Return what each file says; a file that cannot be read has a `problem`, nothing is raised.

        `owners` tells whose a file is: one account's files that take long to read keep nobody else's from it.
        """
        wanted = dict.fromkeys(pairs)
        known = _load(self._path) if self._path else {}
        same = {pair: known[pair] for pair in wanted if pair in known and known[pair][0] == tags_of(pair)}
        missing = [pair for pair in wanted if pair not in same]
        entries = same | self._read(missing, owners or {}) if missing else same
        # Files that are gone may stay a while: one look reads twice, first without the issuers found elsewhere.
        many_gone = len(known) > 2 * len(wanted)
        if self._path and (missing or many_gone):
            _store(self._path, entries if many_gone else known | entries)
        return {pair: entries[pair][1] for pair in wanted}


def tags_of(pair: Pair) -> Tags:
    """Return the tags of the files as they are now; empty if one cannot be looked at."""
    try:
        return tuple(tag_of(os.stat(path)) for path in pair if path)  # noqa: PTH116 - a str, by the thousand
    except (OSError, ValueError):
        return ()


def tag_of(found: os.stat_result) -> Tag:
    """Return the tag of a file that was looked at."""
    return found.st_ino, found.st_size, found.st_ctime_ns


def _load(path: Path) -> dict[Pair, Entry]:
    """The remembered readings; a missing, foreign or damaged file means none."""
    try:
        if not _ours(path):
            return {}
        document = json.loads(path.read_bytes())
        if document["version"] != _VERSION:
            return {}
        kinds = [_kind(row) for row in document["kinds"]]
        return dict(_remembered(document["files"], kinds))
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return {}


def _ours(path: Path) -> bool:
    """What root shows must not come from a file that others can write."""
    found = path.lstat()
    safe = found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return safe and stat.S_ISREG(found.st_mode) and found.st_size <= MAX_CACHE_BYTES


def _remembered(rows: Iterable[Sequence[Any]], kinds: Sequence[_Kind]) -> Iterable[tuple[Pair, Entry]]:
    for certificate, chain, kind, not_after, *numbers in rows:
        inode, size, ctime, *more = numbers
        tags: Tags = ((inode, size, ctime),)
        if more:
            tags = (*tags, (more[0], more[1], more[2]))
        yield (
            (str(certificate), str(chain)),
            (
                tags,
                CertificateReading._make((*kinds[kind], int(not_after))),
            ),
        )


def _kind(row: Sequence[Any]) -> _Kind:
    issuer, organization, urls, must_staple, self_signed, issuer_key, problem = row
    return (
        str(issuer),
        str(organization),
        tuple(map(str, urls)),
        bool(must_staple),
        bool(self_signed),
        str(issuer_key),
        str(problem),
    )


def _store(path: Path, entries: Mapping[Pair, Entry]) -> None:
    """Write the cache beside and rename it; where that fails (full disk, no root), there is none."""
    kinds: dict[tuple[Any, ...], int] = {}
    rows = [
        [
            *pair,
            kinds.setdefault(tuple(reading[:7]), len(kinds)),
            reading.not_after,
            *(n for tag in tags for n in tag),
        ]
        for pair, (tags, reading) in entries.items()
        if tags
    ]
    document = {"version": _VERSION, "kinds": list(kinds), "files": rows}
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        files.write_own(path, json.dumps(document, separators=(",", ":")).encode("ascii"))
