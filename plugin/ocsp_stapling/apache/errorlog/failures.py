"""Stapling failures: the two or three lines of each as one, and how many of them, when, at which responder."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heappush, heappushpop

from ocsp_stapling.apache.errorlog.attribution import Worker, together, worker_of
from ocsp_stapling.apache.errorlog.codes import RULES, Kind, Scope
from ocsp_stapling.apache.errorlog.line import Entry, moment

# The last line of a failure -> the codes of the lines that may explain it (None: any line of the shared query).
_CLOSING: dict[str, frozenset[str] | None] = {
    "AH01941": None,
    "AH01945": frozenset({"AH01927", "AH01928", "AH01929"}),
    "AH01943": frozenset({"AH01934", "AH01935", "AH01936"}),
    "AH01944": frozenset(),
    "AH01955": frozenset({"AH01939", "AH01940", "AH02621"}),
    "AH01959": frozenset({"AH00023", "AH00024"}),
    **dict.fromkeys(
        ("AH02235", "AH02567", "AH02604"), frozenset({"AH02217", "AH02218", "AH02814", "AH02815"})
    ),
}
_UNKEPT = "AH01945"
_HALF_TOLD = frozenset({"AH01977", "AH01978", "AH01979", "AH02321"})
_OTHER_HALF = frozenset({"AH01980", "AH01983"})
"""The only pair of causes that one question has: how reading failed, then what was being read."""
_CAUSES = frozenset().union(*(codes for codes in _CLOSING.values() if codes))

# Said once per certificate when Apache starts, not when a handshake waits.
AT_START = frozenset({Kind.NO_ISSUER, Kind.NO_URI, Kind.NOT_CONFIGURED, Kind.NO_CACHE})
# Facts worth showing that are no failure to get a staple: a bad status is stapled too.
_NOT_FAILED = AT_START | {Kind.CERT_STATUS, Kind.LOCK}

_RESPONDERS = 100  # counted one by one; certificates name responders, so their number is up to customers
OTHERS = "others"
_SITES = 1000  # of one kind
_RECENT = 5
_FRESH = timedelta(minutes=2)
_UNANSWERED = frozenset({Kind.TIMEOUT, Kind.UNREACHABLE, Kind.DNS})
"""What no certificate of a customer's can make of a responder that answers."""
_LATE = timedelta(minutes=1)
"""A line so much older than one above it proves no run: a script, whose words may stand there, can date them back."""
_RUN, _GAP = timedelta(hours=12), timedelta(minutes=15)
"""A run of failures: a night at most. Apache asks again after ten minutes (SSLStaplingErrorCacheTimeout)."""
_WORKERS = 4096  # whose causes wait for their last line at a time
_WAITING = 8  # causes of one worker
_UNPAIRED = 64  # causes without an end, and ends without a cause, kept in case the other half comes
_SAME_PROCESS, _UNNAMED, _RACE = timedelta(seconds=1), timedelta(seconds=1), timedelta(milliseconds=1)
"""How far apart the halves may be: written by one process, by one that is not told, by different ones."""


_NUMBERED = re.compile(r"\A\([^()]*\)")
_LONG = 60  # of what Windows says, whole sentences


@dataclass(frozen=True)
class Failure:
    """One failure, of which Apache wrote `codes`. `responder` is None when no line names it (a reply timeout).

    `error` is what the operating system said of its cause, as Apache writes it.
    """

    time: str | None
    pid: int | None
    kind: Kind
    responder: str | None
    codes: tuple[str, ...]
    error: bytes | None = field(default=None, compare=False)
    site: str | None = None
    answer: str | None = field(default=None, compare=False)

    @property
    def reason(self) -> str:
        """What the responder answered or the operating system said, in their words; "" where the kind tells it."""
        if self.answer:
            return f"HTTP {self.answer}" if "AH01980" in self.codes else self.answer
        if self.kind is Kind.TIMEOUT:
            return ""
        error = _NUMBERED.sub("", (self.error or b"").decode("utf-8", "replace")).strip(" .:")
        return error if len(error) < _LONG else error[: _LONG - 4] + " ..."


@dataclass(frozen=True)
class ResponderCount:
    """Failures at one responder; `kinds` in the order of their number."""

    responder: str | None
    failures: int
    kinds: tuple[tuple[Kind, int], ...]
    first: str | None
    last: str | None


@dataclass(frozen=True)
class Summary:
    """Failures counted. Times are ISO 8601, local; `minutes` covers the 24 hours before `now`.

    `total` counts failed fetches and aborted handshakes. `noted` counts the rest by kind: complaints at start and
    certificates whose status is not good. `unproven`: lines that may be about client certificates instead, not
    counted; `probable`: how many failures rest on such lines, counted because nothing says that client certificates
    are checked.
    """

    total: int
    last_hour: int
    last_day: int
    first: str | None
    last: str | None
    kinds: tuple[tuple[Kind, int], ...]
    responders: tuple[ResponderCount, ...]
    minutes: tuple[tuple[str, str | None, int], ...]
    noted: tuple[tuple[Kind, int], ...]
    recent: tuple[Failure, ...]
    unproven: int
    undated: int
    probable: int = 0
    fresh_timeouts: int = 0
    """How many of the last two minutes held a handshake up."""
    fresh_unkept: int = 0
    """How many of them lost a good answer: the staple cache did not take it."""
    sites: tuple[tuple[Kind, tuple[str, ...]], ...] = ()
    """Which sites what was `noted` is about, of those that are named."""
    since: tuple[tuple[str, str], ...] = ()
    """Since when each responder ("": lines that name none) has not answered, in one run that reaches up to now."""

    @property
    def never_started(self) -> bool:
        """Whether stapling kept Apache from starting: no handshake failed for it then, for there was none."""
        return Kind.NO_CACHE in dict(self.noted)


def failures(lines: Iterable[Entry]) -> Iterator[Failure]:
    """Yield one Failure per failure. Lines not proven to be about stapling, and mere information, are left out.

    A cause and its AH01941 are one failure even where they stand in the wrong order, or where the process that wrote
    them is not told: writers race by microseconds, and people shorten what they paste.
    """
    unpaired: list[Failure] = []
    # More of them, of neither time nor process: any two halves fit (`uniq -c`).
    alike: deque[Failure] = deque()
    for found in _of_workers(lines):
        if not (_is_bare(found) or _is_lone_cause(found)):
            yield found
            continue
        other = next((one for one in unpaired if _belong(one, found)), None)
        if other is None:
            unpaired.append(found)
            if len(unpaired) > _UNPAIRED:
                old = unpaired.pop(0)
                if old.time or old.pid or len(alike) >= _WORKERS:
                    yield old
                else:
                    alike.append(old)
            continue
        unpaired.remove(other)
        if alike and _belong(alike[0], found):
            unpaired.append(alike.popleft())
        cause, closing = (found, other) if _is_bare(other) else (other, found)
        yield replace(cause, time=found.time or other.time, codes=(*cause.codes, *closing.codes))
    yield from (*alike, *unpaired)


def _is_bare(found: Failure) -> bool:
    return found.codes == ("AH01941",)


def _is_lone_cause(found: Failure) -> bool:
    return len(found.codes) == 1 and RULES[found.codes[0].encode()].scope is Scope.SHARED


def _belong(one: Failure, other: Failure) -> bool:
    if _is_bare(one) == _is_bare(other):
        return False
    first, second = (moment(found.time) if found.time else None for found in (one, other))
    apart = abs(second - first) if first and second else None
    if one.pid is not None and one.pid == other.pid:
        return apart is None or apart <= _SAME_PROCESS
    if apart is None:  # whoever left the dates out has picked these lines: what he shows together is one
        return one.pid is None or other.pid is None or not (first or second)
    return apart <= (_UNNAMED if one.pid is None or other.pid is None else _RACE)


def _of_workers(lines: Iterable[Entry]) -> Iterator[Failure]:
    """Yield one Failure for what one process and thread wrote in order."""
    waiting: dict[Worker, list[Entry]] = {}
    for line in lines:
        if not line.stapling or line.kind is None or (line.kind is Kind.OK_INFO and not line.responder):
            continue
        worker = worker_of(line)
        causes = waiting.pop(worker, [])
        if line.code in _CLOSING:
            own = _own_causes(causes, line)
            yield from _alone(causes[: len(causes) - len(own)])
            yield _failure([*own, line])
            continue
        if line.scope is Scope.SHARED or line.code in _CAUSES:
            yield from _alone(causes[:-_WAITING])
            waiting[worker] = [*causes[-_WAITING:], line]
            if len(waiting) > _WORKERS:
                yield from _alone(waiting.pop(next(iter(waiting))))
            continue
        yield from _alone([*causes, line])
    for causes in waiting.values():
        yield from _alone(causes)


def _own_causes(causes: list[Entry], closing: Entry) -> list[Entry]:
    """The causes just above their last line, of one client: where no thread is told, others' stand above them."""
    begin = len(causes)
    said: set[str] = set()  # of a question nothing is said twice
    below = ""  # the cause that stands below
    while begin and causes[begin - 1].code not in said and _explains(causes[begin - 1], closing):
        line = causes[begin - 1]
        if causes[-1].client and line.client and causes[-1].client != line.client:
            break
        if line.kind is not Kind.OK_INFO:
            if below and not (line.code in _HALF_TOLD and below in _OTHER_HALF):
                break
            below = line.code
        begin -= 1
        said.add(line.code)
    return causes[begin:]


def _alone(lines: Iterable[Entry]) -> Iterator[Failure]:
    """Yield one failure for each line that nothing closed."""
    return (_failure([line]) for line in lines if line.kind is not Kind.OK_INFO)


def _explains(cause: Entry, closing: Entry) -> bool:
    codes = _CLOSING[closing.code]
    # At LogLevel debug "connecting to" stands above, and names whom the failure does not.
    asked = cause.kind is Kind.OK_INFO
    fits = asked or (cause.scope is Scope.SHARED if codes is None else cause.code in codes)
    return fits and together(cause, closing) and not _long_before(closing, cause)


def _long_before(one: Entry, other: Entry) -> bool:
    """Whether a line is older than the one that stands above it: somebody has sorted the newest first."""
    if not (one.time and other.time and one.time < other.time):
        return False  # the usual case, told without reading times
    first, second = moment(one.time), moment(other.time)
    return first is not None and second is not None and second - first > _SAME_PROCESS


def _failure(lines: list[Entry]) -> Failure:
    """Return the failure that the lines describe: the first names the cause, the last says what came of it."""
    told = [line for line in lines if line.kind is not Kind.OK_INFO]
    cause, last = told[0], told[-1]
    assert cause.kind is not None
    return Failure(
        last.time,
        last.pid,
        cause.kind,
        next((line.responder for line in lines if line.responder), None),
        tuple(line.code for line in told),
        cause.error,
        next((line.site for line in reversed(lines) if line.site), None),
        next((line.answer for line in told if line.answer), None),
    )


def summarise(lines: Iterable[Entry], now: datetime, client_checks: bool | None = True) -> Summary:
    """Return the counts of `lines`; `now` is naive local time, as the log's own times are.

    `client_checks` says whether client certificates are checked by OCSP (SSLOCSPEnable). If not, every failed
    question is stapling's; None: nobody knows, as of a log from elsewhere, so probably.
    """
    tally = _Tally(now, client_checks)
    for failure in failures(tally.seen(lines)):
        tally.add(failure)
    return tally.result()


@dataclass
class _PerResponder:
    kinds: Counter[Kind] = field(default_factory=Counter)
    first: str | None = None
    last: str | None = None

    def add(self, failure: Failure) -> None:
        self.kinds[failure.kind] += 1
        # Several logs are read one after the other, and some are sorted newest first.
        if time := failure.time:
            self.first = min(self.first or time, time)
            self.last = max(self.last or time, time)

    def result(self, responder: str | None) -> ResponderCount:
        kinds = tuple(self.kinds.most_common())
        return ResponderCount(responder, self.kinds.total(), kinds, self.first, self.last)


class _Tally:
    def __init__(self, now: datetime, client_checks: bool | None) -> None:
        self._client_checks = client_checks
        self._hour, self._day, self._now = now - timedelta(hours=1), now - timedelta(days=1), now
        self._all = _PerResponder()
        self._responders: dict[str | None, _PerResponder] = {}
        self._minutes: Counter[tuple[str, str | None]] = Counter()
        self._unanswered: dict[str, dict[str, str]] = {}  # the first time in each minute
        self._newest = datetime.min + _LATE
        self._noted: Counter[Kind] = Counter()
        self._sites: dict[Kind, dict[str, None]] = {}
        self._recent: list[tuple[str, int, Failure]] = []  # a heap: several logs are read one after the other
        self._last_hour = self._last_day = self._unproven = self._undated = self._probable = 0
        self._fresh_timeouts = self._fresh_unkept = 0

    def seen(self, lines: Iterable[Entry]) -> Iterator[Entry]:
        """Pass the lines on, counting those that no failure will hold."""
        for line in lines:
            if line.stapling is None and line.kind is not Kind.OK_INFO:
                if self._client_checks:
                    self._unproven += 1
                else:
                    self._probable += self._client_checks is None
                    line = line._replace(stapling=True)
            yield line

    def add(self, failure: Failure) -> None:
        if failure.kind in _NOT_FAILED:
            self._noted[failure.kind] += 1
            sites = self._sites.setdefault(failure.kind, {})
            if failure.site and len(sites) < _SITES:
                sites[failure.site] = None
            return
        known = failure.responder in self._responders or len(self._responders) < _RESPONDERS
        responder = failure.responder if known else OTHERS
        self._all.add(failure)
        self._responders.setdefault(responder, _PerResponder()).add(failure)
        latest = (failure.time or "", self._all.kinds.total(), failure)
        (heappush if len(self._recent) < _RECENT else heappushpop)(self._recent, latest)
        when = moment(failure.time) if failure.time else None
        self._add_time(failure.time, when, responder)
        if when and failure.time and failure.kind in _UNANSWERED and responder != OTHERS:
            self._add_unanswered(failure.time, when, responder or "")
        if when and abs(self._now - when) <= _FRESH:
            self._fresh_timeouts += failure.kind is Kind.TIMEOUT
            self._fresh_unkept += _UNKEPT in failure.codes

    def _add_unanswered(self, time: str, when: datetime, responder: str) -> None:
        if self._newest - _LATE <= when <= self._now + _LATE:
            self._newest = max(self._newest, when)
            self._unanswered.setdefault(responder, {}).setdefault(time[:16], time[:19])

    def _add_time(self, time: str | None, when: datetime | None, responder: str | None) -> None:
        if time is None or when is None:
            self._undated += 1
        elif self._day <= when <= self._now + timedelta(hours=1):
            self._last_day += 1
            self._last_hour += when >= self._hour
            self._minutes[time[:16], responder] += 1

    def _since(self) -> Iterator[tuple[str, str]]:
        for responder, minutes in self._unanswered.items():
            begun = self._now
            for time in sorted(minutes.values(), reverse=True):
                when = moment(time)
                if when is None or begun - when > _GAP or self._now - when > _RUN:
                    break
                begun = min(begun, when)
            if begun < self._now:
                yield responder, begun.isoformat()

    def result(self) -> Summary:
        counts = [one.result(responder) for responder, one in self._responders.items()]
        return Summary(
            self._all.kinds.total(),
            self._last_hour,
            self._last_day,
            self._all.first,
            self._all.last,
            tuple(self._all.kinds.most_common()),
            tuple(sorted(counts, key=lambda one: -one.failures)),
            tuple(
                (minute, responder, n) for (minute, responder), n in sorted(self._minutes.items(), key=str)
            ),
            tuple(self._noted.most_common()),
            tuple(failure for _, _, failure in sorted(self._recent)),
            self._unproven,
            self._undated,
            self._probable,
            self._fresh_timeouts,
            self._fresh_unkept,
            tuple((kind, tuple(sites)) for kind, sites in self._sites.items()),
            tuple(self._since()),
        )
