"""Gathers what a plan is made from: files, effective configuration, sites, processes, who owns port 443."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.httpd import Examination, Httpd
from ocsp_stapling.apache.layout import Layout, read_layout
from ocsp_stapling.apache.native import local_templates, read_native_switch
from ocsp_stapling.apache.tree import ConfigTree, VirtualHost
from ocsp_stapling.change.model import Contents, PlannedSite, Situation, name_of
from ocsp_stapling.change.restart import Apache, Patience
from ocsp_stapling.host import listeners
from ocsp_stapling.host.routes import own_addresses
from ocsp_stapling.ocsp.staple import Door
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.certificate_files import CertificateFiles, Pair, Reading
from ocsp_stapling.settings import Settings

_HTTPS = 443


@dataclass(frozen=True)
class Means:
    """What is needed to act on this server, whatever state its configuration is in."""

    layout: Layout
    apache: Apache
    httpd: Httpd
    patience: Patience

    def configtest(self) -> str:
        """Return "" if httpd accepts its files now, else its own words."""
        test = self.httpd.configtest()
        return "" if test.ok else test.message or "httpd gave no reason."

    def read(self, contents: Contents | None = None) -> ConfigTree:
        """Return the configuration as the files say now, or as it would be with these file contents."""
        return read_config(self.layout, self.httpd.binary(), contents)


@dataclass(frozen=True)
class Surroundings:
    """A situation, and the means to act in it."""

    situation: Situation
    means: Means


def find_means(settings: Settings) -> Means:
    """Return the means to act. Raises Problem `no-cpanel` or `bad-paths-conf`."""
    layout = read_layout()
    httpd = Httpd(layout)
    return _means(settings, layout, httpd, _tree(layout, httpd))


def survey_server(settings: Settings) -> Surroundings:
    """Return the server as it is now, for a plan.

    Raises Problem: `no-cpanel`, `config-broken` (httpd refuses its files even now), `no-httpd-conf`.
    """
    layout = read_layout()
    httpd = Httpd(layout)
    with ThreadPoolExecutor(1) as beside:
        examination = beside.submit(httpd.examine)  # takes as long as all the rest
        tree = _tree(layout, httpd)
        sites = _sites(tree, settings) if tree else ()
        examined = examination.result()
    _refuse_broken(examined)
    if tree is None:
        raise Problem("no-httpd-conf", f"Apache's configuration {layout.conf} cannot be read.")
    means = _means(settings, layout, httpd, tree)
    situation = Situation(
        layout=layout,
        tree=tree,
        simulate=_remembering(means.read),
        sites=sites,
        modules=examined.modules,
        native_switch="On" if read_native_switch(layout.ea4_conf).on else "Off",
        front=listeners.owner_of(_HTTPS).server.value,
        workers=len(means.apache.mark().workers),
        local_templates=tuple(map(str, local_templates())),
        linked=linked_files(tree),
    )
    return Surroundings(situation, means)


def _sites(tree: ConfigTree, settings: Settings) -> tuple[PlannedSite, ...]:
    # A plan that is only looked at leaves no trace: what was read is remembered where we have a place already.
    place = settings.state_directory if settings.state_directory.is_dir() else None
    return planned_sites(tree, frozenset(map(str, own_addresses())), place)


def _remembering(read: Callable[[Contents], ConfigTree]) -> Callable[[Contents], ConfigTree]:
    """A plan looks at the same future more than once, and reading thousands of sites takes its time."""
    known: dict[frozenset[tuple[Path, bytes | None]], ConfigTree] = {}

    def simulate(contents: Contents) -> ConfigTree:
        key = frozenset(contents.items())
        if key not in known:
            known[key] = read(contents)
        return known[key]

    return simulate


def _means(settings: Settings, layout: Layout, httpd: Httpd, tree: ConfigTree | None) -> Means:
    chosen = settings.switch
    patience = Patience(quick=chosen.quick_handshake_seconds, api=chosen.whm_restart_seconds)
    return Means(layout, Apache(layout.httpd, layout.conf, _pid_file(layout, httpd, tree)), httpd, patience)


def _pid_file(layout: Layout, httpd: Httpd, tree: ConfigTree | None) -> Path:
    """Where Apache writes its pid: as configured (relative to ServerRoot or the run directory), else compiled in."""
    configured = tree.pid_file if tree else None
    known = [configured, layout.run_dir / configured.name] if configured else [layout.run_dir / "httpd.pid"]
    found = next((path for path in known if path and path.exists()), None)
    if found or configured:
        return found or known[0]
    compiled = httpd.default_pid_file()
    return compiled if compiled and compiled.exists() else known[0]


def _tree(layout: Layout, httpd: Httpd) -> ConfigTree | None:
    try:
        return read_config(layout, httpd.binary())
    except Problem:
        return None


def _refuse_broken(examined: Examination) -> None:
    if not examined.ok:
        raise Problem(
            "config-broken",
            "Apache does not accept its present configuration, so nothing was touched: a restart would end Apache. "
            "Mend what httpd names below, then try again.",
            examined.message,
        )


def linked_files(tree: ConfigTree) -> dict[Path, tuple[Path, ...]]:
    """Return the files that httpd reads under another name than their real one, by their real path."""
    found: dict[Path, tuple[Path, ...]] = {}
    parents = {parent: Path(os.path.realpath(parent)) for parent in {path.parent for path in tree.files}}
    for path in dict.fromkeys(tree.files):
        real = path.resolve() if path.is_symlink() else parents[path.parent] / path.name
        if real != path:
            found[real] = (*found.get(real, ()), path)
    return found


def planned_sites(
    tree: ConfigTree, own: frozenset[str] = frozenset(), state_directory: Path | None = None
) -> tuple[PlannedSite, ...]:
    """Return every TLS site with what its certificate says; an unreadable certificate names no responder.

    A site can be met at this server's `own` addresses only (all, if they are not known): a virtual host of an
    address that moved away must not make a change look failed.
    """
    found = [vhost for vhost in tree.vhosts if vhost.engine and vhost.certificates]
    readings = CertificateFiles(state_directory).read(map(_pair, found))
    return tuple(_site(vhost, readings[_pair(vhost)], tree.listen, own) for vhost in found)


def _pair(vhost: VirtualHost) -> Pair:
    return str(vhost.certificates[0]), str(vhost.chain_file or "")


def _site(vhost: VirtualHost, said: Reading, listen: tuple[str, ...], own: frozenset[str]) -> PlannedSite:
    override = vhost.stapling if vhost.stapling and vhost.stapling.value.lower() in ("on", "off") else None
    in_userdata = override is not None and override.file in vhost.included
    here = tuple(each for each in doors(vhost, listen) if not own or each.address in own)
    expired = bool(said.problem) or said.not_after <= time.time()
    responder = _host(said.ocsp_urls[0]) if said.ocsp_urls else ""
    return PlannedSite(name_of(vhost), here, responder, said.must_staple, expired, override, in_userdata)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc or url
    except ValueError:
        return url


def doors(vhost: VirtualHost, listen: tuple[str, ...]) -> tuple[Door, ...]:
    """Return the addresses at which a site can be met; for a wildcard those that Apache listens on."""
    name = vhost.server_name if vhost.server_name and not vhost.server_name.startswith("*") else "localhost"
    found: list[tuple[str, int]] = []
    for host, port in map(_host_and_port, vhost.place.addresses):
        if host in ("*", "_default_", "0.0.0.0", "::"):  # noqa: S104 - what a virtual host says, not a socket
            there = [each for each in map(_host_and_port, listen) if each[1] == port and each[0]]
            found += there or [("127.0.0.1", port)]
        else:
            found.append((host, port))
    met = (Door(address, port, name) for host, port in found if (address := _reachable(host)))
    return tuple(dict.fromkeys(met))


@cache
def _host_and_port(text: str) -> tuple[str, int]:
    """Split `443`, `host`, `host:443` or `[address]:443` (Apache: Listen, <VirtualHost>)."""
    text = text.split()[0] if text.split() else ""
    if text.isdecimal():
        return "", int(text)
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    number = int(port) if port.isdecimal() and 0 < int(port) < 65536 else _HTTPS
    return host.strip("[]"), number


@cache
def _reachable(host: str) -> str:
    """The address to connect to; loopback for an unspecified one, "" for a name (never looked up here)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if not address.is_unspecified:
        return str(address)
    return "127.0.0.1" if address.version == 4 else "::1"
