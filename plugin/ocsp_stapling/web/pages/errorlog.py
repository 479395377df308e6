"""Stapling failures in Apache's error log: a chart of the last 24 hours and the last ones in words."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import Blueprint, render_template

from ocsp_stapling.apache.errorlog.failures import Failure, ResponderCount, summarise
from ocsp_stapling.apache.errorlog.read import entries_of_all
from ocsp_stapling.check.diagnosis import Severity
from ocsp_stapling.check.surroundings import SILENT_YET
from ocsp_stapling.server import state as server
from ocsp_stapling.server.logs import error_logs
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.pages.chart import UNNAMED, failures_chart
from ocsp_stapling.web.words import FAILURES, counted, sentence, zone

blueprint = Blueprint("errorlog", __name__)
_DAY = timedelta(days=1)


@blueprint.get("/errorlog")
@operators_only
def show() -> str:
    """Show the failures of the last day. Raises Problem if the log cannot be read."""
    logs, now = error_logs(server.look()), datetime.now()
    lines = entries_of_all(logs.roots, now - _DAY, logs.foreign, forms=logs.forms)
    found = summarise(lines, now, logs.client_checks)
    return render_template(
        "errorlog.html",
        summary=found,
        chart=failures_chart(found.minutes, now),
        responders=[_responder(one) for one in found.responders],
        recent=[_recent(one) for one in reversed(found.recent)],
        noted=[f"{counted(count, 'time')}: {FAILURES[kind]}." for kind, count in found.noted],
        file=next(iter(logs.roots), None),
        more_files=len(logs.files) - 1,
        unheard=logs.unheard if found.last_day or not _waiting() else (*logs.unheard, SILENT_YET),
        zone=zone(),
    )


def _waiting() -> bool:
    seen = picture.picture()
    stalling = seen.diagnosis is not None and seen.diagnosis.severity is Severity.STALLING
    return stalling and not seen.interim


def _responder(one: ResponderCount) -> dict[str, object]:
    kinds = ", ".join(f"{FAILURES[kind].format(who='it')} ({count:,})" for kind, count in one.kinds[:3])
    name = one.responder or UNNAMED
    return {
        "name": name,
        "failures": one.failures,
        "first": one.first,
        "last": one.last,
        "what": sentence(kinds),
    }


def _recent(one: Failure) -> dict[str, object]:
    who = one.responder or "a responder that the log does not name"
    words = sentence(FAILURES[one.kind].replace("{who}", who) + (f" ({one.reason})" if one.reason else ""))
    return {"time": one.time, "sentence": words, "codes": " ".join(one.codes)}
