"""What is in force in Apache, which line decided it, and every line that takes part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, render_template

from ocsp_stapling.apache.tree import Directive
from ocsp_stapling.server import state as server
from ocsp_stapling.server.state import ServerState
from ocsp_stapling.web.identity import operators_only
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.words import decided

blueprint = Blueprint("configuration", __name__)
_SHOWN = 60
_OVERRULED = "overruled by a later line"


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
    lines = [_line(one, here) for one in state.directives]
    return render_template(
        "configuration.html",
        state=state,
        origin=decided(state.origin),
        decided=state.decided_by,
        findings=[found.message for found in here.tree.findings[:20]],
        refused=_refused(),
        lines=lines[:_SHOWN],
        more_lines=max(len(lines) - _SHOWN, 0),
    )


def _refused() -> str:
    """Why httpd refuses its configuration, as the last check found; "" where it takes it."""
    seen = picture.picture().evidence
    return " ".join(seen.configuration.refused.split()) if seen else ""


def _line(one: Directive, here: ServerState) -> DirectiveRow:
    scope = "the whole server" if one.vhost is None else "one virtual host"
    return DirectiveRow(one.file, one.line, one.text.strip(), scope, _effect(one, here))


def _effect(one: Directive, here: ServerState) -> str:
    if not one.certain:
        return f"uncertain: depends on {', '.join(one.condition)}"
    if one is here.stapling.decided_by:
        return "decides" + (" (written by this plugin)" if one.managed else "")
    if one.name == "SSLUseStapling":
        return _OVERRULED if one.vhost is None else "beats the server level for this site"
    if one.vhost is not None:
        return "holds for this site"
    return "in force" if one is here.tree.last(one.name) else _OVERRULED
