"""Who decided whether Apache staples is said in the same words on the terminal and on the page."""

from __future__ import annotations

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.cli.output import place_of
from ocsp_stapling.web.words import decided

LINE = {"file": "/x.conf", "line": 3}


@pytest.mark.parametrize("origin", [each for each in Origin if each is not Origin.DEFAULT])
def test_terminal_and_page_say_the_same(origin: Origin) -> None:
    words = place_of(LINE, origin.value).removeprefix("/x.conf:3, ")
    assert words != origin.value
    assert decided(origin) == f"Decided {words}."


def test_where_no_line_decides_both_say_so() -> None:
    assert decided(Origin.DEFAULT) == "No line says it: Apache's default, which is off."
    assert place_of(None, "default") == "no line says it: Apache's default, which is off"


def test_an_origin_of_another_version_is_shown_as_it_is() -> None:
    assert place_of(LINE, "moonlight") == "/x.conf:3, moonlight"
