"""The pages: one module for each area; `register` gives them all to the application."""

from __future__ import annotations

from flask import Flask, request

from ocsp_stapling.web import assets, words
from ocsp_stapling.web.context import caller
from ocsp_stapling.web.pages import (
    chart,
    check,
    configuration,
    errorlog,
    guide_view,
    history,
    overview,
    plan,
    responders_view,
    sites_view,
    ticket,
    vantage,
)

_AREAS = (
    overview,
    check,
    guide_view,
    responders_view,
    sites_view,
    errorlog,
    configuration,
    history,
    plan,
    ticket,
    vantage,
)
_PAGES = (
    ("overview.show", "Overview", True),
    ("guide.show", "Guided steps", True),
    ("responders.show", "Responders", True),
    ("responders.authorities", "Authorities", True),
    ("sites.show", "Sites", True),
    ("errorlog.show", "Error log", False),
    ("configuration.show", "Configuration", False),
    ("history.show", "History", False),
    ("elsewhere.show", "From elsewhere", False),
    ("ticket.show", "Ticket", True),
)
# Pages without a tab of their own -> the tab they belong to.
_PARTS = {
    "operations.follow": "history.show",
    "plan.show": "overview.show",
    "check.follow": "overview.show",
    "elsewhere.tell": "elsewhere.show",
    "sites.meet": "sites.show",
    "sites.following": "sites.show",
}


def register(app: Flask) -> None:
    """Give the application its pages and the words and names that their templates use."""
    for area in _AREAS:
        app.register_blueprint(area.blueprint)
    words.register(app)
    app.jinja_env.filters["spark_words"] = chart.spark_words
    app.jinja_env.globals.update(asset=assets.link, tabs=_tabs)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.context_processor(lambda: {"part": _PARTS.get(request.endpoint or "", "")})


def _tabs() -> list[tuple[str, str]]:
    """The tabs that the caller may open."""
    operator = caller().is_operator
    return [(endpoint, label) for endpoint, label, everybody in _PAGES if operator or everybody]
