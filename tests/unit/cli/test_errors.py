"""Whatever goes wrong, a command ends with one sentence and a code, as JSON where that was asked for."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocsp_stapling.cli import COMMANDS, main


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command prints and how it ends, called as its script calls it: without a start of Python for each."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["ocsp-stapling", *arguments])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        main()
    assert isinstance(ended.value.code, int)
    printed = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(arguments, ended.value.code, *printed)


@pytest.mark.parametrize("command", [*COMMANDS, "no-such-command"])
def test_a_mistake_in_the_command_line_is_json_under_json(command: str) -> None:
    done = call(command, "--no-such-option", "--json")
    assert done.returncode in (2, 3)
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "usage"
    assert "no-such" in error["sentence"]
    assert "Traceback" not in done.stderr


def test_a_mistake_without_json_is_clicks_own_words() -> None:
    done = call("log", "--no-such-option")
    assert done.returncode == 2
    assert "no-such-option" in done.stderr
    assert "Usage" in done.stderr


@pytest.mark.parametrize("output", ["/nonexistent/directory/metrics.prom", "/dev/null/metrics.prom"])
def test_a_file_that_cannot_be_written_is_a_sentence(output: str) -> None:
    for more in ((), ("--json",)):
        done = call("metrics", "--output", output, *more)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        told = json.loads(done.stdout)["error"]["code"] if more else done.stderr
        assert "system-refused" in told


def test_help_of_every_command_ends_well() -> None:
    for command in COMMANDS:
        assert call(command, "--help").returncode == 0
        if command not in ("cache", "shield"):  # groups: their commands take --json
            assert call(command, "--help", "--json").returncode == 0


@pytest.mark.parametrize("kind", ["a link", "a pipe"])
def test_metrics_put_nothing_aside_that_is_no_file(tmp_path: Path, kind: str) -> None:
    """As /dev/null would be, for every program of the server."""
    path = tmp_path / "device"
    if kind == "a link":
        path.symlink_to("/dev/null")
    else:
        os.mkfifo(path)
    before = path.lstat()
    done = call("metrics", "--output", str(path))
    assert (done.returncode, "it is no regular file" in done.stderr) == (1, True)
    assert path.lstat().st_ino == before.st_ino
    assert list(tmp_path.iterdir()) == [path]
