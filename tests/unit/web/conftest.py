"""The application on a state directory of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from ocsp_stapling.change.checking import CheckState
from ocsp_stapling.check import result
from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.settings import Settings
from ocsp_stapling.web.app import create_app
from ocsp_stapling.web.pages import fresh
from tests.unit.web import made

Shown = Callable[[Evidence | None], Flask]


@dataclass
class Started:
    """Checks that pages began by themselves: how many, and how a check stands once one was begun."""

    count: int = 0
    becomes: CheckState = field(default_factory=lambda: CheckState(True))

    def start(self) -> None:
        self.count += 1

    def state(self) -> CheckState:
        return self.becomes if self.count else CheckState(False)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made is of the test's own moment: in a long run it would count as an old check otherwise."""
    monkeypatch.setattr(made, "NOW", datetime.now(UTC).replace(microsecond=0))


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """No page begins a real check; it is only counted."""
    found = Started()
    monkeypatch.setattr(fresh, "checks", lambda: found)
    return found


@pytest.fixture
def showing(tmp_path: Path) -> Shown:
    """Make an application whose last check found the given evidence (None: there was no check)."""

    def make(evidence: Evidence | None) -> Flask:
        if evidence is not None:
            result.store(tmp_path, result.judged(evidence))
        return create_app(replace(Settings(), state_directory=tmp_path))

    return make
