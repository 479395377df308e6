"""One change at a time, and a lock that never outlives its holder."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ocsp_stapling.change import lock
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.problem import Problem

HOLDER = (
    "import sys, time; from pathlib import Path; from ocsp_stapling.change import lock\n"
    "with lock.hold(Path(sys.argv[1]), 'alice', 'off'):\n print('held', flush=True); time.sleep(60)"
)


def held_by_another(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_holder_is_told_who_has_it_and_gets_it_when_the_first_is_killed(tmp_path: Path) -> None:
    other = held_by_another(tmp_path)
    assert lock.is_held(tmp_path)
    with pytest.raises(Problem) as caught, lock.hold(tmp_path, "bob", "on"):
        pass
    assert caught.value.code == "busy"
    assert "'off' by alice" in caught.value.sentence
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()
    with lock.hold(tmp_path, "bob", "on", wait=5):
        assert lock.is_held(tmp_path)
    assert not lock.is_held(tmp_path)


def test_a_clock_that_went_back_shows_no_negative_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = held_by_another(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(Problem) as caught, lock.hold(tmp_path, "bob", "on"):
        pass
    assert "for 0 s now" in caught.value.sentence
    other.kill()
    other.communicate()


def test_a_directory_that_cannot_be_written_is_no_reason_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "FALLBACK", tmp_path / "fallback")
    blocked = tmp_path / "state"
    blocked.write_text("a file where the directory should be")
    with lock.hold(blocked, "bob", "on"):
        assert lock.is_held(blocked)
        with pytest.raises(Problem) as caught, lock.hold(blocked, "alice", "off"):
            pass
    assert caught.value.code == "busy"


def test_a_link_in_the_locks_place_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "FALLBACK", tmp_path / "fallback")
    target = tmp_path / "precious"
    target.write_text("precious")
    state = tmp_path / "state"
    state.mkdir()
    (state / lock.NAME).symlink_to(target)
    with lock.hold(state, "bob", "on"):
        assert target.read_text() == "precious"


def test_a_program_of_the_version_before_keeps_a_change_out_and_is_kept_out(tmp_path: Path) -> None:
    with (tmp_path / lock.NAME).open("w") as old:  # 0.1.0 took flock(2) alone
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(Problem) as caught, lock.hold(tmp_path, "bob", "on"):
            pass
        assert caught.value.code == "busy"
        fcntl.flock(old, fcntl.LOCK_UN)
        with lock.hold(tmp_path, "bob", "on"), pytest.raises(BlockingIOError):
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_who_asks_whether_a_change_runs_is_never_in_a_changes_way(tmp_path: Path) -> None:
    (tmp_path / lock.NAME).touch()
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            lock.is_held(tmp_path)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for each in asking:
        each.start()
    try:
        for _ in range(300):
            with lock.hold(tmp_path, "bob", "on"):
                pass
    finally:
        ended.set()
        for each in asking:
            each.join()


def test_a_look_learns_that_a_change_came_in_between_and_waits_for_one_that_runs(tmp_path: Path) -> None:
    began = time.time()
    assert not lock.overtaken(tmp_path, began, 0)
    for state, mixed in (("refused", False), ("restored", True)):
        with Journal(tmp_path) as journal:
            journal.finish(journal.begin("off", "root", "", {}, ()).id, state, {})
        assert lock.overtaken(tmp_path, began, 0) is mixed
    later = time.time() + 1
    assert not lock.overtaken(tmp_path, later, 0)
    other = held_by_another(tmp_path)
    ended = threading.Timer(0.3, other.kill)
    ended.start()
    assert lock.overtaken(tmp_path, later, 10)
    assert not lock.is_held(tmp_path)
    other.communicate()
