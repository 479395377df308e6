"""Outside a machine: WHM as its users meet it. A connection goes through the machine's own network."""

from __future__ import annotations

import ctypes
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from tests.machine.cpanel import OPERATOR, password
from tests.machine.machine import Machine
from tests.machine.shape import SERVER_V4

PORT = 2087
PAGE = "/cgi/ocsp-stapling/index.cgi"
FORM = "application/x-www-form-urlencoded"
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Answer:
    """What a browser got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


@dataclass
class Browser:
    """Somebody at WHM: logged in (a cookie and a prefix), or with an Authorization header, or nobody."""

    machine: Machine
    prefix: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request; `target` begins behind the session's prefix. Redirects are not followed."""
        connection = http.client.HTTPSConnection("whm.example.test", PORT, timeout=120)
        connection.sock = connect(self.machine)
        try:
            connection.request(method, self.prefix + target, body, {**self.headers, **(headers or {})})
            got = connection.getresponse()
            return Answer(got.status, dict(got.headers.items()), got.read())
        finally:
            connection.close()

    def get(self, page: str = "", **parameters: str) -> Answer:
        """Open a page of the plugin."""
        return self.ask("GET", f"{PAGE}?{urlencode({'p': page, **parameters})}")

    def post(self, page: str, fields: Mapping[str, str], **parameters: str) -> Answer:
        """Send a form to the plugin."""
        target = f"{PAGE}?{urlencode({'p': page, **parameters})}"
        return self.ask("POST", target, urlencode(fields).encode(), {"Content-Type": FORM})


def open_whm(machine: Machine) -> None:
    """Start WHM with the plugin's page on a machine."""
    machine.python("tests.machine.cpanel", "prepare", "install", "start")


def log_in(machine: Machine, user: str = OPERATOR) -> Browser:
    """Log in through WHM's login form."""
    form = urlencode({"user": user, "pass": password(user)}).encode()
    got = Browser(machine).ask("POST", "/login/", form, {"Content-Type": FORM})
    assert got.status == 301, got.text
    cookie = got.headers["Set-Cookie"].partition(";")[0]
    return Browser(machine, got.headers["Location"].rstrip("/"), {"Cookie": cookie})


def connect(machine: Machine) -> ssl.SSLSocket:
    """Return a TLS connection to WHM, made inside the machine's network."""
    context = ssl.SSLContext(
        ssl.PROTOCOL_TLS_CLIENT
    )  # no list of authorities: it takes longer to load than a page
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(_connected_inside(machine.pid, (SERVER_V4, PORT)))


def _connected_inside(pid: int, address: tuple[str, int]) -> socket.socket:
    """A socket belongs to the network in which it was made: make it in a thread that has moved there."""
    found: list[socket.socket | OSError] = []

    def work() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            found.append(socket.create_connection(address, timeout=120))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]
