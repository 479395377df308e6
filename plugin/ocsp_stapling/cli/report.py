"""`report`: an incident as a post-mortem in Markdown."""

from __future__ import annotations

import socket

import click

from ocsp_stapling.change.journal import Journal
from ocsp_stapling.change.operate import require_root
from ocsp_stapling.check.incident import OPERATIONS, brought_up_to_date, one_of
from ocsp_stapling.check.incident.postmortem import report as written
from ocsp_stapling.cli import completion
from ocsp_stapling.cli.output import emit_json
from ocsp_stapling.cli.pending import finish_interrupted
from ocsp_stapling.settings import load


@click.command()
@click.argument("incident", metavar="[INCIDENT]", default="latest", shell_complete=completion.incidents)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document: {schema, incident, format, text}."
)
def report(incident: str, as_json: bool) -> None:
    """Write an incident as a post-mortem in Markdown: numbers, timeline, responders, evidence.

    Without INCIDENT the newest one; `ocsp-stapling history` lists them.

    Exit status: 0, or 1 if the incident is not known.
    """
    require_root()
    settings = load()
    finish_interrupted(settings)
    with Journal(settings.state_directory, create=False) as journal:
        brought_up_to_date(journal)
        found = one_of(journal, incident)
        text = written(found, journal.operations(OPERATIONS), socket.gethostname())
    if as_json:
        emit_json("report", {"incident": found.id, "format": "markdown", "text": text})
    else:
        click.echo(text, nl=False)
