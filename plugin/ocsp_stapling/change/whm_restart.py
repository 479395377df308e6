"""WHM's own restart of Apache: called and watched, never ended by us, and not waited for longer than it helps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ocsp_stapling.apache import processes
from ocsp_stapling.apache.processes import Process
from ocsp_stapling.change.running import (
    BUSY_TICKS,
    NEVER_SECONDS,
    TICK,
    Apache,
    Mark,
    reloaded,
    steady_parent,
    ticks,
    wait_until_read,
)
from ocsp_stapling.change.verify import Sample, Verification, wait_until_served
from ocsp_stapling.host import connections
from ocsp_stapling.problem import Problem
from ocsp_stapling.whm import api

Report = Callable[[str, Mapping[str, Any]], None]

_LOOK_SECONDS = 0.1
_WORD_SECONDS = 20.0
"""How long WHM's answer is waited for once Apache serves."""
_HELP_SECONDS = 2.0
"""So often workers that hang are ended while WHM's restart is awaited: whmapi1 itself takes a second."""
_WOULD_WAIT = "Its workers hang, and a stop would wait for them."
_NO_SIGN_SECONDS = 8.0
"""Without any sign of a restart while visitors wait, WHM has put it off."""


@dataclass(frozen=True)
class Patience:
    """How long to wait at each rung, in seconds. `quick` is the most a served handshake may take.

    `stalled` and `calm` bound the wait after WHM's restart: when visitors hang already, waiting for the workers
    that hang with them helps nobody; when the sites are quick, workers deserve time to finish their requests. `api`
    bounds WHM's restart: a stop and start of a large server takes minutes.
    """

    quick: float = 1.0
    api: float = 240.0
    stalled: float = 1.2
    calm: float = 6.0
    ended: float = 5.0
    started: float = 10.0

    def after(self, stalled: bool) -> float:
        """Return how long to wait for quick handshakes after Apache read its files."""
        return self.stalled if stalled else self.calm


class RestartError(Exception):
    """The restart did not bring the wanted state; `problem` says what was seen, `verdict` what visitors met."""

    def __init__(self, problem: Problem, reloaded: bool, verdict: Verification | None = None) -> None:
        super().__init__(problem.sentence)
        self.verdict = verdict
        self.problem = problem
        self.reloaded = reloaded


class _WhmCall:
    """WHM's restart, under way in a thread. It is never ended by us: that could happen between stop and start."""

    def __init__(self) -> None:
        self.failure: Problem | None = None
        self.said = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.said = api.restart_httpd(NEVER_SECONDS)
        except Problem as problem:
            self.failure = problem

    @property
    def is_running(self) -> bool:
        """Whether WHM has not answered yet."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for WHM's answer, so long at most."""
        self._thread.join(max(seconds, 0.0))


def through_whm(
    apache: Apache, mark: Mark, samples: Sequence[Sample], patience: Patience, stalled: bool, report: Report
) -> tuple[Verification, Mark, tuple[str, ...]]:
    """Let WHM restart Apache; its word is awaited, but the effect is watched meanwhile.

    Returns what visitors met, the mark with every worker of before, and warnings. WHM may stop Apache and start it,
    which takes as long as it takes; it may also wait before it acts at all.
    """
    end = time.monotonic() + patience.api
    call = _WhmCall()
    mark = _until_reloaded(apache, mark, call, end, samples if stalled else (), patience, report)
    # WHM may say that it is done, or that it failed, when it only signalled: give the signal a moment.
    read = reloaded(apache, mark) if call.is_running else wait_until_read(apache, mark)
    _refuse_failed(apache, mark, call)
    verdict = watched(apache, samples, patience.after(stalled) if read else 0.0, patience)
    good = verdict.served and verdict.as_wanted and reloaded(apache, mark)
    call.wait(min(_WORD_SECONDS, patience.api) if good or not stalled else 0.0)
    _refuse_failed(apache, mark, call)
    if said := call.said or (call.failure.detail if call.failure else ""):
        report("whm-said", {"said": said.strip()[-500:]})
    if call.failure:
        return verdict, mark, (f"Apache was restarted all the same, but {call.failure.sentence}",)
    if not call.is_running:
        return verdict, mark, ()
    waited = round(time.monotonic() + patience.api - end)
    told = f"WHM's API was asked to restart Apache and did not answer within {waited} seconds."
    if not good and not stalled and apache.parent() is not None and not reloaded(apache, mark):
        raise RestartError(Problem("whmapi-timeout", told), True)
    return verdict, mark, (f"Apache restarted and serves, but {told}",) if good else (told,)


def _until_reloaded(
    apache: Apache,
    mark: Mark,
    call: _WhmCall,
    end: float,
    waiting: Sequence[Sample],
    patience: Patience,
    report: Report,
) -> Mark:
    """Wait while WHM's restart is under way: until Apache has read its files, or until nothing shows that it comes.

    `waiting`: the sites at which visitors hang. There the workers that hang and serve nobody are ended, since a stop
    would wait for them; and a restart of which there is no sign (WHM can put it off) is not waited for, since the
    next rung is ours to take.
    """
    sign, pause = time.monotonic(), min(_HELP_SECONDS, patience.api / 2)
    seen, help_at, helped, old = ticks(apache), sign + pause, False, set(mark.workers)
    while call.is_running and not reloaded(apache, mark) and time.monotonic() < end:
        call.wait(TICK)
        now, fresh, parent = time.monotonic(), ticks(apache), apache.parent()
        if parent is None or fresh - seen >= BUSY_TICKS:
            sign, seen = now, fresh
        if parent is None or not waiting or reloaded(apache, mark):
            continue
        if now >= help_at:
            if not helped:
                report("restart", {"rung": "end-old-workers", "because": _WOULD_WAIT})
                helped, sign = True, now
            old |= apache.mark().workers
            _end_idle(old, waiting)
            help_at = time.monotonic() + pause
        if helped and now - sign >= _NO_SIGN_SECONDS:
            break
    if helped and not reloaded(apache, mark):
        old |= apache.mark().workers
    return replace(mark, workers=frozenset(old))


def end_workers(
    apache: Apache, workers: Collection[Process], samples: Sequence[Sample], patience: Patience
) -> None:
    """End the workers that serve nobody; the others too, with their downloads, if visitors still wait then."""
    _end_idle(workers, samples)
    left = any(map(processes.is_alive, workers))
    if left and not watched(apache, samples, patience.stalled, patience).served:
        processes.end(workers)


def _end_idle(workers: Collection[Process], samples: Sequence[Sample]) -> None:
    """End the workers that serve nobody, not one with somebody's download in it."""
    ports = {sample.door.port for sample in samples}
    busy = connections.serving([each.pid for each in workers], ports)
    processes.end(each for each in workers if each.pid not in busy)


def _refuse_failed(apache: Apache, mark: Mark, call: _WhmCall) -> None:
    """A failure counts while Apache has not read its files: what was restarted is judged by what visitors meet.

    However the call ended, it may have started a restart that outlives it. An Apache that it left stopped is started.
    """
    failure = call.failure
    if failure and apache.parent() is not None and not reloaded(apache, mark):
        raise RestartError(failure, failure.code != "whmapi-missing")


def watched(apache: Apache, samples: Sequence[Sample], within: float, patience: Patience) -> Verification:
    """Wait until the samples are served, but not for an Apache that is gone."""
    return wait_until_served(
        samples,
        within=within,
        quick=patience.quick,
        hopeless=lambda: steady_parent(apache) is None,
    )


def await_whm(apache: Apache, patience: Patience) -> None:
    """Wait while a restart by WHM is under way that nobody waits for any more, since whoever called was killed.

    Else it would stop Apache just when everything was said to be as it was. Of one that has not begun to act only so
    much is waited for as WHM's API takes until it does.
    """
    end = time.monotonic() + patience.api
    sign = time.monotonic()
    while (now := time.monotonic()) < end and now - sign < _HELP_SECONDS:
        acts = _restarts()
        if not acts and not _asked():
            return
        if acts or apache.parent() is None:
            sign = now
        time.sleep(_LOOK_SECONDS)


def whm_acts() -> bool:
    """Whether a restart by WHM is under way, whoever asked for it."""
    return _restarts() or _asked()


def _restarts() -> bool:
    return bool(processes.root_runs(api.RESTART.name))


def _asked() -> bool:
    return bool(processes.root_runs(api.WHMAPI1.name, *api.RESTART_WORDS))
