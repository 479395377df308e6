"""What an explanation of a responder's trouble is made of, and what all responders together show. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.evidence import Evidence, ResponderEvidence, SteeringLine
from ocsp_stapling.host.routes import Ipv6Kind
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding

SLOW_MS = 1000.0
"""An answer that takes longer makes visitors wait, although Apache still takes it."""
_AGREEING_SECONDS = 120.0


class Cause(Enum):
    """Why staples fail, or what else is the case. Closed: programs depend on these words."""

    HEALTHY = "healthy"
    NOT_APPLICABLE = "not-applicable"
    OFF_BY_PLUGIN = "off-by-plugin"
    OFF_ELSEWHERE = "off-elsewhere"
    NETWORK_BLOCK = "network-block"
    LOCAL_FIREWALL = "local-firewall"
    NO_ROUTE = "no-route"
    IPV6_BROKEN = "ipv6-broken"
    DNS = "dns"
    INTERCEPTION = "interception"
    CA_OUTAGE = "ca-outage"
    CA_BAD_ANSWER = "ca-bad-answer"
    CERTIFICATE_REVOKED = "certificate-revoked"
    CHAIN_INCOMPLETE = "chain-incomplete"
    BAD_OCSP_URL = "bad-ocsp-url"
    FORCED_URL = "forced-url"
    PROXY = "proxy"
    MOD_MD = "mod-md"
    CLOCK = "clock"
    NO_CACHE = "no-cache"
    NOT_SERVED = "not-served"
    CACHE_TOO_SMALL = "cache-too-small"
    CONFIG_BROKEN = "config-broken"
    SHIELD_DOWN = "shield-down"
    MUST_STAPLE_WITHOUT_URL = "must-staple-without-ocsp-url"
    NOT_IN_FRONT = "not-in-front"
    UNKNOWN = "unknown"


class Confidence(Enum):
    """How well the cause is supported."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


UNCONNECTED = frozenset({Outcome.NO_ROUTE, Outcome.NOT_PERMITTED, Outcome.REFUSED, Outcome.CONNECT_TIMEOUT})
MUTE = frozenset({Outcome.REPLY_TIMEOUT, Outcome.RESET, Outcome.EMPTY_REPLY})
HANGING = frozenset({Outcome.CONNECT_TIMEOUT, Outcome.REPLY_TIMEOUT, Outcome.SLOW, Outcome.DNS_TIMEOUT})
"""Outcomes for which a handshake waits."""
_HOLDING_UP = HANGING | {Outcome.DEADLINE, Outcome.ADDRESS_FORBIDDEN, Outcome.URL_UNUSABLE}


@dataclass(frozen=True)
class Explanation:
    """Why one responder fails; HEALTHY if it does not. `outcome` is the finding that decided."""

    cause: Cause
    confidence: Confidence
    outcome: Outcome
    sentence: str
    reasons_for: tuple[str, ...] = ()
    reasons_against: tuple[str, ...] = ()
    local: bool = False
    """Whether the remedy lies on this server rather than in the network beyond it."""
    late: bool = False
    """Whether its answers are right and only slow."""


@dataclass(frozen=True)
class Surroundings:
    """What the other responders, the network and the authorities show; the same for every responder."""

    authorities: int
    """How many independent authorities were asked."""
    shared: frozenset[Outcome]
    """Outcomes that every one of them (two at least) shows."""
    unconnected_everywhere: bool
    mute_everywhere: bool
    ipv6_answers: bool
    """Whether any responder answered over IPv6."""
    ipv6: Ipv6Kind
    levels: Mapping[str, Level]
    force_url: SteeringLine | None = None
    proxy: SteeringLine | None = None
    clock_ahead: float | None = None
    """Seconds, from the dates of all who told one and agree; None if they do not."""
    some_good: bool = False
    """Whether any answer was right: then this server's clock is."""


def surroundings(evidence: Evidence) -> Surroundings:
    """Return what is common to all responders of the evidence."""
    by_authority: dict[str, set[Outcome]] = {}
    for one in _witnesses(evidence.responders):
        by_authority.setdefault(one.authority, set()).update(_outcomes(one))
    several = len(by_authority) > 1
    sets = list(by_authority.values())
    shared = frozenset(set.intersection(*sets)) if several else frozenset()
    answers = {a.family for one in evidence.responders for a in one.finding.addresses if a.tcp_ms is not None}
    return Surroundings(
        len(by_authority),
        shared,
        several and all(found & UNCONNECTED for found in sets),
        several and all(found & MUTE for found in sets),
        "ipv6" in answers,
        evidence.host.ipv6,
        {one.name: one.level for one in evidence.authorities},
        evidence.configuration.force_url,
        evidence.configuration.proxy,
        _clock_ahead(evidence.responders),
        any(a.outcome.is_good for one in _witnesses(evidence.responders) for a in one.finding.addresses),
    )


def _witnesses(responders: Sequence[ResponderEvidence]) -> Sequence[ResponderEvidence]:
    """The responders that speak for their authority: those of more than one account, or of independent ones.

    Anybody can make a certificate that bears an authority's name and leads to a dead host. One customer alone
    must not make an authority's outage look like a block of the whole network.
    """
    shared = [one for one in responders if one.shared]
    accounts = {site.owner for one in responders if not one.shared for site in one.sites}
    return shared if shared and len(accounts) < 2 else responders


def can_hold_up(finding: ResponderFinding) -> bool:
    """Say whether asking this responder can make a handshake wait or break it; a quick failure cannot."""
    told = {finding.fault} if finding.fault else {address.outcome for address in finding.addresses}
    slow_name = finding.fault is Outcome.DNS_FAILURE and (finding.resolve_ms or 0) >= SLOW_MS
    return slow_name or bool(told & _HOLDING_UP) or not told


def failing(one: ResponderEvidence) -> tuple[AddressFinding, ...]:
    """Return the addresses at which something is wrong."""
    return tuple(found for found in one.finding.addresses if not found.outcome.is_good)


def _outcomes(one: ResponderEvidence) -> Iterable[Outcome]:
    found = {address.outcome for address in failing(one)}
    return found | {one.finding.fault} if one.finding.fault else found


def _clock_ahead(responders: Sequence[ResponderEvidence]) -> float | None:
    told = [
        found.clock_ahead
        for one in _witnesses(responders)
        for found in one.finding.addresses
        if found.clock_ahead is not None
    ]
    return median(told) if told and max(told) - min(told) <= _AGREEING_SECONDS else None
