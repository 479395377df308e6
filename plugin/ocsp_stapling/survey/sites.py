"""From the virtual hosts to the questions: one certificate stands for all of the same responder and issuer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from ocsp_stapling.apache.effective import StaplingState, is_on
from ocsp_stapling.apache.vhosts import TlsVhost
from ocsp_stapling.ca.directory import Directory
from ocsp_stapling.evidence import Site
from ocsp_stapling.ocsp.certificate import Certificate, Leaf, issuer_of, parse, read_pem_chain, scan
from ocsp_stapling.ocsp.guard import UnusableURLError, parse_url
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.ocsp.staple import Door
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Authority
from ocsp_stapling.survey.subject import Subject

_FILE_BYTES = 1 << 20
_DOORS = 6
_ISSUERS_PER_RESPONDER = 3
MAX_SUBJECTS = 200
"""Certificates name responders, so their number is up to customers."""
_HTTPS = 443


@dataclass(frozen=True)
class Served:
    """The sites of this server, sorted by what is to be asked about them."""

    count: int
    subjects: tuple[Subject, ...]
    incomplete: tuple[Site, ...]
    authorities: tuple[Authority, ...]
    left_out: int
    """Responders beyond `MAX_SUBJECTS` that are not asked."""


@dataclass(frozen=True)
class _Read:
    """One virtual host whose certificate names a responder and has not expired."""

    vhost: TlsVhost
    leaf: Leaf
    issuer: Certificate | None


def sort_sites(
    vhosts: Sequence[TlsVhost], state: StaplingState, directory: Directory, now: datetime
) -> Served:
    """Read every certificate and group the sites by responder and issuer; expired ones are not asked about."""
    read = [found for vhost in vhosts if (found := _read(vhost, now))]
    whole = [one for one in read if one.issuer is not None]
    groups: dict[tuple[str, bytes], list[_Read]] = {}
    for one in whole:
        groups.setdefault((one.leaf.ocsp_urls[0], one.leaf.issuer_name), []).append(one)
    merged = _few_issuers(groups)
    largest = sorted(merged, key=len, reverse=True)
    chosen = [_subject(group, state, directory, turn) for turn, group in enumerate(largest[:MAX_SUBJECTS])]
    return Served(
        len(vhosts),
        tuple(chosen),
        tuple(_site(one, state) for one in read if one.issuer is None and _staples(one.vhost, state)),
        _authorities(whole, directory),
        max(len(merged) - MAX_SUBJECTS, 0),
    )


def _read(vhost: TlsVhost, now: datetime) -> _Read | None:
    """Read a site's certificate; the private key in the same file is skipped and never kept."""
    try:
        leaf_der, *chain_der = _blocks(vhost.certificate_file)
        leaf = scan(leaf_der)
    except (OSError, ValueError, Problem):
        return None
    if not leaf.ocsp_urls or leaf.not_after <= now:
        return None
    if vhost.chain_file:
        chain_der += _chain(str(vhost.chain_file))
    return _Read(vhost, leaf, issuer_of(leaf, _parsed(chain_der)))


def _blocks(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return list(read_pem_chain(file.read(_FILE_BYTES)))


@lru_cache(maxsize=256)
def _chain(path: str) -> list[bytes]:
    try:
        return _blocks(Path(path))
    except OSError:
        return []


def _parsed(ders: Iterable[bytes]) -> list[Certificate]:
    return [found for der in ders if (found := _certificate(der))]


@lru_cache(maxsize=1024)
def _certificate(der: bytes) -> Certificate | None:
    try:
        return parse(der)
    except Problem:
        return None


def _few_issuers(groups: dict[tuple[str, bytes], list[_Read]]) -> list[list[_Read]]:
    """Ask each responder for its few largest issuers; the sites of others count with the largest."""
    by_url: dict[str, list[list[_Read]]] = {}
    for (url, _), group in groups.items():
        by_url.setdefault(url, []).append(group)
    found: list[list[_Read]] = []
    for several in by_url.values():
        several.sort(key=len, reverse=True)
        kept, others = several[:_ISSUERS_PER_RESPONDER], several[_ISSUERS_PER_RESPONDER:]
        found += [kept[0] + [one for group in others for one in group], *kept[1:]]
    return found


def _subject(group: Sequence[_Read], state: StaplingState, directory: Directory, turn: int) -> Subject:
    first = group[0]
    url = first.leaf.ocsp_urls[0]
    doors = tuple(_doors(group, state, turn))
    sites = tuple(_site(one, state) for one in group)
    target = Target(url, parse(first.leaf.der), first.issuer)
    return Subject(target, _authority_name(first, directory), first.leaf.issuer, sites, doors)


def _site(one: _Read, state: StaplingState) -> Site:
    return Site(
        one.vhost.name,
        one.vhost.owner or "",
        one.leaf.must_staple,
        one.issuer is not None,
        _staples(one.vhost, state),
    )


def _staples(vhost: TlsVhost, state: StaplingState) -> bool:
    return is_on(vhost.stapling) if vhost.stapling else state.on


def _doors(group: Sequence[_Read], state: StaplingState, first_turn: int) -> list[Door]:
    """A few places to meet: sites that staple first, each at another of its addresses in turn."""
    ordered = sorted(group, key=lambda one: not _staples(one.vhost, state))
    found: list[Door] = []
    for turn, one in enumerate(ordered[:_DOORS], first_turn):
        places = [_door(one.vhost.name, host, port) for host, port in one.vhost.addresses]
        places = [place for place in places if place.port == _HTTPS] or places
        found += places[turn % len(places) :][:1] if places else []
    return found


def _door(name: str, host: str, port: int) -> Door:
    shown = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - wildcards
    return Door(shown, port or _HTTPS, name if not name.startswith("*") else "localhost")


def _authority(one: _Read, directory: Directory) -> Authority | None:
    return directory.find(_host(one.leaf.ocsp_urls[0]), one.leaf.issuer_organization)


def _authority_name(one: _Read, directory: Directory) -> str:
    found = _authority(one, directory)
    return (
        found.name
        if found
        else one.leaf.issuer_organization or one.leaf.issuer or _host(one.leaf.ocsp_urls[0])
    )


def _authorities(read: Iterable[_Read], directory: Directory) -> tuple[Authority, ...]:
    first_of = {(one.leaf.ocsp_urls[0], one.leaf.issuer_organization): one for one in read}
    found = (_authority(one, directory) for one in first_of.values())
    return tuple({one.name: one for one in found if one}.values())


def _host(url: str) -> str:
    try:
        return parse_url(url).host
    except UnusableURLError:
        return ""


def must_staple_sites(vhosts: Iterable[TlsVhost], now: datetime) -> tuple[str, ...]:
    """Return the sites whose valid certificate tells browsers to refuse it without a staple (RFC 7633)."""
    read = ((vhost.name, _leaf(vhost)) for vhost in vhosts)
    return tuple(name for name, leaf in read if leaf and leaf.must_staple and leaf.not_after > now)


def _leaf(vhost: TlsVhost) -> Leaf | None:
    try:
        return scan(_blocks(vhost.certificate_file)[0])
    except (OSError, IndexError, Problem):
        return None
