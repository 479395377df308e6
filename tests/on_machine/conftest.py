"""What several of these files start from."""

from __future__ import annotations

import pytest

from tests.on_machine.installing import Kit


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Kit:
    """A release to install, made once in a test session and shared by its processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base
    directory = shared / "installing"
    directory.mkdir(exist_ok=True)
    return Kit(directory)
