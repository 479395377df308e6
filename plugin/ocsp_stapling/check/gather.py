"""One survey from beginning to end. The order of things:

at once      the probe, name servers, status pages, the error log, this server, the first handshakes
after those  what only a failed probe makes worth asking: root's view, the firewall, other machines, a route trace
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TypeVar

from ocsp_stapling.apache.httpd import ConfigTestResult, Httpd
from ocsp_stapling.apache.layout import Layout, read_layout
from ocsp_stapling.ca.directory import directory
from ocsp_stapling.change import lock
from ocsp_stapling.check import network, surroundings, vantage
from ocsp_stapling.check.deadline import Part
from ocsp_stapling.check.diagnosis.explanation import can_hold_up
from ocsp_stapling.check.diagnosis.handshakes import STALL_SECONDS
from ocsp_stapling.check.diagnosis.special_cases import unasked_words
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    Elsewhere,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
)
from ocsp_stapling.check.followup import Followup, of_turned_off
from ocsp_stapling.check.handshakes import meet
from ocsp_stapling.check.questions import Served, Single, Subject, sort_endpoints
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.host.resolver import NameCheck, check_names
from ocsp_stapling.host.routes import Ipv6Kind
from ocsp_stapling.ocsp.finding import Outcome, ResponderFinding
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.server import state as server
from ocsp_stapling.server.front import in_front
from ocsp_stapling.server.logs import ErrorLogs, error_logs
from ocsp_stapling.server.names import HTTPS
from ocsp_stapling.server.retirement import retirement
from ocsp_stapling.server.state import ServerState
from ocsp_stapling.settings import Settings
from ocsp_stapling.shield.standing import ShieldEvidence, Standing
from ocsp_stapling.text import counted

_T = TypeVar("_T")
_Met = TypeVar("_Met", Subject, Single)
_MARGIN_SECONDS = 0.15
_SECOND_LOOK_SECONDS = 0.15
_AFTERWARDS_SECONDS = 1.2
"""What is kept for the questions that follow a failed probe."""
UNREAD_LOG = LogEvidence(unreadable="not read to its end in time")
"""Of a log that was too long to read, nobody may say that it has no failures."""
_MIXED = "A change was made during this check, so parts of it tell of the time before: check again."
_NAMES_SECONDS, _NAMES_ASKED = 0.5, 12
_UNKNOWN_HOST = HostEvidence(front=Server.UNKNOWN, apache_running=None, ipv6=Ipv6Kind.UNKNOWN)


@dataclass(frozen=True)
class Request:
    """How a survey is to be made. `pasted` are results from another machine, already taken apart."""

    settings: Settings
    deadline_seconds: float
    pasted: tuple[vantage.PastedReply, ...] = ()
    trace: bool = False
    """Whether to trace the route to addresses that cannot be reached."""
    progress: Callable[[str], None] = lambda _text: None
    read_log: Callable[[ErrorLogs, datetime], LogEvidence] = surroundings.read_log
    """How the error log is read: whole, or (by the watch) from where the last look ended."""


def survey(request: Request) -> Evidence:
    """Return everything that could be found out by the deadline; a part that fails or is late is a problem in it.

    Where a change came in between, one half would be of the server before it and one of that after: the change is
    waited for (as long again), and all is looked at anew. Raises Problem `no-cpanel`, `bad-paths-conf` or
    `no-httpd-conf` when there is no Apache to look at.
    """
    found, mixed = _undisturbed(request)
    if mixed:
        request.progress("a change was made meanwhile: looking again")
        found, mixed = _undisturbed(request)
    return replace(found, problems=(*found.problems, _MIXED)) if mixed else found


def _undisturbed(request: Request) -> tuple[Evidence, bool]:
    """A survey, and whether a change came in between."""
    began = time.time()
    found = _Survey(request, read_layout(), time.monotonic()).run()
    return found, lock.overtaken(request.settings.state_directory, began, request.deadline_seconds)


class _Survey:
    def __init__(self, request: Request, layout: Layout, began: float) -> None:
        self.request, self.layout, self.began = request, layout, began
        self.settings = request.settings
        self.now = datetime.now(UTC)
        self.deadline = began + request.deadline_seconds - _MARGIN_SECONDS
        self.problems: list[Callable[[], str]] = []

    def run(self) -> Evidence:
        self.request.progress("reading Apache's configuration and certificates")
        state = server.look(self.settings.state_directory, now=self.now, layout=self.layout)
        authorities = directory(self.settings.authorities)
        served = sort_endpoints(state.endpoints, authorities, anywhere=state.loses_staples)
        self.request.progress(_asking(served))
        return self._gather(state, served)

    def _gather(self, state: ServerState, served: Served) -> Evidence:
        probe = self._part("The probe of the responders", lambda: self._probe(served, state))
        names = self._part("Name resolution", lambda: self._names(served))
        pages = self._part("The authorities' status pages", lambda: self._pages(served))
        logs = error_logs(state)
        log = self._part("The error log", lambda: self.request.read_log(logs, self.now))
        tested = self._part("The configuration test", lambda: _refused(Httpd(self.layout).configtest()))
        host = self._part("This server", lambda: self._host(state))
        shield = self._shield(state)
        met, asks = self._meeting(served, state, probe)
        findings = probe.result(self.deadline, _late(served))
        checks = {check.name: check for check in names.result(self.deadline, ())}
        after = self._follow_up(served, findings, state, checks)
        handshakes = met.result(self.deadline, ())
        away = Part("The sites' names", lambda: self._led_elsewhere(handshakes))
        found = Evidence(
            taken_at=self.now.astimezone(),
            seconds=0.0,
            names=served.names,
            responders=after.responders(self.deadline),
            asked=after.asked(self.deadline),
            stapling=served.stapling,
            incomplete_chains=served.incomplete,
            never_stapled=served.never_stapled,
            strict_off=served.strict_off,
            turned_off=of_turned_off(served.turned_off, findings[len(served.subjects) :]),
            retirement=retirement(one for each in state.endpoints for one in each.certificates),
            unreadable=served.unreadable,
            unasked=served.unasked,
            handshakes=handshakes,
            led_elsewhere=away.result(self.deadline, {}),
            apache_asks=asks.result(self.deadline, {}),
            log=self._told(self._log_at_last(logs, log, handshakes), logs, handshakes),
            authorities=pages.result(self.deadline, ()),
            configuration=surroundings.read_configuration(state, tested.result(self.deadline, "")),
            shield=self._shielded(shield.result(self.deadline, None)),
            shield_offered=surroundings.offers_shield(state, self.settings),
            host=replace(host.result(self.deadline, _UNKNOWN_HOST), traces=after.traces(self.deadline)),
        )
        return self._complete(found, served)

    def _complete(self, evidence: Evidence, served: Served) -> Evidence:
        problems = (*_left_out(served), *filter(None, (told() for told in self.problems)))
        return replace(evidence, problems=problems, seconds=time.monotonic() - self.began)

    def _names(self, served: Served) -> tuple[NameCheck, ...]:
        chosen = self.settings.probe
        seconds = min(2 * chosen.timeout_seconds, chosen.deadline_seconds)
        return check_names(_hosts(served.subjects), chosen.public_resolvers, seconds)

    def _host(self, state: ServerState) -> HostEvidence:
        return surroundings.read_host(self.layout, state.tree, network.worker_of(state.tree))

    def _shield(self, state: ServerState) -> Part[Standing | None]:
        return self._part("The shield", lambda: surroundings.read_shield(state, self.settings))

    def _pages(self, served: Served) -> tuple[AuthorityEvidence, ...]:
        return surroundings.read_authorities(served.authorities, self.settings, self.now)

    def _told(self, log: Part[LogEvidence], logs: ErrorLogs, met: Sequence[HandshakeEvidence]) -> LogEvidence:
        said = surroundings.unless_hidden(log.result(self.deadline, UNREAD_LOG), logs)
        if _waited(met):
            said = surroundings.no_all_clear(said)
        return surroundings.since_the_change(said, self.settings.state_directory)

    def _log_at_last(
        self, logs: ErrorLogs, first: Part[LogEvidence], met: Sequence[HandshakeEvidence]
    ) -> Part[LogEvidence]:
        """While visitors wait the log is read once more: what they wait for was not in it yet at the beginning."""
        if not _waited(met) or self.deadline - time.monotonic() < _SECOND_LOOK_SECONDS:
            return first
        again = Part("The error log", lambda: self.request.read_log(logs, datetime.now(UTC)))
        again.result(min(self.deadline, time.monotonic() + 4 * _SECOND_LOOK_SECONDS), UNREAD_LOG)
        return first if again.problem else again

    def _led_elsewhere(self, met: Sequence[HandshakeEvidence]) -> dict[str, tuple[str, ...]]:
        """Nothing is asked for the names of customers unless somebody waits."""
        seconds = min(_NAMES_SECONDS, self.deadline - time.monotonic())
        if not _waited(met) or seconds <= 0:
            return {}
        return network.led_elsewhere(list(dict.fromkeys(one.site for one in met))[:_NAMES_ASKED], seconds)

    def _part(self, what: str, work: Callable[[], _T]) -> Part[_T]:
        part = Part(what, work)
        self.problems.append(lambda: part.problem)
        return part

    def _probe(self, served: Served, state: ServerState) -> tuple[ResponderFinding, ...]:
        asked = (*served.subjects, *served.turned_off)
        if not asked:
            return ()
        whole = self.request.deadline_seconds
        end = self.deadline - min(_AFTERWARDS_SECONDS, whole / 8)
        return self._ask(state, [subject.target for subject in asked], end)

    def _ask(self, state: ServerState, targets: Sequence[Target], end: float) -> tuple[ResponderFinding, ...]:
        who = network.identity(network.worker_of(state.tree), state.tree.group)
        return network.probe(targets, self.settings.probe, who, end)

    def _shielded(self, found: Standing | None) -> ShieldEvidence | None:
        if found:
            self.problems.append(lambda: found.unread_words)
        return found

    def _meeting(
        self, served: Served, state: ServerState, probe: Part[tuple[ResponderFinding, ...]]
    ) -> tuple[Part[tuple[HandshakeEvidence, ...]], Part[dict[str, float]]]:
        """The handshakes, and whom Apache asks while they are made."""
        done, until = threading.Event(), self.deadline - _MARGIN_SECONDS
        met = self._part("The handshakes", lambda: self._meet(served, state, probe, done))
        asks = self._part(
            "What Apache asks", lambda: surroundings.apache_asks(self.layout, state.tree, done, until)
        )
        return met, asks

    def _meet(
        self,
        served: Served,
        state: ServerState,
        probe: Part[tuple[ResponderFinding, ...]],
        done: threading.Event,
    ) -> tuple[HandshakeEvidence, ...]:
        def failing(deadline: float) -> frozenset[str]:
            findings = probe.result(deadline, ())
            return frozenset(
                found.url for found in findings if not found.outcome.is_good and can_hold_up(found)
            )

        subjects = _at_the_front(served.subjects, state)
        timeout = state.stapling.responder_timeout
        try:
            return meet(subjects, timeout, self.deadline, failing, widely=state.loses_staples)
        finally:
            done.set()

    def _follow_up(
        self,
        served: Served,
        findings: Sequence[ResponderFinding],
        state: ServerState,
        checks: Mapping[str, NameCheck],
    ) -> Followup:
        request = self.request
        targets = [subject.target for subject in served.subjects]
        pasted = vantage.judge(request.pasted, targets, vantage.PASTED, self.now)
        if request.pasted and not pasted:
            told = "The pasted result answers a question that is no longer asked: run its line again."
            self.problems.append(lambda: told)
        known: Mapping[str, Elsewhere] = pasted
        return Followup(
            served.subjects,
            findings[: len(served.subjects)],
            network.worker_of(state.tree),
            known,
            self.settings.elsewhere.ssh_hosts,
            self.now,
            max(self.deadline - time.monotonic(), 0.2),
            checks=checks,
            ask=lambda others, seconds: self._ask(state, others, time.monotonic() + seconds),
            trace=request.trace,
        )


def _waited(met: Sequence[HandshakeEvidence]) -> bool:
    return any(h.asked and (h.error == "timeout" or h.seconds >= STALL_SECONDS) for h in met)


def _hosts(subjects: Sequence[Subject]) -> list[str]:
    """The names to resolve: an address written into a URL is none."""
    return [host for subject in subjects if (host := subject.host) and not _is_address(host)]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _late(served: Served) -> tuple[ResponderFinding, ...]:
    return tuple(
        ResponderFinding(one.url, one.host, None, one.target.asks, None, 0, (), Outcome.DEADLINE)
        for one in (*served.subjects, *served.turned_off)
    )


def _at_the_front(subjects: Sequence[Subject], state: ServerState) -> Sequence[Subject]:
    """Where another server answers visitors, they are met there: what Apache does behind it is not what they meet."""
    if in_front(state.layout, state.tree).server.is_apache:
        return subjects
    return [
        replace(
            _there(one), asked=_there(one.asked) if one.asked else None, others=tuple(map(_there, one.others))
        )
        for one in subjects
    ]


def _there(one: _Met) -> _Met:
    return replace(one, doors=tuple(replace(door, port=HTTPS) for door in one.doors))


def _refused(tested: ConfigTestResult) -> str:
    return "" if tested.ok else tested.message or "httpd gave no reason."


def _left_out(served: Served) -> tuple[str, ...]:
    if not served.unasked:
        return ()
    sites = counted(len({site.name for site in served.unasked}), "site")
    return (f"The responders of {sites} were not asked: {unasked_words(served.unasked)}",)


def _asking(served: Served) -> str:
    count = len({one.url for one in served.subjects})
    return f"asking {count} responder{'s' if count != 1 else ''} for {len(served.names)} TLS sites"
