"""`ocsp-stapling serve`: the service behind the page in WHM."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

from ocsp_stapling import settings
from ocsp_stapling.cli.output import emit_json
from ocsp_stapling.problem import Problem, not_root


@click.command()
@click.option(
    "--socket", "path", type=click.Path(path_type=Path), help="Listen here, where systemd does not."
)
@click.option("--idle-seconds", type=click.FloatRange(1), help="Leave after this time without a request.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document when ready.")
def serve(path: Path | None, idle_seconds: float | None, as_json: bool) -> None:
    """Answer the page in WHM until nobody has asked for a while.

    systemd starts it with the first request (ocsp-stapling.socket). Exit status: 0 left, 1 could not serve.
    """
    if os.geteuid() != 0:
        raise not_root()
    os.umask(0o077)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    # Only now: the other commands must not wait for Flask.
    from ocsp_stapling.web import server
    from ocsp_stapling.web.app import create_app

    listener = server.inherited() if path is None else server.listen(path)
    if listener is None:
        raise Problem(
            "no-socket",
            "systemd handed no socket over. Start it with: systemctl start ocsp-stapling.socket, "
            f"or without systemd: ocsp-stapling serve --socket {server.SOCKET}",
        )
    configured = settings.load()
    if as_json:
        emit_json("serve", {"listening": str(listener.getsockname())})
    server.serve(create_app(configured), listener, idle_seconds or configured.page.idle_seconds)
