"""What a pass of the watch costs on a server with 1,000 sites, quiet, in an outage, and with a log full of failures.

Run by hand as root: .venv/bin/python -m tests.bench.bench_watch [SITES [PASSES]]. Whole processes are measured, the
interpreter's start and the probe's child included; CPU is user and system time together.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from tests.machine import Machine, Shape

LINES = 400_000
LOG = "/var/log/apache2/error_log"


def fill_log(machine: Machine) -> float:
    """Append a day of failures to the error log, as Apache writes them; return its size in MB."""
    now = time.time()
    with machine.path(LOG).open("a") as log:
        for i in range(LINES):
            at = now - 86400 + i * 86400 / LINES
            stamp = time.strftime("%a %b %d %H:%M:%S", time.localtime(at)) + f".{i % 10**6:06d} "
            stamp += time.strftime("%Y", time.localtime(at))
            head = f"[{stamp}] [ssl:error] [pid {2000 + i % 50}:tid {i % 64}]"
            log.write(f"{head} AH01941: stapling_renew_response: responder error\n")
    return machine.path(LOG).stat().st_size / 1e6


def passes(machine: Machine, count: int) -> str:
    printed = machine.python("tests.on_machine.soaking", str(count), "quiet", timeout=600)
    found = [json.loads(line) for line in printed.splitlines()]
    cpu = [each["cpu_seconds"] for each in found]
    seconds = [each["seconds"] for each in found]
    memory = max(each["memory_kib"] for each in found) / 1024
    return (
        f"CPU {statistics.median(cpu):.2f} s (at most {max(cpu):.2f} s), {statistics.median(seconds):.1f} s long, "
        f"{memory:.0f} MiB"
    )


def main() -> None:
    sites = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with Machine(Shape(sites=sites, cas=8)) as machine:
        print(f"{sites} sites, 8 authorities, {count} passes each")
        print(f"first pass           {passes(machine, 1)}")
        print(f"quiet                {passes(machine, count)}")
        machine.fault("alpha", "hang")
        machine.run("/usr/local/cpanel/scripts/restartsrv_httpd", "--hard")
        print(f"alpha hangs          {passes(machine, count)}")
        machine.heal()
        print(f"log of {fill_log(machine):3.0f} MB        {passes(machine, count)}")


if __name__ == "__main__":
    main()
