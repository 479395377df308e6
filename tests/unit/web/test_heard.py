"""Every page as a screen reader and a keyboard meet it: headings in order, named fields, one voice that is polite."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
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
from ocsp_stapling.web.pages import check, customer_view, errorlog, picture, plan, sites, sites_view
from ocsp_stapling.whm.accounts import Visible
from tests.unit.web import made
from tests.unit.web.asking import OPERATOR, VIEWER, get
from tests.unit.web.conftest import Shown

NO_PAGES = {"live.show", "sites.following", "history.export"}
"""What answers a script or hands out a file."""
STATES = ("stalling", "off-by-us", "not-applicable")
UNNAMED = {"hidden", "submit"}
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
    "sites_affected": 9,
    "must_staple": tuple(f"strict{n}.example" for n in range(5)),
    "overrides": (),
    "front": "httpd",
    "cost": "",
    "warnings": ("Beware.",),
}


def visible(caller: Caller) -> Visible:
    """A viewer's own site, for root everything."""
    own = Visible(frozenset({"user001"}), frozenset({"site001.sectigo.example"}))
    return Visible(everything=True) if caller.is_operator else own


class Heard(HTMLParser):
    """The headings, the fields with what names them, the live regions and what takes the focus out of order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.fields: list[dict[str, str]] = []
        self.named: set[str] = set()
        self.live: list[str] = []
        self.out_of_order: list[str] = []
        self.links: list[str] = []
        self._labels = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "label":
            self._labels += 1
            self.named.add(found.get("for", ""))
        if tag in ("input", "select", "textarea") and found.get("type") not in UNNAMED:
            self.fields.append(found | ({"inside": "label"} if self._labels else {}))
        if "aria-live" in found or found.get("role") in ("status", "alert", "log", "timer"):
            self.live.append(found.get("aria-live", found.get("role", "")))
        if int(found.get("tabindex", "0")) > 0:
            self.out_of_order.append(tag)
        if tag == "a":
            self.links.append(found.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        self._labels -= tag == "label"

    def nameless(self) -> list[dict[str, str]]:
        """The fields that no label belongs to."""
        return [one for one in self.fields if "inside" not in one and one.get("id", "-") not in self.named]


@pytest.fixture(autouse=True)
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
    for module in (picture, sites_view, customer_view):
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


def heard(app: Flask, change: str) -> Iterator[tuple[str, Heard]]:
    """Every page for root, and those that a viewer may open for one."""
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
            yield f"{query} {caller.user}", Heard(answer.text)


@pytest.mark.parametrize("state", STATES)
def test_every_page_has_one_title_and_headings_leave_no_level_out(
    showing: Shown, machine: str, state: str
) -> None:
    for page, found in heard(showing(made.everything()[state]), machine):
        assert found.levels[:1] == [2], page
        assert found.levels.count(2) == 1, (page, found.levels)
        assert all(after - before <= 1 for before, after in pairwise(found.levels)), (page, found.levels)


def test_every_field_has_a_label_and_the_focus_follows_the_text(showing: Shown, machine: str) -> None:
    fields = 0
    for page, found in heard(showing(made.stalling()), machine):
        assert found.nameless() == [], page
        assert found.out_of_order == [], page
        assert found.links[0] == "#ost-content", page
        fields += len(found.fields)
    assert fields > 5


def test_every_page_has_one_voice_and_it_is_polite(showing: Shown, machine: str) -> None:
    for page, found in heard(showing(made.stalling()), machine):
        assert found.live == ["polite"], page
