"""Evidence made by hand, piece by piece, for tests of the pure diagnosis."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.check.diagnosis import Action, Cause, Diagnosis, Severity
from ocsp_stapling.check.evidence import (
    ConfigurationEvidence,
    Evidence,
    HandshakeEvidence,
    LogEvidence,
    ResponderEvidence,
    Site,
)
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding

NOW = datetime(2026, 5, 4, 3, 0, tzinfo=UTC)
V4, V6 = "198.51.100.7", "2001:db8::7"
UNCONNECTED = (Outcome.NO_ROUTE, Outcome.NOT_PERMITTED, Outcome.REFUSED, Outcome.CONNECT_TIMEOUT)


def address(text: str, outcome: Outcome, **more: Any) -> AddressFinding:
    """One address as a probe leaves it: times only for the stages that were reached."""
    connected = outcome not in UNCONNECTED
    facts: dict[str, Any] = {
        "route": None if outcome is Outcome.NO_ROUTE else True,
        "tcp_ms": 10.0 if connected else None,
        "http_ms": 20.0 if outcome.is_good else None,
    }
    family = "ipv6" if ":" in text else "ipv4"
    return AddressFinding(text, family, outcome, **(facts | more))


def responder(
    name: str = "alpha",
    v4: Outcome | AddressFinding = Outcome.OK,
    v6: Outcome | AddressFinding | None = None,
    *,
    fault: Outcome | None = None,
    sites: int = 2,
    must_staple: bool = False,
    **more: Any,
) -> ResponderEvidence:
    """One responder with an IPv4 address and, unless told otherwise, an IPv6 one that does the same."""
    v6 = v4 if v6 is None and isinstance(v4, Outcome) else v6
    found = [
        each if isinstance(each, AddressFinding) else address(text, each)
        for text, each in ((V6, v6), (V4, v4))
        if each is not None
    ]
    host = f"ocsp.{name}.example"
    finding = ResponderFinding(
        f"http://{host}", host, 80, True, 1.0, len(found), () if fault else tuple(found), fault
    )
    names = [Site(f"{name}{i}.example", must_staple=must_staple and i == 0) for i in range(sites)]
    facts: dict[str, Any] = {"operator": name.capitalize()} | more
    return ResponderEvidence(finding, name.capitalize(), f"{name} issuing CA", tuple(names), **facts)


def at_port(one: ResponderEvidence, port: int) -> ResponderEvidence:
    """The same at a port of its own."""
    return replace(one, finding=replace(one.finding, url=f"{one.finding.url}:{port}", port=port))


def meeting(one: ResponderEvidence, **more: Any) -> list[HandshakeEvidence]:
    """A handshake with the first site of a responder without and one with asking for a staple."""
    door = (one.sites[0].name, "192.0.2.1", 443, one.url)
    asked: dict[str, Any] = {"seconds": 0.01, "staple": "good"} | more
    return [
        HandshakeEvidence(*door, asked=False, seconds=0.01),
        HandshakeEvidence(*door, asked=True, **asked),
    ]


def evidence(*responders: ResponderEvidence, **more: Any) -> Evidence:
    """A whole survey; sites answer quickly and with staples unless told otherwise."""
    handshakes = tuple(each for one in responders for each in meeting(one))
    facts: dict[str, Any] = {"responders": responders, "handshakes": handshakes}
    names = tuple(site.name for one in responders for site in one.sites)
    return Evidence(NOW, 1.0, names or ("a.test", "b.test", "c.test"), **(facts | more))


def stalled(*responders: ResponderEvidence, **more: Any) -> Evidence:
    """A survey in which whoever asks for a staple waits in vain."""
    handshakes = [
        each for one in responders for each in meeting(one, seconds=3.5, error="timeout", staple="")
    ]
    return evidence(*responders, handshakes=tuple(handshakes), **more)


def unstapled(*responders: ResponderEvidence, **more: Any) -> Evidence:
    """A survey in which every site answers at once, but without a staple."""
    handshakes = [each for one in responders for each in meeting(one, staple="")]
    return evidence(*responders, handshakes=tuple(handshakes), **more)


HANGS = responder(v4=Outcome.REPLY_TIMEOUT, must_staple=True)
FINE = responder("zeta")
NOISE = LogEvidence(last_hour=40, last_day=900)
OFF = {"configuration": ConfigurationEvidence(False, Origin.PLUGIN, off_since=NOW, off_by="root")}


def seen(found: Diagnosis) -> tuple[Cause, Severity, Action]:
    """What a diagnosis says in three words."""
    return found.cause, found.severity, found.action
