"""Starting a change and following it: `?p=operations` (a form) and `?p=operations/ID` (a page that polls itself)."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ocsp_stapling.change.jobs import Progress
from ocsp_stapling.change.request import ChangeRequest
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import story
from ocsp_stapling.web.pages.operations import Act, operation_view, step_lines

blueprint = Blueprint("operations", __name__, url_prefix="/operations")
_ENDING = ("off", "site-off", "shield-on")


@blueprint.post("")
@operators_only
def start() -> Response:
    """Start what the form says and answer at once: 202 with the identity, or 303 to where it can be followed.

    Fields: `operation` (an identity made when the form was shown: the same form twice starts one change),
    `action`, and as the action wants: `reason`, `tag` (of the plan that was shown), `undone`, `overrides`,
    `write_on`, `return`, `site`.
    """
    identity = request.form.get("operation", "")
    services().operations.start(_request(identity))
    if wants_json():
        return make_response(jsonify(operation=identity), 202)
    return routing.see_other("operations.follow", identity=identity)


@blueprint.get("/<identity>")
@operators_only
def follow(identity: str) -> Response:
    """Show the operation's progress: its state, every step with its time, and how it ended; as JSON with `lines`."""
    found = services().operations.follow(identity)
    if found.ended:
        services().live.forget()
    if wants_json():
        lines = step_lines(found.steps, found.ended, found.started)
        words = [{"at": one.at, "words": one.words} for one in lines]
        return jsonify(found.as_json() | {"title": operation_view(found).title, "lines": words})
    return make_response(render_template("operation.html", view=operation_view(found, _ticket(found))))


def _ticket(found: Progress) -> Act | None:
    """The ticket to write after a change that ended an outage, with the evidence from before it."""
    if not found.ended or found.action not in _ENDING:
        return None
    incident = story.present()
    if incident is None or found.identity not in incident.operations:
        return None
    return Act("Write the ticket", "ticket.show", "with the evidence from before the change")


def _request(identity: str) -> ChangeRequest:
    form = request.form
    return ChangeRequest(
        form.get("action", ""),
        who=f"{caller().user} (WHM)",
        reason=form.get("reason", ""),
        with_overrides=form.get("overrides") == "yes",
        write_on=form.get("write_on") == "yes",
        return_when_healthy=form.get("return") == "yes",
        undone=form.get("undone", ""),
        identity=identity,
        tag=form.get("tag", ""),
        site=form.get("site", ""),
    )
