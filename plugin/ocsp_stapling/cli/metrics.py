"""`ocsp-stapling metrics`: the last check and the operations in Prometheus' text format."""

from __future__ import annotations

from pathlib import Path

import click

from ocsp_stapling import settings
from ocsp_stapling.change.journal import NAME, Journal, Operation
from ocsp_stapling.check import metrics as exposition
from ocsp_stapling.check import result
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file in one step instead.")
@json_option
def metrics(output: Path | None, as_json: bool) -> None:
    """Print metrics of the last check; it asks nobody, so it is quick."""
    directory = settings.load().state_directory
    text = exposition.render(result.load_document(directory), _operations(directory))
    if output is not None:
        exposition.write(output, text)
    if as_json:
        emit_json("metrics", exposition.as_json(text))
    elif output is None:
        click.echo(text, nl=False)


def _operations(directory: Path) -> list[Operation]:
    if not (directory / NAME).exists():
        return []
    with Journal(directory) as journal:
        return journal.operations(limit=200)
