"""The service's socket: root alone, handed over by systemd or our own, and gone when nobody asks."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings
from ocsp_stapling.web import server
from ocsp_stapling.web.app import create_app
from tests.unit.web.asking import OPERATOR, headers

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may connect, so only root can try")
ASK = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.settimeout(20)
try:
    s.connect(sys.argv[1])
    s.sendall(b"GET / HTTP/1.1\\r\\nX-Ocsp-Stapling-User: root\\r\\nX-Ocsp-Stapling-Role: operator\\r\\n\\r\\n")
    print(len(s.recv(100)))
except OSError as error:
    print(type(error).__name__)
"""


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))


def ask(path: Path, query: str) -> tuple[int, bytes]:
    with contextlib.closing(Connection(path)) as connection:
        connection.request("GET", f"/?{query}", headers=headers(OPERATOR))
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, threading.Thread]]:
    """The service on a socket in a directory of its own, for as long as it stays."""
    path = tmp_path / "run" / "web.sock"
    listener = server.listen(path)
    app = create_app(Settings(state_directory=tmp_path / "state"))
    thread = threading.Thread(target=server.serve, args=(app, listener, 1.5), daemon=True)
    thread.start()
    yield path, thread
    thread.join(30)
    listener.close()


@as_root
def test_root_is_answered_and_the_service_leaves_after_its_idle_time(
    served: tuple[Path, threading.Thread],
) -> None:
    path, thread = served
    status, body = ask(path, "p=nowhere&format=json")
    assert (status, json.loads(body)["error"]["code"]) == (404, "not-found")
    thread.join(30)
    assert not thread.is_alive()


@as_root
def test_a_connection_that_asks_nothing_does_not_hold_up_others(
    served: tuple[Path, threading.Thread],
) -> None:
    path, _ = served
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        assert ask(path, "p=nowhere")[0] == 404


@as_root
def test_another_user_is_cut_off_even_where_the_files_would_let_them_in(tmp_path: Path) -> None:
    where = Path("/tmp") / f"ocsp-stapling-test-{os.getpid()}"
    where.mkdir(mode=0o700)
    try:
        path = where / "web.sock"
        listener = server.listen(path)
        stop = create_app(Settings(state_directory=tmp_path))
        thread = threading.Thread(target=server.serve, args=(stop, listener, 3.0), daemon=True)
        thread.start()
        kept_out = subprocess.run(
            [sys.executable, "-c", ASK, path], capture_output=True, text=True, check=True
        )
        assert kept_out.stdout.strip() == "PermissionError"
        where.chmod(0o755)
        path.chmod(0o666)
        cut_off = subprocess.run(
            [sys.executable, "-c", ASK, path], capture_output=True, text=True, check=True
        )
        assert cut_off.stdout.strip() in ("0", "BrokenPipeError", "ConnectionResetError")
        assert ask(path, "p=nowhere")[0] == 404
        thread.join(30)
    finally:
        (where / "web.sock").unlink(missing_ok=True)
        where.rmdir()


def test_our_own_socket_is_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "web.sock"
    with server.listen(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(Problem) as caught:
        server.listen(tmp_path / "web.sock")
    assert caught.value.code == "unsafe-path"


def test_a_second_service_is_refused_and_a_dead_ones_socket_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run" / "web.sock"
    with server.listen(path), pytest.raises(Problem) as caught:
        server.listen(path)
    assert caught.value.code == "socket-in-use"
    assert path.exists()
    server.listen(path).close()


INHERIT = """
import os, sys, socket
os.environ["LISTEN_PID"] = sys.argv[1] if sys.argv[1] != "self" else str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[2]); s.listen(1)
if s.fileno() != 3: os.dup2(s.fileno(), 3)
from ocsp_stapling.web import server
got = server.inherited()
print(got and got.getsockname(), "LISTEN_FDS" in os.environ, got and os.get_inheritable(3))
"""


@pytest.mark.parametrize(
    ("pid", "expected"), [("self", "{path} False False"), ("1", "None False None"), ("", "None False None")]
)
def test_systemds_socket_is_taken_only_if_it_is_meant_for_us(tmp_path: Path, pid: str, expected: str) -> None:
    path = tmp_path / "s"
    done = subprocess.run(
        [sys.executable, "-c", INHERIT, pid, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected.format(path=path)


@as_root
def test_the_command_serves_and_ends_by_itself(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'state_directory = "{tmp_path}/state"\n')
    path = tmp_path / "run" / "web.sock"
    command = [str(Path(sys.executable).with_name("ocsp-stapling")), "serve", "--json", "--idle-seconds", "2"]
    with subprocess.Popen(
        [*command, "--socket", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OCSP_STAPLING_CONFIG": str(config)},
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {
            "schema": "ocsp-stapling/serve/1",
            "listening": str(path),
        }
        deadline = time.monotonic() + 30
        while ask(path, "p=nowhere")[0] != 404:
            assert time.monotonic() < deadline
        assert process.wait(60) == 0


def test_an_ordinary_file_is_never_replaced_by_a_socket(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    path = directory / "file"
    path.write_text("somebody's")
    with pytest.raises(Problem, match="no socket"):
        server.listen(path)
    assert path.read_text() == "somebody's"
