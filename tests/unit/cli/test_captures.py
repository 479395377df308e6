"""docs/captures: every command is shown as it is at a terminal of 80 columns. That they are fresh: on the machine."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from ocsp_stapling.cli import COMMANDS, group
from tests.captures import COLUMNS, DIRECTORY

CAPTURES = sorted(DIRECTORY.glob("*.txt"))
NEVER_AT_A_TERMINAL = {"serve"}
"""What systemd starts."""
_WHOLE = re.compile(r"^[-+](?:# |[-+]{2} )|curl ")
"""Lines that are for copying, or a file's own: they are never broken."""
_WHOLE_TEXTS = ("report", "ticket", "metrics")


def test_every_command_is_shown() -> None:
    assert {path.stem.partition("-")[0] for path in CAPTURES} == set(COMMANDS) - NEVER_AT_A_TERMINAL


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: str(path.stem))
def test_a_capture_is_of_a_command_that_exists_and_fits(path: Path) -> None:
    first, *lines = path.read_text().splitlines()
    program, name, *rest = shlex.split(first.removeprefix("# ").partition(" |")[0])
    command = group.get_command(click.Context(group), name)
    assert program == "ocsp-stapling"
    assert command is not None
    if not isinstance(command, click.Group):
        command.make_context(name, list(rest))
    assert lines
    if name not in _WHOLE_TEXTS:
        assert [line for line in lines if len(line) > COLUMNS and not _WHOLE.search(line)] == []


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: str(path.stem))
def test_a_capture_tells_nothing_of_the_machine_it_was_taken_on(path: Path) -> None:
    text = path.read_text()
    assert "Traceback" not in text
    assert not re.search(r"\.venv|/root/|/tmp/", text)
    days = set(re.findall(r"\b\d{4}-\d\d-\d\d\b", text))
    assert all(day == "2026-11-24" or day > "2026-12" for day in days), days
