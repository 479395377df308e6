"""A check in a process of its own: one at a time, followed by its locked output, and its failure told."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ocsp_stapling.change.checking import Checks
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import Completed, run


def launch(_identity: str, argv: object) -> Completed:
    return run(["setsid", "--fork", *argv], timeout=20)  # type: ignore[misc]


def command(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "ocsp-stapling"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def ended(checks: Checks) -> None:
    deadline = time.monotonic() + 60
    while checks.state().running:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_running_check_tells_what_it_does_and_a_second_one_is_not_started(tmp_path: Path) -> None:
    gate, runs = tmp_path / "gate", tmp_path / "runs"
    script = f'echo x >>{runs}; echo asking 3 responders >&2; while [ ! -e {gate} ]; do sleep 0.02; done; echo "{{}}"'
    checks = Checks(tmp_path / "state", launch, command(tmp_path, script))
    checks.start()
    while not checks.state().lines:
        time.sleep(0.02)
    checks.start()
    assert checks.state().lines == ("asking 3 responders",)
    gate.touch()
    ended(checks)
    assert checks.state().problem is None
    assert runs.read_text() == "x\n"


def test_of_many_forms_that_come_at_once_one_starts_a_check(tmp_path: Path) -> None:
    gate, runs = tmp_path / "gate", tmp_path / "runs"
    script = f"echo x >>{runs}; while [ ! -e {gate} ]; do sleep 0.02; done; echo {{}}"
    together = threading.Barrier(24)

    def press() -> None:
        together.wait()
        Checks(tmp_path / "state", launch, command_path).start()

    command_path = command(tmp_path, script)
    pressing = [threading.Thread(target=press) for _ in range(24)]
    for one in pressing:
        one.start()
    for one in pressing:
        one.join()
    gate.touch()
    ended(Checks(tmp_path / "state", launch, command_path))
    assert runs.read_text() == "x\n"


def test_a_check_that_failed_says_why(tmp_path: Path) -> None:
    script = """echo '{"error": {"code": "no-cpanel", "sentence": "This is no cPanel server."}}'"""
    checks = Checks(tmp_path / "state", launch, command(tmp_path, script))
    checks.start()
    ended(checks)
    problem = checks.state().problem
    assert problem is not None
    assert (problem.code, problem.sentence) == ("no-cpanel", "This is no cPanel server.")


def test_a_check_that_died_without_a_word_is_a_problem_too(tmp_path: Path) -> None:
    checks = Checks(tmp_path / "state", launch, command(tmp_path, "echo Traceback; exit 1"))
    checks.start()
    ended(checks)
    problem = checks.state().problem
    assert problem is not None
    assert (problem.code, problem.sentence) == ("no-result", "The check ended without a result.")


def test_what_was_pasted_reaches_the_check_as_a_private_file(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    checks = Checks(
        tmp_path / "state", launch, command(tmp_path, f'for a; do :; done; cat "${{a#*=}}" >{seen}')
    )
    checks.start("OCSP-ELSEWHERE <b>")
    ended(checks)
    assert seen.read_text() == "OCSP-ELSEWHERE <b>"
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "state").iterdir()} == {0}


def test_a_check_for_the_page_tells_what_it_does_and_ends_with_a_document(tmp_path: Path) -> None:
    asked: list[str] = []

    def noted(_identity: str, argv: Sequence[str]) -> Completed:
        asked.extend(argv)
        return Completed(0, "", "")

    Checks(tmp_path, noted, Path("/bin/ocsp-stapling")).start("it answers there")
    words = [
        "/bin/ocsp-stapling",
        "check",
        "--json",
        "--progress",
        f"--elsewhere={tmp_path}/page-check.pasted",
    ]
    assert asked[-5:] == words


def test_where_nothing_can_be_written_no_check_is_started_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(Problem) as caught:
        Checks(tmp_path / "state", lambda *_: pytest.fail("started")).start()
    assert caught.value.sentence.startswith(f"{tmp_path}/state/page-check.out cannot be written (")
    assert caught.value.sentence.endswith("), so no check was started.")


def test_where_nothing_can_be_started_it_is_said(tmp_path: Path) -> None:
    checks = Checks(tmp_path / "state", lambda *_: Completed(1, "", "no bus", False))
    with pytest.raises(Problem, match="could not be started"):
        checks.start()
    assert not checks.state().running


def waiting(tmp_path: Path) -> tuple[Checks, Path, Path]:
    """Checks whose command notes each run with what was pasted, in a file; the first ends when the gate is there."""
    runs, gate = tmp_path / "runs", tmp_path / "gate"
    script = (
        f'for a; do :; done; case "$a" in --elsewhere=*) cat "${{a#*=}}" >>{runs};; esac; echo x >>{runs}\n'
        f'while [ ! -e {gate} ]; do sleep 0.02; done; echo "{{}}"'
    )
    return Checks(tmp_path / "state", launch, command(tmp_path, script)), runs, gate


def begun(runs: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not (runs.exists() and runs.read_text().count("x") >= count):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_asking_again_while_a_check_runs_gets_one_that_began_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocsp_stapling.change.checking._JOINED_SECONDS", -1.0)
    checks, runs, gate = waiting(tmp_path)
    checks.start()
    begun(runs, 1)
    for _ in range(3):
        checks.start(anew=True)
    gate.touch()
    begun_and_followed = time.monotonic() + 60
    while checks.state().running:
        assert time.monotonic() < begun_and_followed
        time.sleep(0.02)
    assert runs.read_text() == "x\nx\n"


def test_a_double_click_gets_one_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocsp_stapling.change.checking._JOINED_SECONDS", 1000.0)
    checks, runs, gate = waiting(tmp_path)
    checks.start(anew=True)
    begun(runs, 1)
    checks.start(anew=True)
    gate.touch()
    ended(checks)
    assert runs.read_text() == "x\n"


def test_what_is_pasted_while_a_check_runs_is_not_lost(tmp_path: Path) -> None:
    checks, runs, gate = waiting(tmp_path)
    checks.start()
    begun(runs, 1)
    checks.start("OCSP-ELSEWHERE")
    gate.touch()
    ended(checks)
    assert runs.read_text() == "x\nOCSP-ELSEWHEREx\n"


def test_what_nobody_followed_any_more_does_not_begin_a_check_hours_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, runs, gate = waiting(tmp_path)
    checks.start()
    begun(runs, 1)
    checks.start("OCSP-ELSEWHERE")
    gate.touch()
    monkeypatch.setattr("ocsp_stapling.change.checking._WANTED_SECONDS", 0.0)
    ended(checks)
    assert runs.read_text() == "x\n"
    assert not (tmp_path / "state" / "page-check.next").exists()
