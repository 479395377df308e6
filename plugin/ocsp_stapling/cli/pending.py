"""A change that was killed half way is brought to its end by the next command, whichever that is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from ocsp_stapling.change import lock
from ocsp_stapling.cli.output import printable
from ocsp_stapling.settings import Settings


def finish_interrupted(settings: Settings) -> None:
    """Finish a change whose process is gone, and say so on standard error; mostly there is none, and this is quick.

    What it waits for is said before: that may take as long as a restart by WHM.

    Raises Problem as `operate.recover` does.
    """
    if os.geteuid() != 0 or not lock.interrupted(settings.state_directory):
        return
    from ocsp_stapling.change.operate import recover

    for result in recover(settings, _tell):
        click.echo(f"ocsp-stapling: {printable(result.sentence)}", err=True)


def _tell(_name: str, detail: Mapping[str, Any], _seconds: float) -> None:
    click.echo(f"ocsp-stapling: {printable(str(detail['sentence']))}", err=True)
