"""Gathers what a plan is made from: files, effective configuration, sites, processes, who owns port 443."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.apache.httpd import Examination, Httpd
from ocsp_stapling.apache.layout import Layout, local_templates, read_layout
from ocsp_stapling.apache.tree import ConfigTree
from ocsp_stapling.change.model import Situation
from ocsp_stapling.change.running import Apache
from ocsp_stapling.change.whm_restart import Patience
from ocsp_stapling.host.routes import own_addresses
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.front import in_front
from ocsp_stapling.server.state import Contents, ServerState, look
from ocsp_stapling.settings import Settings


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

    def read(self) -> ServerState:
        """Return the server as its files say now."""
        return look(layout=self.layout)


@dataclass(frozen=True)
class Workplace:
    """A situation, and the means to act in it."""

    situation: Situation
    means: Means


def find_means(settings: Settings) -> Means:
    """Return the means to act. Raises Problem `no-cpanel` or `bad-paths-conf`."""
    layout = read_layout()
    httpd = Httpd(layout)
    server = _server(layout, None)
    return _means(settings, layout, httpd, server.tree if server else None)


def survey_server(settings: Settings) -> Workplace:
    """Return the server as it is now, for a plan.

    Raises Problem: `no-cpanel`, `config-broken` (httpd refuses its files even now), `no-httpd-conf`.
    """
    layout = read_layout()
    httpd = Httpd(layout)
    # A plan that is only looked at leaves no trace: what was read is remembered where we have a place already.
    place = settings.state_directory if settings.state_directory.is_dir() else None
    with ThreadPoolExecutor(1) as beside:
        examination = beside.submit(httpd.examine)  # takes as long as all the rest
        server = _server(layout, place)
        if server:
            _ = server.endpoints
        examined = examination.result()
    _refuse_broken(examined)
    if server is None:
        raise Problem("no-httpd-conf", f"Apache's configuration {layout.conf} cannot be read.")
    means = _means(settings, layout, httpd, server.tree)
    situation = Situation(
        server=server,
        simulate=_remembering(server.foresee),
        modules=examined.modules,
        front=in_front(layout, server.tree).server.value,
        workers=len(means.apache.mark().workers),
        local_templates=tuple(map(str, local_templates())),
        linked=linked_files(server.tree),
        own=frozenset(map(str, own_addresses())),
    )
    return Workplace(situation, means)


def _remembering(read: Callable[[Contents], ServerState]) -> Callable[[Contents], ServerState]:
    """A plan looks at the same future more than once, and reading thousands of sites takes its time."""
    known: dict[frozenset[tuple[Path, bytes | None]], ServerState] = {}

    def simulate(contents: Contents) -> ServerState:
        key = frozenset(contents.items())
        if key not in known:
            known[key] = read(contents)
        return known[key]

    return simulate


def _means(settings: Settings, layout: Layout, httpd: Httpd, tree: ConfigTree | None) -> Means:
    chosen = settings.switch
    patience = Patience(quick=chosen.quick_handshake_seconds, api=chosen.whm_restart_seconds)
    return Means(layout, Apache(layout.httpd, layout.conf, httpd.pid_file(tree)), httpd, patience)


def _server(layout: Layout, place: Path | None) -> ServerState | None:
    try:
        return look(place, layout=layout)
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
