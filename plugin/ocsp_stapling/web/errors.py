"""Every error as one sentence, as a page or as JSON; never a traceback."""

from __future__ import annotations

import logging

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from markupsafe import escape
from werkzeug.exceptions import HTTPException

from ocsp_stapling.problem import Problem
from ocsp_stapling.text import versioned

_OUR_FAULT = ("internal-error", "start-failed")
# What has an answer in a sentence is no failure of the service: never 5xx for what somebody sent.
_DEFAULT = 409
STATUS = {
    "busy": 409,
    "changed-meanwhile": 409,
    "forbidden": 403,
    "form-expired": 403,
    "form-foreign": 403,
    "form-missing": 403,
    "invalid-input": 400,
    "not-found": 404,
    "operation-unknown": 404,
    "unknown-incident": 404,
    "too-large": 413,
    "too-many": 429,
}
_SENTENCES = {
    404: Problem("not-found", "There is no such page."),
    405: Problem("bad-method", "This page cannot be asked in that way."),
    413: Problem("too-large", "That is more than this page accepts."),
}
_log = logging.getLogger(__name__)


def wants_json() -> bool:
    """Whether the caller is the page's own script (custom headers do not reach a WHM plugin)."""
    return request.args.get("format") == "json"


def register(app: Flask) -> None:
    """Show every Problem, HTTP error and unforeseen exception of `app` as one sentence."""
    app.register_error_handler(Problem, show)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def show(problem: Problem) -> Response:
    """Return the answer for a Problem; a viewer does not see the detail, which may name others' files."""
    caller = g.get("caller")
    if caller is None or not caller.is_operator:
        problem = Problem(problem.code, problem.sentence)
    status = 500 if problem.code in _OUR_FAULT else STATUS.get(problem.code, _DEFAULT)
    if wants_json():
        return make_response(jsonify(versioned("error", {"error": problem.as_json()})), status)
    return make_response(_page(problem), status)


def _page(problem: Problem) -> str:
    """The page of a Problem; should its template be what is broken, the bare sentence."""
    try:
        return render_template("problem.html", problem=problem)
    except Exception as error:  # this is the last resort: whatever happens, somebody waits for a sentence
        _note(error)
        return f"<p>{escape(problem.sentence)} <code>{escape(problem.code)}</code></p>"


def _http(error: HTTPException) -> Response:
    status = error.code or 400
    known = _SENTENCES.get(status, Problem("bad-request", "The request was not understood."))
    answer = show(known)
    answer.status_code = status
    return answer


def _unforeseen(error: Exception) -> Response:
    _note(error)
    return show(
        Problem(
            "internal-error",
            "Something went wrong in this plugin; nothing else is affected. "
            "The place is in the system log: journalctl -u ocsp-stapling.",
        )
    )


def _note(error: Exception) -> None:
    """Log the kind and the place of an exception, not its message: that may quote what somebody posted."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
    _log.error("%s at %s while answering %s", type(error).__name__, where, request.endpoint)
