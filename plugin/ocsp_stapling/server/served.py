"""What this server serves over TLS, and as whom Apache's workers run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.httpd import Httpd
from ocsp_stapling.apache.layout import read_layout
from ocsp_stapling.apache.stapling import effective
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import sites as inventory
from ocsp_stapling.server.sites import Site
from ocsp_stapling.server.vhosts import read_owners, tls_vhosts


@dataclass(frozen=True)
class Served:
    """The TLS sites of this server, and the account of Apache's workers ("" if the configuration names none)."""

    sites: tuple[Site, ...] = ()
    worker: str = ""

    def called(self, name: str) -> Site | None:
        """Return the site of that name or alias, one that can staple first."""
        return _best(inventory.matching(self.sites, name))

    def asking(self, responder: str) -> Site | None:
        """Return a site whose responder is this URL or host, so that there is a certificate to ask about."""
        return _best([site for site in self.sites if site.responder and responder in _names(site.responder)])


def look(state_directory: Path) -> Served:
    """Return what Apache serves. Raises Problem `no-cpanel`, `not-root` or what reading the configuration raises."""
    layout = read_layout()
    tree = read_config(layout, Httpd(layout).binary())
    if os.geteuid() != 0 and any(finding.code == "include-unreadable" for finding in tree.findings):
        raise Problem("not-root", "Only root can read Apache's includes: run this as root or with sudo.")
    vhosts = tls_vhosts(tree, read_owners())
    return Served(inventory.take(vhosts, effective(tree), state_directory), tree.user or "")


def _best(sites: Sequence[Site]) -> Site | None:
    return next((site for site in sites if site.can_staple), next(iter(sites), None))


def _names(url: str) -> set[str]:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return {url, url.rstrip("/"), f"{url}/", host}
