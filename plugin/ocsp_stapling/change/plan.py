"""What an off, on or undo would do, worked out completely before anything is touched.

The one function `make` gives the bytes of every file afterwards, what will be in force then, who is affected and
what to beware of. The plan carries the tags of the files it was made from; a stale plan is refused when executed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ocsp_stapling.apache import managed_block
from ocsp_stapling.apache.stapling import is_on
from ocsp_stapling.apache.tree import Directive
from ocsp_stapling.change import files_changed as the_changes
from ocsp_stapling.change import single
from ocsp_stapling.change.files_changed import Changes
from ocsp_stapling.change.model import Change, Situation, on_off
from ocsp_stapling.change.request import (
    ACCOUNT,
    CACHE_FIT,
    OF_ONE_SITE,
    SHIELD_OFF,
    SHIELD_ON,
    SITE_ON,
    ChangeRequest,
    already,
)
from ocsp_stapling.change.verify import Sample, any_staple
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import Handshake
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.certificate_files import key_kind
from ocsp_stapling.server.sites import (
    Endpoint,
    EndpointCertificate,
    Key,
    host_of,
    in_the_queue,
    keys_of,
    labels,
)
from ocsp_stapling.server.state import ServerState
from ocsp_stapling.text import counted, listed, versioned

_SAMPLES_PER_KIND = 2
_QUICK_SECONDS = 1.0
_SAMPLES_AT_MOST = 12
_KINDS_AT_MOST = 32
"""Of kinds that a change makes a difference for, one sample each: after an `on` Apache fetches their staples in turn,
and customers could name any number of responders."""
_KEEPING = 4


@dataclass(frozen=True)
class Outlook:
    """What the last look at the responders says about a plan: hosts known to fail, and what to beware of.

    `healthy`: every responder answered then, and nobody waited; None if nobody has looked yet.
    """

    failing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    healthy: bool | None = None


@dataclass(frozen=True)
class Plan:
    """Everything an operation will do and mean."""

    action: str
    who: str
    reason: str
    changes: Changes
    rebuild: bool
    samples: tuple[Sample, ...]
    stapling_now: bool
    stapling_then: bool
    cache_now: bool
    cache_then: bool
    decided_by: Directive | None
    origin: str
    concerned: tuple[str, ...]
    """The names of the sites whose stapling it turns on or off."""
    must_staple: tuple[str, ...]
    overrides: tuple[Directive, ...]
    front: str
    cost: str
    warnings: tuple[str, ...]
    by_hand: tuple[str, ...] = ()
    """Where those of `overrides` stand, as `FILE:LINE`, that no change of ours reaches: not in userdata."""
    return_when_healthy: bool = False
    """Whether the watch shall turn stapling on again by itself."""
    site: str = ""
    """The only site that it concerns, "" for all."""
    asks_again: bool = False
    """Whether Apache asks responders afterwards that it does not ask now."""
    others: tuple[Sample, ...] = ()
    """Sites that a change of a single one must not disturb; met afterwards, and only told about."""
    already: str = ""
    """What holds already, for whom it concerns, where no file needs a change."""
    ends_shield: bool = False
    """Whether all that it does is to end a shield that Apache does not ask, as while stapling is off."""
    outlook: Outlook = Outlook()
    """What is known beforehand; `warnings` hold its own."""
    shielded: bool = False
    """Whether Apache asks our relay now, so that no authority keeps anybody waiting."""
    shielded_then: bool = False

    @property
    def sites_affected(self) -> int:
        """How many sites' stapling it turns on or off."""
        return len(self.concerned)

    @property
    def acts(self) -> bool:
        """Whether it does anything, so that somebody has to agree to it."""
        return bool(self.changes) or self.ends_shield

    @property
    def lines_only(self) -> bool:
        """Whether a site's own lines go and stapling stays off there all the same, as it is off for all."""
        return self.action == SITE_ON and not self.stapling_then and not self.concerned

    @property
    def is_cold_after(self) -> bool:
        """Whether visitors may wait for staples right after it, with nothing wrong: each is fetched once more."""
        return self.action == CACHE_FIT

    @property
    def nothing_to_write(self) -> str:
        """What there is to say of a plan without changes."""
        if self.ends_shield:
            return f"The shield ends; stapling stays {on_off(self.stapling_now)}, and no file needs a change."
        return f"{self.already} already; no file needs a change."

    @property
    def nothing_written(self) -> str:
        """The same when it is done."""
        if self.ends_shield:
            return f"The shield is ended; stapling stays {on_off(self.stapling_now)}, and no file needed a change."
        return f"{self.already} already; nothing was changed."

    @property
    def tag(self) -> str:
        """A short text that changes when any file that the plan changes is touched, or what it would mean."""
        # Not the new bytes: they hold the time at which the plan was made.
        seen = [(str(c.old.path), repr(c.old.tag), c.content is None) for c in self.changes]
        says = self.decided_by.as_json() if self.decided_by else None
        single = [each.as_json() for each in self.overrides]
        facts = [
            self.action,
            self.site,
            seen,
            self.stapling_now,
            self.stapling_then,
            self.rebuild,
            says,
            single,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def knowing(self, found: Outlook) -> Plan:
        """Return the plan with what the last look says about it."""
        return replace(self, outlook=found, warnings=(*found.warnings, *self.warnings))

    def met(self, before: Sequence[Handshake]) -> Plan:
        """Return the plan with a warning if sites that were just met show that turning off is in vain."""
        vain = _in_vain(self, before)
        return replace(self, warnings=(vain, *self.warnings)) if vain else self

    def as_json(self) -> dict[str, Any]:
        """Return the plan as the JSON object of `--dry-run` and of the journal."""
        facts = {
            "action": self.action,
            "tag": self.tag,
            "stapling_now": on_off(self.stapling_now),
            "stapling_then": on_off(self.stapling_then),
            "shielded_then": self.shielded_then,
            "cache_now": self.cache_now,
            "cache_then": self.cache_then,
            "decided_by": self.decided_by.as_json() if self.decided_by else None,
            "origin": self.origin,
            "changes": [
                {"path": str(c.old.path), "exists": c.old.content is not None, "diff": c.diff()}
                for c in self.changes
            ],
            "rebuild": self.rebuild,
            "sites_affected_count": self.sites_affected,
            "must_staple_sites": list(self.must_staple),
            "overrides": [each.as_json() for each in self.overrides],
            "front": self.front,
            "cost": self.cost,
            "warnings": list(self.warnings),
            "return_when_healthy": self.return_when_healthy,
            "site": self.site or None,
            "verification": [sample_json(each) for each in self.samples],
            "failing_responders": list(self.outlook.failing),
        }
        return versioned("plan", facts)


def _in_vain(plan: Plan, before: Sequence[Handshake]) -> str:
    """The word for who turns off what does no harm; "" where a responder is known to fail or somebody waits."""
    turns_off = plan.action == "site-off" or (plan.stapling_now and not plan.stapling_then)
    quick = before and all(one.completed and one.seconds < _QUICK_SECONDS for one in before)
    may_help = not plan.shielded and (plan.outlook.failing or plan.outlook.healthy is False)
    if not (turns_off and plan.changes and quick) or may_help:
        return ""
    slowest = max(one.milliseconds for one in before)
    met = f"{counted(before, 'site')} tested just now answered within {slowest} ms"
    if plan.shielded:
        return f"This will not help: {met}, and the shield is on: no visitor waits for an authority."
    if plan.outlook.healthy:
        return (
            f"This will not help: {met}, and every responder answered when it was asked last. "
            "Whatever is slow, stapling does not make it so."
        )
    return f"This may not help: {met}. `ocsp-stapling check` tells whether a responder fails."


def sample_json(sample: Sample) -> dict[str, Any]:
    """Return a sample as JSON, complete enough to meet it again."""
    return {
        "site": sample.door.name,
        "address": sample.door.address,
        "port": sample.door.port,
        "responder_host": sample.responder,
        "staple_wanted": sample.staple,
        "key": sample.door.key or None,
    }


def sample_from_json(found: Mapping[str, Any]) -> Sample:
    """Read back what `sample_json` wrote."""
    door = Door(str(found["address"]), int(found["port"]), str(found["site"]), str(found.get("key") or ""))
    return Sample(door, str(found["responder_host"]), found["staple_wanted"])


def make(request: ChangeRequest, now: Situation, undo: Changes = (), undone_site: str = "") -> Plan:
    """Return the plan for a wish; for an undo with the changes that lead back, and the only site they concern.

    A plan without changes means that the files say what is wished already. Raises Problem: `no-mod-ssl`,
    `not-apache`, `off-elsewhere`, `overridden`, `no-cache`, `no-socache`, `no-session-cache`, `block-damaged`,
    `no-such-site`, `site-without-include`, `not-off-alone`, `stapling-is-off`, or what reading a file raises.
    """
    if "ssl_module" not in now.modules:
        sentence = (
            "Apache runs without mod_ssl, so no site of it is served over HTTPS and there is no stapling."
        )
        raise Problem("no-mod-ssl", sentence)
    _refuse_litespeed(now)
    _refuse_mod_md(now)
    wanted = _wanted(request, now, undo)
    found = tuple(_kept(now, each) for each in wanted if each.content != each.old.content)
    then = now.foresee(found)
    rebuild = the_changes.needs_rebuild(now, found) or single.needs_rebuild(then, found)
    if found and then.stapling.on:
        _refuse_without_cache(then)
    return _described(request, now, found, rebuild, then, request.site or undone_site)


def _refuse_litespeed(now: Situation) -> None:
    """LiteSpeed in Apache's place reads Apache's files, but it is no Apache: starting one beside it would harm."""
    if now.front in ("litespeed", "openlitespeed") and not now.workers:
        raise Problem(
            "not-apache",
            "LiteSpeed serves the sites of this server and Apache does not run, so nothing was touched. Turn OCSP "
            "stapling off or on in LiteSpeed's own administration.",
        )


def _refuse_mod_md(now: Situation) -> None:
    """Where mod_md staples, mod_ssl's switch decides nothing (mod_md's documentation, MDStapling)."""
    line = now.server.stapling.md_stapling
    if line:
        raise Problem(
            "md-staples",
            f"mod_md staples on this server ({line.file} line {line.line}: {line.text.strip()}), in the background, "
            "so that no visitor waits for it, and SSLUseStapling decides nothing. Nothing was touched, for it would "
            "change nothing.",
        )


def _wanted(request: ChangeRequest, now: Situation, undo: Changes) -> Changes:
    if request.action == "undo":
        return undo
    if request.action in OF_ONE_SITE:
        return single.off(request, now) if request.action == "site-off" else single.on(request, now)
    if request.action == SHIELD_ON:
        return the_changes.shield_on(request, now)
    if request.action == SHIELD_OFF:
        return the_changes.shield_off(now)
    if request.action == CACHE_FIT:
        return the_changes.cache_fit(request, now)
    return the_changes.off(request, now) if request.action == "off" else the_changes.on(request, now)


def _kept(now: Situation, change: Change) -> Change:
    """A file may be empty, but not absent, if Apache would not start without it.

    An include that httpd.conf names must exist, and `Include DIRECTORY/*.conf` must find at least one file.
    """
    path = change.old.path
    if change.content is not None or not now.reads(path):
        return change
    named = path.parent == now.layout.includes
    last = not any(other != path for other in path.parent.glob("*.conf"))
    return replace(change, content=b"") if named or last else change


def _refuse_without_cache(then: ServerState) -> None:
    if then.stapling.cache is None:
        raise Problem(
            "no-cache",
            "Stapling would be on without an SSLStaplingCache, and that ends Apache at its next restart. "
            "Nothing was touched; `ocsp-stapling on --write-on` adds the cache that fits SSLSessionCache.",
        )


def _described(
    request: ChangeRequest, now: Situation, changes: Changes, rebuild: bool, then: ServerState, site: str
) -> Plan:
    before = now.server.stapling
    after = _after(changes, then) if rebuild and not site else then.stapling.on
    alone = single.endpoints(now.server, site) if site else ()
    will = _stapling_then(then, after) | {one.key: False for one in (alone if rebuild else ())}
    leaving, joining, losing = _concerned(now.server, will)
    met = _samples(now, after, will, alone or now.server.endpoints)
    stays, by_hand = _staying(then), _by_hand(then)
    whom = (site if site.startswith(ACCOUNT) else alone[0].name) if alone else ""
    return Plan(
        action=request.action,
        who=request.who,
        reason=request.reason,
        changes=changes,
        rebuild=rebuild,
        samples=_shielded(request, met.chosen),
        stapling_now=before.on,
        stapling_then=after,
        cache_now=before.cache is not None,
        cache_then=then.stapling.cache is not None,
        decided_by=before.decided_by,
        origin=before.origin.value,
        concerned=tuple(one.name for one in (*leaving, *joining)),
        asks_again=bool(joining) or (after is True and now.server.shielded and not then.shielded),
        must_staple=losing,
        overrides=stays,
        by_hand=by_hand,
        front=now.front,
        cost=_cost(request, now, rebuild, before.cache is not None and then.stapling.cache is None),
        warnings=(*_warnings(request, now, then, after or rebuild, losing, stays, by_hand), *met.left_out),
        return_when_healthy=request.return_when_healthy,
        site=whom,
        already=already(request.action, any(s.stapling for s in alone) if alone else before.on, whom),
        ends_shield=request.action == SHIELD_OFF and request.shield_port > 0 and not changes,
        others=_others(now, after, will, alone),
        shielded=now.server.shielded,
        shielded_then=then.shielded,
    )


def _staying(then: ServerState) -> tuple[Directive, ...]:
    """The lines by which sites turn stapling on themselves."""
    return tuple(v.stapling for v in then.vhosts if v.stapling and is_on(v.stapling))


def _concerned(
    server: ServerState, will: Mapping[Key, bool]
) -> tuple[list[Endpoint], list[Endpoint], tuple[str, ...]]:
    """The endpoints that leave the queue, those that join it, and the names that lose a staple they must have."""
    asking = [one for one in server.endpoints if one.responder]
    leaving = [one for one in in_the_queue(asking) if not will.get(one.key)]
    names = labels(server.endpoints)
    losing = tuple(names[one.name, one.port] for one in leaving if one.must_staple)
    return leaving, [one for one in asking if not one.stapling and will.get(one.key)], losing


def _shielded(request: ChangeRequest, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Whether staples come depends on what the relay holds; that nobody waits does not."""
    free = request.shield_port or request.action in ("shield-off", CACHE_FIT)
    return tuple(any_staple(samples)) if free else samples


def _stapling_then(then: ServerState, on: bool) -> dict[Key, bool]:
    """Whether each endpoint staples: by its own line, else by what holds at server level (`on`)."""
    return {
        key: is_on(vhost.stapling) if vhost.stapling else on
        for vhost in then.vhosts
        for key in keys_of(vhost)
    }


def _after(changes: Changes, then: ServerState) -> bool:
    """What holds after cPanel has written httpd.conf anew, so that it reads the files of our blocks."""
    blocks = [found for c in changes if (found := managed_block.find(c.content or b""))]
    turning_on = (b"SSLUseStapling On", b"SSLStaplingForceURL")
    says_on = [any(words in block.body for words in turning_on) for block in blocks]
    return any(says_on) if blocks else then.stapling.on


def _others(
    now: Situation, after: bool, will: Mapping[Key, bool], alone: Sequence[Endpoint]
) -> tuple[Sample, ...]:
    """Of whose staples nothing is expected: where a single site is meant, a few of all others; else those that go on.

    What turns stapling on itself while it goes off for the rest may go on waiting, and then that is told.
    """
    if alone:
        rest = [one for one in now.server.endpoints if one not in alone]
        return tuple(any_staple(_samples(now, after, will, rest).chosen))
    keep = [one for one in now.server.endpoints if not after and will.get(one.key) and one.can_staple]
    return tuple(Sample(one.doors[0], host_of(one.responder)) for one in keep[:_KEEPING] if one.doors)


class _Samples(NamedTuple):
    """Whom a change is verified with, and what there is to say of kinds that are left out."""

    chosen: tuple[Sample, ...]
    left_out: tuple[str, ...]


def _samples(
    now: Situation, after: bool, will: Mapping[Key, bool], endpoints: Iterable[Endpoint]
) -> _Samples:
    """A few endpoints of every responder, port and kind of certificate, with the staple expected of each.

    First those for which the change makes a difference, and of these one of every kind: what says
    `SSLUseStapling off` itself is no sample for an `on`, and one on another port none for the visitors of 443.
    """
    found: list[tuple[bool, bool, int, int, Sample]] = []
    turns: Counter[tuple[str, int, str, bool]] = Counter()
    seen: set[tuple[int, str, bool]] = set()
    for one in endpoints:
        stapling = will.get(one.key, after)
        # What goes on stapling while the rest is off may go on hanging: that is not this operation's fault.
        if one.expired or (stapling and not after):
            continue
        doors = [door for door in one.doors if not now.own or door.address in now.own]
        differs = stapling != one.stapling
        for door, certificate in _meetings(one, doors):
            kind = (certificate.responder, one.port, door.key, differs)
            turn, turns[kind] = turns[kind], turns[kind] + 1
            if turn < _SAMPLES_PER_KIND:
                expected = stapling if certificate.can_staple else False
                here = Sample(doors[turn % len(doors)], host_of(certificate.responder), expected)
                # One of every kind before a second of any, and first one of every port and kind of client: of many
                # responders none crowds these out.
                crowd = (one.port, door.key, differs)
                order = not certificate.responder, not differs, turn, int(crowd in seen)
                seen.add(crowd)
                found.append((*order, replace(here, door=replace(here.door, key=door.key))))
    found.sort(key=lambda each: each[:4])
    kinds = sum(not (silent or same or turn) for silent, same, turn, *_ in found)
    count = max(_SAMPLES_AT_MOST, min(kinds, _KINDS_AT_MOST))
    told = (
        f"Of {kinds:,} kinds of responder, port and key that it concerns, sites of {_KINDS_AT_MOST} are tested "
        "afterwards; `ocsp-stapling check` asks the other responders."
    )
    return _Samples(tuple(sample for *_, sample in found[:count]), (told,) if kinds > count else ())


def _meetings(one: Endpoint, doors: Sequence[Door]) -> list[tuple[Door, EndpointCertificate]]:
    """One meeting for an ordinary client; with RSA and ECDSA side by side one for either kind of client."""
    if not doors:
        return []
    if len(one.certificates) == 1:
        return [(doors[0], one.certificates[0])]
    return [(replace(doors[0], key=key_kind(each.file)), each) for each in one.certificates]


def _cost(request: ChangeRequest, now: Situation, rebuild: bool, whole: bool) -> str:
    if whole:
        return "Apache is stopped and started, for it does not survive a graceful restart without the stapling cache."
    if not now.workers:
        return "Apache is not running now; it is started."
    first = "cPanel rebuilds httpd.conf; then Apache" if rebuild else "Apache"
    cost = f"{first} reads its configuration anew ({now.workers} workers now); its cached staples are gone."
    if request.action != CACHE_FIT:
        return cost
    return f"{cost} Each of {now.server.asking_count:,} certificates is asked about once more, one after the other."


def _by_hand(then: ServerState) -> tuple[str, ...]:
    """Where lines turn a site on that stand in no userdata include: only their author can take them out."""
    lines = (v.stapling for v in then.vhosts if v.stapling and is_on(v.stapling) and not v.userdata)
    return tuple(map(then.place_of, lines))


def _stays_on(stays: Sequence[Directive], by_hand: Sequence[str], places: Sequence[str]) -> str:
    told = f"Lines of {counted(stays, 'site')} turn stapling on and keep it on: {listed(places)}."
    if len(by_hand) < len(stays):
        told += " `ocsp-stapling off --overrides` turns off those in userdata, too."
    return f"{told} Only an edit ends it at {listed(by_hand)}." if by_hand else told


def _warnings(
    request: ChangeRequest,
    now: Situation,
    then: ServerState,
    after: bool,
    must_staple: Sequence[str],
    stays: Sequence[Directive],
    by_hand: Sequence[str],
) -> tuple[str, ...]:
    found = []
    if must_staple:
        found.append(
            f"{counted(must_staple, 'site')} with a Must-Staple certificate cannot be opened in Firefox while "
            "stapling is off: " + ", ".join(must_staple[:5])
        )
    if stays and not after and not request.site:
        found.append(_stays_on(stays, by_hand, [then.place_of(each) for each in stays]))
    if not now.apache_in_front:
        found.append(
            f"{now.front_name} answers on port 443, so visitors do not reach Apache's stapling directly."
        )
    if now.local_templates:
        found.append(f"Local templates shape httpd.conf: {', '.join(now.local_templates[:3])}")
    if request.action == "on" and not after:
        where = the_changes.where_off(then)
        found.append(f"Stapling stays off: {where}. `ocsp-stapling on --write-on` turns it on all the same.")
    elif not after and not now.server.native.on:
        found.append("WHM's own switch SSL Use Stapling is off too.")
    return tuple(found)
