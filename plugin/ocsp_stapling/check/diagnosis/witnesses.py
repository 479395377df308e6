"""What all responders together show, each operator counted once: brands of one operator fail together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from statistics import median

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.diagnosis.explanation import MUTE, UNCONNECTED, failing
from ocsp_stapling.check.evidence import Evidence, ResponderEvidence, SteeringLine
from ocsp_stapling.ocsp.finding import HTTP, Outcome

_AGREEING_SECONDS = 120.0
_COUNTRY, _SHORT = 2, 3


@dataclass(frozen=True)
class Surroundings:
    """What the other responders, the network and the authorities show; the same for every responder."""

    operators: int
    """How many independent operators were asked."""
    shared: frozenset[Outcome]
    """Outcomes that every one of them (two at least) shows."""
    unconnected_everywhere: bool
    mute_everywhere: bool
    ipv6_answers: bool
    """Whether any responder answered over IPv6."""
    levels: Mapping[str, Level]
    tracking_full: str = ""
    """That the kernel's table of connections is full, in words."""
    force_url: SteeringLine | None = None
    proxy: SteeringLine | None = None
    clock_ahead: float | None = None
    """Seconds, from the dates of most operators who told one, which agree; None if they do not."""
    some_good: bool = False
    """Whether any answer was right: then this server's clock is."""
    serving: frozenset[str] = frozenset()
    """URLs at which some questions are answered rightly."""
    answering: frozenset[str] = frozenset()
    """The ends of the names of responders that answer rightly."""
    down_together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Host names that cannot be connected to, each with all of its operator's if none of those can (two at least)."""


def surroundings(evidence: Evidence) -> Surroundings:
    """Return what is common to all responders of the evidence."""
    witnesses = _speaking(evidence.responders)
    operators = by_operator(witnesses)
    several = len(operators) > 1
    sets = [{outcome for one in group for outcome in _outcomes(one)} for group in operators]
    shared = frozenset(set.intersection(*sets)) if several else frozenset()
    some_good = any(a.outcome.is_good for one in witnesses for a in one.finding.addresses)
    answers = {a.family for one in evidence.responders for a in one.finding.addresses if a.tcp_ms is not None}
    return Surroundings(
        len(operators),
        shared,
        several and all(found & UNCONNECTED for found in sets),
        several and all(found & MUTE for found in sets),
        "ipv6" in answers,
        {one.name: one.level for one in evidence.authorities},
        evidence.host.tracking_full,
        _of_server(evidence.configuration.force_url),
        _of_server(evidence.configuration.proxy),
        _clock_ahead(operators, some_good),
        some_good,
        frozenset(one.url for one in evidence.responders if one.finding.outcome.is_good),
        frozenset(end_of(one.finding.host) for one in evidence.responders if one.finding.outcome.is_good),
        {host: names for group in operators if (names := _down(group)) for host in names},
    )


def _of_server(line: SteeringLine | None) -> SteeringLine | None:
    """A virtual host's own line steers its questions alone; it stands with the responder."""
    return None if line and line.of_site else line


def by_operator(responders: Sequence[ResponderEvidence]) -> list[list[ResponderEvidence]]:
    """Group responders by who runs them.

    One whose operator is not known belongs to those with which it shares an address or the end of its name, and to
    those that the same customer alone names: that the organisations in the certificates differ makes them no
    independent witnesses.
    """
    groups: list[list[ResponderEvidence]] = []
    for one in sorted(responders, key=lambda each: not each.operator):
        mates = [group for group in groups if _related(one, group)]
        if not mates:
            groups.append([one])
            continue
        mates[0].append(one)
        for other in mates[1:]:
            if not other[0].operator:  # it joins what was not known to be one
                mates[0] += other
                groups.remove(other)
    return groups


def _related(one: ResponderEvidence, group: Sequence[ResponderEvidence]) -> bool:
    if one.operator:
        return one.operator == group[0].operator
    marks = _marks(one)
    return any(marks & _marks(other) for other in group)


def _marks(one: ResponderEvidence) -> frozenset[str]:
    owners = {site.owner for site in one.sites}
    alone = [f"account {owner}" for owner in owners if owner and len(owners) == 1]
    return frozenset(
        [*(found.address for found in one.finding.addresses), end_of(one.finding.host), *alone]
    ) - {""}


def end_of(host: str) -> str:
    """The end of a name by which its owner is known: `sectigo.com`, `example.co.uk`."""
    try:
        return str(ip_address(host))
    except ValueError:
        labels = host.rstrip(".").lower().split(".")
    short = len(labels) > _COUNTRY and len(labels[-1]) == _COUNTRY and len(labels[-2]) <= _SHORT
    return ".".join(labels[-3 if short else -2 :])


def _down(group: Sequence[ResponderEvidence]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(one.finding.host for one in group))
    cut_off = all(set(_outcomes(one)) & UNCONNECTED for one in group)
    return names if cut_off and len(names) > 1 else ()


def _speaking(responders: Sequence[ResponderEvidence]) -> Sequence[ResponderEvidence]:
    """The responders that speak for their authority: those of more than one account, or of independent ones.

    Anybody can make a certificate that bears an authority's name and leads to a dead host, or to another port of
    the authority's own. One customer alone must neither make an authority's outage look like a block of the whole
    network, nor hide a block behind a responder that answers.
    """
    usual = [one for one in responders if one.finding.port in (HTTP, None)] or list(responders)
    shared = [one for one in usual if one.shared]
    alone = [one for one in usual if not one.shared]
    accounts = {site.owner for one in alone for site in one.sites}
    if shared and (len(accounts) < 2 or len(by_operator(shared)) > 1):
        return shared
    known = {one.operator for one in shared if one.operator}
    return [*shared, *(one for one in alone if one.operator not in known)]


def _outcomes(one: ResponderEvidence) -> Iterable[Outcome]:
    found = {address.outcome for address in failing(one)}
    return found | {one.finding.fault} if one.finding.fault else found


def _clock_ahead(operators: Iterable[Sequence[ResponderEvidence]], some_good: bool) -> float | None:
    """Each operator has one word: a single liar neither makes a wrong clock nor hides one.

    Where answers are right by this clock, one word alone is not enough against it.
    """
    told = [median(dates) for group in operators if (dates := [*_dates(group)])]
    agreeing = [one for one in told if abs(one - median(told)) <= _AGREEING_SECONDS]
    alone = some_good and len(told) == 1
    return median(agreeing) if len(told) < 2 * len(agreeing) and not alone else None


def _dates(group: Sequence[ResponderEvidence]) -> Iterable[float]:
    every = (found.clock_ahead for one in group for found in one.finding.addresses)
    return (ahead for ahead in every if ahead is not None)
