"""Handshakes with servers as odd as their owners like: one must never cost the others."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import handshakes
from tests.unit.ocsp.authority import issue, key, make_authority

VERSION = bytes.fromhex("a003020102")  # [0] INTEGER 2: version 3


def odd_certificate() -> bytes:
    """A certificate of version 5, which OpenSSL serves and `cryptography` refuses to read."""
    der = issue(make_authority()).public_bytes(Encoding.DER)
    odd = der.replace(VERSION, VERSION[:-1] + b"\x04", 1)
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_certificate(odd)
    return odd


def serve(der: bytes, files: Path, stack: ExitStack) -> int:
    """Answer TLS handshakes with this certificate on a port of the loopback interface."""
    file = files / "odd.pem"
    secret = key(2).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file.write_text(secret + ssl.DER_cert_to_PEM_cert(der))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def work() -> None:
        with suppress(OSError):
            while True:
                opened, _ = listening.accept()
                with opened, suppress(ssl.SSLError):
                    context.wrap_socket(opened, server_side=True).close()

    threading.Thread(target=work, daemon=True).start()
    stack.callback(listening.shutdown, socket.SHUT_RDWR)
    return int(listening.getsockname()[1])


@pytest.fixture
def odd_port(tmp_path: Path) -> Iterator[int]:
    with ExitStack() as stack:
        yield serve(odd_certificate(), tmp_path, stack)


def test_a_certificate_that_only_openssl_takes_is_met_like_any_other(odd_port: int) -> None:
    (met,) = handshakes([Door("127.0.0.1", odd_port, "odd.test")], ask=True, limit=30)

    assert met.error == ""
    assert VERSION[:-1] + b"\x04" in (met.certificate or b"")


@pytest.mark.parametrize(
    "name",
    ["x" * 300, "\u00fc" * 80, "bad\udce4.test", "", "a\0b"],
    ids=["long", "idn", "torn", "empty", "nul"],
)
def test_a_name_that_cannot_be_sent_costs_no_handshake(odd_port: int, name: str) -> None:
    doors = [Door("127.0.0.1", odd_port, each) for each in (name, "odd.test")]

    assert [met.error for met in handshakes(doors, ask=True, limit=30)] == ["", ""]
