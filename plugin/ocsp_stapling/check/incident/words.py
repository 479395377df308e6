"""An incident in words: its sentence, what to do, its timeline, and as plain data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ocsp_stapling.change.journal import Operation, ending
from ocsp_stapling.change.request import ACCOUNT, OFF, alone, called, worded
from ocsp_stapling.check.diagnosis.handshakes import queue_words, rounded
from ocsp_stapling.check.incident.model import OTHERS, SERVER, Incident, Trouble, Wait
from ocsp_stapling.text import capital, counted, host_of, listed, local, moment

_TOLD_SPANS = 2


@dataclass(frozen=True)
class TimelineEvent:
    """One line of the timeline. `kind` is that of a note, or `change`; then `operation` names it."""

    at: float
    kind: str
    sentence: str
    operation: str = ""


def sentence(one: Incident, passes: int = 0, *, named: bool = True) -> str:
    """Return the incident in one sentence; with `passes` how many good looks the return waits for.

    Not `named`: without who turned stapling off.
    """
    parts = [_visitors(one), _logged(one), *_reliefs(one, named), _since_then(one, passes)]
    told = "; ".join(filter(None, parts))
    return capital(told)


def _logged(one: Incident) -> str:
    """Since when the log tells of it, where that is not the minute from which visitors were seen to wait."""
    earlier = one.sign == "log" and not (one.hits and clock(one.began) == clock(_first(one)))
    return f"failing since {clock(one.began, _first(one))}, by the error log" if earlier else ""


def _first(one: Incident) -> float:
    """The time that is told first, with its date."""
    return one.hits[0].began if one.hits else one.began


def _visitors(one: Incident) -> str:
    if not one.hits:
        many = _several(one.troubles)
        failing = f"the responder{'s' if many else ''} {_failing(one.troubles)}"
        span = _span(one, one.began, one.healed or one.ended, f"and still fail{'' if many else 's'}")
        return f"{failing} failed {span}; no visitor was seen to wait"
    hit = _hit_times(one)
    if one.wait is None:
        return f"visitors were turned away {hit}"
    if one.wait.cut and one.wait.seconds < 1:
        return f"sites did not answer {hit} (cut off at {one.wait.seconds:.1f} s)"
    return f"sites waited {waited(one.wait)} {hit}"


def _hit_times(one: Incident) -> str:
    """When visitors were hit: each time where it was once or twice, else how often and how long in all."""
    spans = one.hits
    if len(spans) <= _TOLD_SPANS:
        told = (_span(one, each.began, each.ended, "and still do") for each in spans)
        return " and ".join(dict.fromkeys(told))
    until = "now" if spans[-1].ended is None else clock(spans[-1].ended, one.began)
    return f"{len(spans)} times between {clock(spans[0].began)} and {until}"


def _span(one: Incident, began: float, until: float | None, going_on: str) -> str:
    begin = clock(began) if began == _first(one) else clock(began, one.began)
    if until is None:
        return f"from {begin} {going_on}"
    end = clock(until, one.began)
    return f"at {begin}" if begin.endswith(end) and until - began < 60 else f"from {begin} to {end}"


def waited(wait: Wait) -> str:
    """Return the longest wait as visitors lived through it."""
    if wait.cut and wait.seconds < 1:
        return f"did not answer (cut off at {wait.seconds:.1f} s)"
    return f"{'more than' if wait.cut else 'up to'} {rounded(wait.seconds)} s"


def wait_words(wait: Wait) -> str:
    """Return the longest wait and, where one visitor waited for the next, what that means for many."""
    return "; ".join(filter(None, (waited(wait), queue_words(wait.each))))


def visitors_waited(wait: Wait) -> str:
    """Return the longest wait as a clause of its own."""
    return f"sites {waited(wait)}" if wait.cut and wait.seconds < 1 else f"visitors waited {waited(wait)}"


def experienced(one: Incident) -> tuple[str, ...]:
    """Return what visitors lived through, a sentence each: how long, in what queue."""
    queue = queue_words(one.wait.each) if one.wait else ""
    return tuple(capital(told) for told in (_visitors(one), queue) if told)


def trouble(one: Trouble) -> str:
    """Return what was seen of one responder, and since when it answers again."""
    healed = f" It has answered again since {clock(one.healed, one.began)}." if one.healed is not None else ""
    return f"{one.sentence}{healed}"


def switched(one: Incident, named: bool) -> str:
    """Return what was done for all at once, by whom if `named`; "" if nothing was."""
    if one.off_since is None and one.was_off is not None:
        what = "stapling was off" if one.relief == OFF else "the shield was on"
        return f"{what} {_span(one, one.was_off.began, one.was_off.ended, '')}"
    if one.off_since is None:
        return ""
    whom = f" by {one.off_by}" if named and one.off_by else ""
    if one.off_found:
        return f"stapling found turned off at {clock(one.off_since, one.began)}"
    what = "stapling turned off" if one.relief == OFF else "the shield turned on"
    return f"{what} {clock(one.off_since, one.began)}{whom}"


def singly(one: Incident) -> str:
    """Return what was turned off for some alone, "" if nothing was; without names, for a viewer may read it."""
    if not one.singles:
        return ""
    accounts = sum(each.site.startswith(ACCOUNT) for each in one.singles)
    sites = len(one.singles) - accounts
    whom = [*_number(sites, "site"), *(f"those of {each}" for each in _number(accounts, "account"))]
    last = one.singles[-1]
    rest = f", {counted(len(last.still), 'site')} still waited then" if last.still else ""
    return f"stapling turned off for {' and '.join(whom)} alone {clock(last.at, one.began)}{rest}"


def _number(count: int, noun: str) -> list[str]:
    return [counted(count, noun)] if count else []


def singles(one: Incident) -> tuple[str, ...]:
    """Return what was done for some alone, a sentence each, with names: for root."""
    return tuple(
        f"Stapling was turned off for {called(each.site)} alone {clock(each.at)} by {each.who}; "
        f"{f'{listed(each.still)} still waited then' if each.still else 'nobody was seen to wait then'}."
        for each in one.singles
    )


def relief(one: Incident, *, named: bool = True) -> str:
    """Return what ended the waiting of visitors, and when; "" if nothing was done."""
    return capital("; ".join(filter(None, _reliefs(one, named))))


def _reliefs(one: Incident, named: bool) -> tuple[str, str]:
    """What was done for all and for some, in the order in which it was done."""
    every, some = switched(one, named), singly(one)
    first = one.off_since or (one.was_off.began if one.was_off else 0.0)
    return (some, every) if one.singles and one.singles[-1].at < first else (every, some)


def _since_then(one: Incident, passes: int) -> str:
    if one.ended is not None and one.healed is None:
        return f"last seen {clock(one.ended, one.began)}"
    if one.ended is not None:
        return f"over since {clock(one.ended, one.began)}"
    if not one.troubles and one.healed is None:
        return "no check has seen yet what fails"
    if one.off_since is None and one.healed is None and (one.hits_now or not one.singles):
        return ""
    known = causing(one)
    if left := _unhealed(known):
        told = f"{_failing(left)} still fail{'' if _several(left) else 's'}"
    else:
        looks = f", {min(one.good_passes, passes)} of {passes} looks" if passes and one.healed else ""
        since = one.healed or max(each.healed or each.last for each in known)
        have = "have" if _several(known) else "has"
        told = f"{_failing(known)} {have} answered again since {clock(since, one.began)}{looks}"
    if later := _unhealed(each for each in one.troubles if each not in known):
        many = "" if _several(later) else "s"
        told += f"; {_failing(later)} fail{many} since {clock(min(each.began for each in later), one.began)}"
    return told


def causing(one: Incident) -> tuple[Trouble, ...]:
    """Return what held visitors up; what began to fail while stapling was off made nobody wait.

    If no look was taken before it was turned off, that is what the first one after it saw.
    """
    first = min((each.began for each in one.troubles), default=0.0)
    until = max(first, one.off_since or 0.0) if one.off_since else None
    return tuple(each for each in one.troubles if until is None or each.began <= until)


def _unhealed(troubles: Iterable[Trouble]) -> list[Trouble]:
    return [each for each in troubles if each.healed is None]


def _several(troubles: Sequence[Trouble]) -> bool:
    return len({each.url for each in troubles} - {SERVER}) > 1


def _failing(troubles: Sequence[Trouble]) -> str:
    return listed([_called(each.url) for each in troubles if each.url != SERVER]) or "the responder"


def _called(url: str) -> str:
    return "a responder of other customers' certificates" if url == OTHERS else host_of(url)


def advice(one: Incident, passes: int = 0) -> str:
    """Return what there is to do about it now; with `passes` stapling returns by itself after so many good looks."""
    if one.ended is not None:
        over = "It is over. Where stapling is off alone still: `ocsp-stapling status`"
        over = over if one.singles else "Nothing needs to be done: it is over"
        return f"{over}. For a report: `ocsp-stapling report {one.id}`."
    if one.off_since is None and one.hits_now and one.singles:
        return "Some still wait: turn stapling off for all (`ocsp-stapling off`), then run `ocsp-stapling check`."
    if one.off_since is None and one.singles and one.healed is None:
        return (
            "Nobody waits any more. Tell who can act (`ocsp-stapling ticket`); leave it off there until the "
            "responder answers again."
        )
    if one.off_since is None and one.hits and not one.hits_now:
        return "Nobody waits any more; `ocsp-stapling check` tells whether it is over."
    if one.off_since is None:
        return str(one.kept.get("advice_sentence", "")) or "Run `ocsp-stapling check`."
    if one.relief == OFF and one.hits_now:
        return (
            "Some still wait at sites that turn stapling on themselves: `ocsp-stapling off --overrides` ends it "
            "where that stands in userdata; elsewhere take SSLUseStapling On out by hand."
        )
    if one.relief != OFF:
        return "Tell who can act (`ocsp-stapling ticket`); under the shield nobody waits meanwhile."
    if one.healed is None:
        answer = "the responders answer" if _several(_unhealed(one.troubles)) else "the responder answers"
        then = "; stapling turns on by itself then" if passes else ""
        return f"Tell who can act (`ocsp-stapling ticket`); leave stapling off until {answer} again{then}."
    if one.off_found:
        return (
            "Turn stapling on again where it was turned off (`ocsp-stapling status` names the line), "
            "or with `ocsp-stapling on --write-on`."
        )
    if passes:
        return (
            f"Nothing needs to be done: stapling turns on by itself after {passes} healthy looks of the watch; "
            "`ocsp-stapling on` does it now."
        )
    return "Turn stapling on again (`ocsp-stapling on`), or let the watch do it (`ocsp-stapling return on`)."


def timeline(one: Incident, operations: Iterable[Operation]) -> list[TimelineEvent]:
    """Return what happened, oldest first; `operations` are those of the history."""
    events = [TimelineEvent(note.at, note.kind, note.sentence) for note in one.notes]
    if one.wait is not None:
        events.append(TimelineEvent(one.wait.at, "wait", f"The longest wait: {wait_words(one.wait)}."))
    mine = [each for each in operations if each.id in one.operations]
    events += [TimelineEvent(each.started, "change", _change(each), each.id) for each in mine]
    return sorted(events, key=lambda event: event.at)


def _change(one: Operation) -> str:
    reason = f" ({one.reason})" if one.reason else ""
    ended = ending(one.state, one.result)
    message = str(one.result.get("sentence") or "")
    told = f"{alone(worded(one.action).doing, one.site)} by {one.who}{reason}: {ended}. {message}"
    return " ".join([told.rstrip(), *_attempt(one.result.get("attempt"))])


def _attempt(found: Any) -> list[str]:
    """Who waited in an attempt that failed, and for which responder."""
    told = found.get("sentence") if isinstance(found, Mapping) else ""
    return [str(told)] if told else []


def as_json(one: Incident, passes: int = 0) -> dict[str, Any]:
    """Return the incident as plain data: what lists of incidents hold. `passes` as in `advice`."""
    return {
        "incident": one.id,
        "sentence": sentence(one, passes),
        "advice_sentence": advice(one, passes),
        "incident_state": "over" if one.ended is not None else "healed" if one.healed is not None else "open",
        "first_sign": one.sign,
        "began": _moment(one.began),
        "last_seen": _moment(one.last),
        "healed": _moment(one.healed),
        "ended": _moment(one.ended),
        "ending_sentence": one.ending or None,
        "cause": one.cause or None,
        "severity": one.severity or None,
        "worst_sentence": one.sentence or None,
        "sites_affected_count": one.sites,
        "sites_waiting_count": one.waiting,
        "longest_wait": _wait_json(one.wait),
        "off_since": _moment(one.off_since) if one.relief == OFF else None,
        "off_by": (one.off_by or None) if one.relief == OFF else None,
        "failed_responders": [
            {
                "url": each.url or None,
                "authority": each.authority or None,
                "cause": each.cause,
                "sentence": each.sentence,
                "began": _moment(each.began),
                "last_seen": _moment(each.last),
                "healed": _moment(each.healed),
            }
            for each in one.troubles
        ],
        "failed_responder_count": len(one.troubles),
        "operation_ids": list(one.operations),
        "operation_count": len(one.operations),
    }


def _wait_json(wait: Wait | None) -> dict[str, Any] | None:
    if wait is None:
        return None
    return {
        "sentence": capital(wait_words(wait)),
        "seconds": round(wait.seconds, 3),
        "cut_off": wait.cut,
        "each_seconds": round(wait.each, 3),
        "at": _moment(wait.at),
        "waiting_count": wait.waiting,
        "met_count": wait.met,
    }


def document(one: Incident, operations: Sequence[Operation], passes: int = 0) -> dict[str, Any]:
    """Return the incident with its timeline, as `history --incident ID --json` prints it."""
    events = timeline(one, operations)
    lines = [
        {
            "at": _moment(each.at),
            "event": each.kind,
            "sentence": each.sentence,
            "operation": each.operation or None,
        }
        for each in events
    ]
    return {**as_json(one, passes), "timeline": lines, "timeline_count": len(lines)}


def _moment(at: float | None) -> str | None:
    return None if at is None else moment(at)


def clock(at: float, beside: float | None = None) -> str:
    """Return a time of day, with its date unless it is today's or that of the time beside it."""
    there = local(at)
    near = local(datetime.now(UTC) if beside is None else beside)
    return f"{there:%H:%M}" if there.date() == near.date() else f"{there:%Y-%m-%d %H:%M}"
