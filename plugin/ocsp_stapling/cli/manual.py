"""The manual page ocsp-stapling(8), written from the commands themselves.

`python -m ocsp_stapling.cli.manual` prints it in roff (groff_man(7)); the installer puts it in place.
"""

from __future__ import annotations

import click

from ocsp_stapling import __version__
from ocsp_stapling.cli import group

_FILES = (
    ("/etc/ocsp-stapling/config.toml", "Settings; every one is explained there."),
    ("/var/lib/ocsp-stapling", "History and backups (root only)."),
    ("/opt/ocsp-stapling", "The program: releases/, current, previous."),
)


def page() -> str:
    """Return the manual page in roff."""
    lines = [
        f'.TH OCSP\\-STAPLING 8 "" "OCSP Stapling for WHM {_escape(__version__)}" "System Administration"'
    ]
    lines += [".SH NAME", f"ocsp\\-stapling \\- {_escape(_first_line(group))}"]
    lines += [".SH SYNOPSIS", ".B ocsp\\-stapling", "COMMAND [OPTIONS] [ARGUMENTS]"]
    lines += [".SH COMMANDS"]
    with click.Context(group, info_name="ocsp-stapling") as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                lines += _command(command, name, context)
    lines += [".SH FILES"]
    for path, meaning in _FILES:
        lines += [".TP", f".I {_escape(path)}", _escape(meaning)]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, name: str, parent: click.Context) -> list[str]:
    """A section of its own: usage, help, options."""
    context = click.Context(command, info_name=name, parent=parent)
    lines = [f'.SS "{_escape(" ".join([name, *command.collect_usage_pieces(context)]))}"']
    for paragraph in (command.help or "").replace("\b", "").split("\n\n"):
        lines += [_escape(" ".join(paragraph.split())), ".PP"]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record:
            lines += [".TP", f".B {_escape(record[0])}", _escape(record[1])]
    return lines


def _first_line(command: click.Command) -> str:
    return (command.help or "").strip().splitlines()[0]


def _escape(text: str) -> str:
    """Text that roff prints as it is: backslash and hyphen escaped, no line that looks like a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("\n", " ")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


if __name__ == "__main__":
    print(page(), end="")
