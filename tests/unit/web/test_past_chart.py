"""The past drawn: every day and every incident has its place, its tone and its words."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

from ocsp_stapling.check.incident import Incident, Wait
from ocsp_stapling.watch.memory import DAY, Memory, Tally
from ocsp_stapling.watch.outages import Reading
from ocsp_stapling.web.pages.past_chart import DAYS, incidents_chart, strip
from tests.unit.web import made
from tests.unit.web.asking import get
from tests.unit.web.conftest import Shown

NOW = 20_000 * DAY + 3600.0
TODAY = 20_000


def test_a_strip_has_thirty_days_with_today_last_and_days_without_a_look_grey() -> None:
    found = strip(
        {TODAY: Tally(4, 4), TODAY - 1: Tally(300, 299), TODAY - 2: Tally(4, 1), TODAY - 90: Tally(1, 0)}, NOW
    )
    assert [cell.tone for cell in found.cells] == ["calm"] * 27 + ["bad", "warn", "good"]
    assert (
        found.words == "3 days with looks, 2 days with a failure, the worst 2024-10-02: 25 % of 4 looks good."
    )
    assert sorted(day for day, _ in found.failures) == ["2024-10-02", "2024-10-03"]
    assert found.cells[-1].words == "2024-10-04: 100 % of 4 looks good"


def incident(days_ago: float, hours: float | None, wait: float | None) -> Incident:
    began = NOW - days_ago * DAY
    ended = None if hours is None else began + hours * 3600
    longest = Wait(wait, began) if wait else None
    hit = began if wait else None
    return Incident(f"i{days_ago}", began, "check", began, ended or NOW, hit=hit, wait=longest, ended=ended)


def test_incidents_are_as_wide_as_long_and_as_high_as_their_waits() -> None:
    chart = incidents_chart([incident(1, None, 12), incident(10, 48, 3), incident(20, 0.01, None)], [], NOW)
    assert chart is not None
    going_on, long, short = chart.bouts
    assert going_on.x + going_on.width <= 100
    assert going_on.height > long.height > short.height > 0
    assert long.width > short.width >= 0.8
    assert (going_on.tone, short.tone) == ("bad", "warn")
    assert "visitors waited up to 12 s in the worst" in chart.words
    assert [row.lasted for row in chart.table] == ["24 hours, and goes on", "2 days", "moments"]
    assert chart.table[2].wait == "nobody was seen to wait"


def test_incidents_older_than_the_chart_are_left_out() -> None:
    assert incidents_chart([incident(DAYS + 5, 24, 3)], [], NOW) is None
    assert incidents_chart([incident(DAYS + 5, 24 * 10, 3)], [], NOW) is not None


def test_the_history_draws_strips_and_incidents_with_tables_behind(showing: Shown, tmp_path: Path) -> None:
    evidence = made.stalling()
    with Memory(tmp_path) as memory:
        for number, outcome in enumerate(("refused", "ok", "ok")):
            addresses = {f"{evidence.responders[0].url} 192.0.2.1": (outcome, 9.0)}
            memory.add(Reading(time.time() - 86400 * (2 - number), "healthy", "none", "on", addresses))
    text = get(showing(replace(evidence)), "p=history").text
    assert text.count('<svg class="ost-strip"') == 1
    assert "3 days with looks, 1 day with a failure, the worst" in text
    assert re.search(r'aria-label="1 incident in 30 days; visitors waited more than 3.5 s in the worst', text)
    assert text.count("as a table</summary>") == 2
