"""The pages: one module for each area; `register` gives them all to the application."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, request

from ocsp_stapling.web import assets, words
from ocsp_stapling.web.context import caller
from ocsp_stapling.web.pages import (
    chart,
    check,
    configuration,
    customer,
    errorlog,
    fresh,
    guide,
    history,
    live,
    operations,
    overview,
    plan,
    rehearsal,
    responders,
    sites,
    ticket,
    vantage,
)

_AREAS = (
    operations,
    overview,
    check,
    guide,
    rehearsal,
    responders,
    sites,
    customer,
    errorlog,
    configuration,
    history,
    live,
    plan,
    ticket,
    vantage,
)
_TABS = (
    ("Overview", (("overview.show", "Overview", True),)),
    ("Guided steps", (("guide.show", "Guided steps", True),)),
    (
        "Evidence",
        (
            ("responders.show", "Responders", True),
            ("responders.authorities", "Authorities", True),
            ("sites.show", "Sites", True),
            ("errorlog.show", "Error log", False),
        ),
    ),
    ("Configuration", (("configuration.show", "Configuration", False),)),
    ("History", (("history.show", "History", False),)),
    (
        "Ticket",
        (
            ("ticket.show", "Ticket", True),
            ("customer.show", "A customer asks", True),
            ("elsewhere.show", "From elsewhere", False),
        ),
    ),
)
# Pages without a tab of their own -> the tab they belong to.
_PARTS = {
    "operations.follow": "history.show",
    "plan.show": "overview.show",
    "check.follow": "overview.show",
    "elsewhere.tell": "elsewhere.show",
    "rehearsal.show": "responders.show",
    "sites.meet": "sites.show",
    "sites.following": "sites.show",
}


def register(app: Flask) -> None:
    """Give the application its pages and the words and names that their templates use."""
    for area in _AREAS:
        app.register_blueprint(area.blueprint)
    words.register(app)
    app.jinja_env.filters["spark_words"] = chart.spark_words
    app.jinja_env.filters["spark_paths"] = chart.spark_paths
    app.jinja_env.globals.update(
        asset=assets.link, tabs=_tabs, page_name=_page_name, refreshing=fresh.refreshing
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.context_processor(lambda: {"part": _PARTS.get(request.endpoint or "", "")})


@dataclass(frozen=True)
class Tab:
    """One tab with the pages in it that the caller may open, and whether the page shown is one of them."""

    label: str
    pages: tuple[tuple[str, str], ...]
    here: bool


def _tabs() -> list[Tab]:
    """The tabs that the caller may open."""
    operator = caller().is_operator
    now = _PARTS.get(request.endpoint or "", request.endpoint)
    found = []
    for label, pages in _TABS:
        may = tuple((endpoint, name) for endpoint, name, everybody in pages if operator or everybody)
        if may:
            found.append(Tab(label, may, now in dict(may)))
    return found


def _page_name() -> str:
    """The page that is shown, as its tab or the row below calls it."""
    now = _PARTS.get(request.endpoint or "", request.endpoint)
    return next((name for _, pages in _TABS for endpoint, name, _ in pages if endpoint == now), "")
