"""The relay is there before a block sends Apache to it, and goes only after that block is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings
from ocsp_stapling.shield import keeping, service
from ocsp_stapling.shield.following import followed
from ocsp_stapling.shield.standing import wish, wished_port

Steps = list[str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_directory=tmp_path)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What the relay was told, in order."""
    told: Steps = []
    monkeypatch.setattr(service, "start", lambda port: told.append(f"start {port}"))
    monkeypatch.setattr(service, "stop", lambda: told.append("stop"))
    monkeypatch.setattr(keeping, "refresh_now", lambda *_: told.append("refresh"))
    return told


def test_it_answers_and_holds_what_it_can_before_the_block_is_written(
    settings: Settings, steps: Steps
) -> None:
    with followed(settings, 340) as ending:
        steps.append("block")
        ending.done = True
    assert steps == ["start 340", "refresh", "block"]
    assert wished_port(settings.state_directory) == 340


def test_it_goes_after_the_block_is_gone_and_stays_where_that_failed(
    settings: Settings, steps: Steps
) -> None:
    wish(settings.state_directory, 340)
    with followed(settings, 0):
        steps.append("restored")
    assert (steps, wished_port(settings.state_directory)) == (["restored"], 340)
    with followed(settings, 0) as ending:
        steps.append("block out")
        ending.done = True
    assert (steps[1:], wished_port(settings.state_directory)) == (["block out", "stop"], 0)


@pytest.mark.parametrize(("earlier", "then"), [(0, "stop"), (341, "start 341")])
def test_a_change_that_fails_leaves_the_relay_as_it_was(
    settings: Settings, steps: Steps, earlier: int, then: str
) -> None:
    wish(settings.state_directory, earlier)
    with pytest.raises(Problem), followed(settings, 340):
        raise Problem("configtest-failed", "Apache refuses it.")
    assert steps[-1] == then
    assert wished_port(settings.state_directory) == earlier


def test_where_the_block_may_stand_the_relay_stays(settings: Settings, steps: Steps) -> None:
    with followed(settings, 340) as ending:
        ending.unknown = True
    assert "stop" not in steps
    assert wished_port(settings.state_directory) == 340


def test_a_change_that_is_no_matter_of_it_leaves_it_alone(settings: Settings, steps: Steps) -> None:
    wish(settings.state_directory, 340)
    with followed(settings, None) as ending:
        ending.done = True
    assert steps == []
    assert wished_port(settings.state_directory) == 340


def test_a_relay_that_cannot_be_had_keeps_the_block_from_being_written(
    settings: Settings, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_port: int) -> None:
        raise Problem("shield-down", "The relay does not answer.")

    monkeypatch.setattr(service, "start", fails)
    with pytest.raises(Problem, match="does not answer"), followed(settings, 340):
        steps.append("block")
    assert steps == ["stop"]
    assert wished_port(settings.state_directory) == 0
