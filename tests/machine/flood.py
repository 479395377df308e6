"""Somebody with an account on this server, who keeps a local port busy with connections of one byte each.

Usage: python -m tests.machine.flood PORT SECONDS [PROCESSES [BYTES [RATE]]]
BYTES: each begins a question of that size instead, never ends it, and stays open while the next 5,000 are made.
RATE: each process makes no more than that many a second.
Prints how many connections were made. As root it becomes `nobody` first.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import time
from collections import deque

NOBODY = 65534
HELD = 5000
HEAD = b"POST / HTTP/1.0\r\nContent-Length: 70000\r\n\r\n"


def flood(port: int, seconds: float, size: int, rate: int) -> int:
    """Open, send, close, as fast as one process can or may; return how many connections there were."""
    sent, keep = (HEAD + bytes(size), HELD) if size else (b"P", 0)
    end, made, held = time.monotonic() + seconds, 0, deque[socket.socket]()
    while (now := time.monotonic()) < end:
        if rate and made > rate * (now - end + seconds):
            time.sleep(0.001)
            continue
        opened = socket.socket()
        opened.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            opened.connect(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            opened.send(sent)
            made += 1
        held.append(opened)
        if len(held) > keep:
            held.popleft().close()
    return made


def main() -> None:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    processes, size, rate = map(int, (*sys.argv[3:], *("1", "0", "0")[len(sys.argv) - 3 :]))
    with contextlib.suppress(ValueError):  # the hard limit is lower
        resource.setrlimit(resource.RLIMIT_NOFILE, (HELD + 100, HELD + 100))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    os.write(1, f"{flood(port, seconds, size, rate)}\n".encode())


if __name__ == "__main__":
    main()
