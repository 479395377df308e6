"""Every page that can be opened, on a server where each has something to show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from ocsp_stapling.apache.stapling import effective
from ocsp_stapling.apache.tree import ConfigTree, Directive
from ocsp_stapling.change.checking import CheckState
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.change.model import Change
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.files import Snapshot
from ocsp_stapling.server import state as server
from ocsp_stapling.server.logs import ErrorLogs
from ocsp_stapling.watch.memory import Memory, Reading
from ocsp_stapling.web.identity import Caller
from ocsp_stapling.web.pages import check, customer, errorlog, picture, plan, sites
from ocsp_stapling.whm.accounts import Visible
from tests.unit.web import made
from tests.unit.web.asking import OPERATOR, VIEWER, get

NO_PAGES = {"live.show", "sites.following", "history.export"}
"""What answers a script or hands out a file."""
CHANGE: dict[str, Any] = {
    "action": "off",
    "who": "root",
    "reason": "",
    "rebuild": False,
    "samples": (),
    "stapling_now": True,
    "stapling_then": False,
    "cache_now": True,
    "cache_then": True,
    "decided_by": None,
    "origin": "template",
    "concerned": tuple(f"s{n}.example" for n in range(9)),
    "must_staple": tuple(f"strict{n}.example" for n in range(5)),
    "overrides": (),
    "front": "httpd",
    "cost": "",
    "warnings": ("Beware.",),
}


def visible(caller: Caller) -> Visible:
    """A viewer's own site, for root everything."""
    own = Visible(frozenset({"site001.sectigo.example"}))
    return Visible(everything=True) if caller.is_operator else own


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server that every page finds something on; returns the change in its history."""
    line = Directive(
        "SSLUseStapling", "On", Path("/etc/a.conf"), 3, None, (), True, False, "SSLUseStapling On"
    )
    tree = ConfigTree(Path("/c"), Path("/etc/apache2"), (), (line,), (), (), (), Path("/u"))
    log = tmp_path / "error_log"
    stamp = time.strftime("%a %b %d %H:%M:%S.000000 %Y")
    log.write_text(f"[{stamp}] [ssl:error] [pid 7:tid 8] AH01941: stapling_renew_response: responder error\n")
    changes = (Change(Snapshot(Path("/etc/new.conf"), None, None), b"SSLUseStapling off\n"),)
    monkeypatch.setattr(
        server, "look", lambda *_: SimpleNamespace(tree=tree, stapling=effective(tree), endpoints=())
    )
    monkeypatch.setattr(errorlog, "error_logs", lambda _here: ErrorLogs((log,), False))
    monkeypatch.setattr(
        plan, "_plan", lambda action, *_: Plan(**(CHANGE | {"action": action}), changes=changes)
    )
    monkeypatch.setattr(sites, "named", lambda name, _visible: made.row(name))
    monkeypatch.setattr(sites, "_rows", lambda: [made.row("a.example"), made.row("b.example")])
    monkeypatch.setattr(
        check, "checks", lambda: SimpleNamespace(state=lambda: CheckState(True, 1, ("asking",)))
    )
    for module in (picture, sites, customer):
        monkeypatch.setattr(module, "visible_to", visible)
    with Memory(tmp_path) as memory:
        memory.add(
            Reading(time.time() - 300, "ca-outage", "stalling", "on", {"http://x 192.0.2.1": ("ok", 9.0)})
        )
    with Journal(tmp_path) as journal:
        begun = journal.begin("off", "root", "they hang", {"stapling_then": "off", "changes": [{}]}, [])
        journal.finish(begun.id, "done", {"sentence": "All quick."})
    return begun.id


def pages(app: Flask, change: str) -> Iterator[str]:
    """Every page that can be opened, by the application's own list of them."""
    filling = {"action": "off", "identity": change}
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint not in NO_PAGES:
            built = rule.build({name: filling[name] for name in rule.arguments})
            assert built is not None
            yield f"p={built[1].lstrip('/')}"


def walk(app: Flask, change: str) -> Iterator[tuple[str, str]]:
    """Every page for root, and those that a viewer may open for one: who opened what, and its text."""
    for query in (
        *pages(app, change),
        "p=no-such-page",
        "p=customer&domain=a.example",
        "p=sites&met=a.example",
    ):
        for caller in (OPERATOR, VIEWER):
            answer = get(app, query, caller)
            expected = {404} if "no-such" in query else {200, 403} if caller is VIEWER else {200}
            assert answer.status_code in expected, (query, answer.text)
            yield f"{query} {caller.user}", answer.text
