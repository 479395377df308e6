"""Status pages over real HTTPS, friendly and hostile."""

from __future__ import annotations

import dataclasses
import datetime
import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.ca import statusio
from ocsp_stapling.ca.reading import Level, PageReading
from ocsp_stapling.ca.status import FILE_NAME, AuthorityStatus, PageCache, status_of
from ocsp_stapling.settings import Authority, Settings
from tests.unit.ca import documents
from tests.unit.ca.server import StatusServer

NOW = datetime.datetime(2026, 1, 5, 10, 0, tzinfo=datetime.UTC)
SUMMARY = "/api/v2/summary.json"
PAGE_ID = "0123456789abcdef01234567"


def authority(pages: StatusServer, kind: str = "statuspage", **more: Any) -> Authority:
    return Authority(name="Example CA", issuers=("X",), status_page=pages.url, kind=kind, **more)


def ask(pages: StatusServer, settings: Settings, now: datetime.datetime = NOW) -> AuthorityStatus:
    (status,) = status_of([authority(pages)], settings, now)
    return status


def within(settings: Settings, seconds: float) -> Settings:
    pages = dataclasses.replace(settings.status_pages, timeout_seconds=seconds)
    return dataclasses.replace(settings, status_pages=pages)


def test_statuspage_is_read(pages: StatusServer, trusting: Settings) -> None:
    pages.json(SUMMARY, documents.summary(incidents=[documents.summary_incident("OCSP down", "critical")]))
    status = ask(pages, trusting)
    assert status.level is Level.OUTAGE
    assert status.sentence == "the status page of Example CA reports an outage: OCSP down"
    assert (status.authority, status.url) == ("Example CA", pages.url)


def test_statusio_page_id_is_discovered_from_the_page(
    pages: StatusServer, trusting: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statusio, "API", pages.url + "/1.0/status/")
    pages.html("/", f"<html><script>var statuspageId = '{PAGE_ID}';</script></html>")
    pages.json(f"/1.0/status/{PAGE_ID}", documents.statusio(components={"OCSP": 300}))
    (status,) = status_of([authority(pages, "statusio")], trusting, NOW)
    assert status.level is Level.DEGRADED


def test_known_statusio_id_needs_no_discovery(
    pages: StatusServer, trusting: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statusio, "API", pages.url + "/1.0/status/")
    pages.json(f"/1.0/status/{PAGE_ID}", documents.statusio())
    (status,) = status_of([authority(pages, "statusio", status_id=PAGE_ID)], trusting, NOW)
    assert status.level is Level.OPERATIONAL
    assert [path for path, _ in pages.requests] == [f"/1.0/status/{PAGE_ID}"]


def test_environment_changes_nothing(
    pages: StatusServer, trusting: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    pages.json(SUMMARY, documents.summary())
    assert ask(pages, trusting).level is Level.OPERATIONAL


def test_configured_proxy_is_used(pages: StatusServer, trusting: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        asked: list[bytes] = []

        def refuse() -> None:
            client, _ = proxy.accept()
            asked.append(client.recv(4096))
            client.sendall(b"HTTP/1.1 403 No\r\n\r\n")
            client.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        own = dataclasses.replace(trusting.status_pages, proxy=f"http://127.0.0.1:{proxy.getsockname()[1]}")
        status = ask(pages, dataclasses.replace(trusting, status_pages=own))
        thread.join(60)
    assert asked[0].startswith(b"CONNECT localhost:")
    assert "through the configured proxy" in status.sentence


def test_server_that_cannot_prove_its_name_is_not_read(pages: StatusServer, tmp_path: Path) -> None:
    pages.json(SUMMARY, documents.summary())
    status = ask(pages, within(Settings(state_directory=tmp_path), 20))
    assert status.level is Level.UNKNOWN
    assert "does not prove its identity" in status.sentence
    assert pages.requests == []


HUGE = b"[" + b"1," * 1_500_000 + b"1]"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("kind", "status", "extra", "body", "said"),
    [
        ("application/json", "302 Found", "Location: https://localhost/\r\n", b"", "redirect"),
        ("application/json", "503 No", "", b"{}", "HTTP 503"),
        ("application/json", "204 Nothing", "", b"", "HTTP 204"),
        ("text/html", "200 OK", "", b"<html>", "other than JSON"),
        ("application/json", "200 OK", "", b"<html>", "not JSON"),
        ("application/json", "200 OK", "", b"", "not JSON"),
        ("application/json", "200 OK", "", b"\xff\xfe", "not JSON"),
        ("application/json", "200 OK", "", b"[" * 200_000, "not JSON"),
        ("application/json", "200 OK", "", b'{"a":' * 200_000, "not JSON"),
        ("application/json", "200 OK", "", b"9" * 100_000, "not JSON"),
        ("application/json", "200 OK", "", b'{"status": 3}', "lacks"),
        ("application/json", "200 OK", "", HUGE, "more than 2 MiB"),
        ("application/json", "200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b", "compressed"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_unreadable_answer_is_unknown_and_says_why(
    pages: StatusServer, trusting: Settings, kind: str, status: str, extra: str, body: bytes, said: str
) -> None:
    pages.body(SUMMARY, body, kind, status, extra)
    found = ask(pages, trusting)
    assert found.level is Level.UNKNOWN
    assert said in found.sentence
    assert len(pages.requests) == 1


def test_endless_answer_without_length_is_cut(pages: StatusServer, trusting: Settings) -> None:
    def pour(connection: ssl.SSLSocket, closing: threading.Event) -> None:
        connection.sendall(PLAIN + b"\r\n[")
        while not closing.is_set():
            connection.sendall(b"1," * 50_000)

    pages.answers[SUMMARY] = pour
    assert "more than 2 MiB" in ask(pages, trusting).sentence


def drip(connection: ssl.SSLSocket, closing: threading.Event, head: bytes) -> None:
    connection.sendall(head)
    while not closing.wait(0.05):
        connection.sendall(b"1")


@pytest.mark.parametrize(
    "head",
    [PLAIN + b"Content-Length: 9999999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 2"],
    ids=["body", "header", "status line"],
)
def test_slow_drip_ends_at_the_deadline_and_leaves_no_thread(
    pages: StatusServer, trusting: Settings, head: bytes
) -> None:
    over = threading.Event()

    def answer(connection: ssl.SSLSocket, closing: threading.Event) -> None:
        try:
            drip(connection, closing, head)
        finally:
            over.set()

    pages.answers[SUMMARY] = answer
    status = ask(pages, within(trusting, 0.7))
    assert "did not answer in time" in status.sentence
    assert over.wait(60), "the connection must be cut although bytes still come"
    assert not pages.closing.is_set()


def test_server_that_accepts_and_is_silent_ends_at_the_deadline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        page = Authority(
            name="X", status_page=f"https://localhost:{silent.getsockname()[1]}", kind="statuspage"
        )
        started = time.monotonic()
        (status,) = status_of([page], within(Settings(state_directory=tmp_path), 0.5), NOW)
    assert "did not answer in time" in status.sentence
    assert time.monotonic() - started < 30


def test_slow_name_resolution_does_not_hold_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def stuck(*_: object, **__: object) -> None:
        release.wait(120)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    page = Authority(name="X", status_page="https://status.example.com", kind="statuspage")
    (status,) = status_of([page], within(Settings(state_directory=tmp_path), 0.3), NOW)
    release.set()
    assert "did not answer in time" in status.sentence


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("https://localhost:1", "could not be reached from here"),
        ("https://no-such-name.invalid", "does not resolve"),
    ],
)
def test_offline_is_unknown_and_plain(tmp_path: Path, page: str, said: str) -> None:
    offline = Authority(name="X", status_page=page, kind="statuspage")
    (status,) = status_of([offline], within(Settings(state_directory=tmp_path), 20), NOW)
    assert status.level is Level.UNKNOWN
    assert said in status.sentence


def test_pages_are_read_side_by_side_in_the_order_asked(pages: StatusServer, trusting: Settings) -> None:
    together = threading.Barrier(4)

    def answer(connection: ssl.SSLSocket, _: threading.Event) -> None:
        together.wait(60)
        body = json.dumps(documents.summary()).encode()
        connection.sendall(PLAIN + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    wanted = []
    for number in range(4):
        pages.answers[f"/{number}{SUMMARY}"] = answer
        wanted.append(Authority(name=f"CA {number}", status_page=f"{pages.url}/{number}", kind="statuspage"))
    link = Authority(name="Link", status_page="https://status.example.com")
    found = status_of([*wanted, link], trusting, NOW)
    assert [s.authority for s in found] == ["CA 0", "CA 1", "CA 2", "CA 3", "Link"]
    assert [s.level for s in found] == [Level.OPERATIONAL] * 4 + [Level.UNKNOWN]
    assert "only be read by people" in found[4].sentence


def test_disabled_pages_are_not_asked(pages: StatusServer, trusting: Settings) -> None:
    own = dataclasses.replace(trusting.status_pages, enabled=False)
    status = ask(pages, dataclasses.replace(trusting, status_pages=own))
    assert "status_pages.enabled is false" in status.sentence
    assert pages.requests == []


def test_answer_is_used_again_for_two_minutes(pages: StatusServer, trusting: Settings) -> None:
    pages.json(SUMMARY, documents.summary(incidents=[documents.summary_incident()]))
    first = ask(pages, trusting)
    again = ask(pages, trusting, NOW + datetime.timedelta(seconds=119))
    assert again == first
    assert len(pages.requests) == 1
    ask(pages, trusting, NOW + datetime.timedelta(seconds=120))
    assert len(pages.requests) == 2


def test_a_failure_is_not_remembered(pages: StatusServer, trusting: Settings) -> None:
    pages.body(SUMMARY, b"", "text/html", "503 No")
    assert ask(pages, trusting).level is Level.UNKNOWN
    pages.json(SUMMARY, documents.summary())
    assert ask(pages, trusting).level is Level.OPERATIONAL


def test_an_entry_from_the_future_is_not_used(pages: StatusServer, trusting: Settings) -> None:
    pages.json(SUMMARY, documents.summary())
    ask(pages, trusting)
    ask(pages, trusting, NOW - datetime.timedelta(days=1))
    assert len(pages.requests) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "pages": [1]}',
        b"[" * 100_000,
        b'{"version": 1, "pages": {"https://localhost": {"at": "2026-01-05T10:00:00", "level": "x"}}}',
        b'{"pages": {"https://localhost": [{"level": "x", "incidents": []}, "2026-01-05T10:00:00Z"]}}',
        b'{"pages": {"https://localhost": [{"level": "outage", "incidents": []}, "2026-01-05T10:00:00"]}}',
    ],
    ids=range(10),
)
def test_corrupt_cache_is_ignored_and_replaced(
    pages: StatusServer, trusting: Settings, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    pages.json(SUMMARY, documents.summary())
    assert ask(pages, trusting).level is Level.OPERATIONAL
    assert list(json.loads((tmp_path / FILE_NAME).read_text())) == ["pages"]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_missing_state_directory_only_means_no_cache(
    pages: StatusServer, trusting: Settings, tmp_path: Path
) -> None:
    pages.json(SUMMARY, documents.summary())
    nowhere = dataclasses.replace(trusting, state_directory=tmp_path / "none")
    assert ask(pages, nowhere).level is Level.OPERATIONAL
    assert not (tmp_path / "none").exists()


@given(st.binary(max_size=300))
def test_any_cache_is_survived(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz-cache"
    folder.mkdir(exist_ok=True)
    (folder / FILE_NAME).write_bytes(content)
    PageCache(folder).fresh(NOW, datetime.timedelta(minutes=2))


def test_old_entries_do_not_pile_up(tmp_path: Path) -> None:
    cache = PageCache(tmp_path)
    cache.store({"https://old.example": PageReading(Level.OPERATIONAL, ())}, NOW)
    later = NOW + datetime.timedelta(days=2)
    cache.store({"https://new.example": PageReading(Level.OUTAGE, ())}, later)
    assert list(json.loads((tmp_path / FILE_NAME).read_text())["pages"]) == ["https://new.example"]
