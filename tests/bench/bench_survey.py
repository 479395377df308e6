#!/usr/bin/env python3
"""`ocsp-stapling check` on a server with 50 sites against what an administrator would loop over them today.

    .venv/bin/python tests/bench/bench_survey.py [--sites N] [--runs N] [--testssl-sites N]

Rivals, both Debian packages, each doing its nearest equivalent for one site at a time: `check_ssl_cert`
(certificate, the responder's answer, staple) and `testssl.sh -S` (certificate and staple). testssl.sh is run on a
few sites and multiplied, which is said. Needs root, for everything runs on the WHM-shaped machine. Prints one line
of JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.machine import Machine, Shape, why_not_here

CHECK_SSL_CERT = "/usr/lib/nagios/plugins/check_ssl_cert"
TESTSSL = "/usr/bin/testssl"


def seconds(machine: Machine, *argv: str) -> float:
    begin = time.monotonic()
    machine.run(*argv, check=False, timeout=600)
    return time.monotonic() - begin


def ours(machine: Machine, runs: int) -> float:
    return statistics.median(seconds(machine, "ocsp-stapling", "check", "--json") for _ in range(runs))


def check_ssl_cert(machine: Machine) -> float:
    """One site after the other, as a cron job or a monitoring server does."""
    return sum(
        seconds(
            machine,
            *(CHECK_SSL_CERT, "--host", site.name, "--resolve", "44.128.1.2", "--port", "443"),
            *("--require-ocsp-stapling", "--selfsigned", "--timeout", "30"),
        )
        for site in machine.sites
    )


def testssl(machine: Machine, count: int) -> float:
    """A few sites, for each takes seconds to minutes; multiplied to all of them."""
    options = ("-S", "--ip", "44.128.1.2", "--warnings", "off", "--color", "0", "--quiet", "--nodns", "none")
    taken = [
        seconds(machine, TESTSSL, *options, f"https://{site.name}:443") for site in machine.sites[:count]
    ]
    return statistics.mean(taken) * len(machine.sites)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--testssl-sites", type=int, default=3)
    options = parser.parse_args()
    if reason := why_not_here():
        raise SystemExit(reason)
    with Machine(Shape(sites=options.sites, cas=5, extras=False)) as machine:
        hosts = "".join(f"44.128.1.2 {site.name}\n" for site in machine.sites)
        path = machine.path("/etc/hosts")
        path.write_text(path.read_text() + hosts)
        found = {"sites": options.sites, "check": round(ours(machine, options.runs), 3)}
        if Path(CHECK_SSL_CERT).exists():
            found["check_ssl_cert"] = round(check_ssl_cert(machine), 1)
        if shutil.which(TESTSSL):
            found["testssl"] = round(testssl(machine, options.testssl_sites), 1)
            found["testssl_measured_sites"] = options.testssl_sites
    for rival in ("check_ssl_cert", "testssl"):
        if rival in found:
            found[f"{rival}_ratio"] = round(found[rival] / found["check"], 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
