"""What the doctor says of the registration and of the service, whatever WHM and the socket answer."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.cli.doctor import running
from ocsp_stapling.cli.doctor.check import FAILED, OK, WARNING, Places
from ocsp_stapling.shield import service
from ocsp_stapling.shield.standing import wish
from ocsp_stapling.whm import api

REPO = Path(__file__).resolve().parents[4]
SHOWN = {
    "name": "ocsp-stapling",
    "displayname": "OCSP Stapling",
    "url": "/cgi/ocsp-stapling/index.cgi",
    "acls": ["software-ocsp-stapling", "all"],
}


def asked(monkeypatch: pytest.MonkeyPatch, data: dict[str, Any]) -> str:
    monkeypatch.setattr(api, "call", lambda *_, **__: api.ApiAnswer(data, ""))
    return running.registration(Places(release=REPO)).state


@pytest.mark.parametrize(
    "data",
    [
        {"application": [{"name": "other"}, SHOWN]},
        {"apps": {"ocsp-stapling": SHOWN | {"acls": "all,software-ocsp-stapling"}}},
        {"list": [{"name": "ocsp-stapling"}]},
        {"cpanel": [], "whostmgr": [SHOWN | {"url": ["/cgi/ocsp-stapling/index.cgi"]}], "webmail": []},
        {"whostmgr": {"ocsp-stapling": {"entryurl": "ocsp-stapling/index.cgi", "acls": SHOWN["acls"]}}},
    ],
)
def test_the_plugin_is_found_however_the_list_is_named(
    monkeypatch: pytest.MonkeyPatch, data: dict[str, Any]
) -> None:
    assert asked(monkeypatch, data) == OK


@pytest.mark.parametrize("shown", [{"name": "other"}, SHOWN | {"entryurl": "ocsp-stapling/other.cgi"}])
def test_a_plugin_that_is_missing_or_opens_another_address_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, shown: dict[str, Any]
) -> None:
    assert asked(monkeypatch, {"application": [shown]}) == FAILED


@pytest.mark.parametrize(
    "differing",
    [{"acls": ["all"]}, {"acls": ""}, {"url": "/cgi/other.cgi"}, {"url": []}, {"displayname": "OCSP"}],
)
def test_another_difference_is_a_warning(monkeypatch: pytest.MonkeyPatch, differing: dict[str, Any]) -> None:
    assert asked(monkeypatch, {"cpanel": [], "whostmgr": [SHOWN | differing]}) == WARNING


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b"HTTP/1.0 403 Forbidden\r\n\r\n", OK),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", FAILED),
        (b"nonsense", FAILED),
        (b"", FAILED),
    ],
)
def test_the_service_must_answer_in_order(tmp_path: Path, answer: bytes, state: str) -> None:
    path = tmp_path / "run/ocsp-stapling/web.sock"
    path.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer_once, args=(listener, answer))
        thread.start()
        assert running.service(Places(root=tmp_path)).state == state
        thread.join()


def answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)


def test_nobody_listening_or_an_open_directory_is_a_fault(tmp_path: Path) -> None:
    assert running.service(Places(root=tmp_path)).state == FAILED
    (tmp_path / "run/ocsp-stapling").mkdir(parents=True)
    (tmp_path / "run/ocsp-stapling").chmod(0o755)
    assert "open to others" in running.service(Places(root=tmp_path)).sentence


@pytest.mark.parametrize(
    ("first", "answering", "state", "said"),
    [
        ("1024", True, OK, "answers on 127.0.0.1:340"),
        ("1024", False, FAILED, "does not answer"),
        ("0", True, FAILED, "Any account may listen on port 340"),
    ],
)
def test_a_relay_that_is_dead_or_whose_port_was_opened_to_all_since_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, answering: bool, state: str, said: str
) -> None:
    assert running.shield(tmp_path) == []
    wish(tmp_path, 340)
    (tmp_path / "first").write_text(first)
    monkeypatch.setattr(service, "UNPRIVILEGED", tmp_path / "first")
    monkeypatch.setattr(running, "answers", lambda _port: answering)
    (found,) = running.shield(tmp_path)
    assert (found.state, said in found.sentence) == (state, True)
