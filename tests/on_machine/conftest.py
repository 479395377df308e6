"""What several of these files start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape
from tests.on_machine.admin import take_mails
from tests.on_machine.installing import Kit
from tests.on_machine.shielding import put_unit


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Kit:
    """A release to install, made once in a test session and shared by its processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base
    directory = shared / "installing"
    directory.mkdir(exist_ok=True)
    return Kit(directory)


@pytest.fixture(scope="module")
def unshielded() -> Iterator[Machine]:
    """A server on which the shield can be turned on, one for all tests of a file; its mails are taken."""
    with Machine(Shape(sites=4, cas=2)) as machine:
        put_unit(machine)
        take_mails(machine)
        yield machine
