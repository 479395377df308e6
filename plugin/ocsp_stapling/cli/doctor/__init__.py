"""`doctor`: is the installation itself in order, and if not, how to mend it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from ocsp_stapling import __version__
from ocsp_stapling.cli.doctor import on_disk, running
from ocsp_stapling.cli.doctor.check import FAILED, OK, WARNING, DoctorCheck, Places
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import blocks, emit_json
from ocsp_stapling.problem import Problem, not_root
from ocsp_stapling.settings import Settings, load

_COLOURS = {WARNING: "yellow", FAILED: "red"}


@click.command()
@json_option
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
        click.echo(_text(checks))
    sys.exit(0 if good else 1)


def _text(checks: Sequence[DoctorCheck]) -> str:
    """A line for each, in the colour of its state; below it how to mend what is wrong."""
    rows = [
        (one.state, one.name, f"{one.sentence}{f' Mend: {one.mend}' if one.mend and one.state != OK else ''}")
        for one in checks
    ]
    lines = zip(blocks(rows, indent=0), checks, strict=True)
    return "\n".join(
        click.style(line, fg=_COLOURS[one.state]) if one.state != OK else line for line, one in lines
    )


def examine(places: Places | None = None) -> tuple[DoctorCheck, ...]:
    """Return what every check of this server's installation found. Only looks; needs root.

    They stand in the order in which a fault of one explains faults of the next.
    """
    places = places or Places()
    found = [on_disk.release(places)]
    if (places.release / "manifest").exists():
        found += [on_disk.python(places), on_disk.files(places), running.registration(places)]
    found += [on_disk.configuration(places), on_disk.state(_settings())]
    if places.units:
        found += [running.units(places), running.service(places)]
    directory = _settings().state_directory
    found += [running.mails(directory), *running.shield(directory)]
    return (*found, running.whm(), running.apache(), running.clock(places))


def _settings() -> Settings:
    """The settings; defaults if they cannot be read, of which a check of its own tells."""
    try:
        return load()
    except Problem:
        return Settings()
