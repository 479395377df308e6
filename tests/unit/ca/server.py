"""A real HTTPS server on loopback whose answers a test writes byte by byte."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[[ssl.SSLSocket, threading.Event], None]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )


def make_certificates(folder: Path) -> tuple[Path, Path]:
    """A CA certificate, and a file with certificate and key for localhost that it signed."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = (
        _builder("test CA", "test CA", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        _builder("localhost", "test CA", key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    bundle, combined = folder / "ca.pem", folder / "server.pem"
    bundle.write_bytes(ca.public_bytes(pem))
    combined.write_bytes(leaf.public_bytes(pem) + private)
    return bundle, combined


class StatusServer:
    """Answers by path; what was asked is in `requests` (path and the whole request)."""

    def __init__(self, port: int) -> None:
        self.url = f"https://localhost:{port}"
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()

    def json(self, path: str, document: Any) -> None:
        """Answer `path` with a JSON document."""
        self.body(path, json.dumps(document).encode(), "application/json; charset=utf-8")

    def html(self, path: str, text: str) -> None:
        """Answer `path` with a page."""
        self.body(path, text.encode(), "text/html")

    def body(self, path: str, body: bytes, kind: str, status: str = "200 OK", extra: str = "") -> None:
        """Answer `path` with these bytes."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self.answers[path] = lambda connection, _: connection.sendall(head.encode() + body)

    def handle(self, connection: ssl.SSLSocket) -> None:
        """Read one request, answer it, close."""
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(65536)
            if not chunk:
                return
            received += chunk
        text = received.decode("latin-1")
        path = text.split(" ")[1]
        self.requests.append((path, text))
        self.answers[path](connection, self.closing)


@contextlib.contextmanager
def status_server(combined: Path) -> Iterator[StatusServer]:
    """Run a server with the certificate in `combined`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(combined)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(self.request, server_side=True) as secure:
                served.handle(secure)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        served = StatusServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.closing.set()
            server.shutdown()
