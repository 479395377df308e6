"""Who issued whom, as OpenSSL tells it: mod_ssl staples only where it finds the issuer by these rules."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from ocsp_stapling.ocsp import der as asn1
from ocsp_stapling.ocsp.certificate import Certificate, Named
from ocsp_stapling.ocsp.der import Element

_UTF8 = 0x0C
_TEXTS = {_UTF8, 0x13, 0x14, 0x16, 0x1A, 0x1C, 0x1E}
_BLANKS = " \t\n\v\f\r"


class Issued(Protocol):
    """Anything with the field by which an issuer is looked for: a Certificate or a Leaf."""

    @property
    def named(self) -> Named: ...


def issuer_of(leaf: Issued, chain: Sequence[Certificate]) -> Certificate | None:
    """Return what mod_ssl takes of `chain` for the issuer of `leaf`; None: it cannot staple (AH02217).

    That is the first of which OpenSSL says that it may have issued it (X509_check_issued); no signature is looked at.
    """
    return next((other for other in chain if _may_have_issued(other, leaf.named)), None)


def _may_have_issued(issuer: Certificate, named: Named) -> bool:
    return (
        is_same_name(issuer.subject_name, named.name)
        and (not named.key_id or not issuer.subject_key_id or named.key_id == issuer.subject_key_id)
        and named.serial in (None, issuer.serial)
        and (not named.above or is_same_name(named.above, issuer.named.name))
        and _fits(issuer.key_algorithm, named.signature_algorithm)
        and issuer.signs_certificates
    )


def _fits(key: bytes, signature: bytes) -> bool:
    """Whether a key of this algorithm can have made a signature of that one; an unknown one is nobody's."""
    return not signature or any(key in keys and signature.startswith(made) for keys, made in _KEYS_OF)


_RSA, _EC = bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a8648ce3d0201")
_PSS = bytes.fromhex("2a864886f70d01010a")
_EDWARDS = bytes.fromhex("2b6570"), bytes.fromhex("2b6571")
_KEYS_OF = (
    ((_RSA,), _RSA[:-1]),
    ((_PSS,), _PSS),
    ((_EC,), bytes.fromhex("2a8648ce3d04")),
    *(((each,), each) for each in _EDWARDS),
)


def is_same_name(one: bytes, other: bytes) -> bool:
    """Say whether two DER Names are the same to OpenSSL: whatever the case, the blanks and the type of string."""
    return one == other or _canonical(one) == _canonical(other)


def name_hash(name: bytes) -> str:
    """Return what OpenSSL calls files by in a directory of certificates (X509_NAME_hash(3)). Raises ValueError."""
    groups = _canonical(name)
    if not isinstance(groups, tuple):
        raise ValueError("no Name")
    sets = (asn1.encode(asn1.SET, *sorted(map(_encoded, pairs))) for pairs in groups)
    return hashlib.sha1(b"".join(sets), usedforsecurity=False).digest()[3::-1].hex()


def _encoded(pair: tuple[bytes, int, str | bytes]) -> bytes:
    oid, tag, value = pair
    text = value.encode() if isinstance(value, str) else value
    return asn1.encode(asn1.SEQUENCE, asn1.encode(asn1.OID, oid), asn1.encode(tag or _UTF8, text))


@lru_cache(maxsize=4096)
def _canonical(name: bytes) -> object:
    """As x509_name_canon of OpenSSL (crypto/x509/x_name.c); a Name that cannot be read is only like itself."""
    try:
        return tuple(
            frozenset(_canonical_pair(name, *asn1.children(name, pair.start, pair.stop)) for pair in pairs)
            for group in asn1.members(name)
            if (pairs := asn1.children(name, group.start, group.stop))
        )
    except (ValueError, TypeError):
        return name


def _canonical_pair(name: bytes, kind: Element, text: Element) -> tuple[bytes, int, str | bytes]:
    oid, value = name[kind.start : kind.stop], name[text.start : text.stop]
    if text.tag not in _TEXTS:
        return oid, text.tag, value
    words = value.decode(asn1.ENCODINGS.get(text.tag, "latin-1")).strip(_BLANKS)
    lower = "".join(c.lower() if c.isascii() else c for c in words)
    return oid, 0, re.sub(f"[{_BLANKS}]+", " ", lower)


def is_signed_by(der: bytes, issuer_der: bytes) -> bool:
    """Say whether the key of the certificate `issuer_der` made the signature of the certificate `der`."""
    from cryptography import x509  # as long to load as 2,000 certificates take to read, and rarely needed

    try:
        issuer = x509.load_der_x509_certificate(issuer_der)
        x509.load_der_x509_certificate(der).verify_directly_issued_by(issuer)
    except Exception:  # any failure to read or verify foreign bytes means: not proven
        return False
    return True
