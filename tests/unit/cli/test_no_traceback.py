"""Every command with files that are missing, unwritable, huge or binary: it ends with a documented status."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import click
import pytest

from ocsp_stapling import cli, settings

DOCUMENTED = {
    "check": {0, 1, 2, 3},
    "probe": {0, 1, 2, 3},
    "off": {0, 1, 3, 4},
    "on": {0, 1, 3, 4},
    "undo": {0, 1, 3, 4},
}
"""Exit statuses as docs/cli.md gives them, of those commands that have their own."""
PROCESS = ("shield serve",)
"""The relay: a process of systemd's that takes a place of its own, and no settings."""
ONE_A_LINE = ("log",)


def commands(command: click.Command = cli.group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, f"{path} {name}".strip())


def huge(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(8 << 30)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


BINARY = bytes(range(256)) * 200
FILES: dict[str, Callable[[Path], Path]] = {
    "missing": lambda here: here / "none",
    "missing directory": lambda here: here / "none" / "file",
    "below a file": lambda _here: Path("/dev/null/file"),
    "unwritable": lambda _here: Path("/proc/file"),
    "directory": lambda here: here,
    "huge": lambda here: huge(here / "file"),
    "binary": lambda here: written(here / "file", BINARY),
    "empty": lambda here: written(here / "file", b""),
    "nothing but NUL": lambda here: written(here / "file", b"\0" * 100_000),
    "one long line": lambda here: written(here / "file", b"A" * 3_000_000),
}
NO_SETTINGS = ("below a file", "unwritable", "empty")


def with_state(here: Path, state: Path) -> Path:
    return written(here / "config.toml", f'state_directory = "{state}"\n'.encode())


def junk(here: Path, make: Callable[[Path], object]) -> Path:
    """Settings whose state directory holds something else under the names of the journal and the last check."""
    state = here / "state"
    state.mkdir(mode=0o700)
    for name in ("journal.sqlite", "last-check.json"):
        make(state / name)
    return with_state(here, state)


CONFIGS: dict[str, Callable[[Path], Path]] = {
    **{name: make for name, make in FILES.items() if name not in NO_SETTINGS},
    "state directory is missing": lambda here: with_state(here, here / "none"),
    "state directory is a file": lambda here: with_state(here, written(here / "file", BINARY)),
    "state directory is unwritable": lambda here: with_state(here, Path("/proc/state")),
    "state is binary": lambda here: junk(here, lambda path: path.write_bytes(BINARY)),
    "state is huge": lambda here: junk(here, huge),
    "state is directories": lambda here: junk(here, lambda path: path.mkdir()),
}
TAKING_FILES = {
    "check --elsewhere {0}": "check",
    "probe {0}": "probe",
    "probe {0} --issuer {0}": "probe",
    "log {0}": "log",
    "metrics --output {0}": "metrics",
    "serve --idle-seconds 1 --socket {0}": "serve",
}


@pytest.fixture(autouse=True)
def ending_is_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The commands run in this process, leave it as it was, and none of them has somebody to ask."""

    def leave(status: int) -> NoReturn:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(logging, "basicConfig", lambda **_more: None)
    mask = os.umask(0o022)
    with (tmp_path / "stdin").open("w+") as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        yield
    os.umask(mask)


def ends_well(words: str, status_of: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run it as main() does: what main() lets through would be a traceback."""
    for more in ([], ["--json"]):
        sys.argv = ["ocsp-stapling", *words.split(), *more]
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        status = int(ended.value.code or 0)
        assert status in DOCUMENTED.get(status_of, {0, 1, 2}), told
        assert "Traceback" not in told.out + told.err
        if more and (told.out or status or status_of not in ONE_A_LINE):
            lines = told.out.splitlines() if status_of in ONE_A_LINE else [told.out]
            assert all(isinstance(json.loads(line), dict) for line in lines), told


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", [name for name, _ in commands() if name not in PROCESS])
def test_no_configuration_or_state_makes_a_traceback(
    name: str,
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv(settings.PATH_VARIABLE, str(CONFIGS[config](tmp_path)))
    ends_well("probe /dev/null" if name == "probe" else name, name, capsys)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("words", TAKING_FILES)
def test_no_file_makes_a_traceback(
    words: str,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv(settings.PATH_VARIABLE, str(with_state(tmp_path, tmp_path / "state")))
    ends_well(words.format(FILES[file](tmp_path)), TAKING_FILES[words], capsys)


def test_every_parameter_that_is_a_file_is_tried() -> None:
    found = {
        (name.split()[0], parameter.opts[0] if isinstance(parameter, click.Option) else "{0}")
        for name, command in commands()
        if name not in PROCESS
        for parameter in command.params
        if isinstance(parameter.type, click.Path | click.File)
        or "file" in (parameter.name, str(parameter.metavar).lower())
    }
    assert found
    assert {(name, word) for name, word in found if not any(word in words for words in _tried(name))} == set()


def _tried(name: str) -> list[list[str]]:
    return [words.split() for words, command in TAKING_FILES.items() if command == name]
