"""Reads Status.io pages. Format: Status.io's public status API, https://kb.status.io/developers/public-status-api/."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ocsp_stapling.ca.reading import (
    TITLE_LIMIT,
    Component,
    Level,
    PageIncident,
    PageReading,
    Report,
    UnreadablePageError,
    conclude,
    moment,
    plain,
    rows,
    rows_if_any,
    table,
    worst,
)
from ocsp_stapling.settings import Authority

API = "https://api.status.io/1.0/status/"

_PAGE_ID = re.compile(r"""statuspageId\s*[=:]\s*['"]([0-9a-f]{24})['"]""")
_LEVELS = {
    100: Level.OPERATIONAL,
    200: Level.MAINTENANCE,
    300: Level.DEGRADED,
    400: Level.OUTAGE,  # "partial service disruption": for some visitors the responder is away
    500: Level.OUTAGE,
    600: Level.DEGRADED,  # "security event"
}

GetText = Callable[[str], str]
GetJson = Callable[[str], object]


def read(authority: Authority, get_text: GetText, get_json: GetJson) -> PageReading:
    """Return what a Status.io page says. Raises UnreadableError, and what the two getters raise."""
    page_id = authority.status_id or discover(get_text(authority.status_page))
    return parse(get_json(API + page_id), authority.status_page)


def discover(html: str) -> str:
    """Return the page's id, which stands in its HTML. Raises UnreadableError."""
    found = _PAGE_ID.search(html)
    if found is None:
        raise UnreadablePageError("does not name its Status.io id")
    return found[1]


def parse(document: object, page: str) -> PageReading:
    """Return what an answer of the status API says; `page` is the link for people. Raises UnreadableError."""
    result = table(table(document, "a result").get("result"), "a result")
    banner = _level(table(result.get("status_overall"), "an overall status"))
    components = [c for row in rows(result.get("status"), "components") for c in _components(row)]
    reports = [_report(row, page) for row in rows_if_any(result.get("incidents"), "incidents")]
    return conclude(banner, components, reports + _maintenance(result, page))


def _level(row: dict[str, Any]) -> Level:
    code = row.get("status_code")
    return _LEVELS.get(code, Level.UNKNOWN) if isinstance(code, int) else Level.UNKNOWN


def _components(row: dict[str, Any]) -> list[Component]:
    """The component and its containers (Status.io's word for places of one component)."""
    name = plain(row.get("name"), TITLE_LIMIT)
    inner = rows_if_any(row.get("containers"), "containers")
    return [
        Component(name, _level(row)),
        *(Component(f"{name}: {plain(c.get('name'), TITLE_LIMIT)}", _level(c)) for c in inner),
    ]


def _report(row: dict[str, Any], page: str) -> Report:
    """An incident; a running one is at least DEGRADED, whatever its last message claims."""
    message = _latest(row)
    known = _LEVELS.get(message["status"]) if isinstance(message.get("status"), int) else None
    level = worst([Level.DEGRADED, known or Level.DEGRADED])
    incident = PageIncident(
        title=plain(row.get("name"), TITLE_LIMIT) or "an incident without a title",
        level=level,
        state="active",
        update=plain(message.get("details")),
        started_at=moment(row.get("datetime_open")),
        url=page,
    )
    touched = rows_if_any(row.get("components_affected"), "components")
    return Report(incident, tuple(plain(c.get("name"), TITLE_LIMIT) for c in touched))


def _latest(row: dict[str, Any]) -> dict[str, Any]:
    messages = rows_if_any(row.get("messages"), "messages")
    return max(messages, key=lambda message: moment(message.get("datetime")), default={})


def _maintenance(result: dict[str, Any], page: str) -> list[Report]:
    """Maintenance that is going on; what is only planned says nothing about now."""
    maintenance = table(result.get("maintenance") or {}, "maintenance")
    return [_planned(row, page) for row in rows_if_any(maintenance.get("active"), "maintenance")]


def _planned(row: dict[str, Any], page: str) -> Report:
    report = _report(row, page)
    incident = PageIncident(
        report.incident.title,
        Level.MAINTENANCE,
        "maintenance",
        report.incident.update,
        report.incident.started_at,
        page,
    )
    return Report(incident, report.touches)
