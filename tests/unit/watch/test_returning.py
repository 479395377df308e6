"""The return can be chosen after the fact, and says how near it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ocsp_stapling.apache import managed_block
from ocsp_stapling.change.journal import FileRecord, Journal
from ocsp_stapling.check.incident.words import clock
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings, WatchSettings
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.policy import REMEMBERED, State
from ocsp_stapling.watch.returning import choose, standing

NOW = 1_800_000_000.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), state_directory=tmp_path)


def change(settings: Settings, then: str, *, site: str = "", minutes: float = -30) -> str:
    with Journal(settings.state_directory, clock=lambda: NOW + minutes * 60) as journal:
        plan = {"stapling_then": then, "return_when_healthy": False, "site": site or None}
        made = journal.begin("off", "root", "", plan, ())
        journal.finish(made.id, "done", {})
    return made.id


def passes(settings: Settings, healthy: int, *, ago: float = 60) -> None:
    with Memory(settings.state_directory) as memory:
        memory.remember(REMEMBERED, State(last_pass=NOW - ago, healthy_passes=healthy).as_json())


def test_it_is_armed_and_disarmed_after_the_fact_and_the_history_says_by_whom(settings: Settings) -> None:
    off = change(settings, "off")
    assert standing(settings, NOW).armed is False
    choose(settings, armed=True, who="anna")
    passes(settings, 2)
    found = standing(settings, NOW)
    assert (found.armed, found.progress) == (True, "healthy 2 of 3")
    with Journal(settings.state_directory) as journal:
        operation = journal.operation(off)
        assert operation is not None
        assert operation.plan["return_when_healthy"] is True
        assert [step.detail for step in journal.steps(off)] == [{"armed": True, "who": "anna"}]
    choose(settings, armed=False, who="anna")
    assert standing(settings, NOW).armed is False


def test_a_single_site_s_change_does_not_stand_between(settings: Settings) -> None:
    change(settings, "off")
    change(settings, "off", site="a.test", minutes=-20)
    choose(settings, armed=True, who="anna")
    assert standing(settings, NOW).armed is True


def test_of_looks_that_lead_to_nothing_no_progress_is_told(settings: Settings) -> None:
    change(settings, "off")
    choose(settings, armed=False, who="anna")
    assert standing(settings, NOW).sentence == "Stapling stays off until somebody turns it on."


@pytest.mark.parametrize("ago", [3 * 3600.0, 45 * 60.0])
def test_looks_long_ago_or_before_the_switch_do_not_count(settings: Settings, ago: float) -> None:
    change(settings, "off")
    passes(settings, 3, ago=ago)
    assert standing(settings, NOW).progress == "healthy 0 of 3"


def test_where_stapling_was_not_turned_off_here_there_is_nothing_to_choose(settings: Settings) -> None:
    assert standing(settings, NOW).armed is None
    change(settings, "on")
    with pytest.raises(Problem, match="No change in this plugin's history keeps stapling off"):
        choose(settings, armed=True, who="anna")


@pytest.mark.parametrize(("configured", "armed"), [("always", True), ("never", False)])
def test_what_is_configured_holds(settings: Settings, configured: str, armed: bool) -> None:
    fixed = replace(settings, watch=WatchSettings(return_by_itself=configured))
    change(fixed, "off")
    assert (standing(fixed, NOW).armed, standing(fixed, NOW).fixed) == (armed, True)
    choose(fixed, armed=armed, who="anna")
    with pytest.raises(Problem, match="return_by_itself"):
        choose(fixed, armed=not armed, who="anna")


def test_a_return_that_is_put_off_says_until_when(settings: Settings) -> None:
    change(settings, "off")
    choose(settings, armed=True, who="anna")
    for later, told in (
        (600.0, f"3 of 3 looks; not before {clock(NOW + 600)}, for"),
        (-1.0, "3 of 3 looks."),
    ):
        with Memory(settings.state_directory) as memory:
            state = State(last_pass=NOW - 60, healthy_passes=3, not_before=NOW + later)
            memory.remember(REMEMBERED, state.as_json())
        assert told in standing(settings, NOW).sentence


def test_of_lines_that_were_taken_out_by_hand_no_return_is_promised(settings: Settings) -> None:
    include = settings.state_directory / "include.conf"
    block = managed_block.apply(b"", managed_block.off_block("root", "", datetime.fromtimestamp(NOW, UTC)))
    include.write_bytes(block)
    with Journal(settings.state_directory, clock=lambda: NOW - 60) as journal:
        plan = {"stapling_then": "off", "return_when_healthy": True}
        made = journal.begin("off", "root", "", plan, [FileRecord(include, b"", block)])
        journal.finish(made.id, "done", {})
    assert standing(settings, NOW).armed is True
    include.write_bytes(b"")
    assert standing(settings, NOW).armed is None
