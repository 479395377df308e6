"""Every TLS site with what its certificate says, searchable and in pages, and a staple check of any one."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ocsp_stapling.check.diagnosis.queue import refused
from ocsp_stapling.problem import Problem
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture, sites
from ocsp_stapling.web.visibility import visible_to

blueprint = Blueprint("sites", __name__, url_prefix="/sites")


@blueprint.get("")
@operators_and_viewers
def show() -> Response:
    """Show one page of the sites that fit `q`, `ca` and `show`; as JSON the table alone, for the search box."""
    seen = picture.picture()
    marked = sites.marks(seen.diagnosis, refused(seen.evidence) if seen.evidence else ())
    values = sites.page(sites.Query.of(request.args.get), visible_to(caller()), marked)
    if wants_json():
        return jsonify(html=render_template("sites_table.html", **values))
    name = request.args.get("met", "")
    job = services().meetings.look(caller().user, name)
    meeting = name if job is not None and job.running else ""
    met = job.found if job is not None else None
    return make_response(render_template("sites.html", met=met, meeting=meeting, **values))


@blueprint.post("")
@operators_and_viewers
def meet() -> Response:
    """Begin to meet one site (field `site`) as a browser does, and lead to where what came back is shown."""
    name = request.form.get("site", "")
    found = sites.find(name, visible_to(caller()))
    if found is None:
        raise Problem("not-found", "There is no such site on this server, or it is not yours.")
    # A site that hangs takes seconds: not those of a thread that answers requests.
    services().meetings.begin(
        caller().user, name, lambda: sites.meet(found), of_viewer=not caller().is_operator
    )
    query = {field: request.form.get(field, "")[:200] or None for field in ("q", "ca", "show", "page")}
    return routing.see_other("sites.show", met=name, **query)


@blueprint.get("/met")
@operators_and_viewers
def following() -> Response:
    """Say whether the meeting of the site `met` has ended, for the page's script."""
    job = services().meetings.look(caller().user, request.args.get("met", ""))
    return jsonify(ended=job is None or not job.running)
