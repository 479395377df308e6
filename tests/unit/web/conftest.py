"""The application on a state directory of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from ocsp_stapling.check import result
from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.settings import Settings
from ocsp_stapling.web.app import create_app

Shown = Callable[[Evidence | None], Flask]


@pytest.fixture
def showing(tmp_path: Path) -> Shown:
    """Make an application whose last check found the given evidence (None: there was no check)."""

    def make(evidence: Evidence | None) -> Flask:
        if evidence is not None:
            result.store(tmp_path, result.judged(evidence))
        return create_app(replace(Settings(), state_directory=tmp_path))

    return make
