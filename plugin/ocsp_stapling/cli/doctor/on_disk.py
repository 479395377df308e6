"""Checks of what lies on the disk: the release, the files it has elsewhere, settings, state, Python."""

from __future__ import annotations

import filecmp
import hashlib
import importlib
import importlib.metadata
import os
import re
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ocsp_stapling import __version__
from ocsp_stapling.cli.doctor.check import FAILED, INSTALL_AGAIN, OK, WARNING, DoctorCheck, Places
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import DEFAULT_PATH, Settings, load

_JOURNAL = "journal.sqlite"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.M)
_COMPILED = ("cryptography.hazmat.bindings._rust", "markupsafe", "_cffi_backend")
_SHOWN = 3  # how many paths a sentence names
_SPACE_NEEDED = 64 * 1024 * 1024  # bytes, for a backup of every include and the history


def release(places: Places) -> DoctorCheck:
    """Does this run from the installed, unchanged release?"""
    current = (places.home / "current").resolve()
    if current != places.release.resolve():
        return DoctorCheck(
            "release",
            FAILED,
            f"This command runs from {places.release}, not from the installed release ({places.home}/current).",
            "Install the plugin with install.sh, then use /usr/local/sbin/ocsp-stapling.",
        )
    spoilt = sorted(_changed(places.release))
    if spoilt:
        return DoctorCheck(
            "release", FAILED, f"Files of the release were changed: {_few(spoilt)}.", INSTALL_AGAIN
        )
    return DoctorCheck(
        "release", OK, f"Version {__version__} in {current}, unchanged since it was installed."
    )


def _changed(directory: Path) -> Iterator[str]:
    """The files that are not as the manifest (sha256sum's format) says."""
    try:
        lines = (directory / "manifest").read_text().splitlines()
    except OSError:
        yield "manifest"
        return
    for line in lines:
        digest, _, name = line.partition("  ")
        try:
            found = hashlib.sha256((directory / name).read_bytes()).hexdigest()
        except OSError:
            found = ""
        if found != digest:
            yield name.removeprefix("./")


def python(places: Places) -> DoctorCheck:
    """Is every pinned package there in its version, and does its machine code fit this Python?"""
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        pinned = _PIN.findall((places.release / "plugin/requirements.lock").read_text())
        wrong = [name for name, wanted in pinned if importlib.metadata.version(name) != wanted]
        for module in _COMPILED:
            importlib.import_module(module)
    except (ImportError, OSError) as error:
        return DoctorCheck("python", FAILED, f"Python {version} lacks a package: {error}", INSTALL_AGAIN)
    if wrong:
        return DoctorCheck("python", FAILED, f"Other versions than pinned: {_few(wrong)}.", INSTALL_AGAIN)
    return DoctorCheck("python", OK, f"Python {version} with {len(pinned)} packages of its own.")


def files(places: Places) -> DoctorCheck:
    """Is every file that the release has elsewhere in place, as it was, root's own?"""
    found = list(_listed(places.files))
    wrong = sorted(f"{places.root / path}" for path in found if not _same(places, path))
    if wrong:
        return DoctorCheck(
            "files", FAILED, f"Missing, changed or not root's own: {_few(wrong)}.", INSTALL_AGAIN
        )
    return DoctorCheck("files", OK, f"All {len(found)} files are in place.")


def _listed(tree: Path) -> Iterator[Path]:
    for path in tree.rglob("*"):
        if path.is_symlink() or path.is_file():
            yield path.relative_to(tree)


def _same(places: Places, path: Path) -> bool:
    wanted, there = places.files / path, places.root / path
    try:
        if wanted.is_symlink():
            return there.is_symlink() and wanted.readlink() == there.readlink()
        mine, other = wanted.lstat(), there.lstat()
    except OSError:
        return False
    alike = (mine.st_mode, mine.st_uid, mine.st_gid) == (other.st_mode, other.st_uid, other.st_gid)
    return alike and filecmp.cmp(wanted, there, shallow=False)


def configuration(places: Places) -> DoctorCheck:
    """Can the settings be read, and could only root have written them?"""
    try:
        load()
    except Problem as problem:
        return DoctorCheck("configuration", FAILED, problem.sentence, f"Edit {DEFAULT_PATH}.")
    path = places.root / DEFAULT_PATH.relative_to("/")
    if not path.exists():
        return DoctorCheck(
            "configuration", WARNING, f"{path} is missing, so every default holds.", INSTALL_AGAIN
        )
    return DoctorCheck("configuration", OK, f"{path} is understood.")


def state(settings: Settings) -> DoctorCheck:
    """Is the state directory root's alone, is there room in it, can the history be read?"""
    directory = settings.state_directory
    try:
        found = directory.lstat()
    except OSError:
        return DoctorCheck("state", FAILED, f"{directory} is missing.", INSTALL_AGAIN)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or stat.S_IMODE(found.st_mode) & 0o077:
        mend = f"chown root:root {directory} && chmod 700 {directory}"
        return DoctorCheck("state", FAILED, f"{directory} must be a directory of root with mode 700.", mend)
    space = os.statvfs(directory)
    if space.f_bavail * space.f_frsize < _SPACE_NEEDED:
        return DoctorCheck("state", FAILED, f"The disk of {directory} is nearly full.", "Make room on it.")
    return _history(directory / _JOURNAL) or DoctorCheck("state", OK, f"{directory} is root's alone.")


def _history(path: Path) -> DoctorCheck | None:
    """A fault of the history's database, None if there is none."""
    if not path.exists():
        return None
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)
        try:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        found = str(error)
    if found == "ok":
        return None
    mend = "Nothing to do: the next change keeps it aside and begins a new one."
    return DoctorCheck("state", WARNING, f"The history {path} is damaged: {found}.", mend)


def _few(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
