"""The last days drawn: a strip of days for each responder, and the incidents with their longest waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ocsp_stapling.change.journal import Operation
from ocsp_stapling.change.request import alone, worded
from ocsp_stapling.check.incident import Incident, words
from ocsp_stapling.watch.history import percent
from ocsp_stapling.watch.memory import DAY, Tally
from ocsp_stapling.web.pages.chart import AxisText
from ocsp_stapling.web.words import Tone, counted, lasted

DAYS = 30
_CELL = 9
_TOP, _BOTTOM = 12, 130
_NARROWEST = 0.8
_QUICK_HEIGHT = 8
_TOPS = (1, 2, 4, 10, 20, 40, 60, 120, 300, 600)
_USUAL = 99.0


@dataclass(frozen=True)
class Cell:
    """One day of one responder."""

    x: int
    tone: Tone
    words: str


@dataclass(frozen=True)
class Strip:
    """The days of one responder, oldest first, and what they show in words."""

    words: str
    cells: tuple[Cell, ...]
    failures: tuple[tuple[str, str], ...]
    """The days with failures as (day, share), for the table."""


@dataclass(frozen=True)
class Bout:
    """One incident as a column: as wide as it was long, as high as its longest wait."""

    x: float
    y: float
    width: float
    height: float
    tone: Tone
    words: str


@dataclass(frozen=True)
class PastIncident:
    """One incident of the table behind the chart."""

    began: datetime
    lasted: str
    wait: str
    done: str


@dataclass(frozen=True)
class IncidentsChart:
    """The incidents of the last days, each with its longest wait and what was done."""

    words: str
    bouts: tuple[Bout, ...]
    lines: tuple[AxisText, ...]
    labels: tuple[AxisText, ...]
    table: tuple[PastIncident, ...]


def strip(found: Mapping[int, Tally], now: float) -> Strip:
    """Return the strip of one responder: its tallies by day (UTC, counted from the epoch)."""
    today = int(now // DAY)
    days = range(today - DAYS + 1, today + 1)
    cells = tuple(_cell(number, day, found.get(day)) for number, day in enumerate(days))
    bad = {day: found[day] for day in days if day in found and found[day].good < found[day].passes}
    seen = sum(day in found for day in days)
    text = f"{counted(seen, 'day')} with looks, {counted(len(bad), 'day')} with a failure"
    if bad:
        worst = min(bad, key=lambda day: bad[day].percent)
        text += f", the worst {_date(worst)}: {_share(bad[worst])}"
    return Strip(f"{text}.", cells, tuple((_date(day), _share(one)) for day, one in bad.items()))


def _cell(number: int, day: int, found: Tally | None) -> Cell:
    if found is None or not found.passes:
        return Cell(number * _CELL, "calm", f"{_date(day)}: no look")
    return Cell(number * _CELL, availability_tone(found), f"{_date(day)}: {_share(found)}")


def availability_tone(found: Tally) -> Tone:
    """Return how good it is that so many looks found a responder well."""
    return "good" if found.good == found.passes else "warn" if found.percent >= _USUAL else "bad"


def _share(found: Tally) -> str:
    return f"{percent(found)} of {counted(found.passes, 'look')} good"


def _date(day: int) -> str:
    return f"{datetime.fromtimestamp(day * DAY, UTC):%Y-%m-%d}"


def incidents_chart(
    incidents: Sequence[Incident], operations: Iterable[Operation], now: float
) -> IncidentsChart | None:
    """Return the chart of the incidents (newest first) of the last days, None if there were none."""
    begin = now - DAYS * DAY
    shown = [one for one in incidents if (one.ended or one.seen) >= begin and one.began <= now]
    if not shown:
        return None
    longest = max((one.wait.seconds for one in shown if one.wait), default=1.0)
    top = next((each for each in _TOPS if each >= longest), _TOPS[-1])
    done = {one.id: one for one in operations}
    worst = max(shown, key=lambda one: one.wait.seconds if one.wait else 0.0)
    text = f"{counted(len(shown), 'incident')} in {DAYS} days"
    if worst.wait:
        text += f"; {words.visitors_waited(worst.wait)} in the worst, on {_day(worst.began)}"
    return IncidentsChart(
        f"{text}.",
        tuple(_bout(one, begin, now, top) for one in shown),
        tuple(AxisText(f"{value:g} s", y=_y(value, top)) for value in (0, top / 2, top)),
        tuple(_labels(begin)),
        tuple(_row(one, done, now) for one in shown),
    )


def _labels(begin: float) -> Iterable[AxisText]:
    for number in range(0, DAYS, 5):
        yield AxisText(_day(begin + number * DAY)[5:], x=_x(begin + number * DAY, begin))


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d}"


def _bout(one: Incident, begin: float, now: float, top: float) -> Bout:
    left = _x(max(one.began, begin), begin)
    width = max(_x(min(one.ended or now, now), begin) - left, _NARROWEST)
    left = min(left, 100 - width)
    y = _y(min(one.wait.seconds, top), top) if one.wait else _BOTTOM - _QUICK_HEIGHT
    y = min(y, _BOTTOM - _QUICK_HEIGHT)
    tone: Tone = "bad" if one.hits else "warn"
    return Bout(round(left, 2), y, round(width, 2), round(_BOTTOM - y, 1), tone, words.sentence(one))


def _row(one: Incident, done: Mapping[str, Operation], now: float) -> PastIncident:
    acts = [done[each] for each in one.operations if each in done]
    did = [f"{alone(worded(act.action).do, act.site)}, by {act.who}" for act in acts if act.state == "done"]
    span = lasted(timedelta(seconds=(one.ended or now) - one.began))
    return PastIncident(
        datetime.fromtimestamp(one.began, UTC),
        span if one.ended else f"{span}, and goes on",
        words.waited(one.wait) if one.wait else "turned away" if one.hits else "nobody was seen to wait",
        "; ".join(did) or "nothing through this plugin",
    )


def _x(at: float, begin: float) -> float:
    return round(100 * (at - begin) / (DAYS * DAY), 2)


def _y(value: float, top: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1)
