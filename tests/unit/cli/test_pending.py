"""A change that was killed half way: whoever finishes it says what is being waited for, before it waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocsp_stapling.change import operate
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.cli.pending import finish_interrupted
from ocsp_stapling.settings import Settings


def test_both_the_wait_and_its_end_are_said_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def recover(_settings: Settings, watcher: Callable[..., None]) -> list[Any]:
        watcher("recover", {"sentence": "It is brought to its end first ..."}, 0.0)
        assert "brought to its end first" in capsys.readouterr().err
        return [SimpleNamespace(sentence="It was finished.")]

    monkeypatch.setattr(operate, "recover", recover)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with Journal(tmp_path) as journal:
        journal.begin("off", "root", "", {}, ())
    finish_interrupted(Settings(state_directory=tmp_path))
    told = capsys.readouterr()
    assert told.err == "ocsp-stapling: It was finished.\n"
    assert told.out == ""
