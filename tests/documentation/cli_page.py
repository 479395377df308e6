"""docs/cli.md from the commands themselves: every usage, help text, argument and option that click knows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from ocsp_stapling.cli import group
from tests.documentation.markdown import GENERATED, page, table

_INTRODUCTION = """\
# Command line

Run everything as root (or with `sudo`). Every command takes `--json` and then prints one JSON document; `log --json`
prints one object a line. Their schemas: [json/](json/README.md). What a code in square brackets after an error means:
[errors.md](errors.md).

The boxes that begin with `#` show what is printed at a terminal of 80 columns. `python -m tests.captures` takes them
from one story on the test machine, with times, numbers and identities made steady."""

CAPTURES = Path(__file__).resolve().parents[2] / "docs/captures"
_EXIT_STATUSES = (
    ("`check`", "0 ok, 1 warning, 2 critical, 3 unknown: a monitoring plugin's"),
    (
        "`off`, `on`, `undo`",
        "0 done, 1 refused and nothing touched, 3 failed and restored, 4 failed and not restored, "
        "5 off is done, but some visitors still wait",
    ),
    ("`probe`", "0 good, 2 something is wrong, 3 unknown, 1 the probe could not be made"),
    ("`doctor`", "0 in order, 1 something is broken"),
    (
        "`shield status`",
        "0 all answers are held, or the shield is off, 1 something is missing, 2 the relay does not answer",
    ),
    ("all others", "0 done, 1 an error"),
)
_EVERYWHERE = (
    "A mistake in the command line is 2, at `check` 3. Where what a command prints cannot be written (a full disk),\n"
    "it is never 0, but for a change, whose exit status still tells what became of the server."
)


def commands() -> dict[str, click.Command]:
    """Return every command by its name."""
    with click.Context(group, info_name="ocsp-stapling") as context:
        found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None and not command.hidden}


def render() -> str:
    """Return the page."""
    known = commands()
    listing = table(
        ("command", "what it does"),
        ((f"[`{name}`](#{name})", _first_sentence(command)) for name, command in sorted(known.items())),
    )
    statuses = f"## Exit status\n\n{table(('command', 'exit status'), _EXIT_STATUSES)}\n{_EVERYWHERE}"
    sections = (_section(name, command) for name, command in sorted(known.items()))
    return page(GENERATED, _INTRODUCTION, listing, statuses, *sections)


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, parent=click.Context(group, info_name="ocsp-stapling"))
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    options = [record for each in _options(command) if (record := each.get_help_record(context))]
    rows = ((f"`{names}`", text) for names, text in options)
    meanings = table(("option", "meaning"), rows) if options else ""
    return page(f"## {name}", f"```text\n{usage}\n```", *_help(command), meanings, *captures(name)).rstrip()


def captures(name: str) -> Iterator[str]:
    """What the command prints at a terminal, as tests/captures.py has seen it."""
    for path in sorted(CAPTURES.glob(f"{name}*.txt")):
        if path.stem.partition("-")[0] == name:
            yield f"```text\n{path.read_text()}```"


def _options(command: click.Command) -> list[click.Option]:
    """What has a meaning of its own to tell; arguments are explained in the text."""
    return [each for each in command.params if isinstance(each, click.Option)]


def _help(command: click.Command) -> Iterator[str]:
    """The help text's paragraphs; those that click must not wrap (marked with \\b) stay as they are."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield f"```text\n{paragraph.strip(chr(8)).strip(chr(10))}\n```"
        else:
            yield " ".join(paragraph.split())


def _first_sentence(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())
