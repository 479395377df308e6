"""Sending a test mail from the page."""

from __future__ import annotations

import socket

from flask import Blueprint, Response

from ocsp_stapling.watch import outbox
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import services
from ocsp_stapling.web.identity import operators_only

blueprint = Blueprint("mails", __name__, url_prefix="/mails")


@blueprint.post("")
@operators_only
def send() -> Response:
    """Send a test mail to the server's contact and lead to the history, which says what became of it."""
    outbox.send_test(services().settings.state_directory, socket.gethostname())
    return routing.see_other("history.show")
