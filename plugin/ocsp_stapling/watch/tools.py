"""What a pass of the watch works with on a real server: the survey, the switch, mail and hook.

The watch itself only looks. A change, and the recovery of one that was interrupted, run as units of their own:
they restart Apache, which must neither inherit the confinement of the watch's service nor end with it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ocsp_stapling.change import lock
from ocsp_stapling.change.jobs import Operations, launcher
from ocsp_stapling.change.journal import Journal, new_identity, unfinished
from ocsp_stapling.change.request import OFF, REASON_LIMIT, SHIELD_OFF, SITE_OFF, ChangeRequest
from ocsp_stapling.change.transaction import DONE
from ocsp_stapling.check import result
from ocsp_stapling.check.gather import Request as SurveyRequest
from ocsp_stapling.check.gather import survey
from ocsp_stapling.check.incident import present
from ocsp_stapling.check.ticket import ticket
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.state import look
from ocsp_stapling.settings import Settings
from ocsp_stapling.shield import service
from ocsp_stapling.shield.keeping import refresh_now
from ocsp_stapling.shield.standing import answers, wish, wished_port
from ocsp_stapling.text import capital, uncapital, versioned
from ocsp_stapling.watch import outbox
from ocsp_stapling.watch.logcount import LogReader
from ocsp_stapling.watch.observe import WHO
from ocsp_stapling.watch.policy import Task, Topic
from ocsp_stapling.whm import notification

STILL_OFF = "still-off"
Document = Mapping[str, Any]
_STATUS_PAGE_SECONDS = 600.0
_SWITCH_SECONDS = 300.0
_RECOVERY_SECONDS = 180.0
_IDLE_SECONDS = 10.0
_LOG_SECONDS = 60.0
_TICK = 0.2
_REFRESH_SECONDS = 30.0
_COMMAND = Path(sys.executable).with_name("ocsp-stapling")


@dataclass(frozen=True)
class Ended:
    """How a switch ended: done, still-off, refused, restored, failed, interrupted or running; and in words."""

    state: str
    sentence: str = ""


@dataclass(frozen=True)
class Tools:
    """What a pass works with; tests put a world of their own in its place.

    `recover` brings an interrupted change to its end and says whether a change is (still) running. `tell` tells
    people about an action and the check behind it, and returns what failed about that.
    """

    check: Callable[[Settings], Document]
    switch: Callable[[str, str, Settings], Ended]
    recover: Callable[[Settings], bool]
    tell: Callable[[Task, Document, Settings], list[str]]
    clock: Callable[[], float] = time.time
    switch_alone: Callable[[str, str, Settings], Ended] = lambda site, reason, settings: make_switch(
        SITE_OFF, reason, settings, site
    )
    """Turns stapling off for a site alone."""
    post: Callable[[Settings], int] = lambda _settings: 0
    """Tries mails again that were not taken; returns how many went."""
    shield: Callable[[Settings, list[str]], bool] = lambda _settings, _problems: False
    """Refreshes the shield's answers; says whether its relay is dead for good while Apache asks it."""
    give_up: Callable[[bool, Settings], Ended] = lambda _healthy, _settings: Ended("refused")
    """Takes the shield's block out in that case; told whether every responder is healthy."""


def make_check(settings: Settings) -> Document:
    """Survey the server, keep the result as the last check and return its document."""
    pages = settings.status_pages
    calm = replace(pages, cache_seconds=max(pages.cache_seconds, _STATUS_PAGE_SECONDS))
    log = LogReader(settings.state_directory)
    chosen = replace(settings, status_pages=calm)
    evidence = survey(SurveyRequest(chosen, settings.probe.deadline_seconds, read_log=log))
    check = result.judged(evidence)
    with contextlib.suppress(OSError):
        result.store(settings.state_directory, check, "watch")
    log.wait(_LOG_SECONDS)
    return check.document()


def make_switch(action: str, reason: str, settings: Settings, site: str = "") -> Ended:
    """Carry out `off` or `on` in the watch's name. An `off` of the watch returns by itself."""
    operations, identity = Operations(settings.state_directory), new_identity()
    try:
        request = ChangeRequest(
            action,
            WHO,
            reason[:REASON_LIMIT],
            return_when_healthy=action == OFF,
            identity=identity,
            site=site,
        )
        operations.start(request)
        deadline = time.monotonic() + _SWITCH_SECONDS
        while not (found := operations.follow(identity)).ended and time.monotonic() < deadline:
            time.sleep(_TICK)
    except Problem as problem:
        return Ended("refused", problem.sentence)
    result = found.result or {}
    error = result.get("error") or {}
    words = [
        str(result.get("sentence") or error.get("sentence") or ""),
        *map(str, result.get("warnings", ())),
    ]
    state = STILL_OFF if action == "on" and _stays_off(settings.state_directory, identity) else found.state
    return Ended(state, " ".join(filter(None, words)))


def _stays_off(directory: Path, identity: str) -> bool:
    """Whether our lines went, but somebody else's keep stapling off: done, and yet not what was wanted."""
    with Journal(directory) as journal:
        operation = journal.operation(identity)
    return operation is not None and operation.state == DONE and operation.plan.get("stapling_then") == "off"


def recover(settings: Settings) -> bool:
    """Have an interrupted change brought to its end; return whether a change is running now."""
    directory = settings.state_directory
    if lock.interrupted(directory):
        argv = [str(_COMMAND), "watch", "--recover"]
        if launcher()(f"recovery-{os.getpid()}", argv).ok:
            _await_recovery(directory)
    return lock.is_held(directory)


def _await_recovery(directory: Path) -> None:
    """Wait until the change has ended; not for long when nobody is at it."""
    begun = busy = time.monotonic()
    while unfinished(directory):
        now = time.monotonic()
        busy = now if lock.is_held(directory) else busy
        if now - busy > _IDLE_SECONDS or now - begun > _RECOVERY_SECONDS:
            return
        time.sleep(_TICK)


def keep_shield(settings: Settings, problems: list[str]) -> bool:
    """See that the relay answers, start it anew if it does not, and ask for what is due.

    True: it is dead for good, and Apache asks it.
    """
    asked = look(settings.state_directory).relay_port
    port = asked or wished_port(settings.state_directory)
    dead = bool(port) and not (answers(port) or answers(port) or service.restart(port))
    if port:
        with noting(problems):
            done = refresh_now(settings, _REFRESH_SECONDS)
            if done.failed:
                problems.append(
                    f"The shield got no answer for {len(done.failed)} of {done.asked} certificates."
                )
    if dead and not asked:
        problems.append("The shield's relay does not answer; nobody asks it while stapling is off.")
    return dead and bool(asked)


def give_up_shield(healthy: bool, settings: Settings) -> Ended:
    """Have Apache ask the authorities itself if they are all well, else turn stapling off; without the dead relay."""
    name = SHIELD_OFF if healthy else OFF
    ended = make_switch(name, "the shield's relay does not answer", settings)
    if name == OFF and ended.state == DONE:  # else the return would wait for the relay
        wish(settings.state_directory, 0)
        service.stop()
    return ended


def tell(action: Task, check: Document, settings: Settings) -> list[str]:
    """Mail the server's contact and run the operator's hook; return in sentences what failed."""
    problems: list[str] = []
    host = str(check["this_server"]["name"])
    if settings.notify.mail:
        with noting(problems):
            subject = f"OCSP stapling on {host}: {_headline(action)}"
            attached = ticket(check, incident=present(settings.state_directory))
            mail = notification.message(notification.contacts(), subject, _text(action, check), attached)
            outbox.deliver(settings.state_directory, mail)
    if settings.notify.command:
        with noting(problems):
            notification.call_hook(settings.notify.command, _document(action, check))
    return problems


def send_again(settings: Settings) -> int:
    """Try the mails again that were not taken; return how many went. Raises Problem `mail-failed`."""
    return outbox.retry(settings.state_directory, time.time()) if settings.notify.mail else 0


@contextlib.contextmanager
def noting(problems: list[str]) -> Any:
    """What fails beside the point is noted as a sentence, and the pass goes on."""
    try:
        yield
    except Problem as problem:
        problems.append(problem.sentence)
    except OSError as error:
        problems.append(f"{error.filename or 'a file'}: {error.strerror}")
    except Exception as error:  # a fault in a ticket's text must not cost the memory of what was done
        problems.append(f"An unexpected error, please report it: {type(error).__name__}: {error}")


_HEADLINES = {
    (Topic.STALL, "stalled"): "HTTPS sites wait: ",
}


def _headline(action: Task) -> str:
    """What a list of mails has room for: what it means, and the first sentence of why."""
    first, _, more = action.reason.partition(". ")
    told = _HEADLINES.get((action.topic, action.about), "") if action.topic else ""
    return f"{told}{uncapital(first) if told else first}".removesuffix("" if more else ".")


def _text(action: Task, check: Document) -> str:
    said, seen = capital(action.reason), str(action.seen or check["sentence"])
    saw = "" if capital(seen) == said else f"What the watch saw: {seen}\n"
    return (
        f"{said}\n\n{saw}What to do: {action.advice or check['advice_sentence']}\n\n"
        "On the server: ocsp-stapling status, ocsp-stapling history\n"
        "Settings of the watch and of these mails: /etc/ocsp-stapling/config.toml, [watch] and [notify]\n"
    )


def _document(action: Task, check: Document) -> dict[str, Any]:
    facts = {
        "topic": action.topic,
        "about": action.about,
        "sentence": action.reason,
        "server": check["this_server"]["name"],
        "cause": check["cause"],
        "severity": check["severity"],
        "finding": action.seen or check["sentence"],
        "advice": "nothing" if action.advice else check["advice"],
        "advice_sentence": action.advice or check["advice_sentence"],
        "sites_affected_count": len(check["sites_affected"]),
        "must_staple_count": len(check["must_staple_sites"]),
    }
    return versioned("notification", facts)


REAL = Tools(
    make_check, make_switch, recover, tell, shield=keep_shield, give_up=give_up_shield, post=send_again
)
