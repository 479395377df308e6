"""Who serves somebody, from real sockets: the kernel's own counts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ocsp_stapling.host import connections

WORKER = """
import socket, sys
server = socket.create_server((sys.argv[1], 0), family=int(sys.argv[2]))
print(server.getsockname()[1], flush=True)
visitor, _ = server.accept()
if sys.argv[3]:
    visitor.sendall(sys.argv[3].encode())
print("served", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def worker(says: str = "", host: str = "127.0.0.1") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process with a listener, which says something to its first visitor, or nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    line = [sys.executable, "-I", "-c", WORKER, host, str(int(family)), says]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as found:
        assert found.stdout is not None
        try:
            yield found, int(found.stdout.readline())
        finally:
            found.kill()


@contextlib.contextmanager
def visit(of: subprocess.Popen[str], port: int, host: str = "127.0.0.1", says: bytes = b"") -> Iterator[None]:
    assert of.stdout is not None
    with socket.create_connection((host, port), 5) as visitor:
        visitor.sendall(says)
        assert of.stdout.readline() == "served\n"
        time.sleep(0.05)
        yield


def serves(of: subprocess.Popen[str], *tls_ports: int) -> bool:
    found = connections.serving([of.pid, os.getpid()], tls_ports)
    assert found <= {of.pid}
    return bool(found)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_worker_that_sent_something_serves_somebody(host: str) -> None:
    with worker("hello", host) as (found, port), visit(found, port, host, b"hello"):
        assert serves(found, port)


def test_what_still_waits_to_be_sent_counts() -> None:
    """A visitor who has not read anything may be a slow one in the middle of a download."""
    with worker("x" * 60_000) as (found, port), visit(found, port):
        assert serves(found, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_worker_that_has_sent_its_visitor_nothing_hangs(host: str) -> None:
    with worker("", host) as (found, port), visit(found, port, host, b"hello"):
        assert not serves(found, port)


def test_without_tls_whoever_has_asked_may_be_answered_soon() -> None:
    with worker() as (found, port), visit(found, port, says=b"GET / HTTP/1.0\r\n"):
        assert serves(found, port + 1)
    with worker() as (found, port), visit(found, port):
        assert not serves(found, port + 1)


def test_what_a_worker_has_opened_itself_does_not_count() -> None:
    """Apache's own question to the responder is what it hangs in."""
    with worker("x" * 10) as (found, port), visit(found, port, says=b"question"):
        assert os.getpid() not in connections.serving([os.getpid()], [443])


def test_a_kernel_that_does_not_tell_means_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_BY_FAMILY", 9999)
    assert connections.connections() == []
    with worker("hello") as (found, port), visit(found, port):
        assert not serves(found, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_whom_a_process_asks_is_known_and_not_who_asks_it(host: str) -> None:
    with worker("", host) as (found, port), visit(found, port, host):
        assert (host, port) in connections.asked_by([os.getpid()])
        assert not connections.asked_by([found.pid])
    assert not connections.asked_by([])


def test_whoever_has_ended_the_connection_is_not_asked_any_more() -> None:
    """Apache reads the end at once and gives up; only a connection to a site behind it is left like that."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as asking:
            there, _ = server.accept()
            with there:
                assert ("127.0.0.1", port) in connections.asked_by([os.getpid()])
            assert asking.recv(1) == b""
            assert ("127.0.0.1", port) not in connections.asked_by([os.getpid()])
