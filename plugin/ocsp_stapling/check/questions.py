"""From the virtual hosts to the questions: one certificate stands for all of the same responder and issuer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

from ocsp_stapling.apache.stapling import is_on
from ocsp_stapling.ca.directory import Directory
from ocsp_stapling.check.evidence import Site, SteeringLine
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.guard import UnusableURLError, parse_url
from ocsp_stapling.ocsp.issuer import issuer_of
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.certificate_files import certificates_in, key_kind
from ocsp_stapling.server.certificate_memory import NOT_READ
from ocsp_stapling.server.names import HTTPS
from ocsp_stapling.server.sites import Endpoint, EndpointCertificate, in_the_queue, labels
from ocsp_stapling.settings import Authority


@dataclass(frozen=True)
class Single:
    """One certificate by itself: the question about it, the sites that serve it, and where to meet one of them."""

    target: Target
    sites: tuple[Site, ...]
    doors: tuple[Door, ...] = ()
    file: Path | None = None
    must_staple: bool = False

    @property
    def serial(self) -> str:
        """Its serial number in hexadecimal, "" if it is not asked about."""
        return f"{self.target.certificate.serial:X}" if self.target.certificate else ""


@dataclass(frozen=True)
class Subject:
    """One question to put, and on whose behalf. `doors` are a few places where its sites answer."""

    target: Target
    authority: str
    issuer: str
    sites: tuple[Site, ...]
    doors: tuple[Door, ...]
    expired: bool = False
    """Whether all these sites' certificates have expired."""
    operator: str = ""
    """Who runs the responder, "" if that is not known."""
    asked: Single | None = None
    """The certificate that is asked about first."""
    others: tuple[Single, ...] = ()
    """Further ones of the same issuer in the order of asking: those that must staple, and some of the rest."""
    certificate_count: int = 1
    """How many different certificates are behind it."""
    must_staple_count: int = 0
    """Those of them that must staple."""
    steered_by: tuple[SteeringLine, ...] = ()
    """What its sites' own virtual hosts say of whom to ask, and through whom."""

    @property
    def weight(self) -> tuple[int, int]:
        """What it counts for: accounts first, for one customer can have any number of sites."""
        return len({site.owner for site in self.sites}), len(self.sites)

    @property
    def serial(self) -> str:
        """The serial number of the certificate asked about, "" if others are behind the same question."""
        alone = self.asked is not None and len(self.asked.sites) == len(self.sites)
        return self.asked.serial if alone and self.asked else ""

    @property
    def url(self) -> str:
        """The OCSP URL."""
        return self.target.url

    @property
    def host(self) -> str:
        """The responder's host name, "" if the URL cannot be used."""
        try:
            return parse_url(self.url).host
        except UnusableURLError:
            return ""


_QUESTION_BYTES = 64 << 10
"""Together with its issuer; hundreds of larger ones would cost the probe its memory. Real ones have 2 to 4 KiB."""
_DOORS = 6
_TRIED = 5
"""Certificates of a group that are tried for a question: one may have been replaced just now."""
_ISSUERS_PER_RESPONDER = 3
_FURTHER, _FURTHER_OF_A_GROUP = 200, 60
"""Certificates asked about beside the first of an issuer and all that must staple: of a server's, of one issuer's."""
_SUBJECT_SECONDS = 1.0
"""What reading the first certificates may take; who comes later by turn, as those of one customer do, is left out."""
_READING_SECONDS, _READING_BYTES = 0.5, 8 << 20
"""What reading the further certificates may take: customers can install any number of any size."""
MAX_SUBJECTS = 200
"""Certificates name responders, so their number is up to customers."""
_TURNED_OFF = 20
"""Responders of sites turned off alone that are asked whether they answer again; only root turns them off."""
_BY_LOT = 10
"""So many of the last are drawn from those that would else never be asked, so that each is at some time."""
Labels = dict[tuple[str, int], str]
"""How each (name, port) is called."""


class Asking(NamedTuple):
    """One certificate of one endpoint."""

    endpoint: Endpoint
    certificate: EndpointCertificate


_Group = list[Asking]
_Asked = tuple[str, str, str, str]
"""Responder, issuer, its key and the proxy on the way to it.

By the key, for anybody can make an issuer of any name: what is answered about such a one says nothing of the others.
"""
_LOTS = SystemRandom()


@dataclass(frozen=True)
class Served:
    """The endpoints of this server, sorted by what is to be asked about them."""

    names: tuple[str, ...]
    """Those of all endpoints."""
    subjects: tuple[Subject, ...]
    stapling: tuple[Site, ...]
    """Sites that staple, whatever responder they name."""
    incomplete: tuple[Site, ...]
    """Sites that should staple and cannot, for want of their issuer."""
    never_stapled: tuple[Site, ...]
    """Sites that must staple and whose certificate names no responder."""
    strict_off: tuple[Site, ...]
    """Sites that must staple and for which a line of their own turns it off; `where` is that line."""
    unreadable: tuple[Site, ...]
    """Sites with a certificate that could not be read."""
    authorities: tuple[Authority, ...]
    unasked: tuple[Site, ...]
    """Sites whose responders are not asked: beyond `MAX_SUBJECTS`, or their certificates took too long to read.

    All are of accounts that have many more than others."""
    turned_off: tuple[Subject, ...] = ()
    """What Apache would ask for the sites that a line of their own turns off, were it taken out."""


def sort_endpoints(endpoints: Sequence[Endpoint], directory: Directory, *, anywhere: bool = False) -> Served:
    """Group every certificate of every endpoint by the responder asked and its issuer, those of most accounts first.

    No question is put about an expired certificate. Apache does put it, though, so a responder that only expired
    ones name is probed for whether it keeps Apache waiting. `anywhere`: sites are met by lot, so that no two checks
    meet the same ones, whose staples the first would have made Apache fetch for the second.
    """
    both = [Asking(endpoint, one) for endpoint in endpoints for one in endpoint.certificates]
    every = [each for each in both if each.certificate.responder]
    alone = [each for each in both if not each.certificate.responder]
    asking = [each for each in every if not each.certificate.expired and not _never_asks(each.endpoint)]
    groups = _grouped(asking)
    known = {responder for responder, *_ in groups}
    expired = (each for each in every if each.certificate.expired and each.endpoint.stapling)
    groups |= _grouped(each for each in expired if each.certificate.responder not in known)
    merged = _in_turn(sorted(_few_issuers(groups), key=_weight, reverse=True))
    names = labels(endpoints)
    merged, left_out = _within_bounds(merged)
    subjects, late = _subjects(merged, names, directory, anywhere=anywhere)
    not_read = [one for one in alone if one.certificate.problem == NOT_READ and one.endpoint.stapling]
    unasked = [*not_read, *(one for group in (*left_out, *late) for one in group)]
    incomplete = [one for one in asking if not one.certificate.chain_complete and one.endpoint.stapling]
    return Served(
        tuple(names[one.name, one.port] for one in endpoints),
        subjects,
        tuple(_stapling(endpoints, names)),
        tuple(_site(one, names) for one in incomplete),
        tuple(
            _site(one, names) for one in alone if one.certificate.must_staple and not one.certificate.expired
        ),
        tuple(_strict_off(every, names)),
        tuple(
            _site(one, names)
            for one in alone
            if one.certificate.problem not in ("", NOT_READ) and one.endpoint.stapling
        ),
        _authorities(asking, directory),
        tuple(_site(one, names) for one in unasked),
        tuple(_turned_off(every, names, directory)),
    )


def _stapling(endpoints: Sequence[Endpoint], names: Labels) -> Iterable[Site]:
    for one in in_the_queue(endpoints):
        speaks = next(each for each in one.certificates if each.responder)
        yield replace(_site(Asking(one, speaks), names), must_staple=one.must_staple)


def _strict_off(every: Iterable[Asking], names: Labels) -> Iterable[Site]:
    for one in every:
        line, certificate = one.endpoint.override, one.certificate
        if line is not None and certificate.must_staple and not certificate.expired and not is_on(line):
            yield replace(_site(one, names), where=f"{line.file}:{line.line}")


def _turned_off(every: Iterable[Asking], names: Labels, directory: Directory) -> Iterable[Subject]:
    """Those of sites that must staple first: nobody may say "turn it on" without knowing that it would answer."""
    off = (one for one in every if _never_asks(one.endpoint) and not one.certificate.expired)
    groups = sorted(
        _grouped(off).values(), key=lambda group: not any(one.certificate.must_staple for one in group)
    )
    for turn, group in enumerate(groups[:_TURNED_OFF]):
        if subject := _subject(group, names, directory, turn, anywhere=False):
            yield replace(subject, doors=())


def _never_asks(endpoint: Endpoint) -> bool:
    """Whether Apache asks for it never, whatever holds for the server: it is turned off by a line of its own."""
    return endpoint.override is not None and not is_on(endpoint.override)


def _grouped(asking: Iterable[Asking]) -> dict[_Asked, _Group]:
    groups: dict[_Asked, _Group] = {}
    for one in asking:
        if one.certificate.chain_complete:
            way = one.endpoint.proxy.value if one.endpoint.proxy else ""
            read = one.certificate.reading
            asked = one.certificate.responder, read.issuer, read.issuer_key, way
            groups.setdefault(asked, []).append(one)
    return groups


def _weight(group: _Group) -> tuple[int, int]:
    """Accounts first: one customer alone, with any number of sites, must not crowd out everybody else's responder."""
    return len({one.endpoint.owner for one in group}), len(group)


def _in_turn(groups: list[_Group]) -> list[_Group]:
    """Those of several accounts first, then one of each account, the second of each ... .

    So nobody's responder remains unasked because one customer's certificates name hundreds.
    """
    told: Counter[str] = Counter()
    turns: list[tuple[int, _Group]] = []
    for group in groups:
        owners = {one.endpoint.owner or "" for one in group}
        owner = owners.pop() if len(owners) == 1 else None
        turns.append((told[owner] if owner is not None else -1, group))
        told[owner or ""] += owner is not None
    return [group for _, group in sorted(turns, key=lambda turn: turn[0])]


def _within_bounds(groups: list[_Group]) -> tuple[list[_Group], list[_Group]]:
    """Those that are asked now, and those that are not."""
    if len(groups) <= MAX_SUBJECTS:
        return groups, []
    sure = max(MAX_SUBJECTS - _BY_LOT, 1)
    rest = _LOTS.sample(groups[sure:], len(groups) - sure)
    return [*groups[:sure], *rest[: MAX_SUBJECTS - sure]], rest[MAX_SUBJECTS - sure :]


def _few_issuers(groups: dict[_Asked, _Group]) -> list[_Group]:
    """Ask each responder for its few largest issuers; the sites of others count with the largest."""
    by_url: dict[tuple[str, str], list[_Group]] = {}
    for (url, *_, way), group in groups.items():
        by_url.setdefault((url, way), []).append(group)
    found: list[_Group] = []
    for several in by_url.values():
        several = _in_turn(sorted(several, key=_weight, reverse=True))
        kept, others = several[:_ISSUERS_PER_RESPONDER], several[_ISSUERS_PER_RESPONDER:]
        found += [kept[0] + [one for group in others for one in group], *kept[1:]]
    return found


def _subjects(
    merged: Sequence[_Group], names: Labels, directory: Directory, *, anywhere: bool
) -> tuple[tuple[Subject, ...], list[_Group]]:
    """Each with the further certificates that are asked about, as far as there is room; and those out of time."""
    room = min(_FURTHER // max(len(merged), 1), _FURTHER_OF_A_GROUP)
    until, chosen, late = time.monotonic() + _SUBJECT_SECONDS, [], []
    for turn, one in enumerate(merged):
        if time.monotonic() > until:
            late.append(one)
        elif subject := _subject(one, names, directory, turn, anywhere=anywhere):
            chosen.append((subject, _further(one, subject, room)))
    read = _read_in_turn([further for _, further in chosen], names)
    pairs = zip(chosen, read, strict=True)
    return tuple(replace(subject, others=tuple(others)) for (subject, _), others in pairs), late


def _subject(
    group: _Group, names: Labels, directory: Directory, turn: int, *, anywhere: bool
) -> Subject | None:
    first = group[0].certificate
    tried = ((one, _target(one)) for one in group[:_TRIED])
    speaks, target = next(((one, found) for one, found in tried if found), (group[0], None))
    if target is None:
        return None
    sites = tuple(_site(one, names) for one in group)
    doors = tuple(_doors(_LOTS.sample(group, len(group)) if anywhere else group, turn, names))
    known = _authority(first, directory)
    name = known.name if known else first.organization or first.issuer or _host(first.responder)
    operator = (known.operator or known.name) if known and _named_by_host(first, known) else ""
    each = _by_file(group)
    asked = _single(each[speaks.certificate.file], target, names)
    strict = sum(same[0].certificate.must_staple for same in each.values())
    found = Subject(
        target, name, first.issuer, sites, doors, first.expired, operator, asked, (), len(each), strict
    )
    return replace(found, steered_by=_steered_by(speaks.endpoint))


def _steered_by(endpoint: Endpoint) -> tuple[SteeringLine, ...]:
    """The endpoint's own lines; those of the server are told once."""
    lines = (endpoint.force_url, endpoint.proxy)
    return tuple(
        SteeringLine(one.name, one.value, f"{one.file}:{one.line}", of_site=True)
        for one in lines
        if one and one.vhost
    )


def _by_file(group: _Group) -> Mapping[Path, _Group]:
    """Each certificate of a group with every place where it is served."""
    found: dict[Path, _Group] = {}
    for one in group:
        found.setdefault(one.certificate.file, []).append(one)
    return found


def _further(group: _Group, subject: Subject, room: int) -> list[_Group]:
    """The other certificates of a group in the order of asking: those that must staple, each account in its turn.

    Beside each of these comes one of the others, drawn by lot as they are: what one check leaves out another asks.
    """
    if not subject.target.asks or subject.asked is None:
        return []
    others = [same for file, same in _by_file(group).items() if file != subject.asked.file]
    strict = [same for same in others if same[0].certificate.must_staple]
    rest = [same for same in others if not same[0].certificate.must_staple]
    ordered = _in_turn(_LOTS.sample(strict, len(strict)))
    drawn = _LOTS.sample(rest, min(room, len(rest)))
    return [same for pair in zip_longest(ordered, drawn) for same in pair if same]


def _read_in_turn(chosen: Sequence[Sequence[_Group]], names: Labels) -> list[list[Single]]:
    """Read the certificates of every group, one of each in turn, as far as there is time and room."""
    found: list[list[Single]] = [[] for _ in chosen]
    until, left = time.monotonic() + _READING_SECONDS, _READING_BYTES
    for turn in zip_longest(*chosen):
        for singles, same in zip(found, turn, strict=True):
            target = _target(same[0]) if same and left > 0 and time.monotonic() < until else None
            if target and target.certificate and target.issuer:
                singles.append(_single(same, target, names))
                left -= len(target.certificate.der) + len(target.issuer.der)
    return found


def _single(same: _Group, target: Target, names: Labels) -> Single:
    """Where it is served; met only if it must staple."""
    asking = same[0]
    doors = _doors(same[:1], 0, names) if asking.certificate.must_staple else []
    sites = tuple(_site(one, names) for one in same)
    return Single(target, sites, tuple(doors), asking.certificate.file, asking.certificate.must_staple)


def _named_by_host(one: EndpointCertificate, known: Authority) -> bool:
    """An organisation in a certificate is anybody's words; only a responder's host tells who runs it."""
    return Directory((known,)).find(_host(one.responder)) is not None


def question(endpoint: Endpoint, url: str) -> Target | None:
    """Return what Apache asks the responder `url` about a certificate of this endpoint.

    None if it asks that nothing, or on a way that another machine has not: through a proxy, at a URL that root chose.
    """
    found = (_target(Asking(endpoint, one)) for one in endpoint.certificates if one.responder == url)
    return next((one for one in found if one and one.asks and not one.trusted), None)


def _target(asking: Asking) -> Target | None:
    """Read the certificate and its issuer; the private key in the same file is skipped and never kept."""
    endpoint, one = asking
    try:
        blocks = certificates_in(one.file)
        if one.issuer_file:
            blocks += certificates_in(one.issuer_file)
        leaf, *others = map(parse, blocks)
        issuer = issuer_of(leaf, others)
    except (OSError, ValueError, Problem):
        return None
    if issuer is None:
        return None
    asks = not one.expired and len(leaf.der) + len(issuer.der) <= _QUESTION_BYTES
    steered = endpoint.force_url is not None or endpoint.proxy is not None
    via = endpoint.proxy.value if endpoint.proxy else ""
    return Target(
        one.responder, leaf if asks else None, issuer if asks else None, steered, via, skew=endpoint.skew
    )


def _site(asking: Asking, names: Labels) -> Site:
    endpoint, one = asking
    return Site(
        names[endpoint.name, endpoint.port],
        endpoint.owner or "",
        one.must_staple,
        one.chain_complete,
        endpoint.stapling,
        endpoint.port,
        f"{endpoint.place.file}:{endpoint.place.line}" if endpoint.place else "",
        endpoint.responder_timeout,
    )


def _doors(group: _Group, first_turn: int, names: Labels) -> list[Door]:
    """A few places to meet: endpoints that staple first, on the visitors' port first, each at another address."""
    ordered = sorted(group, key=lambda one: (not one.endpoint.stapling, one.endpoint.port != HTTPS))
    found: list[Door] = []
    for turn, one in enumerate(ordered[:_DOORS], first_turn):
        places = one.endpoint.doors
        found += [_named(place, one, names) for place in places[turn % len(places) :][:1]] if places else []
    return found


def _named(door: Door, asking: Asking, names: Labels) -> Door:
    """With RSA and ECDSA certificates side by side each has visitors of its own: ask for the one that is meant."""
    door = replace(door, called=names[asking.endpoint.name, asking.endpoint.port])
    if len(asking.endpoint.certificates) == 1:
        return door
    return replace(door, key=key_kind(asking.certificate.file))


def _authority(one: EndpointCertificate, directory: Directory) -> Authority | None:
    return directory.find(_host(next(iter(one.ocsp_urls), one.responder)), one.organization)


def _authorities(asking: Iterable[Asking], directory: Directory) -> tuple[Authority, ...]:
    first_of = {(one.responder, one.organization): one for _, one in asking}
    found = [known for one in first_of.values() if (known := _authority(one, directory))]
    operators = [directory.named(one.operator) for one in found if one.operator]
    return tuple({one.name: one for one in (*found, *operators) if one}.values())


def _host(url: str) -> str:
    try:
        return parse_url(url).host
    except UnusableURLError:
        return ""
