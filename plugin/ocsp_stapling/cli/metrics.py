"""`ocsp-stapling metrics`: the last check and the operations in Prometheus' text format."""

from __future__ import annotations

from pathlib import Path

import click

from ocsp_stapling import settings
from ocsp_stapling.change.journal import Journal, Operation
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
    result.require_readable(directory)  # empty metrics would say that nothing is wrong
    check, operations = result.load_document(directory), _operations(directory)
    text = exposition.render(check, operations)
    if output is not None:
        _write(output, text)
    if as_json:
        emit_json("metrics", exposition.as_json(check, operations))
    elif output is None:
        click.echo(text, nl=False)


def _write(output: Path, text: str) -> None:
    try:
        exposition.write(output, text)
    except OSError as error:  # which names a file beside it, that is gone again
        raise OSError(error.errno, error.strerror, str(output)) from error


def _operations(directory: Path) -> list[Operation]:
    with Journal(directory, create=False) as journal:
        return journal.operations(limit=200)
