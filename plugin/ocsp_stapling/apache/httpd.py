"""Asking httpd itself: what it accepts, which modules it has, which files it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ocsp_stapling.apache.conditions import Binary, Version
from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.apache.tree import ConfigTree
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import Completed, run

CONFIG_SECONDS = 60.0  # a configuration of thousands of virtual hosts on a loaded server
BINARY_SECONDS = 10.0  # -v and -l read no configuration

_VERSION_LINE = re.compile(r"Apache/(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?")
_MODULE_LINE = re.compile(r"^ (\S+) \((static|shared)\)$", re.MULTILINE)
_INCLUDE_LINE = re.compile(r"^ +\((\*|\d+)\) (.+)$", re.MULTILINE)
_ROOT_LINE = re.compile(r'^ -D HTTPD_ROOT="([^"]+)"$', re.MULTILINE)
_PID_FILE_LINE = re.compile(r'^ -D DEFAULT_PIDLOG="([^"]+)"$', re.MULTILINE)
_SOURCE_LINE = re.compile(r"^  (\S+\.c)$", re.MULTILINE)


@dataclass(frozen=True)
class ConfigTestResult:
    """httpd's own verdict on the configuration and its words, unchanged."""

    ok: bool
    message: str


@dataclass(frozen=True)
class Examination:
    """What one reading of the configuration by httpd tells: accepted or not, in its words; modules, files."""

    ok: bool
    message: str
    modules: frozenset[str]
    includes: tuple[Path, ...]


class Httpd:
    """The httpd program with this server's configuration; each call runs it once, bounded in time."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def configtest(self) -> ConfigTestResult:
        """Return httpd's verdict on the files as they are now (`httpd -t`); it never raises."""
        done = self._run("-t", seconds=CONFIG_SECONDS)
        message = "\n".join(filter(None, (done.err.strip(), done.out.strip())))
        if done.timed_out:
            message = f"httpd -t gave no answer within {CONFIG_SECONDS:.0f} seconds.\n{message}".strip()
        return ConfigTestResult(done.ok, message)

    def examine(self) -> Examination:
        """Return configtest, modules and includes; it never raises.

        Two runs side by side: one that only shows modules and includes accepts a certificate's file that is missing.
        """
        with ThreadPoolExecutor(1) as beside:
            test = beside.submit(self.configtest)
            done = self._run("-t", "-D", "DUMP_MODULES", "-D", "DUMP_INCLUDES", seconds=CONFIG_SECONDS)
        tested = test.result()
        message = "" if done.ok else done.err.strip() or done.out.strip() or "httpd gave no reason."
        if done.ok and not tested.ok:
            message = tested.message or "httpd gave no reason."
        modules = frozenset(name for name, _ in _MODULE_LINE.findall(done.out))
        return Examination(done.ok and tested.ok, message, modules, _include_paths(done.out))

    def modules(self) -> frozenset[str]:
        """Return the identifiers of all modules in use (`ssl_module`), static and loaded (`httpd -M`).

        Raises Problem `httpd-failed` when httpd cannot be run or refuses its configuration.
        """
        return frozenset(name for name, _ in _MODULE_LINE.findall(self._answer("-M", seconds=CONFIG_SECONDS)))

    def includes(self) -> tuple[Path, ...]:
        """Return every file that httpd reads, in order, as often as it reads it (`-t -D DUMP_INCLUDES`).

        Raises Problem `httpd-failed` as `modules` does.
        """
        text = self._answer("-t", "-D", "DUMP_INCLUDES", seconds=CONFIG_SECONDS)
        return _include_paths(text)

    @cached_property
    def version(self) -> Version:
        """httpd's version, (2, 4, 62). Raises Problem `httpd-failed` when httpd does not say."""
        found = _VERSION_LINE.search(self._answer("-v", seconds=BINARY_SECONDS))
        if found is None:
            raise Problem(
                "httpd-failed", f"{self.layout.httpd} does not tell its version: it is no Apache httpd."
            )
        major, minor, patch = (int(part or 0) for part in found.groups())
        return major, minor, patch

    def pid_file(self, tree: ConfigTree | None) -> Path:
        """Return where Apache writes its pid.

        As configured (`PidFile`, relative to ServerRoot or the run directory), else in the run directory, else as
        compiled in; where there is no such file, where it belongs. `tree` is None if the configuration is unknown.
        """
        configured, run_dir = tree.pid_file if tree else None, self.layout.run_dir
        known = [configured, run_dir / configured.name] if configured else [run_dir / "httpd.pid"]
        found = next((path for path in known if path.exists()), None)
        if found or configured:
            return found or known[0]
        compiled = self._default_pid_file()
        return compiled if compiled and compiled.exists() else known[0]

    def _default_pid_file(self) -> Path | None:
        """The pid file compiled in (`httpd -V`), None if httpd does not say."""
        done = self._run("-V", seconds=BINARY_SECONDS)
        root, name = (pattern.search(done.out) for pattern in (_ROOT_LINE, _PID_FILE_LINE))
        return Path(root[1] if root else "/", name[1]) if name else None

    @cached_property
    def static_modules(self) -> frozenset[str]:
        """Source file names of the compiled-in modules (`http_core.c`), without reading the configuration."""
        return frozenset(_SOURCE_LINE.findall(self._answer("-l", seconds=BINARY_SECONDS)))

    def binary(self, defines: Iterable[str] | None = None) -> Binary:
        """Return what reading the configuration needs to know; a program that does not answer leaves gaps.

        `defines` are the -D names that Apache was started with, None if unknown.
        """
        names = None if defines is None else frozenset(defines)
        try:
            return Binary(self.version, self.static_modules, names)
        except Problem:
            return Binary(defines=names)

    def _answer(self, *options: str, seconds: float) -> str:
        done = self._run(*options, seconds=seconds)
        if not done.ok:
            reason = "gave no answer in time" if done.timed_out else f"ended with status {done.code}"
            sentence = f"{self.layout.httpd} {' '.join(options)} {reason}. Run it by hand to see why."
            raise Problem("httpd-failed", sentence, done.err or done.out)
        return done.out

    def _run(self, *options: str, seconds: float) -> Completed:
        return run([str(self.layout.httpd), "-f", str(self.layout.conf), *options], timeout=seconds)


def _include_paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(name) for _, name in _INCLUDE_LINE.findall(text))


def require_mod_ssl(modules: frozenset[str]) -> None:
    """Raise Problem `no-mod-ssl` unless Apache has mod_ssl."""
    if "ssl_module" not in modules:
        raise Problem(
            "no-mod-ssl",
            "Apache runs without mod_ssl, so no site of it is served over HTTPS and there is no stapling. "
            "Install it in WHM under EasyApache 4 if that is not intended.",
        )
