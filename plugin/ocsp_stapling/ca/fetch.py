"""The one way out to a status page: https only, no redirect, bounded in size and total time, no ambient proxy."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    ContentDecodingError,
    InvalidURL,
    ProxyError,
    RequestException,
    SSLError,
    Timeout,
)
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NameResolutionError

from ocsp_stapling import __version__
from ocsp_stapling.settings import StatusPageSettings

SIZE_LIMIT = 2 * 1024 * 1024
JSON_TYPES = ("application/json", "text/json")
HTML_TYPES = ("text/html", "application/xhtml+xml")

_CHUNK = 65536

# First match wins: requests' SSLError and ProxyError are ConnectionErrors too.
_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (SSLError, "does not prove its identity (its TLS certificate or protocol is not accepted)"),
    (ProxyError, "could not be reached through the configured proxy"),
    (Timeout, "did not answer in time"),
    (ChunkedEncodingError, "broke off its answer"),
    (ContentDecodingError, "sent an answer that cannot be decoded"),
    (InvalidURL, "has an address that is not valid"),
    (NameResolutionError, "could not be found: its name does not resolve here"),
    (ConnectionError, "could not be reached from here"),
    (RequestException, "could not be read"),
    (HTTPError, "broke off its answer"),
    (OSError, "could not be reached from here"),
    (ValueError, "sent an answer that cannot be read"),
)


class FetchError(Exception):
    """A page could not be fetched; the text is a sentence's end, to follow "the status page"."""


class Fetcher:
    """Fetches pages until one common deadline, `seconds` from its making."""

    def __init__(self, settings: StatusPageSettings, seconds: float) -> None:
        self.settings = settings
        self.deadline = time.monotonic() + seconds

    def get_json(self, url: str) -> object:
        """Return the JSON document at `url`. Raises FetchError."""
        text = self._get(url, JSON_TYPES)
        try:
            found: object = json.loads(text)
        except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
            raise FetchError("sent something that is not JSON") from error
        return found

    def get_text(self, url: str) -> str:
        """Return the HTML at `url`. Raises FetchError."""
        return self._get(url, HTML_TYPES).decode("utf-8", "replace")

    def _get(self, url: str, types: tuple[str, ...]) -> bytes:
        if urlsplit(url).scheme != "https":
            raise FetchError("is not an https address")
        connections = _Connections(self.deadline)
        try:
            with self._session(connections) as session, self._cutting(connections):
                return self._receive(session, url, types)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise FetchError(self._sentence(error)) from error

    def _remaining(self) -> float:
        return max(self.deadline - time.monotonic(), 0.001)

    def _session(self, connections: _Connections) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no proxy, no .netrc, no certificate bundle from the environment
        if self.settings.proxy:
            session.proxies = {"https": self.settings.proxy}
        session.adapters.clear()
        session.mount("https://", _Adapter(connections, self.settings.ca_bundle))
        # identity: a compressed answer can unfold to any size
        session.headers = requests.structures.CaseInsensitiveDict(
            {"User-Agent": f"ocsp-stapling/{__version__}", "Accept-Encoding": "identity"}
        )
        return session

    @contextlib.contextmanager
    def _cutting(self, connections: _Connections) -> Iterator[None]:
        """Cut the connection at the deadline: time-outs of the library start anew with every byte."""
        timer = threading.Timer(self._remaining(), connections.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _receive(self, session: requests.Session, url: str, types: tuple[str, ...]) -> bytes:
        headers = {"Accept": ", ".join(types)}
        with session.get(
            url, headers=headers, timeout=self._remaining(), stream=True, allow_redirects=False
        ) as answer:
            self._in_time()  # a cut connection can look like a complete answer
            _refuse(answer, types)
            body = bytearray()
            for chunk in answer.iter_content(_CHUNK):
                body += chunk
                if len(body) > SIZE_LIMIT:
                    raise FetchError("sent more than 2 MiB")
                self._in_time()
            self._in_time()
            return bytes(body)

    def _in_time(self) -> None:
        if time.monotonic() >= self.deadline:
            raise FetchError("did not answer in time")

    def _sentence(self, error: Exception) -> str:
        if time.monotonic() >= self.deadline:
            return "did not answer in time"
        reason = getattr(error.args[0], "reason", None) if error.args else None
        found = reason if isinstance(reason, NameResolutionError) else error
        return next((text for kind, text in _SENTENCES if isinstance(found, kind)), "could not be read")


def _refuse(answer: requests.Response, types: tuple[str, ...]) -> None:
    if 300 <= answer.status_code < 400:
        raise FetchError("answered with a redirect, which is not followed")
    if answer.status_code != 200:
        raise FetchError(f"answered HTTP {answer.status_code}")
    kind = answer.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if kind not in types:
        raise FetchError("sent something other than " + ("JSON" if types is JSON_TYPES else "HTML"))
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchError("sent a compressed answer, which was not asked for")


class _Connections:
    """The connections of one fetch, so that they can be cut from outside."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.opened: list[HTTPSConnection] = []

    def cut(self) -> None:
        """End whatever is waited for on any connection."""
        for connection in self.opened:
            with contextlib.suppress(OSError, AttributeError, TypeError):
                # The plain socket's shutdown: SSLSocket's own would pull the TLS state from under the reader.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def pool(self) -> type[HTTPSConnectionPool]:
        """Return a pool class whose connections are noted here and refuse to begin after the deadline."""
        noted = self

        class Connection(HTTPSConnection):
            def connect(self) -> None:
                noted.opened.append(self)
                super().connect()
                if time.monotonic() >= noted.deadline:
                    raise TimeoutError

        class Pool(HTTPSConnectionPool):
            ConnectionCls = Connection

        return Pool


class _Adapter(HTTPAdapter):
    """Notes every connection it opens, and trusts an additional certificate bundle if one is configured."""

    def __init__(self, connections: _Connections, ca_bundle: str) -> None:
        self._pool = connections.pool()
        self._context = ssl.create_default_context(cafile=ca_bundle) if ca_bundle else None
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options, **self._tls())
        self.poolmanager.pool_classes_by_scheme = {"https": self._pool}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options, **self._tls())
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": self._pool}
        return manager

    def _tls(self) -> dict[str, Any]:
        return {"ssl_context": self._context} if self._context else {}
