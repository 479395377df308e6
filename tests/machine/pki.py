"""The machine's certificate authorities: root, intermediate, delegated OCSP signer; and the sites'
certificates.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from tests.machine.shape import Authority, SitePlan

DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem_key(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _name(common_name: str, organization: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, issuer: x509.Name
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 90 * DAY)
    )


@dataclass(frozen=True)
class AuthorityKeys:
    """An authority's certificates and keys."""

    authority: Authority
    root: x509.Certificate
    issuer: x509.Certificate
    issuer_key: ec.EllipticCurvePrivateKey
    signer: x509.Certificate
    signer_key: ec.EllipticCurvePrivateKey

    @staticmethod
    def create(authority: Authority) -> AuthorityKeys:
        organization = f"{authority.name.capitalize()} Test CA"
        root_key, issuer_key, signer_key = new_key(), new_key(), new_key()
        root_name = _name(f"{organization} Root", organization)
        issuer_name = _name(f"{organization} R1", organization)
        ca = x509.BasicConstraints(ca=True, path_length=None)
        root = (
            _builder(root_name, root_key.public_key(), root_name)
            .add_extension(ca, critical=True)
            .sign(root_key, hashes.SHA256())
        )
        issuer = (
            _builder(issuer_name, issuer_key.public_key(), root_name)
            .add_extension(ca, critical=True)
            .sign(root_key, hashes.SHA256())
        )
        signer = (
            _builder(_name(f"{organization} OCSP", organization), signer_key.public_key(), issuer_name)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
            .add_extension(x509.OCSPNoCheck(), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        return AuthorityKeys(authority, root, issuer, issuer_key, signer, signer_key)

    def renewed(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        """Return another certificate of the issuer's name, for this key, by a root of its own."""
        root_key = new_key()
        ca = x509.BasicConstraints(ca=True, path_length=None)
        return (
            _builder(self.issuer.subject, key.public_key(), self.root.subject)
            .add_extension(ca, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(root_key, hashes.SHA256())
        )

    def save(self, directory: Path) -> None:
        """Write what the responder needs to `directory`/NAME.pem."""
        parts = (
            pem_key(self.issuer_key),
            pem_key(self.signer_key),
            pem(self.issuer),
            pem(self.signer),
            pem(self.root),
        )
        (directory / f"{self.authority.name}.pem").write_bytes(b"".join(parts))

    @staticmethod
    def load(authority: Authority, directory: Path) -> AuthorityKeys:
        data = (directory / f"{authority.name}.pem").read_bytes()
        issuer, signer, root = x509.load_pem_x509_certificates(data)
        blocks = data.split(b"-----BEGIN PRIVATE KEY-----")[1:]
        keys = [serialization.load_pem_private_key(b"-----BEGIN PRIVATE KEY-----" + b, None) for b in blocks]
        issuer_key, signer_key = keys
        assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
        assert isinstance(signer_key, ec.EllipticCurvePrivateKey)
        return AuthorityKeys(authority, root, issuer, issuer_key, signer, signer_key)

    def certificate(
        self, plan: SitePlan, key: Key, url: str | None = None, tied: bool = False
    ) -> x509.Certificate:
        """Issue the certificate of a site; `url` replaces the responder's ordinary URL, `tied` names the issuer's
        key."""
        builder = _builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, plan.name)]),
            key.public_key(),
            self.issuer.subject,
        ).add_extension(x509.SubjectAlternativeName([x509.DNSName(plan.name)]), critical=False)
        if plan.ocsp_url:
            where = x509.UniformResourceIdentifier(url or f"http://{self.authority.host}")
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        if plan.must_staple:
            feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
            builder = builder.add_extension(feature, critical=False)
        if tied:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issuer_key.public_key())
            builder = builder.add_extension(issuer, critical=False)
        return builder.sign(self.issuer_key, hashes.SHA256())


def combined(cert: x509.Certificate, key: Key, chain: x509.Certificate) -> bytes:
    """Return what cPanel keeps as `combined`: key, certificate, chain."""
    return pem_key(key) + pem(cert) + pem(chain)
