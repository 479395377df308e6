"""`ocsp-stapling ticket`: the findings as text to send to whoever can act."""

from __future__ import annotations

import sys
from typing import Any

import click

from ocsp_stapling import settings
from ocsp_stapling.check import result, since
from ocsp_stapling.check import ticket as writer
from ocsp_stapling.check.incident import present
from ocsp_stapling.cli.check import run_check
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json
from ocsp_stapling.problem import Problem
from ocsp_stapling.watch.returning import looks_needed

_TRACING_SECONDS = 12.0
"""A route trace takes longer than a check."""


@click.command()
@click.option(
    "--for", "reader", type=click.Choice(writer.READERS), help="Whom the text is for [whoever can act]."
)
@click.option(
    "--redact", is_flag=True, help="Leave out customers' names and this server's name and addresses."
)
@click.option("--last", is_flag=True, help="Write about the last check instead of making a new one.")
@json_option
def ticket(reader: str | None, redact: bool, last: bool, as_json: bool) -> None:
    """Write everything a datacenter, a CA or a root admin needs to act, from a new check.

    Once stapling is off it leads with the outage before that, from the record of the incident.
    """
    configured = settings.load()
    changed, since_then = "", None
    if last:
        found, changed, since_then = _last(configured)
    else:
        seconds = max(configured.probe.deadline_seconds, _TRACING_SECONDS)
        found = run_check(configured, seconds, trace=True)
    told = since.as_found(present(configured.state_directory), since_then)
    chosen = reader or writer.reader_for(found, told)
    passes = looks_needed(configured)
    text = writer.ticket(found, chosen, redact=redact, incident=told, passes=passes, changed=changed)
    if as_json:
        facts = {"reader": chosen, "redacted": redact, "checked_at": found["checked_at"], "text": text}
        emit_json("ticket", facts)
    else:
        click.echo(text, nl=False)
    sys.stdout.flush()


def _last(configured: settings.Settings) -> tuple[dict[str, Any], str, since.Changed | None]:
    """The last check's document, what may have ended what it found, and what was done after it. Raises Problem."""
    directory = configured.state_directory
    found, check = result.load_document(directory), result.load(directory)
    if found is None:
        result.require_readable(directory)
        raise Problem("no-check", "There is no last check to write about: leave --last out.")
    if check is None:
        return found, "", None
    evidence, changed = since.up_to_date(check.evidence, since.recent_operations(directory))
    if changed is None:
        return found, "", None
    now = result.judged(evidence)
    ended = changed.what if since.interim(changed, evidence, now.diagnosis) else ""
    return now.document(), ended, changed
