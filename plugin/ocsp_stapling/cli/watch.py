"""`ocsp-stapling watch`: one pass of the watch, as the timer makes it."""

from __future__ import annotations

from dataclasses import asdict

import click

from ocsp_stapling import settings
from ocsp_stapling.cli.output import emit_json
from ocsp_stapling.switch.operate import require_root


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def watch(as_json: bool) -> None:
    """Make one pass: look, remember, and do what the configuration lets the watch do.

    A systemd timer runs it every five minutes. Exit status: 0 also when another pass is running.
    """
    from ocsp_stapling.watch.rounds import one_pass

    require_root()
    told = one_pass(settings.load())
    if as_json:
        emit_json(asdict(told) if told else {"busy": True})
        return
    if told is None:
        click.echo("Another pass is running.")
        return
    for line in (told.sentence, *told.done, *(f"Problem: {problem}" for problem in told.problems)):
        click.echo(line)
