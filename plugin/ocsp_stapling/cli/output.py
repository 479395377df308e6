"""Output for people: aligned tables, colour only on a terminal. Foreign text is made safe to print."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from ocsp_stapling.document import versioned


def printable(text: str, limit: int = 400) -> str:
    """Return `text` with control characters (terminal escapes, newlines) shown as `?`, at most `limit` long."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return shown + "..." if len(text) > limit else shown


def table(rows: Iterable[Sequence[str]], header: Sequence[str] | None = None, indent: int = 2) -> str:
    """Return the rows as aligned columns; cells are made printable first."""
    body = [[printable(cell) for cell in row] for row in rows]
    every = [list(header), *body] if header else body
    if not every:
        return ""
    widths = [max(len(row[i]) if i < len(row) else 0 for row in every) for i in range(max(map(len, every)))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in every
    )
    return "\n".join(" " * indent + line for line in lines)


def emit_json(name: str, facts: Mapping[str, Any]) -> None:
    """Print one JSON document on standard output, with the schema of that name."""
    click.echo(json.dumps(versioned(name, facts), ensure_ascii=True, sort_keys=False, default=str))
