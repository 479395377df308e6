"""Charts as plain geometry, drawn as SVG by the templates: failures per hour, the last checks of a responder.

Across they are percentages, up and down pixels: so a chart fits a phone and its letters keep their size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ocsp_stapling.web.words import Tone, counted

HOURS = 24
SERIES = 5
OTHERS = "others"
UNNAMED = "not named in the log"
_TOP, _BOTTOM = 10, 166
_HOUR = 100 / HOURS
_COLUMN = 0.86 * _HOUR
SPARK_HEIGHT = 24
SPARK_PLACES = 24


@dataclass(frozen=True)
class Bar:
    """A part of one hour's column; `series` is 1 to 6, `words` what it stands for."""

    series: int
    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class AxisText:
    """A text at the axis; `y` for lines, `x` for hours."""

    text: str
    x: float = 0
    y: float = 0

    @property
    def label(self) -> str:
        """The text, as axis lines call it."""
        return self.text


@dataclass(frozen=True)
class LegendEntry:
    """One responder of the legend."""

    series: int
    name: str


@dataclass(frozen=True)
class HourRow:
    """One hour of the text alternative; counts in the order of the legend."""

    hour: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class FailuresChart:
    """Failures per hour and responder over the 24 hours before a moment."""

    words: str
    bars: tuple[Bar, ...]
    lines: tuple[AxisText, ...]
    labels: tuple[AxisText, ...]
    legend: tuple[LegendEntry, ...]
    table: tuple[HourRow, ...]


@dataclass(frozen=True)
class Point:
    """One earlier check of a responder: its tone, the height of its bar (of 24), and what it was."""

    tone: Tone
    height: int
    words: str


def failures_chart(minutes: Iterable[tuple[str, str | None, int]], now: datetime) -> FailuresChart:
    """Return the chart for counts per minute (`2026-01-31T09:21`) and responder; `now` is naive local time."""
    end = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    hours = [end - timedelta(hours=HOURS - number) for number in range(HOURS)]
    counts: Counter[tuple[str, str]] = Counter()
    total: Counter[str] = Counter()
    for minute, responder, count in minutes:
        name = UNNAMED if responder is None else responder
        counts[minute[:13], name] += count
        total[name] += count
    names = [name for name, _ in total.most_common(SERIES)]
    columns = [_column(counts, f"{hour:%Y-%m-%dT%H}", names) for hour in hours]
    legend = [*names, OTHERS] if len(total) > SERIES else names
    columns = [column[: len(legend)] for column in columns]
    top = _round_up(max((sum(column) for column in columns), default=0))
    return FailuresChart(
        _words(columns, hours),
        tuple(_bars(columns, hours, legend, top)),
        tuple(AxisText(f"{value:,}", y=_y(value, top)) for value in (0, top // 2, top)),
        tuple(
            AxisText(f"{hour:%H}:00", x=_x(number)) for number, hour in enumerate(hours) if hour.hour % 3 == 0
        ),
        tuple(LegendEntry(number, name) for number, name in enumerate(legend, 1)),
        tuple(
            HourRow(f"{hour:%Y-%m-%d %H}:00", tuple(c))
            for hour, c in zip(hours, columns, strict=True)
            if any(c)
        ),
    )


def _column(counts: Counter[tuple[str, str]], hour: str, names: Sequence[str]) -> list[int]:
    own = [counts[hour, name] for name in names]
    every = sum(count for (when, _), count in counts.items() if when == hour)
    return [*own, every - sum(own)]


def _bars(
    columns: Sequence[Sequence[int]], hours: Sequence[datetime], legend: Sequence[str], top: int
) -> Iterable[Bar]:
    for number, (column, hour) in enumerate(zip(columns, hours, strict=True)):
        below = 0
        for series, count in enumerate(column, 1):
            if not count:
                continue
            y, foot = _y(below + count, top), _y(below, top)
            words = f"{hour:%H}:00, {legend[series - 1]}: {counted(count, 'failure')}"
            yield Bar(
                series,
                round(_x(number) - _COLUMN / 2, 2),
                y,
                round(_COLUMN, 2),
                round(foot - y, 1),
                words,
            )
            below += count


def _x(number: int) -> float:
    return round((number + 0.5) * _HOUR, 2)


def _y(value: int, top: int) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1)


def _round_up(value: int) -> int:
    """The next number of the kind people like on an axis, even so that its half is whole."""
    size = 2
    while size < value:
        size = size * 5 // 2 if str(size)[0] == "4" else size * 2
    return size


def _words(columns: Sequence[Sequence[int]], hours: Sequence[datetime]) -> str:
    sums = [sum(column) for column in columns]
    if not any(sums):
        return "No stapling failure in the last 24 hours."
    most = max(range(len(sums)), key=sums.__getitem__)
    return (
        f"Stapling failures per hour over the last 24 hours: {sum(sums):,} in all, "
        f"most between {hours[most]:%H}:00 and {hours[most] + timedelta(hours=1):%H}:00 ({sums[most]:,})."
    )


def spark_paths(points: Sequence[Point]) -> dict[Tone, str]:
    """Return the bars of a row of earlier checks as one path for each tone: a shape each is slow to make and send."""
    first = 5 * (SPARK_PLACES - len(points))
    paths: dict[Tone, str] = {}
    for number, point in enumerate(points):
        bar = f"M{first + 5 * number} {SPARK_HEIGHT}v-{point.height}h4v{point.height}z"
        paths[point.tone] = paths.get(point.tone, "") + bar
    return paths


def spark_words(points: Sequence[Point]) -> str:
    """Return the text alternative of a row of earlier checks."""
    bad = sum(point.tone != "good" for point in points)
    last = points[-1].words if points else ""
    return f"The last {counted(len(points), 'check')}: {bad} with a failure. The latest: {last}"
