"""What plans are made from and of: the server as it is, the wish, and the change of each file."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.apache.tree import ConfigTree, Directive, VirtualHost
from ocsp_stapling.files import Snapshot
from ocsp_stapling.ocsp.staple import Door

Contents = Mapping[Path, bytes | None]


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
    """The server as it is now; `simulate` reads the configuration as it would be with other file contents.

    `linked` maps a real path to the other names under which httpd reads it (symbolic links).
    """

    layout: Layout
    tree: ConfigTree
    simulate: Callable[[Contents], ConfigTree]
    sites: tuple[PlannedSite, ...]
    modules: frozenset[str]
    native_switch: str
    front: str
    workers: int
    local_templates: tuple[str, ...] = ()
    linked: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict)

    def reads(self, real: Path) -> bool:
        """Return whether httpd reads the file with this real path, under whatever name."""
        return real in self.linked or self.tree.reads(real)

    def foresee(self, changes: tuple[Change, ...]) -> ConfigTree:
        """Return the configuration as it would be after these changes."""
        contents = {change.old.path: change.content for change in changes}
        names = {other: contents[real] for real in contents for other in self.linked.get(real, ())}
        return self.simulate(contents | names)


@dataclass(frozen=True)
class Wish:
    """What was asked for: `off`, `on` or `undo`, by whom and why, and how far it may go."""

    action: str
    who: str
    reason: str = ""
    with_overrides: bool = False
    write_on: bool = False
    return_when_healthy: bool = False
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


def effective(tree: ConfigTree) -> bool:
    """Return whether stapling is on at server level (the last directive wins; Apache's default is off)."""
    last = tree.last("SSLUseStapling")
    return last is not None and last.value.lower() == "on"


def name_of(vhost: VirtualHost) -> str:
    """Return the name by which a plan knows a virtual host: its server name, else its first address."""
    return vhost.server_name or vhost.place.addresses[0]


def on_off(value: bool) -> str:
    """Return `on` or `off`."""
    return "on" if value else "off"
