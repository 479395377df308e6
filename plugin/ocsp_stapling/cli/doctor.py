"""`doctor`: is the installation itself in order, and if not, how to mend it."""

from __future__ import annotations

import os
import sys

import click

from ocsp_stapling import __version__
from ocsp_stapling.cli.output import emit_json, printable
from ocsp_stapling.installation import FAILED, OK, WARNING, DoctorCheck, examine
from ocsp_stapling.problem import not_root

_COLOURS = {OK: "green", WARNING: "yellow", FAILED: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(as_json: bool) -> None:
    """Check the installation itself and say how to mend what is wrong; changes nothing.

    Exit status: 0 in order (warnings may be shown), 1 something is broken.
    """
    if os.geteuid() != 0:
        raise not_root()
    checks = examine()
    good = not any(check.state == FAILED for check in checks)
    if as_json:
        facts = {"ok": good, "version": __version__, "checks": [check.as_json() for check in checks]}
        emit_json("doctor", facts)
    else:
        for check in checks:
            _show(check)
    sys.exit(0 if good else 1)


def _show(check: DoctorCheck) -> None:
    word = click.style(f"{check.state:7}", fg=_COLOURS[check.state])
    click.echo(f"{word}  {check.name:13}  {printable(check.sentence, 600)}")
    if check.mend and check.state != OK:
        click.echo(f"{'':24}Mend: {printable(check.mend)}")
