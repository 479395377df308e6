"""Debian's Apache as the judge of what a configuration means: it dumps what it took, and from where."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocsp_stapling.apache.conditions import Binary
from ocsp_stapling.apache.httpd import Httpd
from ocsp_stapling.apache.layout import Layout

APACHE = Path("/usr/sbin/apache2")
MODULES = Path("/usr/lib/apache2/modules")

needs_apache = pytest.mark.skipif(not APACHE.exists(), reason="Debian package apache2 is not installed")


def layout_at(base: Path) -> Layout:
    """An EA4-like layout below a temporary directory."""
    return Layout(
        base=base,
        conf=base / "conf/httpd.conf",
        includes=base / "conf.d/includes",
        userdata=base / "conf.d/userdata",
        run_dir=base / "run",
        error_log=base / "logs/error_log",
        httpd=APACHE,
        ea4_conf=base / "ea4.conf",
    )


def head(base: Path, *modules: str) -> str:
    """The first lines of an httpd.conf that Debian's Apache accepts."""
    for name in ("conf", "run", "logs"):
        (base / name).mkdir(parents=True, exist_ok=True)
    names = ("mpm_event", *(modules or ("authz_core", "socache_shmcb", "ssl")))
    loads = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in names)
    return (
        f'ServerRoot "{base}"\nDefaultRuntimeDir run\nPidFile run/httpd.pid\nErrorLog logs/error_log\n'
        f"{loads}Listen 127.0.0.1:18443\nServerName localhost\n"
    )


def binary(layout: Layout, *defines: str) -> Binary:
    """What this httpd says of itself; no -D names on its command line unless given."""
    return Httpd(layout).binary(defines)


@dataclass(frozen=True)
class Taken:
    """A directive as httpd took it; `line` is the last physical line of a continued one."""

    file: str
    line: int
    name: str
    args: str
    in_vhost: bool


def dump_config(layout: Layout) -> list[Taken] | None:
    """Every directive httpd took, in order (`-D DUMP_CONFIG`, mod_info); None if it refuses the configuration."""
    info = f"LoadModule info_module {MODULES}/mod_info.so"
    done = subprocess.run(
        [str(APACHE), "-C", info, "-f", str(layout.conf), "-t", "-D", "DUMP_CONFIG"],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
    )
    return _parsed(done.stdout) if done.returncode == 0 else None


def _parsed(text: str) -> list[Taken]:
    taken: list[Taken] = []
    file, line = "", 0
    for raw in text.splitlines():
        if found := re.fullmatch(r"# In file: (.*)", raw):
            file = found[1]
        elif found := re.fullmatch(r"\s*# +(\d+):", raw):
            line = int(found[1])
        elif found := re.match(r"( *)([A-Za-z]\w*)\s*(.*)", raw):
            # What is inside a virtual host is indented; an empty one is dumped without its end.
            taken.append(Taken(file, line, found[2].lower(), found[3], bool(found[1])))
    return taken
