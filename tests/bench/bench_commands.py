"""What the commands that ask nobody cost on a large server: `status`, `sites` and `config` with 1,000 TLS sites.

Run by hand as root: .venv/bin/python -m tests.bench.bench_commands [SITES]. Beside them what they are measured by:
`httpd -t` reads the same configuration and certificates, and an interpreter that loads click alone is the least that
any command of ours costs. All take turns, as the machine's speed drifts; the best of several rounds is printed, as
other work only ever adds; CPU is what the whole process and its children took, the interpreter's start included.
"""

from __future__ import annotations

import os
import sys
import time

from tests.machine import Machine, Shape
from tests.machine.machine import CLEAN

ROUNDS = 15
OURS = tuple(
    ("ocsp-stapling", *words) for words in (("status",), ("sites",), ("sites", "--json"), ("config",))
)
RIVAL = ("httpd", "-t")
COMMANDS = (*OURS, RIVAL, (sys.executable, "-c", "import click"))


def once(machine: Machine, words: tuple[str, ...]) -> tuple[float, float]:
    """Seconds of CPU and of the clock that one call takes; `nsenter` becomes the command, so nothing is added."""
    argv = machine.enter(words)
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (0, 1, 2)]
    began = time.perf_counter()
    child = os.posix_spawnp(argv[0], argv, dict(CLEAN), file_actions=quiet)
    _, status, used = os.wait4(child, 0)
    assert status == 0, words
    return used.ru_utime + used.ru_stime, time.perf_counter() - began


def main() -> None:
    """Print a row a command."""
    sites = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with Machine(Shape(sites=sites, cas=8)) as machine:
        machine.run(
            "ocsp-stapling", "check", check=False
        )  # a lived-in server: a last check, certificates known
        rounds = [[once(machine, words) for words in COMMANDS] for _ in range(ROUNDS)]
    best = {
        words: tuple(min(each[n][kind] for each in rounds) for kind in range(2))
        for n, words in enumerate(COMMANDS)
    }
    for words, (cpu, clock) in best.items():
        ratio = f"{clock / best[RIVAL][1]:5.2f} x httpd -t"
        name = " ".join("python" if each == sys.executable else each for each in words)
        print(f"{name:24} {cpu:6.3f} s of CPU, {clock:6.3f} s in all, {ratio}", flush=True)


if __name__ == "__main__":
    main()
