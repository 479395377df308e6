"""Files that matter: read with a tag, replaced whole or not at all, never over somebody else's change."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.problem import Problem, reason_of

SIZE_LIMIT = 64 * 1024 * 1024
ROOT_ONLY = 0o600
_EXCHANGE = 2  # RENAME_EXCHANGE, renameat2(2)
_AT_FDCWD = -100


@dataclass(frozen=True)
class Tag:
    """What a file was when somebody looked: any write, replacement, chmod or chown makes another tag."""

    inode: int
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int

    @staticmethod
    def of(found: os.stat_result) -> Tag:
        """Return the tag of a stat result; `mode` holds the permission bits only."""
        mode = stat.S_IMODE(found.st_mode)
        return Tag(found.st_ino, found.st_size, found.st_mtime_ns, mode, found.st_uid, found.st_gid)


@dataclass(frozen=True)
class Snapshot:
    """A file as it was: its real path (links resolved), its bytes (None: there was no file) and its tag."""

    path: Path
    content: bytes | None
    tag: Tag | None


class NotRegularError(OSError):
    """What stands there is a directory, a device, a pipe or a socket."""

    def __init__(self) -> None:
        super().__init__(errno.EINVAL, "it is not a regular file")


def open_regular(path: Path | str, follow: bool = True) -> int:
    """Return a descriptor from which a regular file is read; `follow`: a symbolic link may stand there.

    Looked at before it is opened, with nothing between: opening a device can act on it, opening a pipe can wait.
    Raises OSError, NotRegularError among them, and ValueError for a path with a NUL in it.
    """
    seen = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        if not stat.S_ISREG(os.fstat(seen).st_mode):
            raise NotRegularError
        return os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(seen)


def snapshot(path: Path) -> Snapshot:
    """Return what is at `path`; a symbolic link is followed to the file that a writer must replace.

    Raises Problem `file-unreadable` (not a regular file, no permission, an I/O error), `file-too-large`,
    or `unsafe-path` when somebody other than root could exchange the file.
    """
    real = _resolved(path)
    refuse_unsafe_directory(real)
    try:
        with _opened(real) as descriptor:
            found = os.fstat(descriptor)
            _refuse_oversized(real, found)
            return Snapshot(real, _read_all(descriptor, found.st_size), Tag.of(found))
    except FileNotFoundError:
        return Snapshot(real, None, None)
    except OSError as error:
        raise _unreadable(path, error) from error


def replace(old: Snapshot, content: bytes, mode: int = ROOT_ONLY) -> Tag:
    """Make `content` the file's bytes in one step that survives a crash, and return the new tag.

    Owner, mode and security labels are carried over (a new file gets `mode`, root:root). Raises Problem
    `changed-meanwhile` if the file is no longer what `old` says - nothing is changed then - or `write-failed`.
    """
    temporary = _temporary(old.path)
    try:
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(_discard, temporary)
            tag = _write_beside(old, content, temporary, mode)
            _refuse_changed(old)
            if old.tag is None:
                _link_new(temporary, old.path)
            else:
                _exchange(old, temporary, tag)
            sync_directory(old.path.parent)
        return tag
    except OSError as error:
        raise Problem(
            "write-failed",
            f"{old.path} could not be written ({error.strerror or error}). "
            "Free space or mend the file system, then try again.",
        ) from error


def write_own(path: Path, data: bytes, mode: int = ROOT_ONLY) -> None:
    """Write a file of our own beside and rename it, so that a reader never sees half; its directory must be there.

    Of writers side by side the last one to end stays. Raises OSError.
    """
    import tempfile  # it takes long to load, for a rare write

    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            # On the open file: its directory may be another user's, who could swap the name for a link.
            os.fchmod(file.fileno(), mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def make_directories(directory: Path) -> None:
    """Make a directory and those above it that are missing. Raises Problem `write-failed`."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise Problem("write-failed", f"{directory} could not be made ({error.strerror}).") from error


def remove(old: Snapshot) -> None:
    """Remove the file if it is still what `old` says. Raises Problem `changed-meanwhile` or `write-failed`."""
    _refuse_changed(old)
    try:
        old.path.unlink(missing_ok=True)
        if old.tag is not None:
            sync_directory(old.path.parent)
    except OSError as error:
        raise Problem("write-failed", f"{old.path} could not be removed ({error.strerror}).") from error


def leftover(path: Path) -> bytes | None:
    """Return the bytes of the temporary file that a killed `replace` left beside `path`, None if there is none."""
    return snapshot(_temporary(_resolved(path))).content


def discard_leftover(path: Path) -> None:
    """Remove the temporary file that a killed `replace` may have left beside `path`."""
    with contextlib.suppress(OSError):
        _discard(_temporary(_resolved(path)))


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise Problem(
            "file-unreadable", f"{path} cannot be followed to a file: {reason_of(error)}."
        ) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = open_regular(path, follow=False)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, size: int) -> bytes:
    chunks = []
    while chunk := os.read(descriptor, max(size, 65536)):
        chunks.append(chunk)
    return b"".join(chunks)


def _refuse_oversized(path: Path, found: os.stat_result) -> None:
    if found.st_size > SIZE_LIMIT:
        raise Problem("file-too-large", f"{path} has {found.st_size} bytes; that is no configuration file.")


def refuse_unsafe_directory(path: Path) -> None:
    """Refuse to write at `path` as root where another user can swap names: in its directory or one above.

    Above, a directory of everybody's is fine where nobody can rename what is another's (sticky, as /tmp).
    Raises Problem `unsafe-path`, or `file-unreadable`.
    """
    if os.geteuid() != 0:
        return
    there = [
        directory for directory in path.parents if directory.exists()
    ]  # what is missing, these decide on
    for directory in there:
        try:
            found = directory.stat()
        except OSError as error:
            raise _unreadable(directory, error) from error
        sticky = found.st_mode & stat.S_ISVTX and directory != there[0]
        by_others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0)
        if found.st_uid != 0 or (by_others and not sticky):
            raise Problem(
                "unsafe-path",
                f"{directory} can be written by others than root, so {path.name} in it was not touched. "
                "Give the directory to root with mode 755.",
            )


def _unreadable(path: Path, error: OSError) -> Problem:
    return Problem("file-unreadable", f"{path} cannot be read ({error.strerror or error}).")


def _refuse_changed(old: Snapshot) -> None:
    try:
        now = Tag.of(old.path.lstat())
    except FileNotFoundError:
        now = None
    if now != old.tag:
        raise changed_meanwhile(old.path)


def changed_meanwhile(path: Path) -> Problem:
    """Return the refusal to write over a change that somebody made since the file was read."""
    return Problem(
        "changed-meanwhile",
        f"{path} was changed by somebody else in the meantime and was left as it is. Look at it, then try again.",
    )


def _temporary(path: Path) -> Path:
    # Always the same name, so that recovery finds it; the caller's lock makes sure that nobody else writes it.
    # No .conf at the end and a dot before: no wildcard of Apache reads it.
    return path.with_name(f".{path.name}.ocsp-stapling-new")


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _write_beside(old: Snapshot, content: bytes, temporary: Path, mode: int) -> Tag:
    _discard(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if old.tag is not None:
            _carry_labels(old.path, descriptor)
            os.fchown(descriptor, old.tag.uid, old.tag.gid)
        os.fchmod(descriptor, old.tag.mode if old.tag else mode)
        os.fsync(descriptor)
        return Tag.of(os.fstat(descriptor))


def _carry_labels(path: Path, descriptor: int) -> None:
    """Copy extended attributes (the SELinux label is one); a file system without them has none to lose."""
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(path, name))


def _link_new(temporary: Path, path: Path) -> None:
    """Give the finished file its name unless somebody made one there first."""
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise changed_meanwhile(path) from error
    _discard(temporary)


def _exchange(old: Snapshot, temporary: Path, tag: Tag) -> None:
    """Swap the new file with the old one, then prove that the old one is what we read and nobody writes it.

    A check before a rename leaves a gap in which another writer's bytes could be lost. After a swap the old
    file is still there, under the temporary name: if it changed, or anybody holds it open (a lease is refused
    then), it goes back.
    """
    if not _swap(temporary, old.path):
        os.replace(temporary, old.path)  # noqa: PTH105 - a file system without exchange: check, then rename
        return
    try:
        untouched = _unwritten(temporary, old.tag)
    except OSError:
        untouched = False
    if untouched:
        return
    # Back again - unless somebody already wrote the new file too: then the last writer's word stands.
    if Tag.of(old.path.lstat()) == tag:
        _swap(temporary, old.path)
    raise changed_meanwhile(old.path)


def _unwritten(path: Path, expected: Tag | None) -> bool:
    with _opened(path) as descriptor:
        if Tag.of(os.fstat(descriptor)) != expected:
            return False
        try:
            # A read lease is granted only while nobody has the file open for writing.
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
        return Tag.of(os.fstat(descriptor)) == expected


def _swap(one: Path, other: Path) -> bool:
    """Exchange two names atomically (renameat2, Linux 3.15); False where the file system cannot."""
    import ctypes  # for who writes, not for who reads

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))
