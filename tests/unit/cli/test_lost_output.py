"""What cannot be written is told, and no exit status says that all is well then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from ocsp_stapling.cli import switching

PROGRAM = [sys.executable, "-c", "from ocsp_stapling.cli import program; program()"]
LINE = (
    "[Tue Nov 24 03:45:07.123456 2026] [ssl:error] [pid 4711:tid 4712] (110)Connection timed out: "
    "[client 192.0.2.1:4000] AH01974: could not connect to OCSP responder 'ocsp.example.test'\n"
)


def ended(shell: str, *words: str) -> subprocess.CompletedProcess[str]:
    """How the command ends, its streams led elsewhere by the shell."""
    line = ["sh", "-c", f'"$@" {shell}', "sh", *PROGRAM, *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "error_log"
    path.write_text(LINE)
    return str(path)


@pytest.mark.parametrize(
    "words", [["--help"], ["log"], ["log", "--json"], ["no-such-command", "--json"]], ids=" ".join
)
def test_output_that_finds_no_room_is_told(words: list[str], log: str) -> None:
    done = ended(">/dev/full", *words, *([log] if words[0] == "log" else []))
    assert done.returncode == 1
    assert "could not be written (No space left on device)" in done.stderr
    assert done.stderr.rstrip().endswith("[output-lost]")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["check"], ["check", "--json"], ["check", "--no-such-option"]], ids=" ".join
)
@pytest.mark.parametrize("shell", [">/dev/full", ">/dev/full 2>&1"])
def test_a_check_that_cannot_be_told_is_unknown_and_no_warning(words: list[str], shell: str) -> None:
    assert ended(shell, *words).returncode == 3


def test_without_room_for_the_complaint_either_nothing_is_said_and_the_status_tells(log: str) -> None:
    done = ended(">/dev/full 2>&1", "log", log)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("shell", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", [["--help"], ["log"], ["log", "--json"]], ids=" ".join)
def test_a_stream_that_was_closed_is_one_that_nobody_reads(words: list[str], shell: str, log: str) -> None:
    done = ended(shell, *words, *([log] if words[0] == "log" else []))
    assert (done.returncode, done.stderr) == (0, "")


def test_no_file_gets_the_number_of_a_stream_that_was_closed() -> None:
    code = (
        "import os, subprocess, sys; from ocsp_stapling import cli;"
        "sees = lambda **_: subprocess.run(['readlink', *(f'/proc/self/fd/{n}' for n in range(3))], stderr=3)"
        ".returncode;"
        "cli.group = lambda **_: [os.readlink(f'/proc/self/fd/{n}') for n in range(3)] != [os.devnull] * 3 or sees();"
        "cli.main()"
    )
    line = ["sh", "-c", '"$@" 3>&2 <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("refuses", "told"), [("/dev/full", "[output-lost]"), ("a pipe", "")])
@pytest.mark.parametrize("status", [0, 3, 4, 5])
def test_what_became_of_a_change_is_its_exit_status_also_where_it_cannot_be_told(
    refuses: str, told: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = SimpleNamespace(as_json=dict, exit_code=status, operation="")
    monkeypatch.setattr(switching, "Operator", lambda *_, **__: SimpleNamespace(run=lambda **_: result))
    monkeypatch.setattr(switching, "emit_json", lambda *_: click.echo("{}"))
    options: dict[str, Any] = dict.fromkeys(("who", "reason", "operation", "tag", "dry_run"), "")
    if refuses == "a pipe":
        gone, target = os.pipe()
        os.close(gone)
    else:
        target = os.open(refuses, os.O_WRONLY)
    with os.fdopen(target, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert switching.carry_out("off", options | {"yes": True, "as_json": True, "wait": 0}) == status
    assert told in capsys.readouterr().err
