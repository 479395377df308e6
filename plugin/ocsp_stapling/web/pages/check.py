"""Starting a check and following it."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ocsp_stapling.change.checking import Checks
from ocsp_stapling.problem import Problem
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture

blueprint = Blueprint("check", __name__, url_prefix="/check")
_BACK = ("overview.show", "responders.show", "guide.show", "elsewhere.show")
_SHOWN = 4
_VIEWERS_WAIT_SECONDS = 20


@blueprint.post("")
@operators_and_viewers
def start() -> Response:
    """Start a check and lead to where it can be followed; field `back`: a page's name.

    While one runs, root gets another one after it; a viewer, who could keep one running for ever, waits for that one.
    """
    if caller().is_operator or not _is_fresh():
        checks().start(anew=caller().is_operator)
    opened = request.form.get("responder", "")[:300]
    return routing.see_other("check.follow", back=_back(request.form.get("back", "")), open=opened or None)


@blueprint.get("")
@operators_and_viewers
def follow() -> Response:
    """Show the running check, or go on to the page that waits for it. As JSON: ended, text, lines."""
    state = checks().state()
    back, opened = _back(request.args.get("back", "")), request.args.get("open") or None
    lines = state.lines[-_SHOWN:] if caller().is_operator else ()
    if wants_json():
        return jsonify(ended=not state.running, seconds=round(state.seconds, 1), lines=lines)
    if state.running:
        return make_response(render_template("check.html", back=back, opened=opened, lines=lines))
    if state.problem is not None:
        raise Problem(state.problem.code, state.problem.sentence, state.problem.detail)
    return routing.see_other(back, open=opened)


def _is_fresh() -> bool:
    """Whether the last check is so young that nobody but root may start another: a viewer could keep one running."""
    seen = picture.picture()
    return (
        seen.evidence is not None
        and seen.changed is None
        and (datetime.now(UTC) - seen.evidence.taken_at).total_seconds() < _VIEWERS_WAIT_SECONDS
    )


def checks() -> Checks:
    """Return the checks of this server."""
    return Checks(services().settings.state_directory)


def _back(name: str) -> str:
    return name if name in _BACK else _BACK[0]
