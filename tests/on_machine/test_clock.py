"""A clock that is really wrong, for Apache and for the check alike, is the cause, and is said by how much."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from tests.machine import Machine, Shape
from tests.machine.clock import shift
from tests.on_machine.admin import RESTART

pytestmark = [pytest.mark.machine, pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")]
HOUR = 3600


@pytest.mark.parametrize("sites", [2, 6])
@pytest.mark.parametrize(
    ("seconds", "told"),
    [(720 * HOUR, "30 days ahead"), (-72 * HOUR, "3 days behind"), (-2 * HOUR, "2 hours behind")],
)
def test_a_wrong_clock_is_the_cause(
    start_machine: Callable[[Shape], Machine], sites: int, seconds: int, told: str
) -> None:
    machine = start_machine(Shape(sites=sites))
    shift(machine, seconds)
    machine.run(RESTART, "--hard")

    found = json.loads(machine.run("ocsp-stapling", "check", "--json", check=False).stdout)

    assert (found["cause"], found["severity"], found["advice"]) == ("clock", "failing", "fix-here"), found[
        "sentence"
    ]
    assert f"This server's clock is {told}" in found["sentence"]
    assert {one["cause"] for one in found["responders"]} == {"clock"}
    assert not any(one["staple"] == "good" for one in found["handshakes"])


def test_answers_that_are_valid_by_a_wrong_clock_too_are_no_fault(
    start_machine: Callable[[Shape], Machine],
) -> None:
    machine = start_machine(Shape(sites=2))
    shift(machine, 2 * HOUR)
    machine.run(RESTART, "--hard")
    assert json.loads(machine.run("ocsp-stapling", "check", "--json").stdout)["cause"] == "healthy"
