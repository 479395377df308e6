"""`ocsp-stapling watch`: one pass of the watch, as the timer makes it."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ocsp_stapling import settings
from ocsp_stapling.change.operate import recover, require_root
from ocsp_stapling.change.transaction import FAILED
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json, printable, say
from ocsp_stapling.text import moment

if TYPE_CHECKING:
    from ocsp_stapling.watch.one_pass import Told


@click.command()
@json_option
@click.option(
    "--recover",
    "only_recover",
    is_flag=True,
    hidden=True,
    help="Only finish what an interrupted change left.",
)
@click.option(
    "--test-mail", is_flag=True, help="Only send a test mail to the server's contact; say what became of it."
)
def watch(as_json: bool, only_recover: bool, test_mail: bool) -> None:
    """Make one pass: look, remember, and do what the configuration lets the watch do.

    A systemd timer runs it every five minutes. Exit status: 0 also when another pass is running; 1 for a test mail
    that could not be sent.
    """
    require_root()
    if test_mail:
        _test_mail(as_json)
    if only_recover:
        found = recover(settings.load(), lambda *_: None)
        for result in found:
            say(result.sentence)
        sys.exit(any(result.state == FAILED for result in found))
    from ocsp_stapling.watch.one_pass import one_pass

    told = one_pass(settings.load())
    if as_json:
        emit_json("watch", _facts(told) if told else {"busy": True})
    elif told is None:
        click.echo("Another pass is running.")
    else:
        for line in (told.sentence, *told.done, *(f"Problem: {problem}" for problem in told.problems)):
            say(line)
    sys.stdout.flush()
    os._exit(0)  # a thread may still hang in the resolver


def _test_mail(as_json: bool) -> NoReturn:
    from ocsp_stapling.watch import outbox

    taken, told = outbox.send_test(settings.load().state_directory, socket.gethostname())
    if as_json:
        emit_json("test-mail", {"accepted": taken, "sentence": printable(told, 2000)})
    else:
        say(told)
    sys.exit(not taken)


def _facts(told: Told) -> dict[str, Any]:
    return asdict(told) | {"at": moment(told.at)}
