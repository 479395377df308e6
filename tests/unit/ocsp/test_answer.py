"""Answers are verified in full; what Apache would staple all the same is told beside the verdict."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import example, given
from hypothesis import strategies as st

from ocsp_stapling.ocsp.answer import Answer, Verdict, verify_answer
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.finding import Outcome

from .authority import DAY, NOW, answer, encoded, error_answer, issue, key, make_authority

CA = make_authority()
LEAF = issue(CA, "http://ocsp.example.com/")
SIGNER = ExtendedKeyUsageOID.OCSP_SIGNING


def judged(data: bytes, now: datetime = NOW) -> Answer:
    return verify_answer(data, parse(encoded(LEAF)), CA.parsed, now)


def verdict(data: bytes) -> tuple[Verdict, bool]:
    found = judged(data)
    return found.verdict, found.apache_accepts


def delegate_answer(delegate: x509.Certificate, number: int = 3) -> bytes:
    return answer(CA, LEAF, signer=(delegate, key(number)))


@pytest.mark.parametrize("responder_id", list(ocsp.OCSPResponderEncoding))
def test_a_good_answer_by_the_issuer(responder_id: ocsp.OCSPResponderEncoding) -> None:
    found = judged(answer(CA, LEAF, responder_id=responder_id))
    assert (found.verdict, found.apache_accepts) == (Verdict.GOOD, True)
    assert (found.this_update, found.next_update) == (NOW - DAY, NOW + 6 * DAY)


@pytest.mark.parametrize("responder_id", list(ocsp.OCSPResponderEncoding))
def test_a_good_answer_by_a_delegate(responder_id: ocsp.OCSPResponderEncoding) -> None:
    delegate = issue(CA, usage=SIGNER, common_name="OCSP signer", number=3)
    found = judged(answer(CA, LEAF, signer=(delegate, key(3)), responder_id=responder_id))
    assert found.verdict is Verdict.GOOD


def test_a_delegate_without_the_right_usage() -> None:
    delegate = issue(CA, common_name="A customer's certificate", number=3)
    assert verdict(delegate_answer(delegate)) == (Verdict.WRONG_DELEGATE, True)


def test_a_delegate_of_another_authority() -> None:
    delegate = issue(make_authority("Other CA", 9), usage=SIGNER, common_name="OCSP signer", number=3)
    assert verdict(delegate_answer(delegate)) == (Verdict.WRONG_DELEGATE, True)


def test_a_delegate_of_a_namesake_of_the_authority() -> None:
    namesake = make_authority(number=9)
    delegate = issue(namesake, usage=SIGNER, common_name="OCSP signer", number=3)
    assert verdict(delegate_answer(delegate)) == (Verdict.WRONG_DELEGATE, True)


def test_an_expired_delegate() -> None:
    delegate = issue(CA, usage=SIGNER, common_name="Old", number=3, valid=(NOW - 9 * DAY, NOW - DAY))
    assert verdict(delegate_answer(delegate)) == (Verdict.WRONG_DELEGATE, True)


def test_an_altered_answer_is_accepted_by_apache_only() -> None:
    data = answer(CA, LEAF)
    assert verdict(data[:-1] + bytes([data[-1] ^ 1])) == (Verdict.BAD_SIGNATURE, True)


def test_an_answer_signed_by_somebody_else_in_the_authority_s_name() -> None:
    impostor = make_authority(number=9)
    forged = answer(CA, LEAF, signer=(impostor.certificate, impostor.private_key))
    assert verdict(forged)[0] in (Verdict.BAD_SIGNATURE, Verdict.WRONG_DELEGATE)


def test_revoked_is_stapled_by_apache_and_is_no_good_answer() -> None:
    assert verdict(answer(CA, LEAF, ocsp.OCSPCertStatus.REVOKED)) == (Verdict.REVOKED, True)


def test_unknown() -> None:
    assert verdict(answer(CA, LEAF, ocsp.OCSPCertStatus.UNKNOWN)) == (Verdict.UNKNOWN, True)


@pytest.mark.parametrize(
    ("this_update", "next_update", "expected"),
    [
        (-DAY, timedelta(seconds=-299), Verdict.GOOD),
        (-DAY, timedelta(seconds=-301), Verdict.STALE),
        (timedelta(seconds=299), DAY, Verdict.GOOD),
        (timedelta(seconds=301), DAY, Verdict.NOT_YET_VALID),
        (-300 * DAY, None, Verdict.GOOD),
    ],
)
def test_times_with_five_minutes_of_tolerance(
    this_update: timedelta, next_update: timedelta | None, expected: Verdict
) -> None:
    updates = (NOW + this_update, None if next_update is None else NOW + next_update)
    assert verdict(answer(CA, LEAF, updates=updates)) == (expected, expected is Verdict.GOOD)


def test_now_is_what_the_caller_says() -> None:
    assert judged(answer(CA, LEAF), NOW + 30 * DAY).verdict is Verdict.STALE
    assert judged(answer(CA, LEAF), NOW - 30 * DAY).verdict is Verdict.NOT_YET_VALID


def test_an_answer_about_another_certificate() -> None:
    assert verdict(answer(CA, issue(CA))) == (Verdict.WRONG_CERTIFICATE, False)


def test_an_answer_about_the_same_serial_of_another_authority() -> None:
    other = make_authority("Other CA", 9)
    assert verdict(answer(other, LEAF)) == (Verdict.WRONG_CERTIFICATE, False)


def test_a_sha256_certid_is_no_answer_for_apache() -> None:
    assert verdict(answer(CA, LEAF, digest=hashes.SHA256())) == (Verdict.OTHER_DIGEST, False)


@pytest.mark.parametrize(
    ("skew", "minutes", "expected"),
    [
        (300, 8, (Verdict.STALE, False)),
        (3600, 8, (Verdict.GOOD, True)),
        (0, 1, (Verdict.STALE, False)),
        # Apache staples it, and browsers forgive a day.
        (10 * 86_400, 2 * 24 * 60, (Verdict.STALE, True)),
    ],
)
def test_apache_forgives_times_as_long_as_its_configuration_says(
    skew: int, minutes: int, expected: tuple[Verdict, bool]
) -> None:
    now = NOW + 6 * DAY + timedelta(minutes=minutes)
    found = verify_answer(answer(CA, LEAF), parse(encoded(LEAF)), CA.parsed, now, skew)
    assert (found.verdict, found.apache_accepts) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (ocsp.OCSPResponseStatus.TRY_LATER, Verdict.TRY_LATER),
        (ocsp.OCSPResponseStatus.UNAUTHORIZED, Verdict.UNAUTHORIZED),
        (ocsp.OCSPResponseStatus.INTERNAL_ERROR, Verdict.OTHER_OCSP_ERROR),
        (ocsp.OCSPResponseStatus.MALFORMED_REQUEST, Verdict.OTHER_OCSP_ERROR),
        (ocsp.OCSPResponseStatus.SIG_REQUIRED, Verdict.OTHER_OCSP_ERROR),
    ],
)
def test_ocsp_errors(status: ocsp.OCSPResponseStatus, expected: Verdict) -> None:
    assert verdict(error_answer(status)) == (expected, False)


@pytest.mark.parametrize("junk", [b"", b"<html>", b"\x30\x00", b"\x30\x03\x0a\x01\x63", b"\x30" * 500])
def test_what_is_no_ocsp_answer(junk: bytes) -> None:
    assert verdict(junk) == (Verdict.NOT_OCSP, False)


def test_bytes_after_the_answer_do_not_matter() -> None:
    assert verdict(answer(CA, LEAF) + b"\r\n") == (Verdict.GOOD, True)


GOOD = answer(CA, LEAF)


@example([(50, 0)])  # a type in the responder's name that no version of ASN.1 has
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_change_of_a_single_byte_makes_another_good_answer(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, value in changes:
        data[position] = value
    found = judged(bytes(data))
    assert isinstance(found.verdict, Verdict)
    if found.verdict is Verdict.GOOD:
        assert (found.this_update, found.next_update) == (NOW - DAY, NOW + 6 * DAY)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_verification(data: bytes) -> None:
    assert judged(data).verdict is not Verdict.GOOD
    assert judged(b"\x30\x82\x00\x00" + data).verdict is not Verdict.GOOD


def test_every_verdict_and_outcome_has_one_sentence() -> None:
    sentences = [outcome.sentence for outcome in Outcome] + [verdict.sentence for verdict in Verdict]
    assert all(text.endswith(".") and text.count(". ") == 0 for text in sentences)
    assert {Outcome.of(verdict) for verdict in Verdict} <= set(Outcome)
