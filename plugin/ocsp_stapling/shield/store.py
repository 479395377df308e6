"""The kept answers: one file a certificate, written whole or not at all, damaged ones ignored and named.

Standard library alone, for the relay reads it too. What is kept is public: anybody can ask for it.

A file holds a line `OCSP1`, a line of JSON (cert_id, this_update, next_update, until, status, url, digest) and the
answer (DER). `cert_id` is the SHA-1 CertID that mod_ssl asks with, in hexadecimal: name hash, key hash, serial.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

MAX_ANSWER_BYTES = 10_239
"""mod_ssl keeps no larger answer, so it would ask again at each handshake."""
MAX_FILE_BYTES = 16 * 1024
_MAGIC = b"OCSP1\n"
_SUFFIX = ".ocsp"
_DIRECTORY_MODE = 0o755


@dataclass(frozen=True)
class Kept:
    """One answer, verified when it was stored. Times are seconds since the epoch."""

    cert_id: str
    answer: bytes
    this_update: int
    next_update: int | None
    until: int
    """Until when it may be handed out."""
    status: str
    """`good` or `revoked`."""
    url: str
    """The responder that gave it, as much of it as a sentence can hold."""


class Damaged(ValueError):  # noqa: N818 - what the file is
    """The file is no kept answer, or not as it was written."""


def name_of(cert_id: str) -> str:
    """Return the file name for a CertID."""
    return hashlib.sha256(cert_id.encode()).hexdigest()[:40] + _SUFFIX


def read(path: Path) -> Kept:
    """Return the answer in a file. Raises Damaged, or OSError if it cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    head, _, answer = data.removeprefix(_MAGIC).partition(b"\n")
    if not data.startswith(_MAGIC) or len(data) > MAX_FILE_BYTES or not answer:
        raise Damaged(f"{path.name} holds no kept answer")
    try:
        facts = json.loads(head)
        digest = facts.pop("digest")
        kept = Kept(answer=answer, **facts)
        numbers = (kept.this_update, kept.until, kept.next_update or 0)
        whole = isinstance(kept.cert_id, str) and all(isinstance(number, int) for number in numbers)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path.name} cannot be understood") from error
    if not whole or digest != _digest(head_of(kept), answer) or name_of(kept.cert_id) != path.name:
        raise Damaged(f"{path.name} is not as it was written")
    return kept


def head_of(kept: Kept) -> str:
    """Return the facts as they are written, in one spelling."""
    facts = asdict(kept)
    del facts["answer"]
    return json.dumps(facts, sort_keys=True)


def _digest(head: str, answer: bytes) -> str:
    return hashlib.sha256(head.encode() + b"\n" + answer).hexdigest()


def write(directory: Path, kept: Kept, now: float | None = None) -> None:
    """Keep an answer: complete and on disk, or as it was before. The file's time says when (`now`).

    Raises OSError, ValueError for one too large.
    """
    if not 0 < len(kept.answer) <= MAX_ANSWER_BYTES:
        raise ValueError("the answer has no size that mod_ssl keeps")
    head = head_of(kept)
    facts = json.loads(head) | {"digest": _digest(head, kept.answer)}
    make_directory(directory)
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_MAGIC + json.dumps(facts, sort_keys=True).encode() + b"\n" + kept.answer)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            if now is not None:
                os.utime(file.fileno(), (now, now))
            os.fsync(file.fileno())
        os.replace(name, directory / name_of(kept.cert_id))  # noqa: PTH105 - a str
        _sync(directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make the directory that everybody may read and only we may write, whatever it was before.

    The mode is set, for a umask (the watch's, a hardened shell's) would keep the relay out. Raises OSError, also for
    what is no directory.
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            os.fchown(descriptor, os.geteuid(), os.getegid())
        if found.st_mode & 0o7777 != _DIRECTORY_MODE:
            os.fchmod(descriptor, _DIRECTORY_MODE)
    finally:
        os.close(descriptor)


def entries(directory: Path) -> Iterator[Path]:
    """Yield the files of kept answers; none if there is no such directory."""
    with contextlib.suppress(OSError), os.scandir(directory) as listing:
        for item in listing:
            if item.name.endswith(_SUFFIX) and item.is_file(follow_symlinks=False):
                yield Path(item.path)


def stored_at(directory: Path, kept: Kept) -> float:
    """Return when an answer was kept (seconds since the epoch); 0 if its file is gone."""
    try:
        return (directory / name_of(kept.cert_id)).stat().st_mtime
    except OSError:
        return 0.0


def load(directory: Path) -> tuple[dict[str, Kept], tuple[str, ...]]:
    """Return all kept answers by CertID, and what is wrong with the files that hold none."""
    found: dict[str, Kept] = {}
    damaged = []
    for path in entries(directory):
        try:
            kept = read(path)
        except Damaged as error:
            damaged.append(str(error))
        except OSError as error:
            damaged.append(f"{path.name} cannot be read ({error.strerror})")
        else:
            found[kept.cert_id] = kept
    return found, tuple(damaged)


def discard_ended(directory: Path, wanted: set[str], now: float) -> int:
    """Remove what has ended about certificates that are not served any more, and what a killed writer left.

    What is still valid stays: a certificate may be missing from the configuration for a moment only.
    """
    names = {name_of(cert_id) for cert_id in wanted}
    gone = 0
    with contextlib.suppress(OSError), os.scandir(directory) as listing:
        for item in listing:
            left_over = item.name.startswith(".new-")
            unknown = item.name.endswith(_SUFFIX) and item.name not in names
            if left_over or (unknown and _ended(Path(item.path), now)):
                with contextlib.suppress(OSError):
                    os.unlink(item.path)  # noqa: PTH108
                    gone += 1
    return gone


def _ended(path: Path, now: float) -> bool:
    try:
        return read(path).until <= now
    except Damaged:
        return True
    except OSError:
        return False
