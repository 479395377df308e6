"""Evidence and diagnosis as one plain document: what `check --json` prints, what is stored, what the page shows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ocsp_stapling.check.diagnosis import Cause, Diagnosis, ResponderDiagnosis, Severity
from ocsp_stapling.check.diagnosis.advice import Action
from ocsp_stapling.check.diagnosis.explanation import answers, can_hold_up
from ocsp_stapling.check.diagnosis.handshakes import STALL_SECONDS, measure
from ocsp_stapling.check.diagnosis.queue import refused
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    ConfigurationEvidence,
    Elsewhere,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    PublicAddresses,
    ResponderEvidence,
    SteeringLine,
)
from ocsp_stapling.shield.standing import ShieldEvidence
from ocsp_stapling.text import versioned

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
STATES = {OK: "OK", WARNING: "WARNING", CRITICAL: "CRITICAL", UNKNOWN: "UNKNOWN"}
"""The word that monitoring plugins print for an exit status."""


def exit_status(found: Diagnosis) -> int:
    """Return the status of a monitoring plugin: 0 ok, 1 warning, 2 critical, 3 unknown.

    Off is a warning, since it is meant to be temporary; so are failing staples on quick sites.
    """
    if found.severity is Severity.STALLING or found.cause in (Cause.NO_CACHE, Cause.NOT_SERVED):
        return CRITICAL
    if found.severity is Severity.FAILING:
        return WARNING
    if found.cause.value.startswith("off-"):
        return WARNING
    return UNKNOWN if found.cause.value == "unknown" else OK


def document(evidence: Evidence, found: Diagnosis) -> dict[str, Any]:
    """Return everything as plain data; times in ISO 8601 with zone, durations in seconds unless named otherwise."""
    facts = _verdict(found) | {
        "checked_at": evidence.taken_at.isoformat(timespec="seconds"),
        "seconds": round(evidence.seconds, 3),
        "site_count": evidence.site_count,
        "responders": [
            _responder(one, why) for one, why in zip(evidence.responders, found.responders, strict=True)
        ],
        "incomplete_chains": [
            {"name": site.name, "must_staple": site.must_staple} for site in evidence.incomplete_chains
        ],
        "never_stapled": [site.name for site in evidence.never_stapled],
        "unreadable_sites": [site.name for site in evidence.unreadable],
        "unasked_sites": [site.name for site in evidence.unasked],
        "refused_sites": list(refused(evidence)),
        "slowest_handshake_seconds": _slowest(evidence, found),
        "responders_turned_off": [_turned_off(one) for one in evidence.turned_off],
        "handshakes": [_handshake(one) for one in evidence.handshakes],
        "log": _log(evidence.log),
        "authorities": [_authority(one) for one in evidence.authorities],
        "configuration": _configuration(evidence.configuration),
        "this_server": _host(evidence.host),
        "shield": _shield(evidence.shield, found),
        "elsewhere": [_elsewhere(told) for one in evidence.responders for told in one.elsewhere],
        "certificates_asked": {
            "named_count": evidence.asked.named_count,
            "asked_count": evidence.asked.asked_count,
            "unasked_must_staple_count": evidence.asked.unasked_must_staple_count,
        },
        "retirement": evidence.retirement.as_json(),
        "problems": list(evidence.problems),
    }
    return versioned("check", facts)


def _verdict(found: Diagnosis) -> dict[str, Any]:
    status = exit_status(found)
    return {
        "monitoring_state": STATES[status],
        "exit_status": status,
        "cause": found.cause.value,
        "severity": found.severity.value,
        "confidence": found.confidence.value,
        "inferred": found.inferred,
        "advice": found.action.value,
        "recommended": (found.action if found.recommended is Action.NOTHING else found.recommended).value,
        "afterwards": found.afterwards.value,
        "sentence": found.sentence,
        "advice_sentence": found.advice,
        "for": list(found.reasons_for),
        "against": list(found.reasons_against),
        "sites_affected": list(found.sites),
        "sites_causing": list(found.causing),
        "sites_waiting": list(found.waiting),
        "must_staple_sites": list(found.must_staple),
        "alone": list(found.alone),
        "alone_account": found.alone_account or None,
    }


def _public(found: PublicAddresses | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "asked_addresses": list(found.asked),
        "right_addresses": list(found.right),
        "source": found.source,
    }


def _slowest(evidence: Evidence, found: Diagnosis) -> float | None:
    """Seconds of the slowest handshake that counts in the verdict: a first fetch counts only during a stall.

    Nor does a front count that serves nobody in time, whatever is asked for: what it takes no staple can have slowed.
    """
    measured = measure(evidence)
    stalls = found.severity is Severity.STALLING
    seconds = measured.slowest if stalls else measured.slowest_again
    behind = not evidence.host.front.is_apache
    if seconds is None or (behind and not stalls and seconds >= STALL_SECONDS):
        return None
    return round(seconds, 4)


def _responder(one: ResponderEvidence, why: ResponderDiagnosis) -> dict[str, Any]:
    return one.finding.as_json() | {
        "url": one.url,
        "authority": one.authority,
        "operator": one.operator,
        "issuer": one.issuer,
        "ok": why.ok,
        "cause": why.cause.value,
        "confidence": why.why.confidence.value,
        "sentence": why.why.sentence,
        "serial": one.serial,
        "site_names": list(why.sites),
        "must_staple_sites": list(why.must_staple),
        "not_stapling": [site.name for site in one.sites if not site.stapling],
        "addresses": [
            address.as_json() | {"root_connects": address.address in one.root_connects}
            for address in one.finding.addresses
        ],
        "public_addresses": _public(one.public),
        "name_state": one.name_state.value,
        "name_sentence": one.name_sentence,
        "firewall": [*one.blocked_by, *one.replies_blocked_by],
        "firewall_perhaps": list(one.perhaps_blocked_by),
        "elsewhere": [_elsewhere(told) for told in one.elsewhere],
        "command": one.command,
        "shared": one.shared,
        "expired_only": one.expired_only,
        "holds_up": can_hold_up(one.finding),
    }


def _turned_off(one: ResponderEvidence) -> dict[str, Any]:
    return {
        "url": one.url,
        "host": one.finding.host,
        "ok": answers(one.finding),
        "holds_up": can_hold_up(one.finding),
        "outcome": one.finding.outcome.value,
        "sentence": one.finding.outcome.sentence,
        "site_names": [site.name for site in one.sites],
    }


def _handshake(one: HandshakeEvidence) -> dict[str, Any]:
    return {
        "site": one.site,
        "address": one.address,
        "port": one.port,
        "responder": one.responder,
        "asked": one.asked,
        "repeated": one.repeated,
        "key": one.key or None,
        "seconds": round(one.seconds, 4),
        "failure": one.error or None,
        "stapled": bool(one.staple),
        "staple": one.staple or None,
    }


def _log(one: LogEvidence) -> dict[str, Any]:
    return {
        "last_hour_count": one.last_hour,
        "last_day_count": one.last_day,
        "last_at": _zoned(one.last) if one.last else None,
        "failures_by_responder": {name or "unnamed": count for name, count in one.responders.items()},
        "failures_by_kind": dict(one.kinds),
        "unreadable_reason": one.unreadable or None,
        "unheard_reason": one.unheard or None,
        "fresh_timeout_count": one.fresh_timeouts,
        "unanswered_since": {name or "unnamed": _zoned(since) for name, since in one.since.items()},
    }


def _zoned(text: str) -> str | None:
    """A time of the log, which Apache writes in the server's zone without naming it; None if it is no time."""
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError:
        return None


def _authority(one: AuthorityEvidence) -> dict[str, Any]:
    return {
        "name": one.name,
        "level": one.level.value,
        "sentence": one.sentence,
        "url": one.url,
        "incidents": list(one.incidents),
        "ocsp_ended": one.ocsp_ended or None,
    }


def _configuration(one: ConfigurationEvidence) -> dict[str, Any]:
    return {
        "stapling": {True: "on", False: "off", None: "unknown"}[one.on],
        "origin": one.origin.value,
        "decided_by": {**_place(one.where), "text": one.line} if one.where else None,
        "still_on": list(one.still_on),
        "own_off": [{"site": each.site, **_place(each.where)} for each in one.own_off],
        "off_since": one.off_since.isoformat() if one.off_since else None,
        "off_by": one.off_by or None,
        "reason": one.reason or None,
        "notes": list(one.findings),
        "directive_lines": list(one.directives),
        "force_url": _steering(one.force_url),
        "proxy": _steering(one.proxy),
        "md_stapling": _steering(one.md_stapling),
    }


def _steering(line: SteeringLine | None) -> dict[str, Any] | None:
    return {**_place(line.where), "name": line.name, "value": line.value} if line else None


def _place(where: str) -> dict[str, Any]:
    """`FILE:LINE` as the keys that every line of the configuration has."""
    file, _, line = where.rpartition(":")
    return {"file": file, "line": int(line)}


def _host(one: HostEvidence) -> dict[str, Any]:
    return {
        "name": one.hostname,
        "front": one.front.value,
        "front_sentence": one.front_sentence,
        "apache_running": one.apache_running,
        "worker_user": one.worker_user,
        "ipv6": one.ipv6.value,
        "ipv6_sentence": one.ipv6_sentence,
        "load_normal": one.load_normal,
        "load_sentence": one.load_sentence,
        "traces": dict(one.traces),
    }


def _shield(one: ShieldEvidence | None, found: Diagnosis) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "answering": one.answering,
        "held_count": one.held_count,
        "certificate_count": one.certificate_count,
        "missing_must_staple": list(one.missing_must_staple),
        "earliest_end": one.earliest_end.isoformat() if one.earliest_end else None,
        "revoked": list(one.revoked),
        "held_by_responder": [
            {
                "host": each.host,
                "held_count": each.held_count,
                "missing_count": each.missing_count,
                "ended_count": each.ended_count,
                "failing_count": each.failing_count,
                "earliest_end": each.earliest_end.isoformat() if each.earliest_end else None,
                "stuck_site": each.stuck_site,
                "stuck_end": each.stuck_end.isoformat() if each.stuck_end else None,
            }
            for each in one.responders
        ],
        "question_count": one.question_count,
        "trouble": list(found.shield_trouble),
        "ending_hosts": list(found.shield_ending),
    }


def _elsewhere(one: Elsewhere) -> dict[str, Any]:
    return {"place": one.place, "url": one.url, "works": one.works, "sentence": one.sentence}
