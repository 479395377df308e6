"""The command for another machine that a viewer may have: the question about a certificate of their own.

The check's own commands ask about whichever certificate it chose, and that may be another customer's.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from ocsp_stapling.check.evidence import Evidence
from ocsp_stapling.check.followup import vetted_address
from ocsp_stapling.check.questions import question
from ocsp_stapling.check.vantage import command
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import state as server
from ocsp_stapling.server.sites import Endpoint
from ocsp_stapling.web.context import services
from ocsp_stapling.whm.accounts import Visible

_TRIED = 8
"""Sites whose certificate files are read for one command."""


def own_command(evidence: Evidence, failing: Collection[str], visible: Visible) -> str:
    """Return the line that asks a failing responder about a certificate of the viewer, "" if there is none."""
    found = {one.url: vetted_address(one.finding) for one in evidence.responders if one.url in failing}
    if not any(found.values()):
        return ""
    try:
        here = server.look(services().settings.state_directory)
        own = [one for one in here.endpoints if visible.domain(one.name)]
        lines = (_line(own, url, address) for url, address in found.items() if address)
        return next(filter(None, lines), "")
    except Problem:
        return ""


def _line(own: Collection[Endpoint], url: str, address: str) -> str:
    asks = (one for one in own if any(each.responder == url for each in one.certificates))
    targets = (question(one, url) for one in islice(asks, _TRIED))
    return next((line for one in targets if one and (line := command(one, address))), "")
