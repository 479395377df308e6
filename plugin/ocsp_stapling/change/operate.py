"""One call of off, on or undo, from the request to the result: what the terminal and the page have in common."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ocsp_stapling import files
from ocsp_stapling.apache.tree import ConfigTree
from ocsp_stapling.change import files_changed as the_changes
from ocsp_stapling.change import lock, plan, recovery, running, transaction
from ocsp_stapling.change.interruption import taken_back
from ocsp_stapling.change.journal import FileRecord, Journal, Operation
from ocsp_stapling.change.model import Change, Situation
from ocsp_stapling.change.plan import Outlook, Plan
from ocsp_stapling.change.request import OFF, SHIELD_OFF, SHIELD_ON, UNDO, ChangeRequest
from ocsp_stapling.change.running import Apache
from ocsp_stapling.change.situation import Means, find_means, survey_server
from ocsp_stapling.change.transaction import DONE, FAILED, REFUSED, RESTORED, ChangeTarget, Result, Watcher
from ocsp_stapling.change.verify import judge
from ocsp_stapling.ocsp.staple import handshakes
from ocsp_stapling.problem import Problem, not_root
from ocsp_stapling.settings import Settings, load
from ocsp_stapling.shield import service
from ocsp_stapling.shield.following import followed, reconcile
from ocsp_stapling.shield.standing import wished_port

_MET_SECONDS = 1.0
_ENDS_SHIELD = ((SHIELD_ON, RESTORED), (SHIELD_OFF, DONE))
"""Interrupted changes after which nobody wishes for the shield."""


Foresight = Callable[[Path, Plan], Outlook]
"""What the last look, kept in the state directory, says about a plan."""


class Operator:
    """Plans and carries out one request on this server."""

    def __init__(
        self,
        request: ChangeRequest,
        watcher: Watcher,
        settings: Settings | None = None,
        foresight: Foresight = lambda _directory, _plan: Outlook(),
    ) -> None:
        self.request = request
        self.began = time.monotonic()
        self.watcher = watcher
        self.settings = settings or load()
        self.foresight = foresight

    @property
    def state_directory(self) -> Path:
        """Where lock and journal live."""
        return self.settings.state_directory

    def expect(self, tag: str) -> None:
        """Carry out only the plan with this tag; times count from now, not from before somebody thought it over."""
        self.request, self.began = replace(self.request, tag=tag), time.monotonic()

    def plan(self) -> Plan:
        """Return the plan for the request as the server is now; nothing is changed."""
        require_root()
        surroundings = survey_server(self.settings)
        with Journal(self.state_directory, create=False) as journal:
            made = self._plan(surroundings.situation, journal)
        return made.met(handshakes([s.door for s in made.samples], ask=True, limit=_MET_SECONDS))

    def run(self, agreed: bool = True) -> Result:
        """Carry the request out under the server's lock and return how it ended.

        Unless it was `agreed` to, only what needs no change is answered. Raises Problem for everything that refuses
        it before anything was touched; when the request came with an identity, the refusal is recorded under it.
        """
        require_root()
        try:
            with taken_back(), self._lock():
                return self._run_locked(agreed)
        except Problem as problem:
            self._record_refusal(problem)
            raise

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return lock.hold(self.state_directory, self.request.who, self.request.action, self.request.wait)

    def _run_locked(self, agreed: bool) -> Result:
        with Journal(self.state_directory) as journal:
            if recovery.is_needed(journal):
                # Before anything is read: what was left half done may be what httpd does not accept.
                self._tell_recovered(_recovered(self.settings, journal, self.watcher))
            _refuse_known(journal, self.request.identity)
            surroundings = survey_server(self.settings)
            server = make_server(surroundings.means, journal, self.watcher)
            made = self._plan(surroundings.situation, journal)
            if self.request.tag and self.request.tag != made.tag:
                raise Problem(
                    "changed-meanwhile",
                    "The server's configuration changed since the plan was shown, so nothing was done. "
                    "Look at the new plan, then confirm it.",
                )
            if made.acts and not agreed:
                raise needs_consent()
            settled = None if made.changes else self._settled(made, server, surroundings.situation)
            if not (settled or agreed):
                raise needs_consent()
            if not settled:
                running.refuse_without_room(server.apache)
            with followed(self.settings, self._relay_then(made, journal)) as ending:
                result = settled or transaction.execute(made, server, self.request.identity, self.began)
                ending.done, ending.unknown = result.state == DONE, result.state == FAILED
            return result

    def _relay_then(self, made: Plan, journal: Journal) -> int | None:
        """Which relay Apache asks after the change, 0 where that ends for good, None where it is no matter of it.

        An off replaces the shield's block for as long as stapling is off: the relay stays, for the return.
        """
        if port := the_changes.relay_port(made.changes):
            return port
        if self.request.action == SHIELD_ON:
            return self.request.shield_port
        undone = self.request.action == UNDO and _undoable(journal, self.request.undone)
        ends = self.request.action == SHIELD_OFF or (undone and undone.action == SHIELD_ON)
        return 0 if ends else None

    def _plan(self, situation: Situation, journal: Journal) -> Plan:
        asked = self.request
        if asked.action == SHIELD_ON:
            service.require_port(asked.shield_port)
        else:
            asked = replace(asked, shield_port=wished_port(self.state_directory))
        made = self._made(asked, situation, journal)
        shielded = asked.shield_port and asked.action not in (SHIELD_OFF, OFF)
        return made if shielded else made.knowing(self.foresight(self.state_directory, made))

    def _made(self, asked: ChangeRequest, situation: Situation, journal: Journal) -> Plan:
        if asked.action != UNDO:
            return plan.make(asked, situation)
        undone = _undoable(journal, asked.undone)
        changes = _way_back(journal.files(undone.id))
        return plan.make(asked, situation, changes, str(undone.plan.get("site") or ""))

    def _settled(self, made: Plan, server: ChangeTarget, now: Situation) -> Result | None:
        """With nothing to write: done, unless Apache does not serve as its files say (then it is restarted).

        Where stapling is on, a responder that fails looks the same; then only Apache's not having read its files
        since they changed justifies a restart, which would empty its cache of good staples.
        """
        met = handshakes([s.door for s in made.samples], ask=True, limit=server.patience.quick)
        verdict = judge(made.samples, met)
        good = verdict.served and verdict.as_wanted
        if not good and not (made.stapling_now and _has_read(now.tree, server.apache)):
            return None
        sentence = f"{made.nothing_written} {verdict.sentence}"
        seconds = time.monotonic() - self.began
        settled = Result(
            "", made.action, DONE, sentence, verdict=verdict, seconds=seconds, warnings=made.warnings
        )
        settled = transaction.with_still_waiting(settled, made, server.patience)
        if made.ends_shield:
            # Without a file it is nothing to take back, so the result names no operation; who did it is kept.
            begun = server.journal.begin(
                made.action, made.who, made.reason, made.as_json(), (), self.request.identity
            )
            server.journal.finish(begun.id, DONE, settled.as_json())
        return settled

    def _tell_recovered(self, results: Sequence[Result]) -> None:
        for each in results:
            self.watcher("recover", {"sentence": each.sentence}, time.monotonic() - self.began)

    def _record_refusal(self, problem: Problem) -> None:
        if not self.request.identity:
            return
        result = Result(self.request.identity, self.request.action, REFUSED, problem.sentence, problem)
        with Journal(self.state_directory) as journal:
            if journal.operation(self.request.identity) is None:
                asked = self.request
                journal.begin(asked.action, asked.who, asked.reason, {}, (), asked.identity)
                journal.finish(asked.identity, REFUSED, result.as_json())


def require_root() -> None:
    """Raise Problem `not-root` unless we are root."""
    if os.geteuid() != 0:
        raise not_root()


def needs_consent() -> Problem:
    """Return the Problem for a change that nobody agreed to."""
    return Problem("needs-consent", "Nothing was changed: without a terminal to ask on, --yes is needed.")


def make_server(means: Means, journal: Journal, watcher: Watcher) -> ChangeTarget:
    """Return what a transaction works on."""
    return ChangeTarget(means.apache, means.configtest, means.read, journal, means.patience, watcher)


def recover(settings: Settings, watcher: Watcher) -> list[Result]:
    """Finish what a killed process left; [] when there is nothing, or when a change is running right now."""
    if os.geteuid() != 0 or not (settings.state_directory / "journal.sqlite").exists():
        return []
    with Journal(settings.state_directory) as journal:
        if not recovery.is_needed(journal):
            return []
        try:
            with taken_back(), lock.hold(settings.state_directory, "recovery", "recover"):
                return _recovered(settings, journal, watcher)
        except Problem as problem:
            if problem.code == "busy":
                return []
            raise


def _recovered(settings: Settings, journal: Journal, watcher: Watcher) -> list[Result]:
    def reconciled(ended: Sequence[Result]) -> None:
        reconcile(settings, forget=any((one.action, one.state) in _ENDS_SHIELD for one in ended))

    return recovery.recover(make_server(find_means(settings), journal, watcher), reconciled)


def _refuse_known(journal: Journal, identity: str) -> None:
    if identity and journal.operation(identity) is not None:
        raise Problem(
            "operation-known", f"Operation {identity[:60]} was carried out already; nothing was done."
        )


def _has_read(tree: ConfigTree, apache: Apache) -> bool:
    """Whether Apache read its configuration after the last change of any file of it."""
    read = apache.mark().pid_file
    return read is not None and all(_written(path) <= read[1] for path in set(tree.files))


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _way_back(records: Sequence[FileRecord]) -> tuple[Change, ...]:
    """The changes that take an operation back. Raises Problem `nothing-to-undo` or `changed-since`."""
    if not records:
        raise Problem(
            "nothing-to-undo", "That operation changed no file, or so long ago that its bytes are not kept."
        )
    return tuple(_reverse(record) for record in records)


def _undoable(journal: Journal, identity: str) -> Operation:
    """The last operation that did something, or the one named. Raises `nothing-to-undo`, `unknown-operation`."""
    if identity:
        found = journal.called(identity)
        if found is None or found.state != DONE:
            what = "is not known" if found is None else f"ended as '{found.state}'"
            raise Problem(
                "unknown-operation", f"Operation {identity[:60]} {what}, so there is nothing to take back."
            )
        return found
    done = [each for each in journal.operations(limit=200, state=DONE) if journal.files(each.id)]
    if not done:
        told = f" ({journal.lost})" if journal.lost else ""
        raise Problem("nothing-to-undo", f"The history holds no change that could be taken back{told}.")
    return done[0]


def _reverse(record: FileRecord) -> Change:
    now = files.snapshot(record.path)
    if now.content != record.after:
        raise Problem(
            "changed-since",
            f"{record.path} was changed since that operation, so it cannot be taken back byte for byte. "
            "Use `ocsp-stapling on` or `off`, which touch only the plugin's own block.",
        )
    return Change(now, record.before)
