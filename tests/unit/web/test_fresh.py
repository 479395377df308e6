"""An old picture is taken anew when a page is opened, once, and an old verdict is told as the past."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ocsp_stapling.change.checking import CheckState
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.problem import Problem
from tests.unit.web import made
from tests.unit.web.asking import get
from tests.unit.web.conftest import Shown, Started


def old(minutes: float) -> Evidence:
    return replace(made.healthy(), taken_at=datetime.now(UTC) - timedelta(minutes=minutes))


@pytest.mark.parametrize("query", ["", "p=guide"])
def test_opening_a_page_has_a_picture_older_than_two_minutes_taken_anew(
    showing: Shown, started: Started, query: str
) -> None:
    assert "A check is running" not in get(showing(old(1)), query).text
    assert started.count == 0
    app = showing(old(3))
    text = get(app, query).text
    assert started.count == 1
    assert "A check is running" in text
    assert "data-ost-poll" in text
    assert '<noscript><meta http-equiv="refresh"' in text  # it goes on without scripts, too


def test_after_a_change_the_picture_is_taken_anew_however_young(
    showing: Shown, started: Started, tmp_path: Path
) -> None:
    app = showing(old(0.2))
    with Journal(tmp_path) as journal:
        begun = journal.begin("off", "root (WHM)", "", {"stapling_then": "off", "changes": [{}]}, [])
        assert "A check is running" not in get(app, "").text  # not in the middle of a change
        journal.finish(begun.id, "done", {})
    get(app, "")
    assert started.count == 1


def test_a_check_that_fails_is_told_and_not_begun_by_every_look(showing: Shown, started: Started) -> None:
    started.becomes = CheckState(False, problem=Problem("x", "Apache's configuration cannot be read."))
    app = showing(old(3))
    for _ in range(5):
        text = get(app, "").text
    assert "failed. Apache&#39;s configuration cannot be read." in text
    assert "data-ost-poll" not in text
    assert started.count == 1


def test_before_the_first_check_nothing_begins_by_itself(showing: Shown, started: Started) -> None:
    assert "Check now" in get(showing(None), "").text
    assert started.count == 0


@pytest.mark.parametrize(
    ("minutes", "kicker", "tone"),
    [(4, "All is well", "good"), (20, "20 minutes ago: all was well", "calm")],
)
def test_an_old_verdict_is_grey_and_past(
    showing: Shown, started: Started, minutes: int, kicker: str, tone: str
) -> None:
    text = get(showing(old(minutes)), "").text
    assert f'<p class="ost-kicker">{kicker}</p>' in text
    assert f'<section class="ost-verdict ost-{tone}"' in text
    assert f"data-ost-age>{minutes} minutes ago</time>" in text
    present = tone == "good"  # an old check's sentence is told as what it said
    assert ("The check said then: All 3 responders answer rightly" in text) is not present
    assert ("Nothing needs to be done" in text) is present
    assert started.count == 1


def test_every_kicker_has_a_past(showing: Shown) -> None:
    for name, evidence in made.everything().items():
        if "hostile" in name:
            continue
        text = get(showing(replace(evidence, taken_at=made.NOW - timedelta(hours=3))), "").text
        kicker = text.partition('<p class="ost-kicker">')[2].partition("<")[0]
        assert kicker.startswith("3 hours ago: "), name
        assert any(word in kicker for word in (" was ", " were ", " failed", " had ")), kicker
        assert "Nothing needs to be done" not in text, f"{name}: hours ago that was true"
