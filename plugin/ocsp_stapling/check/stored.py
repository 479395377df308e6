"""The stored document of the last check, read back into the evidence it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    ConfigurationEvidence,
    Elsewhere,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    NameState,
    ResponderEvidence,
    Site,
)
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.host.routes import Ipv6Kind
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.rules import plain

Json = Mapping[str, Any]
_STAPLING = {"on": True, "off": False}


def evidence_of(found: Json) -> Evidence:
    """Return the evidence in a document of `report.document`.

    Raises ValueError, TypeError or KeyError for a document of another version.
    """
    return Evidence(
        taken_at=datetime.fromisoformat(found["checked_at"]),
        seconds=float(found["seconds"]),
        site_count=int(found["sites"]),
        responders=tuple(_responder(one) for one in found["responders"]),
        incomplete_chains=tuple(
            Site(one["name"], must_staple=one["must_staple"], chain_complete=False)
            for one in found.get("incomplete_chains", ())
        ),
        handshakes=tuple(_handshake(one) for one in found["handshakes"]),
        log=_log(found["log"]),
        authorities=tuple(_authority(one) for one in found["authorities"]),
        configuration=_configuration(found["configuration"]),
        host=_host(found["host"]),
        problems=tuple(found["problems"]),
    )


def _responder(found: Json) -> ResponderEvidence:
    return ResponderEvidence(
        finding=_finding(found),
        authority=found["authority"],
        issuer=found["issuer"],
        sites=tuple(_sites(found)),
        root_connects=frozenset(one["address"] for one in found["addresses"] if one["root_connects"]),
        name_state=NameState(found["name"]["state"]),
        name_sentence=found["name"]["sentence"],
        blocked_by=tuple(found["firewall"]),
        elsewhere=tuple(Elsewhere(**one) for one in found["elsewhere"]),
        command=found["command"],
        shared=bool(found.get("shared")),
        expired_only=bool(found.get("expired_only")),
    )


def _sites(found: Json) -> Iterable[Site]:
    strict, unstapled = set(found["must_staple"]), set(found.get("not_stapling", ()))
    return (Site(name, must_staple=name in strict, stapling=name not in unstapled) for name in found["sites"])


def _finding(found: Json) -> ResponderFinding:
    addresses = tuple(AddressFinding.from_json(one) for one in found["addresses"])
    outcome = Outcome(found["outcome"])
    return ResponderFinding(
        url=found["url"],
        host=found["host"],
        port=None,
        question=True,
        resolve_ms=found["resolve_ms"],
        address_count=found["address_count"],
        addresses=addresses,
        fault=None if addresses else outcome,
        detail=plain(found["detail"], 200),
    )


def _handshake(found: Json) -> HandshakeEvidence:
    return HandshakeEvidence(
        found["site"],
        found["address"],
        found["port"],
        found["responder"],
        found["asked"],
        float(found["seconds"]),
        found["error"] or "",
        found["staple"] or "",
        found["repeated"],
    )


def _log(found: Json) -> LogEvidence:
    return LogEvidence(
        found["last_hour"],
        found["last_day"],
        found["last"] or "",
        found["responders"],
        found["kinds"],
        found["unreadable"] or "",
    )


def _authority(found: Json) -> AuthorityEvidence:
    return AuthorityEvidence(
        found["name"],
        Level(found["level"]),
        found["sentence"],
        found["url"],
        tuple(found["incidents"]),
        found["ocsp_ended"] or "",
    )


def _configuration(found: Json) -> ConfigurationEvidence:
    since = found["off_since"]
    return ConfigurationEvidence(
        on=_STAPLING.get(found["stapling"]),
        origin=Origin(found["origin"]),
        where=found["decided_by"] or "",
        line=found["line"] or "",
        still_on=tuple(found["still_on"]),
        off_since=datetime.fromisoformat(since) if since else None,
        off_by=found["off_by"] or "",
        reason=found["reason"] or "",
        findings=tuple(found["findings"]),
        directives=tuple(found.get("directives", ())),
    )


def _host(found: Json) -> HostEvidence:
    return HostEvidence(
        front=Server(found["front"]),
        front_sentence=found["front_sentence"],
        apache_running=found["apache_running"],
        ipv6=Ipv6Kind(found["ipv6"]),
        ipv6_sentence=found["ipv6_sentence"],
        load_normal=found["load_normal"],
        load_sentence=found["load_sentence"],
        hostname=found["name"],
        worker_user=found["worker_user"],
        traces=found["traces"],
    )
