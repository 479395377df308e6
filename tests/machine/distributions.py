"""Variants of the machine: which distribution it says it is, which Pythons it has and which its packages bring.

The interpreters are all the one that runs these tests, under other names; those that lack something (an older
version, no venv) pretend to. Standard library only: the stand-ins for dnf and apt-get use it as well.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
STANDINS = REPO / "tests/machine/standins"
REPOSITORY = Path("/run/machine/packages.json")
CALLS = Path("/run/machine/packages.log")
SYSTEMS_OWN = Path("/usr/bin/python3")
WHOLE, NO_VENV = "whole", "no venv"  # what an interpreter can do; or the older version that it is


@dataclass(frozen=True)
class Distribution:
    """`present`: interpreters of a fresh server; `packages`: what installing a package adds. name -> what it can."""

    os_release: str
    manager: str
    present: dict[str, str] = field(default_factory=dict)
    packages: dict[str, dict[str, str]] = field(default_factory=dict)


def _os_release(name: str, version: str, like: str) -> str:
    return f'NAME="{name}"\nVERSION_ID="{version}"\nID={name.lower()}\nID_LIKE="{like}"\n'


DISTRIBUTIONS = {
    "almalinux-8": Distribution(
        _os_release("AlmaLinux", "8.10", "rhel centos fedora"),
        "dnf",
        {"python3": "3.6.8", "python3.6": "3.6.8"},
        {name: {name: WHOLE} for name in ("python3.11", "python3.12")},
    ),
    "almalinux-9": Distribution(
        _os_release("AlmaLinux", "9.5", "rhel centos fedora"),
        "dnf",
        {"python3": "3.9.21"},
        {"python3.11": {"python3.11": WHOLE}},
    ),
    "almalinux-10": Distribution(
        _os_release("AlmaLinux", "10.0", "rhel centos fedora"),
        "dnf",
        {"python3": WHOLE, "python3.12": WHOLE},
    ),
    "ubuntu-22.04": Distribution(
        _os_release("Ubuntu", "22.04", "debian"),
        "apt-get",
        {"python3": "3.10.12", "python3.10": "3.10.12"},
        {"python3.11": {"python3.11": NO_VENV}, "python3.11-venv": {"python3.11": WHOLE}},
    ),
    "ubuntu-24.04": Distribution(
        _os_release("Ubuntu", "24.04", "debian"),
        "apt-get",
        {"python3": NO_VENV, "python3.12": NO_VENV},
        {"python3.12": {}, "python3.12-venv": {"python3.12": WHOLE}},
    ),
    "bare": Distribution(_os_release("AlmaLinux", "9.5", "rhel centos fedora"), "dnf"),
}


def take_on(name: str) -> str:
    """Become that distribution; return the interpreter that the stand-ins run with from now on."""
    chosen = DISTRIBUTIONS[name]
    interpreter = _set_aside()
    for directory in ("/usr/local/bin", "/usr/bin"):
        for path in Path(directory).glob("python3*"):
            path.unlink()
    for manager in ("dnf", "apt-get", "apt", "yum"):
        Path("/usr/bin", manager).unlink(missing_ok=True)
    Path("/etc/os-release").unlink(missing_ok=True)
    Path("/etc/os-release").write_text(chosen.os_release)
    REPOSITORY.write_text(json.dumps({"interpreter": interpreter, "packages": chosen.packages}))
    program = STANDINS / f"{chosen.manager.replace('-', '_')}.py"
    _script(Path("/usr/bin", chosen.manager), f'-I "{program}" "$@"')
    place(chosen.present)
    return interpreter


def _set_aside() -> str:
    """The interpreter beneath this one; a copy outside of PATH if it lies in a directory that is searched."""
    base = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    if base.is_relative_to("/root") and _is_as_good(SYSTEMS_OWN):
        base = SYSTEMS_OWN.resolve()  # services of other users reach it, too
    if str(base.parent) not in ("/usr/bin", "/usr/local/bin"):
        return str(base)
    copy = base.parents[1] / "lib/machine" / base.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(base, copy)
    return str(copy)


def _is_as_good(interpreter: Path) -> bool:
    code = f"import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    return (
        interpreter.exists() and subprocess.run([interpreter, "-I", "-c", code], check=False).returncode == 0
    )


def place(interpreters: dict[str, str]) -> None:
    """Put interpreters in /usr/bin."""
    for name, able in interpreters.items():
        line = '"$@"' if able == WHOLE else f'-I "{STANDINS / "lesser_python.py"}" "{able}" "$@"'
        _script(Path("/usr/bin", name), line)


def _script(path: Path, line: str) -> None:
    interpreter = json.loads(REPOSITORY.read_text())["interpreter"]
    path.unlink(missing_ok=True)
    path.write_text(f'#!/bin/sh\nexec "{interpreter}" {line}\n')
    path.chmod(0o755)


def install(packages: list[str]) -> list[str]:
    """Install packages of the repository; return those that it does not have (then nothing is installed)."""
    known = json.loads(REPOSITORY.read_text())["packages"]
    with CALLS.open("a") as log:
        log.write(" ".join(packages) + "\n")
    missing = [name for name in packages if name not in known]
    if not missing:
        for name in packages:
            place(known[name])
    return missing
