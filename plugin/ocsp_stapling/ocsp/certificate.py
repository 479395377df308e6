"""Certificates as Apache's configuration holds them: read fast, by the thousand, and however odd they are.

`cryptography` refuses all extensions when one is broken; a customer's certificate can be broken anywhere and
Apache (OpenSSL) still takes the OCSP URL from it. So we walk it ourselves, for what stapling needs.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from ipaddress import ip_address
from itertools import islice
from typing import NamedTuple

from ocsp_stapling.ocsp import der as asn1
from ocsp_stapling.ocsp.der import DerError, Element
from ocsp_stapling.problem import Problem

MAX_CERTIFICATE_BYTES = 2_097_152
MAX_BLOCKS = 2000
"""Beginnings of a certificate that are looked at in one file: the bundles of all authorities have 150."""
MAX_URLS = 16
MAX_URL_BYTES, MAX_FURTHER_URL_BYTES = 16_385, 2100
"""Of a longer URL this much is kept, one byte more than we ask at; of those that Apache does not ask, less."""
MAX_BYTES, MAX_ACCESS_BYTES, MAX_ACCESSES, _MAX_PIECES_BYTES = 8192, 512 << 10, 256, 64 << 10
"""Of a name or an extension, of the AuthorityInformationAccess: what has more is there to keep us busy or to fill our
memory, and its certificate counts as unreadable."""
_CACHED_BYTES = 4096
MAX_SERIAL_BYTES = 128  # RFC 5280 section 4.1.2.2 allows 20; what is longer than this is no certificate

_AUTHORITY_INFORMATION = bytes.fromhex("2b06010505070101")
_TLS_FEATURE = bytes.fromhex("2b06010505070118")  # RFC 7633
_AD_OCSP = bytes.fromhex("2b06010505073001")
_SUBJECT_KEY_ID, _SUBJECT_ALT_NAME, _AUTHORITY_KEY_ID = b"\x55\x1d\x0e", b"\x55\x1d\x11", b"\x55\x1d\x23"
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_KEY_USAGE = b"\x55\x1d\x0f"
_WANTED = {
    *(_AUTHORITY_INFORMATION, _TLS_FEATURE, _SUBJECT_KEY_ID, _SUBJECT_ALT_NAME, _AUTHORITY_KEY_ID, _KEY_USAGE)
}
_SIGNS_CERTIFICATES = 0x04
"""keyCertSign in the first byte of a KeyUsage (RFC 5280 section 4.2.1.3)."""
_STATUS_REQUEST = 5
_URI, _DNS_NAME, _IP_ADDRESS, _DIRECTORY_NAME = 0x86, 0x82, 0x87, 0xA4
_URI_IN_PIECES, _DEEPEST_STRING = 0xA6, 5
_IN_PIECES = (0xA1, 0xA2, _URI_IN_PIECES, 0xA7)
_GENERAL_NAMES = {0xA0, 0x81, 0xA1, 0x82, 0xA2, 0xA3, 0xA4, 0xA5, _URI, _URI_IN_PIECES, 0x87, 0xA7, 0x88}
_KEY_IDENTIFIER, _ITS_ISSUER, _ITS_SERIAL = 0x80, 0xA1, 0x82
_BEGIN = re.compile(rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE-----)")
_TIME = re.compile(rb"(\d\d|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:Z|([+-])(\d\d)(\d\d))")


@dataclass(frozen=True)
class Certificate:
    """What stapling needs of one certificate. Texts are printable and short; times are aware, in UTC."""

    der: bytes
    subject: str
    issuer: str
    issuer_organization: str
    serial: int
    not_before: datetime
    not_after: datetime
    ocsp_urls: tuple[str, ...]
    must_staple: bool
    names: tuple[str, ...]
    self_signed: bool
    fingerprint: str
    subject_name: bytes
    """The subject as DER Name: what an issuer is found by and a CertID is made of."""
    public_key: bytes
    """The key's bit string without its unused-bits byte: what a CertID is made of (RFC 6960, 4.1.1)."""
    subject_key_id: bytes
    named: Named
    """Who it says has issued it."""
    key_algorithm: bytes
    signs_certificates: bool
    """Not forbidden by its KeyUsage."""


class Named(NamedTuple):
    """What a certificate says of its issuer; X509_check_issued of OpenSSL compares all of it."""

    name: bytes
    key_id: bytes = b""
    serial: int | None = None
    """The serial number and issuer of the issuer's certificate, where an AuthorityKeyIdentifier names them."""
    above: bytes = b""
    signature_algorithm: bytes = b""


class Leaf(NamedTuple):
    """What an inventory of thousands needs of a certificate; `scan` makes it faster than `parse`."""

    issuer: str
    issuer_organization: str
    serial: int
    not_after: datetime
    ocsp_urls: tuple[str, ...]
    must_staple: bool
    self_signed: bool
    named: Named
    der: bytes


class _Parts(NamedTuple):
    serial: int
    signature_algorithm: bytes
    issuer_name: bytes
    validity: tuple[Element, Element]
    subject_name: bytes
    key_info: Element
    extensions: dict[bytes, bytes]


def read_pem_chain(data: bytes) -> tuple[bytes, ...]:
    """Return the DER of every certificate of a combined PEM file, in file order, MAX_BLOCKS at most; never raises.

    Key blocks and everything else between the certificates are skipped and never copied. As OpenSSL reads them
    (PEM_read_bio_X509_AUX): `CERTIFICATE`, `X509 CERTIFICATE` and `TRUSTED CERTIFICATE`, whose trust settings follow.
    """
    found = []
    for begin in islice(_BEGIN.finditer(data), MAX_BLOCKS):
        end = data.find(b"-----", begin.end())
        if end < 0:
            break
        if data.startswith(b"-----END " + begin[1], end) and (
            decoded := _decode_base64(data[begin.end() : end])
        ):
            found.append(_without_trust(decoded) if begin[1].startswith(b"TRUSTED") else decoded)
    return tuple(found)


def _without_trust(der: bytes) -> bytes:
    """The certificate alone: of a trusted one a second element follows."""
    try:
        return der[: asn1.expect(der, 0, len(der), asn1.SEQUENCE).stop]
    except (DerError, IndexError, ValueError):
        return der


def parse(der: bytes) -> Certificate:
    """Read one certificate; raises Problem `certificate-unreadable` if it is none."""
    try:
        return _certificate(der, _walk(der))
    except (DerError, IndexError, ValueError, OverflowError) as error:
        raise _unreadable(error) from error


def scan(der: bytes) -> Leaf:
    """Read only what an inventory needs; raises Problem `certificate-unreadable` as `parse` does."""
    try:
        return _leaf(der, _walk(der))
    except (DerError, IndexError, ValueError, OverflowError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> Problem:
    return Problem(
        "certificate-unreadable",
        "The certificate cannot be read: it is damaged or not a certificate. Install it again.",
        str(error)[:200],
    )


def _decode_base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except binascii.Error:
        return b""


def _certificate(der: bytes, parts: _Parts) -> Certificate:
    extensions = parts.extensions
    names = _alternative_names(extensions.get(_SUBJECT_ALT_NAME, b""))
    common_name, organization = _name_texts(parts.subject_name)
    issuer, issuer_organization = _name_texts(parts.issuer_name)
    return Certificate(
        der=der,
        subject=common_name or organization or (names[0] if names else ""),
        issuer=issuer or issuer_organization,
        issuer_organization=issuer_organization,
        serial=parts.serial,
        not_before=_time(der, parts.validity[0]),
        not_after=_time(der, parts.validity[1]),
        ocsp_urls=_ocsp_urls(extensions.get(_AUTHORITY_INFORMATION, b"")),
        must_staple=_asks_for_staple(extensions.get(_TLS_FEATURE, b"")),
        names=names,
        self_signed=parts.issuer_name == parts.subject_name,
        fingerprint=hashlib.sha256(der).hexdigest(),
        subject_name=parts.subject_name,
        public_key=_key_bits(der, parts.key_info),
        subject_key_id=_subject_key_id(extensions.get(_SUBJECT_KEY_ID, b"")),
        named=_named(parts),
        key_algorithm=_algorithm(der, asn1.children(der, parts.key_info.start, parts.key_info.stop)[0]),
        signs_certificates=_signs_certificates(extensions.get(_KEY_USAGE, b"")),
    )


def _named(parts: _Parts) -> Named:
    identifier = _authority_key_id(parts.extensions.get(_AUTHORITY_KEY_ID, b""))
    return Named(parts.issuer_name, *identifier, parts.signature_algorithm)


def _algorithm(der: bytes, element: Element) -> bytes:
    """The OID of an AlgorithmIdentifier."""
    oid = asn1.expect(der, element.start, element.stop, asn1.OID)
    return der[oid.start : oid.stop]


def _signs_certificates(usage: bytes) -> bool:
    try:
        bits = asn1.expect(usage, 0, len(usage), asn1.BIT_STRING) if usage else None
    except DerError:
        return True
    return bits is None or bits.stop - bits.start < 2 or bool(usage[bits.start + 1] & _SIGNS_CERTIFICATES)


def _leaf(der: bytes, parts: _Parts) -> Leaf:
    issuer, organization = _name_texts(parts.issuer_name)
    extensions = parts.extensions
    return Leaf(
        issuer or organization,
        organization,
        parts.serial,
        _time(der, parts.validity[1]),
        _ocsp_urls(extensions.get(_AUTHORITY_INFORMATION, b"")),
        _asks_for_staple(extensions.get(_TLS_FEATURE, b"")),
        parts.issuer_name == parts.subject_name,
        _named(parts),
        der,
    )


def _walk(der: bytes) -> _Parts:
    """Find the fields of a TBSCertificate (RFC 5280 section 4.1)."""
    size = len(der)
    if size > MAX_CERTIFICATE_BYTES:
        raise DerError("larger than any certificate")
    whole = asn1.expect(der, 0, size, asn1.SEQUENCE)
    body = asn1.expect(der, whole.start, whole.stop, asn1.SEQUENCE)
    fields = asn1.children(der, body.start, body.stop)
    if fields[0].tag == 0xA0:  # the version: absent in version 1
        del fields[0]
    serial, algorithm, issuer, validity, subject, key_info = fields[:6]
    if serial.tag != asn1.INTEGER or serial.stop - serial.start > MAX_SERIAL_BYTES:
        raise DerError("no serial number")
    not_before, not_after = asn1.children(der, validity.start, validity.stop)
    if max(issuer.stop - issuer.start, subject.stop - subject.start) > MAX_BYTES:
        raise DerError("a name longer than any")
    last = fields[-1]
    return _Parts(
        int.from_bytes(der[serial.start : serial.stop], "big", signed=True),
        _algorithm(der, algorithm),
        der[algorithm.stop : issuer.stop],
        (not_before, not_after),
        der[validity.stop : subject.stop],
        key_info,
        _extensions(der, last) if last.tag == 0xA3 else {},
    )


def _extensions(der: bytes, wrapper: Element) -> dict[bytes, bytes]:
    """Return OID -> value of those wanted. One that is there twice counts as absent, as in OpenSSL."""
    inner = asn1.expect(der, wrapper.start, wrapper.stop, asn1.SEQUENCE)
    found: dict[bytes, bytes] = {}
    for _, start, stop in asn1.children(der, inner.start, inner.stop):
        oid_end = start + 2 + der[start + 1]  # an OID longer than 127 bytes is none of ours
        oid = der[start + 2 : oid_end]
        if oid in _WANTED and oid_end <= stop:
            if stop - start > (MAX_ACCESS_BYTES if oid == _AUTHORITY_INFORMATION else MAX_BYTES):
                if oid == _SUBJECT_ALT_NAME:  # only shown
                    continue
                raise DerError("an extension longer than any")
            found[oid] = b"" if oid in found else _extension_value(der, oid_end, stop)
    return found


def _extension_value(der: bytes, at: int, stop: int) -> bytes:
    try:
        value = asn1.read(der, at, stop)
        if value.tag == 0x01:  # the optional `critical`
            value = asn1.read(der, value.stop, stop)
    except DerError:  # broken: absent, and the others stand
        return b""
    return der[value.start : value.stop]


def _ocsp_urls(value: bytes) -> tuple[str, ...]:
    """The first few in OpenSSL's order, a character for each byte: Apache asks only the first, byte for byte."""
    # What is oddly large is not kept in memory.
    return _known_urls(value) if len(value) <= _CACHED_BYTES else _read_urls(value)


def _read_urls(value: bytes) -> tuple[str, ...]:
    """Raises DerError for what is no DER: OpenSSL may read it (BER), so nobody knows whom Apache asks."""
    items = asn1.members(value) if value else []
    if len(items) > MAX_ACCESSES:
        raise DerError("more accesses than any")
    descriptions = [_description(value, item) for item in items]
    if None in descriptions:
        return ()
    found = [url for url in descriptions if url]
    kept = [url.decode("latin-1") for url in islice(_in_openssls_order(found), MAX_URLS)]
    return (*kept[:1], *(url[:MAX_FURTHER_URL_BYTES] for url in kept[1:]))


# Thousands of certificates of one authority share these very bytes.
_known_urls = lru_cache(maxsize=4096)(_read_urls)


def _in_openssls_order(urls: Sequence[bytes]) -> list[bytes]:
    """X509_get1_ocsp (OpenSSL, crypto/x509/v3_utl.c) looks for each URL among those before it.

    In older ones that sorts them, so that all but the last stand sorted; after a repetition, which is looked for and
    not added, all do. Newer ones leave the certificate's order.
    """
    once = list(dict.fromkeys(urls))
    if len(once) < 2:
        return once
    from ocsp_stapling.ocsp import openssl  # rarely needed

    if not openssl.finding_sorts():
        return once
    last_is_new = urls[-1] not in urls[:-1]
    return [*sorted(once[:-1]), once[-1]] if last_is_new else sorted(once)


def _description(value: bytes, description: Element) -> bytes | None:
    """The OCSP URL, b"" for what is none; None for what makes OpenSSL refuse the whole extension.

    One with a NUL in it is passed over, as OpenSSL does.
    """
    if description.tag != asn1.SEQUENCE:
        return None
    method, location = _two(asn1.children(value, description.start, description.stop))
    oid = value[method.start : method.stop]
    if method.tag != asn1.OID or not _is_oid(oid) or location.tag not in _GENERAL_NAMES:
        return None
    text = _joined(value, location) if location.tag in _IN_PIECES else value[location.start : location.stop]
    is_url = oid == _AD_OCSP and location.tag in (_URI, _URI_IN_PIECES) and b"\0" not in text
    return text[:MAX_URL_BYTES] if is_url else b""


def _two(found: Sequence[Element]) -> tuple[Element, Element]:
    if len(found) != 2:
        raise DerError("not a method and a location")
    return found[0], found[1]


def _is_oid(oid: bytes) -> bool:
    """As c2i_ASN1_OBJECT of OpenSSL: not empty, ended, and without leading zeroes in a component."""
    starts = (not at or oid[at - 1] < 0x80 for at in range(len(oid)))
    return bool(oid) and oid[-1] < 0x80 and not any(s and o == 0x80 for s, o in zip(starts, oid, strict=True))


def _joined(value: bytes, whole: Element, depth: int = 0) -> bytes:
    """A string in pieces (X.690 section 8.7.3), as OpenSSL joins them: whatever tags they have, five deep."""
    if depth > _DEEPEST_STRING or whole.stop - whole.start > _MAX_PIECES_BYTES:
        raise DerError("nested too deeply")
    return b"".join(
        _joined(value, piece, depth + 1) if piece.tag & 0x20 else value[piece.start : piece.stop]
        for piece in asn1.children(value, whole.start, whole.stop)
    )


@lru_cache(maxsize=64)
def _asks_for_staple(value: bytes) -> bool:
    try:
        items = asn1.members(value)
    except DerError:
        return False
    return any(int.from_bytes(value[start:stop], "big") == _STATUS_REQUEST for _, start, stop in items)


@lru_cache(maxsize=4096)
def _authority_key_id(value: bytes) -> tuple[bytes, int | None, bytes]:
    """The key identifier; serial number and first directory name of the issuer's issuer, where they stand there."""
    key, serial, above = b"", None, b""
    try:
        for tag, start, stop in asn1.members(value):
            if tag == _KEY_IDENTIFIER:
                key = value[start:stop]
            elif tag == _ITS_SERIAL:
                serial = int.from_bytes(value[start:stop], "big", signed=True)
            elif tag == _ITS_ISSUER:
                names = asn1.children(value, start, stop)
                above = next((value[at:end] for kind, at, end in names if kind == _DIRECTORY_NAME), b"")
    except DerError:
        return b"", None, b""
    return key, serial, above


def _subject_key_id(value: bytes) -> bytes:
    try:
        inner = asn1.expect(value, 0, len(value), asn1.OCTET_STRING)
    except DerError:
        return b""
    return value[inner.start : inner.stop]


def _key_bits(der: bytes, key_info: Element) -> bytes:
    _, bits = asn1.children(der, key_info.start, key_info.stop)
    if bits.tag != asn1.BIT_STRING or bits.start == bits.stop:
        raise DerError("no public key")
    return der[bits.start + 1 : bits.stop]


@lru_cache(maxsize=4096)
def _name_texts(name: bytes) -> tuple[str, str]:
    """Return the last (most specific) common name and organization of a DER Name, or empty texts."""
    found = {_COMMON_NAME: "", _ORGANIZATION: ""}
    try:
        for group in asn1.members(name):
            for pair in asn1.children(name, group.start, group.stop):
                kind, text = asn1.children(name, pair.start, pair.stop)
                if name[kind.start : kind.stop] in found:
                    found[name[kind.start : kind.stop]] = _text(name, text)
    except ValueError:  # DerError included: keep what was readable
        pass
    return found[_COMMON_NAME], found[_ORGANIZATION]


def _text(data: bytes, element: Element) -> str:
    text = data[element.start : element.stop].decode(asn1.ENCODINGS.get(element.tag, "latin-1"), "replace")
    return _printable(text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def _alternative_names(value: bytes) -> tuple[str, ...]:
    try:
        items = asn1.members(value)
    except DerError:
        return ()
    return tuple(filter(None, (_alternative_name(item.tag, value[item.start : item.stop]) for item in items)))


def _alternative_name(tag: int, value: bytes) -> str:
    if tag == _DNS_NAME:
        return _printable(value.decode("utf-8", "replace"))
    if tag == _IP_ADDRESS and len(value) in (4, 16):
        return str(ip_address(value))
    return ""


def _time(der: bytes, element: Element) -> datetime:
    """Read UTCTime or GeneralizedTime, also with the offsets and missing seconds that RFC 5280 forbids."""
    found = _TIME.fullmatch(der[element.start : element.stop])
    if found is None or element.tag not in (asn1.UTC_TIME, asn1.GENERALIZED_TIME):
        raise DerError("no valid time")
    year = int(found[1])
    if len(found[1]) == 2:
        year += 1900 if year >= 50 else 2000
    month, day, hour, minute, second = (int(part or 0) for part in found.group(2, 3, 4, 5, 6))
    zone = UTC if found[7] is None else _offset(found)
    moment = datetime(year, month, day, hour, minute, second, 0, zone)
    return moment if zone is UTC else moment.astimezone(UTC)


def _offset(found: re.Match[bytes]) -> timezone:
    shift = timedelta(hours=int(found[8]), minutes=int(found[9]))
    return timezone(shift if found[7] == b"+" else -shift)
