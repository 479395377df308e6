"""Reads Atlassian Statuspage pages. Format: the page's own /api, https://developer.statuspage.io/ (summary)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ocsp_stapling.ca.reading import (
    TITLE_LIMIT,
    Component,
    Level,
    PageIncident,
    PageReading,
    Report,
    conclude,
    link,
    moment,
    plain,
    rows,
    rows_if_any,
    table,
)
from ocsp_stapling.settings import Authority

SUMMARY = "/api/v2/summary.json"

_BANNER = {
    "none": Level.OPERATIONAL,
    "minor": Level.DEGRADED,
    "major": Level.OUTAGE,
    "critical": Level.OUTAGE,
    "maintenance": Level.MAINTENANCE,
}
_COMPONENT = {
    "operational": Level.OPERATIONAL,
    "degraded_performance": Level.DEGRADED,
    "partial_outage": Level.OUTAGE,
    "major_outage": Level.OUTAGE,
    "under_maintenance": Level.MAINTENANCE,
}
# A running incident is at least DEGRADED: with impact "none" the banner stays green.
_IMPACT = {"major": Level.OUTAGE, "critical": Level.OUTAGE, "maintenance": Level.MAINTENANCE}
_OVER = {"resolved", "postmortem", "completed", "scheduled"}


def read(authority: Authority, get_json: Callable[[str], object]) -> PageReading:
    """Return what a Statuspage page says. Raises UnreadableError, and what `get_json` raises."""
    page = authority.status_page.rstrip("/")
    return parse(get_json(page + SUMMARY), page)


def parse(document: object, page: str) -> PageReading:
    """Return what a summary says; `page` is the link for people. Raises UnreadableError."""
    summary = table(document, "a summary")
    banner = _level(_BANNER, table(summary.get("status"), "a status").get("indicator"))
    components = [
        Component(plain(row.get("name"), TITLE_LIMIT), _level(_COMPONENT, row.get("status")))
        for row in rows(summary.get("components"), "components")
    ]
    reports = [
        _report(row, page)
        for part in ("incidents", "scheduled_maintenances")
        for row in _running(summary.get(part))
    ]
    return conclude(banner, components, reports)


def _level(known: dict[str, Level], value: object) -> Level:
    return known.get(value, Level.UNKNOWN) if isinstance(value, str) else Level.UNKNOWN


def _running(value: object) -> list[dict[str, Any]]:
    """Those still going on."""
    listed = rows_if_any(value, "incidents")
    return [row for row in listed if plain(row.get("status"), 40) not in _OVER]


def _report(row: dict[str, Any], page: str) -> Report:
    impact = row.get("impact")
    updates = rows_if_any(row.get("incident_updates"), "incident updates")
    latest = max(updates, key=lambda update: moment(update.get("created_at")), default={})
    incident = PageIncident(
        title=plain(row.get("name"), TITLE_LIMIT) or "an incident without a title",
        level=_IMPACT.get(impact, Level.DEGRADED) if isinstance(impact, str) else Level.DEGRADED,
        state=plain(row.get("status"), 40),
        update=plain(latest.get("body")),
        started_at=moment(row.get("started_at") or row.get("created_at")),
        url=link(row.get("shortlink"), page),
    )
    touched = rows_if_any(row.get("components"), "components")
    return Report(incident, tuple(plain(c.get("name"), TITLE_LIMIT) for c in touched))
