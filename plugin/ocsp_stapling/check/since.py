"""The last check brought up to date with what was changed since, until the next one is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from ocsp_stapling.apache.layout import Layout, read_layout
from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import NAME as JOURNAL_NAME
from ocsp_stapling.change.journal import RUNNING, Journal, Operation
from ocsp_stapling.change.request import ACCOUNT, CACHE_FIT, OF_ONE_SITE, ON, SHIELD_ON, SITE_ON, worded
from ocsp_stapling.check import surroundings
from ocsp_stapling.check.diagnosis import Diagnosis, Severity, unseen
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence, HandshakeEvidence, Site
from ocsp_stapling.check.incident import Incident, found_off
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import state as server
from ocsp_stapling.server.state import ServerState

_RECENT = 20
DONE, RESTORED = "done", "restored"
_KEEP_THE_SHIELD = (*OF_ONE_SITE, CACHE_FIT, ON, SHIELD_ON)


@dataclass(frozen=True)
class Changed:
    """A change that ended after the last check, or failed: what was done, and what it measured at its end."""

    identity: str
    on: bool
    when: datetime
    what: str
    sentence: str


def as_found(one: Incident | None, changed: Changed | None) -> Incident | None:
    """Return the newest incident as it is if stapling was found turned off, and no history tells of it."""
    elsewhere = changed is not None and not changed.identity and not changed.on
    return found_off(one, changed.when.timestamp()) if one and changed and elsewhere else one


def up_to_date(evidence: Evidence, operations: Sequence[Operation]) -> tuple[Evidence, Changed | None]:
    """Return the evidence as it would be after those of `operations` (newest first) since, and the latest of them.

    What was measured before a change says nothing about the time after it: those handshakes are left out, and the
    ones with which the latest change was verified take their place. Where there was none and none is under way, what
    was switched elsewhere counts.
    """
    taken = evidence.taken_at.timestamp()
    ended = [one for one in operations if one.state in (DONE, RESTORED) and one.plan]
    since = [one for one in ended if (one.finished or 0) > taken]
    for one in reversed(since):
        evidence = _after(evidence, one)
    if not since:
        under_way = any(one.state == RUNNING for one in operations)
        return (evidence, None) if under_way else _switched_elsewhere(evidence)
    last = since[0]
    return evidence, Changed(
        last.id,
        evidence.configuration.on is not False,
        _when(last),
        _what(last),
        str(last.result.get("sentence") or ""),
    )


def _switched_elsewhere(evidence: Evidence) -> tuple[Evidence, Changed | None]:
    """Return the evidence as the configuration is now, if stapling was switched and no history tells of it.

    That is by hand, in WHM, or while the journal could not be written. It is read only where files are newer.
    """
    was = evidence.configuration
    with contextlib.suppress(Problem, OSError):
        layout = read_layout()
        written = _written(layout)
        if was.on is None or written <= evidence.taken_at.timestamp():
            return evidence, None
        here = _read(layout, written)
        if here.stapling.on is was.on:
            return evidence, None
        now = replace(surroundings.read_configuration(here, ""), refused=was.refused)
        what = f"Stapling was turned {'on' if now.on else 'off'}"
        told = what if now.origin is Origin.PLUGIN else f"{what} elsewhere"
        when = datetime.fromtimestamp(written, UTC)
        evidence = replace(_unmeasured(evidence, bool(now.on)), configuration=now)
        return evidence, Changed("", bool(now.on), when, told, "")
    return evidence, None


def _written(layout: Layout) -> float:
    """When the files were last written that mostly decide about stapling."""
    files = (layout.conf, layout.includes, *layout.includes.glob("*.conf"))
    return max(each.stat().st_mtime for each in files)


@lru_cache(maxsize=1)
def _read(layout: Layout, _written: float) -> ServerState:
    return server.look(layout=layout)


def _unmeasured(evidence: Evidence, on: bool, only: str = "") -> Evidence:
    """What was measured with stapling the other way says nothing any more. `only`: at that site alone."""
    responders = tuple(
        replace(each, sites=tuple(_so(on, site, only) for site in each.sites)) for each in evidence.responders
    )
    log = replace(evidence.log, fresh_timeouts=0)
    return replace(evidence, handshakes=(), log=log, responders=responders)


def _what(one: Operation) -> str:
    words = worded(one.action)
    told = words.done if one.state == DONE else f"{words.doing} failed, and everything was put back"
    told = f"{told}, for some sites alone" if one.site else told
    if one.action == SITE_ON and one.state == DONE and one.plan.get("stapling_then") == "off":
        told = "The lines that kept stapling off for some sites alone were taken out; it is off for all"
    return f"{told}, but some visitors still wait" if one.result.get("still_waiting_names") else told


def _when(one: Operation) -> datetime:
    return datetime.fromtimestamp(one.finished or one.started, UTC)


def _after(evidence: Evidence, change: Operation) -> Evidence:
    when = "stapling_then" if change.state == DONE else "stapling_now"
    on = change.plan.get(when) == "on"
    if change.site:
        on = on and (change.action == SITE_ON) is (change.state == DONE)
    evidence = replace(
        _unmeasured(evidence, on, change.site),
        handshakes=tuple(_measured(evidence, change)),
        shield=evidence.shield if change.action in _KEEP_THE_SHIELD else None,
    )
    if change.state == DONE:
        evidence = _proved(evidence, change)
    if change.site or on is evidence.configuration.on:
        return evidence
    return replace(evidence, configuration=_switched(evidence.configuration, change, on))


def _proved(evidence: Evidence, change: Operation) -> Evidence:
    """httpd took its configuration, and what the change wrote anew in a site's own file is not what stood there."""
    written = {str(each.get("path")) for each in change.plan.get("changes", ())}
    before = evidence.configuration
    gone = {one.site for one in before.own_off if one.where.rpartition(":")[0] in written}
    kept = tuple(one for one in before.own_off if one.site not in gone)
    still = tuple(one for one in evidence.turned_off if any(site.name not in gone for site in one.sites))
    now = replace(before, refused="", refused_at="", own_off=kept)
    return replace(evidence, configuration=now, turned_off=still)


def _so(on: bool, site: Site, only: str) -> Site:
    mine = only in ("", site.name, f"{ACCOUNT}{site.owner}")
    return replace(site, stapling=on) if mine else site


def _measured(evidence: Evidence, change: Operation) -> Iterable[HandshakeEvidence]:
    """The handshakes at a change's end. It sees whether staples come; what they say the next check tells.

    Of others a change for one site says only that they still wait.
    """
    if change.site:
        yield from evidence.handshakes if change.result.get("still_waiting_names") else ()
        return
    named = {site.name: one.finding.url for one in evidence.responders for site in one.sites}
    verified = change.result.get("after")
    for one in verified.get("handshakes", ()) if isinstance(verified, Mapping) else ():
        yield HandshakeEvidence(
            str(one["site"]),
            str(one["address"]),
            int(one["port"]),
            named.get(str(one["site"]), ""),
            bool(one["asked"]),
            float(one["seconds"]),
            str(one["failure"] or ""),
            "good" if one["stapled"] else "",
            key=str(one.get("key") or ""),
        )


def _switched(before: ConfigurationEvidence, change: Operation, on: bool) -> ConfigurationEvidence:
    """What the change decided; whom Apache asks, and sites of their own mind, stay what they were."""
    bare = replace(before, on=on, where="", line="", off_since=None, off_by="", reason="", directives=())
    if on:
        return replace(bare, origin=Origin.UNKNOWN, still_on=())
    return replace(
        bare,
        origin=Origin.PLUGIN,
        off_since=datetime.fromtimestamp(change.started, UTC),  # as our block has it
        off_by=change.who,
        reason=change.reason,
    )


def recent_operations(directory: Path) -> list[Operation]:
    """Return the newest operations, newest first; none before the first change (a look makes no journal)."""
    if not (directory / JOURNAL_NAME).exists():
        return []
    with Journal(directory) as journal:
        return journal.operations(limit=_RECENT)


def interim(changed: Changed | None, evidence: Evidence, diagnosis: Diagnosis) -> bool:
    """Whether a change may have had an end put to what the check before it found failing."""
    if changed is None or not changed.on:
        return False
    failing = any(not one.ok for one in diagnosis.responders) or bool(unseen.told(evidence))
    return failing and diagnosis.severity is not Severity.STALLING
