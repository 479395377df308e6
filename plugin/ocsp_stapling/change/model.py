"""What plans are made from and of: the server as it is, and the change of each file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.apache.tree import ConfigTree
from ocsp_stapling.files import Snapshot
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.server.state import Contents, ServerState


@dataclass(frozen=True)
class Situation:
    """The server as it is now; `simulate` tells it as it would be with other file contents.

    `linked` maps a real path to the other names under which httpd reads it (symbolic links); `own` are this
    server's addresses, empty if they are not known.
    """

    server: ServerState
    simulate: Callable[[Contents], ServerState]
    modules: frozenset[str]
    front: str
    workers: int
    local_templates: tuple[str, ...] = ()
    linked: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()

    @property
    def layout(self) -> Layout:
        """Where the files are."""
        return self.server.layout

    @property
    def tree(self) -> ConfigTree:
        """The configuration as it is."""
        return self.server.tree

    @property
    def apache_in_front(self) -> bool:
        """Whether visitors reach Apache itself, as far as anybody can see."""
        return not self.front or Server(self.front).is_apache

    @property
    def front_name(self) -> str:
        """Who answers on port 443, in words."""
        return Server(self.front).name_for_people

    def reads(self, real: Path) -> bool:
        """Return whether httpd reads the file with this real path, under whatever name."""
        return real in self.linked or self.tree.reads(real)

    def foresee(self, changes: tuple[Change, ...]) -> ServerState:
        """Return the server as it would be after these changes."""
        contents = {change.old.path: change.content for change in changes}
        names = {other: contents[real] for real in contents for other in self.linked.get(real, ())}
        return self.simulate(contents | names)


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


def on_off(value: bool) -> str:
    """Return `on` or `off`."""
    return "on" if value else "off"
