"""Every page as a screen reader and a keyboard meet it: headings in order, named fields, one voice that is polite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace

import pytest
from flask import Flask

from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.shield.standing import Standing
from ocsp_stapling.web.pages import sites
from tests.unit.web import made
from tests.unit.web.conftest import Shown
from tests.unit.web.walk import machine as machine
from tests.unit.web.walk import walk

STATES = ("stalling", "off-by-us", "not-applicable")
UNNAMED = {"hidden", "submit"}


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
        self.identities: list[str] = []
        self.labelled_by: list[str] = []
        self.pressed: list[str] = []
        """What each link and button says."""
        self._pressing = False
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
        self.identities += [found["id"]] if "id" in found else []
        self.labelled_by += found.get("aria-labelledby", "").split()
        if tag in ("a", "button"):
            self._pressing = True
            self.pressed.append(found.get("aria-label", ""))

    def handle_endtag(self, tag: str) -> None:
        self._labels -= tag == "label"
        self._pressing = self._pressing and tag not in ("a", "button")

    def handle_data(self, data: str) -> None:
        if self._pressing:
            self.pressed[-1] += data.strip()

    def nameless(self) -> list[dict[str, str]]:
        """The fields that no label belongs to."""
        return [one for one in self.fields if "inside" not in one and one.get("id", "-") not in self.named]


def heard(app: Flask, change: str) -> Iterator[tuple[str, Heard]]:
    """Every page as it is heard."""
    return ((page, Heard(text)) for page, text in walk(app, change))


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


ANSWERING = Standing(True, 3, 3, port=340)
SHIELDS: dict[str, tuple[Evidence, Standing, bool]] = {
    "in force": (made.healthy(), ANSWERING, True),
    "the relay is dead, in an outage": (made.stalling(), replace(ANSWERING, answering=False), True),
    "ready, stapling off": (made.off_by_us(), ANSWERING, False),
    "an answer is missing": (made.healthy(), replace(ANSWERING, held_count=2, missing=("a.example",)), True),
}


@pytest.mark.parametrize("shield", SHIELDS)
def test_shield_incident_and_a_site_turned_off_alone_are_named_and_say_nothing_by_themselves(
    shield: str, showing: Shown, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence, standing, in_force = SHIELDS[shield]
    here = SimpleNamespace(shielded=in_force)
    monkeypatch.setattr("ocsp_stapling.web.pages.shield.keeping.look", lambda _: (here, standing))
    monkeypatch.setattr("ocsp_stapling.web.pages.shield.wished_port", lambda _: 340)
    alone = replace(made.row("alone.example"), tone="off", word="Off", note="turned off alone")
    monkeypatch.setattr(sites, "_rows", lambda: [alone, made.row("b.example")])
    seen = list(walk(showing(evidence), machine))
    told = " ".join(text for _, text in seen)
    for part in (
        'id="ost-shield"',
        "turned off alone",
        *(["incident:</strong>"] if "outage" in shield else []),
    ):
        assert part in told
    for page, found in ((page, Heard(text)) for page, text in seen):
        assert found.live == ["polite"], page
        assert len(found.identities) == len(set(found.identities)), page
        assert set(found.labelled_by) <= set(found.identities), page
        assert all(found.pressed), (page, found.pressed)
        assert all(after - before <= 1 for before, after in pairwise(found.levels)), (page, found.levels)
