"""Every page as a screen reader and a keyboard meet it: headings in order, named fields, one voice that is polite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from flask import Flask

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
