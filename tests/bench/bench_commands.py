"""What the commands that ask nobody cost on a large server: `status`, `sites` and `config` with 1,000 TLS sites.

Run by hand as root: .venv/bin/python -m tests.bench.bench_commands [SITES]. The best of several rounds is printed, as
other work on the machine only ever adds; CPU is what the whole process took, the interpreter's start included.
"""

from __future__ import annotations

import resource
import sys
import time

from tests.machine import Machine, Shape

ROUNDS = 9
COMMANDS = (("status",), ("sites",), ("sites", "--json"), ("config",), ("--help",))


def once(machine: Machine, *words: str) -> tuple[float, float]:
    """Seconds of CPU and of the clock that one call takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    machine.run("ocsp-stapling", *words)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, took


def main() -> None:
    """Print a row a command."""
    sites = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with Machine(Shape(sites=sites, cas=8)) as machine:
        for words in COMMANDS:
            rounds = [once(machine, *words) for _ in range(ROUNDS)]
            cpu, clock = (min(each[i] for each in rounds) for i in range(2))
            print(
                f"ocsp-stapling {' '.join(words):14} {cpu:6.3f} s of CPU, {clock:6.3f} s in all", flush=True
            )


if __name__ == "__main__":
    main()
