"""Who answers visitors on port 443, and whether that is the Apache of this server's sites."""

from __future__ import annotations

from dataclasses import replace

from ocsp_stapling.apache.httpd import Httpd
from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.apache.processes import descends, parent
from ocsp_stapling.apache.tree import ConfigTree
from ocsp_stapling.host.listeners import PortOwner, Server, owner_of


def in_front(layout: Layout, tree: ConfigTree) -> PortOwner:
    """Return who holds port 443; an Apache that is not the one whose parent process is known counts as another."""
    owner = owner_of()
    if owner.server is not Server.HTTPD:
        return owner
    running = parent(Httpd(layout).pid_file(tree), layout.httpd)
    found = [one for one in owner.listeners if one.server is Server.HTTPD]
    if running is None or any(descends(one.pid, running) for one in found):
        return owner
    sentence = (
        f"{owner.sentence} (process {found[0].pid}), while this server's Apache is process {running.pid}"
    )
    return replace(owner, server=Server.OTHER_HTTPD, sentence=sentence)
