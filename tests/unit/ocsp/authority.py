"""A certification authority of our own: certificates, OCSP answers and responders for the tests."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from ocsp_stapling.ocsp.certificate import Certificate, parse

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@cache
def key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """A private key; the same number gives the same key."""
    return ec.derive_private_key(number + 1_000_003, ec.SECP256R1())


def name(common_name: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


@dataclass(frozen=True)
class Authority:
    """An issuing authority with its key."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @property
    def parsed(self) -> Certificate:
        return parse(encoded(self.certificate))


def encoded(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


@cache
def make_authority(common_name: str = "Test Issuing CA", number: int = 1) -> Authority:
    issuer = name(common_name, "Test Trust Ltd")
    private_key = key(number)
    builder = base(issuer, issuer, number).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), True
    )
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()), False
    )
    return Authority(builder.sign(private_key, hashes.SHA256()), private_key)


def base(subject: x509.Name, issuer: x509.Name, number: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key(number).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 10 * DAY)
        .not_valid_after(NOW + 80 * DAY)
    )


def issue(
    authority: Authority,
    url: str | Sequence[str] = (),
    *,
    must_staple: bool = False,
    common_name: str = "www.example.com",
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    valid: tuple[datetime, datetime] = (NOW - 10 * DAY, NOW + 80 * DAY),
    number: int = 2,
    extra: x509.ExtensionType | None = None,
) -> x509.Certificate:
    """Issue a leaf (or, with another `usage`, a delegated signer of answers)."""
    issuer_key = authority.private_key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(authority.certificate.subject)
        .public_key(key(number).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), False)
        .add_extension(x509.ExtendedKeyUsage([usage]), False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), False)
    )
    urls = [url] if isinstance(url, str) else list(url)
    if urls:
        builder = builder.add_extension(_information_access(urls), False)
    if must_staple:
        builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)
    if extra is not None:
        builder = builder.add_extension(extra, False)
    return builder.sign(authority.private_key, hashes.SHA256())


def _information_access(urls: Sequence[str]) -> x509.AuthorityInformationAccess:
    methods = [(AuthorityInformationAccessOID.CA_ISSUERS, "http://ca.invalid/issuer.crt")]
    methods += [(AuthorityInformationAccessOID.OCSP, url) for url in urls]
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(kind, x509.UniformResourceIdentifier(url)) for kind, url in methods]
    )


def answer(
    authority: Authority,
    certificate: x509.Certificate,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    updates: tuple[datetime, datetime | None] = (NOW - DAY, NOW + 6 * DAY),
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
    responder_id: ocsp.OCSPResponderEncoding = ocsp.OCSPResponderEncoding.NAME,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """Sign an OCSP answer about the certificate, as the authority itself or as the given signer."""
    signing, signing_key = signer or (authority.certificate, authority.private_key)
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=certificate,
        issuer=authority.certificate,
        algorithm=digest or hashes.SHA1(),
        cert_status=status,
        this_update=updates[0],
        next_update=updates[1],
        revocation_time=NOW - 2 * DAY if revoked else None,
        revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
    )
    builder = builder.responder_id(responder_id, signing)
    if signer is not None:
        builder = builder.certificates([signing])
    return builder.sign(signing_key, hashes.SHA256()).public_bytes(Encoding.DER)


def error_answer(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def replying(
    body: bytes, head: bytes = b"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n"
) -> Handler:
    """A responder that reads the request and sends `head`, an empty line and `body`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(head + b"\r\n" + body)

    return handle


class Responder:
    """A server on loopback in a thread of its own, which keeps what it was sent."""

    def __init__(self, handler: Handler, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._handler = handler
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self.host = f"[{host}]" if ":" in host else host
        self.port = int(self._socket.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._socket))
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._handler(_Recording(reader, self.requests), writer)  # type: ignore[arg-type]
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def __enter__(self) -> Responder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._socket.close()


class _Recording:
    """A StreamReader whose `read` is remembered."""

    def __init__(self, reader: asyncio.StreamReader, requests: list[bytes]) -> None:
        self._reader, self._requests = reader, requests

    async def read(self, size: int) -> bytes:
        data = await self._reader.read(size)
        self._requests.append(data)
        return data


@contextmanager
def silent_listener(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A listening socket that nobody must connect to; `was_contacted` tells."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        listening.settimeout(0.05)
        yield listening


def was_contacted(listening: socket.socket) -> bool:
    try:
        listening.accept()[0].close()
    except TimeoutError:
        return False
    return True
