"""How an incident begins, goes on, heals and ends: from one look to the next, from one change to the next. Pure."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ocsp_stapling.change.journal import Operation
from ocsp_stapling.change.request import OFF, SHIELD_ON, SITE_OFF, alone, worded
from ocsp_stapling.check.diagnosis.handshakes import STALL_SECONDS
from ocsp_stapling.check.incident.look import Look
from ocsp_stapling.check.incident.model import SERVER, Incident, Note, SingleRelief, Span, Trouble, Wait
from ocsp_stapling.text import host_of

MERGED_SECONDS = 900.0
"""What comes back so soon is one incident that flaps, not a second one."""
UNSEEN_SECONDS = 7200.0
"""After so long without a look nobody knows whether it was the same one all the time."""
LAST_WAITS = 15.0
"""Seconds in which old workers may still end what they wait for when a change is done."""
NOTES = 200
_TROUBLES = 100
_SPANS = 200
_SINGLES = 20
_TOLD_SECONDS = 0.1
"""A wait longer by less than is told is not a longer one."""
_RANK = {"": 0, "none": 1, "noise": 2, "failing": 3, "stalling": 4}
_TURNED = (OFF, SHIELD_ON)
"""Changes that end the waiting of all visitors."""


def seen(latest: Incident | None, look: Look, quiet: float = 0.0) -> list[Incident]:
    """Return the incidents that a look begins, goes on with or ends; `latest` is the last one known.

    None began before `quiet`, when the last look found none or the last change was made.
    """
    if latest is None or not _goes_on(latest, look):
        over = [] if latest is None or latest.ended is not None else [_left(latest, look)]
        quiet = max([quiet, *(one.ended or one.seen for one in [latest] if one)])
        return [*over, _begun(look, quiet)] if look.opens else over
    return [_gone_on(latest, look)]


def _goes_on(latest: Incident, look: Look) -> bool:
    """Whether a look belongs to it: it is open, or has ended a moment ago and the same fails again."""
    subjects = {one.url for one in latest.troubles}
    unknown = not subjects and (look.off or latest.hits_now)
    same = bool(subjects & set(look.troubles)) or unknown
    if latest.ended is not None:
        return look.opens and same and 0 <= look.at - latest.ended <= MERGED_SECONDS
    if latest.off_since is not None and look.off:
        return True
    if not -MERGED_SECONDS <= look.at - latest.seen <= UNSEEN_SECONDS or _is_another_stall(latest, look):
        return False
    return same or not look.opens


def _is_another_stall(latest: Incident, look: Look) -> bool:
    """Whether visitors wait for somebody else, long after anybody was hit.

    Who fails for good, as one customer's own responder may, must not make one story of all outages beside it.
    """
    failing = {one.url for one in latest.troubles if one.healed is None}
    quiet = look.at - (_heard(latest.hits[-1]) if latest.hits else latest.began)
    return look.severity == "stalling" and quiet > UNSEEN_SECONDS and not look.troubles.keys() <= failing


def _all_healed(latest: Incident, look: Look) -> bool:
    return not any(look.may_fail(one.url) for one in latest.troubles if one.healed is None)


def _begun(look: Look, quiet: float) -> Incident:
    """The first sign is the error log where the run of failures that reaches up to this look began after `quiet`."""
    first = Incident(_identity(look.at), look.at, look.source, look.at, look.at)
    if quiet < look.logged < look.at:
        first = replace(first, began=look.logged, sign="log")
        first = _noted(first, (look.logged, "sign", "The first failure of a run in Apache's error log."))
    return _gone_on(first, look)


def _identity(at: float) -> str:
    return time.strftime("i%Y%m%dT%H%M%S", time.gmtime(at)) + "-" + secrets.token_hex(2)


def _gone_on(now: Incident, look: Look) -> Incident:
    at = max(look.at, now.began)
    now = replace(now, seen=max(now.seen, at), ended=None, ending="")
    # Under the shield stapling is on, and some staple may be missing: only who waits again says that it is gone.
    back = look.opens and (not look.off if now.relief == OFF else look.severity == "stalling")
    # A check that a change overtook tells of before it; its time is told in whole seconds.
    stale = now.off_since is not None and at + 1 <= now.off_since
    if not stale:
        now = _turned_elsewhere(now, look, at, back=back)
    now = _worse(now, look, at, stale)
    if look.troubles:
        return _troubled(now, look, at)
    return _quiet(now, look, at)


def _turned_elsewhere(now: Incident, look: Look, at: float, *, back: bool) -> Incident:
    """What was turned off or on by hand, or was lost by the journal, a look finds in the configuration."""
    if back and now.off_since is not None:
        was_off = Span(now.off_since, at, at) if now.relief == OFF else now.was_off
        return replace(now, off_since=None, off_by="", off_found=False, was_off=was_off)
    was_on = now.kept.get("configuration", {}).get("stapling") != "off"
    if look.off and was_on and look.severity != "stalling" and now.off_since is None and now.healed is None:
        now = _noted(now, (at, "off", look.sentence))
        known = look.off_at is not None  # our block tells it where the journal does not
        since = max(look.off_at or at, now.began)
        return replace(now, off_since=since, off_by=look.off_by, off_found=not known, relief=OFF)
    return now


def found_off(one: Incident, at: float) -> Incident:
    """Return an incident as it is once stapling is found off in the configuration, before anybody looks again."""
    if one.ended is not None or one.off_since is not None:
        return one
    return replace(_relieved(one, at), off_since=at, off_found=True, relief=OFF)


def _worse(now: Incident, look: Look, at: float, stale: bool) -> Incident:
    """Take over what is worse than everything before: the harder severity, the longer wait."""
    if not stale:
        now = _hit(now, at) if look.severity == "stalling" else _relieved(now, at)
    harder = _RANK.get(look.severity, 0) > _RANK.get(now.severity, 0)
    longer = 0.0 if look.wait is None else look.wait.seconds - (now.wait.seconds if now.wait else 0.0)
    if look.wait is not None and longer >= _TOLD_SECONDS:
        each = look.wait.each or (now.wait.each if now.wait else 0.0)
        now = replace(now, wait=replace(look.wait, each=each))
    if harder or (longer >= _TOLD_SECONDS and look.severity == now.severity):
        note = (
            ()
            if not now.severity or not (harder or longer >= STALL_SECONDS)
            else ((at, "worse", look.sentence),)
        )
        now = replace(
            now, cause=look.cause, severity=look.severity, sentence=look.sentence, kept=look.kept,
            sites=look.sites, waiting=look.waiting,
        )  # fmt: skip
        now = _noted(now, *note)
    return now


def _hit(now: Incident, at: float) -> Incident:
    """Visitors are hit at this moment: the span goes on, or another one begins."""
    spans = now.hits
    at = max(at, _heard(spans[-1])) if spans else at
    found = [*spans[:-1], replace(spans[-1], last=at)] if now.hits_now else [*spans, Span(at, at)]
    if len(found) > _SPANS:  # a long flapping: the two that lie closest are told as one
        near = min(range(1, len(found) - 1), key=lambda i: found[i].began - (found[i - 1].ended or 0))
        found[near - 1 : near + 1] = [replace(found[near], began=found[near - 1].began)]
    return replace(now, spans=tuple(found))


def _relieved(now: Incident, at: float) -> Incident:
    """Nobody is hit any more since then; after hours without a look only so long as was seen."""
    if not now.hits_now:
        return now
    spans = now.hits
    at = at if at - spans[-1].last <= UNSEEN_SECONDS else spans[-1].last
    return replace(now, spans=(*spans[:-1], replace(spans[-1], ended=max(at, _heard(spans[-1])))))


def _heard(one: Span) -> float:
    return one.last if one.ended is None else one.ended


def _troubled(now: Incident, look: Look, at: float) -> Incident:
    kind = "trouble" if now.notes else "sign"
    known = {one.url: one for one in now.troubles}
    for url, trouble in look.troubles.items():
        before = known.get(url)
        if before is None:
            now = _noted(now, (at, kind, trouble.sentence))
            known[url] = trouble
        else:
            if before.healed is not None:
                now = _noted(now, (at, "again", f"{_name(before)} fails again. {trouble.sentence}"))
            known[url] = replace(before, last=at, healed=None)
    if len(known) > _TROUBLES:  # the longest healed go
        last = sorted(known.values(), key=lambda one: (one.healed is None, one.last))[-_TROUBLES:]
        known = {url: one for url, one in known.items() if one in last}
    troubles = tuple(one if look.may_fail(one.url) else _healed(one, at) for one in known.values())
    over = [one for one in known.values() if one.healed is None and not look.may_fail(one.url)]
    now = _noted(now, *((at, "healed", _again(one)) for one in over))
    return replace(now, troubles=troubles, last=max(now.last, at), healed=None, good_passes=0)


def _quiet(now: Incident, look: Look, at: float) -> Incident:
    """Nothing fails in this look: it has healed, and is over unless stapling is still off on its account."""
    if any(look.may_fail(one.url) for one in now.troubles if one.healed is None):
        return now  # not asked this time: nothing is known of it
    first = now.healed is None
    troubles = tuple(_healed(one, at) for one in now.troubles)
    over = [one for one in now.troubles if one.healed is None]
    now = _noted(now, *((at, "healed", _again(one)) for one in over))
    good = now.good_passes + (look.source == "watch")
    now = replace(now, troubles=troubles, healed=at if first else now.healed, good_passes=good)
    if look.off and now.off_since is not None:
        return now
    if now.off_since is not None and now.relief == OFF:  # turned on where no history tells of it
        return _over(now, at, "It healed, and stapling is on again.")
    return _over(now, now.healed or at, "It healed; nothing fails any more.")


def _healed(one: Trouble, at: float) -> Trouble:
    return one if one.healed is not None else replace(one, healed=at)


def _left(now: Incident, look: Look) -> Incident:
    """Another one begins, or nobody looked for hours: then it counts until it was last seen."""
    at = max(look.at, now.began)
    if look.at - now.seen > UNSEEN_SECONDS or now.healed is not None:
        return _lost_sight(now)
    if not _all_healed(now, look):
        return _over(
            replace(now, last=max(now.last, at)), at, "It was not seen to end before another outage began."
        )
    over = [one for one in now.troubles if one.healed is None]
    troubles = tuple(_healed(one, at) for one in now.troubles)
    now = _noted(replace(now, troubles=troubles, healed=at), *((at, "healed", _again(one)) for one in over))
    return _over(now, at, "It healed when another outage began.")


def _lost_sight(now: Incident) -> Incident:
    if now.healed is not None:
        return _over(now, now.healed, "It healed; nothing failed any more.")
    return _over(now, now.last, "It was not seen any more; nobody looked when it ended.")


def _over(now: Incident, at: float, ending: str) -> Incident:
    now = _relieved(now, at)
    at = max(at, now.hits[-1].ended or at) if now.hits else at
    return _noted(replace(now, ended=at, ending=ending), (at, "end", ending))


def _name(one: Trouble) -> str:
    return host_of(one.url) if one.url != SERVER else "The server"


def _again(one: Trouble) -> str:
    return f"{_name(one)} answers again." if one.url != SERVER else "The sites answer quickly again."


def _noted(now: Incident, *notes: tuple[float, str, str]) -> Incident:
    """The first notes tell how it began and stay; of a long story the middle is left out."""
    found = [*now.notes, *(Note(*each) for each in notes)]
    if len(found) > NOTES:
        found = [*found[: NOTES // 2], *found[-NOTES // 2 :]]
    return replace(now, notes=tuple(found))


# -- changes -----------------------------------------------------------------------------------------------


def done(latest: Incident | None, operation: Operation) -> Incident | None:
    """Return the incident as a change that has ended leaves it, None if the change has no part in one.

    Visitors who waited when somebody acted, or in an attempt that was put back, are the first sign of an incident
    that no check has seen.
    """
    if latest is not None and operation.id in latest.operations:
        return None
    before, attempt = _waited_before(operation), _waited_in_the_attempt(operation)
    waited = before or attempt
    if latest is None or not _takes_part(latest, operation, again=before is None and attempt is not None):
        if waited is None:
            return None
        latest = _begun_by(operation, attempt if before is None else None)
    latest = replace(latest, operations=(*latest.operations, operation.id), ended=None, ending="")
    if waited is not None:
        longer = latest.wait is None or waited.seconds - latest.wait.seconds >= _TOLD_SECONDS
        wait = waited if longer else latest.wait
        latest = _hit(replace(latest, wait=wait, severity="stalling"), operation.started)
    at = operation.finished or operation.started
    if before is None and attempt is not None and operation.state == "restored":
        return _put_back(latest, at)
    return _after_change(latest, operation, at)


def _takes_part(latest: Incident, operation: Operation, *, again: bool) -> bool:
    """Whether a change belongs to it: it is open, or another attempt (`again`) stalls as the last one did."""
    if latest.ended is None:
        return True
    return again and not latest.troubles and 0 <= operation.started - latest.ended <= MERGED_SECONDS


def _begun_by(change: Operation, attempt: Wait | None) -> Incident:
    """No check has seen it: what visitors met when somebody acted, or in that attempt, is the first sign."""
    at = change.started
    what = alone(worded(change.action).did, change.site)
    told = f"Sites did not answer when {change.who} {what}."
    if attempt is not None:
        told = " ".join([told, str(change.result["attempt"].get("sentence") or "")]).rstrip()
    one = Incident(_identity(at), at, "change", at, at, severity="stalling", sentence=told)
    return _noted(one, (at, "sign", told))


def _put_back(now: Incident, at: float) -> Incident:
    """The change itself made visitors wait, and is put back: what was open before it still is."""
    now = _relieved(now, at)
    if now.troubles or now.off_since is not None:
        return now
    return _over(replace(now, healed=at), at, "The change was put back; nobody waits any more.")


def _after_change(now: Incident, operation: Operation, at: float) -> Incident:
    if operation.state != "done":
        return now  # the timeline tells it from the operation itself
    if _all_served(operation):
        now = _relieved(now, at)
    if operation.site:
        return _after_single(now, operation, operation.site, at)
    again = operation.plan.get("shielded_then") is True and now.healed is None
    shielded = operation.action == SHIELD_ON or again
    if operation.plan.get("stapling_then") == "off" or shielded:
        if not operation.result.get("still_waiting_names"):
            now = _relieved(now, at)
        relief = SHIELD_ON if shielded else OFF
        if now.off_since and now.relief == relief and not now.off_found:
            return now
        return replace(now, off_since=at, off_by=operation.who, off_found=False, relief=relief)
    if now.off_since is None:
        return now
    if now.healed is not None:
        return _over(now, at, f"It healed, and {operation.who} turned stapling on again.")
    return replace(
        now, off_since=None, off_by="", off_found=False, was_off=Span(now.off_since, at, at), seen=at
    )


def _all_served(operation: Operation) -> bool:
    """Whether everybody who was met after the change was served in time, whatever it was that ended the waiting."""
    after = operation.result.get("after")
    served = isinstance(after, Mapping) and after.get("served") is True
    return served and not operation.result.get("still_waiting_names")


def _after_single(now: Incident, operation: Operation, site: str, at: float) -> Incident:
    """Turned off for the sites whose responder hangs, nobody waits any more, unless somebody is seen to."""
    others = tuple(each for each in now.singles if each.site != site)
    if operation.action != SITE_OFF:
        return replace(now, singles=others)
    still = tuple(map(str, operation.result.get("still_waiting_names") or ()))
    now = replace(now, singles=(*others, SingleRelief(at, site, operation.who, still))[-_SINGLES:])
    return now if still else _relieved(now, at)


def _waited_before(change: Operation) -> Wait | None:
    """Who waited before a change, with stapling on: without it nobody waits for a staple."""
    if change.action not in _TURNED and change.plan.get("stapling_now") != "on":
        return None
    return _waited(change.result.get("before"), change.started)


def _waited_in_the_attempt(change: Operation) -> Wait | None:
    attempt = change.result.get("attempt")
    return _waited(attempt.get("handshakes"), change.started) if isinstance(attempt, Mapping) else None


def _waited(handshakes: Any, at: float) -> Wait | None:
    met = [one for one in handshakes if isinstance(one, Mapping)] if isinstance(handshakes, list) else []
    slow = [one for one in met if one.get("failure") == "timeout"]
    if not slow:
        return None
    longest = max(float(one["seconds"]) for one in slow)
    return Wait(longest, at, cut=True, waiting=len(slow), met=len(met))
