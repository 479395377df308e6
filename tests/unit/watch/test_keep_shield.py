"""When the watch starts the shield's relay anew, and when it counts as dead for good."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ocsp_stapling.settings import Settings
from ocsp_stapling.shield import service
from ocsp_stapling.shield.refresh import Pass
from ocsp_stapling.watch import tools


@pytest.mark.parametrize(
    ("looks", "comes_back", "asked", "restarts", "dead"),
    [
        ([True], True, 340, 0, False),
        ([False, True], True, 340, 0, False),
        ([False, False], True, 340, 1, False),
        ([False, False], False, 340, 1, True),
        ([False, False], False, 0, 1, False),  # stapling is off meanwhile, so nobody asks it
    ],
)
def test_a_relay_that_missed_two_looks_is_started_anew_and_dead_if_that_does_not_help(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    looks: list[bool],
    comes_back: bool,
    asked: int,
    restarts: int,
    dead: bool,
) -> None:
    left, restarted = list(looks), []

    def restart(port: int) -> bool:
        restarted.append(port)
        return comes_back

    monkeypatch.setattr(tools, "look", lambda _: SimpleNamespace(relay_port=asked))
    monkeypatch.setattr(tools, "wished_port", lambda _: 340)
    monkeypatch.setattr(tools, "answers", lambda _: left.pop(0))
    monkeypatch.setattr(service, "restart", restart)
    monkeypatch.setattr(tools, "refresh_now", lambda *_: Pass())
    problems: list[str] = []
    assert tools.keep_shield(Settings(state_directory=tmp_path), problems) is dead
    assert (len(restarted), left) == (restarts, [])
    assert bool(problems) is (not comes_back and not asked)
