"""What a pass saw, read from a check's document, the journal and the includes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ocsp_stapling import files
from ocsp_stapling.apache import managed_block
from ocsp_stapling.change.journal import FileRecord, Journal, Operation
from ocsp_stapling.change.request import ACCOUNT
from ocsp_stapling.change.transaction import DONE
from ocsp_stapling.check.diagnosis.handshakes import STALL_SECONDS
from ocsp_stapling.check.words import trouble_words
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import WatchSettings
from ocsp_stapling.text import shown
from ocsp_stapling.watch.outages import Reading
from ocsp_stapling.watch.policy import RELAY_DEAD, Observation

WHO = "the watch"
_URL_LENGTH = 200
_NAMED = 3
_LOST_STAPLES = ("cache-too-small", "cache-broken")
"""What makes visitors wait with every responder in order; another cache ends it better than turning off."""
_OWN_FAULTS = ("bad-ocsp-url", "certificate-revoked")
"""What is wrong with a certificate itself; it concerns its own site only."""
Document = Mapping[str, Any]


def observe(
    check: Document, journal: Journal, configured: WatchSettings, now: float, *, relay_dead: bool = False
) -> Observation:
    """Return the observation of a check made at `now` (seconds since the epoch)."""
    last = _last_change(journal)
    alone = tuple(map(str, check.get("alone", ())))
    unhealthy = [one for one in check["responders"] if not _is_healthy(one, alone)]
    return Observation(
        now=now,
        stapling=_stapling(check),
        healthy=not unhealthy and check["this_server"]["apache_running"] is not False,
        stalled=is_stalled(check),
        return_chosen=_return_chosen(last, configured.return_by_itself),
        changed_by_hand=last is not None and any(map(_edited, journal.files(last.id))),
        sentence=str(check["sentence"]),
        alone=(f"{ACCOUNT}{check['alone_account']}",) if check.get("alone_account") else alone,
        returned=None if journal.lost else _own_return(last),
        returned_at=(last.finished or last.started) if last else 0.0,
        waits_for=_named(unhealthy),
        shield_trouble=_shield_trouble(check, relay_dead),
        revoked=tuple(map(_word, check["shield"]["revoked"])) if check.get("shield") else None,
    )


def _shield_trouble(check: Document, relay_dead: bool) -> tuple[str, ...]:
    """What of the shield needs somebody. Revocations are told by themselves, and a dead relay is started anew."""
    shield = check.get("shield") or {"trouble": ()}
    found = [RELAY_DEAD] if relay_dead else []
    found += [f"ends-soon:{_word(host)}" for host in shield.get("ending_hosts", ())]
    if "must-staple" in shield["trouble"]:
        found += [f"must-staple:{_word(site)}" for site in shield["missing_must_staple"]]
    return tuple(found)


def _word(name: str) -> str:
    """A name out of a certificate as one short word: what was told is remembered as words."""
    return "?".join(shown(name).split())


def reading(check: Document, now: float) -> Reading:
    """Return a check in short, for the memory. URLs come from certificates, so their length is bounded."""
    # What it says of one certificate is no word on the responder where that was asked about others, too.
    several_last = sorted(check["responders"], key=lambda one: not one["serial"])
    addresses = {
        f"{_url(one)} {found['address']}": (str(found["outcome"]), _milliseconds(found))
        for one in several_last
        for found in one["addresses"] or [{"address": "-", "outcome": one["outcome"], "http_ms": None}]
    }
    asked = {str(one["url"]) for one in check["responders"]}
    for one in check.get("responders_turned_off", ()):
        if one["url"] not in asked:  # that Apache does not ask it heals none
            addresses[f"{_url(one)} -"] = ("ok" if one["ok"] else str(one["outcome"]), None)
    # An outage of the server is one that turning off would end; anything else that is slow is noise here.
    severity = "failing" if check["severity"] == "stalling" and not is_stalled(check) else check["severity"]
    return Reading(now, check["cause"], severity, check["configuration"]["stapling"], addresses)


def _url(one: Document) -> str:
    """As the database takes it: a line of Apache's files may hold bytes that are no UTF-8 (lone surrogates here)."""
    return str(one["url"])[:_URL_LENGTH].encode("utf-8", "replace").decode()


def is_stalled(check: Document) -> bool:
    """Whether stapling makes the server's visitors wait, so that turning it off would help them.

    Not an overload that is slow for every client, and not a certificate whose unusable OCSP URL aborts the
    handshakes of its own site: a single customer could have stapling turned off for all with such a one. But whose
    fault it is never decides whether others wait: where other sites were measured to wait, they do. And where the
    customer's own site waits and can be turned off alone, nobody else needs to wait first: others live on staples
    that Apache still has, and would wait at each restart, between two passes.
    """
    ends = check["advice"] in ("turn-off", "turn-off-site") or check["cause"] in _LOST_STAPLES
    waits = check["severity"] == "stalling" and ends
    return waits and (check["cause"] not in _OWN_FAULTS or _is_waited_for(check))


def _is_waited_for(check: Document) -> bool:
    """Whether a site waited for a staple whose own certificate is not at fault, or that can be turned off alone.

    Whom Apache turns away at once, for it cannot use the URL, waits for others' staples alone.
    """
    at_fault = {
        site
        for one in check.get("responders", ())
        if one["cause"] in _OWN_FAULTS and one["outcome"] != "url-unusable"
        for site in one["site_names"]
        if check["advice"] != "turn-off-site"
    }
    waited = (one for one in check.get("handshakes", ()) if one["asked"] and not one["repeated"])
    return any(
        (one["failure"] == "timeout" or one["seconds"] >= STALL_SECONDS) and one["site"] not in at_fault
        for one in waited
        if one["failure"] in (None, "timeout")
    )


def _stapling(check: Document) -> str:
    configuration = check["configuration"]
    if configuration["stapling"] != "off":
        return "on"
    return "off-by-plugin" if configuration["origin"] == "managed-block" else "off-elsewhere"


def _is_healthy(responder: Document, alone: Sequence[str] = ()) -> bool:
    """Whether it gave a verified good answer at every address, or is one that no return needs to wait for.

    One without addresses was not asked: its name does not resolve. Where no certificate names a responder, there
    is nothing that could hang.
    """
    if responder["outcome"] == "url-unusable":  # no return could mend it, and it makes nobody else wait
        return True
    if not responder["shared"] and not responder["holds_up"]:  # one customer's, and it fails at once
        return True
    if responder["site_names"] and set(responder["site_names"]) <= set(
        alone
    ):  # its sites can be turned off alone
        return True
    if responder.get("expired_only"):  # no answer about an expired certificate is good; it may only not hang
        return bool(responder["ok"])
    addresses = responder["addresses"]
    # Revoked is a verified answer, too; what it means concerns the one site that has such a certificate.
    right = bool(addresses) and all(found["outcome"] in ("ok", "revoked") for found in addresses)
    return right and not responder["holds_up"]  # as one does whose name is found after seconds


def _named(unhealthy: list[Document]) -> str:
    names = list(
        dict.fromkeys(
            f"{one['host'] or one['url']} ({trouble_words(str(one['outcome']))})" for one in unhealthy
        )
    )
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _last_change(journal: Journal) -> Operation | None:
    """The change whose outcome is in force for the server: the last one that was done for more than a single site."""
    done = journal.operations(limit=200, state=DONE)
    return next((one for one in done if not one.site), None)


def _own_return(last: Operation | None) -> str:
    return last.id if last is not None and (last.action, last.who) == ("on", WHO) else ""


def _return_chosen(last: Operation | None, configured: str) -> bool:
    if configured != "ask":
        return configured == "always"
    return last is not None and bool(last.plan.get("return_when_healthy"))


def _edited(record: FileRecord) -> bool:
    """Whether our own lines are no longer what we wrote; what stands around them is nobody's concern here."""
    try:
        ours = managed_block.find(record.after or b"")
        there = managed_block.find(files.snapshot(record.path).content or b"")
    except Problem:
        return True
    return (ours and ours.body) != (there and there.body)


def _milliseconds(found: Document) -> float | None:
    value = found["http_ms"]
    return round(float(value), 1) if isinstance(value, int | float) else None
