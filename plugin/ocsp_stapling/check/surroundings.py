"""What this server tells about itself: configuration, error log, who holds port 443, load; and the authorities."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from ocsp_stapling.apache.errorlog.codes import Kind
from ocsp_stapling.apache.errorlog.failures import Summary, summarise
from ocsp_stapling.apache.errorlog.line import moment
from ocsp_stapling.apache.errorlog.read import entries_of_all, foreign_entries
from ocsp_stapling.apache.httpd import Httpd
from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.apache.processes import parent, workers
from ocsp_stapling.apache.tree import ConfigTree, Directive
from ocsp_stapling.ca.status import AuthorityStatus, status_of
from ocsp_stapling.change.journal import NAME, Journal
from ocsp_stapling.change.note import off_note
from ocsp_stapling.check.diagnosis.handshakes import STALL_SECONDS
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    ConfigurationEvidence,
    HostEvidence,
    LogEvidence,
    OwnSwitch,
    SteeringLine,
)
from ocsp_stapling.check.incident.follow import LAST_WAITS
from ocsp_stapling.host.connections import asked_by
from ocsp_stapling.host.limits import read_load, selinux_denies, tracking_full
from ocsp_stapling.host.routes import ipv6_kind
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.front import in_front
from ocsp_stapling.server.logs import ErrorLogs
from ocsp_stapling.server.state import ServerState
from ocsp_stapling.settings import Authority, Settings
from ocsp_stapling.shield import service
from ocsp_stapling.shield.refresh import DIRECTORY, wanted
from ocsp_stapling.shield.standing import Standing, standing
from ocsp_stapling.text import place_of

SILENT_YET = "That is no all-clear while visitors wait: Apache writes of a failure only once it gives up."
_DAY = timedelta(days=1)
_LOOK_SECONDS, _ASKED_AT_MOST = 0.2, 20


def apache_asks(layout: Layout, tree: ConfigTree, met: threading.Event, until: float) -> dict[str, float]:
    """Return whom Apache asks while handshakes are made that wait (ADDRESS:PORT), each with its share of all looks.

    Its workers ask one after the other, under one lock: whoever is asked most keeps all the others waiting, whatever
    he answers to us. Nobody is looked at before a handshake has waited; `until` is the end (time.monotonic).
    """
    if met.wait(STALL_SECONDS):
        return {}
    found, looks = Counter[tuple[str, int]](), 0
    running = parent(Httpd(layout).pid_file(tree), layout.httpd)
    while running and time.monotonic() < until:
        found.update(asked_by([one.pid for one in workers(running)]))
        looks += 1
        if met.wait(_LOOK_SECONDS):
            break
    return {place_of(*asked): count / looks for asked, count in found.most_common(_ASKED_AT_MOST)}


def read_log(logs: ErrorLogs, now: datetime) -> LogEvidence:
    """Return the stapling failures of the last day in Apache's error logs; never raises."""
    local = now.astimezone().replace(tzinfo=None)
    try:
        own = _told(
            summarise(entries_of_all(logs.roots, local - _DAY, forms=logs.forms), local, logs.client_checks)
        )
    except Problem as problem:
        return LogEvidence(unreadable=problem.sentence)
    return together([own, read_foreign(logs, local)]) if logs.foreign else own


def read_foreign(logs: ErrorLogs, local: datetime) -> LogEvidence:
    """Return what the logs say that others can write (`local` is naive): counted, but nothing of this very moment.

    Who writes a log of their own must not make it look as if visitors waited just now, or as if Apache, should it be
    down, had died of stapling.
    """
    found = _told(
        summarise(foreign_entries(logs.foreign, local - _DAY, logs.forms), local, logs.client_checks)
    )
    kinds = {kind: count for kind, count in found.kinds.items() if kind != Kind.NO_CACHE.value}
    return replace(found, kinds=kinds, last="", fresh_timeouts=0, fresh_unkept=0, since={})


def _told(found: Summary) -> LogEvidence:
    return LogEvidence(
        found.last_hour,
        found.last_day,
        found.last or "",
        {one.responder or "": one.failures for one in found.responders},
        {kind.value: count for kind, count in (*found.kinds, *found.noted)},
        fresh_timeouts=found.fresh_timeouts,
        fresh_unkept=found.fresh_unkept,
        since=dict(found.since),
    )


def together(found: Sequence[LogEvidence]) -> LogEvidence:
    """What all logs say. That the server's own cannot be read is said; one of a virtual host may be missing."""
    responders: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for one in found:
        responders.update(one.responders)
        kinds.update(one.kinds)
    return LogEvidence(
        sum(one.last_hour for one in found),
        sum(one.last_day for one in found),
        max(one.last for one in found),
        dict(responders.most_common()),
        dict(kinds.most_common()),
        found[0].unreadable,
        fresh_timeouts=sum(one.fresh_timeouts for one in found),
        fresh_unkept=sum(one.fresh_unkept for one in found),
        since=dict(sorted((each for one in found for each in one.since.items()), reverse=True)),
    )


def unless_hidden(log: LogEvidence, logs: ErrorLogs) -> LogEvidence:
    """Return what the log says; where a LogLevel keeps stapling's errors out, that it is silent proves nothing."""
    told = " ".join(logs.unheard)
    if logs.hidden_by and not (log.last_day or log.unreadable):
        return replace(log, unreadable=told)
    return replace(log, unheard=told)


def no_all_clear(log: LogEvidence) -> LogEvidence:
    """Return what the log says, seen while visitors wait: that it tells of no failure is nothing good then."""
    if log.last_day or log.unreadable:
        return log
    return replace(log, unheard=f"{log.unheard} {SILENT_YET}".strip())


def since_the_change(log: LogEvidence, state_directory: Path) -> LogEvidence:
    """Return what the log says without the waits that the last change has ended; old workers may still end theirs."""
    if not (log.fresh_timeouts or log.fresh_unkept) or not (state_directory / NAME).exists():
        return log
    with Journal(state_directory) as journal:
        ended = next((one.finished for one in journal.operations(1) if one.finished), 0.0)
    last = moment(log.last)
    over = last is not None and last.timestamp() <= ended + LAST_WAITS
    return replace(log, fresh_timeouts=0, fresh_unkept=0) if over else log


def read_configuration(server: ServerState, refused: str = "") -> ConfigurationEvidence:
    """Return whether stapling is on, who decided it and who is asked; of our own block also when, who and why.

    `refused` are httpd's words if it does not accept its configuration.
    """
    state = server.stapling
    line, note = state.decided_by, off_note(state)
    return ConfigurationEvidence(
        on=state.on,
        origin=state.origin,
        where=_where(line, server),
        line=line.text.strip() if line else "",
        still_on=()
        if state.on
        else tuple(one.name for one in server.endpoints if one.stapling and one.can_staple),
        off_since=note.since,
        off_by=note.by,
        reason=note.reason,
        findings=tuple(finding.message for finding in server.tree.findings),
        directives=tuple(f"{_where(d)}: {d.text.strip()}" for d in state.directives if d.vhost is None),
        force_url=None if server.shielded else _steering(state.force_url),
        proxy=_steering(state.proxy),
        error_seconds=state.error_seconds,
        max_age=_steering(state.max_age),
        md_stapling=_steering(state.md_stapling),
        no_patience=_steering(server.tree.last("SSLStaplingResponderTimeout"))
        if state.responder_timeout == 0
        else None,
        own_on=_own(server, on=True),
        own_off=_own(server, on=False),
        refused=refused,
        refused_at=_named_by(refused, server),
        has_cache=state.cache is not None,
        cache=_steering(state.cache),
        cache_places=state.cache_places,
        stapled_certificates=server.asking_count,
    )


def _own(server: ServerState, *, on: bool) -> tuple[OwnSwitch, ...]:
    return tuple(
        OwnSwitch(one.name, _where(one.override, server), one.override_directory is not None)
        for one in server.endpoints
        if one.override and one.stapling is on and one.can_staple
    )


def _steering(line: Directive | None) -> SteeringLine | None:
    """A line that steers whom Apache asks; `of_site`: it holds for a virtual host alone."""
    return SteeringLine(line.name, line.value, _where(line), line.vhost is not None) if line else None


def _where(line: Directive | None, server: ServerState | None = None) -> str:
    """`FILE:LINE`; of a line that comes from an own template, there, for an edit of httpd.conf would be lost."""
    if line is None:
        return ""
    return server.place_of(line) if server else f"{line.file}:{line.line}"


_NAMED = re.compile(r'on line (\d{1,9}) of "?(/[^\s:"]+)')
"""In a macro httpd names where it is defined, and then where it is used."""


def _named_by(words: str, server: ServerState) -> str:
    """The place that httpd names, as `FILE line N`; of a line of an own template also where it comes from."""
    # Warnings may stand before it.
    named = next(filter(None, map(_NAMED.findall, words.splitlines())), [])
    if not named:
        return ""
    line, file = named[-1]
    place = f"{file} line {line}"
    if Path(file) != server.tree.conf:
        return place
    number = int(line)
    try:
        text = server.tree.conf.read_text("utf-8", "replace").splitlines()[number - 1]
    except (OSError, IndexError):
        return place
    before = [
        v.place for v in server.tree.vhosts if v.place.file == server.tree.conf and v.place.line <= number
    ]
    own = server.template_line(text, before[-1] if before else None)
    return f"{place}, written from {own.file} line {own.line}: mend it there" if own else place


def offers_shield(server: ServerState, settings: Settings) -> bool:
    """Return whether the shield can be turned on and is wanted before an off."""
    wanted_first = settings.switch.first_aid == "shield" and not server.shielded
    return wanted_first and service.UNIT_FILE.exists() and server.stapling.md_stapling is None


def read_shield(server: ServerState, settings: Settings) -> Standing | None:
    """Return how the shield stands, None if it is not on."""
    if not server.shielded:
        return None
    return standing(*wanted(server.endpoints), settings.state_directory, DIRECTORY)


def read_host(layout: Layout, tree: ConfigTree, worker: str) -> HostEvidence:
    """Return who holds port 443, whether Apache runs, IPv6 and load."""
    owner, load, ipv6 = in_front(layout, tree), read_load(), ipv6_kind()
    return HostEvidence(
        front=owner.server,
        front_sentence=owner.sentence,
        apache_running=parent(Httpd(layout).pid_file(tree), layout.httpd) is not None,
        ipv6=ipv6,
        ipv6_sentence=ipv6.sentence,
        load_normal=load.normal,
        load_sentence=load.sentence,
        hostname=socket.gethostname(),
        worker_user=worker,
        selinux_denies=selinux_denies(),
        tracking_full=tracking_full(),
    )


def read_authorities(
    authorities: Sequence[Authority], settings: Settings, now: datetime
) -> tuple[AuthorityEvidence, ...]:
    """Return what the authorities' status pages say."""
    found = status_of(authorities, settings, now)
    return tuple(_authority(one, said) for one, said in zip(authorities, found, strict=True))


def _authority(one: Authority, said: AuthorityStatus) -> AuthorityEvidence:
    incidents = tuple(f"{incident.title} ({incident.state})" for incident in said.incidents[:5])
    return AuthorityEvidence(said.authority, said.level, said.sentence, said.url, incidents, one.ocsp_ended)
