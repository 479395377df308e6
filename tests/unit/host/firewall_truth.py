"""Compares what our reading of a firewall says with what the kernel does to real connections.

Runs inside a network namespace: the destinations are addresses of its own loopback, listening on port 80.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from ocsp_stapling.host.firewall.report import read_firewall

DESTINATIONS = ("198.51.100.7", "203.0.113.9", "2a00:7::7", "2a00:9::9")
WORKER = "nobody"
WORKER_ACCOUNT = 65534  # nobody, nogroup
PATIENCE = 0.5  # seconds after which a connection over loopback counts as dropped

FLUSH = "nft flush ruleset; for t in iptables ip6tables; do $t -P OUTPUT ACCEPT; $t -P INPUT ACCEPT; done"


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Answer every byte on port 80 of every destination with a byte."""
    with contextlib.ExitStack() as stack:
        waiting: list[socket.socket] = []
        for address in DESTINATIONS:
            server = stack.enter_context(socket.socket(_family(address)))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, 80))
            server.listen(64)
            waiting.append(server)
        over = threading.Event()
        thread = threading.Thread(target=_answer, args=(waiting, len(waiting), over))
        thread.start()
        yield
        over.set()
        thread.join()


def _answer(waiting: list[socket.socket], servers: int, over: threading.Event) -> None:
    while not over.is_set():
        ready, _, _ = select.select(waiting, [], [], 0.02)
        for one in ready:
            if one in waiting[:servers]:
                waiting.append(one.accept()[0])
                continue
            waiting.remove(one)
            with contextlib.suppress(OSError), one:
                one.sendall(one.recv(1))
    for one in waiting[servers:]:
        one.close()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _begin(address: str, account: int) -> socket.socket:
    os.setegid(account)
    os.seteuid(account)
    try:
        client = socket.socket(_family(address))
        client.setblocking(False)
        client.connect_ex((address, 80))
        return client
    finally:
        os.seteuid(0)
        os.setegid(0)


class _Question:
    """One byte to a destination, and its answer."""

    def __init__(self, address: str, account: int) -> None:
        self.client = _begin(address, account)
        self.asked = self.answered = False

    def go_on(self) -> bool:
        """Do what can be done now; True once the answer is there."""
        with contextlib.suppress(OSError):
            self.asked = self.asked or self.client.send(b"?") == 1
            self.answered = self.answered or self.client.recv(1) == b"?"
        return self.answered


def truth() -> dict[str, list[str]]:
    """Which destinations the worker really cannot reach, and which of these root cannot reach either."""
    questions = {
        (name, address): _Question(address, account)
        for name, account in (("root", 0), (WORKER, WORKER_ACCOUNT))
        for address in DESTINATIONS
    }
    deadline = time.monotonic() + PATIENCE
    while not all([q.go_on() for q in questions.values()]) and time.monotonic() < deadline:  # noqa: C419 - each
        time.sleep(0.01)
    blocked = {key for key, question in questions.items() if not question.answered}
    for question in questions.values():
        question.client.close()
    worker = [address for address in DESTINATIONS if (WORKER, address) in blocked]
    return {"root": [address for address in worker if ("root", address) in blocked], WORKER: worker}


def said() -> dict[str, list[str]]:
    """The same as our reading has it."""
    hints = read_firewall(DESTINATIONS, WORKER, seconds=60).hints
    assert all(hint.certain for hint in hints), hints
    root = {d for hint in hints if f"user {WORKER}" not in hint.text for d in hint.destinations}
    worker = {d for hint in hints for d in hint.destinations}
    return {"root": [d for d in DESTINATIONS if d in root], WORKER: [d for d in DESTINATIONS if d in worker]}


def compare(rulesets: list[str]) -> list[Any]:
    """Return each ruleset (shell commands) for which the two differ, with both."""
    differing = []
    for commands in rulesets:
        subprocess.run(["sh", "-ec", f"{FLUSH}\n{commands}"], check=True, capture_output=True, text=True)
        with _answering():
            real, read = truth(), said()
        if real != read:
            differing.append([commands, real, read])
    return differing


SETUP = "\n".join(
    f"ip address add {address}/{128 if ':' in address else 32} dev lo{' nodad' if ':' in address else ''}"
    for address in DESTINATIONS
)
