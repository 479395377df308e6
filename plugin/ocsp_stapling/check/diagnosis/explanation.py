"""What an explanation of a responder's trouble is made of. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import takewhile

from ocsp_stapling.check.evidence import Evidence, ResponderEvidence
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding

SLOW_MS = 1000.0
"""An answer that takes longer makes visitors wait, although Apache still takes it."""


class Cause(Enum):
    """Why staples fail, or what else is the case. Closed: programs depend on these words."""

    HEALTHY = "healthy"
    NOT_APPLICABLE = "not-applicable"
    OFF_BY_PLUGIN = "off-by-plugin"
    OFF_ELSEWHERE = "off-elsewhere"
    NETWORK_BLOCK = "network-block"
    LOCAL_FIREWALL = "local-firewall"
    LOCAL_LIMIT = "local-limit"
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
    CACHE_BROKEN = "cache-broken"
    CONFIG_BROKEN = "config-broken"
    SHIELD_DOWN = "shield-down"
    MUST_STAPLE_WITHOUT_URL = "must-staple-without-ocsp-url"
    MUST_STAPLE_OFF = "must-staple-off"
    NOT_IN_FRONT = "not-in-front"
    UNKNOWN = "unknown"


class Confidence(Enum):
    """How well the cause is supported."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


UNCONNECTED = frozenset(
    {Outcome.NO_ROUTE, Outcome.NO_PORT, Outcome.NOT_PERMITTED, Outcome.REFUSED, Outcome.CONNECT_TIMEOUT}
)
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
    fix: str = ""
    """What mends it on this server, where more is known than its cause; "" for the advice of the cause."""


def can_hold_up(finding: ResponderFinding) -> bool:
    """Say whether asking this responder can make a handshake wait or break it; a quick failure cannot."""
    told = {finding.fault} if finding.fault else {address.outcome for address in finding.addresses}
    waits = bool(told & _HOLDING_UP) or any(map(_fails_slowly, finding.addresses))
    return waits or is_found_slowly(finding) or _fails_often(finding) or not told


def _fails_slowly(found: AddressFinding) -> bool:
    """Whatever it says in the end, and if that is nothing: who lets Apache wait just short of its time-out hangs."""
    took = (found.tcp_ms or found.failed_ms or 0) + (found.http_ms or 0)
    return not found.outcome.is_good and took >= SLOW_MS


def _fails_often(finding: ResponderFinding) -> bool:
    """Whether Apache tries one address after the other for long until one takes its connection."""
    failed = list(takewhile(lambda one: one.tcp_ms is None, finding.addresses))
    took = sum(one.failed_ms or 0 for one in failed)
    if failed and len(failed) == len(finding.addresses):
        took *= finding.address_count / len(failed)
    return took >= SLOW_MS


def answers(finding: ResponderFinding) -> bool:
    """Say whether it gives a good answer wherever Apache may ask it, and so that nobody waits."""
    right = finding.outcome.is_good and all(one.outcome.is_good for one in finding.addresses)
    return right and not can_hold_up(finding)


def is_found_slowly(finding: ResponderFinding) -> bool:
    """Say whether this server's resolver took so long for the name that visitors notice: Apache waits for it, too."""
    return (finding.resolve_ms or 0) >= SLOW_MS


def all_answer(evidence: Evidence) -> str:
    """Return `All 3 responders answer rightly`; those that only expired certificates name do not count."""
    count = len({one.url for one in evidence.responders if not one.expired_only})
    own = " of these certificates" if evidence.unseen is not None else ""
    return (
        f"The responder{own} answers rightly" if count < 2 else f"All {count} responders{own} answer rightly"
    )


def failing(one: ResponderEvidence) -> tuple[AddressFinding, ...]:
    """Return the addresses at which something is wrong."""
    return tuple(found for found in one.finding.addresses if not found.outcome.is_good)
