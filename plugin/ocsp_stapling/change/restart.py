"""Restarting Apache until it serves: the WHM API first, then ever harder, each rung with its own deadline.

A graceful restart waits for workers that hang in the stapling mutex, so it can report success while the sites stay
down (docs/decisions/0004-restart-ladder.md). Each rung is reported before it is taken.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ocsp_stapling.apache import processes
from ocsp_stapling.apache.processes import Process
from ocsp_stapling.change.verify import (
    Sample,
    Verification,
    answers_plain_clients,
    any_staple,
    wait_until_served,
)
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import run
from ocsp_stapling.whm import api, scripts

Report = Callable[[str, Mapping[str, Any]], None]

_TICK = 0.03
_LOOK_SECONDS = 0.1
_QUIET_SECONDS = 1.0
_SETTLED_SECONDS = 0.3
_READING_SECONDS = 30.0
_BUSY_TICKS = 5
_STOP_SECONDS = 12.0
_START_SECONDS = 15.0
_RESET_SECONDS = 5.0
_STEADY_SECONDS = 2.0
_NEVER_SECONDS = 3600.0
_WORD_SECONDS = 20.0
"""How long WHM's answer is waited for once Apache serves."""
_HELP_SECONDS = 2.0
"""After which workers that hang are ended while WHM's restart is awaited: whmapi1 itself takes a second."""
_NO_SIGN_SECONDS = 8.0
"""Without any sign of a restart while visitors wait, WHM has put it off."""
_COLD_SECONDS = 20.0
"""How long a server is watched whose staples all have to be fetched once more."""
_WAS_STARTED = "WHM's restart left Apache stopped; it was started with what its files say now."
_LAST_CACHE = (
    "The files have no SSLStaplingCache any more, and Apache does not survive that at a graceful restart."
)


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


@dataclass(frozen=True)
class Apache:
    """What is needed to find Apache's processes and to start it as cPanel does."""

    httpd: Path
    conf: Path
    pid_file: Path

    def parent(self) -> Process | None:
        """Return Apache's parent process, None while there is none."""
        return processes.parent(self.pid_file, self.httpd)

    def mark(self) -> Mark:
        """Return what tells this running configuration from the next one."""
        parent = self.parent()
        return Mark(parent, _stamp(self.pid_file), processes.workers(parent) if parent else frozenset())


@dataclass(frozen=True)
class Mark:
    """Apache at one moment: its parent, its pid file (written anew at every restart), its workers."""

    parent: Process | None
    pid_file: tuple[int, int] | None
    workers: frozenset[Process]


@dataclass(frozen=True)
class RestartOutcome:
    """How a restart ended; `reloaded` tells whether Apache read its configuration since the mark."""

    verdict: Verification
    reloaded: bool
    alive: bool
    rungs: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class RestartError(Exception):
    """The restart did not bring the wanted state; `problem` says what was seen, `verdict` what visitors met."""

    def __init__(self, problem: Problem, reloaded: bool, verdict: Verification | None = None) -> None:
        super().__init__(problem.sentence)
        self.verdict = verdict
        self.problem = problem
        self.reloaded = reloaded


def restart(
    apache: Apache,
    samples: Sequence[Sample],
    patience: Patience,
    *,
    stalled: bool,
    report: Report,
    whole: bool = False,
    cold: bool = False,
) -> RestartOutcome:
    """Restart Apache through WHM and climb until the samples are served as wanted.

    `whole`: Apache would not survive a graceful restart (its last SSLStaplingCache is gone from the files, AH01872),
    so it is stopped and started at once. `cold`: visitors who wait for a staple speak neither against the restart nor
    for a harder one, since Apache has to fetch all of them once more.

    Raises RestartError when WHM's API cannot be used, or when the last rung was in vain. Run httpd's own
    configuration test first: WHM's restart may not.
    """
    mark = apache.mark()
    patience = replace(patience, stalled=_COLD_SECONDS, calm=_COLD_SECONDS) if cold else patience
    if whole:
        return _restart_whole(apache, mark, samples, patience, stalled, report)
    rungs = [*_mend_pid_file(apache, mark, report), "whm-api"]
    report("restart", {"rung": "whm-api", "workers": len(mark.workers)})
    verdict, mark, warnings = _through_whm(apache, mark, samples, patience, stalled, report)
    if _steady_parent(apache) is None:
        rungs.append("start")
        verdict = _start_what_whm_left(apache, samples, patience, report)
        warnings = (*warnings, _WAS_STARTED)
    for name, rung in _RUNGS:
        if name == "signal-parent" and _reloaded(apache, mark) and not verdict.served:
            continue
        if _is_enough(apache, mark, samples, verdict, patience, cold):
            break
        rungs.append(name)
        report("restart", {"rung": name, "because": _because(apache, mark, verdict)})
        verdict = rung(apache, mark, samples, patience, stalled)
    outcome = _outcome(apache, mark, verdict, rungs, warnings)
    return _judged(outcome) if not cold else _judged_cold(outcome, samples, patience)


def _restart_whole(
    apache: Apache, mark: Mark, samples: Sequence[Sample], patience: Patience, stalled: bool, report: Report
) -> RestartOutcome:
    report("restart", {"rung": "stop-start", "because": _LAST_CACHE})
    verdict = _stop_and_start(apache, mark, samples, patience, stalled)
    return _judged(_outcome(apache, mark, verdict, ["stop-start"], ()))


def _start_what_whm_left(
    apache: Apache, samples: Sequence[Sample], patience: Patience, report: Report
) -> Verification:
    report("restart", {"rung": "start", "because": _dead().sentence})
    _start(apache)
    return _watched(apache, samples, patience.started, patience)


def _judged_cold(outcome: RestartOutcome, samples: Sequence[Sample], patience: Patience) -> RestartOutcome:
    """Whoever asks for no staple is served at once: then whoever asks waits for a responder, not for Apache."""
    waits = not outcome.verdict.served and outcome.alive and outcome.reloaded
    if not waits or not answers_plain_clients(samples, patience.quick):
        return _judged(outcome)
    told = f"Apache serves, and is still fetching staples: {outcome.verdict.sentence}"
    return replace(outcome, verdict=replace(outcome.verdict, sentence=told))


def _outcome(
    apache: Apache, mark: Mark, verdict: Verification, rungs: list[str], warnings: tuple[str, ...]
) -> RestartOutcome:
    alive = _steady_parent(apache) is not None
    return RestartOutcome(verdict, _reloaded(apache, mark), alive, tuple(rungs), warnings)


def ensure_running(
    apache: Apache, samples: Sequence[Sample], patience: Patience, *, reload: bool, whole: bool = False
) -> bool:
    """Make Apache run with what its files say now; return whether a parent is there afterwards.

    Used on the way back: `reload` when the running configuration may be newer than the restored files; `whole` as
    for `restart`. Workers that were there before are ended only if the sites stay unserved, for they may hold
    somebody's download.
    """
    if reload:
        await_whm(apache, patience)
    if _steady_parent(apache) is None:
        return _start(apache)
    if not reload:
        return True
    if whole:
        _stop(apache)
        return _start(apache)
    _wait_until_quiet(apache)
    before = apache.mark()
    _signal_graceful(apache, before)
    if not wait_until_served(any_staple(samples), within=patience.stalled, quick=patience.quick).served:
        processes.end(before.workers)
    return _steady_parent(apache) is not None or _start(apache)


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
    return bool(processes.root_runs(scripts.RESTART.name))


def _asked() -> bool:
    return bool(processes.root_runs(api.WHMAPI1.name, *api.RESTART_WORDS))


def _mend_pid_file(apache: Apache, mark: Mark, report: Report) -> list[str]:
    """Have Apache write its pid file anew if that is missing or stale: WHM would not find the parent by it."""
    if mark.parent is None or processes.named_by(apache.pid_file) == mark.parent.pid:
        return []
    because = f"{apache.pid_file} does not name Apache's parent {mark.parent.pid}, so WHM would not find it."
    report("restart", {"rung": "signal-parent", "because": because})
    _signal_graceful(apache, mark)
    return ["signal-parent"]


class _WhmCall:
    """WHM's restart, under way in a thread. It is never ended by us: that could happen between stop and start."""

    def __init__(self) -> None:
        self.failure: Problem | None = None
        self.said = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.said = api.restart_httpd(_NEVER_SECONDS)
        except Problem as problem:
            self.failure = problem

    @property
    def is_running(self) -> bool:
        """Whether WHM has not answered yet."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for WHM's answer, so long at most."""
        self._thread.join(max(seconds, 0.0))


def _through_whm(
    apache: Apache, mark: Mark, samples: Sequence[Sample], patience: Patience, stalled: bool, report: Report
) -> tuple[Verification, Mark, tuple[str, ...]]:
    """Let WHM restart Apache; its word is awaited, but the effect is watched meanwhile.

    Returns what visitors met, the mark with every worker of before, and warnings. WHM may stop Apache and start it,
    which takes as long as it takes; it may also wait before it acts at all.
    """
    end = time.monotonic() + patience.api
    call = _WhmCall()
    mark = _until_reloaded(apache, mark, call, end, stalled, patience, report)
    if not call.is_running and call.failure and apache.parent() is not None:
        _refuse_failed(call.failure)
    # WHM may say that it is done, yet nothing was read anew. It may only signal: give the signal a moment.
    reloaded = _reloaded(apache, mark) if call.is_running else _wait_until_read(apache, mark)
    verdict = _watched(apache, samples, patience.after(stalled) if reloaded else 0.0, patience)
    good = verdict.served and verdict.as_wanted and _reloaded(apache, mark)
    call.wait(min(_WORD_SECONDS, patience.api) if good or not stalled else 0.0)
    if call.said:
        report("whm-said", {"said": call.said.strip()[-500:]})
    if call.is_running:
        waited = round(time.monotonic() + patience.api - end)
        told = f"WHM's API did not answer restartservice within {waited} seconds."
        if not good and not stalled and not _reloaded(apache, mark):
            raise RestartError(Problem("whmapi-timeout", told), True)
        return verdict, mark, (f"Apache restarted and serves, but {told}",) if good else (told,)
    if call.failure and apache.parent() is not None:
        _refuse_failed(call.failure)
    return verdict, mark, ()


def _until_reloaded(
    apache: Apache,
    mark: Mark,
    call: _WhmCall,
    end: float,
    stalled: bool,
    patience: Patience,
    report: Report,
) -> Mark:
    """Wait while WHM's restart is under way: until Apache has read its files, or until nothing shows that it comes.

    Where visitors hang, the workers that hang with them are ended, since a stop would wait for them; and a restart
    of which there is no sign (WHM can put it off) is not waited for, since the next rung is ours to take.
    """
    began = sign = time.monotonic()
    ticks, helped, old = _ticks(apache), False, set(mark.workers)
    while call.is_running and not _reloaded(apache, mark) and time.monotonic() < end:
        call.wait(_TICK)
        now, fresh, parent = time.monotonic(), _ticks(apache), apache.parent()
        if parent is None or fresh - ticks >= _BUSY_TICKS:
            sign, ticks = now, fresh
        if parent is None or not stalled or _reloaded(apache, mark):
            continue
        if not helped and now - began >= min(_HELP_SECONDS, patience.api / 2):
            because = "Its workers hang, and a stop would wait for them."
            report("restart", {"rung": "end-old-workers", "because": because})
            old |= apache.mark().workers
            processes.end(old)
            helped, sign = True, now
        if helped and now - sign >= _NO_SIGN_SECONDS:
            break
    if helped and not _reloaded(apache, mark):
        old |= apache.mark().workers
    return replace(mark, workers=frozenset(old))


def _refuse_failed(failure: Problem) -> None:
    # However the call ended, it may have started a restart that outlives it.
    raise RestartError(failure, failure.code != "whmapi-missing")


def _watched(apache: Apache, samples: Sequence[Sample], within: float, patience: Patience) -> Verification:
    """Wait until the samples are served, but not for an Apache that is gone."""
    return wait_until_served(
        samples,
        within=within,
        quick=patience.quick,
        hopeless=lambda: _steady_parent(apache) is None,
    )


def _signal_parent(
    apache: Apache, _: Mark, samples: Sequence[Sample], patience: Patience, stalled: bool
) -> Verification:
    """Have Apache read its files anew by the signal that WHM should have sent, or that another restart swallowed."""
    _wait_until_quiet(apache)
    _signal_graceful(apache, apache.mark())
    return _watched(apache, samples, patience.after(stalled), patience)


def _end_old_workers(
    apache: Apache, mark: Mark, samples: Sequence[Sample], patience: Patience, _: bool
) -> Verification:
    """End the workers that were there before the restart."""
    processes.end(mark.workers)
    return _watched(apache, samples, patience.ended, patience)


def _stop_and_start(
    apache: Apache, _: Mark, samples: Sequence[Sample], patience: Patience, __: bool
) -> Verification:
    """Stop Apache whole and start it."""
    _stop(apache)
    _start(apache)
    return _watched(apache, samples, patience.started, patience)


def _stop(apache: Apache) -> None:
    """Stop Apache by cPanel's script; a parent that does not stop is ended with its workers."""
    old = apache.mark()
    scripts.stop_httpd(_STOP_SECONDS)
    if old.parent and not processes.wait_until_gone(old.parent, 1.0):
        processes.end([old.parent, *old.workers])
        processes.wait_until_gone(old.parent, 2.0)


_RUNGS = (
    ("signal-parent", _signal_parent),
    ("end-old-workers", _end_old_workers),
    ("stop-start", _stop_and_start),
)


def _start(apache: Apache) -> bool:
    """Start Apache by cPanel's script, and by httpd itself if that fails: it must not stay down."""
    processes.end(_orphans(apache))
    # After five starts in ten seconds systemd refuses the sixth, and the script with it.
    run(["systemctl", "reset-failed", "httpd.service"], timeout=_RESET_SECONDS)
    scripts.start_httpd(_START_SECONDS)
    if _steady_parent(apache) is None:
        run([str(apache.httpd), "-f", str(apache.conf), "-k", "start"], timeout=_START_SECONDS)
    return _steady_parent(apache) is not None


def _orphans(apache: Apache) -> frozenset[Process]:
    """Workers without a parent keep the ports, so that no new parent can start."""
    return processes.orphans(apache.httpd) if apache.parent() is None else frozenset()


def _signal_graceful(apache: Apache, mark: Mark) -> None:
    parent = apache.parent()
    if parent is not None:
        processes.send(parent, signal.SIGUSR1)
        _wait_until_read(apache, mark)


def _wait_until_read(apache: Apache, mark: Mark) -> bool:
    """Wait for Apache to have read its files; a parent at work is given time, for thousands of sites take seconds."""
    end = time.monotonic() + _READING_SECONDS
    quiet_until, ticks = time.monotonic() + _QUIET_SECONDS, _ticks(apache)
    while not _reloaded(apache, mark):
        now, fresh = time.monotonic(), _ticks(apache)
        if fresh - ticks >= _BUSY_TICKS:
            quiet_until, ticks = now + _QUIET_SECONDS, fresh
        if now >= min(end, quiet_until):
            return False
        time.sleep(_TICK)
    return True


def _wait_until_quiet(apache: Apache) -> None:
    """Wait for the end of a restart that may be under way, by whomever.

    It may have read the files as they were before, and Apache forgets a signal that comes while it reads them.
    """
    end, quiet_since = time.monotonic() + _READING_SECONDS, time.monotonic()
    stamp, ticks = _stamp(apache.pid_file), _ticks(apache)
    while time.monotonic() < min(end, quiet_since + _SETTLED_SECONDS):
        time.sleep(_TICK)
        now = _stamp(apache.pid_file), _ticks(apache)
        if now[0] != stamp or now[1] - ticks > 1:
            (stamp, ticks), quiet_since = now, time.monotonic()


def _ticks(apache: Apache) -> int:
    parent = apache.parent()
    return processes.cpu_ticks(parent) if parent else 0


def _reloaded(apache: Apache, mark: Mark) -> bool:
    """Whether Apache read its configuration since the mark, and is there to tell."""
    parent = apache.parent()
    return parent is not None and (parent != mark.parent or _stamp(apache.pid_file) != mark.pid_file)


def _steady_parent(apache: Apache, seconds: float = _STEADY_SECONDS) -> Process | None:
    """Return the parent; a pid file being written anew by another restart is waited for."""
    _wait(lambda: apache.parent() is not None, seconds)
    return apache.parent()


def _is_enough(
    apache: Apache,
    mark: Mark,
    samples: Sequence[Sample],
    verdict: Verification,
    patience: Patience,
    cold: bool,
) -> bool:
    """Whether fresh workers serve as wanted, or only the staples that are wanted are missing or waited for.

    Then a responder is to blame, and a harder restart would only disturb visitors.
    """
    if not _reloaded(apache, mark):
        return False
    if verdict.served and verdict.as_wanted:
        return True
    wanted = cold or any(sample.staple for sample in samples)
    return wanted and (verdict.served or answers_plain_clients(samples, patience.quick))


def _because(apache: Apache, mark: Mark, verdict: Verification) -> str:
    if not _reloaded(apache, mark):
        return "WHM reported a restart, but Apache has not read its configuration anew."
    return verdict.sentence


def _judged(outcome: RestartOutcome) -> RestartOutcome:
    if not outcome.alive:
        raise RestartError(_dead(), True)
    if not outcome.reloaded:
        sentence = "Apache did not read its configuration anew, whatever WHM reported."
        raise RestartError(Problem("restart-without-effect", sentence), False)
    if not (outcome.verdict.served and outcome.verdict.as_wanted):
        code = "no-staple" if outcome.verdict.served else "still-stalling"
        problem = Problem(code, f"After the restart: {outcome.verdict.sentence}")
        raise RestartError(problem, True, outcome.verdict)
    return outcome


def _dead() -> Problem:
    return Problem("httpd-dead", "WHM reported a restart, but Apache is not running.")


def _stamp(pid_file: Path) -> tuple[int, int] | None:
    try:
        found = pid_file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_TICK)
    return True
