"""An incident as a post-mortem in Markdown: to file, to send on, to learn from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ocsp_stapling.change.journal import Operation
from ocsp_stapling.check.incident.model import SERVER, Incident
from ocsp_stapling.check.incident.words import sentence, timeline, wait_words
from ocsp_stapling.check.words import trouble_words
from ocsp_stapling.text import capital, counted, when

_SIGNS = {
    "log": "the error log",
    "check": "a check that an administrator made",
    "page": "a check on the page",
    "watch": "the watch",
    "change": "the administrator who made a change then",
}
_SHOWN = 50
_HOUR = 60
_UNSEEN = "not seen"
_ESCAPED = "\\`*_[]<>|#"


def report(one: Incident, operations: Sequence[Operation], here: str = "") -> str:
    """Return the incident as a document: summary, numbers, timeline, responders, evidence.

    `here` is this server's name, for an incident that no check has seen.
    """
    host = str(_part(one.kept, "this_server").get("name") or here)
    title = f"# Incident of {when(one.began)}{f' on {_plain(host)}' if host else ''}"
    failed = ("responder", "authority", "failed", "answered again", "how")
    parts = [
        [title, "", _plain(sentence(one)), *_at_worst(one)],
        ["## Numbers", "", *_table(("what", "value"), _numbers(one))],
        ["## Timeline", "", *_table(("at", "what"), _events(one, operations))],
        *([["## Responders", "", *_table(failed, _troubles(one))]] if one.troubles else []),
        ["## Evidence at its worst", "", *_evidence(one.kept)],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _numbers(one: Incident) -> Iterable[tuple[str, ...]]:
    yield "identity", one.id
    yield "first sign", f"{when(one.began)}, by {_SIGNS.get(one.sign, one.sign)}"
    if one.wait is not None:
        yield "worst wait of a visitor", capital(wait_words(one.wait))
        yield "handshakes that waited", f"{one.wait.waiting} of {one.wait.met} that asked for a staple then"
    if one.waiting:
        yield "sites whose visitors waited", f"{one.waiting:,}"
    if one.sites:
        yield "sites whose certificates named what failed", f"{one.sites:,}"
    if one.hits:
        yield "visitors were hit for", _hit(one)
    lost = one.ended is not None and one.healed is None
    yield "healed after", _UNSEEN if lost else _minutes(one.began, one.healed)
    yield "over after", _UNSEEN if lost else _minutes(one.began, one.ended)
    if one.ending:
        yield "how it ended", one.ending


def _at_worst(one: Incident) -> list[str]:
    """What the check said that found it worst: of that moment alone, as the heading of its evidence."""
    at = _moment(str(one.kept.get("checked_at") or ""))
    told = _plain(one.sentence)
    return ["", f"At its worst ({at}): {told}" if at else told] if told else []


def _hit(one: Incident) -> str:
    """How long in all, however often; each time by itself stands in the sentence and the timeline."""
    seconds = sum(each.ended - each.began for each in one.hits if each.ended is not None)
    if one.hits_now:
        began = f"since {when(one.hits[-1].began)}, and still"
        return f"{_length(seconds)}, and again {began}" if seconds else began
    # They may have waited before anybody looked.
    return f"at least {_length(seconds)} (until {when(one.hits[-1].ended or one.seen)})"


def _minutes(began: float, ended: float | None) -> str:
    return "not yet" if ended is None else f"{_length(max(ended - began, 0))} ({when(ended)})"


def _length(seconds: float) -> str:
    """Minutes, as a post-mortem counts them; seconds where there was no minute, days and hours of a long one."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return counted(max(round(seconds), 1), "second")
    if minutes < 2 * _HOUR:
        return counted(minutes, "minute")
    hours, rest = divmod(minutes, _HOUR)
    parts = (counted(hours // 24, "day"), counted(hours % 24, "hour"), counted(rest, "minute"))
    return " ".join([each for each in parts if not each.startswith("no ")][:2])


def _events(one: Incident, operations: Sequence[Operation]) -> Iterable[tuple[str, ...]]:
    return ((when(each.at), each.sentence) for each in timeline(one, operations))


def _troubles(one: Incident) -> Iterable[tuple[str, ...]]:
    for each in one.troubles:
        name = "the server itself" if each.url == SERVER else each.url
        not_yet = "not yet" if one.ended is None else _UNSEEN
        healed = not_yet if each.healed is None else when(each.healed)
        yield name, each.authority, when(each.began), healed, each.sentence


def _evidence(kept: Mapping[str, Any]) -> list[str]:
    """What the check saw that found it worst: addresses and handshakes."""
    met = [one for one in kept.get("handshakes", ()) if isinstance(one, Mapping)][:_SHOWN]
    asked = [one for one in kept.get("responders", ()) if isinstance(one, Mapping)][:_SHOWN]
    rows = [
        (
            str(one.get("host")),
            str(place.get("address")),
            trouble_words(str(place.get("outcome"))),
            _took(place),
        )
        for one in asked
        for place in one.get("addresses", ())
        if isinstance(place, Mapping)
    ]
    visits = [(str(one.get("site")), _asked(one), _ended(one)) for one in met]
    if not rows and not visits:
        return ["No check saw it while it lasted."]
    at = _moment(str(kept.get("checked_at") or ""))
    lines = [f"A check at {at}."] if at else []
    if rows:
        lines += ["", *_table(("responder", "address", "outcome", "answer after"), rows)]
    if visits:
        lines += ["", *_table(("site", "asked for a staple", "handshake"), visits)]
    return lines


def _moment(text: str) -> str:
    try:
        return when(datetime.fromisoformat(text))
    except ValueError:
        return ""


def _took(place: Mapping[str, Any]) -> str:
    found = place.get("http_ms")
    return f"{found:.0f} ms" if isinstance(found, (int, float)) else "no answer"


def _asked(one: Mapping[str, Any]) -> str:
    return "no" if not one.get("asked") else "yes, again" if one.get("repeated") else "yes"


def _ended(one: Mapping[str, Any]) -> str:
    seconds = float(one.get("seconds") or 0)
    if one.get("failure") == "timeout":
        return f"did not answer (cut off at {seconds:.1f} s)"
    return str(one.get("failure") or f"{seconds:.2f} s")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(_plain, row)) + " |" for row in rows]
    return [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *lines]


def _plain(text: str) -> str:
    """Foreign text is text: no line of its own, no markup, no link."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return "".join(f"\\{c}" if c in _ESCAPED else c for c in shown)


def _part(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = found.get(name)
    return part if isinstance(part, Mapping) else {}
