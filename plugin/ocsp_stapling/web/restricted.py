"""What a viewer may see of the evidence: their own domains, and nothing that names others or this server's inside.

The diagnosis is made again from what is left, so its sentences can name nobody else either.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from ocsp_stapling.evidence import (
    ConfigurationEvidence,
    Elsewhere,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    ResponderEvidence,
    Site,
)
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.finding import AddressFinding
from ocsp_stapling.whm.accounts import Visible

_OWN_RULE = "a rule of this server's firewall"
_FRONTS = {Server.NGINX: "nginx answers on port 443", Server.LITESPEED: "LiteSpeed answers on port 443"}


def restricted(evidence: Evidence, visible: Visible) -> Evidence:
    """Return the part of the evidence that `visible` may see; all of it for root privileges."""
    if visible.everything:
        return evidence
    responders = tuple(filter(None, (_responder(one, visible) for one in evidence.responders)))
    names = {one.authority for one in responders}
    own = {one.url for one in responders}
    return Evidence(
        taken_at=evidence.taken_at,
        seconds=evidence.seconds,
        site_count=sum(len(one.sites) for one in responders),
        responders=responders,
        incomplete_chains=_sites(evidence.incomplete_chains, visible),
        handshakes=tuple(_handshakes(evidence.handshakes, visible, own)),
        log=LogEvidence(),
        authorities=tuple(one for one in evidence.authorities if one.name in names),
        configuration=_configuration(evidence.configuration, visible),
        host=_host(evidence.host),
    )


def _sites(sites: Iterable[Site], visible: Visible) -> tuple[Site, ...]:
    return tuple(site for site in sites if visible.domain(site.name))


def _responder(one: ResponderEvidence, visible: Visible) -> ResponderEvidence | None:
    sites = _sites(one.sites, visible)
    if not sites:
        return None
    addresses = tuple(_address(found) for found in one.finding.addresses)
    return replace(
        one,
        finding=replace(one.finding, addresses=addresses, detail=""),
        sites=sites,
        name_sentence="",
        blocked_by=(_OWN_RULE,) if one.blocked_by else (),
        elsewhere=tuple(_elsewhere(told) for told in one.elsewhere),
        # The question names a certificate by its serial number, and it may be another customer's.
        command="",
    )


def _handshakes(
    made: Iterable[HandshakeEvidence], visible: Visible, own: Container[str]
) -> Iterable[HandshakeEvidence]:
    """Everybody's handshakes, others' without a name: all sites of the server wait in one queue."""
    numbers: dict[str, int] = {}
    for one in made:
        if visible.domain(one.site):
            yield one
            continue
        number = numbers.setdefault(one.site, len(numbers) + 1)
        responder = one.responder if one.responder in own else ""
        yield replace(one, site=f"another site ({number})", address="", responder=responder)


def _address(found: AddressFinding) -> AddressFinding:
    return replace(found, detail="", source="")


def _elsewhere(told: Elsewhere) -> Elsewhere:
    return replace(
        told, place="another machine", sentence=told.sentence.replace(told.place, "another machine")
    )


def _configuration(found: ConfigurationEvidence, visible: Visible) -> ConfigurationEvidence:
    return ConfigurationEvidence(
        on=found.on,
        origin=found.origin,
        still_on=tuple(name for name in found.still_on if visible.domain(name)),
        off_since=found.off_since,
    )


def _host(found: HostEvidence) -> HostEvidence:
    return HostEvidence(
        front=found.front,
        front_sentence=_FRONTS.get(found.front, ""),
        apache_running=found.apache_running,
        ipv6=found.ipv6,
        load_normal=found.load_normal,
    )
