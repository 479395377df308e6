"""Tells stapling from OCSP for client certificates, whose lines come from the same code.

Only what follows on the same process and thread can tell: AH01941 means the query was stapling's. What follows by the
clock may stand above, where somebody has sorted the lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import timedelta

from ocsp_stapling.apache.errorlog.codes import Scope
from ocsp_stapling.apache.errorlog.line import Entry, moment

# A cause and its AH01941 are written within microseconds; more means that something else happened between.
TOGETHER = timedelta(seconds=60)
# How long before its AH01941 a cause was written that stands below it.
_TURNED = timedelta(seconds=1)
# Lines held back at most until it is known whose they are: bounds memory, far above any number of workers.
_HELD = 4096
# Each follows a query at once, with an answer or without: what came before them was that query.
_PROOFS = frozenset({"AH01941", "AH01942", "AH01944"})
# After each of these nothing more is logged about a query.
_LAST_WORDS = frozenset({"AH01972", "AH01974", "AH01976"})
# Only these are written several times about one query.
_REPEATED = frozenset({"AH01981", "AH01987"})

Worker = tuple[int | None, int | None]


def worker_of(entry: Entry) -> Worker:
    """Return the process and thread that wrote a line."""
    return entry.pid, entry.tid


def together(first: Entry, second: Entry) -> bool:
    """Return whether two lines of one worker are near enough in time to be about the same thing."""
    if first.time is None or second.time is None or first.time[:16] == second.time[:16]:
        return True
    one, other = moment(first.time), moment(second.time)
    return one is None or other is None or abs(other - one) <= TOGETHER


def prove(lines: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the lines in their order with `stapling` decided as far as it can be; client-certificate lines go."""
    desk = _Desk()
    summary: Entry | None = None
    for line in lines:
        if line.scope is not Scope.SHARED:
            summary = line if line.code == "AH01941" else None
        elif summary and _turned(summary, line):
            line = line._replace(stapling=True)
        if not desk.held and line.scope is Scope.STAPLING:
            yield line  # nothing waits: the usual case
            continue
        desk.take(line)
        yield from desk.ready(line)
    yield from desk.held


def _turned(summary: Entry, line: Entry) -> bool:
    """Return whether a line was written just before the AH01941 that stands above it: people sort what they show."""
    if not (line.pid and worker_of(line) == worker_of(summary) and line.time and summary.time):
        return False
    if line.time >= summary.time:
        return False  # the usual case, told without reading times
    first, second = moment(line.time), moment(summary.time)
    return first is not None and second is not None and timedelta(0) < second - first <= _TURNED


class _Desk:
    """Lines that wait for their proof, and those behind them."""

    def __init__(self) -> None:
        self.held: deque[Entry] = deque()
        self._first = 0  # the serial number of held[0]
        self._open: dict[Worker, list[int]] = {}  # serial numbers of undecided lines
        self._undecided: set[int] = set()

    def take(self, line: Entry) -> None:
        """File one line and decide what it decides."""
        worker = worker_of(line)
        if worker in self._open:
            self._decide(worker, line)
        if line.kind is None:
            return
        if line.scope is Scope.SHARED and line.stapling is None:
            serial = self._first + len(self.held)
            self._open.setdefault(worker, []).append(serial)
            self._undecided.add(serial)
        self.held.append(line)

    def ready(self, line: Entry) -> list[Entry]:
        """Return what need not wait any longer, now that `line` has been seen."""
        done: list[Entry] = []
        while self.held:
            if self._first in self._undecided:
                if len(self.held) <= _HELD and together(self.held[0], line):
                    break
                self._settle(worker_of(self.held[0]), [self._first], None)
            self._first += 1
            done.append(self.held.popleft())
        return done

    def _decide(self, worker: Worker, line: Entry) -> None:
        waiting = [self.held[serial - self._first] for serial in self._open[worker]]
        if line.scope is Scope.SHARED:
            if _another_query(waiting, line):
                self._settle(worker, self._open[worker], None)
            return
        near = together(waiting[-1], line)
        verdict = line.scope is Scope.STAPLING if near and _is_proof(line) else None
        self._settle(worker, self._open[worker], verdict)

    def _settle(self, worker: Worker, serials: list[int], verdict: bool | None) -> None:
        for serial in list(serials):
            self._undecided.discard(serial)
            at = serial - self._first
            self.held[at] = self.held[at]._replace(stapling=verdict)
        left = [serial for serial in self._open[worker] if serial in self._undecided]
        if left:
            self._open[worker] = left
        else:
            del self._open[worker]


def _is_proof(line: Entry) -> bool:
    return line.scope is Scope.CLIENT or line.code in _PROOFS


def _another_query(waiting: list[Entry], line: Entry) -> bool:
    """Return whether a query's line is about a later query than those that wait."""
    last = waiting[-1]
    return bool(
        (last.client and line.client and last.client != line.client)
        or last.code in _LAST_WORDS
        or (line.code not in _REPEATED and any(old.code == line.code for old in waiting))
        or not together(last, line)
    )
