"""Ctrl-C takes a change back, but never in the middle of a file; a lost terminal does nothing."""

from __future__ import annotations

import os
import signal

import pytest

from ocsp_stapling.change.interruption import held, settled, taken_back
from ocsp_stapling.problem import Problem


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_a_problem_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with taken_back():
        with pytest.raises(Problem) as caught:
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # the way back is not disturbed
    assert caught.value.code == "interrupted"
    assert signal.getsignal(number) == before


def test_it_waits_until_a_file_is_whole() -> None:
    done = []
    with taken_back(), pytest.raises(Problem), held():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("the rest of the exchange")
    assert done


def test_a_lost_terminal_is_ignored() -> None:
    with taken_back():
        os.kill(os.getpid(), signal.SIGHUP)


def test_once_it_is_settled_how_it_ends_a_signal_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with taken_back():
        settled()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGTERM) == before
    settled()
    assert signal.getsignal(signal.SIGTERM) == before
