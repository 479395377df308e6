"""Small pieces of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GENERATED = (
    "<!-- Written by `python -m tests.documentation` from the code. Change the code, not this page. -->"
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells may hold any text."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(map(cell, line)) + " |\n" for line in lines)


def cell(text: str) -> str:
    """Return text that stays inside its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def page(*parts: str) -> str:
    """Return a page of these parts, one empty line between them."""
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
