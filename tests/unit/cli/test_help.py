"""Help at a terminal of 80 columns: in order of use, nothing cut short, examples that work."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from ocsp_stapling.cli import _EXAMPLES, COMMANDS, SECTIONS, group


def shown(*words: str) -> str:
    done = CliRunner().invoke(group, [*words, "--help"], terminal_width=80)
    assert done.exit_code == 0
    return done.output


def test_commands_stand_in_the_order_of_use() -> None:
    text = shown()
    places = [re.search(rf"^  {name} ", text, re.M) for name in COMMANDS]
    assert all(places)
    assert sorted(place.start() for place in places if place) == [p.start() for p in places if p]
    assert [title for title in SECTIONS if f"\n{title}:\n" in text] == list(SECTIONS)


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)])
def test_help_fits_and_cuts_nothing_short(words: tuple[str, ...]) -> None:
    lines = shown(*words).splitlines()
    assert [line for line in lines if line.rstrip().endswith("...") and "COMMAND" not in line] == []
    assert [line for line in lines if len(line) > 80 and not line.startswith("        ")] == []


@pytest.mark.parametrize("example", [example for example, _ in _EXAMPLES])
def test_an_example_is_a_command_line_that_is_understood(example: str) -> None:
    program, name, *rest = shlex.split(example)
    command = group.get_command(click.Context(group), name)
    assert program == "ocsp-stapling"
    assert command is not None
    command.make_context(name, list(rest))
