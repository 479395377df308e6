#!/usr/bin/env python3
"""The switch against the manual procedure: how long visitors wait for the first quick handshake.

    sudo .venv/bin/python tests/bench/bench_switch.py [--runs N] [--clients N] [--sites N]

A responder hangs and 200 clients that ask for a staple wait in the queue; then either `ocsp-stapling off --yes` is
called, or what the guides of hosting support say is done by a script: `SSLUseStapling off` at the end of both
includes, then `restartsrv_httpd` (and its option --graceful). An observer outside both tries a new handshake every
0.1 s; the first that completes within a second ends the time. The second part measures, with many sites and nobody
waiting, what the switch adds to Apache's own configuration test and restart. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.machine import Machine, Shape
from tests.machine.shape import MPMS
from tests.on_machine.admin import GLOBAL, RESTART, TWO, crowd, meet, pid_stamp

SITE = "site0001.example.test"
PATIENCE = 60.0
QUICK = 1.0


def the_switch(machine: Machine) -> None:
    machine.run("ocsp-stapling", "off", "--yes")


def by_hand(machine: Machine) -> None:
    """The guides' procedure without the time to read, log in and type."""
    for path in (GLOBAL, TWO):
        with machine.path(path).open("ab") as file:
            file.write(b"SSLUseStapling off\n")
    machine.run(RESTART)


def by_hand_graceful(machine: Machine) -> None:
    for path in (GLOBAL, TWO):
        with machine.path(path).open("ab") as file:
            file.write(b"SSLUseStapling off\n")
    machine.run(RESTART, "--graceful")


def the_switch_where_whm_stops_and_starts(machine: Machine) -> None:
    machine.path("/run/machine/restart.mood").write_text("stop-start")
    the_switch(machine)


def by_hand_stop_and_start(machine: Machine) -> None:
    for path in (GLOBAL, TWO):
        with machine.path(path).open("ab") as file:
            file.write(b"SSLUseStapling off\n")
    machine.run(RESTART, "--hard")


PROCEDURES = {
    "switch": the_switch,
    "switch, WHM stops and starts Apache": the_switch_where_whm_stops_and_starts,
    "restartsrv_httpd --hard": by_hand_stop_and_start,
    "restartsrv_httpd": by_hand,
    "restartsrv_httpd --graceful": by_hand_graceful,
}


def until_quick(machine: Machine, begin: float) -> float:
    """Return the seconds from `begin` until a new visitor's handshake completes quickly; PATIENCE if none did."""
    ended: list[float] = []

    def visit() -> None:
        started = time.monotonic()
        if not meet(machine, SITE, QUICK)["error"]:
            ended.append(max(time.monotonic(), started) - begin)

    while not ended and time.monotonic() - begin < PATIENCE:
        threading.Thread(target=visit, daemon=True).start()
        time.sleep(0.1)
    return min(ended, default=PATIENCE)


def stall(mpm: str, clients: int, procedure: Callable[[Machine], None]) -> float:
    """Return the seconds to the first quick handshake for one outage."""
    with Machine(Shape(mpm=mpm)) as machine:
        machine.fault("alpha", "hang")
        machine.run(RESTART, "--hard")
        with crowd(machine, clients):
            begin = time.monotonic()
            doing = threading.Thread(target=procedure, args=(machine,))
            doing.start()
            seconds = until_quick(machine, begin)
            doing.join()
        return seconds


def stalls(runs: int, clients: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of every procedure on every MPM, measured in turn."""
    found: dict[str, dict[str, list[float]]] = {mpm: {name: [] for name in PROCEDURES} for mpm in MPMS}
    for _ in range(runs):
        for mpm in MPMS:
            for name, procedure in PROCEDURES.items():
                found[mpm][name].append(stall(mpm, clients, procedure))
    return {m: {n: round(statistics.median(t), 2) for n, t in by.items()} for m, by in found.items()}


def timed(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def restarted(machine: Machine) -> None:
    stamp = pid_stamp(machine)
    machine.run(RESTART)
    while pid_stamp(machine) == stamp:
        time.sleep(0.005)
    while meet(machine, SITE, QUICK)["error"]:
        pass


def overhead(sites: int, runs: int) -> dict[str, float]:
    """Return seconds with many sites: Apache's test, its restart, the switch, and what the switch adds.

    The best of the runs each: other work on the machine only ever adds.
    """
    tests, restarts, switches = [], [], []
    with Machine(Shape(sites=sites, cas=6)) as machine:
        for _ in range(runs):
            tests.append(timed(lambda: machine.run("httpd", "-t")))
            restarts.append(timed(lambda: restarted(machine)))
            for action in ("off", "on"):
                switches.append(timed(partial(machine.run, "ocsp-stapling", action, "--yes")))
    test, restart, switch = (min(each) for each in (tests, restarts, switches))
    added = switch - test - restart
    found = {"configtest": test, "restart": restart, "switch": switch, "added": added}
    return {name: round(seconds, 3) for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--sites", type=int, default=1000)
    options = parser.parse_args()
    document = {
        "first_quick_handshake_seconds": stalls(options.runs, options.clients) if options.clients else {},
        "overhead_seconds": overhead(options.sites, max(3, options.runs)),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
