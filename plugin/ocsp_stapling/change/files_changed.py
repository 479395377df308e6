"""Which files an off or an on changes, and into which bytes: our block comes, goes or stays away.

The block belongs at the end of both pre_virtualhost includes. Where a later line would win it is put into the
post_virtualhost includes too, and `on` takes it away from wherever it is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ocsp_stapling import files
from ocsp_stapling.apache import managed_block
from ocsp_stapling.apache.stapling import Origin, is_on
from ocsp_stapling.apache.tree import Directive
from ocsp_stapling.change.model import Change, Situation
from ocsp_stapling.change.request import ChangeRequest
from ocsp_stapling.files import Snapshot
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.sites import Endpoint
from ocsp_stapling.server.state import ServerState

Changes = tuple[Change, ...]
_NO_SHIELD = (
    *("shield-not-in-front", "shield-proxy", "nothing-to-shield"),
    *("overridden", "no-session-cache", "no-socache"),
)
"""Why there is no returning to the shield; stapling returns without it."""
_SAYS_ON = re.compile(rb"^[ \t]*SSLUseStapling[ \t]+on[ \t\r]*$", re.I | re.M)


def off(request: ChangeRequest, now: Situation) -> Changes:
    """Return the changes after which stapling is off; () if it is.

    Raises Problem `overridden` if a line that no include of ours can follow says On, `block-damaged`, or what
    reading a file raises.
    """
    lines = managed_block.off_block(request.who, request.reason, request.now)
    overrides = _override_changes(lines, now) if request.with_overrides else ()
    with_cache = managed_block.off_block(request.who, request.reason, request.now, _our_cache(now))
    main = _winning(with_cache, now, (), _is_off) if now.server.stapling.on else ()
    return (*main, *overrides)


def on(request: ChangeRequest, now: Situation) -> Changes:
    """Return the changes after which nothing of ours turns stapling off; with consent a block that turns it on.

    A cache of ours stays while without it staples would be asked for again and again.

    Raises Problem `off-elsewhere`, `overridden`, `no-cache`, `no-socache`, `no-session-cache`, `block-damaged`.
    """
    if request.shield_port:
        try:
            return shield_on(request, now)
        except Problem as problem:
            if problem.code not in _NO_SHIELD:
                raise
    ours = tuple(_without_block(each) for each in managed(now, single=request.with_overrides))
    bare = now.foresee(ours)
    if bare.stapling.on:
        fitted = not request.with_overrides and _our_cache(now) and bare.asked_again_count
        return _with_cache(request, now, ours, bare) if fitted else ours
    if now.server.stapling.on:
        # A block of ours turns it on: only what turns single sites off goes.
        return tuple(each for each in ours if not _turns_on(each.old))
    if request.write_on:
        lines = managed_block.on_block(request.who, request.reason, request.now, _cache_wanted(now, bare))
        return _winning(lines, now, ours, _is_on)
    if ours:
        return ours
    raise off_elsewhere(now.server)


def cache_fit(request: ChangeRequest, now: Situation) -> Changes:
    """Return the changes after which Apache's cache holds the staple of every certificate; () if it does.

    Raises Problem `stapling-is-off`, `no-cache`, `overridden`, `block-damaged`.
    """
    if not now.server.stapling.on:
        raise Problem(
            "stapling-is-off",
            "Stapling is off, so nothing is kept in a staple cache. Nothing was touched; turn stapling on first.",
        )
    if now.server.stapling.cache is not None and not now.server.loses_staples:
        return ()
    if request.shield_port and now.server.shielded:
        return shield_on(request, now)
    ours = tuple(_without_block(each) for each in managed(now))
    return _with_cache(request, now, ours, now.foresee(ours))


def _with_cache(request: ChangeRequest, now: Situation, ours: Changes, bare: ServerState) -> Changes:
    """Our blocks give way to one with the cache that fits; it turns stapling on where only ours did."""
    cache = _fitting(now, bare)
    block = managed_block.cache_block if bare.stapling.on else managed_block.on_block
    lines = block(request.who, request.reason, request.now, cache)
    return _winning(lines, now, ours, _keeps_all)


def _cache_wanted(now: Situation, bare: ServerState) -> str | None:
    """The cache that an `on` of ours brings with it: where there is none, and where that is too small."""
    return _fitting(now, bare) if bare.stapling.cache is None or bare.asked_again_count else None


def _fitting(now: Situation, bare: ServerState) -> str:
    if bare.stapling.cache is None:
        return managed_block.cache_line(bare.tree, now.modules, bare.asking_count)
    return managed_block.larger_cache_line(bare.tree, bare.asking_count)


def shield_on(request: ChangeRequest, now: Situation) -> Changes:
    """Return the changes after which Apache asks the relay; blocks that turn single sites off go.

    Raises Problem `shield-not-in-front`, `shield-proxy`, `nothing-to-shield`, `overridden`, `no-session-cache`,
    `no-socache`, `block-damaged`.
    """
    if not now.apache_in_front:
        raise Problem(
            "shield-not-in-front",
            f"{now.front_name} answers visitors on port 443, so they do not reach Apache's stapling and a shield "
            "would change nothing for them. Nothing was touched.",
        )
    proxy = now.server.stapling.proxy
    if proxy:
        raise Problem(
            "shield-proxy",
            f"{proxy.file} line {proxy.line} sends Apache's questions through a proxy ({proxy.value}), and would "
            "those to the shield's relay, too. Nothing was touched; take that line out first.",
        )
    ours = tuple(_without_block(each) for each in managed(now))
    bare = now.foresee(ours)
    certificates = [c for one in now.server.endpoints for c in one.certificates]
    count = len({c.file for c in certificates if c.ocsp_urls and not c.expired})
    if not count:
        raise Problem(
            "nothing-to-shield",
            "No certificate in use names a responder, so there is nothing to shield and no visitor can wait for one.",
        )
    # Through the relay Apache asks about each certificate, also about those that name no responder.
    every = len({c.file for c in certificates})
    cache = managed_block.cache_line(bare.tree, now.modules, every, "ocsp_stapling_shield")
    lines = managed_block.shield_block(
        request.who, request.reason, request.now, cache, request.shield_port, not bare.stapling.on
    )
    changes = _winning(lines, now, ours, _is_shielded)
    # Written anew it would say the same, and the restart would cost every staple.
    return () if now.server.shielded and all(map(_says_the_same, changes)) else changes


def shield_off(now: Situation) -> Changes:
    """Return the changes after which the configuration decides as it did before; () where no block asks the relay.

    So a block that keeps stapling off goes on doing that: only who turns it on meets the authorities again.
    """
    ours = managed(now)
    shielded = any(managed_block.relay_port((each.content or b"").decode(errors="replace")) for each in ours)
    return tuple(_without_block(each) for each in ours) if shielded else ()


def relay_port(changes: Changes) -> int:
    """Return the port of the relay that one of the new contents sends Apache to, 0 if none does."""
    blocks = [found for each in changes if each.content and (found := managed_block.find(each.content))]
    return max((managed_block.relay_port(block.body.decode(errors="replace")) for block in blocks), default=0)


def needs_rebuild(now: Situation, changes: Sequence[Change]) -> bool:
    """Return whether httpd.conf reads none of the files that shall carry a block, so it must be written anew."""
    blocks = [c for c in changes if c.content and managed_block.BEGIN in c.content]
    mains = [c for c in blocks if c.old.path.name not in managed_block.OF_SITES]
    return bool(mains) and not any(now.reads(c.old.path) for c in mains)


def turned_on(sites: Iterable[Endpoint]) -> list[Endpoint]:
    """Return the sites that turn stapling on by a line of their own."""
    return [s for s in sites if s.override is not None and is_on(s.override)]


def off_elsewhere(server: ServerState) -> Problem:
    """Return the refusal that says what, other than our block, keeps stapling off in `server`."""
    return Problem(
        "off-elsewhere",
        f"Stapling is not off by this plugin: {where_off(server)}. Change it there, or use "
        "`ocsp-stapling on --write-on` to turn it on in the include all the same.",
    )


def where_off(server: ServerState) -> str:
    """Return in words what keeps stapling off."""
    last = server.stapling.decided_by
    if server.stapling.origin is Origin.WHM or (last is None and not server.native.on):
        return (
            "WHM's own switch turns it off (Apache Configuration > Global Configuration > SSL Use Stapling)"
        )
    if last is None:
        return "nothing in Apache's configuration turns it on"
    if own := server.written_from(last):
        return f"the administrator's own template {own.file} line {own.line} turns it off"
    return f"{last.file} line {last.line} turns it off, and that line is not ours"


def managed(now: Situation, *, single: bool = False) -> list[Snapshot]:
    """Return every file with a block of ours, wherever it was found. Raises Problem `block-damaged`.

    Those that turn a site off alone only where `single` says so: they outlive the return of all others.

    A file that others than root can write is none of ours, whatever markers it holds.
    """
    known = [*now.layout.pre_virtualhost_files, *sorted(now.layout.includes.glob("*.conf"))]
    strays = [block.file for block in now.tree.managed]
    names = (managed_block.OVERRIDE_NAME, *((managed_block.SITE_NAME,) if single else ()))
    of_sites = [path for name in names for path in sorted(now.layout.userdata.rglob(name))]
    found = [files.snapshot(path) for path in known] + [s for p in [*strays, *of_sites] if (s := _safe(p))]
    alone = {managed_block.SITE_NAME} if not single else set()
    return [each for each in _distinct(found) if each.path.name not in alone and find(each) is not None]


def find(found: Snapshot) -> managed_block.Block | None:
    """Return the block in a file. Raises Problem `block-damaged`, which says where and how to mend it."""
    return managed_block.find(found.content or b"", str(found.path))


def _our_cache(now: Situation) -> str | None:
    """The SSLStaplingCache line of our own block, if that is the one in force."""
    cache = now.tree.last("SSLStaplingCache")
    return f'SSLStaplingCache "{cache.value}"' if cache and cache.managed else None


def _is_on(then: ServerState) -> bool:
    return then.stapling.on


def _is_off(then: ServerState) -> bool:
    return not then.stapling.on


def _keeps_all(then: ServerState) -> bool:
    return then.stapling.on and not then.asked_again_count


def _is_shielded(then: ServerState) -> bool:
    """Whether Apache asks our relay and nobody else: one site that asks elsewhere can hold up all of them."""
    return then.stapling.on and next(_asking_elsewhere(then), None) is None


def _asking_elsewhere(then: ServerState) -> Iterator[Directive]:
    """The lines of others that send questions to somebody else, at server level and of sites that staple."""
    line = then.stapling.force_url
    if line is not None and not line.managed:
        yield line
    for vhost in then.vhosts:
        lines = vhost.in_force or {}
        staples, asks = lines.get("SSLUseStapling"), lines.get("SSLStaplingForceURL")
        if staples and is_on(staples) and asks and not asks.managed:
            yield asks


def _safe(path: Path) -> Snapshot | None:
    try:
        return files.snapshot(path)
    except Problem:
        return None


def _distinct(found: Iterable[Snapshot]) -> list[Snapshot]:
    """Two names of one file (a link) are one file."""
    return list({each.path: each for each in reversed(list(found))}.values())[::-1]


def _winning(
    lines: list[str], now: Situation, others: Changes, wanted: Callable[[ServerState], bool]
) -> Changes:
    """The block in as many places as it takes to be the last word; `others` change too, but lose their blocks."""
    early = _existing(now.layout.pre_virtualhost_files) or [
        files.snapshot(now.layout.pre_virtualhost_files[0])
    ]
    late = [each for each in _existing(now.layout.post_virtualhost_files) if now.reads(each.path)]
    for places in (early, _distinct([*early, *late])):
        blocks = tuple(_with_block(each, lines) for each in places)
        here = {each.path for each in places}
        changes = (*blocks, *(each for each in others if each.old.path not in here))
        then = now.foresee(changes)
        if wanted(then) or needs_rebuild(now, changes):
            return changes
    raise _overridden(_last_word(then, wanted))


def _last_word(then: ServerState, wanted: Callable[[ServerState], bool]) -> Directive | None:
    """The line that wins against a block after which it should be as `wanted`."""
    if wanted is _keeps_all:
        return then.stapling.cache
    if wanted is _is_shielded and then.stapling.on:
        return next(_asking_elsewhere(then), None)
    return then.stapling.decided_by


def _existing(paths: Iterable[Path]) -> list[Snapshot]:
    return [each for each in _distinct(map(files.snapshot, paths)) if each.content is not None]


def _overridden(late: Directive | None) -> Problem:
    where = (
        f"{late.file} line {late.line} says '{late.text.strip()}'"
        if late
        else "A line of a local template stands"
    )
    return Problem(
        "overridden",
        f"{where} after every place that a block of ours can have, so it would win. "
        "Remove that line, then try again; nothing was touched.",
    )


def _with_block(old: Snapshot, lines: list[str]) -> Change:
    find(old)
    return Change(old, managed_block.apply(old.content or b"", lines))


def _without_block(old: Snapshot) -> Change:
    rest = managed_block.remove(old.content or b"")
    # A file that held nothing but our block, and that is ours by name, goes as it came.
    return Change(old, None if not rest and old.path.name in managed_block.OF_SITES else rest)


def _says_the_same(change: Change) -> bool:
    """Whether only comments differ: who, when and why."""
    old, new = change.old.content, change.content
    return old is not None and new is not None and _without_comments(old) == _without_comments(new)


def _without_comments(content: bytes) -> list[bytes]:
    return [line for line in content.splitlines() if not line.startswith(b"#")]


def _turns_on(found: Snapshot) -> bool:
    block = find(found)
    return block is not None and _SAYS_ON.search(block.body) is not None


def _override_changes(lines: list[str], now: Situation) -> Changes:
    """A file of our own beside every userdata file that turns sites on; it is read after it."""
    single = [s for s in turned_on(now.server.endpoints) if s.override_directory]
    wanted = sorted(
        {s.override_directory / managed_block.OVERRIDE_NAME for s in single if s.override_directory}
    )
    changes = tuple(_with_block(files.snapshot(path), lines) for path in wanted)
    names = {s.name for s in single}
    for vhost in now.foresee(changes).vhosts if changes else ():
        if vhost.name in names and vhost.stapling and is_on(vhost.stapling):
            raise _overridden(vhost.stapling)
    return changes
