"""Passes of the watch, one after the other, under random faults; run inside a machine.

Usage: python -m tests.on_machine.soaking PASSES SEED      (SEED "quiet": without faults of its own)
Prints one JSON object a pass: what happened, what it used,
and what was left behind.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.machine.faults import KINDS

STATE = Path("/var/lib/ocsp-stapling")
COMMAND = "/usr/local/sbin/ocsp-stapling"
TARGETS = ("all", "alpha", "beta")
ADDRESSES = ("all", "4", "6")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}


def disturb(chance: random.Random) -> str:
    """Let something happen before a pass, as likely as not; return what."""
    turn = chance.random()
    if turn < 0.35:
        words = [
            "machine",
            "fault",
            chance.choice(TARGETS),
            chance.choice(KINDS),
            "--address",
            chance.choice(ADDRESSES),
        ]
    elif turn < 0.6:
        words = ["machine", "heal"]
    elif turn < 0.7:
        words = ["/usr/local/cpanel/scripts/restartsrv_httpd", "--graceful"]
    elif turn < 0.75:
        words = [COMMAND, "off", "--yes", "--return"]
    elif turn < 0.8:
        words = [COMMAND, "on", "--yes"]
    else:
        return ""
    subprocess.run(words, **QUIET)  # type: ignore[call-overload]
    return " ".join(words[:4])


def one_pass() -> dict[str, Any]:
    """Run a pass; return what it said, how long it took, and what it used (with the processes it waited for)."""
    begun = time.monotonic()
    process = subprocess.Popen([COMMAND, "watch", "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "code": process.returncode,
        "said": json.loads(said),
        "seconds": round(time.monotonic() - begun, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        "memory_kib": used.ru_maxrss,
    }


def left_processes() -> list[str]:
    """The command lines of ours that still run; what ends within moments is not left behind."""
    deadline = time.monotonic() + 10
    while (found := list(_ours())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _ours() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if "ocsp-stapling" in line or "ocsp_stapling" in line:
            yield line.strip()[:200]


def files() -> list[str]:
    """Every file where a pass could leave one; what operations print is kept for a week, so only its place counts."""
    places = (STATE, Path("/run/ocsp-stapling"), Path("/dev/shm"))
    return sorted(str(path) for place in places for path in place.glob("*"))


def main() -> None:
    passes = int(sys.argv[1])
    chance = None if sys.argv[2] == "quiet" else random.Random(int(sys.argv[2]))
    for number in range(passes):
        happened = disturb(chance) if chance else ""
        found = one_pass()
        left = {"processes": left_processes(), "files": files()}
        size = (STATE / "watch.sqlite").stat().st_size
        print(
            json.dumps({"pass": number, "happened": happened, **found, "left": left, "bytes": size}),
            flush=True,
        )


if __name__ == "__main__":
    main()
