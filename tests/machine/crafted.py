"""A visitor whose TLS client is made by hand: its status_request carries extensions of any size for the responder.

Usage: python -m tests.machine.crafted SITE BYTES OTHER
mod_ssl hands such extensions on in its own question. These hold so many bytes, and among them, where a careless
reader may take it for what is asked, the question about the certificate of the site OTHER. Prints one JSON object:
the staple's status ("" without a staple), whether it is about the certificate that was served, and the seconds.

TLS 1.2, for there the server's first messages, the staple among them, are not encrypted.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.machine.ea4 import TLS
from tests.machine.shape import SERVER_V4

_HANDSHAKE, _CLIENT_HELLO, _CERTIFICATE, _DONE, _STATUS = 22, 1, 11, 14, 22
_CIPHERS = bytes.fromhex("c02bc02fc02cc030cca9cca8")
_GROUPS, _POINTS = bytes.fromhex("0004001d0017"), bytes.fromhex("0100")
_SIGNATURES = bytes.fromhex("001004030804040105030805050108060601")
_NONCE_OID, _OTHER_OID = bytes.fromhex("06092b0601050507300102"), bytes.fromhex("06032a0304")


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body).to_bytes(3, "big").lstrip(b"\0") or b"\0"
    return bytes([tag]) + (size if len(body) < 128 else bytes([0x80 + len(size)]) + size) + body


def request_extensions(size: int, question: bytes) -> bytes:
    """Return an ASN.1 `Extensions` (RFC 5280) of about so many bytes: a nonce, the question, and chance."""
    nonce = der(0x30, _NONCE_OID, der(4, der(4, os.urandom(16))))
    rest = os.urandom(max(0, size - len(question) - len(nonce) - 32))
    return der(0x30, nonce, der(0x30, _OTHER_OID, der(4, question + rest)))


def question_about(site: str) -> bytes:
    """Return the question that Apache asks about a site's certificate."""
    leaf, issuer, *_ = x509.load_pem_x509_certificates((TLS / site / "combined").read_bytes())
    asked = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1())
    return asked.build().public_bytes(Encoding.DER)


def client_hello(site: str, extensions: bytes) -> bytes:
    """Return the records of a ClientHello (RFC 5246, RFC 6066)."""
    name = site.encode()
    server_name = struct.pack("!HBH", len(name) + 3, 0, len(name)) + name
    status = b"\x01\0\0" + struct.pack("!H", len(extensions)) + extensions
    every = ((0, server_name), (10, _GROUPS), (11, _POINTS), (13, _SIGNATURES), (5, status))
    told = b"".join(struct.pack("!HH", number, len(body)) + body for number, body in every)
    body = b"\x03\x03" + os.urandom(32) + b"\0" + struct.pack("!H", len(_CIPHERS)) + _CIPHERS
    body += b"\x01\0" + struct.pack("!H", len(told)) + told
    message = bytes([_CLIENT_HELLO]) + len(body).to_bytes(3, "big") + body
    pieces = (message[at : at + 16_384] for at in range(0, len(message), 16_384))
    return b"".join(struct.pack("!BHH", _HANDSHAKE, 0x0301, len(piece)) + piece for piece in pieces)


def messages(opened: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield the server's handshake messages: type and body. Raises OSError for an alert or an early end."""
    reader, buffer = opened.makefile("rb"), b""
    while True:
        head = reader.read(5)
        if len(head) < 5 or head[0] != _HANDSHAKE:
            raise ConnectionError(f"the server ends it: {head.hex()} {reader.read(2).hex()}")
        buffer += reader.read(int.from_bytes(head[3:5], "big"))
        while len(buffer) >= 4 and len(buffer) >= 4 + int.from_bytes(buffer[1:4], "big"):
            size = int.from_bytes(buffer[1:4], "big")
            yield buffer[0], buffer[4 : 4 + size]
            buffer = buffer[4 + size :]


def visit(site: str, extensions: bytes) -> dict[str, object]:
    """Return what the server staples to such a visitor."""
    begun, status, served, about = time.monotonic(), "", 0, -1
    with socket.create_connection((SERVER_V4, 443), 30) as opened:
        opened.sendall(client_hello(site, extensions))
        for kind, body in messages(opened):
            if kind == _DONE:
                break
            if kind == _CERTIFICATE:
                served = x509.load_der_x509_certificate(body[6 : 6 + int.from_bytes(body[3:6])]).serial_number
            if kind == _STATUS:
                staple = ocsp.load_der_ocsp_response(body[4:])
                status, about = staple.certificate_status.name.lower(), staple.serial_number
    return {"status": status, "fits": about == served, "seconds": round(time.monotonic() - begun, 3)}


def main() -> None:
    site, size, other = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    print(json.dumps(visit(site, request_extensions(size, question_about(other)))))


if __name__ == "__main__":
    main()
