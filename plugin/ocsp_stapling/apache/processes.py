"""Apache's processes: the parent that the pid file names, its generations of workers, and how to end an old one.

A worker is stuck in the stapling mutex for as long as the queue before it lasts, and a graceful restart waits for
it; so a restart can succeed while no worker is free to serve. Ending the old generation frees the slots.
"""

from __future__ import annotations

import getopt
import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_CPU = 11, 12
_NAME = 15
"""Of a program's name the kernel keeps so many characters."""
_GENERATIONS = 32
_HTTPD_OPTIONS = "C:c:D:d:E:e:f:k:vVlLtTSMh?X"
_ASKING = ("-v", "-V", "-l", "-L", "-t", "-S", "-M", "-h", "-?")
_STATE, _PARENT, _SESSION, _STARTED = 0, 1, 3, 19  # fields after the command name in /proc/PID/stat, proc(5)


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for another: its pid and when it started (clock ticks after boot)."""

    pid: int
    started: int


def parent(pid_file: Path, httpd: Path) -> Process | None:
    """Return Apache's parent process, None if there is none.

    The pid file is asked first; if it is missing, stale or names something else, the process that leads a
    session and runs httpd is taken, provided there is exactly one. It must be root's: any customer can run httpd on
    a port of their own, from the same program file. An `httpd -t` is none, ours and cPanel's lead a session, too.
    """
    programs = _programs(httpd)
    pid = named_by(pid_file)
    if pid > 0 and (found := _process(pid)) and _is_parent(found, programs) and _is_ours(found.pid):
        return found
    leaders = [each for each in _running(programs) if _leads_session(each) and _is_ours(each.pid)]
    serving = [each for each in leaders if not _only_asks(each)]
    return serving[0] if len(serving) == 1 else None


def defines(process: Process) -> frozenset[str] | None:
    """Return the -D names of an httpd's command line, None if it cannot be read; -X stands for one, too."""
    options = _options(process)
    if options is None:
        return None
    return frozenset(
        "DEBUG" if option == "-X" else name for option, name in options if option in ("-D", "-X")
    )


def _options(process: Process) -> list[tuple[str, str]] | None:
    try:
        line = (PROC / str(process.pid) / "cmdline").read_bytes().decode("utf-8", "replace")
        return getopt.getopt(line.rstrip("\0").split("\0")[1:], _HTTPD_OPTIONS)[0]
    except (OSError, getopt.GetoptError):
        return None


def _only_asks(process: Process) -> bool:
    """Whether it tests the configuration or tells about httpd, and ends: it never serves."""
    return any(option in _ASKING for option, _ in _options(process) or ())


def named_by(pid_file: Path) -> int:
    """Return the pid that the pid file names, 0 if it is missing or holds none."""
    try:
        return int(pid_file.read_text()[:32])
    except (OSError, ValueError):
        return 0


def is_alive(process: Process) -> bool:
    """Return whether exactly this process still runs (a zombie does not)."""
    return _process(process.pid) == process


def cpu_ticks(process: Process) -> int:
    """Return the processor time that the process has used, in clock ticks; 0 if it is gone."""
    fields = _stat(process.pid)
    return sum(int(fields[index]) for index in _CPU) if fields else 0


def workers(of: Process) -> frozenset[Process]:
    """Return the parent's children that run httpd itself; piped loggers and other helpers are left out."""
    program = _program(of.pid)
    children = (_process(pid) for pid in _children(of.pid))
    return frozenset(child for child in children if child and _program(child.pid) == program)


def descends(pid: int, of: Process) -> bool:
    """Say whether a process is this one, or was started by it or by one of its own."""
    for _ in range(_GENERATIONS):
        if pid == of.pid:
            return True
        above = (_stat(pid) or [""] * (_PARENT + 1))[_PARENT]
        if not above.isdecimal() or above == "0":
            break
        pid = int(above)
    return False


def orphans(httpd: Path) -> frozenset[Process]:
    """Return workers whose parent is gone; they keep the ports, so that no new parent can start."""
    found = _running(_programs(httpd))
    return frozenset(
        each
        for each in found
        if not _leads_session(each) and _field(each, _PARENT) == "1" and not _is_customers(each)
    )


def _is_customers(process: Process) -> bool:
    """A worker without a parent whose session was never led by root: started by an account holder."""
    session = _field(process, _SESSION)
    return (
        _user(process.pid) not in (0, None) and session.isdecimal() and _user(int(session)) not in (0, None)
    )


def root_runs(program: str, *words: str) -> bool:
    """Return whether root runs this program, if it is a script too, with these words among its arguments.

    Root throughout: anybody may start a program that becomes root (su, sudo) with any words. And the program itself,
    not an editor of it.
    """
    return any(_runs(pid, program, words) and _is_roots(pid) for pid in _every())


def _runs(pid: int, program: str, words: Iterable[str]) -> bool:
    try:
        name = (PROC / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
        with (PROC / str(pid) / "cmdline").open("rb") as file:
            line = [each.decode("utf-8", "replace") for each in file.read(4096).split(b"\0")]
    except OSError:
        return False
    is_it = name == program[:_NAME] or Path(line[0].partition(" ")[0]).name.rstrip(":") == program
    return is_it and set(words) <= set(line)


def end(processes: Iterable[Process]) -> int:
    """Kill exactly these processes at once and return how many were still there."""
    return sum(send(process, signal.SIGKILL) for process in processes)


def wait_until_gone(process: Process, seconds: float) -> bool:
    """Return whether the process ended within `seconds`."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; return whether it was still there."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The handle pins the pid; only now is the comparison with the start time worth anything.
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _process(pid: int) -> Process | None:
    fields = _stat(pid)
    if fields is None or fields[_STATE] in ("Z", "X"):
        return None
    return Process(pid, int(fields[_STARTED]))


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split() or None


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in (PROC / f"{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return [each for each in _every() if (fields := _stat(each)) and fields[_PARENT] == str(pid)]


def _every() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _program(pid: int) -> str:
    try:
        return str((PROC / str(pid) / "exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""


def _running(programs: set[str]) -> list[Process]:
    """Every process of this system that runs one of the programs; a container's Apache is not this system's."""
    here = _namespace("self")
    pids = [pid for pid in _every() if _program(pid) in programs and _namespace(str(pid)) == here]
    return [found for pid in pids if (found := _process(pid))]


def _namespace(pid: str) -> str:
    try:
        return str((PROC / pid / "ns/mnt").readlink())
    except OSError:
        return ""


def _is_parent(process: Process, programs: set[str]) -> bool:
    """A worker's parent runs httpd too; a stale pid file may name a worker that got the old pid."""
    above = _field(process, _PARENT)
    below = above.isdecimal() and _is_httpd(int(above), programs)
    return _is_httpd(process.pid, programs) and not below


def _leads_session(process: Process) -> bool:
    return _field(process, _SESSION) == str(process.pid)


def _field(process: Process, index: int) -> str:
    fields = _stat(process.pid)
    return fields[index] if fields else ""


def _is_httpd(pid: int, programs: set[str]) -> bool:
    """A wrapper in httpd's place may start root's program from anywhere; its name still tells."""
    program = _program(pid)
    return program in programs or (Path(program).name.startswith(("httpd", "apache2")) and _is_roots(pid))


def _is_ours(pid: int) -> bool:
    """Whether the process runs as root throughout, or as whoever we are where that is not root (in tests)."""
    return _user(pid) in (0, os.geteuid())


def _is_roots(pid: int) -> bool:
    return _user(pid) == 0


def _user(pid: int) -> int | None:
    """The real user of a process (`Uid:` in /proc/PID/status), None if it is gone."""
    try:
        text = (PROC / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return None
    found = re.search(r"^Uid:\t(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def _programs(httpd: Path) -> set[str]:
    """The names under which httpd's program may show: itself, or what a wrapper script in its place starts."""
    real = httpd.resolve()
    return {str(httpd), str(real), *(str(real.parent / name) for name in ("httpd", "apache2"))}
