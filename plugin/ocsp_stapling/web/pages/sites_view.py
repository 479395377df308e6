"""Every TLS site with what its certificate says, searchable and in pages, and a staple check of any one."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ocsp_stapling.problem import Problem
from ocsp_stapling.web.context import caller
from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import sites
from ocsp_stapling.web.visibility import visible_to

blueprint = Blueprint("sites", __name__, url_prefix="/sites")


@blueprint.get("")
@operators_and_viewers
def show() -> Response:
    """Show one page of the sites that fit `q`, `ca` and `show`; as JSON the table alone, for the search box."""
    values = _page(request.args.get)
    if wants_json():
        return jsonify(html=render_template("sites_table.html", **values))
    return make_response(render_template("sites.html", met=None, **values))


@blueprint.post("")
@operators_and_viewers
def meet() -> Response:
    """Meet one site (field `site`) as a browser does and show what came back."""
    name = request.form.get("site", "")
    found = sites.find(name, visible_to(caller()))
    if found is None:
        raise Problem("not-found", "There is no such site on this server, or it is not yours.")
    met = sites.meet(found)
    return make_response(render_template("sites.html", met=met, **_page(request.form.get)))


def _page(get: sites.Get) -> dict[str, object]:
    return sites.page(sites.Query.of(get), visible_to(caller()))
