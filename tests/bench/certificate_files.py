"""Combined files (key, certificate, chain) as cPanel keeps them, by the thousand: one key, one authority."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

URL = "http://ocsp.bench-ca.test/"


def make_combined_files(base: Path, number: int) -> list[Path]:
    """Write `base`/siteN.example.test/combined and return the paths; RSA 2048 sites below an ECDSA authority."""
    authority_key, site_key = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    issuer = _name("Bench CA R1")
    authority = _builder(issuer, issuer, authority_key.public_key(), 1)
    authority = authority.add_extension(x509.BasicConstraints(True, None), critical=True)
    chain = authority.sign(authority_key, SHA256()).public_bytes(Encoding.PEM)
    key = site_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    paths = []
    for index in range(number):
        name = f"site{index:05}.example.test"
        builder = _leaf(
            _builder(_name(name), issuer, site_key.public_key(), 1000 + index), name, authority_key
        )
        certificate = builder.sign(authority_key, SHA256()).public_bytes(Encoding.PEM)
        path = base / name / "combined"
        path.parent.mkdir(parents=True)
        path.write_bytes(key + certificate + chain)
        paths.append(path)
    return paths


def _name(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Bench CA")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    serial: int,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, serial, now, now + timedelta(days=90))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _leaf(
    builder: x509.CertificateBuilder, name: str, authority_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """The extensions that today's public certificates carry."""
    ocsp = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(URL))
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName(f"www.{name}")])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    for extension in (x509.AuthorityInformationAccess([ocsp]), names, usage, key_id):
        builder = builder.add_extension(extension, critical=False)
    return builder
