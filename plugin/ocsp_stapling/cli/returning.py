"""`return`: whether stapling that was turned off turns on by itself; chosen after the fact."""

from __future__ import annotations

import time

import click

from ocsp_stapling.change.operate import require_root
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json, say
from ocsp_stapling.cli.switching import who_is_here
from ocsp_stapling.settings import load
from ocsp_stapling.text import moment
from ocsp_stapling.watch.returning import choose, standing


@click.command("return")
@click.argument("wish", type=click.Choice(["on", "off"]), required=False)
@json_option
def returning(wish: str | None, as_json: bool) -> None:
    """Say whether stapling turns on by itself, and how near that is; on or off chooses it.

    It returns once three looks of the watch in a row have found every responder healthy, as after `off --return`.

    Exit status: 0, or 1 if there is nothing to choose.
    """
    require_root()
    settings = load()
    if wish:
        choose(settings, armed=wish == "on", who=who_is_here())
    found = standing(settings, time.time())
    if not as_json:
        say(found.sentence)
        return
    emit_json(
        "return",
        {
            "armed": found.armed,
            "configured": found.fixed,
            "healthy_count": min(found.healthy, found.needed),
            "needed_count": found.needed,
            "not_before": moment(found.not_before) if found.not_before else None,
            "sentence": found.sentence,
        },
    )
