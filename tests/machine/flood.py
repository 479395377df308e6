"""Somebody with an account on this server, who keeps a local port busy with connections of one byte each.

Usage: python -m tests.machine.flood PORT SECONDS [PROCESSES]
Prints how many connections were made. As root it becomes `nobody` first.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time

NOBODY = 65534


def flood(port: int, seconds: float) -> int:
    """Open, send one byte, close, as fast as one process can; return how many connections there were."""
    end, made = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        opened = socket.socket()
        opened.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            opened.connect(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            opened.send(b"P")
            made += 1
        opened.close()
    return made


def main() -> None:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for _ in range(int(sys.argv[3]) - 1 if len(sys.argv) > 3 else 0):
        if os.fork() == 0:
            break
    os.write(1, f"{flood(port, seconds)}\n".encode())


if __name__ == "__main__":
    main()
