"""Certificate files by the thousand: what each says, remembered until the file changes. Keys are never kept.

A cPanel server has thousands of combined files (key, certificate, chain). Each is read once; afterwards a stat
call tells that it is still the same. A first reading of many is shared between two processes.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import stat
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ocsp_stapling import files
from ocsp_stapling.ocsp.certificate import Certificate, Leaf, Named, issuer_of, parse, read_pem_chain, scan
from ocsp_stapling.problem import Problem

CACHE_NAME = "certificates.json"
MAX_FILE_BYTES = 8 << 20
MAX_CACHE_BYTES = 64 << 20
MAX_CHAIN = 64
"""Certificates beside the leaf in one file; with more it counts as unreadable, which is said and forbids OK."""
_CACHED_CHAIN_BYTES = 32 << 10
_VERSION = 2
_SHARE_FROM = 1000  # files; below that a second process costs more than it saves

Pair = tuple[str, str]
"""A certificate file and its chain file ("" if the chain stands in the same file)."""
Tag = tuple[int, int, int]
"""inode, size, mtime in nanoseconds."""
Tags = tuple[Tag, ...]
"""Of the files of a pair; empty if unknown: then nothing is remembered."""


class CertificateReading(NamedTuple):
    """What the certificate in a file says. With `problem` (a code) everything else is empty."""

    issuer: str = ""
    organization: str = ""
    ocsp_urls: tuple[str, ...] = ()
    must_staple: bool = False
    self_signed: bool = False
    chain_complete: bool = False
    """The issuer is in the file or in the chain file, so Apache can ask for a staple (else AH02217)."""
    problem: str = ""
    not_after: int = 0
    """Seconds since the epoch."""


Entry = tuple[Tags, CertificateReading]


class CertificateFiles:
    """Reads certificate files; remembers them in the state directory if it may."""

    def __init__(self, state_directory: Path | None) -> None:
        self._path = state_directory / CACHE_NAME if state_directory else None

    def read(self, pairs: Iterable[Pair]) -> dict[Pair, CertificateReading]:
        """Return what each file says; a file that cannot be read has a `problem`, nothing is raised."""
        wanted = dict.fromkeys(pairs)
        known = _load(self._path) if self._path else {}
        same = {pair: known[pair] for pair in wanted if pair in known and known[pair][0] == _tags(pair)}
        missing = [pair for pair in wanted if pair not in same]
        entries = same | dict(zip(missing, _read_all(missing), strict=True))
        if self._path and (missing or len(known) > len(wanted)):
            _store(self._path, entries)
        return {pair: entries[pair][1] for pair in wanted}


def certificates_in(path: Path) -> tuple[bytes, ...]:
    """Return the DER of the certificates in a file; a private key in it is skipped. Raises OSError, ValueError."""
    with os.fdopen(files.open_regular(path), "rb") as file:
        return read_pem_chain(file.read(MAX_FILE_BYTES))


def key_kind(path: Path) -> str:
    """Return `rsa` or `ecdsa`, the kind of key in a file's first certificate, "" if it is another or unreadable."""
    from cryptography import x509  # it loads slowly, and few servers have two kinds side by side
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    try:
        key = x509.load_der_x509_certificate(read_pem_chain(_content(str(path))[0])[0]).public_key()
    except (OSError, ValueError, IndexError):
        return ""
    return (
        "rsa" if isinstance(key, RSAPublicKey) else "ecdsa" if isinstance(key, EllipticCurvePublicKey) else ""
    )


# --- reading ---


def _read_all(pairs: Sequence[Pair]) -> list[Entry]:
    """Read files, in two processes where that pays and is safe (a process with threads must not fork)."""
    cores = len(os.sched_getaffinity(0))
    if len(pairs) < _SHARE_FROM or cores < 2 or threading.active_count() > 1:
        return list(map(_read, pairs))
    middle = len(pairs) // 2
    pipe, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(writer, pairs[middle:])
    os.close(writer)
    mine = list(map(_read, pairs[:middle]))
    with os.fdopen(pipe, "rb") as file:
        answer = file.read()
    if os.waitpid(child, 0)[1] != 0:  # the helper was killed: its half is read here
        return mine + list(map(_read, pairs[middle:]))
    return mine + [(tags, CertificateReading(*row)) for tags, row in marshal.loads(answer)]  # noqa: S302 - our own child's


def _answer(writer: int, pairs: Sequence[Pair]) -> NoReturn:
    """The helper process: write the entries and leave without running anything of the parent's."""
    status = 1
    try:
        with os.fdopen(writer, "wb") as file:
            file.write(marshal.dumps([(tags, tuple(reading)) for tags, reading in map(_read, pairs)]))
        status = 0
    finally:
        os._exit(status)


def _read(pair: Pair) -> Entry:
    tags: Tags = ()
    try:
        content, tag = _content(pair[0])
        tags = (tag,)
        leaf, *chain = read_pem_chain(content)
        if len(chain) > MAX_CHAIN:
            return tags, CertificateReading(problem="certificate-unreadable")
        if pair[1]:
            tags = _tags(pair)
            chain += _chain_file(pair[1], tags[1:])
        return tags, _summary(scan(leaf), tuple(chain))
    except FileNotFoundError:
        return (), CertificateReading(problem="certificate-missing")
    except (OSError, ValueError, Problem):
        return tags, CertificateReading(problem="certificate-unreadable")


def _summary(leaf: Leaf, chain: tuple[bytes, ...]) -> CertificateReading:
    return CertificateReading(
        leaf.issuer,
        leaf.issuer_organization,
        leaf.ocsp_urls,
        leaf.must_staple,
        leaf.self_signed,
        _has_issuer(leaf.named, chain),
        "",
        int(leaf.not_after.timestamp()),
    )


def _content(path: str) -> tuple[bytes, Tag]:
    """The bytes of a file and its tag, both from the same open file."""
    descriptor = files.open_regular(path)
    try:
        found = os.fstat(descriptor)
        if found.st_size > MAX_FILE_BYTES:
            raise OSError("no file of sensible size")
        return os.read(descriptor, found.st_size), _tag(found)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=256)
def _chain_file(path: str, _as_of: Tags) -> tuple[bytes, ...]:
    """A chain file that cannot be read counts as empty: the chain is then incomplete."""
    try:
        return read_pem_chain(_content(path)[0])
    except (OSError, ValueError):
        return ()


class _Wanted(NamedTuple):
    """What an issuer is looked for by."""

    named: Named


def _has_issuer(named: Named, chain: tuple[bytes, ...]) -> bool:
    """Thousands of certificates share one chain; one that is oddly large is not kept in memory."""
    small = sum(map(len, chain)) <= _CACHED_CHAIN_BYTES
    return (_knows_issuer if small else _finds_issuer)(named, chain)


def _finds_issuer(named: Named, chain: tuple[bytes, ...]) -> bool:
    known = [certificate for der in chain if (certificate := _parsed(der))]
    return issuer_of(_Wanted(named), known) is not None


_knows_issuer = lru_cache(maxsize=1024)(_finds_issuer)


def _parsed(der: bytes) -> Certificate | None:
    try:
        return parse(der)
    except Problem:
        return None


# --- remembering ---


def _tags(pair: Pair) -> Tags:
    """The tags of the files as they are now; empty if one cannot be looked at."""
    try:
        return tuple(_tag(os.stat(path)) for path in pair if path)  # noqa: PTH116 - a str, by the thousand
    except (OSError, ValueError):
        return ()


def _tag(found: os.stat_result) -> Tag:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _load(path: Path) -> dict[Pair, Entry]:
    """The remembered readings; a missing, foreign or damaged file means none."""
    try:
        if not _ours(path):
            return {}
        document = json.loads(path.read_bytes())
        if document["version"] != _VERSION:
            return {}
        kinds = [_reading([*row, 0]) for row in document["kinds"]]
        return dict(_remembered(document["files"], kinds))
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return {}


def _ours(path: Path) -> bool:
    """What root shows must not come from a file that others can write."""
    found = path.lstat()
    safe = found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return safe and stat.S_ISREG(found.st_mode) and found.st_size <= MAX_CACHE_BYTES


def _remembered(
    files: Iterable[Sequence[Any]], kinds: Sequence[CertificateReading]
) -> Iterable[tuple[Pair, Entry]]:
    for certificate, chain, kind, not_after, *numbers in files:
        inode, size, mtime, *more = numbers
        tags: Tags = ((inode, size, mtime),)
        if more:
            tags = (*tags, (more[0], more[1], more[2]))
        yield (str(certificate), str(chain)), (tags, kinds[kind]._replace(not_after=int(not_after)))


def _reading(row: Sequence[Any]) -> CertificateReading:
    issuer, organization, urls, must_staple, self_signed, complete, problem, not_after = row
    return CertificateReading(
        str(issuer),
        str(organization),
        tuple(map(str, urls)),
        bool(must_staple),
        bool(self_signed),
        bool(complete),
        str(problem),
        int(not_after),
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
        _replace(path, json.dumps(document, separators=(",", ":")))


def _replace(path: Path, text: str) -> None:
    import tempfile  # it brings a third of this module's loading time along, for a rare write

    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
