"""What the tests of install.sh and uninstall.sh share: release trees, wheels, what changed on a server's disk."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.machine import Machine, Shape
from tests.machine.boot import OVERLAID

REPO = Path(__file__).resolve().parents[2]
PARTS = ("plugin", "install.sh", "uninstall.sh", "whm_app.conf")
HOME = "/opt/ocsp-stapling"
SERVER = Shape(plugin=False, distribution="almalinux-10", sites=2)
# What a running server writes by itself.
RESTLESS = ("/var/log/", "/var/cache/", "/var/tmp/", "/etc/apache2/logs/", "/usr/local/cpanel/logs/")
Facts = dict[str, tuple[object, ...] | None]


class Kit:
    """Made once in a test session and shared by all its processes: a release tree, wheels, a built release."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tree, self.wheels, self.built = (directory / name for name in ("tree", "wheels", "built.tar"))
        with _alone(directory / "lock"):
            if not self.tree.exists():
                copy_tree(self.directory / "tree.new")
                _download(self.wheels)
                (self.directory / "tree.new").rename(self.tree)

    def install(
        self, machine: Machine, *options: str, tree: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the unmodified installer in the machine, as on a server without internet."""
        script = str((tree or self.tree) / "install.sh")
        return machine.run(script, "--wheelhouse", str(self.wheels), *options, check=False, timeout=300)

    def installed(self, machine: Machine) -> None:
        """Install what is built already, as a run does that repeats an interrupted one."""
        self.prebuilt(machine)
        done = self.install(machine)
        assert done.returncode == 0, done.stdout + done.stderr

    def prebuilt(self, machine: Machine) -> None:
        """Put the built release on the server's disk, as if a run had been interrupted just then."""
        with _alone(self.directory / "lock"):
            if not self.built.exists():
                self._build()
        machine.run("mkdir", "-p", HOME)
        machine.run("tar", "-xf", str(self.built), "-C", HOME)

    def _build(self) -> None:
        with Machine(SERVER) as maker:
            done = self.install(maker)
            assert done.returncode == 0, done.stdout + done.stderr
            maker.run("tar", "-cf", f"{self.built}.new", "-C", HOME, "releases")
        Path(f"{self.built}.new").rename(self.built)

    def changed(self, name: str, path: str, old: str, new: str) -> Path:
        """Return a release tree in which one file differs."""
        tree = self.directory / f"{name}-{os.getpid()}"
        shutil.copytree(self.tree, tree, symlinks=True)
        file = tree / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))
        return tree

    def newer(self, name: str = "newer") -> Path:
        """Return the tree of a later version."""
        return self.changed(name, "plugin/ocsp_stapling/__init__.py", '__version__ = "', '__version__ = "9.')


def copy_tree(target: Path) -> None:
    """Copy what a release consists of, so that work going on in this checkout does not change it half-way."""
    target.mkdir()
    for part in PARTS:
        source = REPO / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, target / part)


def _download(target: Path) -> None:
    lock = str(REPO / "plugin/requirements.lock")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    argv += ["--disable-pip-version-check", "--require-hashes", "--requirement", lock, "--dest", str(target)]
    subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- what changed on the disk --------------------------------------------------------------------------------


def facts(machine: Machine) -> Facts:
    """Everything that differs from this system's own disk: the machine's layers over it. None = taken away."""
    found: Facts = {}
    for name in OVERLAID:
        upper = machine.path(f"/mnt/{name}/upper")
        for directory, directories, files in os.walk(upper):
            for each in (*directories, *files):
                path = Path(directory, each)
                found[f"/{name}/{path.relative_to(upper)}"] = _describe(path)
    return found


def _describe(path: Path) -> tuple[object, ...] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        return None  # overlayfs's sign for "taken away"
    content: object = ""
    if stat.S_ISLNK(found.st_mode):
        content = str(path.readlink())
    if stat.S_ISREG(found.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return found.st_mode, found.st_uid, found.st_gid, content


def differences(before: Facts, after: Facts) -> list[str]:
    """The paths of a machine that are not as they were."""
    paths = sorted({path for path in (*before, *after) if not path.startswith(RESTLESS)})
    return [path for path in paths if _at(before, path) != _at(after, path)]


def _at(found: Facts, path: str) -> tuple[object, ...] | None:
    return found[path] if path in found else _describe(Path(path))
