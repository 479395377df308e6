"""What is printed can be read: nothing pale, nothing to press, nothing folded away."""

from __future__ import annotations

import re
from pathlib import Path

from ocsp_stapling import web

STATIC = Path(web.__file__).parent / "static"
CSS = re.sub(r"/\*.*?\*/", "", (STATIC / "page.css").read_text(), flags=re.DOTALL)


def rules() -> list[tuple[str, str, str]]:
    """Every rule of the style sheet: the medium it is for ("" for all), its selectors, what it sets."""
    found = []
    for medium, inside, selectors, sets in re.findall(
        r"@media ([^{]+)\{((?:[^{}]*\{[^{}]*\})*)\s*\}|([^{}@]+)\{([^{}]*)\}", CSS
    ):
        if selectors:
            found.append(("", selectors.strip(), sets))
        found += [
            (medium.strip(), each.strip(), given)
            for each, given in re.findall(r"([^{}]+)\{([^{}]*)\}", inside)
        ]
    return found


def test_the_dark_colours_are_for_screens_alone() -> None:
    dark = [(medium, sets) for medium, selectors, sets in rules() if selectors == "#ost.ost-dark"]
    assert [medium for medium, _ in dark] == ["screen"]
    assert "--text" in dark[0][1]


def test_on_paper_there_is_nothing_to_press() -> None:
    gone = {
        one.strip()
        for medium, selectors, sets in rules()
        if medium == "print" and "display: none" in sets
        for one in selectors.split(",")
    }
    assert {"#ost .ost-nav", "#ost .ost-actions", "#ost form", "#ost .ost-next", "#ost .ost-screen"} <= gone
