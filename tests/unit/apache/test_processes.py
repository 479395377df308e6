"""Apache's processes: told apart by what /proc says, ended only if they are exactly who they were."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocsp_stapling.apache import processes
from ocsp_stapling.apache.processes import Process

HTTPD = Path("/usr/sbin/httpd")


class Proc:
    """A made /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.add(1, "/sbin/init", above=0, session=1)
        (root / "self").symlink_to("1")

    def add(
        self,
        pid: int,
        exe: str,
        *,
        above: int = 1,
        session: int = 0,
        state: str = "S",
        cpu: int = 0,
        user: int | None = None,
    ) -> None:
        home = self.root / str(pid)
        (home / "ns").mkdir(parents=True)
        (home / "ns/mnt").symlink_to("mnt:[1]")
        (home / "exe").symlink_to(exe)
        middle = " ".join(["0"] * 7)
        rest = " ".join(["0"] * 6)
        name = "a ) b"  # a command name may hold anything
        fields = f"{state} {above} {pid} {session or pid} {middle} {cpu} {cpu} {rest} {1000 + pid} 0"
        (home / "stat").write_text(f"{pid} ({name}) {fields}\n")
        real = os.geteuid() if user is None else user
        (home / "status").write_text(f"Name:\thttpd\nUid:\t{real}\t0\t0\t0\nGid:\t0\t0\t0\t0\n")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    (tmp_path / "proc").mkdir()
    return Proc(tmp_path / "proc")


def pid_file(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "httpd.pid"
    path.write_text(content)
    return path


@pytest.mark.parametrize("content", ["100\n", "", "999\n", "101\n", "200\n", "no number"])
def test_the_parent_is_found_whatever_the_pid_file_says(proc: Proc, tmp_path: Path, content: str) -> None:
    proc.add(100, "/usr/sbin/httpd")
    proc.add(101, "/usr/sbin/httpd", above=100, session=100)
    proc.add(200, "/bin/bash")
    assert processes.parent(pid_file(tmp_path, content), HTTPD) == Process(100, 1100)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"/usr/sbin/httpd\0-k\0start\0", set()),
        (b"/usr/sbin/httpd\0-D\0SSL\0-DMODSEC\0-f\0-D\0-k\0start\0", {"SSL", "MODSEC"}),
        (b"/usr/sbin/httpd\0-tX\0", {"DEBUG"}),
        (b"/usr/sbin/httpd\0-D\0", None),
        (b"/usr/sbin/httpd\0--made-up\0", None),
    ],
)
def test_what_apache_was_started_with_is_read_as_httpd_reads_it(
    proc: Proc, line: bytes, found: set[str] | None
) -> None:
    proc.add(100, "/usr/sbin/httpd")
    (proc.root / "100/cmdline").write_bytes(line)
    assert processes.defines(Process(100, 1100)) == found
    assert processes.defines(Process(200, 1200)) is None


def test_a_parent_behind_a_wrapper_or_with_a_replaced_binary_is_known(proc: Proc, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the made processes would not be root's")
    proc.add(100, "/usr/sbin/httpd.real (deleted)")
    assert processes.parent(pid_file(tmp_path, "100"), HTTPD) == Process(100, 1100)


@pytest.mark.parametrize("options", [b"-t", b"-t\0-D\0DUMP_MODULES", b"-V", b"-D\0SSL\0-M"])
def test_an_httpd_that_only_tests_or_tells_is_no_parent(proc: Proc, tmp_path: Path, options: bytes) -> None:
    proc.add(100, "/usr/sbin/httpd")
    (proc.root / "100/cmdline").write_bytes(b"/usr/sbin/httpd\0" + options + b"\0")
    assert processes.parent(pid_file(tmp_path, ""), HTTPD) is None
    proc.add(200, "/usr/sbin/httpd")
    (proc.root / "200/cmdline").write_bytes(b"/usr/sbin/httpd\0-k\0start\0")
    assert processes.parent(pid_file(tmp_path, ""), HTTPD) == Process(200, 1200)


def test_two_candidates_or_a_zombie_are_no_parent(proc: Proc, tmp_path: Path) -> None:
    proc.add(100, "/usr/sbin/httpd", state="Z")
    assert processes.parent(pid_file(tmp_path, "100"), HTTPD) is None
    proc.add(300, "/usr/sbin/httpd")
    proc.add(400, "/usr/sbin/httpd")
    assert processes.parent(pid_file(tmp_path, "999"), HTTPD) is None


CUSTOMER = 123_456


@pytest.mark.parametrize("content", ["100\n", "200\n", ""])
def test_an_httpd_of_a_customers_own_is_never_the_parent(proc: Proc, tmp_path: Path, content: str) -> None:
    """The same program file, leading a session of its own; even a pid file that names it does not help."""
    proc.add(200, "/usr/sbin/httpd", user=CUSTOMER)
    assert processes.parent(pid_file(tmp_path, content), HTTPD) is None
    proc.add(100, "/usr/sbin/httpd")
    assert processes.parent(pid_file(tmp_path, content), HTTPD) == Process(100, 1100)


def test_a_customers_workers_are_no_orphans_of_apache(proc: Proc) -> None:
    proc.add(200, "/usr/sbin/httpd", user=CUSTOMER)
    proc.add(201, "/usr/sbin/httpd", above=1, session=200, user=CUSTOMER)
    proc.add(103, "/usr/sbin/httpd", above=1, session=99, user=65534)
    assert processes.orphans(HTTPD) == {Process(103, 1103)}


def test_workers_are_httpd_itself_and_orphans_have_lost_their_parent(proc: Proc) -> None:
    proc.add(100, "/usr/sbin/httpd")
    proc.add(101, "/usr/sbin/httpd", above=100, session=100)
    proc.add(102, "/usr/local/cpanel/bin/splitlogs", above=100, session=100)
    proc.add(103, "/usr/sbin/httpd", above=1, session=99)
    assert processes.workers(Process(100, 1100)) == {Process(101, 1101)}
    assert processes.orphans(HTTPD) == {Process(103, 1103)}


def test_processor_time_is_read_in_ticks(proc: Proc) -> None:
    proc.add(100, "/usr/sbin/httpd", cpu=21)
    assert processes.cpu_ticks(Process(100, 1100)) == 42
    assert processes.cpu_ticks(Process(999, 1)) == 0


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("sleep") or sys.executable
    process = subprocess.Popen([program, "60"])
    yield process
    process.kill()
    process.wait()


def test_only_exactly_that_process_is_ended(sleeper: subprocess.Popen[bytes]) -> None:
    found = processes._process(sleeper.pid)
    assert found is not None
    assert processes.end([Process(found.pid, found.started + 1)]) == 0
    assert processes.is_alive(found)
    assert processes.end([found]) == 1
    assert sleeper.wait(10) == -signal.SIGKILL
    assert processes.wait_until_gone(found, 5)
    assert not processes.send(found, signal.SIGUSR1)


@pytest.mark.parametrize(
    ("name", "line", "user", "found"),
    [
        ("restartsrv_http", "/usr/bin/perl\0/usr/local/cpanel/scripts/restartsrv_httpd\0--hard\0", 0, True),
        ("perl", "restartsrv_httpd - stopping\0", 0, True),
        ("less", "less\0/usr/local/cpanel/scripts/restartsrv_httpd\0", 0, False),
        ("restartsrv_http", "./restartsrv_httpd\0", 4321, False),
        ("su", "su\0restartsrv_httpd\0", 4321, False),
        ("whmapi1", "/usr/local/cpanel/bin/whmapi1\0restartservice\0", 0, False),
    ],
)
def test_a_program_of_roots_is_known_by_its_own_name_and_by_whose_it_is(
    proc: Proc, name: str, line: str, user: int, *, found: bool
) -> None:
    proc.add(50, "/usr/bin/perl", user=user)
    (proc.root / "50/comm").write_text(f"{name}\n")
    (proc.root / "50/cmdline").write_text(line)
    assert processes.root_runs("restartsrv_httpd") is found


def test_what_a_program_was_asked_for_tells_its_calls_apart(proc: Proc) -> None:
    proc.add(50, "/usr/local/cpanel/bin/whmapi1", user=0)
    (proc.root / "50/comm").write_text("whmapi1\n")
    (proc.root / "50/cmdline").write_text("whmapi1\0--output=json\0restartservice\0service=httpd\0")
    assert processes.root_runs("whmapi1", "restartservice", "service=httpd")
    assert not processes.root_runs("whmapi1", "version")
