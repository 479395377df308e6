"""What a viewer may see of the evidence: their own domains, and nothing that names others or this server's inside.

The diagnosis is made again from what is left, so its sentences can name nobody else either.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from ocsp_stapling.check.diagnosis import Cause, diagnose, unseen
from ocsp_stapling.check.diagnosis.conclude import keeps_off
from ocsp_stapling.check.diagnosis.explanation import can_hold_up
from ocsp_stapling.check.evidence import (
    OTHER_SITE,
    ConfigurationEvidence,
    Elsewhere,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    ResponderEvidence,
    Site,
    Unseen,
)
from ocsp_stapling.check.incident import Incident
from ocsp_stapling.check.incident.look import KEPT_NAMES
from ocsp_stapling.check.incident.model import OTHERS
from ocsp_stapling.ocsp.finding import AddressFinding
from ocsp_stapling.server.sites import host_of
from ocsp_stapling.shield.standing import ShieldedResponder, ShieldEvidence
from ocsp_stapling.whm.accounts import Visible

_OWN_RESOLVER = "what resolves names on this server"
_OWN_NAME_SERVER = ("a name server of this server",)
_OWN_RULE = "a rule of this server's firewall"


def restricted(evidence: Evidence, visible: Visible) -> Evidence:
    """Return the part of the evidence that `visible` may see; all of it for root privileges."""
    if visible.everything:
        return evidence
    names = _Names(visible)
    responders = tuple(filter(None, (_responder(one, names) for one in evidence.responders)))
    authorities = {one.authority for one in responders}
    own = {one.url for one in responders}
    return Evidence(
        taken_at=evidence.taken_at,
        seconds=evidence.seconds,
        names=tuple(filter(visible.domain, evidence.names)),
        responders=responders,
        stapling=names.own(evidence.stapling),
        incomplete_chains=names.own(evidence.incomplete_chains),
        never_stapled=names.own(evidence.never_stapled),
        strict_off=names.own(evidence.strict_off),
        turned_off=tuple(filter(None, (_responder(one, names) for one in evidence.turned_off))),
        unreadable=names.own(evidence.unreadable),
        unasked=names.own(evidence.unasked),
        handshakes=tuple(_handshakes(evidence.handshakes, names, own)),
        led_elsewhere={name: found for name, found in evidence.led_elsewhere.items() if visible.domain(name)},
        log=LogEvidence(),
        authorities=tuple(one for one in evidence.authorities if one.name in authorities),
        configuration=_configuration(evidence.configuration, visible),
        host=_host(evidence.host),
        shield=_shield(evidence.shield, visible, {host_of(url) for url in own}),
        unseen=_unseen(evidence, visible),
    )


def _unseen(evidence: Evidence, visible: Visible) -> Unseen:
    """What is at fault among that which is left out: whoever does not see it must not read that all is right."""
    found = diagnose(evidence)
    off = evidence.configuration.on is False
    for one, why in zip(evidence.responders, found.responders, strict=True):
        theirs = not any(visible.domain(site.name) for site in one.sites)
        counts = can_hold_up(one.finding) or (off and keeps_off(why))
        if theirs and counts and not why.ok and not why.why.late:
            return Unseen.OTHERS_RESPONDER
    return Unseen.CACHE if found.cause is Cause.CACHE_TOO_SMALL else Unseen.NOTHING


def restricted_incident(one: Incident, evidence: Evidence | None) -> Incident | None:
    """Return an incident as whoever sees only this much of the evidence may read it, None if it is others' alone.

    When and how long sites waited is told to whose own were among them; whose certificates it was, who acted, and
    what the check said of it is not.
    """
    every = (*evidence.responders, *evidence.turned_off) if evidence else ()
    own = {each.url for each in every}
    told = tuple(
        replace(each, sentence=f"{host_of(each.url)} did not answer as it should.")
        if each.url in own
        else replace(each, url=OTHERS, authority="", cause="", sentence=unseen.OTHERS)
        for each in one.troubles
    )
    waited = frozenset(map(str, one.kept.get("sites_waiting", ())))
    mine = {site.name for each in every for site in each.sites}
    everybodys = bool(one.hits) and (not waited or len(waited) >= KEPT_NAMES or bool(mine & waited))
    if not everybodys and all(each.url == OTHERS for each in told):
        return None
    return replace(
        one,
        troubles=told,
        off_by="",
        ending="It healed." if one.healed else "",
        singles=(),
        cause="",
        sentence="",
        sites=0,
        waiting=0,
        operations=(),
        notes=(),
        kept={},
    )


class _Names:
    """Names as they may be shown: others' sites and accounts are only told apart, by numbers."""

    def __init__(self, visible: Visible) -> None:
        self.visible = visible
        self._numbers: dict[str, int] = {}

    def site(self, name: str) -> str:
        """Return the name of an own site, a number for another."""
        return name if self.visible.domain(name) else f"{OTHER_SITE} ({self._number(name)})"

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def own(self, sites: Iterable[Site]) -> tuple[Site, ...]:
        """Return those that may be named."""
        return tuple(self.whole(site) for site in sites if self.visible.domain(site.name))

    def whole(self, site: Site) -> Site:
        """Return a site as it may be shown."""
        own = self.visible.domain(site.name)
        return (
            replace(site, where="") if own else replace(site, name=self.site(site.name), owner="", where="")
        )


def _responder(one: ResponderEvidence, names: _Names) -> ResponderEvidence | None:
    """A responder of own sites; the others that it serves count, but have no names."""
    if not any(names.visible.domain(site.name) for site in one.sites):
        return None
    addresses = tuple(_address(found) for found in one.finding.addresses)
    sites = sorted(one.sites, key=lambda site: not names.visible.domain(site.name))
    return replace(
        one,
        finding=replace(one.finding, addresses=addresses, detail=""),
        sites=tuple(names.whole(site) for site in sites),
        name_sentence="",
        dead_nameservers=_OWN_NAME_SERVER if one.dead_nameservers else (),
        public=replace(one.public, source=_OWN_RESOLVER) if one.public else None,
        blocked_by=(_OWN_RULE,) if one.blocked_by else (),
        replies_blocked_by=(_OWN_RULE,) if one.replies_blocked_by else (),
        perhaps_blocked_by=(),
        elsewhere=tuple(_elsewhere(told) for told in one.elsewhere),
        steering=(),
        # The question names a certificate by its serial number, and it may be another customer's.
        command="",
    )


def _handshakes(
    made: Iterable[HandshakeEvidence], names: _Names, own: Container[str]
) -> Iterable[HandshakeEvidence]:
    """Everybody's handshakes, others' without a name: all sites of the server wait in one queue."""
    for one in made:
        if names.visible.domain(one.site):
            yield one
        else:
            responder = one.responder if one.responder in own else ""
            yield replace(one, site=names.site(one.site), address="", responder=responder)


def _address(found: AddressFinding) -> AddressFinding:
    # The answer names a certificate by its serial number, as the question does.
    return replace(found, detail="", source="", answer="")


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
        error_seconds=found.error_seconds,
    )


def _shield(found: ShieldEvidence | None, visible: Visible, own: Container[str]) -> ShieldEvidence | None:
    """That it is on, and how long it lasts; how many certificates this server has is nobody's concern."""
    if found is None:
        return None
    responders = tuple(
        ShieldedResponder(
            one.host,
            missing_count=min(one.missing_count, 1),
            earliest_end=one.earliest_end,
            ended_count=min(one.ended_count, 1),
        )
        for one in found.responders
        if one.host in own
    )
    strict = tuple(name for name in found.missing_must_staple if visible.domain(name))
    revoked = tuple(name for name in found.revoked if visible.domain(name))
    return ShieldEvidence(found.answering, 0, 0, strict, found.earliest_end, revoked, responders)


def _host(found: HostEvidence) -> HostEvidence:
    return HostEvidence(
        front=found.front,
        front_sentence="" if found.front.is_apache else f"{found.front.name_for_people} answers on port 443",
        apache_running=found.apache_running,
        ipv6=found.ipv6,
        load_normal=found.load_normal,
    )
