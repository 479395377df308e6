"""The endpoints of this server: what Apache serves over TLS, with all certificates and whom it would ask for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from ocsp_stapling.apache.stapling import is_on, seconds_of
from ocsp_stapling.apache.tree import Directive, Place
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.server.certificate_memory import CertificateFiles, CertificateReading, Entry, Pair
from ocsp_stapling.server.names import HTTPS, Address, doors, host_name
from ocsp_stapling.server.vhosts import TlsVhost


class EndpointCertificate(NamedTuple):
    """One certificate of an endpoint and what Apache would ask about it. With `problem` nothing is known of it."""

    file: Path
    issuer_file: Path | None
    """Where its issuer stands, if not in the same file: SSLCertificateChainFile, SSLCACertificateFile or a file of
    SSLCACertificatePath."""
    reading: CertificateReading
    responder: str
    """The URL that Apache asks: SSLStaplingForceURL's if there is one, else the certificate's; "" for none."""
    expired: bool

    @property
    def issuer(self) -> str:
        """Common name of the issuing certificate."""
        return self.reading.issuer

    @property
    def organization(self) -> str:
        """The issuer's organisation: the authority."""
        return self.reading.organization

    @property
    def ocsp_urls(self) -> tuple[str, ...]:
        """As the certificate names them."""
        return self.reading.ocsp_urls

    @property
    def must_staple(self) -> bool:
        """Whether it demands a staple of whoever shows it."""
        return self.reading.must_staple

    @property
    def not_after(self) -> datetime | None:
        """Aware, in UTC; None if the certificate could not be read."""
        return None if self.problem else datetime.fromtimestamp(self.reading.not_after, UTC)

    @property
    def self_signed(self) -> bool:
        """Whether it signed itself."""
        return self.reading.self_signed

    @property
    def chain_complete(self) -> bool:
        """Apache finds the issuer; if not, it cannot staple this certificate (AH02217)."""
        return self.reading.chain_complete

    @property
    def problem(self) -> str:
        """The code of what is wrong with the file, "" if it can be read."""
        return self.reading.problem

    @property
    def can_staple(self) -> bool:
        """Whether Apache asks a responder about it when stapling is on."""
        return bool(self.responder) and self.chain_complete and not self.expired


@dataclass(frozen=True)
class Endpoint:
    """Where visitors meet a site: one virtual host, one port, the addresses, all certificates."""

    vhost: TlsVhost
    port: int
    addresses: tuple[Address, ...]
    certificates: tuple[EndpointCertificate, ...]
    """At least one; RSA and ECDSA side by side are two."""
    listen: Sequence[str]
    """The arguments of every Listen."""

    @property
    def name(self) -> str:
        """The name of the site."""
        return self.vhost.name

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its other names."""
        return self.vhost.aliases

    @property
    def owner(self) -> str | None:
        """The cPanel account, None if unknown."""
        return self.vhost.owner

    @property
    def place(self) -> Place | None:
        """The virtual host, None for the server itself."""
        return self.vhost.place

    @cached_property
    def doors(self) -> tuple[Door, ...]:
        """Where it can be met from this machine."""
        return doors(self.name, self.addresses, self.listen)

    @property
    def decided_by(self) -> Directive | None:
        """The line that says whether SSLUseStapling is on here; None is Apache's default."""
        return self.vhost.in_force.get("SSLUseStapling")

    @property
    def stapling(self) -> bool:
        """Whether SSLUseStapling is on here, by its own line or the server's."""
        return self.decided_by is not None and is_on(self.decided_by)

    @property
    def override(self) -> Directive | None:
        """Its own SSLUseStapling, which beats the server's."""
        return self.vhost.stapling

    @property
    def override_directory(self) -> Path | None:
        """The userdata directory in which a file of ours is read after that line, None if there is none."""
        return self.vhost.userdata

    @property
    def force_url(self) -> Directive | None:
        """The SSLStaplingForceURL in force: every question goes there."""
        return self.vhost.force_url

    @property
    def proxy(self) -> Directive | None:
        """The SSLOCSPProxyURL in force: every question goes through it."""
        return self.vhost.in_force.get("SSLOCSPProxyURL")

    @property
    def responder_timeout(self) -> int:
        """Seconds per address and socket operation."""
        return seconds_of(self.vhost.in_force.get("SSLStaplingResponderTimeout"))

    @property
    def skew(self) -> int:
        """Seconds that Apache forgives an answer's times."""
        from ocsp_stapling.ocsp.answer import SKEW_SECONDS

        return seconds_of(self.vhost.in_force.get("SSLStaplingResponseTimeSkew"), SKEW_SECONDS)

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
    files = CertificateFiles(state_directory, _read_all)
    owners = {pair: vhost.owner or "" for vhost in found for pair in _pairs(vhost)}
    readings = files.read(owners, owners)
    further = {pair: vhost.owner or "" for vhost in found for pair in _further_pairs(vhost, readings)}
    if further:
        readings = files.read([*owners, *further], owners | further)
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
    only = int(port) if colon and port.isdecimal() and len(port) <= 5 else 0
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


class Staples(Protocol):
    """A site as whoever asks knows it: whether it must staple, and whether stapling is in force for it."""

    @property
    def name(self) -> str: ...
    @property
    def must_staple(self) -> bool: ...
    @property
    def stapling(self) -> bool: ...


def refused(sites: Iterable[Staples]) -> tuple[str, ...]:
    """Return the sites that Firefox does not open: their certificate is Must-Staple, and stapling is off there."""
    return tuple(dict.fromkeys(one.name for one in sites if one.must_staple and not one.stapling))


Key = tuple[str, int, tuple[Address, ...]]
"""What tells an endpoint from others, also after lines moved: name, port, addresses."""


def keys_of(vhost: TlsVhost) -> list[Key]:
    """Return the keys of a virtual host's endpoints, one for each of its ports."""
    return [(vhost.name, port, addresses) for port, addresses in _by_port(vhost.addresses)]


@lru_cache(maxsize=1024)
def _by_port(addresses: tuple[Address, ...]) -> tuple[tuple[int, tuple[Address, ...]], ...]:
    """The addresses of each port; the sites of a server share a few of them."""
    ports: dict[int, list[Address]] = {}
    for one in addresses:
        ports.setdefault(one.port or HTTPS, []).append(one)
    return tuple((port, tuple(found)) for port, found in (ports or {HTTPS: []}).items())


def host_of(url: str) -> str:
    """Return the host (with its port, if one is written) of a responder's URL, the text itself if it is none."""
    try:
        return urlsplit(url).netloc or url
    except ValueError:
        return url


# --- building them ---


def _read_all(pairs: Sequence[Pair], owners: Mapping[Pair, str]) -> dict[Pair, Entry]:
    from ocsp_stapling.server.certificate_files import (
        read_all,  # it loads slowly, and mostly all is remembered
    )

    return read_all(pairs, owners)


def _pairs(vhost: TlsVhost) -> list[Pair]:
    """What is read for a virtual host: each certificate with its chain."""
    return [(str(path), str(vhost.chain_file or "")) for path in vhost.certificates]


def _further_pairs(vhost: TlsVhost, readings: Mapping[Pair, CertificateReading]) -> list[Pair]:
    """Each certificate whose issuer is not there, with whatever else mod_ssl looks for it in."""
    if not (vhost.trusted_file or vhost.trusted_path):
        return []
    lacking = [
        pair for pair in _pairs(vhost) if not (readings[pair].chain_complete or readings[pair].problem)
    ]
    return [(path, str(other)) for path, _ in lacking for other in _trusted(vhost, path)]


def _trusted(vhost: TlsVhost, certificate: str) -> list[Path]:
    files = [vhost.trusted_file] if vhost.trusted_file else []
    if vhost.trusted_path:
        # It loads slowly, and this is rare.
        from ocsp_stapling.server.certificate_files import named_for_issuer

        files += named_for_issuer(Path(certificate), vhost.trusted_path)
    return files


def _endpoints(
    vhost: TlsVhost, listen: Sequence[str], readings: Mapping[Pair, CertificateReading], now: int
) -> list[Endpoint]:
    certificates = tuple(_certificate(path, vhost, readings, now) for path in vhost.certificates)
    return [
        Endpoint(vhost, port, addresses, certificates, listen)
        for port, addresses in _by_port(vhost.addresses)
    ]


def _certificate(
    path: Path, vhost: TlsVhost, readings: Mapping[Pair, CertificateReading], now: int
) -> EndpointCertificate:
    issuer_file = vhost.chain_file
    read = readings[str(path), str(issuer_file or "")]
    others = [] if read.chain_complete else _trusted(vhost, str(path))
    for other in others:
        beside = readings.get((str(path), str(other)), read)
        if beside.chain_complete:
            read, issuer_file = beside, other
            break
    # Beside a copy of itself even a self-signed one has an issuer, and mod_ssl asks for it.
    asked = not read.problem and (read.chain_complete or not read.self_signed)
    own = read.ocsp_urls[0] if read.ocsp_urls else ""
    return EndpointCertificate(
        file=path,
        issuer_file=issuer_file,
        reading=read,
        responder=(vhost.force_url.value if vhost.force_url else "") or own if asked else "",
        expired=not read.problem and read.not_after <= now,
    )
