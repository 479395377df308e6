"""The request is byte for byte what OpenSSL, and so mod_ssl, makes."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.request import get_url, ocsp_request

from .authority import encoded, issue, make_authority, pem


def both() -> tuple[x509.Certificate, bytes]:
    leaf = issue(make_authority(), "http://ocsp.example.com/")
    return leaf, ocsp_request(parse(encoded(leaf)), make_authority().parsed)


def test_is_what_the_openssl_command_sends_without_a_nonce(tmp_path: Path) -> None:
    leaf, made = both()
    (tmp_path / "leaf").write_bytes(pem(leaf))
    (tmp_path / "issuer").write_bytes(pem(make_authority().certificate))
    asked = ["openssl", "ocsp", "-no_nonce", "-issuer", "issuer", "-cert", "leaf", "-reqout", "request"]
    subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True)
    assert made == (tmp_path / "request").read_bytes()


def test_is_what_cryptography_makes_with_sha1() -> None:
    leaf, made = both()
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, make_authority().certificate, hashes.SHA1())
    assert made == builder.build().public_bytes(Encoding.DER)


def test_the_get_url_keeps_the_path_and_is_url_encoded() -> None:
    request = both()[1]
    for base in ("http://ocsp.example.com/some/path", "http://ocsp.example.com/some/path/"):
        url = get_url(base, request)
        assert url.startswith("http://ocsp.example.com/some/path/M")
        last = url.removeprefix("http://ocsp.example.com/some/path/")
        assert not set("/+=") & set(last)
        assert base64.b64decode(unquote(last)) == request
