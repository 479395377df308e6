"""What an off, on or undo would do, worked out completely before anything is touched.

The one function `make` gives the bytes of every file afterwards, what will be in force then, who is affected and
what to beware of. The plan carries the tags of the files it was made from; a stale plan is refused when executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ocsp_stapling.apache import includes
from ocsp_stapling.apache.tree import ConfigTree, Directive
from ocsp_stapling.change import files_changed as the_changes
from ocsp_stapling.change.files_changed import Changes
from ocsp_stapling.change.model import Change, Situation, Wish, effective, name_of, on_off
from ocsp_stapling.change.verify import Sample
from ocsp_stapling.ocsp.staple import Door
from ocsp_stapling.problem import Problem

_SAMPLES_PER_RESPONDER = 2
_SAMPLES_AT_MOST = 12


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
    sites_affected: int
    must_staple: tuple[str, ...]
    overrides: tuple[Directive, ...]
    front: str
    cost: str
    warnings: tuple[str, ...]
    return_when_healthy: bool = False
    """Whether the watch shall turn stapling on again by itself."""

    @property
    def tag(self) -> str:
        """A short text that changes when any file that the plan changes is touched, or what it would mean."""
        # Not the new bytes: they hold the time at which the plan was made.
        seen = [(str(c.old.path), repr(c.old.tag), c.content is None) for c in self.changes]
        says = self.decided_by.as_json() if self.decided_by else None
        single = [each.as_json() for each in self.overrides]
        facts = [self.action, seen, self.stapling_now, self.stapling_then, self.rebuild, says, single]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as the JSON object of `--dry-run` and of the journal."""
        return {
            "action": self.action,
            "tag": self.tag,
            "stapling_now": on_off(self.stapling_now),
            "stapling_then": on_off(self.stapling_then),
            "cache_now": self.cache_now,
            "cache_then": self.cache_then,
            "decided_by": self.decided_by.as_json() if self.decided_by else None,
            "origin": self.origin,
            "files": [
                {"path": str(c.old.path), "exists": c.old.content is not None, "diff": c.diff()}
                for c in self.changes
            ],
            "rebuild": self.rebuild,
            "sites_affected": self.sites_affected,
            "must_staple": list(self.must_staple),
            "overrides": [each.as_json() for each in self.overrides],
            "front": self.front,
            "cost": self.cost,
            "warnings": list(self.warnings),
            "return_when_healthy": self.return_when_healthy,
            "samples": [sample_json(each) for each in self.samples],
        }


def sample_json(sample: Sample) -> dict[str, Any]:
    """Return a sample as JSON, complete enough to meet it again."""
    return {
        "site": sample.door.name,
        "address": sample.door.address,
        "port": sample.door.port,
        "responder": sample.responder,
        "staple": sample.staple,
    }


def sample_from_json(found: Mapping[str, Any]) -> Sample:
    """Read back what `sample_json` wrote."""
    door = Door(str(found["address"]), int(found["port"]), str(found["site"]))
    return Sample(door, str(found["responder"]), found["staple"])


def make(wish: Wish, now: Situation, undo: Changes = ()) -> Plan:
    """Return the plan for a wish; for an undo with the changes that lead back.

    A plan without changes means that the files say what is wished already. Raises Problem: `no-mod-ssl`,
    `not-apache`, `off-elsewhere`, `overridden`, `no-cache`, `no-socache`, `no-session-cache`, `block-damaged`, or
    what reading a file raises.
    """
    if "ssl_module" not in now.modules:
        sentence = (
            "Apache runs without mod_ssl, so no site of it is served over HTTPS and there is no stapling."
        )
        raise Problem("no-mod-ssl", sentence)
    _refuse_litespeed(now)
    wanted = _wanted(wish, now, undo)
    found = tuple(_kept(now, each) for each in wanted if each.content != each.old.content)
    rebuild = the_changes.needs_rebuild(now, found)
    then = now.foresee(found)
    if found and effective(then):
        _refuse_without_cache(then)
    return _described(wish, now, found, rebuild, then)


def _refuse_litespeed(now: Situation) -> None:
    """LiteSpeed in Apache's place reads Apache's files, but it is no Apache: starting one beside it would harm."""
    if now.front in ("litespeed", "openlitespeed") and not now.workers:
        raise Problem(
            "not-apache",
            "LiteSpeed serves the sites of this server and Apache does not run, so nothing was touched. Turn OCSP "
            "stapling off or on in LiteSpeed's own administration.",
        )


def _wanted(wish: Wish, now: Situation, undo: Changes) -> Changes:
    if wish.action == "undo":
        return undo
    return the_changes.off(wish, now) if wish.action == "off" else the_changes.on(wish, now)


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


def _refuse_without_cache(then: ConfigTree) -> None:
    if not _has_cache(then):
        raise Problem(
            "no-cache",
            "Stapling would be on without an SSLStaplingCache, and that ends Apache at its next restart. "
            "Nothing was touched; `ocsp-stapling on --write-on` adds the cache that fits SSLSessionCache.",
        )


def _described(wish: Wish, now: Situation, changes: Changes, rebuild: bool, then: ConfigTree) -> Plan:
    before, after = effective(now.tree), _after(changes, then) if rebuild else effective(then)
    were, will = _stapling_sites(now.tree, before), _stapling_sites(then, after)
    affected = [s for s in now.sites if s.responder and were.get(s.name) != will.get(s.name)]
    losing = tuple(s.name for s in affected if s.must_staple and not will.get(s.name))
    stays = _lasting(then)
    last = now.tree.last("SSLUseStapling")
    return Plan(
        wish.action,
        wish.who,
        wish.reason,
        changes,
        rebuild,
        _samples(now, after, will),
        before,
        after,
        _has_cache(now.tree),
        _has_cache(then),
        last,
        _origin(now, last),
        len(affected),
        losing,
        stays,
        now.front,
        _cost(now, rebuild, _has_cache(now.tree) and not _has_cache(then)),
        _warnings(wish, now, then, after or rebuild, losing, stays),
        wish.return_when_healthy,
    )


def _has_cache(tree: ConfigTree) -> bool:
    return tree.last("SSLStaplingCache") is not None


def _stapling_sites(tree: ConfigTree, on: bool) -> dict[str, bool]:
    """Whether each TLS site staples: its own line, else what holds at server level (`on`)."""
    return {name_of(v): _says_on(v.stapling) if v.stapling else on for v in tree.vhosts if v.engine}


def _lasting(tree: ConfigTree) -> tuple[Directive, ...]:
    return tuple(v.stapling for v in tree.vhosts if v.engine and v.stapling and _says_on(v.stapling))


def _says_on(line: Directive) -> bool:
    return line.value.lower() == "on"


def _after(changes: Changes, then: ConfigTree) -> bool:
    """What holds after cPanel has written httpd.conf anew, so that it reads the files of our blocks."""
    blocks = [found for c in changes if (found := includes.find(c.content or b""))]
    return any(b"SSLUseStapling On" in block.body for block in blocks) if blocks else effective(then)


def _samples(now: Situation, after: bool, will: Mapping[str, bool]) -> tuple[Sample, ...]:
    """A few sites of every responder, spread over addresses, with the staple expected of each."""
    found: list[Sample] = []
    per_responder: dict[str, int] = {}
    for site in now.sites:
        stapling = will.get(site.name, after)
        # A site that goes on stapling while the rest is off may go on hanging: that is not this operation's fault.
        if site.expired or not site.doors or (stapling and not after):
            continue
        turn = per_responder.get(site.responder, 0)
        if turn < _SAMPLES_PER_RESPONDER:
            per_responder[site.responder] = turn + 1
            door = site.doors[turn % len(site.doors)]
            found.append(Sample(door, site.responder, stapling if site.responder else False))
    found.sort(key=lambda s: not s.responder)
    return tuple(found[:_SAMPLES_AT_MOST])


def _origin(now: Situation, last: Directive | None) -> str:
    """Where the present state comes from: block, native-switch, template, userdata or hand-written; "default"."""
    if last is None:
        return "default"
    if last.managed:
        return "managed-block"
    if last.file == now.layout.conf:
        return (
            "native-switch"
            if last.value.lower() == "off" and now.native_switch.lower() == "off"
            else "template"
        )
    return "hand-written"


def _cost(now: Situation, rebuild: bool, whole: bool) -> str:
    if whole:
        return "Apache is stopped and started, for it does not survive a graceful restart without the stapling cache."
    first = "cPanel rebuilds httpd.conf; then Apache" if rebuild else "Apache"
    return f"{first} reads its configuration anew (graceful, {now.workers} workers now); its cached staples are gone."


def _warnings(
    wish: Wish,
    now: Situation,
    then: ConfigTree,
    after: bool,
    must_staple: Sequence[str],
    stays: Sequence[Directive],
) -> tuple[str, ...]:
    found = []
    if must_staple:
        found.append(
            f"{len(must_staple)} site(s) with a Must-Staple certificate fail in Firefox while stapling is off: "
            + ", ".join(must_staple[:5])
        )
    if stays and not after:
        places = [f"{each.file}:{each.line}" for each in stays]
        how = (
            ""
            if wish.with_overrides
            else " (`ocsp-stapling off --overrides` turns those in userdata off too)"
        )
        found.append(
            f"{len(stays)} site(s) turn stapling on themselves and keep it{how}: {', '.join(places[:5])}"
        )
    if now.front not in ("httpd", "nobody", ""):
        found.append(f"{now.front} answers on port 443, so visitors do not meet Apache's stapling directly.")
    if now.local_templates:
        found.append(f"Local templates shape httpd.conf: {', '.join(now.local_templates[:3])}")
    if wish.action == "on" and not after:
        where = the_changes.where_off(now, then)
        found.append(f"Stapling stays off: {where}. `ocsp-stapling on --write-on` turns it on all the same.")
    elif not after and now.native_switch.lower() == "off":
        found.append("WHM's own switch SSL Use Stapling is off too.")
    return tuple(found)
