"""Certificates are read however odd they are; `openssl` is asked for a second opinion where it has one."""

from __future__ import annotations

import contextlib
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.ocsp import der
from ocsp_stapling.ocsp.certificate import MAX_BLOCKS, Named, parse, read_pem_chain, scan
from ocsp_stapling.ocsp.issuer import is_same_name, issuer_of, name_hash
from ocsp_stapling.problem import Problem

from .authority import NOW, base, encoded, issue, key, make_authority, pem

URL = "http://ocsp.example.com/a/path"
EC_SIGNATURE, RSA_SIGNATURE = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a864886f70d01010b")
KEY = key(2).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def leaf_der(must_staple: bool = False) -> bytes:
    return encoded(issue(make_authority(), URL, must_staple=must_staple))


def with_extension(oid: bytes, value: bytes) -> bytes:
    """A certificate with an unknown extension whose OID and value are then replaced: broken, but well signed once."""
    filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5.6.7.8.9"), b"\xaa" * len(value))
    made = encoded(issue(make_authority(), URL, extra=filler))
    old = der.encode(der.OID, bytes.fromhex("2a03040506070809"))
    new = der.encode(der.OID, oid)
    assert len(old) == len(new)
    return made.replace(old, new).replace(b"\xaa" * len(value), value)


def test_reads_what_an_inventory_needs() -> None:
    found = parse(leaf_der(must_staple=True))
    assert found.subject == "www.example.com"
    assert (found.issuer, found.issuer_organization) == ("Test Issuing CA", "Test Trust Ltd")
    assert found.ocsp_urls == (URL,)
    assert found.must_staple
    assert found.names == ("www.example.com",)
    assert not found.self_signed
    assert found.not_after - found.not_before == timedelta(days=90)


def test_agrees_with_cryptography_on_an_ordinary_certificate() -> None:
    made = issue(make_authority(), URL)
    found = parse(encoded(made))
    assert found.serial == made.serial_number
    assert (found.not_before, found.not_after) == (made.not_valid_before_utc, made.not_valid_after_utc)
    assert found.named.name == made.issuer.public_bytes()
    assert found.subject_name == made.subject.public_bytes()
    authority = make_authority()
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.private_key.public_key())
    assert authority.parsed.subject_key_id == found.named.key_id == identifier.digest


def test_scan_says_the_same_as_parse() -> None:
    found, scanned = parse(leaf_der(must_staple=True)), scan(leaf_der(must_staple=True))
    fields = ("issuer", "issuer_organization", "not_after", "ocsp_urls", "must_staple", "self_signed")
    assert [getattr(found, field) for field in fields] == [getattr(scanned, field) for field in fields]


def test_openssl_reads_the_same_url_and_serial() -> None:
    data = leaf_der()
    asked = ["openssl", "x509", "-inform", "DER", "-noout", "-ocsp_uri", "-serial"]
    shown = subprocess.run(asked, input=data, capture_output=True, check=True).stdout.decode().split()
    assert shown[0] == URL
    assert int(shown[1].removeprefix("serial="), 16) == parse(data).serial


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (bytes.fromhex("2a0304050607080a"), b"\xff\xff\xff\xff"),
        (bytes.fromhex("2a0304050607080a"), b"\x30\x84\xff\xff\xff\xff"),
        (bytes.fromhex("2a0304050607080a"), b"\x30\x80\x00\x00"),
    ],
)
def test_a_broken_extension_does_not_hide_the_ocsp_url(oid: bytes, value: bytes) -> None:
    assert parse(with_extension(oid, value)).ocsp_urls == (URL,)


def test_a_broken_subject_alternative_name_does_not_hide_the_ocsp_url() -> None:
    data = leaf_der()
    broken = data.replace(b"\x82\x0fwww.example.com", b"\x82\x7fwww.example.com")
    assert broken != data
    found = parse(broken)
    assert (found.ocsp_urls, found.names) == ((URL,), ())


def test_two_information_access_extensions_count_as_none_as_in_openssl() -> None:
    twice = with_extension(bytes.fromhex("2b06010505070101"), der.encode(der.SEQUENCE))
    assert parse(twice).ocsp_urls == ()
    assert parse(with_extension(bytes.fromhex("2b06010505070102"), der.encode(der.SEQUENCE))).ocsp_urls == (
        URL,
    )


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://a/\x1b[31m", "ftp://x", "http://user:pw@h/", " "]
)
def test_strange_urls_are_kept_as_they_are(url: str) -> None:
    assert parse(encoded(issue(make_authority(), url))).ocsp_urls == (url,)


def test_a_url_that_is_not_ascii_is_kept_byte_for_byte_as_apache_sends_it() -> None:
    data = leaf_der().replace(b"ocsp.example.com", b"ocsp.ex\xffmple.com")
    assert parse(data).ocsp_urls == ("http://ocsp.ex\xffmple.com/a/path",)


def test_a_name_that_is_not_utf8_is_replaced_and_control_characters_never_survive() -> None:
    data = leaf_der().replace(b"Test Issuing CA", b"T\x1b[3\xff\xfeing CA xx")
    assert parse(data).issuer.isprintable()
    assert parse(data).ocsp_urls == (URL,)


def test_a_negative_serial_is_read() -> None:
    data = leaf_der()
    serial = parse(data).serial.to_bytes(20, "big", signed=True)
    assert parse(data.replace(serial, b"\xff" + serial[1:])).serial < 0


CA = make_authority()


@given(st.lists(st.sampled_from([f"http://{letter}.example/" for letter in "abcde"]), min_size=1, max_size=6))
def test_several_urls_stand_in_openssls_order(urls: list[str]) -> None:
    """Apache asks the first that this system's OpenSSL gives: older ones sort them in passing, newer ones do not."""
    leaf = issue(CA, urls)
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-ocsp_uri"], input=pem(leaf), capture_output=True, check=True
    ).stdout
    assert list(parse(encoded(leaf)).ocsp_urls) == told.decode().split()


@pytest.mark.parametrize("label", ["X509 CERTIFICATE", "TRUSTED CERTIFICATE", "CERTIFICATE"])
def test_certificates_are_found_under_every_name_that_openssl_takes(label: str) -> None:
    leaf = issue(CA, "http://ocsp.example/")
    trust = bytes.fromhex("300a300806062a03040506") if label.startswith("TRUSTED") else b""
    text = b64encode(encoded(leaf) + trust)
    data = b"-----BEGIN " + label.encode() + b"-----\n" + text + b"\n-----END " + label.encode() + b"-----\n"
    (found,) = read_pem_chain(b"junk\n" + data)
    assert found == encoded(leaf)
    assert parse(found).ocsp_urls == ("http://ocsp.example/",)


@pytest.mark.parametrize(
    "junk", [b"", b"\x30", b"\x30\x80", b"hello", b"\x30\x03\x02\x01\x01", b"\x30" * 1000]
)
def test_what_is_no_certificate_is_a_problem(junk: bytes) -> None:
    with pytest.raises(Problem) as caught:
        parse(junk)
    assert caught.value.code == "certificate-unreadable"


def test_a_combined_file_gives_certificates_only_in_order() -> None:
    leaf, issuer = issue(make_authority(), URL), make_authority().certificate
    combined = KEY + pem(leaf) + b"junk -----BEGIN\n" + pem(issuer).replace(b"\n", b"\r\n") + KEY
    assert read_pem_chain(combined) == (encoded(leaf), encoded(issuer))


def test_a_file_full_of_beginnings_is_given_up_soon() -> None:
    tiny = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert len(read_pem_chain(tiny * (MAX_BLOCKS + 5))) == MAX_BLOCKS
    assert read_pem_chain(b"-----BEGIN CERTIFICATE-----\n" * (MAX_BLOCKS + 5) + tiny) == ()


def test_a_key_inside_a_torn_certificate_block_is_not_taken() -> None:
    torn = b"-----BEGIN CERTIFICATE-----\nAAAA\n" + KEY + pem(issue(make_authority()))
    assert len(read_pem_chain(torn)) == 1
    assert all(b"PRIVATE" not in block for block in read_pem_chain(torn))


def test_the_issuer_is_found_by_name_and_key() -> None:
    authority, namesake = make_authority(), make_authority(number=7)
    leaf = parse(encoded(issue(authority, URL)))
    assert issuer_of(leaf, [namesake.parsed, authority.parsed]) == authority.parsed
    assert issuer_of(scan(leaf.der), [authority.parsed]) == authority.parsed
    assert issuer_of(leaf, [namesake.parsed]) is None
    assert issuer_of(leaf, []) is None


def test_an_issuer_is_one_that_openssl_takes_for_it_and_the_first_of_them() -> None:
    """X509_check_issued: names as they are compared, key identifier, serial number, kind of key, key usage."""
    authority = make_authority().parsed
    named = Named(authority.subject_name, signature_algorithm=EC_SIGNATURE)
    cases: list[tuple[dict[str, Any], bool]] = [
        ({}, True),
        ({"signature_algorithm": RSA_SIGNATURE}, False),
        ({"serial": authority.serial, "above": authority.named.name}, True),
        ({"serial": authority.serial + 1}, False),
        ({"above": authority.named.name[:-1] + b"x"}, False),
        ({"key_id": b"another"}, False),
    ]
    for changed, fits in cases:
        leaf = SimpleNamespace(named=named._replace(**changed))
        assert (issuer_of(leaf, [authority]) is authority) is fits, changed
    unfit = replace(authority, signs_certificates=False)
    second = replace(authority, der=b"second")
    assert issuer_of(SimpleNamespace(named=named), [unfit, authority, second]) is authority


@pytest.mark.parametrize(
    ("text", "kind", "same"),
    [
        ("Some CA", _ASN1Type.PrintableString, True),
        ("SOME  ca ", _ASN1Type.UTF8String, True),
        ("some ca", _ASN1Type.BMPString, True),
        ("Some CÄ", _ASN1Type.UTF8String, False),
        ("SomeCA", _ASN1Type.UTF8String, False),
    ],
)
def test_names_are_compared_as_openssl_does(text: str, kind: _ASN1Type, same: bool) -> None:
    first = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Some CA")])
    other = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, kind)])
    assert is_same_name(first.public_bytes(), other.public_bytes()) is same


def test_a_name_has_the_hash_by_which_openssl_calls_its_file(tmp_path: Path) -> None:
    country = x509.NameAttribute(NameOID.COUNTRY_NAME, "DE")
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ämter  & Co", _ASN1Type.UTF8String)
    wide = x509.NameAttribute(NameOID.COMMON_NAME, " Some CÄ", _ASN1Type.BMPString)
    for groups in ([[country], [organization], [wide]], [[wide, organization], [country]], []):
        name = x509.Name([x509.RelativeDistinguishedName(each) for each in groups])
        path = tmp_path / "ca.pem"
        path.write_bytes(pem(base(name, name, 1).sign(key(1), hashes.SHA256())))
        told = ["openssl", "x509", "-in", str(path), "-noout", "-subject_hash"]
        done = subprocess.run(told, capture_output=True, text=True, check=True)
        assert name_hash(name.public_bytes()) == done.stdout.strip(), name
    with pytest.raises(ValueError, match="no Name"):
        name_hash(b"0\x05")


OCSP = der.encode(der.OID, bytes.fromhex("2b06010505073001"))
OTHER_METHOD = der.encode(der.OID, bytes.fromhex("2b06010505073003"))
PLAIN = der.encode(0x86, b"http://a")


def described(location: bytes, method: bytes = OCSP) -> bytes:
    return der.encode(der.SEQUENCE, method, location)


def access_of(*descriptions: bytes) -> bytes:
    return der.encode(der.SEQUENCE, *descriptions)


PIECES = der.encode(0x16, b"http"), der.encode(0x04, b"://a")


@pytest.mark.parametrize(
    ("access", "urls"),
    [
        (access_of(described(PLAIN)), ("http://a",)),
        (access_of(described(der.encode(0xA6, *PIECES))), ("http://a",)),
        (access_of(described(der.encode(0xA6, der.encode(0x36, *PIECES)))), ("http://a",)),
        (access_of(described(der.encode(0xA6, b"http://a"))), None),
        (access_of(described(PLAIN), der.encode(der.SEQUENCE)), None),
        (access_of(described(PLAIN), described(der.encode(0xA6, b"http://a"), OTHER_METHOD)), None),
        (b"\x30\x80" + described(PLAIN) + b"\0\0", None),
        (access_of(described(PLAIN), described(b"\x86\x81\0")), None),
        (access_of(described(PLAIN), described(PLAIN, der.encode(der.OID))), ()),
        (access_of(described(PLAIN), described(PLAIN, der.encode(der.OID, b"\x80\x01"))), ()),
        (access_of(described(PLAIN), described(der.encode(0x16, b"http://a"))), ()),
        (access_of(described(PLAIN), described(der.encode(0x81, b"a@b"))), ("http://a",)),
    ],
)
def test_an_access_is_read_as_openssl_does_or_the_certificate_is_unreadable(
    access: bytes, urls: tuple[str, ...] | None
) -> None:
    """Strings in pieces are joined, what OpenSSL refuses is absent, and what only BER allows is unreadable."""
    extension = x509.UnrecognizedExtension(x509.AuthorityInformationAccess.oid, access)
    made = encoded(issue(make_authority(), extra=extension))
    if urls is None:
        with pytest.raises(Problem):
            parse(made)
    else:
        assert parse(made).ocsp_urls == urls == scan(made).ocsp_urls


@pytest.mark.parametrize(("accesses", "readable"), [(256, True), (257, False)])
def test_a_certificate_with_more_accesses_than_any_has_is_unreadable(accesses: int, readable: bool) -> None:
    """Each costs time, and a file holds ten thousands of them."""
    extension = x509.UnrecognizedExtension(
        x509.AuthorityInformationAccess.oid, access_of(*[described(PLAIN)] * accesses)
    )
    made = encoded(issue(make_authority(), extra=extension))
    for read in (parse, scan):
        if readable:
            assert read(made).ocsp_urls == ("http://a",)
        else:
            with pytest.raises(Problem):
                read(made)


def test_a_self_signed_certificate_says_so() -> None:
    assert make_authority().parsed.self_signed


@given(st.binary(max_size=400))
def test_no_bytes_break_the_pem_reader(data: bytes) -> None:
    wrapped = b"-----BEGIN CERTIFICATE-----" + data + b"-----END CERTIFICATE-----"
    for block in (*read_pem_chain(data), *read_pem_chain(wrapped)):
        assert isinstance(block, bytes)


ORDINARY = encoded(issue(make_authority(), URL, must_staple=True))


@given(st.lists(st.tuples(st.integers(0, len(ORDINARY) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_certificate_is_read_or_is_a_problem(changes: list[tuple[int, int]]) -> None:
    data = bytearray(ORDINARY)
    for position, value in changes:
        data[position] = value
    for reader in (parse, scan):
        try:
            found = reader(bytes(data))
        except Problem as problem:
            assert problem.code == "certificate-unreadable"
        else:
            assert found.issuer.isprintable()
            assert found.not_after.tzinfo is not None
            assert str(found.serial)


@given(st.integers(0, len(ORDINARY)))
def test_a_torn_certificate_is_read_or_is_a_problem(size: int) -> None:
    try:
        assert parse(ORDINARY[:size]).der == ORDINARY[:size]
    except Problem as problem:
        assert problem.code == "certificate-unreadable"


def test_expiry_is_aware_and_in_the_future() -> None:
    assert parse(ORDINARY).not_after > NOW


def _list(item: bytes, count: int) -> bytes:
    return der.encode(der.SEQUENCE, item * count)


_ACCESS = der.encode(
    der.SEQUENCE, der.encode(der.OID, bytes.fromhex("2b06010505073001")), der.encode(0x86, b"http://x/")
)
_FEW = der.encode(der.SEQUENCE)
_IN_PIECES = der.encode(
    der.SEQUENCE,
    der.encode(der.OID, bytes.fromhex("2b06010505073001")),
    der.encode(0xA6, b"\x04\0" * 150_000),
)
_FLOODS = {
    "names": ("2.5.29.17", _list(b"\x82\x01a", 300_000), True),
    "long names": ("2.5.29.17", _list(der.encode(0x82, b"a" * 60_000), 20), True),
    "URLs": ("1.3.6.1.5.5.7.1.1", _list(_ACCESS, 60_000), False),
    "a URL in pieces": ("1.3.6.1.5.5.7.1.1", der.encode(der.SEQUENCE, _IN_PIECES), False),
    "features": ("1.3.6.1.5.5.7.1.24", _list(b"\x02\x01\x05", 300_000), False),
    "a key identifier": ("2.5.29.14", der.encode(der.OCTET_STRING, b"k" * 900_000), False),
    "key usage": ("2.5.29.15", der.encode(der.BIT_STRING, b"\0" * 900_000), False),
    "what is not wanted": ("1.2.3", _list(_FEW, 400_000), True),
}


@pytest.mark.parametrize("what", _FLOODS)
@pytest.mark.parametrize("read", [parse, scan])
def test_a_certificate_full_of_anything_is_read_soon_or_unreadable(
    what: str, read: Callable[[bytes], object]
) -> None:
    oid, value, readable = _FLOODS[what]
    builder = base(CA.certificate.subject, CA.certificate.subject, 2)
    flood = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
    made = encoded(builder.add_extension(flood, False).sign(CA.private_key, hashes.SHA256()))
    begin = time.process_time()
    with contextlib.nullcontext() if readable else pytest.raises(Problem):
        read(made)
    assert time.process_time() - begin < 0.5


def test_a_certificate_of_endless_names_or_extensions_is_unreadable_soon() -> None:
    long = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x" * 60) for _ in range(200)])
    many = der.encode(der.SEQUENCE, der.encode(der.OID, b"\x2a\x03"), der.encode(der.OCTET_STRING)) * 100_000
    begin = time.process_time()
    with pytest.raises(Problem):
        parse(encoded(base(long, long, 2).sign(CA.private_key, hashes.SHA256())))
    with pytest.raises(Problem):
        parse(_extended(many))
    assert time.process_time() - begin < 0.5


def _extended(more: bytes) -> bytes:
    """A certificate with more extensions, its signature none."""
    whole = encoded(issue(CA, URL))
    body = der.children(whole, *der.children(whole, 0, len(whole))[0][1:])[0]
    fields = der.children(whole, body.start, body.stop)
    own = der.expect(whole, fields[-1].start, fields[-1].stop, der.SEQUENCE)
    wrapped = der.encode(0xA3, der.encode(der.SEQUENCE, whole[own.start : own.stop] + more))
    tbs = der.encode(der.SEQUENCE, whole[body.start : fields[-2].stop] + wrapped)
    return der.encode(der.SEQUENCE, tbs + whole[body.stop :])


def test_thousands_of_enormous_responder_urls_are_cut_to_what_can_be_shown() -> None:
    found = parse(encoded(issue(make_authority(), [f"http://{n}.test/{'x' * 5000}" for n in range(50)])))

    assert found.ocsp_urls[0].startswith("http://0.test/")
    assert len(found.ocsp_urls) <= 16
    assert len(found.ocsp_urls[0]) == 5000 + len("http://0.test/")
    assert max(map(len, found.ocsp_urls[1:])) <= 2100
