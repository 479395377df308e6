"""What an off, on or undo would do, shown before the click that does it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, render_template, request

from ocsp_stapling.change.journal import Journal, new_identity
from ocsp_stapling.change.operate import Operator
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.change.request import (
    IDENTITY,
    OF_ONE_SITE,
    REASON_LIMIT,
    SHIELD_ON,
    SITE_OFF,
    ChangeRequest,
    alone,
    worded,
)
from ocsp_stapling.check.diagnosis import Severity
from ocsp_stapling.check.outlook import outlook
from ocsp_stapling.problem import Problem
from ocsp_stapling.shield.standing import PORT, wished_port
from ocsp_stapling.text import counted
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages.picture import last_check
from ocsp_stapling.web.words import told_time

blueprint = Blueprint("plan", __name__, url_prefix="/plan")
_TITLES = {
    "off": "Turn stapling off?",
    "on": "Turn stapling on again?",
    "undo": "Take the change back?",
    "shield-on": "Keep stapling on through outages?",
    "shield-off": "Turn the shield off?",
    "site-off": "Turn stapling off for this site alone?",
    "site-on": "Turn stapling on again for this site?",
    "cache-fit": "Make the staple cache fit?",
}
_LEADS = {
    "off": "Sites stop waiting for responders. Browsers ask the authorities themselves until stapling is on again.",
    "on": "Apache fetches staples again and hands them to visitors.",
    "undo": "Every file goes back to what it was before that change, byte for byte.",
    "shield-on": "Apache asks a small relay on this server, which holds answers fetched ahead of time and verified. "
    "When an authority is out of reach, no visitor waits, and sites keep their staples until those end, days later.",
    "shield-off": "Apache asks the authorities itself again, inside visitors' handshakes. The relay is stopped.",
    "site-off": "Nobody waits for this site's responder any more. All other sites keep their staples.",
    "site-on": "Apache fetches staples for this site again.",
    "cache-fit": "Apache gets a cache that holds the staples of all certificates, and stops asking again and again.",
}
_CONFIRM = {
    "off": "Turn stapling off",
    "on": "Turn stapling on",
    "undo": "Take it back",
    "shield-on": "Turn the shield on",
    "shield-off": "Turn the shield off",
    "site-off": "Turn it off for this site",
    "site-on": "Turn it on for this site",
    "cache-fit": "Make it fit",
}


@blueprint.get("/<action>")
@operators_only
def show(action: str) -> str:
    """Show the plan; parameters `undone` (an operation), `site`, `write_on=yes`, `overrides=yes`. Raises Problem."""
    if action not in _TITLES:
        raise Problem("not-found", "There is no such page.")
    options = {name: request.args.get(name) == "yes" for name in ("write_on", "overrides")}
    undone, site = request.args.get("undone", ""), request.args.get("site", "")
    if bool(site) is not (action in OF_ONE_SITE):
        raise Problem("not-found", "There is no such page.")
    try:
        plan = _plan(action, undone, site, options)
    except Problem as problem:
        if problem.code == "off-elsewhere" and not options["write_on"]:
            return render_template("off_elsewhere.html", problem=problem)
        raise
    found = plan.as_json()
    return render_template(
        "plan.html",
        plan=found,
        nothing_to_write=plan.nothing_to_write,
        acts=plan.acts,
        title=_TITLES[action],
        lead=_LEADS[action],
        confirm=_CONFIRM[action],
        meaning=_meaning(plan),
        warnings=[text for text in plan.warnings if "Must-Staple" not in text],
        identity=new_identity(),
        undone=undone,
        emergency=action == "off" and _visitors_wait(),
        undoing=_undoing(undone) if action == "undo" else "",
        reason_limit=REASON_LIMIT,
        options=options,
        returns=services().settings.watch.return_by_itself if action == "off" else "",
        choices=_choices(plan, options),
    )


def _plan(action: str, undone: str, site: str, options: Mapping[str, bool]) -> Plan:
    settings = services().settings
    asked = ChangeRequest(
        action,
        who=caller().user,
        undone=undone if action == "undo" else "",
        site=site,
        with_overrides=options["overrides"] and action == "off",
        write_on=options["write_on"] and action == "on",
        shield_port=wished_port(settings.state_directory) or PORT if action == SHIELD_ON else 0,
    )
    return Operator(asked, lambda _name, _detail, _seconds: None, settings, outlook).plan()


def _visitors_wait() -> bool:
    last = last_check(services().settings.state_directory)
    return last is not None and last.diagnosis.severity is Severity.STALLING


def _undoing(identity: str) -> str:
    """Which change is taken back: what it was, when, by whom and why."""
    with Journal(services().settings.state_directory) as journal:
        found = journal.operation(identity) if IDENTITY.fullmatch(identity) else None
    if found is None:
        return ""
    when = told_time(datetime.fromtimestamp(found.started, UTC))
    what = alone(worded(found.action).do, found.site)
    because = f": {found.reason}" if found.reason else ""
    return f"{what}, {when}, by {found.who}{because}"


def _meaning(plan: Plan) -> list[str]:
    lines = []
    if plan.action == SHIELD_ON:
        lines.append("The relay is started and asked first; only if it answers is anything written.")
    lines.append("Apache's configuration is tested before and after; WHM restarts Apache.")
    if plan.rebuild:
        lines.append("cPanel rebuilds httpd.conf first, because it does not read the include yet.")
    if plan.action == SITE_OFF:
        lines.append("It stays so until you take it back, also when stapling is turned off and on for all.")
    elif plan.action == SHIELD_ON:
        lines.append(
            "Sites are quick at once; staples follow as the answers come in, without another restart."
        )
    elif plan.stapling_then:
        lines.append("Each site's first visitor waits a moment while Apache fetches a fresh staple.")
    else:
        lines.append("If workers still hang, they are ended, so that sites answer again at once.")
    lines.append(
        "Then a few sites are tested with real handshakes; if they do not answer as they should, all is put back."
    )
    return lines


def _choices(plan: Plan, options: Mapping[str, bool]) -> list[dict[str, Any]]:
    reached = len(plan.overrides) - len(plan.by_hand)
    if plan.action == "off" and reached and not options["overrides"]:
        label = (
            f"Turn it off as well for {counted(reached, 'site')} that turn stapling on by a userdata include"
        )
        return [{"label": label, "values": {"overrides": "yes"}}]
    return []
