"""A newer Debian than this system's, in a directory that is gone afterwards, with this checkout set up in it.

    .venv/bin/python -m tests.machine.newer SUITE [PROGRAM ...]     (trixie, sid; without a program: a shell)

debootstrap makes the base system from the mirror that this system's own apt uses. What runs in it has its Python, its
Apache and its systemd, and this system's kernel and network; its mounts and processes end with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machine.machine import CLEAN

REPO = Path(__file__).resolve().parents[2]
CHECKOUT = "/srv/checkout"  # a place that a machine has neither for itself nor a layer over
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
LEFT_OUT = (
    ".git",
    ".venv",
    "build",
    "dist",
    "node_modules",
    "__pycache__",
    ".*_cache",
    "*.egg-info",
    "wheels",
)
# The root is exchanged, not only changed: whoever enters the namespace later (nsenter) is in the newer Debian, too.
ENTER = """set -e
mount --bind "$0" "$0"
mount -t proc proc "$0/proc"
mount --rbind /sys "$0/sys"
mount --rbind /dev "$0/dev"
for each in tmp run; do mount -t tmpfs -o mode=1777 newer "$0/$each"; done
cd "$0"
pivot_root . .
umount -l .
cd "$1"
shift
"$@"
"""
# Machines take the interpreters off their PATH; what .venv stands on must lie elsewhere, beneath the same prefix.
PYTHON = "/usr/lib/machine/python"
INTERPRETER = f'mkdir -p {Path(PYTHON).parent} && cp "$(readlink -f /usr/bin/python3)" {PYTHON}'
# What reaches the package index here does so there: pip's settings, and who is trusted.
AMBIENT = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy")
TRUST = Path("/etc/ssl/certs/ca-certificates.crt")


class NewerError(Exception):
    """The newer Debian could not be made; the text says why."""


def why_not_here() -> str:
    """Return why none can be made here in one sentence, or ""."""
    if os.geteuid() != 0:
        return "a newer Debian needs root"
    if not shutil.which("debootstrap", path=CLEAN["PATH"]):
        return "debootstrap is missing (the package of that name)"
    return "" if mirror() else "this system's apt names no Debian mirror"


def mirror() -> str:
    """Return where this system's apt has Debian itself from, "" if from nowhere."""
    wanted = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]
    try:
        listed = subprocess.run(wanted, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""
    found = (line.split() for line in listed.splitlines())
    return next((words[2] for words in found if words[:2] == ["Debian", "Debian"]), "")


@dataclass(frozen=True)
class Newer:
    """A Debian of another suite in a directory."""

    root: Path

    def run(
        self, *argv: str, timeout: float | None = None, captured: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in its checkout as root; what it prints comes back as one text unless not `captured`."""
        return subprocess.run(
            ["unshare", *NAMESPACES, "sh", "-c", ENTER, str(self.root), CHECKOUT, *argv],
            env=CLEAN | {k: v for k, v in os.environ.items() if k.startswith(AMBIENT)},
            stdin=subprocess.DEVNULL if captured else None,
            stdout=subprocess.PIPE if captured else None,
            stderr=subprocess.STDOUT if captured else None,
            text=True,
            timeout=timeout,
            check=False,
        )

    def must(self, *argv: str) -> str:
        """Run a program and return what it printed. Raises NewerError with that if it fails."""
        done = self.run(*argv)
        if done.returncode != 0:
            raise NewerError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    def versions(self) -> str:
        """Return the versions of what matters here, one a line."""
        return self.must(
            "sh", "-c", "python3 -V; systemctl --version | head -n 1; apache2 -v | head -n 1; openssl version"
        )


@contextlib.contextmanager
def newer(suite: str) -> Iterator[Newer]:
    """Make the base system of a suite with this checkout set up in it; it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="newer-") as directory:
        root = Path(directory, suite)
        _base(suite, root)
        made = Newer(root)
        _checkout(root / CHECKOUT.lstrip("/"))
        made.must("sh", "-c", INTERPRETER)
        for part in ("--sandbox", "--prepare"):
            made.must("env", f"PYTHON={PYTHON}", "tests/run", part)
        yield made


def _base(suite: str, root: Path) -> None:
    argv = [
        "debootstrap",
        "--variant=minbase",
        "--include=ca-certificates,procps,python3,python3-venv",
        suite,
        str(root),
        mirror(),
    ]
    done = subprocess.run(argv, env=CLEAN, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NewerError(f"debootstrap of {suite} failed:\n{done.stdout[-2000:]}{done.stderr}")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    # A mirror may be a frozen one.
    (root / "etc/apt/apt.conf.d/frozen").write_text('Acquire::Check-Valid-Until "false";\n')
    policy = root / "usr/sbin/policy-rc.d"  # no service of a package starts by itself
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    if TRUST.exists():
        shutil.copy(TRUST, root / TRUST.relative_to("/"))


def _checkout(target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copytree(REPO, target, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))


def main(words: Sequence[str]) -> int:
    if not words or words[0].startswith("-"):
        sys.exit(__doc__)
    if reason := why_not_here():
        sys.exit(reason)
    with newer(words[0]) as made:
        print(made.versions(), flush=True)
        return made.run(*(words[1:] or ("bash",)), captured=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NewerError as problem:
        sys.exit(str(problem))
