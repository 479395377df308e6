"""What is in force in Apache, which line decided it, and every line that takes part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, render_template

from ocsp_stapling.apache.stapling import StaplingState
from ocsp_stapling.apache.tree import Directive
from ocsp_stapling.server import state as server
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.words import ORIGINS

blueprint = Blueprint("configuration", __name__)
_SHOWN = 60


@dataclass(frozen=True)
class DirectiveRow:
    """One directive with what it does."""

    file: Path
    number: int
    text: str
    scope: str
    effect: str


@blueprint.get("/configuration")
@operators_only
def show() -> str:
    """Show what is in force now, read afresh. Raises Problem if httpd.conf cannot be read."""
    here = server.look()
    state = here.stapling
    lines = [_line(one, state) for one in state.directives]
    return render_template(
        "configuration.html",
        state=state,
        origin=ORIGINS[state.origin],
        decided=state.decided_by,
        findings=[found.message for found in here.tree.findings[:20]],
        lines=lines[:_SHOWN],
        more_lines=max(len(lines) - _SHOWN, 0),
    )


def _line(one: Directive, state: StaplingState) -> DirectiveRow:
    scope = "the whole server" if one.vhost is None else "one virtual host"
    return DirectiveRow(one.file, one.line, one.text.strip(), scope, _effect(one, state))


def _effect(one: Directive, state: StaplingState) -> str:
    if not one.certain:
        return f"uncertain: depends on {', '.join(one.condition)}"
    if one is state.decided_by:
        return "decides" + (" (written by this plugin)" if one.managed else "")
    if one.name == "SSLUseStapling":
        return "overruled by a later line" if one.vhost is None else "beats the server level for this site"
    if one in (state.cache, state.session_cache):
        return "in force"
    return "takes part"
