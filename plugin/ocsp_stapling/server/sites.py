"""The endpoints of this server: what Apache serves over TLS, with all certificates and whom it would ask for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from ocsp_stapling.apache.stapling import is_on, seconds_of
from ocsp_stapling.apache.tree import Directive, Place
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.server.certificate_files import CertificateFiles, CertificateReading, Pair
from ocsp_stapling.server.names import HTTPS, Address, doors, host_name
from ocsp_stapling.server.vhosts import TlsVhost


@dataclass(frozen=True)
class EndpointCertificate:
    """One certificate of an endpoint and what Apache would ask about it. With `problem` nothing is known of it."""

    file: Path
    issuer_file: Path | None
    """Where its issuer stands, if not in the same file: SSLCertificateChainFile or SSLCACertificateFile."""
    issuer: str
    """Common name of the issuing certificate."""
    organization: str
    """The issuer's organisation: the authority."""
    ocsp_urls: tuple[str, ...]
    """As the certificate names them."""
    responder: str
    """The URL that Apache asks: SSLStaplingForceURL's if there is one, else the certificate's; "" for none."""
    must_staple: bool
    not_after: datetime | None
    """Aware, in UTC; None if the certificate could not be read."""
    expired: bool
    self_signed: bool
    chain_complete: bool
    """Apache finds the issuer; if not, it cannot staple this certificate (AH02217)."""
    problem: str

    @property
    def can_staple(self) -> bool:
        """Whether Apache asks a responder about it when stapling is on."""
        return bool(self.responder) and self.chain_complete and not self.expired


@dataclass(frozen=True)
class Endpoint:
    """Where visitors meet a site: one name, one port, the addresses, all certificates, what holds for stapling."""

    name: str
    aliases: tuple[str, ...]
    owner: str | None
    port: int
    addresses: tuple[Address, ...]
    doors: tuple[Door, ...]
    """Where it can be met from this machine."""
    certificates: tuple[EndpointCertificate, ...]
    """At least one; RSA and ECDSA side by side are two."""
    stapling: bool
    """Whether SSLUseStapling is on here, by its own line or the server's."""
    decided_by: Directive | None
    """The line that says so; None is Apache's default."""
    override: Directive | None
    """Its own SSLUseStapling, which beats the server's."""
    override_in_userdata: bool
    force_url: Directive | None
    """The SSLStaplingForceURL in force: every question goes there."""
    proxy: Directive | None
    """The SSLOCSPProxyURL in force: every question goes through it."""
    responder_timeout: int
    """Seconds per address and socket operation."""
    place: Place | None
    """The virtual host, None for the server itself."""

    @cached_property
    def _speaker(self) -> EndpointCertificate:
        """The certificate that speaks where one has to: the first that staples, else the first readable."""
        readable = [one for one in self.certificates if not one.problem]
        return next((one for one in readable if one.responder), next(iter(readable), self.certificates[0]))

    @property
    def certificate_file(self) -> Path:
        """The file of the certificate that speaks for the endpoint."""
        return self._speaker.file

    @property
    def issuer(self) -> str:
        """Common name of that certificate's issuer."""
        return self._speaker.issuer

    @property
    def organization(self) -> str:
        """Its authority."""
        return self._speaker.organization

    @cached_property
    def ocsp_urls(self) -> tuple[str, ...]:
        """The OCSP URLs that the certificates name, each once."""
        return tuple(dict.fromkeys(url for one in self.certificates for url in one.ocsp_urls))

    @cached_property
    def responders(self) -> tuple[str, ...]:
        """The URLs that Apache asks, each once."""
        return tuple(dict.fromkeys(one.responder for one in self.certificates if one.responder))

    @property
    def responder(self) -> str:
        """The first of `responders`, "" if there is none."""
        return self.responders[0] if self.responders else ""

    @property
    def must_staple(self) -> bool:
        """Whether any of the certificates demands a staple."""
        return any(one.must_staple for one in self.certificates)

    @property
    def not_after(self) -> datetime | None:
        """When the first of the certificates ends; None if none could be read."""
        return min((one.not_after for one in self.certificates if one.not_after), default=None)

    @property
    def expired(self) -> bool:
        """Whether all readable certificates have expired."""
        readable = [one for one in self.certificates if not one.problem]
        return bool(readable) and all(one.expired for one in readable)

    @property
    def self_signed(self) -> bool:
        """Whether the certificate that speaks signed itself."""
        return self._speaker.self_signed

    @property
    def chain_complete(self) -> bool:
        """Whether Apache finds the issuer of every certificate that names a responder."""
        asked = [one for one in self.certificates if one.responder]
        return all(one.chain_complete for one in asked or [self._speaker])

    @property
    def problem(self) -> str:
        """The code of what is wrong with a certificate file that cannot be read, "" if all can."""
        return next((one.problem for one in self.certificates if one.problem), "")

    @property
    def can_staple(self) -> bool:
        """Whether Apache asks a responder for any certificate here when stapling is on."""
        return any(one.can_staple for one in self.certificates)

    @property
    def key(self) -> Key:
        """What tells it from others, also after lines moved."""
        return self.name, self.port, self.addresses

    def findings(self) -> tuple[str, ...]:
        """Return codes of what is wrong: a certificate's problem, `expired`, `chain-incomplete`,
        `must-staple-without-ocsp-url`.
        """
        found: dict[str, None] = {}
        for one in self.certificates:
            wrong = {
                one.problem: bool(one.problem),
                "expired": one.expired,
                "chain-incomplete": bool(one.responder) and not one.chain_complete and not one.problem,
                "must-staple-without-ocsp-url": one.must_staple and not one.responder,
            }
            found |= dict.fromkeys(code for code, true in wrong.items() if true)
        return tuple(found)


def in_the_queue(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Return the endpoints that wait while a responder keeps Apache waiting: all that staple share one queue."""
    return [one for one in endpoints if one.stapling and one.responder]


@dataclass(frozen=True)
class Group:
    """The endpoints whose certificates one authority issued and one responder answers for."""

    authority: str
    responder: str
    """The OCSP URL, "" for certificates without one."""
    sites: tuple[Endpoint, ...]


def take(
    vhosts: Iterable[TlsVhost],
    listen: Sequence[str],
    state_directory: Path | None,
    now: datetime | None = None,
) -> tuple[Endpoint, ...]:
    """Return the endpoints of the virtual hosts, in order: one for each port of each.

    Each certificate file is read once and remembered in `state_directory` (None: not remembered) until it
    changes. A file that cannot be read is that certificate's `problem`; nothing is raised for it. `listen` are the
    arguments of every Listen.
    """
    found = list(vhosts)
    readings = CertificateFiles(state_directory).read(pair for vhost in found for pair in _pairs(vhost))
    moment = int((now or datetime.now(UTC)).timestamp())
    return tuple(each for vhost in found for each in _endpoints(vhost, listen, readings, moment))


def group(endpoints: Iterable[Endpoint]) -> tuple[Group, ...]:
    """Return the endpoints by authority and responder, the largest group first; unreadable certificates are left out.

    With certificates of two authorities an endpoint is in two groups.
    """
    found: dict[tuple[str, str], dict[int, Endpoint]] = {}
    for endpoint in endpoints:
        for one in endpoint.certificates:
            if not one.problem:
                key = one.organization or one.issuer, one.responder
                found.setdefault(key, {})[id(endpoint)] = endpoint
    groups = (Group(*key, tuple(members.values())) for key, members in found.items())
    return tuple(sorted(groups, key=lambda one: (-len(one.sites), one.authority, one.responder)))


def matching(endpoints: Sequence[Endpoint], name: str) -> tuple[Endpoint, ...]:
    """Return the endpoints of that name or alias, however it is written; `NAME:PORT` chooses one port.

    A `*` at the begin of an alias stands for one label.
    """
    wanted = host_name(name)
    _, colon, port = name.rpartition(":")
    only = int(port) if colon and port.isdecimal() else 0
    parent = "*." + wanted.partition(".")[2]
    return tuple(
        one
        for one in endpoints
        if not {wanted, parent}.isdisjoint((one.name, *one.aliases)) and only in (0, one.port)
    )


def labels(endpoints: Iterable[Endpoint]) -> dict[tuple[str, int], str]:
    """Return how each (name, port) is called: the name, with its port where the name alone would be ambiguous."""
    places = dict.fromkeys((one.name, one.port) for one in endpoints)
    count = Counter(name for name, _ in places)
    return {(name, port): f"{name}:{port}" if count[name] > 1 else name for name, port in places}


Key = tuple[str, int, tuple[Address, ...]]
"""What tells an endpoint from others, also after lines moved: name, port, addresses."""


def keys_of(vhost: TlsVhost) -> list[Key]:
    """Return the keys of a virtual host's endpoints, one for each of its ports."""
    ports: dict[int, list[Address]] = {}
    for one in vhost.addresses:
        ports.setdefault(one.port or HTTPS, []).append(one)
    return [(vhost.name, port, tuple(addresses)) for port, addresses in (ports or {HTTPS: []}).items()]


def host_of(url: str) -> str:
    """Return the host (with its port, if one is written) of a responder's URL, the text itself if it is none."""
    try:
        return urlsplit(url).netloc or url
    except ValueError:
        return url


# --- building them ---


def _pairs(vhost: TlsVhost) -> list[Pair]:
    """What is read for a virtual host: each certificate with its chain, and with what else may hold its issuer."""
    chain = str(vhost.chain_file or "")
    pairs = [(str(path), chain) for path in vhost.certificates]
    if vhost.trusted_file:
        pairs += [(str(path), str(vhost.trusted_file)) for path in vhost.certificates]
    return pairs


def _endpoints(
    vhost: TlsVhost, listen: Sequence[str], readings: dict[Pair, CertificateReading], now: int
) -> list[Endpoint]:
    lines = vhost.in_force or {}
    line, force, timeout = (
        lines.get(name) for name in ("SSLUseStapling", "SSLStaplingForceURL", "SSLStaplingResponderTimeout")
    )
    if force and force.managed:
        force = None  # the shield's: its relay asks whom the certificates name
    certificates = tuple(
        _certificate(path, vhost, readings, force.value if force else "", now) for path in vhost.certificates
    )
    return [
        Endpoint(
            name=vhost.name,
            aliases=vhost.aliases,
            owner=vhost.owner,
            port=port,
            addresses=addresses,
            doors=doors(vhost.name, addresses, listen),
            certificates=certificates,
            stapling=line is not None and is_on(line),
            decided_by=line,
            override=vhost.stapling,
            override_in_userdata=vhost.in_userdata,
            force_url=force,
            proxy=lines.get("SSLOCSPProxyURL"),
            responder_timeout=seconds_of(timeout),
            place=vhost.place,
        )
        for _, port, addresses in keys_of(vhost)
    ]


def _certificate(
    path: Path, vhost: TlsVhost, readings: dict[Pair, CertificateReading], forced: str, now: int
) -> EndpointCertificate:
    issuer_file = vhost.chain_file
    read = readings[str(path), str(issuer_file or "")]
    if vhost.trusted_file and not read.chain_complete:
        beside = readings[str(path), str(vhost.trusted_file)]
        if beside.chain_complete:
            read, issuer_file = beside, vhost.trusted_file
    own = read.ocsp_urls[0] if read.ocsp_urls else ""
    return EndpointCertificate(
        file=path,
        issuer_file=issuer_file,
        issuer=read.issuer,
        organization=read.organization,
        ocsp_urls=read.ocsp_urls,
        # Beside a copy of itself even a self-signed one has an issuer, and mod_ssl asks for it.
        responder="" if read.problem or (read.self_signed and not read.chain_complete) else forced or own,
        must_staple=read.must_staple,
        not_after=None if read.problem else datetime.fromtimestamp(read.not_after, UTC),
        expired=not read.problem and read.not_after <= now,
        self_signed=read.self_signed,
        chain_complete=read.chain_complete,
        problem=read.problem,
    )
