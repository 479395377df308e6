"""Carries a plan out: write, test, restart, verify; and everything back as it was if any step fails."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ocsp_stapling import files
from ocsp_stapling.apache import managed_block, processes
from ocsp_stapling.apache.processes import Process
from ocsp_stapling.change import restart, single
from ocsp_stapling.change.interruption import held, settled
from ocsp_stapling.change.journal import FileRecord, Journal
from ocsp_stapling.change.model import Change, on_off
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.change.request import SITE_OFF, UNDO, called
from ocsp_stapling.change.running import Apache
from ocsp_stapling.change.verify import Sample, Verification, any_staple, handshake_json, wait_until_served
from ocsp_stapling.change.whm_restart import Patience, RestartError, await_whm
from ocsp_stapling.files import Snapshot
from ocsp_stapling.ocsp.staple import Handshake, handshake, handshakes
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.state import ServerState
from ocsp_stapling.text import listed, versioned
from ocsp_stapling.whm import api

# A healthy server answers a handshake far sooner, even a loaded one; a stalled one does not.
_LONG_ENOUGH_SECONDS = 0.3

DONE, REFUSED, RESTORED, FAILED = "done", "refused", "restored", "failed"
STILL_WAITING_EXIT = 5
NOT_RUNNING = f"Apache does not run with the restored files, so no site answers. Try: {api.RESTART}"
Watcher = Callable[[str, Mapping[str, Any], float], None]


class ConfigTest(Protocol):
    """httpd's own configuration test: whether it accepts the files, and its words if not."""

    def __call__(self) -> str:
        """Return "" if httpd accepts the configuration, else its message."""


@dataclass(frozen=True)
class ChangeTarget:
    """What a transaction works on."""

    apache: Apache
    configtest: ConfigTest
    read: Callable[[], ServerState]
    journal: Journal
    patience: Patience = field(default_factory=Patience)
    watcher: Watcher = lambda _name, _detail, _seconds: None


@dataclass(frozen=True)
class FailedAttempt:
    """What visitors met while a change that did not work was in force: who waited, and for which responders."""

    sentence: str
    sites: tuple[str, ...]
    responders: tuple[str, ...]
    handshakes: tuple[Handshake, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the attempt as plain data."""
        return {
            "sentence": self.sentence,
            "site_names": list(self.sites),
            "responder_hosts": list(self.responders),
            "handshakes": [handshake_json(each) for each in self.handshakes],
        }


def attempted(plan: Plan, verdict: Verification | None) -> FailedAttempt | None:
    """Return who waited in an attempt that failed, None if nobody did.

    Whoever waits stands in one queue for all; where responders are known to fail, those are what it waits for.
    """
    met = verdict.handshakes if verdict else ()
    slow = [(s, h) for s, h in zip(plan.samples, met, strict=False) if h.error == "timeout"]
    if not slow:
        return None
    named = list(dict.fromkeys(sample.responder for sample, _ in slow if sample.responder))
    failing = [host for host in named if host in plan.outlook.failing] or list(plan.outlook.failing)
    sites = tuple(dict.fromkeys(found.door.name for _, found in slow))
    longest = max(found.seconds for _, found in slow)
    known = "which failed before already" if failing else "which their certificates name"
    whom = f", for {listed(failing or named)}, {known}" if failing or named else ""
    told = f"In the attempt {listed(sites)} did not answer (cut off at {longest:.1f} s){whom}."
    return FailedAttempt(told, sites, tuple(failing or named), tuple(met))


@dataclass(frozen=True)
class Result:
    """How an operation ended. `seconds` is from the call to the end; `first_quick` to the first quick handshake."""

    operation: str
    action: str
    state: str
    sentence: str
    problem: Problem | None = None
    before: tuple[Handshake, ...] = ()
    verdict: Verification | None = None
    rungs: tuple[str, ...] = ()
    seconds: float = 0.0
    first_quick_seconds: float | None = None
    warnings: tuple[str, ...] = ()
    attempt: FailedAttempt | None = None
    still_waiting: tuple[str, ...] = ()
    """Whose visitors wait after an off: sites that turn stapling on themselves, or others than the single one."""

    @property
    def exit_code(self) -> int:
        """0 done, 1 refused, 3 failed and restored, 4 failed and not restored, 5 done and some still wait."""
        if self.state == DONE and self.still_waiting:
            return STILL_WAITING_EXIT
        return {DONE: 0, REFUSED: 1, RESTORED: 3}.get(self.state, 4)

    def as_json(self) -> dict[str, Any]:
        """Return the result as the JSON document of off, on and undo."""
        facts = {
            "operation": self.operation,
            "action": self.action,
            "state": self.state,
            "sentence": self.sentence,
            "error": self.problem.as_json() if self.problem else None,
            "rungs": list(self.rungs),
            "seconds": round(self.seconds, 3),
            "first_quick_seconds": _rounded(self.first_quick_seconds),
            "before": [handshake_json(each) for each in self.before],
            "after": self.verdict.as_json() if self.verdict else None,
            "warnings": list(self.warnings),
            "attempt": self.attempt.as_json() if self.attempt else None,
            "still_waiting_names": list(self.still_waiting),
        }
        return versioned("operation", facts)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def execute(plan: Plan, server: ChangeTarget, identity: str = "", began: float | None = None) -> Result:
    """Carry out `plan` and return how it ended; whatever happens is in the result, not an exception.

    The caller holds the server's lock and has seen that httpd accepts its present configuration. `began` is when
    the call came (time.monotonic), for the times shown.
    """
    run = _Run(plan, server, began or time.monotonic())
    return run.whole(identity)


def with_still_waiting(done: Result, plan: Plan, patience: Patience) -> Result:
    """Return how a change ended together with where visitors wait all the same: an off is no plain success then.

    Who waits at first may wait for a worker of the generation that ends, so it is looked again. Others than a single
    site may wait for a responder of their own; that is not its change's to mend, nor a reason to undo it.
    """
    concerned = plan.others and (plan.site or not plan.stapling_then)
    names = _waiting(plan.others, patience) if concerned else []
    if names:
        again = wait_until_served(plan.others, within=patience.stalled, quick=patience.quick)
        names = _timed_out(again.handshakes)
    if not names:
        return done
    if plan.site:
        told = f"Other sites still wait for a staple ({listed(names)}): ocsp-stapling check says for whom."
        gone = any(sample.staple is False for sample in plan.samples)
        off = plan.action == SITE_OFF or (plan.action == UNDO and gone)
        return replace(done, warnings=(*done.warnings, told), still_waiting=tuple(names) if off else ())
    told = f"Visitors still wait at sites that turn stapling on themselves ({listed(names)})"
    if len(plan.by_hand) < len(plan.overrides):
        told += "; `ocsp-stapling off --overrides` ends it where that stands in userdata"
    if plan.by_hand:
        told += f"; take SSLUseStapling On out by hand at {listed(plan.by_hand)}"
    return replace(done, sentence=f"{done.sentence} {told}.", still_waiting=tuple(names))


def _waiting(samples: Sequence[Sample], patience: Patience) -> list[str]:
    return _timed_out(handshakes([sample.door for sample in samples], ask=True, limit=patience.quick))


def _timed_out(met: Iterable[Handshake]) -> list[str]:
    return sorted({each.door.site for each in met if each.error == "timeout"})


class _Run:
    """One execution: its steps, in the order in which they happen."""

    def __init__(self, plan: Plan, server: ChangeTarget, began: float) -> None:
        self.plan, self.server, self.began = plan, server, began
        self.operation = ""
        self.written: list[Change] = []
        self.rebuilt = self.restarting = False
        self.rungs: list[str] = []
        self.ran = server.apache.parent() is not None
        self.before = _Before(plan.samples, server.patience.quick)
        self.first_quick: float | None = None
        self.attempt: FailedAttempt | None = None

    def whole(self, identity: str) -> Result:
        records = [FileRecord(c.old.path, c.old.content, c.content) for c in self.plan.changes]
        begun = self.server.journal.begin(
            self.plan.action, self.plan.who, self.plan.reason, self.plan.as_json(), records, identity
        )
        self.operation = begun.id
        try:
            outcome = self._forward()
            settled()
        except (Problem, RestartError) as error:
            return self._finished(self._back(error))
        except Exception as error:  # whatever it is, the server must not be left half changed
            return self._finished(self._back(unexpected(error)))
        return self._finished(self._done(outcome))

    def _forward(self) -> restart.RestartOutcome:
        for change in self.plan.changes:
            self._write(change)
        self._test()
        if self.plan.rebuild:
            self._rebuild()
        stalled = any(each.error == "timeout" for each in self.before.cut())
        began, old = time.monotonic(), self.server.apache.mark().workers
        self.restarting = True
        outcome = restart.restart(
            self.server.apache,
            self.plan.samples,
            self.server.patience,
            stalled=stalled,
            report=self._rung,
            whole=self.plan.cache_now and not self.plan.cache_then,
            cold=self.plan.is_cold_after,
        )
        if outcome.verdict.first_quick_at is not None:
            self.first_quick = outcome.verdict.first_quick_at - self.began
        self.step("verify", {"sentence": outcome.verdict.sentence, "seconds": time.monotonic() - began})
        self._free_others(old)
        return outcome

    def _free_others(self, old: Iterable[Process]) -> None:
        """After the change of a single site: end the workers that still wait for it."""
        if not self.plan.site or not _waiting(self.plan.others, self.server.patience):
            return
        quick = self.server.patience.quick
        because = "Other sites still wait behind those that waited for this one."
        self._rung("restart", {"rung": "end-old-workers", "because": because})
        processes.end(old)
        wait_until_served(self.plan.others, within=self.server.patience.ended, quick=quick)

    def _rung(self, name: str, detail: Mapping[str, Any]) -> None:
        """A restart, and a harder one all the more, is worth it only while the files say what was planned."""
        for change in self.written:
            if _edited_away(change):
                raise files.changed_meanwhile(change.old.path)
        self.step(name, detail)

    def _write(self, change: Change) -> None:
        self.step("write", {"path": str(change.old.path)})
        # Counted before it is done: a write can fail after the file took its new bytes (fsync of the directory).
        self.written.append(change)
        try:
            write(change)
        except Problem as problem:
            # Where somebody saved the file in the middle of the exchange, our block can be in what they saved.
            if problem.code == "changed-meanwhile" and _edited_away(change):
                self.written.remove(change)
            raise

    def _rebuild(self) -> None:
        self.step("rebuild", {})
        self.rebuilt = True
        rebuild(self.server, self.plan.stapling_then, self.plan.site)
        self._test()

    def _test(self) -> None:
        self.step("configtest", {})
        message = self.server.configtest()
        if message:
            sentence = (
                "Apache refuses the changed configuration, so it was put back and Apache was not restarted."
            )
            raise Problem("configtest-failed", sentence, message)

    def _back(self, error: Problem | RestartError) -> Result:
        """Undo what was written; then make sure that Apache runs with it."""
        settled()
        problem = error.problem if isinstance(error, RestartError) else error
        self.attempt = attempted(self.plan, error.verdict) if isinstance(error, RestartError) else None
        if not self.written and problem.code == "changed-meanwhile":
            return self._result(REFUSED, problem.sentence, problem)
        self.step("restore", {"because": problem.code})
        failures = [text for change in reversed(self.written) if (text := put_back(change, self.rebuilt))]
        message = "" if failures else self.server.configtest()
        if failures or message:
            told = " ".join(failures) or "Apache refuses the restored files, so it was not restarted."
            return self._result(FAILED, f"{problem.sentence} It could not be put right: {told}", problem)
        reloaded = error.reloaded if isinstance(error, RestartError) else self.restarting
        return self._restarted_back(problem, reloaded)

    def _restarted_back(self, problem: Problem, reloaded: bool) -> Result:
        apache, patience = self.server.apache, self.server.patience
        untouched = not self.ran and not self.restarting
        whole = self.plan.cache_then and not self.plan.cache_now
        if not untouched and not restart.ensure_running(
            apache, self.plan.samples, patience, reload=reloaded, whole=whole
        ):
            if _nobody_answers(self.before.cut()):
                told = (
                    "Everything is as it was before: Apache does not run. The end of its error log says why."
                )
                return self._result(RESTORED, f"{problem.sentence} {told}", problem)
            return self._result(
                FAILED, f"{problem.sentence} It could not be put right: {NOT_RUNNING}", problem
            )
        seen, silent = after_the_way_back(apache, self.plan.samples, patience)
        if silent and not _nobody_answers(self.before.cut()):
            return self._result(FAILED, f"{problem.sentence} {silent}", problem, seen)
        told = f"Everything is as it was before. {seen.sentence}"
        return self._result(RESTORED, f"{problem.sentence} {told}", problem, seen)

    def _done(self, outcome: restart.RestartOutcome) -> Result:
        done = self._result(
            DONE, outcome.verdict.sentence, verdict=outcome.verdict, warnings=outcome.warnings
        )
        return with_still_waiting(done, self.plan, self.server.patience)

    def step(self, name: str, detail: Mapping[str, Any]) -> None:
        """Journal a step before it is taken, and show it."""
        self.server.journal.step(self.operation, name, detail)
        # Whoever watched may be gone, with the terminal: that must not stop a change half way.
        if "rung" in detail:
            self.rungs.append(str(detail["rung"]))
        with contextlib.suppress(OSError, ValueError):
            self.server.watcher(name, detail, time.monotonic() - self.began)

    def _result(
        self,
        state: str,
        sentence: str,
        problem: Problem | None = None,
        verdict: Verification | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Result:
        plan = self.plan.met(self.before.cut()) if state == DONE else self.plan
        planned = plan.warnings if state in (DONE, FAILED) else ()
        if state == DONE and plan.stapling_then and verdict and verdict.as_wanted:
            # Staples came, so what was known to fail before does not any more.
            planned = tuple(each for each in planned if each not in plan.outlook.warnings)
        warnings = (*planned, *warnings, *(verdict.warnings if verdict else ()))
        if self.server.journal.lost:
            warnings = (*warnings, f"The history is lost: {self.server.journal.lost}.")
        return Result(
            self.operation,
            self.plan.action,
            state,
            sentence,
            problem,
            self.before.cut(),
            verdict,
            tuple(self.rungs),
            time.monotonic() - self.began,
            self.first_quick,
            warnings,
            self.attempt,
        )

    def _finished(self, result: Result) -> Result:
        self.server.journal.finish(self.operation, result.state, result.as_json())
        return result


class _Before:
    """Handshakes made while the files are written: what visitors meet before the change."""

    def __init__(self, samples: Sequence[Sample], limit: float) -> None:
        self._doors = [sample.door for sample in samples]
        self._limit = limit
        self._found: dict[int, Handshake] = {}
        self._began = time.monotonic()
        self._cut: tuple[Handshake, ...] | None = None
        self._threads = [
            threading.Thread(target=self._meet, args=(i,), daemon=True) for i in range(len(self._doors))
        ]
        for thread in self._threads:
            thread.start()

    def _meet(self, i: int) -> None:
        self._found[i] = handshake(self._doors[i], ask=True, limit=self._limit)

    def cut(self) -> tuple[Handshake, ...]:
        """Return what was met until now; a handshake still waiting counts as a time-out of that length.

        In a stall each second counts, so this waits only until an answer that is merely slow would be there.
        """
        if self._cut is None:
            enough = self._began + _LONG_ENOUGH_SECONDS
            for thread in self._threads:
                thread.join(max(0.0, enough - time.monotonic()))
            waited = time.monotonic() - self._began
            self._cut = tuple(
                self._found.get(i) or Handshake(door, True, waited, "timeout")
                for i, door in enumerate(self._doors)
            )
        return self._cut


def after_the_way_back(
    apache: Apache, samples: Sequence[Sample], patience: Patience
) -> tuple[Verification, str]:
    """Return what visitors meet once the files are as they were, and a sentence that says so if no site answers.

    While somebody else restarts Apache none does, so that is waited for.
    """
    within, quick = patience.stalled, patience.quick
    seen = wait_until_served(any_staple(samples), within=within, quick=quick)
    if _nobody_answers(seen.handshakes):
        await_whm(apache, patience)
        seen = wait_until_served(any_staple(samples), within=within, quick=quick)
    if not _nobody_answers(seen.handshakes):
        return seen, ""
    names = ", ".join(sorted({each.door.site for each in seen.handshakes})[:3])
    told = f"The files are as they were before, but no site answers ({names}). Try: {api.RESTART}"
    return seen, told


def _nobody_answers(met: Sequence[Handshake]) -> bool:
    return bool(met) and all(each.error in ("refused", "unreachable", "reset") for each in met)


def unexpected(error: Exception) -> Problem:
    """Return the Problem for an error that nobody thought of."""
    sentence = "The change ran into an error that it was not made for; please report the text below."
    return Problem("unexpected", sentence, f"{type(error).__name__}: {error}"[:4000])


def write(change: Change) -> None:
    """Make one file what the plan wants. Raises Problem `changed-meanwhile` or `write-failed`."""
    with held():
        if change.content is None:
            files.remove(change.old)
            _tidy(change.old.path)
        else:
            if change.old.path.name in managed_block.OF_SITES:
                files.make_directories(change.old.path.parent)
            files.replace(change.old, change.content)


def _tidy(path: Path) -> None:
    """Take the site's directory away with our file in it, and those above it that were made for it, if empty."""
    if path.name == managed_block.SITE_NAME:
        with contextlib.suppress(OSError):
            for directory in path.parents[: single.DEPTH]:
                directory.rmdir()


def rebuild(server: ChangeTarget, on: bool, site: str = "") -> None:
    """Have cPanel write httpd.conf anew, so that it reads our include; `on` is what must hold then.

    Of a single `site` that it does not staple.

    Raises Problem `rebuild-failed`, or `include-not-read` before Apache is restarted in vain.
    """
    api.rebuild_httpd_conf()
    now = server.read()
    if site and not single.is_off(now, site):
        raise Problem(
            "include-not-read",
            f"cPanel rebuilt httpd.conf, but {called(site)} still does not read its include, so stapling would not "
            "be off there. A local template may leave userdata out (/var/cpanel/templates/**/*.local).",
        )
    if not site and now.stapling.on is not on:
        raise Problem(
            "include-not-read",
            "cPanel rebuilt httpd.conf, but it still does not read the include, so stapling would not be "
            f"{on_off(on)}. A local template may leave the include out (/var/cpanel/templates/**/*.local).",
        )


def _edited_away(change: Change) -> bool:
    """Whether somebody saved the file since, and without our block as it was written."""
    now = files.snapshot(change.old.path)
    if now.content == change.content:
        return False
    there, wanted = managed_block.find(now.content or b""), managed_block.find(change.content or b"")
    return (there.body if there else None) != (wanted.body if wanted else None)


def put_back(change: Change, named: bool = False) -> str:
    """Make one file what it was before the plan; return "" or a sentence about what could not be restored.

    If somebody edited the file since, their bytes stay and only our block goes back to what it was. `named`:
    httpd.conf may name the file by now, so that it must stay, if only empty.
    """
    for patience in (0.05, 0.1, 0.2, 0.4, None):
        try:
            _put_back(change, named)
            return ""
        except Problem as problem:
            # Somebody saved the file in this very moment: their bytes are the ones to look at now.
            if problem.code != "changed-meanwhile" or patience is None:
                return problem.sentence
            time.sleep(patience)
    return ""


def _put_back(change: Change, named: bool) -> None:
    now = files.snapshot(change.old.path)
    wanted = _content_before(change, now)
    if wanted is None and named and now.content is not None:
        wanted = b""
    if wanted is None:
        files.remove(now)
        _tidy(now.path)
    elif wanted == now.content:
        return
    else:
        files.replace(now, wanted, change.old.tag.mode if change.old.tag else files.ROOT_ONLY)


def _content_before(change: Change, now: Snapshot) -> bytes | None:
    if now.content == change.content or now.content == change.old.content or now.content is None:
        return change.old.content
    old_block = managed_block.find(change.old.content or b"")
    if old_block is None:
        return managed_block.remove(now.content)
    return managed_block.apply(now.content, old_block.body.decode("utf-8", "surrogateescape").splitlines())
