"""The TLS sites of this server with what their certificates say, grouped by authority and responder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ocsp_stapling.apache.stapling import StaplingState, is_on
from ocsp_stapling.apache.tree import Directive
from ocsp_stapling.server.certificate_files import CertificateFiles, Pair, Reading
from ocsp_stapling.server.vhosts import Address, TlsVhost


@dataclass(frozen=True, slots=True)
class Site:
    """A TLS virtual host. With `problem` (a code) its certificate could not be read and nothing is known of it."""

    name: str
    aliases: tuple[str, ...]
    owner: str | None
    addresses: tuple[Address, ...]
    certificate_file: Path
    issuer: str
    """Common name of the issuing certificate."""
    organization: str
    """The issuer's organisation: the authority."""
    ocsp_urls: tuple[str, ...]
    must_staple: bool
    not_after: datetime | None
    """Aware, in UTC; None if the certificate could not be read."""
    expired: bool
    self_signed: bool
    chain_complete: bool
    """Apache finds the issuer; if not, it cannot staple this site (AH02217)."""
    stapling: bool
    """Whether SSLUseStapling is on for this site, by its own line or the server's."""
    decided_by: Directive | None
    """The line that says so; None is Apache's default."""
    problem: str

    @property
    def responder(self) -> str:
        """The one OCSP URL that Apache uses, "" if there is none."""
        return self.ocsp_urls[0] if self.ocsp_urls else ""

    @property
    def can_staple(self) -> bool:
        """Whether Apache asks a responder for this site when stapling is on."""
        return bool(self.responder) and self.chain_complete and not self.expired

    def findings(self) -> tuple[str, ...]:
        """Return codes of what is wrong: the problem, or `expired`, `chain-incomplete`,
        `must-staple-without-ocsp-url`."""
        if self.problem:
            return (self.problem,)
        wrong = {
            "expired": self.expired,
            "chain-incomplete": bool(self.responder) and not self.chain_complete,
            "must-staple-without-ocsp-url": self.must_staple and not self.responder,
        }
        return tuple(code for code, true in wrong.items() if true)


@dataclass(frozen=True)
class Group:
    """The sites whose certificates one authority issued and one responder answers for."""

    authority: str
    responder: str
    """The OCSP URL, "" for certificates without one."""
    sites: tuple[Site, ...]


def take(
    vhosts: Iterable[TlsVhost],
    state: StaplingState,
    state_directory: Path | None,
    now: datetime | None = None,
) -> tuple[Site, ...]:
    """Return one Site for each TLS virtual host, in order.

    Each certificate file is read once and remembered in `state_directory` (None: not remembered) until it
    changes. A file that cannot be read is that site's `problem`; nothing is raised for it.
    """
    found = list(vhosts)
    pairs = [[_pair(path, vhost) for path in vhost.certificates] for vhost in found]
    readings = CertificateFiles(state_directory).read(pair for several in pairs for pair in several)
    moment = int((now or datetime.now(UTC)).timestamp())
    return tuple(
        _site(vhost, [readings[pair] for pair in several], state, moment)
        for vhost, several in zip(found, pairs, strict=True)
    )


def group(sites: Iterable[Site]) -> tuple[Group, ...]:
    """Return the sites grouped by authority and responder, the largest group first; unreadable ones are left out."""
    found: dict[tuple[str, str], list[Site]] = {}
    for site in sites:
        if not site.problem:
            found.setdefault((site.organization or site.issuer, site.responder), []).append(site)
    groups = (Group(*key, tuple(members)) for key, members in found.items())
    return tuple(sorted(groups, key=lambda one: (-len(one.sites), one.authority, one.responder)))


def matching(sites: Sequence[Site], name: str) -> tuple[Site, ...]:
    """Return the sites of that name or alias, case ignored; a `*` at the begin of an alias stands for one label."""
    wanted = name.rstrip(".").casefold()
    parent = "*." + wanted.partition(".")[2]
    return tuple(
        s for s in sites if not {wanted, parent}.isdisjoint(n.casefold() for n in (s.name, *s.aliases))
    )


def _pair(path: Path, vhost: TlsVhost) -> Pair:
    return str(path), str(vhost.chain_file or "")


def _site(vhost: TlsVhost, readings: Sequence[Reading], state: StaplingState, now: int) -> Site:
    """With two certificates (RSA and ECDSA) the first readable one speaks; Must-Staple counts in any."""
    first = next((reading for reading in readings if not reading.problem), readings[0])
    line = vhost.stapling or state.decided_by
    return Site(
        vhost.name,
        vhost.aliases,
        vhost.owner,
        vhost.addresses,
        vhost.certificate_file,
        first.issuer,
        first.organization,
        _urls(readings),
        any(reading.must_staple for reading in readings),
        None if first.problem else datetime.fromtimestamp(first.not_after, UTC),
        not first.problem and first.not_after <= now,
        first.self_signed,
        first.chain_complete,
        line is not None and is_on(line),
        line,
        first.problem,
    )


def _urls(readings: Sequence[Reading]) -> tuple[str, ...]:
    if len(readings) == 1:
        return readings[0].ocsp_urls
    return tuple(dict.fromkeys(url for reading in readings for url in reading.ocsp_urls))
