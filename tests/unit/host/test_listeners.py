"""Who owns a port, seen on real listening sockets."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.host.listeners import Server, _address, owner_of

LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.bind((sys.argv[1], 0)); s.listen(); print(s.getsockname()[1], flush=True); sys.stdin.read()
"""


@contextmanager
def listening(program: Path, address: str = "127.0.0.1") -> Iterator[tuple[int, int]]:
    """A real process whose program file is `program`; yields its port and pid."""
    argv = [str(program), "-c", LISTEN, address]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
        process.stdin.close()


def program_named(folder: Path, name: str) -> Path:
    """A copy of the interpreter under another name: what /proc shows is the file's name."""
    real = Path(sys.executable).resolve()
    copy = folder / "bin" / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(real, copy)
    library = Path(sys.base_prefix)
    copy.parent.joinpath("pyvenv.cfg").write_text(f"home = {library / 'bin'}\n")
    return copy


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("httpd", Server.HTTPD),
        ("apache2", Server.HTTPD),
        ("nginx", Server.NGINX),
        ("lshttpd.6.3.1", Server.LITESPEED),
        ("openlitespeed", Server.OPENLITESPEED),
        ("haproxy", Server.HAPROXY),
        ("varnishd", Server.VARNISH),
        ("docker-proxy", Server.OTHER),
    ],
)
def test_process_behind_a_port_is_recognised_by_its_program(
    tmp_path: Path, name: str, server: Server
) -> None:
    with listening(program_named(tmp_path, name)) as (port, pid):
        owner = owner_of(port)
    assert owner.server is server
    (listener,) = owner.listeners
    assert (listener.address, listener.port, listener.pid, listener.process) == ("127.0.0.1", port, pid, name)
    assert name in owner.sentence


def test_ipv6_listener_is_seen() -> None:
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("::1", 0))
        server.listen()
        owner = owner_of(server.getsockname()[1])
    assert [listener.address for listener in owner.listeners] == ["::1"]
    assert owner.listeners[0].pid == os.getpid()


def test_a_connected_socket_is_not_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
    with client, accepted:
        owner = owner_of(port)
    assert owner.server is Server.NOBODY
    assert owner.sentence == f"nothing listens on port {port}"


def test_owner_we_may_not_see_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text("header\n 0: 00000000:01BB 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n")
    owner = owner_of(443, tmp_path)
    assert owner.server is Server.UNKNOWN
    assert owner.listeners[0].address == "0.0.0.0"
    assert "only root" in owner.sentence


@given(st.text())
def test_any_address_text_is_decoded_or_refused(text: str) -> None:
    found = _address(text)
    assert found is None or str(ipaddress.ip_address(found[0])) == found[0]


@given(table=st.binary(max_size=400))
def test_any_table_is_survived(tmp_path_factory: pytest.TempPathFactory, table: bytes) -> None:
    proc = tmp_path_factory.getbasetemp() / "fuzz-proc"
    (proc / "net").mkdir(parents=True, exist_ok=True)
    (proc / "net/tcp").write_bytes(b"header\n" + table)
    assert owner_of(443, proc).server in {Server.NOBODY, Server.UNKNOWN}
