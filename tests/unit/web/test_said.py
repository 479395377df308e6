"""What pages say in every state: no word of the code, headings called as their tabs, times as people tell them."""

from __future__ import annotations

import html
import re

import pytest

from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.web.pages import _TABS
from tests.unit.web import made
from tests.unit.web.asking import get
from tests.unit.web.conftest import Shown, Started
from tests.unit.web.test_fresh import old
from tests.unit.web.walk import machine as machine
from tests.unit.web.walk import walk

INTERNAL = re.compile(
    r"\b(?:met|meets?|meeting|noisy|"
    + "|".join(one.value for one in Outcome if "-" in one.value)
    + r")\b|\(s\)",
    re.IGNORECASE,
)
READ = ("responders", "authorities", "sites", "ticket", "elsewhere", "rehearsal")
"""Pages that are read or copied from."""


def visible(text: str) -> str:
    """What a page shows, without its markup, codes and commands."""
    text = re.sub(r"(?s)<(code|pre)[ >].*?</\1>|<[^>]+>", " ", text)
    return html.unescape(re.sub(r"\s+", " ", text))


@pytest.mark.parametrize("state", [one for one in made.everything() if one != "hostile"])
def test_no_page_shows_a_word_of_the_code(showing: Shown, machine: str, state: str) -> None:
    for page, text in walk(showing(made.everything()[state]), machine):
        assert INTERNAL.findall(visible(text)) == [], page


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [page[:2] for _, pages in _TABS for page in pages if page[0] != "overview.show"],
)
def test_a_page_is_headed_as_its_tab_is_called(
    showing: Shown, machine: str, endpoint: str, name: str
) -> None:
    assert machine
    app = showing(made.stalling())
    rule = next(one for one in app.url_map.iter_rules() if one.endpoint == endpoint)
    assert f"<h2>{name}</h2>" in get(app, f"p={rule.rule.lstrip('/')}").text


def test_every_time_says_how_long_ago_and_exactly_when(showing: Shown, machine: str) -> None:
    seen = 0
    for page, text in walk(showing(made.stalling()), machine):
        for attributes, words, behind in re.findall(r"(?s)<time ([^>]*)>([^<]*)</time>(.{0,80})", text):
            exactly = 'title="' in attributes or "<br>" in behind
            assert exactly, (page, attributes)
            assert re.search(r"ago$|^in |^just now$", words) or "ost-clock" in attributes, (page, words)
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("page", READ)
def test_a_page_that_is_read_from_has_an_old_picture_taken_anew_and_offers_the_new_one(
    showing: Shown, machine: str, started: Started, page: str
) -> None:
    assert machine
    text = get(showing(old(3)), f"p={page}").text
    assert started.count == 1
    assert "data-ost-offer" in text
    assert "http-equiv" not in text  # nothing is replaced under a reader without scripts either
