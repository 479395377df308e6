"""Whatever goes wrong, a command ends with one sentence and a code, as JSON where that was asked for."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ocsp_stapling.cli import COMMANDS, group, main
from ocsp_stapling.settings import PATH_VARIABLE
from tests.documentation.schemas import faults


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


def leaves(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that takes --json, also below another one; `shield serve` and `serve` are services."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below
            yield from leaves(below, (*words, name))
    elif "serve" not in words:
        yield words


COMMANDS_WITH_JSON = list(leaves(group))
NO_CONFIGURATION = (("log",), ("config",), ("doctor",), ("probe",))
"""They need none, say what is wrong with it among other things, or want an argument first."""


@pytest.mark.parametrize("words", COMMANDS_WITH_JSON, ids=" ".join)
def test_arguments_too_many_are_one_document_of_the_schema(words: tuple[str, ...]) -> None:
    done = call(*words, *"abcd", "--json")
    told = json.loads(done.stdout)
    assert (told["error"]["code"], done.returncode) == ("usage", 3 if words == ("check",) else 2)
    assert faults("error", told) == []


@pytest.mark.parametrize("words", sorted({*COMMANDS_WITH_JSON} - {*NO_CONFIGURATION}), ids=" ".join)
def test_a_mistake_in_the_configuration_is_one_document_of_the_schema(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text("nonsense = 1\n")
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "config.toml"))
    done = call(*words, "--json")
    told = json.loads(done.stdout)
    assert (told["error"]["code"], done.returncode) == ("config-invalid", 3 if words == ("check",) else 1)
    assert faults("error", told) == []


@pytest.mark.parametrize(("command", "status"), [("check", 3), ("history", 1)])
def test_a_fault_of_ours_is_a_document_too_and_no_verdict_to_monitoring(
    command: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("nobody thought of it")

    monkeypatch.setattr(click.Command, "invoke", fail)
    done = call(command, "--json")
    told = json.loads(done.stdout)
    assert (told["error"]["code"], done.returncode) == ("unexpected", status)
    assert "nobody thought of it" in told["error"]["detail"]
    assert faults("error", told) == []
    assert call(command).returncode == status


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
