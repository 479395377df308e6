"""`ocsp-stapling check`: why HTTPS hangs, or that it does not; also a plugin for Nagios, Icinga and their like."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from ocsp_stapling import settings
from ocsp_stapling.check import report, result, vantage
from ocsp_stapling.cli import is_plain, show_problem
from ocsp_stapling.cli.check_text import as_text
from ocsp_stapling.cli.options import json_option
from ocsp_stapling.cli.output import emit_json
from ocsp_stapling.cli.pending import finish_interrupted
from ocsp_stapling.problem import Problem, not_root
from ocsp_stapling.settings import Settings
from ocsp_stapling.text import counted


class MisuseError(click.UsageError):
    """A mistake in the command line; monitoring reads click's usual 2 as critical."""

    exit_code = report.UNKNOWN


class Plugin(click.Command):
    """A command with the exit statuses of a monitoring plugin, for mistakes in its options as well."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Parse the command line. Raises MisuseError."""
        try:
            return super().make_context(*args, **more)
        except click.UsageError as error:
            raise MisuseError(error.format_message(), error.ctx) from error


@click.command(cls=Plugin)
@click.option("--deadline", type=click.FloatRange(0.5, 120), help="Seconds for everything together [8].")
@click.option(
    "--elsewhere",
    "pasted",
    type=click.Path(),
    metavar="FILE",
    help="What the line for another machine printed there; - reads standard input.",
)
@click.option(
    "--watch",
    "every",
    type=click.FloatRange(1, 86400),
    is_flag=False,
    flag_value=30.0,
    metavar="[SECONDS]",
    help="Check again every SECONDS [30] until Ctrl-C.",
)
@click.option(
    "--monitoring", is_flag=True, help="Verdict and performance data in one line, as without a terminal."
)
@json_option
@click.option("--progress", is_flag=True, help="Say on standard error what is being done, one line each.")
def check(
    deadline: float | None,
    pasted: str | None,
    every: float | None,
    monitoring: bool,
    as_json: bool,
    progress: bool,
) -> None:
    """Tell whether stapling makes the sites hang, why, and what to do.

    Asks every OCSP responder exactly as Apache does, tests a few sites with real handshakes, and reads Apache's
    configuration and error log and the authorities' status pages.

    Exit status: 0 ok, 1 warning, 2 critical (visitors wait or are turned away), 3 unknown.
    """
    try:
        told = _read_pasted(pasted) if pasted else ""
        configured = settings.load()
        finish_interrupted(configured)
        once = functools.partial(run_check, configured, deadline, told, progress=_line if progress else None)
        if every:
            _repeat(once, every, as_json)
        found = once()
    except Problem as problem:
        _give_up(problem, as_json)
    if as_json:
        emit_json("check", found)
    else:
        click.echo(as_text(found, monitoring=monitoring or not sys.stdout.isatty()))
        if not monitoring:
            _offer(found)
    _leave(found)


def _leave(found: Mapping[str, Any]) -> NoReturn:
    """End with the check's exit status at once: a thread may still hang in the resolver."""
    sys.stdout.flush()
    os._exit(int(found["exit_status"]))


def _repeat(once: Callable[[], dict[str, Any]], seconds: float, as_json: bool) -> NoReturn:
    """Check again and again, each on a cleared screen or, for programs, one document a line, until Ctrl-C."""
    found, made = once(), 1
    try:
        while True:
            if not is_plain():
                click.clear()  # does nothing where there is no terminal
            emit_json("check", found) if as_json else click.echo(as_text(found, not sys.stdout.isatty()))
            sys.stdout.flush()
            time.sleep(seconds)
            found, made = once(), made + 1
    except KeyboardInterrupt:
        click.echo(f"\nEnded after {counted(made, 'check')}.", err=True)
        _leave(found)


def _offer(found: Mapping[str, Any]) -> None:
    """At a terminal, ask whether to do what is recommended: its plan is then shown, and asked about once more."""
    words = _recommended(found)
    if not (words and sys.stdin.isatty() and sys.stdout.isatty()):
        return
    click.echo()
    with contextlib.suppress(click.Abort):
        if click.confirm(f"Do it now (ocsp-stapling {' '.join(words)})?", default=False):
            sys.stdout.flush()
            # A process of its own: here threads may still hang in the resolver.
            start = "from ocsp_stapling.cli import main; main()"
            os.execv(sys.executable, [sys.executable, "-I", "-c", start, *words])  # noqa: S606


def _recommended(found: Mapping[str, Any]) -> list[str]:
    """The command for the change that a check recommends; none if it recommends no change, or several."""
    advice, alone = str(found["recommended"]), found["alone"]
    if advice == "turn-off-site":
        if found["alone_account"]:
            return ["off", "--account", str(found["alone_account"])]
        return ["off", "--site", str(alone[0])] if len(alone) == 1 else []
    return {"turn-off": ["off"], "turn-on": ["on"], "shield-on": ["shield", "on"]}.get(advice, [])


def run_check(
    configured: Settings,
    deadline: float | None = None,
    pasted: str = "",
    *,
    trace: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Make a survey, diagnose it, keep it as the last check and return its document. Raises Problem."""
    from ocsp_stapling.check.gather import Request, survey

    if os.geteuid() != 0:
        raise not_root()
    request = Request(
        configured,
        deadline or configured.probe.deadline_seconds,
        vantage.parse(pasted) if pasted else (),
        trace,
        progress or (_progress if _shows_progress() else lambda _text: None),
    )
    evidence = survey(request)
    if progress is None and _shows_progress():
        click.echo("\r\033[K", nl=False, err=True)
    check = result.judged(evidence)
    try:  # a full disk must not cost the answer
        # The page follows a check by its progress; at a terminal people watch the line that is overwritten.
        result.store(configured.state_directory, check, "page" if progress else "check")
    except OSError as error:
        if progress is None:
            what = f"This result is not kept ({error.strerror}): page and status show the one before it."
            _line(f"ocsp-stapling: {what}")
    return check.document()


def _shows_progress() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _line(text: str) -> None:
    click.echo(text, err=True)


def _progress(text: str) -> None:
    click.echo(f"\r\033[K{text} ...", nl=False, err=True)


def _read_pasted(name: str) -> str:
    try:
        with click.open_file(name, "rb") as file:
            data = file.read(vantage.SIZE_LIMIT)
    except OSError as error:
        raise Problem("file-unreadable", f"{Path(name)} cannot be read.", error.strerror or "") from error
    return bytes(data).decode("utf-8", "replace")


def _give_up(problem: Problem, as_json: bool) -> NoReturn:
    if not as_json and not sys.stdout.isatty():
        click.echo(f"OCSP STAPLING UNKNOWN - {problem.sentence}")
    show_problem(problem, as_json)
    sys.exit(report.UNKNOWN)
