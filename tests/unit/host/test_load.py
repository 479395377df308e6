"""The load in words."""

from __future__ import annotations

import pytest

from ocsp_stapling.host.limits import Load, read_load


def test_load_of_this_machine_is_read() -> None:
    load = read_load()
    assert load.processors >= 1
    assert load.one >= 0


@pytest.mark.parametrize(("one", "word"), [(0.1, "normal"), (5.9, "normal"), (6.0, "high")])
def test_load_is_judged_per_processor(one: float, word: str) -> None:
    assert f"the load is {word}" in Load(one, 4).sentence
