#!/usr/bin/env python3
"""An outage of every authority: plain EasyApache, stapling off, mod_md's stapling and the shield, in one run.

    sudo .venv/bin/python tests/bench/bench_shield.py [--rate N] [--seconds N] [--sites N] [--mpm NAME]

One machine, the same visitors: at a steady rate, each asking for a staple, at all sites in turn. Before each
measurement all responders answer and the means is set up and filled; then every responder hangs, Apache is restarted
gently (its cache of staples is empty, as after any night) and the visitors come. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.machine import Machine, Shape
from tests.machine.shape import MPMS
from tests.on_machine.admin import GLOBAL, RESTART
from tests.on_machine.shielding import before_other_work, put_unit, traffic, until_stapled

_MOD_MD = "LoadModule md_module modules/mod_md.so\nMDStapling on\nMDStapleOthers on\n"
Figures = dict[str, float]


def plain(_machine: Machine) -> None:
    """As EasyApache comes."""


def off(machine: Machine) -> None:
    machine.run("ocsp-stapling", "off", "--yes")


def mod_md(machine: Machine) -> None:
    """Debian's mod_md; every certificate here names a responder and none is managed by it."""
    with machine.path(GLOBAL).open("a") as file:
        file.write(_MOD_MD)
    machine.run(RESTART, "--hard")
    until_stapled(machine)


def shield(machine: Machine) -> None:
    put_unit(machine)
    machine.run("ocsp-stapling", "shield", "on", "--yes")
    until_stapled(machine)


MEANS: dict[str, Callable[[Machine], None]] = {
    "plain EA4": plain,
    "stapling off": off,
    "mod_md": mod_md,
    "shield": shield,
}


def outage(name: str, shape: Shape, rate: float, seconds: float) -> Figures:
    """Return what visitors meet with one of the means while every responder hangs."""
    with Machine(shape) as machine:
        MEANS[name](machine)
        machine.fault("all", "hang")
        machine.run(RESTART)
        before_other_work(machine)
        time.sleep(2.0 + shape.sites / 80)  # Apache reads its configuration anew
        return traffic(machine, rate, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--mpm", choices=MPMS, default="event")
    options = parser.parse_args()
    shape = Shape(sites=options.sites, cas=6, mpm=options.mpm, extras=False)
    found = {name: outage(name, shape, options.rate, options.seconds) for name in MEANS}
    print(json.dumps({"sites": options.sites, "rate": options.rate, "mpm": options.mpm, **found}))


if __name__ == "__main__":
    main()
