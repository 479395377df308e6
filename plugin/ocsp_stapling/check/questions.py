"""From the virtual hosts to the questions: one certificate stands for all of the same responder and issuer."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.ca.directory import Directory
from ocsp_stapling.check.evidence import Site
from ocsp_stapling.check.subject import Subject
from ocsp_stapling.ocsp.certificate import issuer_of, parse, read_pem_chain
from ocsp_stapling.ocsp.guard import UnusableURLError, parse_url
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.ocsp.staple import Door
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import sites as inventory
from ocsp_stapling.server.vhosts import TlsVhost
from ocsp_stapling.settings import Authority

_FILE_BYTES = 1 << 20
_QUESTION_BYTES = 64 << 10
"""Together with its issuer; hundreds of larger ones would cost the probe its memory. Real ones have 2 to 4 KiB."""
_DOORS = 6
_TRIED = 5
"""Certificates of a group that are tried for a question: one may have been replaced just now."""
_ISSUERS_PER_RESPONDER = 3
MAX_SUBJECTS = 200
"""Certificates name responders, so their number is up to customers."""
_HTTPS = 443

_Group = list[inventory.Site]
Chains = dict[Path, Path]


@dataclass(frozen=True)
class Served:
    """The sites of this server, sorted by what is to be asked about them."""

    count: int
    subjects: tuple[Subject, ...]
    incomplete: tuple[Site, ...]
    """Sites that should staple and cannot, for want of their issuer."""
    authorities: tuple[Authority, ...]
    left_out: int
    """Responders beyond `MAX_SUBJECTS` that are not asked."""


def sort_sites(sites: Sequence[inventory.Site], chains: Chains, directory: Directory) -> Served:
    """Group the sites by responder and issuer, those of most accounts first.

    No question is put about an expired certificate. Apache does put it, though, so a responder that only expired
    ones name is probed for whether it keeps Apache waiting. `chains` is the chain file of a certificate file, for
    those that have one.
    """
    asking = [site for site in sites if site.responder and not site.expired]
    groups = _grouped(asking)
    known = {responder for responder, _ in groups}
    groups |= _grouped(
        site for site in sites if site.expired and site.stapling and site.responder not in known
    )
    merged = sorted(_few_issuers(groups), key=_weight, reverse=True)
    chosen = (_subject(one, chains, directory, turn) for turn, one in enumerate(merged[:MAX_SUBJECTS]))
    return Served(
        len(sites),
        tuple(subject for subject in chosen if subject),
        tuple(_site(site) for site in asking if not site.chain_complete and site.stapling),
        _authorities(asking, directory),
        max(len(merged) - MAX_SUBJECTS, 0),
    )


def _grouped(sites: Iterable[inventory.Site]) -> dict[tuple[str, str], _Group]:
    groups: dict[tuple[str, str], _Group] = {}
    for site in sites:
        if site.responder and site.chain_complete:
            groups.setdefault((site.responder, site.issuer), []).append(site)
    return groups


def _weight(group: _Group) -> tuple[int, int]:
    """Accounts first: one customer alone, with any number of sites, must not crowd out everybody else's responder."""
    return len({site.owner for site in group}), len(group)


def chain_files(vhosts: Iterable[TlsVhost]) -> Chains:
    """Return the separate chain files, by certificate file."""
    return {vhost.certificate_file: vhost.chain_file for vhost in vhosts if vhost.chain_file}


def _few_issuers(groups: dict[tuple[str, str], _Group]) -> list[_Group]:
    """Ask each responder for its few largest issuers; the sites of others count with the largest."""
    by_url: dict[str, list[_Group]] = {}
    for (url, _), group in groups.items():
        by_url.setdefault(url, []).append(group)
    found: list[_Group] = []
    for several in by_url.values():
        several.sort(key=_weight, reverse=True)
        kept, others = several[:_ISSUERS_PER_RESPONDER], several[_ISSUERS_PER_RESPONDER:]
        found += [kept[0] + [one for group in others for one in group], *kept[1:]]
    return found


def _subject(group: _Group, chains: Chains, directory: Directory, turn: int) -> Subject | None:
    first = group[0]
    target = next(filter(None, (_target(site, chains) for site in group[:_TRIED])), None)
    if target is None:
        return None
    sites, doors = tuple(map(_site, group)), tuple(_doors(group, turn))
    return Subject(target, _authority_name(first, directory), first.issuer, sites, doors, first.expired)


def _target(site: inventory.Site, chains: Chains) -> Target | None:
    """Read the certificate and its issuer; the private key in the same file is skipped and never kept."""
    try:
        blocks = _blocks(site.certificate_file)
        if chain := chains.get(site.certificate_file):
            blocks += _blocks(chain)
        leaf, *others = map(parse, blocks)
    except (OSError, ValueError, Problem):
        return None
    issuer = issuer_of(leaf, others)
    if issuer is None:
        return None
    asks = not site.expired and len(leaf.der) + len(issuer.der) <= _QUESTION_BYTES
    return Target(site.responder, leaf, issuer) if asks else Target(site.responder)


def _blocks(path: Path) -> list[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        return list(read_pem_chain(file.read(_FILE_BYTES)))


def _site(site: inventory.Site) -> Site:
    return Site(site.name, site.owner or "", site.must_staple, site.chain_complete, site.stapling)


def _doors(group: _Group, first_turn: int) -> list[Door]:
    """A few places to meet: sites that staple first, each at another of its addresses in turn."""
    ordered = sorted(group, key=lambda site: not site.stapling)
    found: list[Door] = []
    for turn, site in enumerate(ordered[:_DOORS], first_turn):
        places = [_door(site.name, host, port) for host, port in site.addresses]
        places = [place for place in places if place.port == _HTTPS] or places
        found += places[turn % len(places) :][:1] if places else []
    return found


def _door(name: str, host: str, port: int) -> Door:
    shown = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - wildcards
    return Door(shown, port or _HTTPS, name if not name.startswith("*") else "localhost")


def _authority(site: inventory.Site, directory: Directory) -> Authority | None:
    return directory.find(_host(site.responder), site.organization)


def _authority_name(site: inventory.Site, directory: Directory) -> str:
    found = _authority(site, directory)
    return found.name if found else site.organization or site.issuer or _host(site.responder)


def _authorities(sites: Iterable[inventory.Site], directory: Directory) -> tuple[Authority, ...]:
    first_of = {(site.responder, site.organization): site for site in sites}
    found = (_authority(site, directory) for site in first_of.values())
    return tuple({one.name: one for one in found if one}.values())


def _host(url: str) -> str:
    try:
        return parse_url(url).host
    except UnusableURLError:
        return ""
