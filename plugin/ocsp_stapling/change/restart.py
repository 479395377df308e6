"""Restarting Apache until it serves: the WHM API first, then ever harder, each rung with its own deadline.

A graceful restart waits for workers that hang in the stapling mutex, so it can report success while the sites stay
down (docs/decisions/0004-restart-ladder.md). Each rung is reported before it is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ocsp_stapling.apache import processes
from ocsp_stapling.change.running import (
    Apache,
    Mark,
    reloaded,
    signal_graceful,
    start,
    steady_parent,
    stop,
    wait_until_quiet,
)
from ocsp_stapling.change.verify import (
    Sample,
    Verification,
    answers_plain_clients,
    any_staple,
    wait_until_served,
)
from ocsp_stapling.change.whm_restart import (
    Patience,
    Report,
    RestartError,
    await_whm,
    end_workers,
    through_whm,
    watched,
)
from ocsp_stapling.problem import Problem

_COLD_SECONDS = 20.0
"""How long a server is watched whose staples all have to be fetched once more."""
_SIGNALS = 3
_WAS_STARTED = "WHM's restart left Apache stopped; it was started with what its files say now."
_LAST_CACHE = (
    "The files have no SSLStaplingCache any more, and Apache does not survive that at a graceful restart."
)


@dataclass(frozen=True)
class RestartOutcome:
    """How a restart ended; `reloaded` tells whether Apache read its configuration since the mark."""

    verdict: Verification
    reloaded: bool
    alive: bool
    rungs: tuple[str, ...]
    warnings: tuple[str, ...] = ()


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
    verdict, mark, warnings = through_whm(apache, mark, samples, patience, stalled, report)
    if steady_parent(apache) is None:
        rungs.append("start")
        verdict = _start_what_whm_left(apache, samples, patience, report)
        warnings = (*warnings, _WAS_STARTED)
    for name, rung in _RUNGS:
        if name == "signal-parent" and reloaded(apache, mark) and not verdict.served:
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
    start(apache)
    return watched(apache, samples, patience.started, patience)


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
    alive = steady_parent(apache) is not None
    return RestartOutcome(verdict, reloaded(apache, mark), alive, tuple(rungs), warnings)


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
    if steady_parent(apache) is None:
        return start(apache)
    if not reload:
        return True
    if whole:
        stop(apache)
        return start(apache)
    before = _read_anew(apache)
    if before is None:
        stop(apache)
        return start(apache)
    if not wait_until_served(any_staple(samples), within=patience.stalled, quick=patience.quick).served:
        end_workers(apache, before.workers, any_staple(samples), patience)
    return steady_parent(apache) is not None or start(apache)


def _read_anew(apache: Apache) -> Mark | None:
    """Have Apache read its files by a signal and return what it was before; None if it does not, whatever is sent.

    Apache forgets a signal that comes while it reads them.
    """
    for _ in range(_SIGNALS):
        wait_until_quiet(apache)
        before = apache.mark()
        signal_graceful(apache, before)
        if reloaded(apache, before) or apache.parent() is None:
            return before
    return None


def _mend_pid_file(apache: Apache, mark: Mark, report: Report) -> list[str]:
    """Have Apache write its pid file anew if that is missing or stale: WHM would not find the parent by it."""
    if mark.parent is None or processes.named_by(apache.pid_file) == mark.parent.pid:
        return []
    because = f"{apache.pid_file} does not name Apache's parent {mark.parent.pid}, so WHM would not find it."
    report("restart", {"rung": "signal-parent", "because": because})
    signal_graceful(apache, mark)
    return ["signal-parent"]


def _signal_parent(
    apache: Apache, _: Mark, samples: Sequence[Sample], patience: Patience, stalled: bool
) -> Verification:
    """Have Apache read its files anew by the signal that WHM should have sent, or that another restart swallowed."""
    wait_until_quiet(apache)
    signal_graceful(apache, apache.mark())
    return watched(apache, samples, patience.after(stalled), patience)


def _end_old_workers(
    apache: Apache, mark: Mark, samples: Sequence[Sample], patience: Patience, _: bool
) -> Verification:
    """End the workers that were there before the restart."""
    end_workers(apache, mark.workers, samples, patience)
    return watched(apache, samples, patience.ended, patience)


def _stop_and_start(
    apache: Apache, _: Mark, samples: Sequence[Sample], patience: Patience, __: bool
) -> Verification:
    """Stop Apache whole and start it."""
    stop(apache)
    start(apache)
    return watched(apache, samples, patience.started, patience)


_RUNGS = (
    ("signal-parent", _signal_parent),
    ("end-old-workers", _end_old_workers),
    ("stop-start", _stop_and_start),
)


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
    if not reloaded(apache, mark):
        return False
    if verdict.served and verdict.as_wanted:
        return True
    wanted = cold or any(sample.staple for sample in samples)
    return wanted and (verdict.served or answers_plain_clients(samples, patience.quick))


def _because(apache: Apache, mark: Mark, verdict: Verification) -> str:
    if not reloaded(apache, mark):
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
