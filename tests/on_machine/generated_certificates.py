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
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.guard import UnusableURLError, parse_url
from ocsp_stapling.ocsp.staple import handshake
from ocsp_stapling.server.certificate_files import CertificateFiles
from tests.machine.pki import new_key, pem, pem_key

RECORDER, APACHE = 18081, 8443
AUTHORITY_INFORMATION = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.1")
_OCSP, _CA_ISSUERS = bytes.fromhex("06082b06010505073001"), bytes.fromhex("06082b06010505073002")
_URI, _DNS = 0x86, 0x82
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
USERS = ("",) * 6 + ("x@", "u:p@", "a@b@", ":@", "@")
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
)
HEADERS = ("CERTIFICATE",) * 6 + ("X509 CERTIFICATE", "TRUSTED CERTIFICATE")


@dataclass(frozen=True)
class Question:
    """What Apache sent: `Host:` and the target of the request line."""

    host: str
    target: str


class Generator:
    """Certificates of one authority, each odd in ways that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.key = new_key()
        self.ca_key = new_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Generated CA")])
        self.issuer = self._certificate(name, name, self.ca_key.public_key(), None, 1)

    def combined(self, name: str) -> bytes:
        """Return key, certificate and issuer as cPanel keeps them, in some odd form."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        serial = 2 + self.choice.getrandbits(100)
        sans = self.choice.choice((1,) * 12 + (3000,))
        cert = self._certificate(
            subject, self.issuer.subject, self.key.public_key(), self._access(), serial, sans
        )
        text = self._as_pem(cert)
        header = self.choice.choice(HEADERS).encode()
        text = text.replace(b"BEGIN CERTIFICATE", b"BEGIN " + header).replace(
            b"END CERTIFICATE", b"END " + header
        )
        if self.choice.random() < 0.1:
            text = text.replace(b"\n", self.choice.choice((b"\r\n", b" \n")))
        padding = b"# comment\n" * self.choice.choice((0,) * 12 + (5, 120_000))
        parts = [padding, pem_key(self.key), text, pem(self.issuer)]
        return b"".join(parts if self.choice.random() < 0.8 else [*parts[1:3], padding, parts[3]])

    def _as_pem(self, cert: x509.Certificate) -> bytes:
        """In PEM; sometimes in a form of BER that is not DER, or with something behind it."""
        der = cert.public_bytes(serialization.Encoding.DER)
        form, content = self.choice.random(), der[4:]
        if form < 0.03 and der[1] == 0x82:
            der = b"\x30\x83\0" + der[2:4] + content
        elif form < 0.06 and der[1] == 0x82:
            der = b"\x30\x80" + content + b"\0\0"
        elif form < 0.08:
            der += b"\0" * 5
        return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"

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
            builder = builder.add_extension(odd, critical=False)
        return builder.sign(self.ca_key, hashes.SHA256())

    def _access(self) -> bytes:
        """An AuthorityInfoAccess (RFC 5280 section 4.2.2.1) of several descriptions, not all of them OCSP's."""
        count = self.choice.choice((1,) * 6 + (2, 3, 5))
        urls = [self.url().encode() for _ in range(count)]
        if count > 1 and self.choice.random() < 0.3:
            urls.append(self.choice.choice(urls))
        return self._tlv(0x30, b"".join(self._description(url) for url in urls))

    def _description(self, url: bytes) -> bytes:
        method = self.choice.choice((_OCSP,) * 8 + (_CA_ISSUERS,))
        tag = self.choice.choice((_URI,) * 12 + (_DNS,))
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
        head = found.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        host = next((line[6:] for line in head if line.startswith("Host: ")), "")
        target = head[0].removeprefix("POST ").removesuffix(" HTTP/1.0")
        self.heard.append(Question(host, target))


def _listening(family: socket.AddressFamily) -> socket.socket:
    return socket.create_server(("::" if family == socket.AF_INET6 else "0.0.0.0", RECORDER), family=family)


def expected(path: Path) -> Question | str:
    """Return what our code says that Apache asks; else `nobody`, or `unreadable`."""
    read = CertificateFiles(None).read([(str(path), "")])[str(path), ""]
    if read.problem:
        return "unreadable"
    if read.self_signed or not read.chain_complete or not read.ocsp_urls:
        return "nobody"
    try:
        url = parse_url(read.ocsp_urls[0])
    except UnusableURLError:
        return "nobody"
    found = Question(url.host_header, url.target)
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
    return f"{question.host} {question.target}"


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
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", APACHE), 1):
            return
        if run.poll() is not None:
            raise AssertionError((base / "error_log").read_text()[-3000:])
        time.sleep(0.05)
    raise AssertionError("Apache did not start")


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
    recorder, sums, differences = Recorder(), Counter[str](), []
    with apache(base, names):
        for name in names:
            recorder.heard.clear()
            met = handshake(Door("127.0.0.1", APACHE, name), ask=True, limit=20)
            heard = recorder.heard[0] if recorder.heard else "nobody"
            wanted = expected(base / f"{name}.pem")
            sums["asked" if recorder.heard else f"aborted: {met.error}" if met.error else "silent"] += 1
            if wanted == "unreadable":
                sums["unreadable"] += 1
            elif told(wanted) != told(heard):
                named = CertificateFiles(None).read([(str(base / f"{name}.pem"), "")])
                urls = [each.ocsp_urls for each in named.values()]
                differences.append({"said": told(wanted), "did": told(heard), "urls": urls, "met": met.error})
    return {"judged": count, "refused": refused, "sums": sums, "differences": differences}


def main() -> None:
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(judge(seed, count)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
