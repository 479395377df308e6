"""What this server is now: its configuration, what holds for stapling, and its endpoints. Worked out here only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path

from ocsp_stapling.apache.conditions import Asked, Binary
from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.layout import (
    Layout,
    NativeSwitch,
    read_layout,
    read_native_switch,
    vhost_template_line,
)
from ocsp_stapling.apache.managed_block import relay_port
from ocsp_stapling.apache.stapling import StaplingState, asked_again, effective
from ocsp_stapling.apache.tree import ConfigTree, Directive, Place
from ocsp_stapling.problem import not_root
from ocsp_stapling.server.names import host_name
from ocsp_stapling.server.sites import Endpoint, host_of, matching, take
from ocsp_stapling.server.vhosts import TlsVhost, read_owners, tls_vhosts

Contents = Mapping[Path, bytes | None]
"""File contents to read the configuration with; None: the file is absent."""


@dataclass(frozen=True)
class ServerState:
    """One reading of this server's configuration. Endpoints are worked out when they are first asked for."""

    layout: Layout
    tree: ConfigTree
    native: NativeSwitch
    """WHM's own switch."""
    binary: Asked = field(repr=False)
    """What the httpd program says of itself; it is asked once, and only if something hangs on it."""
    state_directory: Path | None = None
    """Where certificates are remembered; None: not at all."""
    now: datetime | None = None

    @cached_property
    def stapling(self) -> StaplingState:
        """What is in force at server level, and which line of which origin decided it."""
        return effective(self.tree, self.native)

    @cached_property
    def vhosts(self) -> tuple[TlsVhost, ...]:
        """What Apache serves over TLS, without what the certificates say."""
        return tls_vhosts(self.tree, read_owners())

    @cached_property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every endpoint, in the order of the configuration."""
        return take(self.vhosts, self.tree.listen, self.state_directory, self.now)

    @property
    def shielded(self) -> bool:
        """Whether Apache asks our own relay: the line that sends it there is in our block."""
        line = self.stapling.force_url
        return line is not None and line.managed and self.stapling.on

    @property
    def relay_port(self) -> int:
        """The port of our own relay to which a block of ours sends Apache, 0 if none does."""
        line = self.stapling.force_url
        return relay_port(line.text) if line is not None and line.managed else 0

    @property
    def asking_count(self) -> int:
        """How many certificates Apache needs a staple for when stapling is on."""
        own = (one for one in self.endpoints if one.stapling or one.override is None)
        return len({each.file for one in own for each in one.certificates if each.can_staple})

    @cached_property
    def asked_again_count(self) -> int:
        """Of how many certificates the staple cache loses the staple before it is next wanted."""
        return asked_again(self.asking_count, self.stapling.cache_places)

    @property
    def loses_staples(self) -> bool:
        """Whether stapling is on with a cache that is too small for it."""
        return self.stapling.on and self.asked_again_count > 0

    @property
    def worker(self) -> str:
        """The account of Apache's workers, "" if the configuration names none."""
        return self.tree.user or ""

    def written_from(self, line: Directive) -> Place | None:
        """Return the administrator's own template from which a line of httpd.conf is written; None if it is not.

        An edit of httpd.conf would be lost at the next rebuild; one of the template stays.
        """
        return self.template_line(line.text, line.vhost) if line.file == self.tree.conf else None

    def template_line(self, text: str, vhost: Place | None) -> Place | None:
        """Return where a line of httpd.conf with this text comes from, in which virtual host it may stand."""
        site = next((one for one in self.vhosts if one.place == vhost), None) if vhost else None
        of_site = vhost_template_line(text, site.owner, site.name) if site else None
        return of_site or self.native.own_line(text)

    def place_of(self, line: Directive) -> str:
        """Return where a line is to be edited, as `FILE:LINE`."""
        own = self.written_from(line)
        return f"{own.file}:{own.line}" if own else f"{line.file}:{line.line}"

    def foresee(self, contents: Contents) -> ServerState:
        """Return the server as it would be with these file contents."""
        return replace(self, tree=read_config(self.layout, self.binary, contents))

    def called(self, name: str) -> Endpoint | None:
        """Return the endpoint of that name, else of that alias, which anybody may add; one that can staple first."""
        found = matching(self.endpoints, name)
        return _best([one for one in found if one.name == host_name(name)] or found)

    def asking(self, responder: str) -> Endpoint | None:
        """Return an endpoint that asks this URL or host, so that there is a certificate to ask about."""
        return _best(
            [one for one in self.endpoints if any(responder in _names(url) for url in one.responders)]
        )

    def require_readable(self) -> None:
        """Raise Problem `not-root` where another user than root cannot read the includes."""
        if os.geteuid() != 0 and any(found.code == "include-unreadable" for found in self.tree.findings):
            raise not_root()


def look(
    state_directory: Path | None = None, *, now: datetime | None = None, layout: Layout | None = None
) -> ServerState:
    """Return the server as its files say now. Raises Problem `no-cpanel`, `bad-paths-conf` or `no-httpd-conf`.

    The configuration is read with what the httpd binary says of itself and how it was started, so that its
    conditions can be judged.
    """
    here = layout or read_layout()

    @cache
    def binary() -> Binary:
        # Running programs takes long to load, and is rarely needed.
        from ocsp_stapling.apache import processes
        from ocsp_stapling.apache.httpd import Httpd

        running = processes.parent(here.run_dir / "httpd.pid", here.httpd)
        return Httpd(here).binary(processes.defines(running) if running else None)

    tree = read_config(here, binary)
    return ServerState(here, tree, read_native_switch(here.ea4_conf), binary, state_directory, now)


def _best(endpoints: Sequence[Endpoint]) -> Endpoint | None:
    return next((one for one in endpoints if one.can_staple), next(iter(endpoints), None))


def _names(url: str) -> set[str]:
    host = host_of(url).rpartition("@")[2]
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return {url, url.rstrip("/"), f"{url}/", host, name.strip("[]")}
