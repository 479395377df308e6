"""The answer, verified in full: status, CertID, signature, times, certificate status (RFC 6960 section 3.2).

mod_ssl verifies much less: it staples a revoked or a badly signed answer. So both are told: the verdict, and
whether Apache would staple the answer all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import islice

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from ocsp_stapling.ocsp import der
from ocsp_stapling.ocsp.certificate import Certificate
from ocsp_stapling.ocsp.issuer import is_signed_by
from ocsp_stapling.ocsp.request import certificate_id

SKEW_SECONDS = 300
"""mod_ssl's SSLStaplingResponseTimeSkew, unless a line says otherwise."""
_TOLERANCE = timedelta(seconds=SKEW_SECONDS)
_BROWSERS_AT_MOST = 86_400  # what Firefox forgives an answer: a day
MAX_ANSWER_BYTES = 10_240  # what mod_ssl keeps of an answer
_SIGNERS_AT_MOST = 3

_DIGESTS = {"sha1", "sha224", "sha256", "sha384", "sha512"}


class Verdict(Enum):
    """What a verified answer says; each value has one sentence."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    STALE = "stale"
    NOT_YET_VALID = "not-yet-valid"
    WRONG_CERTIFICATE = "wrong-certificate"
    OTHER_DIGEST = "other-digest"
    BAD_SIGNATURE = "bad-signature"
    WRONG_DELEGATE = "wrong-delegate"
    TRY_LATER = "try-later"
    UNAUTHORIZED = "unauthorized"
    OTHER_OCSP_ERROR = "other-ocsp-error"
    NOT_OCSP = "not-ocsp"

    @property
    def sentence(self) -> str:
        """What happened and what it means, in one plain sentence."""
        return _SENTENCES[self]


_SENTENCES = {
    Verdict.GOOD: "The answer is valid and says that the certificate is good.",
    Verdict.REVOKED: "The authority says that the certificate is revoked: browsers reject it, so replace it.",
    Verdict.UNKNOWN: "The authority says that it does not know this certificate: the fault is on its side.",
    Verdict.STALE: "The answer has expired: the responder hands out old ones, or our clock is fast.",
    Verdict.NOT_YET_VALID: "The answer is dated in the future: our clock is slow, or theirs is fast.",
    Verdict.WRONG_CERTIFICATE: "The answer is about another certificate: the responder is the wrong one.",
    Verdict.OTHER_DIGEST: "The answer names the certificate by another digest than was asked: Apache takes none.",
    Verdict.BAD_SIGNATURE: "The authority did not sign this answer: it was altered, or someone else made it.",
    Verdict.WRONG_DELEGATE: "The answer is signed with a certificate that may not sign for this authority.",
    Verdict.TRY_LATER: "The responder says 'try later': it is overloaded or under repair, on the CA's side.",
    Verdict.UNAUTHORIZED: "The responder refuses to answer about this certificate: the fault is on its side.",
    Verdict.OTHER_OCSP_ERROR: "The responder reports an error of its own instead of an answer.",
    Verdict.NOT_OCSP: "What came back is not an OCSP answer: something other than the responder replied.",
}
_STATUSES = {
    ocsp.OCSPResponseStatus.TRY_LATER: Verdict.TRY_LATER,
    ocsp.OCSPResponseStatus.UNAUTHORIZED: Verdict.UNAUTHORIZED,
}
_CERTIFICATE_STATUSES = {
    ocsp.OCSPCertStatus.GOOD: Verdict.GOOD,
    ocsp.OCSPCertStatus.REVOKED: Verdict.REVOKED,
    ocsp.OCSPCertStatus.UNKNOWN: Verdict.UNKNOWN,
}


@dataclass(frozen=True)
class Answer:
    """One answer and what is to be thought of it. Times are aware, in UTC."""

    verdict: Verdict
    apache_accepts: bool
    """Whether mod_ssl, which checks no signature, would staple it."""
    certificate_status: str = ""
    """`good`, `revoked` or `unknown`, as claimed: to be believed only if the verdict says the same."""
    this_update: datetime | None = None
    next_update: datetime | None = None


def verify_answer(
    data: bytes, certificate: Certificate, issuer: Certificate, now: datetime, skew: int = SKEW_SECONDS
) -> Answer:
    """Verify the OCSP response `data` for `certificate`; never raises on foreign bytes.

    `now` is aware; `skew` is how many seconds Apache forgives an answer's times. The first fault found decides: no
    OCSP, error status, other certificate, signature, times, certificate status.
    """
    try:
        return _verify(data, certificate, issuer, now, skew)
    except (ValueError, TypeError, UnsupportedAlgorithm, OverflowError):
        return Answer(Verdict.NOT_OCSP, apache_accepts=False)


def _verify(data: bytes, certificate: Certificate, issuer: Certificate, now: datetime, skew: int) -> Answer:
    whole = der.expect(data, 0, len(data), der.SEQUENCE)
    response = ocsp.load_der_ocsp_response(data[: whole.stop])  # mod_ssl, too, ignores what follows
    if response.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
        verdict = _STATUSES.get(response.response_status, Verdict.OTHER_OCSP_ERROR)
        return Answer(verdict, apache_accepts=False)
    single = _find_single(response, certificate, issuer)
    if single is None:
        return Answer(Verdict.WRONG_CERTIFICATE, apache_accepts=False)
    time_fault = _time_fault(single, now, min(skew, _BROWSERS_AT_MOST))
    status = _CERTIFICATE_STATUSES[single.certificate_status]
    as_asked = single.hash_algorithm.name == "sha1"
    in_time = _time_fault(single, now, skew) is None
    if status is Verdict.GOOD and not as_asked:
        status = Verdict.OTHER_DIGEST
    return Answer(
        _signature_fault(response, issuer, now) or time_fault or status,
        as_asked and in_time and len(data) <= MAX_ANSWER_BYTES,
        single.certificate_status.name.lower(),
        single.this_update_utc,
        single.next_update_utc,
    )


def _find_single(
    response: ocsp.OCSPResponse, certificate: Certificate, issuer: Certificate
) -> ocsp.OCSPSingleResponse | None:
    """Return the part of the answer that speaks of the certificate; an answer may hold many."""
    return next((one for one in response.responses if _is_about(one, certificate, issuer)), None)


def _is_about(one: ocsp.OCSPSingleResponse, certificate: Certificate, issuer: Certificate) -> bool:
    if one.serial_number != certificate.serial or one.hash_algorithm.name not in _DIGESTS:
        return False
    wanted = certificate_id(certificate, issuer, one.hash_algorithm.name)
    return (one.issuer_name_hash, one.issuer_key_hash) == (wanted.issuer_name_hash, wanted.issuer_key_hash)


def _time_fault(one: ocsp.OCSPSingleResponse, now: datetime, skew: int) -> Verdict | None:
    """Compare as OpenSSL does for mod_ssl; an answer without nextUpdate does not expire (RFC 6960, 2.4)."""
    moment, tolerance = now.astimezone(UTC), timedelta(seconds=skew)
    if one.this_update_utc > moment + tolerance:
        return Verdict.NOT_YET_VALID
    if one.next_update_utc is None:
        return None
    stale = one.next_update_utc < max(moment - tolerance, one.this_update_utc)
    return Verdict.STALE if stale else None


def _signature_fault(response: ocsp.OCSPResponse, issuer: Certificate, now: datetime) -> Verdict | None:
    """Return what is wrong with the signature, None if it is the issuer's or a delegate's."""
    try:
        authority = x509.load_der_x509_certificate(issuer.der)
        authority_key = authority.public_key()
    except (ValueError, UnsupportedAlgorithm):  # an issuer like this vouches for nothing
        return Verdict.BAD_SIGNATURE
    fault = Verdict.BAD_SIGNATURE
    for signer in _named_signers(response, authority):
        if not _made_signature(response, signer):
            continue
        if signer.public_key() == authority_key or _may_sign(signer, issuer, now):
            return None
        fault = Verdict.WRONG_DELEGATE
    return fault


def _named_signers(response: ocsp.OCSPResponse, authority: x509.Certificate) -> Iterator[x509.Certificate]:
    """Yield the issuer and the enclosed certificates that the ResponderID names (RFC 6960, 4.2.2.3), a few at most.

    An answer has room for dozens of one name, each of which would cost a signature to be verified.
    """
    named = (one for one in (authority, *_enclosed(response)) if _is_named(response, one))
    yield from islice(named, _SIGNERS_AT_MOST)


def _enclosed(response: ocsp.OCSPResponse) -> list[x509.Certificate]:
    try:
        return response.certificates
    except ValueError:
        return []


def _is_named(response: ocsp.OCSPResponse, candidate: x509.Certificate) -> bool:
    try:
        if response.responder_name is not None:
            return response.responder_name == candidate.subject
        return response.responder_key_hash == _key_hash(candidate)
    except (ValueError, KeyError, UnsupportedAlgorithm):  # KeyError: how cryptography 43 refuses an odd name
        return False


def _key_hash(certificate: x509.Certificate) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _made_signature(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    try:
        _check_signature(response, signer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _check_signature(response: ocsp.OCSPResponse, signer: x509.Certificate) -> None:
    key, signature, signed = signer.public_key(), response.signature, response.tbs_response_bytes
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(signature, signed)
        return
    digest = response.signature_hash_algorithm
    if digest is None or digest.name not in _DIGESTS:
        raise InvalidSignature("not a digest to be trusted")
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PKCS1v15(), digest)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, signed, ec.ECDSA(digest))
    else:
        raise InvalidSignature("not a key that signs answers")


def _may_sign(delegate: x509.Certificate, issuer: Certificate, now: datetime) -> bool:
    """Say whether the same issuer made it for signing answers, and it is valid (RFC 6960, 4.2.2.2)."""
    moment = now.astimezone(UTC)
    if not delegate.not_valid_before_utc - _TOLERANCE <= moment <= delegate.not_valid_after_utc + _TOLERANCE:
        return False
    try:
        usage = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage and is_signed_by(
        delegate.public_bytes(Encoding.DER), issuer.der
    )
