"""What a status page says, in one form for every kind of page. Its text is foreign: capped and made plain."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

RELEVANT = re.compile(r"ocsp|revocation|\bcrls?\b|validation", re.IGNORECASE)

TITLE_LIMIT = 200
TEXT_LIMIT = 500
INCIDENT_LIMIT = 20
LIST_LIMIT = 5000

_TAG = re.compile(r"<[^<>]{0,300}>")
_SHORT_LINKS = "stspg.io"  # where Atlassian's incident links point


class Level(Enum):
    """What an authority reports. UNKNOWN is never good news: it outranks OPERATIONAL."""

    OPERATIONAL = "operational"
    MAINTENANCE = "maintenance"
    DEGRADED = "degraded"
    OUTAGE = "outage"
    UNKNOWN = "unknown"


_RANK = (Level.OPERATIONAL, Level.UNKNOWN, Level.MAINTENANCE, Level.DEGRADED, Level.OUTAGE)


class UnreadablePageError(Exception):
    """The page's answer is not what its format promises; the text says why, to follow "the page"."""


@dataclass(frozen=True)
class PageIncident:
    """One incident or maintenance that is going on; `started_at` is ISO 8601 as the page wrote it, or empty."""

    title: str
    level: Level
    state: str
    update: str
    started_at: str
    url: str


@dataclass(frozen=True)
class Component:
    """One part of the authority's service and its level."""

    name: str
    level: Level


@dataclass(frozen=True)
class Report:
    """An incident with the names of the components it touches (none named: all of them)."""

    incident: PageIncident
    touches: tuple[str, ...]


@dataclass(frozen=True)
class PageReading:
    """What follows from a page for OCSP: the level and the incidents behind it, the gravest first."""

    level: Level
    incidents: tuple[PageIncident, ...]


def worst(levels: Iterable[Level]) -> Level:
    """Return the gravest level, UNKNOWN if there is none."""
    return max(levels, key=_RANK.index, default=Level.UNKNOWN)


def conclude(banner: Level, components: list[Component], reports: list[Report]) -> PageReading:
    """Weigh a page: components about OCSP beat the banner, and a running incident beats both.

    An incident that names components counts only if one is about OCSP, unless the page has no such component.
    """
    about_ocsp = [component.level for component in components if RELEVANT.search(component.name)]
    counting = [report.incident for report in reports if not about_ocsp or _concerns(report)]
    base = worst(about_ocsp) if about_ocsp else banner
    level = worst([base, *(incident.level for incident in counting)])
    counting.sort(key=lambda incident: -_RANK.index(incident.level))
    return PageReading(level, tuple(counting[:INCIDENT_LIMIT]))


def _concerns(report: Report) -> bool:
    texts = (*report.touches, report.incident.title, report.incident.update)
    return not report.touches or any(RELEVANT.search(text) for text in texts)


def plain(value: object, limit: int = TEXT_LIMIT) -> str:
    """Return foreign text without markup, control and direction-changing characters, on one line, capped."""
    if not isinstance(value, str):
        return ""
    text = _TAG.sub(" ", value[: 4 * limit])
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def table(value: object, what: str) -> dict[str, Any]:
    """Return `value` if it is a JSON object. Raises UnreadableError."""
    if not isinstance(value, dict):
        raise UnreadablePageError(f"lacks {what}")
    return value


def rows(value: object, what: str) -> list[dict[str, Any]]:
    """Return `value` if it is a list of JSON objects. Raises UnreadableError."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value[:LIST_LIMIT]):
        raise UnreadablePageError(f"lacks {what}")
    return value[:LIST_LIMIT]


def rows_if_any(value: object, what: str) -> list[dict[str, Any]]:
    """Return `value` as `rows` does; a list that was left out or is null, as some makers write it, is empty."""
    return [] if value is None else rows(value, what)


def moment(value: object) -> str:
    """Return a point in time in ISO 8601 if `value` is one, else nothing."""
    text = plain(value, 40)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return ""
    return text


def link(value: object, page: str) -> str:
    """Return a link of the page that stays with the page, else the page itself."""
    text = value if isinstance(value, str) and len(value) <= TITLE_LIMIT and value.isascii() else ""
    try:
        parts = urlsplit(text)
        trusted = parts.hostname in {urlsplit(page).hostname, _SHORT_LINKS}
    except ValueError:
        return page
    return text if trusted and parts.scheme == "https" and text.isprintable() and " " not in text else page
