"""Running other programs: bounded, clean, nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from ocsp_stapling.run import SAFE_PATH, find, run

GENEROUS = 60.0


def test_output_error_and_status_come_back() -> None:
    done = run(["sh", "-c", "echo one; echo two >&2; exit 7"], timeout=GENEROUS)
    assert (done.code, done.out, done.err, done.timed_out, done.ok) == (7, "one\n", "two\n", False, False)


def test_environment_is_clean_and_can_be_added_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTE_PASSWORD", "secret")
    monkeypatch.setenv("LD_PRELOAD", "/nowhere.so")
    lines = run(["env"], timeout=GENEROUS, env={"REMOTE_USER": "root"}).out.splitlines()
    assert sorted(lines) == ["HOME=/root", "LC_ALL=C", f"PATH={SAFE_PATH}", "REMOTE_USER=root"]


def test_a_program_of_the_callers_path_or_directory_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap-program"
    trap.write_text("#!/bin/sh\n")
    trap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:.")
    monkeypatch.chdir(tmp_path)
    assert find("trap-program") is None
    assert run(["trap-program"], timeout=GENEROUS).code == 127
    assert run([str(trap)], timeout=GENEROUS).ok


def test_an_impossible_argument_is_a_result_not_an_exception() -> None:
    assert run(["echo", "nul\0byte"], timeout=GENEROUS).code == 126


def test_standard_input_is_what_was_given_or_empty() -> None:
    big = "x" * 3_000_000
    assert run(["cat"], timeout=GENEROUS, input=big).out == big
    assert run(["cat"], timeout=GENEROUS).out == ""


def test_time_out_kills_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    started = time.monotonic()
    done = run(["sh", "-c", f"echo early; sleep 600 & echo $! > {pid_file}; wait"], timeout=1)
    assert done.timed_out
    assert not done.ok
    assert done.code == -signal.SIGKILL
    assert done.out == "early\n"
    assert time.monotonic() - started < GENEROUS
    assert _ends(int(pid_file.read_text()))


def test_a_program_that_closed_its_output_is_still_bounded() -> None:
    assert run(["sh", "-c", "exec >&- 2>&-; exec sleep 600"], timeout=0.5).timed_out


def test_a_daemon_left_behind_is_not_waited_for_nor_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    done = run(["sh", "-c", f"sleep 600 & echo $! > {pid_file}; echo started"], timeout=GENEROUS)
    daemon = int(pid_file.read_text())
    try:
        assert done.ok
        assert done.out == "started\n"
        os.kill(daemon, 0)
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_endless_output_is_capped_and_drained() -> None:
    done = run(["sh", "-c", "head -c 5000000 /dev/zero; echo end >&2"], timeout=GENEROUS, limit=1000)
    assert (done.code, len(done.out), done.err, done.truncated) == (0, 1000, "end\n", True)


def test_undecodable_output_is_replaced() -> None:
    assert run(["printf", r"a\377b"], timeout=GENEROUS).out == "a\ufffdb"


def _ends(pid: int) -> bool:
    """Whether the process is gone (or a corpse) soon: a killed orphan waits for init to bury it."""
    deadline = time.monotonic() + GENEROUS
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
