"""The question: an OCSP request as mod_ssl makes it (SHA-1 CertID, no nonce, no extensions)."""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple
from urllib.parse import quote

from ocsp_stapling.ocsp import der
from ocsp_stapling.ocsp.certificate import Certificate

_SHA1 = der.encode(der.SEQUENCE, der.encode(der.OID, bytes.fromhex("2b0e03021a")), b"\x05\x00")


class CertID(NamedTuple):
    """Which certificate an answer speaks of (RFC 6960 section 4.1.1)."""

    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: int


def certificate_id(certificate: Certificate, issuer: Certificate, digest: str = "sha1") -> CertID:
    """Return the CertID of `certificate` under the hash `digest` (a hashlib name; mod_ssl uses SHA-1)."""
    return CertID(
        hashlib.new(digest, certificate.named.name).digest(),
        hashlib.new(digest, issuer.public_key).digest(),
        certificate.serial,
    )


def ocsp_request(certificate: Certificate, issuer: Certificate) -> bytes:
    """Return the DER of an OCSPRequest for one certificate (RFC 6960 section 4.1.1)."""
    wanted = certificate_id(certificate, issuer)
    serial = wanted.serial.to_bytes(wanted.serial.bit_length() // 8 + 1, "big", signed=True)
    cert_id = der.encode(
        der.SEQUENCE,
        _SHA1,
        der.encode(der.OCTET_STRING, wanted.issuer_name_hash),
        der.encode(der.OCTET_STRING, wanted.issuer_key_hash),
        der.encode(der.INTEGER, serial),
    )
    request_list = der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, cert_id))
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, request_list))


def get_url(responder_url: str, request: bytes) -> str:
    """Return the URL by which any HTTP client asks the same with GET (RFC 6960, A.1); the path is kept."""
    return f"{responder_url.rstrip('/')}/{quote(base64.b64encode(request), safe='')}"
