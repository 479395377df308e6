"""The captures in docs/cli.md say what the commands say."""

from __future__ import annotations

import pytest

from tests.captures import DIRECTORY, told
from tests.machine import why_not_here

pytestmark = [pytest.mark.machine, pytest.mark.long]


def test_the_captures_are_what_the_commands_print_today() -> None:
    if reason := why_not_here():
        pytest.skip(reason)
    kept = {path.stem: path.read_text() for path in DIRECTORY.glob("*.txt")}
    assert told() == kept, "run: python -m tests.captures && python -m tests.documentation"
