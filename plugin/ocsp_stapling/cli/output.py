"""Output for people: tables and text that fit the terminal, colour only there. Foreign text is made safe to print."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import click

from ocsp_stapling.apache.stapling import ORIGINS, Origin, origin_words
from ocsp_stapling.text import versioned

_NARROWEST, _NARROWEST_COLUMN = 40, 8
_SHORT = 10
_MARKS = "/._:@-"
_BREAKS = re.compile(r"[^/._:@-]*[/._:@-]|[^/._:@-]+")


def printable(text: str, limit: int = 400) -> str:
    """Return `text` with control characters (terminal escapes, newlines) shown as `?`, at most `limit` long."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return shown + "..." if len(text) > limit else shown


def columns() -> int | None:
    """Return how wide the terminal is, None where nobody reads on one: then lines stay whole, for grep and mail."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def say(text: str, *, gap: bool = False) -> None:
    """Print one sentence or more for people: made printable, wrapped by words at a terminal; `gap`: a line apart."""
    click.echo(("\n" if gap else "") + wrapped(printable(text, 2000)))


def wrapped(text: str, first: str = "", then: str = "") -> str:
    """Return text wrapped by words at the terminal's width, behind `first` and, on further lines, `then`."""
    width = columns()
    return first + text if width is None else "\n".join(_broken(text, width, first, then))


def _broken(text: str, width: int, first: str = "", then: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )


def boxed(paragraphs: Sequence[str]) -> str:
    """Return paragraphs in a box as wide as the terminal."""
    width = columns() or 80
    lines = [line for text in paragraphs for line in ("", *_broken(text, width - 4))][1:]
    edge = f"+{'-' * (width - 2)}+"
    return "\n".join([edge, *(f"| {line.ljust(width - 4)} |" for line in lines), edge])


def table(rows: Iterable[Sequence[str]], header: Sequence[str] | None = None, indent: int = 2) -> str:
    """Return the rows as aligned columns that fit the terminal; cells are made printable first."""
    lines = blocks(rows, header, indent)
    return "\n".join([click.style(lines[0], dim=True), *lines[1:]] if header and lines else lines)


def blocks(rows: Iterable[Sequence[str]], header: Sequence[str] | None = None, indent: int = 2) -> list[str]:
    """Return the table's rows, the header first: of several lines where the terminal is too narrow for one."""
    body = [[printable(cell, 2000) for cell in row] for row in rows]
    every = [list(header), *body] if header else body
    if not every:
        return []
    indices = range(max(map(len, every)))
    widths = [max(len(row[i]) if i < len(row) else 0 for row in every) for i in indices]
    floors = [
        [
            max((len(part) for row in every if i < len(row) for part in split(row[i])), default=0)
            for i in indices
        ]
        for split in (_words, _parts, _pieces)
    ]
    fitting = _fitting(widths, floors, columns(), indent)
    return [_block(row, fitting, " " * indent) for row in every]


def _words(cell: str) -> list[str]:
    """A number with its unit, a date: what is short stays on one line while anything else can be broken."""
    return [cell] if len(cell) <= _SHORT else cell.split()


def _parts(cell: str) -> list[str]:
    return [cell] if len(cell) <= _SHORT else _pieces(cell)


def _pieces(cell: str) -> list[str]:
    """Where a cell may be broken: at blanks and behind the marks in names, paths and addresses."""
    return [piece for word in cell.split() for piece in _BREAKS.findall(word)]


def _fitting(
    widths: Sequence[int], floors: Sequence[Sequence[int]], width: int | None, indent: int
) -> list[int]:
    """The columns' widths, the widest made narrower until all fit: as far as words, then their parts, allow it."""
    found = list(widths)
    room = sum(found) if width is None else width - indent - 2 * (len(found) - 1)
    for least in (*floors, [_NARROWEST_COLUMN] * len(found)):
        while sum(found) > room:
            spare = [each - floor for each, floor in zip(found, least, strict=True)]
            if max(spare) <= 0:
                break
            found[max(range(len(found)), key=lambda i: (spare[i] > 0, found[i]))] -= 1
    return found


def _block(row: Sequence[str], widths: Sequence[int], margin: str) -> str:
    cells = [
        [cell] if len(cell) <= width else _cell_lines(cell, width)
        for cell, width in zip(row, widths, strict=False)
    ]
    lines = (
        "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=False)).rstrip()
        for parts in zip_longest(*cells, fillvalue="")
    )
    return "\n".join(margin + line for line in lines)


def _cell_lines(cell: str, width: int) -> list[str]:
    lines, rest = [], cell.strip()
    while len(rest) > width:
        at = rest.rfind(" ", 0, width + 1)
        if at <= 0:  # no blank: behind the last mark that fits, else anywhere
            at = max((i for i, mark in enumerate(rest[:width], 1) if mark in _MARKS), default=width)
        lines.append(rest[:at].rstrip())
        rest = rest[at:].lstrip()
    return [*lines, rest] if rest else lines


def place_of(line: Mapping[str, Any] | None, origin: str) -> str:
    """Return which line decided, in a document's form, and on whose behalf it stands there."""
    if line is None:
        return ORIGINS[Origin.DEFAULT]
    return f"{line['file']}:{line['line']}, {origin_words(origin)}"


def emit_json(name: str, facts: Mapping[str, Any]) -> None:
    """Print one JSON document on standard output, with the schema of that name."""
    click.echo(json.dumps(versioned(name, facts), ensure_ascii=True, sort_keys=False, default=str))
