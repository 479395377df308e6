"""The pages of docs/ that are written from the code, so that they cannot say anything else than it does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.documentation import cli_page, configuration_page, errors_page, schema_parts

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / "docs"

PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page.render,
    "configuration.md": configuration_page.render,
    "errors.md": errors_page.render,
    **{f"json/{name}.schema.json": partial(schema_parts.render, name) for name in schema_parts.NAMES},
}
