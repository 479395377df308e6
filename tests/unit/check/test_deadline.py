"""The parts of a survey: side by side, none may cost the others their result or the deadline."""

from __future__ import annotations

import threading
import time

from ocsp_stapling.check.deadline import Part
from ocsp_stapling.problem import Problem


def test_a_part_gives_its_result() -> None:
    part = Part("The log", lambda: 7)

    assert part.result(time.monotonic() + 30, 0) == 7
    assert part.problem == ""


def test_a_part_that_hangs_is_left_behind_and_named() -> None:
    never = threading.Event()
    part = Part("The log", lambda: never.wait(60))

    assert part.result(time.monotonic() + 0.05, False) is False
    assert part.problem == "The log did not answer in time."
    never.set()


def test_a_part_that_breaks_gives_its_default_and_says_why() -> None:
    def broken() -> int:
        raise ValueError("torn")

    def refused() -> int:
        raise Problem("x", "It is not readable.")

    for work, why in ((broken, "ValueError: torn"), (refused, "It is not readable.")):
        part = Part("The log", work)
        assert part.result(time.monotonic() + 30, 3) == 3
        assert why in part.problem


def test_a_part_that_was_asked_for_too_early_and_came_in_the_end_is_no_problem() -> None:
    ready = threading.Event()
    part = Part("The log", lambda: ready.wait(60))

    assert part.result(time.monotonic() + 0.05, False) is False
    ready.set()
    assert part.result(time.monotonic() + 30, False) is True
    assert part.problem == ""
