"""Whom Apache asks about certificates that a hostile customer made, and what is said of them: no difference."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.machine import Machine, Shape
from tests.machine.machine import REPO

pytestmark = pytest.mark.machine


def judged(seed: int, count: int) -> dict[str, Any]:
    line = f'cd "{REPO}" && exec "$0" -m tests.on_machine.generated_certificates {seed} {count}'
    with Machine(Shape(sites=1, cas=1, extras=False, plugin=False)) as machine:
        found: dict[str, Any] = json.loads(machine.run("sh", "-c", line, sys.executable, timeout=900).stdout)
    return found


def test_apache_asks_whom_we_say_about_sixty_generated_certificates() -> None:
    found = judged(8, 60)
    assert found["differences"] == []
    assert found["sums"]["asked"] >= 20
    assert sum(count for what, count in found["sums"].items() if what.startswith("aborted")) >= 3


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 6))
def test_apache_asks_whom_we_say_about_a_thousand_generated_certificates(seed: int) -> None:
    found = judged(seed, 1000)
    print(found["sums"])
    assert found["differences"] == []
