"""Signals while a change runs: a lost terminal does not matter, and Ctrl-C takes everything back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ocsp_stapling.problem import Problem

_ENDING = (signal.SIGINT, signal.SIGTERM)


class _State:
    """Whether an interruption must wait, and one that waits."""

    held = False
    waiting: Problem | None = None


@contextlib.contextmanager
def taken_back() -> Iterator[None]:
    """Within it SIGINT and SIGTERM raise Problem `interrupted` once, and SIGHUP does nothing.

    A transaction answers with its way back; a second signal does not disturb that. Signals can only be caught in
    the main thread; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in _ENDING:
            signal.signal(number, _interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it an interruption waits for the end: a file is being exchanged, perhaps with somebody else's bytes.

    So is one while an interrupted change is brought to its end: stopped half way it would be half done once more.
    """
    _State.held = True
    try:
        yield
    finally:
        _State.held = False
        problem, _State.waiting = _State.waiting, None
    if problem:
        raise problem


def settled() -> None:
    """From now on a signal changes nothing: what was done is being taken back already, or it stands."""
    if signal.getsignal(signal.SIGTERM) is _interrupt:
        _ignore()


def _ignore() -> None:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _ignore()
    problem = Problem("interrupted", f"The change was interrupted ({signal.Signals(number).name}).")
    if not _State.held:
        raise problem
    _State.waiting = problem
