"""Reads certificate files (key, certificate, chain) as Apache does; many at once are shared between two processes.

What reading costs is bounded: the cheapest account comes first, so nobody's files keep others' from being read.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from itertools import chain as chained
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from ocsp_stapling import files
from ocsp_stapling.ocsp.certificate import Certificate, Leaf, Named, parse, read_pem_chain, scan
from ocsp_stapling.ocsp.issuer import issuer_of, name_hash
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.certificate_memory import (
    NOT_READ,
    CertificateReading,
    Entry,
    Pair,
    Tag,
    Tags,
    tag_of,
    tags_of,
)

_Read = TypeVar("_Read")
MAX_FILE_BYTES = 8 << 20
MAX_CHAIN = 64
MAX_CHAIN_BYTES = 256 << 10
"""Certificates beside the leaf in one file, and their bytes; with more (real ones have four, of 2 KiB each) it counts
as unreadable, which is said and forbids OK."""
_MOST_OF_ONE_HASH = 20
_CACHED_CHAIN_BYTES = 32 << 10
_SHARE_FROM = 1000  # files; below that a second process costs more than it saves
_SECONDS, _SECONDS_A_FILE, _SECONDS_A_BYTE = 1.0, 0.0005, 1e-8
"""What reading may cost: ordinary files take a fifth of their own share. Time of the processor, so that a busy
machine reads them all the same; a byte counts for what a slow disk would take."""


def certificates_in(path: Path) -> tuple[bytes, ...]:
    """Return the DER of the certificates in a file; a private key in it is skipped. Raises OSError, ValueError."""
    return read_pem_chain(_content(str(path))[0])


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


def named_for_issuer(certificate: Path, directory: Path) -> list[Path]:
    """Return the files of an SSLCACertificatePath in which OpenSSL looks for a certificate's issuer.

    They are called by the hash of its name: `HASH.0`, `HASH.1` and so on (X509_LOOKUP_hash_dir(3)).
    """
    try:
        called = name_hash(scan(certificates_in(certificate)[0]).named.name)
    except (OSError, ValueError, IndexError, Problem):
        return []
    files = (directory / f"{called}.{number}" for number in range(_MOST_OF_ONE_HASH))
    return list(takewhile(os.path.exists, files))


def read_all(pairs: Sequence[Pair], owners: Mapping[Pair, str]) -> dict[Pair, Entry]:
    """Read files, in two processes where that pays and is safe (a process with threads must not fork).

    One whose turn does not come within the bound has the problem NOT_READ and no tags: the next look goes on there.
    """
    cores = len(os.sched_getaffinity(0))
    accounts = by_account(pairs, owners)
    if len(pairs) < _SHARE_FROM or cores < 2 or threading.active_count() > 1:
        return _read_in_turn(accounts)
    # Dealt out file by file: half of each account's for each process.
    mine, others = [each[::2] for each in accounts], [each[1::2] for each in accounts]
    pipe, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(writer, others)
    os.close(writer)
    found = _read_in_turn(mine)
    with os.fdopen(pipe, "rb") as file:
        answer = file.read()
    if os.waitpid(child, 0)[1] != 0:  # the helper was killed: its half is read here
        return found | _read_in_turn(others)
    theirs = marshal.loads(answer)  # noqa: S302 - our own child's
    return found | {pair: (tags, CertificateReading(*row)) for pair, tags, row in theirs}


def by_account(pairs: Sequence[Pair], owners: Mapping[Pair, str]) -> list[list[Pair]]:
    """Return the files of each account together."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(owners.get(pair, ""), []).append(pair)
    return list(found.values())


def _read_in_turn(accounts: Sequence[Sequence[Pair]]) -> dict[Pair, Entry]:
    """Next is always a file of the account whose files have cost least by now."""
    found = read_in_turn(accounts, _read, lambda entry: sum(size for _, size, _ in entry[0]))
    unread: Entry = (), CertificateReading(problem=NOT_READ)
    return {pair: found.get(pair, unread) for pair in chained.from_iterable(accounts)}


def read_in_turn(
    accounts: Sequence[Sequence[Pair]], read: Callable[[Pair], _Read], size: Callable[[_Read], int]
) -> dict[Pair, _Read]:
    """Return what `read` makes of each file, without those whose turn does not come; `size` is in bytes."""
    found: dict[Pair, _Read] = {}
    bound = _SECONDS + _SECONDS_A_FILE * sum(map(len, accounts))
    spent, turns = 0.0, [(0.0, number, 0) for number, pairs in enumerate(accounts) if pairs]
    while turns and spent < bound:
        cost, number, at = heappop(turns)
        pair, began = accounts[number][at], time.thread_time()
        made = found[pair] = read(pair)
        took = time.thread_time() - began + _SECONDS_A_BYTE * size(made)
        spent += took
        if at + 1 < len(accounts[number]):
            heappush(turns, (cost + took, number, at + 1))
    return found


def _answer(writer: int, accounts: Sequence[Sequence[Pair]]) -> NoReturn:
    """The helper process: write the entries and leave without running anything of the parent's."""
    status = 1
    try:
        with os.fdopen(writer, "wb") as file:
            read = _read_in_turn(accounts).items()
            file.write(marshal.dumps([(pair, tags, tuple(reading)) for pair, (tags, reading) in read]))
        status = 0
    finally:
        os._exit(status)


def _read(pair: Pair) -> Entry:
    tags: Tags = ()
    try:
        content, tag = _content(pair[0])
        tags = (tag,)
        leaf, *chain = read_pem_chain(content)
        if len(chain) > MAX_CHAIN or sum(map(len, chain)) > MAX_CHAIN_BYTES:
            return tags, CertificateReading(problem="certificate-unreadable")
        if pair[1]:
            tags = tags_of(pair)
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
        _issuer_key(leaf.named, chain),
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
        return os.read(descriptor, found.st_size), tag_of(found)
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


def _issuer_key(named: Named, chain: tuple[bytes, ...]) -> str:
    """Thousands of certificates share one chain; one that is oddly large is not kept in memory."""
    small = sum(map(len, chain)) <= _CACHED_CHAIN_BYTES
    return (_known_issuer_key if small else _find_issuer_key)(named, chain)


def _find_issuer_key(named: Named, chain: tuple[bytes, ...]) -> str:
    """Raises ValueError where it may be the one that cannot be read: Apache may know better."""
    known = [certificate for der in chain if (certificate := _parsed(der))]
    found = issuer_of(_Wanted(named), known)
    if found is None and len(known) < len(chain):
        raise ValueError("a chain that cannot be read")
    return hashlib.sha256(found.public_key).hexdigest()[:32] if found else ""


_known_issuer_key = lru_cache(maxsize=1024)(_find_issuer_key)


def _parsed(der: bytes) -> Certificate | None:
    try:
        return parse(der)
    except Problem:
        return None
