"""Whom the real Apache asks about generated certificates, beside what our own reading of them says.

Usage: python -m tests.on_machine.generated_certificates SEED COUNT (inside a machine). Prints one JSON object: how
many were judged, how often Apache asked, aborted or stayed silent, and every difference.

Apache's workers reach nobody: every connection of theirs is turned to a recorder here, which writes down the question
and hangs up. So any host and port may stand in a certificate.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from ocsp_stapling.ocsp.certificate import parse, read_pem_chain
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.guard import UnusableURLError, parse_url
from ocsp_stapling.ocsp.issuer import issuer_of
from ocsp_stapling.ocsp.request import ocsp_request
from ocsp_stapling.ocsp.staple import Handshake, handshake
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.certificate_files import read_all
from ocsp_stapling.server.certificate_memory import CertificateFiles
from tests.machine.pki import new_key, pem, pem_key

RECORDER, APACHE = 18081, 8443
AUTHORITY_INFORMATION = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.1")
_OCSP, _CA_ISSUERS = bytes.fromhex("06082b06010505073001"), bytes.fromhex("06082b06010505073002")
_OTHER_METHODS = tuple(map(bytes.fromhex, ("06082b06010505073003", "06092b0601050507300101", "0600")))
_URI, _DNS, _MAIL, _LIST = 0x86, 0x82, 0x81, 0xA6
_PLACEHOLDER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.111")
"""In its place comes a second AuthorityInfoAccess, which no library would write."""
SCHEMES = ("http://",) * 9 + (
    "HTTP://",
    "https://",
    "ftp://",
    "http:/",
    "http:",
    "",
    "//",
    "hTTp://",
    " http://",
)
USERS = ("",) * 6 + ("x@", "u:p@", "a@b@", ":@", "@", "u%40v:p@", "x@y:81@", "[::1]@", "/@", "?@")
HOSTS = ("44.128.10.10",) * 5 + (
    "ocsp.one.test",
    "OCSP.One.TEST",
    "44.128.2570",
    "0x2c800a0a",
    "[2a0f:c0de:10::10]",
    "[::ffff:44.128.10.10]",
    "[2a0f:c0de:10::10",
    "2a0f:c0de:10::10",
    "no.such.name.test",
    "ocsp.one.test.",
    "",
    "-",
    "a b",
    "ö",
    "ocsp%2eone.test",
    "44.128.10.10 ",
    "\tocsp.one.test",
    "[::1]",
    "[fe80::1%25lo]",
    "[::]",
    "[]",
    "[v1.x]",
    "[44.128.10.10]",
    "44.128.10.10.",
    "0",
    "0x7f.1",
    "localhost",
    "x" * 300 + ".test",
)
PORTS = ("",) * 6 + (
    ":",
    ":80",
    ":8080",
    ":080",
    ":65616",
    ":99999",
    ":0",
    ":-1",
    ":+81",
    ": 82",
    ":8x",
    ":0x50",
    ":65535",
    ":65536",
    ":4294967376",
    ":00000000000000000000080",
    ":8 0",
    ":80:81",
    ":80 ",
    ":" + "9" * 30,
)
PATHS = ("",) * 3 + (
    "/",
    "/a/b",
    "/a?b=c",
    "?q",
    "#f",
    "/a#f",
    "/a?b#f",
    "/%00",
    "/ä",
    "/a b",
    "//x",
    "/../x",
    "/\x7f\t",
    "\\x",
    "/" + "p" * 1500,
    "/" + "p" * 3000,
    "/" + "p" * 12_000,
    "/%2e%2e/%",
    "/a%0d%0ab",
    "/a?b?c#d#e",
    "/a;b=c",
    "/@x:81/",
    "/\x80\xff",
    ":81/",
)
DRESS = (
    b"\xef\xbb\xbf",
    b"Certificate:\n    Data:\n        Version: 3 (0x2)\n",
    b"-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n",
    b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
    b"-----BEGIN JUNK-----\nAAAA\n-----END JUNK-----\n",
    b"----- BEGIN CERTIFICATE -----\n",
    b"\n\n  \n\t\r\n",
    b"\0\n",
    b"x" * 3000 + b"\n",
)
HEADERS = ("CERTIFICATE",) * 6 + ("X509 CERTIFICATE", "TRUSTED CERTIFICATE")


@dataclass(frozen=True)
class Question:
    """What Apache sent: `Host:` and the target of the request line."""

    host: str
    target: str
    body: bytes = b""
    """What is asked: an OCSP request."""


class Generator:
    """Certificates of one authority, each odd in ways that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.key = new_key()
        self.ca_key = new_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Generated CA")])
        self.issuer = self._certificate(name, name, self.ca_key.public_key(), None, 1)
        self.twins = [
            self._twin(name, form) for form in ("other key", "rsa", "no signing", "key id", "stranger")
        ]
        self.names = [*self._spelt(), *_in_several_parts(), x509.Name([])]
        self.typed = [
            self._certificate(each, each, self.ca_key.public_key(), None, 2 + number)
            for number, each in enumerate(self.names)
        ]

    def _spelt(self) -> list[x509.Name]:
        """The issuer's name as it may be spelt and typed; the last is another's."""
        spelt = [
            ("Generated CA", _ASN1Type.PrintableString),
            ("Generated CA", _ASN1Type.T61String),
            ("Generated CA", _ASN1Type.BMPString),
            ("GENERATED  ca ", _ASN1Type.UTF8String),
            ("\tgenerated \n CA", _ASN1Type.UTF8String),
            ("Generated CÄ", _ASN1Type.UTF8String),
        ]
        return [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, kind)]) for text, kind in spelt]

    def _issuers(self, own: bytes, issuer: x509.Certificate) -> list[bytes]:
        """The chain: mostly the issuer, sometimes others of its name beside it, in whatever order, or none."""
        mine, form = pem(issuer), self.choice.random()
        if form < 0.7:
            return [mine]
        if form < 0.74:
            return []
        if form < 0.77:
            return [own, mine]
        others = self.choice.sample([pem(each) for each in self.twins], self.choice.choice((1, 2)))
        found = [*others, mine] if form < 0.95 else others
        self.choice.shuffle(found)
        return found

    def combined(self, name: str) -> bytes:
        """Return key, certificate and issuer as cPanel keeps them, in some odd form."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        serial = 2 + self.choice.getrandbits(100)
        sans = self.choice.choice((1,) * 12 + (3000,))
        issuer = self.choice.choice([self.issuer.subject] * 24 + [*self.names, subject])
        of_that_name = [each for each in self.typed if each.subject == issuer] or [self.issuer]
        above = self.choice.choice([self.issuer, *of_that_name])
        cert = self._certificate(subject, issuer, self.key.public_key(), self._access(), serial, sans)
        text = self._as_pem(self._twice(cert))
        header = self.choice.choice(HEADERS).encode()
        text = text.replace(b"BEGIN CERTIFICATE", b"BEGIN " + header).replace(
            b"END CERTIFICATE", b"END " + header
        )
        if self.choice.random() < 0.1:
            text = text.replace(b"\n", self.choice.choice((b"\r\n", b" \n")))
        padding = b"# comment\n" * self.choice.choice((0,) * 12 + (5, 120_000))
        key, chain = pem_key(self.key), b"".join(self._issuers(text, above))
        dress = self.choice.choice(DRESS)
        parts = [
            [padding, key, text, chain],
            [key, text, padding, chain],
            [text, key, chain],
            [text, chain, key],
            [key, dress, text, dress, chain, dress],
        ]
        return b"".join(self.choice.choice([parts[0]] * 8 + parts))

    def _as_pem(self, der: bytes) -> bytes:
        """In PEM; sometimes in a form of BER that is not DER, or with something behind it."""
        form, content = self.choice.random(), der[4:]
        if form < 0.03 and der[1] == 0x82:
            der = b"\x30\x83\0" + der[2:4] + content
        elif form < 0.06 and der[1] == 0x82:
            der = b"\x30\x80" + content + b"\0\0"
        elif form < 0.08:
            der += b"\0" * 5
        text = base64.encodebytes(der)
        if self.choice.random() < 0.06:
            width = self.choice.choice((1, 64, 253, 10**7))
            joined = text.replace(b"\n", b"")
            text = b"\n".join(joined[at : at + width] for at in range(0, len(joined), width)) + b"\n"
        headers = self.choice.choice((b"",) * 30 + (b"X-Note: a\n\n", b"\n", b" \n"))
        return b"-----BEGIN CERTIFICATE-----\n" + headers + text + b"-----END CERTIFICATE-----\n"

    def _twice(self, cert: x509.Certificate) -> bytes:
        """The DER; where a placeholder stands, with a second AuthorityInfoAccess in its place, signed anew."""
        whole = cert.public_bytes(serialization.Encoding.DER)
        body = cert.tbs_certificate_bytes
        place, wanted = bytes.fromhex("06082b0601050507016f"), bytes.fromhex("06082b06010505070101")
        if place not in body:
            return whole
        body = body.replace(place, wanted)
        signed = self.ca_key.sign(body, ec.ECDSA(hashes.SHA256()))
        algorithm = bytes.fromhex("300a06082a8648ce3d040302")
        return tlv(0x30, body + algorithm + tlv(0x03, b"\0" + signed))

    def url(self) -> str:
        """Return an OCSP URL, odd in none, one, two or all of its parts."""
        parts = (SCHEMES, USERS, HOSTS, PORTS, PATHS)
        odd = self.choice.sample(range(5), self.choice.choice((0, 1, 1, 1, 2, 5)))
        return "".join(self.choice.choice(part) if i in odd else part[0] for i, part in enumerate(parts))

    def _certificate(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePublicKey,
        access: bytes | None,
        serial: int,
        sans: int = 1,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
        )
        if access is None:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        else:
            names = [x509.DNSName(f"{'a' * 50}{i}.example.test") for i in range(sans)]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            odd = x509.UnrecognizedExtension(AUTHORITY_INFORMATION, access)
            builder = builder.add_extension(odd, critical=self.choice.random() < 0.05)
            if self.choice.random() < 0.03:
                builder = builder.add_extension(
                    x509.UnrecognizedExtension(_PLACEHOLDER, self._access()), critical=False
                )
            if self.choice.random() < 0.1:
                wrong = self.choice.random() < 0.5
                named = x509.SubjectKeyIdentifier.from_public_key(
                    (self.key if wrong else self.ca_key).public_key()
                )
                known = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named)
                builder = builder.add_extension(known, critical=False)
        return builder.sign(self.ca_key, hashes.SHA256())

    def _twin(self, name: x509.Name, form: str) -> x509.Certificate:
        """Another certificate for the chain: of the issuer's name, mostly, but not what OpenSSL takes for it."""
        key = rsa.generate_private_key(65537, 2048) if form == "rsa" else self.ca_key
        key = new_key() if form in ("other key", "stranger") else key
        subject = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stranger")]) if form == "stranger" else name
        )
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=form != "no ca", path_length=None), critical=True)
        )
        if form == "no signing":
            usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
            builder = builder.add_extension(usage, critical=True)
        if form == "key id":
            known = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
            builder = builder.add_extension(known, critical=False)
        return builder.sign(key, hashes.SHA256())

    def _access(self) -> bytes:
        """An AuthorityInfoAccess (RFC 5280 section 4.2.2.1) of several descriptions, not all of them OCSP's."""
        count = self.choice.choice((1,) * 12 + (2, 2, 3, 3, 5, 5, 0, 40))
        urls = [self._octets(self.url()) for _ in range(count)]
        if self.choice.random() < 0.02:
            urls.append(b"")
        if count > 1 and self.choice.random() < 0.3:
            urls.append(self.choice.choice(urls))
        found = self._tlv(0x30, b"".join(self._description(url) for url in urls))
        if self.choice.random() < 0.03:
            found = b"\x30\x80" + b"".join(self._description(url) for url in urls) + b"\0\0"
        if self.choice.random() < 0.03:
            at = self.choice.randrange(len(found))
            found = found[:at] + bytes([self.choice.randrange(256)]) + found[at + 1 :]
        return found + b"\0\0" * (self.choice.random() < 0.02)

    def _octets(self, url: str) -> bytes:
        """IA5String has seven bits; what stands in certificates has eight, in whatever encoding."""
        return url.encode() if self.choice.random() < 0.7 else url.encode("latin-1")

    def _description(self, url: bytes) -> bytes:
        method = self.choice.choice((_OCSP,) * 16 + (_CA_ISSUERS, _CA_ISSUERS, *_OTHER_METHODS))
        tag = self.choice.choice((_URI,) * 24 + (_DNS, _DNS, _MAIL, _LIST, _LIST, 0x16, 0x80))
        if tag == _LIST and self.choice.random() < 0.8:
            at = self.choice.randrange(len(url) + 1)
            url = self._tlv(0x16, url[:at]) + self._tlv(self.choice.choice((0x16, 0x04, 0x0C)), url[at:])
            url = self._tlv(0x36, url) if self.choice.random() < 0.3 else url
        if self.choice.random() < 0.06:
            at = self.choice.randrange(len(url) + 1)
            url = url[:at] + b"\0" + url[at:]
        return self._tlv(0x30, method + self._tlv(tag, url))

    def _tlv(self, tag: int, content: bytes) -> bytes:
        size = len(content)
        octets = size.to_bytes(max(1, (size.bit_length() + 7) // 8), "big")
        if size < 128 and self.choice.random() > 0.05:
            return bytes([tag, size]) + content
        if self.choice.random() < 0.05:
            octets = b"\0" + octets  # longer than it needs to be: BER
        return bytes([tag, 0x80 | len(octets)]) + octets + content


def _in_several_parts() -> list[x509.Name]:
    """Names of which one part has several values, and of several parts, each typed in its own way."""
    pairs = [("Generated CA", NameOID.COMMON_NAME), ("Generated", NameOID.ORGANIZATION_NAME)]
    found = []
    for kind in (_ASN1Type.UTF8String, _ASN1Type.PrintableString, _ASN1Type.BMPString):
        parts = [x509.NameAttribute(oid, text, kind) for text, oid in pairs]
        found += [x509.Name([x509.RelativeDistinguishedName(parts)]), x509.Name(parts)]
    return found


def tlv(tag: int, content: bytes) -> bytes:
    """A DER element."""
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([0x80 | len(octets)]) + octets) + content


class Recorder:
    """Takes every connection of Apache's workers, keeps the question and hangs up."""

    def __init__(self) -> None:
        self.heard: list[Question] = []
        self.servers = [_listening(family) for family in (socket.AF_INET, socket.AF_INET6)]
        for server in self.servers:
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def _serve(self, server: socket.socket) -> None:
        while True:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(2)
                self._hear(connection)

    def _hear(self, connection: socket.socket) -> None:
        found = b""
        while b"\r\n\r\n" not in found and (more := connection.recv(65536)):
            found += more
        begin, _, body = found.partition(b"\r\n\r\n")
        head = begin.decode("latin-1").split("\r\n")
        size = next((int(line[16:]) for line in head if line.startswith("Content-Length: ")), 0)
        while len(body) < size and (more := connection.recv(65536)):
            body += more
        host = next((line[6:] for line in head if line.startswith("Host: ")), "")
        target = head[0].removeprefix("POST ").removesuffix(" HTTP/1.0")
        self.heard.append(Question(host, target, body))


def _listening(family: socket.AddressFamily) -> socket.socket:
    return socket.create_server(("::" if family == socket.AF_INET6 else "0.0.0.0", RECORDER), family=family)


def expected(path: Path) -> Question | str:
    """Return what our code says that Apache asks; else `nobody`, or `unreadable`."""
    read = CertificateFiles(None, read_all).read([(str(path), "")])[str(path), ""]
    if read.problem:
        return "unreadable"
    if not read.chain_complete or not read.ocsp_urls:
        return "nobody"
    try:
        url = parse_url(read.ocsp_urls[0])
    except UnusableURLError:
        return "nobody"
    leaf, *chain = map(parse, read_pem_chain(path.read_bytes()))
    issuer = issuer_of(leaf, chain)
    found = Question(url.host_header, url.target, ocsp_request(leaf, issuer) if issuer else b"")
    return found if _resolves(url.host, url.port) else "nobody"


def _resolves(host: str, port: int) -> bool:
    try:
        return bool(socket.getaddrinfo(host.encode("latin-1"), port, type=socket.SOCK_STREAM))
    except OSError:
        return False


def told(question: Question | str) -> str:
    """Return a question in words."""
    if isinstance(question, str):
        return question
    return f"{question.host} {question.target} {question.body.hex()}"


def chain_of(path: Path) -> list[str]:
    """What stands in a file, for whoever looks into a difference."""
    return [
        f"{each.issuer} {each.serial:x} key {each.public_key[:8].hex()} by {each.named} {access_in(each.der)}"
        for each in map(parse, read_pem_chain(path.read_bytes()))
    ]


def meet(name: str) -> Handshake:
    """Meet a site; again where Apache's child just crashed, or where this machine is too busy to answer."""
    for _ in range(4):
        met = handshake(Door("127.0.0.1", APACHE, name), ask=True, limit=20)
        if met.error not in ("timeout", "reset"):
            break
    return met


def access_in(der: bytes) -> str:
    """The AuthorityInfoAccess of a certificate, as hex."""
    at = der.find(bytes.fromhex("06082b06010505070101"))
    return der[at : at + 120].hex() if at >= 0 else ""


def log_of(base: Path, name: str) -> list[str]:
    """What Apache said of a certificate when it started."""
    lines = (base / "error_log").read_text(errors="replace").splitlines()
    return [line[-300:] for line in lines if f"CN={name} " in line]


def usable(content: bytes, path: Path) -> bool:
    """Whether OpenSSL takes the file as Apache would; else Apache would not start at all."""
    path.write_bytes(content)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
    except ssl.SSLError:
        return False
    return True


def configuration(base: Path, names: list[str]) -> str:
    """Return Apache's configuration: a virtual host for each certificate, stapling as EasyApache sets it."""
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
        for name in ("mpm_event", "authz_core", "socache_shmcb", "ssl")
    )
    vhosts = "\n".join(
        f"<VirtualHost *:{APACHE}>\nServerName {name}\nSSLEngine on\nSSLCertificateFile {base}/{name}.pem\n"
        "</VirtualHost>"
        for name in names
    )
    return (
        f"ServerRoot {base}\n{modules}\nPidFile {base}/pid\nErrorLog {base}/error_log\nUser nobody\nGroup nogroup\n"
        f"ServerName campaign.test\nDefaultRuntimeDir {base}\nListen {APACHE}\nStartServers 1\n"
        f"SSLUseStapling On\nSSLStaplingCache shmcb:{base}/cache(512000)\nSSLStaplingReturnResponderErrors off\n"
        f"SSLStaplingResponderTimeout 3\nMutex file:{base}\n{vhosts}\n"
    )


@contextlib.contextmanager
def apache(base: Path, names: list[str]) -> Iterator[None]:
    """An Apache of its own, whose workers' connections all go to the recorder."""
    (base / "httpd.conf").write_text(configuration(base, names))
    rule = f"meta skuid nobody tcp dport != {APACHE} redirect to :{RECORDER}"
    chain = f"type nat hook output priority -100\n{rule}"
    rules = "".join(
        f"table {family} campaign {{\nchain out {{\n{chain}\n}}\n}}\n" for family in ("ip", "ip6")
    )
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    run = subprocess.Popen(["/usr/sbin/httpd", "-DFOREGROUND", "-f", str(base / "httpd.conf")])
    try:
        _await(run, base)
        yield
    finally:
        run.send_signal(signal.SIGTERM)
        run.wait(30)
        for family in ("ip", "ip6"):
            subprocess.run(["nft", "delete", "table", family, "campaign"], check=True)


def _await(run: subprocess.Popen[bytes], base: Path) -> None:
    """Until Apache says that it serves: it listens before it reads a thousand certificates for the second time."""
    for _ in range(6000):
        said = (base / "error_log").read_text() if (base / "error_log").exists() else ""
        if "resuming normal operations" in said:
            return
        if run.poll() is not None:
            raise AssertionError(said[-3000:])
        time.sleep(0.05)
    raise AssertionError("Apache did not start")


def question_about(heard: list[Question], serial: bytes, others: set[bytes]) -> Question | None:
    """The first question that was heard, but not one that comes late, about a certificate that was met before.

    Unless Apache's visitor waited to the end, that looked as if Apache made another CertID than we do.
    """
    late = others - {serial}
    return next((each for each in heard if not any(other in each.body for other in late)), None)


def serial_in(path: Path) -> bytes:
    """The serial number of a file's certificate as it stands in a question, b"" where we cannot read it."""
    try:
        number = parse(read_pem_chain(path.read_bytes())[0]).serial
    except (Problem, IndexError):
        return b""
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def judge(seed: int, count: int) -> dict[str, object]:
    """Generate, serve and visit them all; return the sums and every difference."""
    generator, base = Generator(seed), Path(tempfile.mkdtemp(dir="/root"))
    base.chmod(0o755)
    with Path("/etc/hosts").open("a") as file:
        file.write("\n44.128.10.10 ocsp.one.test\n")
    names: list[str] = []
    refused = 0
    while len(names) < count:
        name = f"v{len(names)}.example.test"
        if usable(generator.combined(name), base / f"{name}.pem"):
            names.append(name)
        else:
            refused += 1
    recorder, sums, differences, before = Recorder(), Counter[str](), [], set[bytes]()
    with apache(base, names):
        for name in names:
            recorder.heard.clear()
            met = meet(name)
            serial = serial_in(base / f"{name}.pem")
            question = question_about(recorder.heard, serial, before)
            before |= {serial} - {b""}
            heard = question or "nobody"
            wanted = expected(base / f"{name}.pem")
            sums["asked" if question else f"aborted: {met.error}" if met.error else "silent"] += 1
            if wanted == "unreadable":
                sums[f"unreadable, {'and asked about' if question else 'and not asked about'}"] += 1
            elif told(wanted) != told(heard):
                named = CertificateFiles(None, read_all).read([(str(base / f"{name}.pem"), "")])
                urls = [each.ocsp_urls for each in named.values()]
                differences.append(
                    {"said": told(wanted), "did": told(heard), "urls": urls, "met": met.error}
                    | {"chain": chain_of(base / f"{name}.pem"), "log": log_of(base, name)}
                )
    return {"judged": count, "refused": refused, "sums": sums, "differences": differences}


def main() -> None:
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(judge(seed, count)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
