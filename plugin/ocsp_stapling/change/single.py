"""Stapling off for one virtual host alone: our block in a file of its own among the site's userdata includes.

One customer's certificate can make everybody wait; it must not cost everybody's staples. cPanel puts
`Include .../userdata/ssl/2_4/ACCOUNT/SITE/*.conf` into a virtual host when it writes httpd.conf while such a file
exists (cPanel's documentation, "Modify Apache Virtual Hosts with Include Files").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ocsp_stapling import files
from ocsp_stapling.apache import managed_block
from ocsp_stapling.change.model import Change, Situation
from ocsp_stapling.change.note import turned_off
from ocsp_stapling.change.request import ACCOUNT, ChangeRequest, called
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.names import host_name
from ocsp_stapling.server.sites import Endpoint, matching
from ocsp_stapling.server.state import ServerState

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
DEPTH = 4
"""Directories below userdata: `ssl/2_4/ACCOUNT/SITE`."""


def endpoints(server: ServerState, site: str) -> tuple[Endpoint, ...]:
    """Return the endpoints of one virtual host's name: by its own name, else of the first that has the alias.

    Of an account (`@NAME`): those of its sites whose certificates name a responder, or may for all that is known.
    """
    if site.startswith(ACCOUNT):
        return tuple(
            one for one in server.endpoints if one.owner == site[1:] and (one.responder or one.problem)
        )
    found = matching(server.endpoints, site)
    own = tuple(one for one in found if one.name == host_name(site))
    return own or tuple(one for one in found if one.name == found[0].name)


def is_off(server: ServerState, site: str) -> bool:
    """Return whether stapling is off at every endpoint of that name."""
    return not any(one.stapling for one in endpoints(server, site))


def off(request: ChangeRequest, now: Situation) -> tuple[Change, ...]:
    """Return the changes after which stapling is off for the site alone; () if a block of ours says so already.

    Raises Problem `no-such-site`, `site-without-include`, `overridden`, `block-damaged`.
    """
    done = turned_off(now.server)
    changes = tuple(
        change
        for name, found in _by_name(_known(now, request.site)).items()
        if name not in done or any(one.stapling for one in found)
        for change in _blocks(request, now, name, found)
    )
    then = now.foresee(changes)
    late = next((one.override for one in endpoints(then, request.site) if one.stapling), None)
    if late and not needs_rebuild(then, changes):
        raise Problem(
            "overridden",
            f"{late.file} line {late.line} says '{late.text.strip()}' after the place that our block can have, so "
            "it would win. Remove that line, then try again; nothing was touched.",
        )
    return changes


def _by_name(found: Sequence[Endpoint]) -> dict[str, list[Endpoint]]:
    by_name: dict[str, list[Endpoint]] = {}
    for one in found:
        by_name.setdefault(one.name, []).append(one)
    return by_name


def _blocks(
    request: ChangeRequest, now: Situation, name: str, found: Sequence[Endpoint]
) -> tuple[Change, ...]:
    lines = managed_block.site_block(name, request.who, request.reason, request.now)
    old = [files.snapshot(path) for path in _places(now, found)]
    return tuple(Change(each, managed_block.apply(each.content or b"", lines)) for each in old)


def on(request: ChangeRequest, now: Situation) -> tuple[Change, ...]:
    """Return the changes that take our block away from the site. Raises Problem `no-such-site`, `not-off-alone`."""
    found = _known(now, request.site)
    old = [
        each
        for path in _places(now, found)
        if managed_block.BEGIN in ((each := files.snapshot(path)).content or b"")
    ]
    if not old and not is_off(now.server, request.site):
        return ()
    if not old:
        line = found[0].decided_by
        where = f"{line.file} line {line.line}" if line else "Apache's default"
        raise Problem(
            "not-off-alone",
            f"This plugin did not turn stapling off for {called(request.site)} alone; {where} keeps it off. "
            "Nothing was touched.",
        )
    return tuple(without(each) for each in old)


def without(old: files.Snapshot) -> Change:
    """Return the change that takes our block out of a file of ours; the file goes if nothing is left of it."""
    return Change(old, managed_block.remove(old.content or b"") or None)


def needs_rebuild(then: ServerState, changes: Sequence[Change]) -> bool:
    """Return whether httpd.conf does not include the site's directory yet, so that it must be written anew."""
    ours = [c for c in changes if c.old.path.name == managed_block.SITE_NAME and c.content]
    return any(not then.tree.reads(c.old.path) for c in ours)


def _known(now: Situation, site: str) -> tuple[Endpoint, ...]:
    found = endpoints(now.server, site)
    if not found:
        what = f"no TLS site called {site[:100]}"
        if site.startswith(ACCOUNT):
            what = f"no TLS site of account {site[1:100]} that names a responder"
        raise Problem("no-such-site", f"Apache serves {what}; nothing was touched.")
    return found


def _places(now: Situation, found: Sequence[Endpoint]) -> list[Path]:
    """Our file in the include directory of every virtual host of the site, each once."""
    return list(dict.fromkeys(_directory(now, one) / managed_block.SITE_NAME for one in found))


def _directory(now: Situation, one: Endpoint) -> Path:
    userdata = now.layout.userdata
    vhost = next((each for each in now.tree.vhosts if each.place == one.place), None)
    for file in vhost.included if vhost else ():
        if file.is_relative_to(userdata) and len(file.relative_to(userdata).parts) == DEPTH + 1:
            return file.parent
    if one.owner and _PLAIN.fullmatch(one.owner) and _PLAIN.fullmatch(one.name) and one.place:
        return userdata / "ssl" / "2_4" / one.owner / one.name
    raise Problem(
        "site-without-include",
        f"{one.name} belongs to no cPanel account, so cPanel has no include for it alone and nothing was touched. "
        "Have its certificate issued anew, or turn stapling off for all sites.",
    )
