"""Output for people: tables and text that fit the terminal, colour only there. Foreign text is made safe to print."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import click

from ocsp_stapling.document import versioned

_NARROWEST, _NARROWEST_COLUMN = 40, 8


def printable(text: str, limit: int = 400) -> str:
    """Return `text` with control characters (terminal escapes, newlines) shown as `?`, at most `limit` long."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return shown + "..." if len(text) > limit else shown


def columns() -> int | None:
    """Return how wide the terminal is, None where nobody reads on one: then lines stay whole, for grep and mail."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


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
    return "\n".join(blocks(rows, header, indent))


def blocks(rows: Iterable[Sequence[str]], header: Sequence[str] | None = None, indent: int = 2) -> list[str]:
    """Return the table's rows, the header first: of several lines where the terminal is too narrow for one."""
    body = [[printable(cell) for cell in row] for row in rows]
    every = [list(header), *body] if header else body
    if not every:
        return []
    widths = [max(len(row[i]) if i < len(row) else 0 for row in every) for i in range(max(map(len, every)))]
    words = [
        max((len(word) for row in every if i < len(row) for word in row[i].split()), default=0)
        for i in range(len(widths))
    ]
    fitting = _fitting(widths, words, columns(), indent)
    return [_block(row, fitting, " " * indent) for row in every]


def _fitting(widths: Sequence[int], words: Sequence[int], width: int | None, indent: int) -> list[int]:
    """The columns' widths, the widest made narrower until all fit: as far as its words allow, if that is enough."""
    found = list(widths)
    room = sum(found) if width is None else width - indent - 2 * (len(found) - 1)
    for least in (words, [_NARROWEST_COLUMN] * len(found)):
        while sum(found) > room:
            spare = [each - floor for each, floor in zip(found, least, strict=True)]
            if max(spare) <= 0:
                break
            found[max(range(len(found)), key=lambda i: (spare[i] > 0, found[i]))] -= 1
    return found


def _block(row: Sequence[str], widths: Sequence[int], margin: str) -> str:
    cells = [
        [cell] if len(cell) <= width else textwrap.wrap(cell, width, break_on_hyphens=False)
        for cell, width in zip(row, widths, strict=False)
    ]
    lines = (
        "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=False)).rstrip()
        for parts in zip_longest(*cells, fillvalue="")
    )
    return "\n".join(margin + line for line in lines)


def emit_json(name: str, facts: Mapping[str, Any]) -> None:
    """Print one JSON document on standard output, with the schema of that name."""
    click.echo(json.dumps(versioned(name, facts), ensure_ascii=True, sort_keys=False, default=str))
