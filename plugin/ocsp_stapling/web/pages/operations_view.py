"""Starting a change and following it: `?p=operations` (a form) and `?p=operations/ID` (a page that polls itself)."""

from __future__ import annotations

import time

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ocsp_stapling.change.jobs import Progress
from ocsp_stapling.change.request import ChangeRequest
from ocsp_stapling.watch.returning import standing
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import story
from ocsp_stapling.web.pages.operations import ARM, Act, OperationView, operation_view, step_lines

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
    return make_response(render_template("operation.html", view=_view(found)))


def _view(found: Progress) -> OperationView:
    """What there is to do first: the ticket after a change that ended an outage, the return if nobody chose it."""
    if found.state != "done" or found.action not in _ENDING:
        return operation_view(found)
    acts, incident = [], story.present()
    if incident is not None and found.identity in incident.operations:
        acts.append(Act("Write the ticket", "ticket.show", "with the evidence from before the change"))
    now = standing(services().settings, time.time())
    mine = found.action == "off"
    if mine and now.armed is False and not now.fixed:
        acts.append(ARM)
    return operation_view(found, acts, armed=mine and bool(now.armed))


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
