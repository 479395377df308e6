"""What an off, on or undo would do, worked out completely before anything is touched.

The one function `make` gives the bytes of every file afterwards, what will be in force then, who is affected and
what to beware of. The plan carries the tags of the files it was made from; a stale plan is refused when executed.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocsp_stapling import files
from ocsp_stapling.apache import includes
from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.apache.tree import ConfigTree, Directive
from ocsp_stapling.files import Snapshot
from ocsp_stapling.ocsp.staple import Door
from ocsp_stapling.problem import Problem
from ocsp_stapling.switch import directives
from ocsp_stapling.switch.verify import Sample

Contents = Mapping[Path, bytes | None]
_SAMPLES_PER_RESPONDER = 2
_SAMPLES_AT_MOST = 12


@dataclass(frozen=True)
class PlannedSite:
    """A TLS site as the plan sees it; `override` is its own SSLUseStapling line, if it has one."""

    name: str
    doors: tuple[Door, ...]
    responder: str
    must_staple: bool
    expired: bool
    override: Directive | None
    override_in_userdata: bool = False


@dataclass(frozen=True)
class Situation:
    """The server as it is now; `simulate` reads the configuration as it would be with other file contents."""

    layout: Layout
    tree: ConfigTree
    simulate: Callable[[Contents], ConfigTree]
    sites: tuple[PlannedSite, ...]
    modules: frozenset[str]
    native_switch: str
    front: str
    workers: int
    local_templates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What was asked for: `off`, `on` or `undo`, by whom and why, and how far it may go."""

    action: str
    who: str
    reason: str = ""
    with_overrides: bool = False
    write_on: bool = False
    now: datetime.datetime = field(default_factory=lambda: datetime.datetime.now().astimezone())


@dataclass(frozen=True)
class Change:
    """One file: what it is now, and the bytes it shall have (None: it shall not exist)."""

    old: Snapshot
    content: bytes | None

    def diff(self) -> str:
        """Return the change as a unified diff."""
        before, after = (
            (text or b"").decode("utf-8", "replace").splitlines(keepends=True)
            for text in (self.old.content, self.content)
        )
        name = str(self.old.path)
        lines = list(difflib.unified_diff(before, after, name, name, n=2))
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Plan:
    """Everything an operation will do and mean."""

    action: str
    who: str
    reason: str
    changes: tuple[Change, ...]
    rebuild: bool
    samples: tuple[Sample, ...]
    stapling_now: bool
    stapling_then: bool
    decided_by: Directive | None
    origin: str
    sites_affected: int
    must_staple: tuple[str, ...]
    overrides: tuple[Directive, ...]
    front: str
    cost: str
    warnings: tuple[str, ...]

    @property
    def tag(self) -> str:
        """A short text that changes when any file the plan was made from changes."""
        seen = [
            (str(c.old.path), repr(c.old.tag), hashlib.sha256(c.content or b"").hexdigest())
            for c in self.changes
        ]
        facts = json.dumps([self.action, seen, self.stapling_now, self.stapling_then, self.rebuild])
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as the JSON object of `--dry-run` and of the journal."""
        return {
            "action": self.action,
            "tag": self.tag,
            "stapling_now": on_off(self.stapling_now),
            "stapling_then": on_off(self.stapling_then),
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


def on_off(value: bool) -> str:
    """Return `on` or `off`."""
    return "on" if value else "off"


def make(wish: Wish, now: Situation, undo: Sequence[Change] = ()) -> Plan:
    """Return the plan for a wish; for an undo with the changes that lead back.

    A plan without changes means that the files say what is wished already. Raises Problem: `no-mod-ssl`,
    `off-elsewhere`, `overridden`, `no-cache`, `no-socache`, `no-session-cache`, `block-damaged`, or what reading
    a file raises.
    """
    if "ssl_module" not in now.modules:
        sentence = (
            "Apache runs without mod_ssl, so no site of it is served over HTTPS and there is no stapling."
        )
        raise Problem("no-mod-ssl", sentence)
    changes = {"off": _off, "on": _on, "undo": lambda *_: tuple(undo)}[wish.action](wish, now)
    rebuild = _needs_rebuild(now, changes)
    then = now.simulate({c.old.path: c.content for c in changes})
    return _described(wish, now, changes, rebuild, then)


def effective(tree: ConfigTree) -> bool:
    """Return whether stapling is on at server level (the last directive wins; Apache's default is off)."""
    last = tree.last("SSLUseStapling")
    return last is not None and last.value.lower() == "on"


# -- off ---------------------------------------------------------------------------------------------------


def _off(wish: Wish, now: Situation) -> tuple[Change, ...]:
    overrides = _override_changes(wish, now) if wish.with_overrides else ()
    if not effective(now.tree):
        return overrides
    lines = directives.off_block(wish.who, wish.reason, wish.now)
    changes = (*_blocks(now, lines), *overrides)
    then = now.simulate({c.old.path: c.content for c in changes})
    late = then.last("SSLUseStapling")
    if effective(then) and late is not None and not _needs_rebuild(now, changes):
        raise Problem(
            "overridden",
            f"{late.file} line {late.line} says '{late.text.strip()}' after the place of our block, so it would win. "
            "Remove that line, then try again; nothing was touched.",
        )
    return changes


def _blocks(now: Situation, lines: list[str]) -> tuple[Change, ...]:
    """The block in every pre_virtualhost include that exists; if none does, in a new global one."""
    found = [files.snapshot(path) for path in now.layout.pre_virtualhost_files]
    there = [each for each in found if each.content is not None] or found[:1]
    return tuple(_change(each, lines) for each in there)


def _change(old: Snapshot, lines: list[str]) -> Change:
    return Change(old, includes.apply(old.content or b"", lines))


def _override_changes(wish: Wish, now: Situation) -> tuple[Change, ...]:
    """A file of our own beside every userdata file that turns one site on; it is read after it."""
    lines = directives.off_block(wish.who, wish.reason, wish.now)
    wanted = sorted(
        {_beside(site.override) for site in _overriding(now) if site.override_in_userdata and site.override}
    )
    return tuple(_change(files.snapshot(path), lines) for path in wanted)


def _beside(override: Directive) -> Path:
    return override.file.with_name(directives.OVERRIDE_NAME)


def _overriding(now: Situation) -> list[PlannedSite]:
    return [s for s in now.sites if s.override is not None and s.override.value.lower() == "on"]


# -- on ----------------------------------------------------------------------------------------------------


def _on(wish: Wish, now: Situation) -> tuple[Change, ...]:
    ours = tuple(_without_block(path) for path in _managed_files(now))
    then = now.simulate({c.old.path: c.content for c in ours})
    if effective(then):
        _refuse_without_cache(then)
        return ours
    if wish.write_on:
        return _write_on(wish, now, ours, then)
    if ours:
        return ours
    raise _off_elsewhere(now)


def _managed_files(now: Situation) -> list[Path]:
    """Every file with a block of ours: where it belongs, and wherever else it was found."""
    known = [path for path in now.layout.pre_virtualhost_files if _has_block(path)]
    return list(dict.fromkeys([*known, *(block.file for block in now.tree.managed)]))


def _has_block(path: Path) -> bool:
    return includes.find(files.snapshot(path).content or b"") is not None


def _without_block(path: Path) -> Change:
    old = files.snapshot(path)
    rest = includes.remove(old.content or b"")
    # A file that held nothing but our block, and that is ours by name, goes as it came.
    return Change(old, None if not rest and path.name == directives.OVERRIDE_NAME else rest)


def _write_on(wish: Wish, now: Situation, ours: tuple[Change, ...], then: ConfigTree) -> tuple[Change, ...]:
    cache = None if then.last("SSLStaplingCache") else directives.cache_line(then, now.modules)
    lines = directives.on_block(wish.who, wish.reason, wish.now, cache)
    changes = _blocks(now, lines)
    paths = {c.old.path for c in changes}
    changes = (*changes, *(c for c in ours if c.old.path not in paths))
    after = now.simulate({c.old.path: c.content for c in changes})
    late = after.last("SSLUseStapling")
    if not effective(after) and late is not None:
        raise Problem(
            "overridden",
            f"{late.file} line {late.line} says '{late.text.strip()}' after the place of our block, so it would win. "
            "Remove that line, then try again; nothing was touched.",
        )
    return changes


def _refuse_without_cache(then: ConfigTree) -> None:
    if then.last("SSLStaplingCache") is None:
        raise Problem(
            "no-cache",
            "Stapling would be on without an SSLStaplingCache, and that ends Apache at its next restart. "
            "Nothing was touched; `ocsp-stapling on --write-on` adds the cache that fits SSLSessionCache.",
        )


def _off_elsewhere(now: Situation) -> Problem:
    last = now.tree.last("SSLUseStapling")
    if now.native_switch.lower() == "off" and (last is None or not last.managed):
        where = (
            "WHM's own switch turns it off (Apache Configuration > Global Configuration > SSL Use Stapling)"
        )
    elif last is None:
        where = "nothing in Apache's configuration turns it on"
    else:
        where = f"{last.file} line {last.line} turns it off, and that line is not ours"
    return Problem(
        "off-elsewhere",
        f"Stapling is not off by this plugin: {where}. Change it there, or use `ocsp-stapling on --write-on` "
        "to turn it on in the include all the same.",
    )


# -- what it means -------------------------------------------------------------------------------------------


def _needs_rebuild(now: Situation, changes: Sequence[Change]) -> bool:
    """Whether httpd.conf reads none of the files that shall carry a block, so that it must be written anew."""
    blocks = [c for c in changes if c.content and includes.BEGIN in c.content]
    mains = [c for c in blocks if c.old.path.name != directives.OVERRIDE_NAME]
    return bool(mains) and not any(_reads(now.tree, c.old.path) for c in mains)


def _reads(tree: ConfigTree, path: Path) -> bool:
    return any(
        each == path or each.resolve() == path for each in set(tree.files) if each.name == path.name
    ) or any(each.resolve() == path for each in set(tree.files))


def _described(
    wish: Wish, now: Situation, changes: tuple[Change, ...], rebuild: bool, then: ConfigTree
) -> Plan:
    before = effective(now.tree)
    after = wish.action == "on" and wish.write_on if rebuild else effective(then)
    stays = [] if wish.with_overrides else [s for s in _overriding(now) if s.override]
    affected = [s for s in now.sites if s.responder and not s.override]
    losing = tuple(s.name for s in affected if s.must_staple) if before and not after else ()
    last = now.tree.last("SSLUseStapling")
    return Plan(
        wish.action,
        wish.who,
        wish.reason,
        changes,
        rebuild,
        _samples(now, after, wish.with_overrides),
        before,
        after,
        last,
        _origin(now, last),
        len(affected) if before != after else 0,
        losing,
        tuple(s.override for s in stays if s.override),
        now.front,
        _cost(now, rebuild),
        _warnings(now, after, losing, stays),
    )


def _samples(now: Situation, after: bool, overrides_gone: bool) -> tuple[Sample, ...]:
    """A few sites of every responder, spread over addresses, with the staple expected of each."""
    found: list[Sample] = []
    per_responder: dict[str, int] = {}
    for site in now.sites:
        stapling = _will_staple(site, after, overrides_gone)
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


def _will_staple(site: PlannedSite, after: bool, overrides_gone: bool) -> bool:
    if site.override is None or (overrides_gone and site.override_in_userdata):
        return after
    return site.override.value.lower() == "on"


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


def _cost(now: Situation, rebuild: bool) -> str:
    first = "cPanel rebuilds httpd.conf; then Apache" if rebuild else "Apache"
    return f"{first} reads its configuration anew (graceful, {now.workers} workers now); its cached staples are gone."


def _warnings(
    now: Situation, after: bool, must_staple: Sequence[str], stays: Sequence[PlannedSite]
) -> tuple[str, ...]:
    found = []
    if must_staple:
        found.append(
            f"{len(must_staple)} site(s) with a Must-Staple certificate fail in Firefox while stapling is off: "
            + ", ".join(must_staple[:5])
        )
    if stays and not after:
        lines = [f"{s.override.file}:{s.override.line}" for s in stays if s.override]
        found.append(f"{len(stays)} site(s) turn stapling on themselves and keep it: {', '.join(lines[:5])}")
    if now.front not in ("httpd", "nobody", ""):
        found.append(f"{now.front} answers on port 443, so visitors do not meet Apache's stapling directly.")
    if now.local_templates:
        found.append(f"Local templates shape httpd.conf: {', '.join(now.local_templates[:3])}")
    if not after and now.native_switch.lower() == "off":
        found.append("WHM's own switch SSL Use Stapling is off too.")
    return tuple(found)
