"""What the account of one customer can do to the shield: his own certificates, responders and connections."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ocsp_stapling.cli.shield import _text
from ocsp_stapling.ocsp.answer import MAX_ANSWER_BYTES, Answer, Verdict, verify_answer
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.prober import MAX_LOOKUPS_AT_ONCE
from ocsp_stapling.server.certificate_files import MAX_FILE_BYTES
from ocsp_stapling.server.certificate_memory import Pair
from ocsp_stapling.settings import ProbeSettings
from ocsp_stapling.shield import refresh, standing, store
from ocsp_stapling.shield.refresh import Refresher, Wanted, asking, cert_id_of, wanted
from tests.unit.change.made import Tree
from tests.unit.ocsp.authority import (
    DAY,
    NOW,
    Authority,
    Handler,
    Responder,
    answer,
    base,
    encoded,
    issue,
    key,
    make_authority,
    pem,
    replying,
)
from tests.unit.shield.test_refresh import CA, GOOD, ISSUER, REVOKED, World, world
from tests.unit.shield.test_standing import told

__all__ = ["world"]
LOCAL = ProbeSettings(timeout_seconds=1.0, allow_networks=(ip_network("127.0.0.1/32"),))
WHO = (65534, 65534) if os.geteuid() == 0 else None
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture(params=["Asia/Tokyo", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_an_answer_from_the_first_to_the_last_day_of_time_can_be_told_in_every_zone(world: World) -> None:
    """Whoever signs with an authority of his own writes what he likes into it, and Apache staples that."""
    one = world.site()
    world.answers[one.cert_id] = answer(CA, world.made, GOOD, updates=(FIRST, LAST))
    world.run()
    found = told(world)
    assert found.held_count == 1
    text = _text(replace(found, port=340), True)
    assert "9999-12-31" in text
    assert "1-01-01" in text


def forged(certificate: x509.Certificate, url: str) -> x509.Certificate:
    """Another certificate with the issuer and the serial number of this one, made by nobody."""
    mine = issue(make_authority("Test Issuing CA", 9), url, common_name="a.test")
    builder = (
        x509.CertificateBuilder()
        .subject_name(mine.subject)
        .issuer_name(certificate.issuer)
        .public_key(mine.public_key())
        .serial_number(certificate.serial_number)
        .not_valid_before(mine.not_valid_before_utc)
        .not_valid_after(mine.not_valid_after_utc)
    )
    for extension in mine.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key(9), hashes.SHA256())


@pytest.mark.parametrize("first", [True, False])
def test_who_writes_anothers_serial_number_into_his_certificate_is_not_asked_instead(
    tmp_path: Path, first: bool
) -> None:
    tree = Tree(tmp_path)
    victim = issue(CA, "http://ocsp.a.test/", common_name="b.test", must_staple=True)
    both = {"v.pem": victim, "m.pem": forged(victim, "http://mallory.test/")}
    for file, certificate in both.items():
        (tmp_path / file).write_bytes(pem(certificate) + pem(CA.certificate))
    files = ["m.pem", "v.pem"] if first else ["v.pem", "m.pem"]
    tree.conf(sites={f"{each[0]}.test": f"SSLCertificateFile {tmp_path}/{each}\n" for each in files})
    found = wanted(tree.situation().server.endpoints).certificates
    same = [one for one in found if one.certificate.serial == victim.serial_number]
    assert [(one.url, one.site, one.must_staple) for one in same] == [("http://ocsp.a.test/", "v.test", True)]


def test_one_accounts_files_that_take_long_to_read_keep_nobody_elses_from_being_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of the largest size that is read; what was not read is said, and others are read the next time."""
    small = pem(issue(CA, "http://ocsp.a.test/")) + pem(CA.certificate)
    filling = b"-----BEGIN X-----\n"
    large = tmp_path / "large.pem"
    large.write_bytes(small + filling * ((MAX_FILE_BYTES - len(small)) // len(filling)))
    (tmp_path / "fine.pem").write_bytes(pem(issue(CA, "http://ocsp.b.test/")) + pem(CA.certificate))
    flood = [tmp_path / f"flood{number}.pem" for number in range(400)]
    for path in flood:
        path.hardlink_to(large)
    tree = Tree(tmp_path)
    tree.conf(
        sites={
            "a.test": f"SSLCertificateFile {large}\n",
            "z.test": f"SSLCertificateFile {tmp_path}/fine.pem\n",
        }
    )
    sites = {each.name: each for each in tree.situation().server.endpoints}
    his, fine, one = sites["a.test"], sites["z.test"], sites["a.test"].certificates[-1]
    usual, read = refresh._read, list[Pair]()

    def noted(pair: Pair) -> refresh._Reading:
        read.append(pair)
        return usual(pair)

    monkeypatch.setattr(refresh, "_read", noted)
    vhost = his.vhost._replace(owner="mallory")
    many = [replace(his, vhost=vhost, certificates=(one._replace(file=path),)) for path in flood]

    begin = time.thread_time()
    found = wanted([*many, fine])
    took = time.thread_time() - begin

    assert "http://ocsp.b.test/" in [each.url for each in found.certificates]
    assert found.unread == ("a.test",)
    assert took < 4  # all of them: more than ten
    told = standing.standing(*found, tmp_path, tmp_path)
    assert "Not read for the shield: certificates of 1 site (a.test)" in _text(replace(told, port=340), True)
    first = set(read)
    wanted([*many, fine])
    assert set(read) > first


def test_a_url_of_any_length_leaves_room_for_the_answer_in_its_file(world: World) -> None:
    one = world.site("ocsp.a.test/" + "x" * 12_000)
    world.run()
    kept = world.held()[one.cert_id]
    assert kept.answer == world.answers[one.cert_id]
    longest = replace(kept, answer=bytes(store.MAX_ANSWER_BYTES))
    store.write(world.base / "store", longest)
    assert world.held()[one.cert_id] == longest


def test_of_a_failure_as_much_is_kept_as_a_sentence_can_hold(world: World) -> None:
    one = world.site("user@" + "x" * 12_000 + ".test")
    world.behaviour[one.url.removeprefix("http://")] = "hang"
    world.run()
    last = told(world).last_failure
    assert last is not None
    assert len(last.responder) < 200


def test_no_name_that_hangs_in_the_resolver_keeps_another_from_being_looked_up(world: World) -> None:
    """A thousand certificates, each with a name of its own that is never resolved."""
    for number in range(300):
        one = world.site(f"ocsp{number}.mallory.test", f"m{number}.test")
        world.behaviour[one.url.removeprefix("http://")] = "hang"
    sizes = []
    ask = world.ask
    world.ask = lambda targets: sizes.append(len({one.url for one in targets})) or ask(targets)  # type: ignore[method-assign,func-returns-value]
    honest = world.site("ocsp.a.test", "z.test")
    for _ in range(2):
        world.run(50.0)
        world.now += 300
    assert max(sizes) <= MAX_LOOKUPS_AT_ONCE
    assert honest.cert_id in world.held()


def look_alikes(count: int) -> tuple[Wanted, bytes]:
    """A good answer, before whose signer stand so many certificates of the same name."""
    made = issue(CA, "http://ocsp.a.test", common_name="a.test")
    strangers = [
        issue(CA, common_name="signer", usage=ExtendedKeyUsageOID.OCSP_SIGNING, number=50 + number)
        for number in range(count)
    ]
    signer = issue(CA, common_name="signer", usage=ExtendedKeyUsageOID.OCSP_SIGNING, number=3)
    builder = ocsp.OCSPResponseBuilder().add_response(
        *(made, CA.certificate, hashes.SHA1(), GOOD, NOW - DAY, NOW + DAY, None, None)
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, signer)
    builder = builder.certificates([*strangers, signer])
    leaf = parse(made.public_bytes(Encoding.DER))
    signed = builder.sign(key(3), hashes.SHA256()).public_bytes(Encoding.DER)
    return Wanted(cert_id_of(leaf, ISSUER), leaf, ISSUER, "http://ocsp.a.test", "a.test", False), signed


@pytest.mark.parametrize(
    ("count", "verdict"), [(0, Verdict.GOOD), (1, Verdict.GOOD), (12, Verdict.BAD_SIGNATURE)]
)
def test_an_answer_full_of_signers_of_one_name_costs_a_few_signatures_only(
    count: int, verdict: Verdict
) -> None:
    """Dozens of P-521 keys in it cost 25 ms, in each answer of each address of each certificate."""
    one, data = look_alikes(count)
    assert len(data) <= MAX_ANSWER_BYTES
    assert verify_answer(data, one.certificate, one.issuer, datetime.now(UTC)).verdict is verdict


def kept_of(base: Path, one: Wanted, found: ResponderFinding) -> store.Kept:
    """What is kept of this finding."""
    Refresher(base / "store", base / "state", lambda _targets: [found]).run([one], 10.0)
    (kept,) = store.load(base / "store")[0].values()
    return kept


def test_of_very_many_addresses_a_few_answers_are_verified_a_revocation_and_the_newest_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, read = world.site(), []

    def counting(data: bytes, *more: Any) -> Answer:
        read.append(data)
        return verify_answer(data, *more)

    monkeypatch.setattr("ocsp_stapling.shield.refresh.verify_answer", counting)
    newest = answer(CA, world.made, GOOD, updates=(NOW - timedelta(hours=1), NOW + 6 * DAY))
    revoked = answer(CA, world.made, REVOKED, updates=(NOW - 5 * DAY, NOW + 6 * DAY))
    for last, status in ((newest, "good"), (revoked, "revoked")):
        answers = [answer(CA, world.made, GOOD, updates=(NOW - DAY, NOW + n * DAY)) for n in range(2, 17)]
        addresses = tuple(
            AddressFinding(
                f"192.0.2.{number}",
                "ipv4",
                Outcome.REVOKED if data is revoked else Outcome.OK,
                this_update=ocsp.load_der_ocsp_response(data).this_update_utc,
                answer=base64.b64encode(data).decode(),
            )
            for number, data in enumerate([*answers, answers[0], last])
        )
        found = ResponderFinding(one.url, "ocsp.a.test", 80, True, 1.0, len(addresses), addresses)
        kept = kept_of(world.base / status, one, found)
        assert (kept.answer, kept.status) == (last, status)
        assert len(read) <= 4
        read.clear()


def padded(good: bytes, size: int) -> bytes:
    return good + bytes(size - len(good))


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never done, a little at a time."""
    await reader.read(65536)
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            writer.write(b"0")
            await writer.drain()
            await asyncio.sleep(0.1)


REDIRECT = b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:22/\r\n"
HOSTILE: dict[str, tuple[Callable[[bytes], Handler], str]] = {
    "10,239 bytes": (lambda good: replying(padded(good, 10_239)), ""),
    "10,240 bytes": (lambda good: replying(padded(good, 10_240)), "larger than Apache keeps"),
    "10,241 bytes": (lambda good: replying(padded(good, 10_241)), "larger"),
    "a redirect": (lambda good: replying(good, REDIRECT), "redirect"),
    "never ending": (lambda _: endless, "slow"),
    "a header without end": (lambda good: replying(good, b"HTTP/1.0 200 OK\r\nX: " + b"x" * 200_000), "HTTP"),
    "nothing": (lambda _: replying(b"", b""), "does not speak HTTP"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_what_his_responder_does_keeps_nobody_elses_answer_away(how: str, tmp_path: Path) -> None:
    """Asked by the real child, within its deadline."""
    handler, reason = HOSTILE[how]
    certificate, other = (issue(CA, common_name=f"{each}.test") for each in "ab")
    with (
        Responder(handler(answer(CA, certificate))) as his,
        Responder(replying(answer(CA, other))) as theirs,
    ):
        leaves = [parse(each.public_bytes(Encoding.DER)) for each in (certificate, other)]
        every = [
            Wanted(cert_id_of(leaf, ISSUER), leaf, ISSUER, responder.url, site, False)
            for leaf, responder, site in zip(leaves, (his, theirs), ("his.test", "theirs.test"), strict=True)
        ]
        begun = time.monotonic()
        found = Refresher(tmp_path / "store", tmp_path / "state", asking(LOCAL, WHO)).run(every, 0.5)
        assert time.monotonic() - begun < 20
    held = store.load(tmp_path / "store")[0]
    assert every[1].cert_id in held
    assert (every[0].cert_id in held) is not bool(reason)
    assert reason.lower() in found.failed.get(every[0].cert_id, "").lower()


def test_a_name_in_any_spelling_does_not_end_the_child_that_asks_about_all(tmp_path: Path) -> None:
    """Where root's Python lies in a place that others cannot read, it can load nothing more once it is nobody's."""
    kinds = (_ASN1Type.BMPString, _ASN1Type.UniversalString, _ASN1Type.UTF8String)
    for number, kind in enumerate(kinds):
        spelt = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Spelt {number}", kind)])
        own = base(spelt, spelt, 20 + number).add_extension(x509.BasicConstraints(True, None), True)
        authority = Authority(own.sign(key(20 + number), hashes.SHA256()), key(20 + number))
        certificate = issue(authority, common_name="a.test")
        leaf, issuer = parse(encoded(certificate)), authority.parsed
        with Responder(replying(answer(authority, certificate))) as responder:
            one = Wanted(cert_id_of(leaf, issuer), leaf, issuer, responder.url, "a.test", False)
            found = Refresher(tmp_path / "store", tmp_path / "state", asking(LOCAL, WHO)).run([one], 0.5)
        assert (found.stored, found.failed) == (1, {})
