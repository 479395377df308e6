"""Finishes what a killed process left half done: forward if every file is written, else back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ocsp_stapling import files
from ocsp_stapling.change import restart, whm_restart
from ocsp_stapling.change.interruption import held
from ocsp_stapling.change.journal import RUNNING, FileRecord, Journal, Operation
from ocsp_stapling.change.model import Change
from ocsp_stapling.change.plan import sample_from_json
from ocsp_stapling.change.transaction import (
    DONE,
    FAILED,
    NOT_RUNNING,
    RESTORED,
    ChangeTarget,
    Result,
    after_the_way_back,
    put_back,
    rebuild,
    unexpected,
)
from ocsp_stapling.change.verify import Sample
from ocsp_stapling.change.whm_restart import RestartError
from ocsp_stapling.files import Snapshot
from ocsp_stapling.problem import Problem
from ocsp_stapling.text import duration


def recover(
    server: ChangeTarget, then: Callable[[Sequence[Result]], None] = lambda _ended: None
) -> list[Result]:
    """Bring every unfinished operation to its end and return how each ended, newest first.

    The caller holds the lock, so whoever began them is gone. Wherever all files hold what was wanted the
    operation goes forward (it may just have ended a stall); otherwise every file goes back.

    Raises Problem `interrupted` at a signal: at once while WHM's restart is waited for, else once files and Apache
    are as they shall be and `then`, what follows from how they ended, is done.
    """
    unfinished = server.journal.operations(state=RUNNING)
    for operation in unfinished:
        server.watcher("recover", {"sentence": _beginning(operation, server)}, 0.0)
    whm_restart.await_whm(server.apache, server.patience)
    with held():
        found = [_recover(server, operation) for operation in unfinished]
        ended = [each for each in found if each]
        then(ended)
    return ended


def is_needed(journal: Journal) -> bool:
    """Return whether an operation was left unfinished."""
    return bool(journal.operations(limit=1, state=RUNNING))


def _recover(server: ChangeTarget, operation: Operation) -> Result | None:
    """Returns None where it was left alone."""
    try:
        return _brought_to_its_end(server, operation)
    except Problem:
        raise  # a file cannot be written now: the next command goes on
    except Exception as error:  # whatever it is, it must not end every command from now on
        problem = unexpected(error)
        return _ended(server, operation, FAILED, problem.sentence, problem)


def _brought_to_its_end(server: ChangeTarget, operation: Operation) -> Result | None:
    records = server.journal.files(operation.id)
    for record in records:
        _settle_leftover(record)
    try:
        now = [files.snapshot(record.path) for record in records]
    except Problem as problem:
        return _ended(server, operation, FAILED, problem.sentence, problem)
    wanted = all(found.content == record.after for found, record in zip(now, records, strict=True))
    server.journal.step(operation.id, "recover", {"direction": "forward" if wanted else "back"})
    if server.journal.lost:
        # Its end could not be kept, so Apache would be restarted for it at each look from now on.
        told = f"'{operation.action}' is not brought to its end: {server.journal.lost}. Free space, then look again."
        server.watcher("recover", {"sentence": told}, 0.0)
        return None
    if wanted:
        return _forward(server, operation, now, records)
    return _back(server, operation, now, records, None)


def _beginning(operation: Operation, server: ChangeTarget) -> str:
    """What is done now, for whoever waits for it: WHM's restart may take minutes."""
    told = f"'{operation.action}' by {operation.who} was interrupted; it is brought to its end first"
    if not whm_restart.whm_acts():
        return f"{told} ..."
    return f"{told}, once WHM's restart of Apache is over (up to {duration(server.patience.api)}) ..."


def _forward(
    server: ChangeTarget, operation: Operation, now: Sequence[Snapshot], records: Sequence[FileRecord]
) -> Result:
    """The files say what was wanted: see that Apache runs with it, or take it all back."""

    def report(name: str, detail: Mapping[str, Any]) -> None:
        server.journal.step(operation.id, name, detail)

    try:
        _test(server)
        if operation.plan.get("rebuild"):
            report("rebuild", {})
            site = str(operation.plan.get("site") or "")
            rebuild(server, operation.plan.get("stapling_then") == "on", site)
            _test(server)
        outcome = restart.restart(
            server.apache,
            _samples(operation),
            server.patience,
            stalled=True,
            report=report,
            whole=_loses_cache(operation, "cache_now", "cache_then"),
        )
    except RestartError as error:
        return _back(server, operation, now, records, error.problem)
    except Problem as problem:
        return _back(server, operation, now, records, problem)
    sentence = f"'{operation.action}' was interrupted and has been finished: {outcome.verdict.sentence}"
    return _ended(server, operation, DONE, sentence, None)


def _test(server: ChangeTarget) -> None:
    if message := server.configtest():
        sentence = "Apache refuses the configuration of the interrupted operation."
        raise Problem("configtest-failed", sentence, message)


def _loses_cache(operation: Operation, before: str, after: str) -> bool:
    return bool(operation.plan.get(before)) and not operation.plan.get(after)


def _samples(operation: Operation) -> list[Sample]:
    """Whom to meet; nobody where the plan was written by a version that says it otherwise."""
    try:
        return [sample_from_json(each) for each in operation.plan.get("verification", [])]
    except (KeyError, TypeError, ValueError):
        return []


def _back(
    server: ChangeTarget,
    operation: Operation,
    now: Sequence[Snapshot],
    records: Sequence[FileRecord],
    problem: Problem | None,
) -> Result:
    steps = {step.name for step in server.journal.steps(operation.id)}
    failures = [
        text
        for found, record in zip(now, records, strict=True)
        if (
            text := put_back(
                Change(Snapshot(record.path, record.before, found.tag), record.after), "rebuild" in steps
            )
        )
    ]
    reload, samples = bool(steps & {"restart", "restore", "rebuild"}), _samples(operation)
    alive = not server.configtest() and restart.ensure_running(
        server.apache,
        samples,
        server.patience,
        reload=reload,
        whole=_loses_cache(operation, "cache_then", "cache_now"),
    )
    silent = after_the_way_back(server.apache, samples, server.patience)[1] if alive and reload else ""
    if alive and not failures and not silent:
        sentence = f"'{operation.action}' was interrupted and taken back; everything is as it was before it."
        return _ended(server, operation, RESTORED, sentence, problem)
    told = " ".join(failures) or silent or NOT_RUNNING
    sentence = f"'{operation.action}' was interrupted and could not be taken back: {told}"
    return _ended(server, operation, FAILED, sentence, problem)


def _settle_leftover(record: FileRecord) -> None:
    """Remove the temporary file of an interrupted replacement - unless it is the old file, edited meanwhile.

    After the exchange the old file waits under the temporary name. If somebody had written it in that moment,
    those bytes are the administrator's and go back to their place; our block is taken from them as usual.
    """
    try:
        left, there = files.leftover(record.path), files.snapshot(record.path)
    except Problem:
        return
    exchanged = there.content == record.after and record.after is not None
    if left is not None and exchanged and left not in (record.before, record.after):
        files.replace(there, left)
    files.discard_leftover(record.path)


def _ended(
    server: ChangeTarget, operation: Operation, state: str, sentence: str, problem: Problem | None
) -> Result:
    result = Result(
        operation.id,
        operation.action,
        state,
        sentence,
        problem,
        seconds=max(0.0, time.time() - operation.started),
    )
    server.journal.finish(operation.id, state, result.as_json())
    return result
