"""`off`, `on` and `undo`: show the plan, ask, carry it out, tell every step and what it did to visitors."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ocsp_stapling.change.checking import Checks
from ocsp_stapling.change.journal import Journal, step_words
from ocsp_stapling.change.operate import Operator, needs_consent
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.change.request import ACCOUNT, CACHE_FIT, ChangeRequest, called
from ocsp_stapling.change.transaction import DONE, Result
from ocsp_stapling.change.verify import handshake_json, paired
from ocsp_stapling.check.outlook import outlook
from ocsp_stapling.cli import output_is_lost
from ocsp_stapling.cli.options import (
    account_option,
    change_options,
    operation_argument,
    overrides_option,
    site_option,
)
from ocsp_stapling.cli.output import emit_json, printable, say, table, wrapped
from ocsp_stapling.problem import Problem

_ENDINGS = {"done": "Done", "restored": "Failed, and restored", "failed": "FAILED", "refused": "Refused"}


@click.command()
@overrides_option("Also for sites that turn stapling on themselves.")
@site_option("For this site alone, through its userdata include.")
@account_option
@click.option(
    "--return",
    "return_when_healthy",
    is_flag=True,
    help="Let the watch turn it on again when the responders are healthy.",
)
@change_options
def off(**options: Any) -> None:
    """Turn stapling off, verified; everything is put back if a step fails.

    With --site it stays on for all others, and off for this one until `ocsp-stapling on --site NAME`. With --account
    the same for every site of an account whose certificate names a responder.

    Exit status: 0 done, 1 refused (nothing touched), 3 failed and restored, 4 failed and not restored, 5 done, but
    visitors still wait: at sites that turn stapling on themselves (then: off --overrides), or, after an off for one
    site or account, at others (check says for whom).
    """
    sys.exit(carry_out("off", options))


@click.command()
@site_option("For this site alone: takes back `off --site`.")
@account_option
@overrides_option("Also for sites that were turned off alone.")
@click.option("--write-on", is_flag=True, help="Write SSLUseStapling On if stapling is off elsewhere.")
@change_options
def on(**options: Any) -> None:
    """Turn stapling on again by taking our block away, verified.

    Exit status: 0 done, 1 refused (nothing touched), 3 failed and restored, 4 failed and not restored.
    """
    sys.exit(carry_out("on", options))


@click.command()
@operation_argument("undone")
@change_options
def undo(**options: Any) -> None:
    """Take back the last change, or an earlier one whose files have not changed since.

    OPERATION is an identity, a number of `ocsp-stapling history`, or `last`.

    Exit status: 0 done, 1 refused (nothing touched), 3 failed and restored, 4 failed and not restored.
    """
    sys.exit(carry_out("undo", options))


def carry_out(action: str, options: Mapping[str, Any], shield_port: int = 0) -> int:
    """Plan, ask and carry out one change. Returns the exit status.

    Raises Problem for what refuses it before anything was touched.
    """
    as_json = bool(options["as_json"])
    watcher = _silent if as_json else _tell
    operator = Operator(_request(action, options, shield_port), watcher, foresight=outlook)
    if options["dry_run"]:
        return _dry_run(operator, as_json)
    asked = sys.stdin.isatty() and not as_json and not options["yes"]
    known: tuple[str, ...] = ()
    if not options["yes"]:
        plan = _consented(operator) if asked else _needing_none(operator)
        operator.expect(plan.tag)
        known = plan.warnings if asked else ()
    result = operator.run(agreed=bool(options["yes"]) or asked)
    try:
        emit_json("operation", result.as_json()) if as_json else _show(
            result, known, _is_held(operator, result)
        )
        sys.stdout.flush()
    except OSError as error:
        output_is_lost(error)  # the exit status still tells what became of the server
    if result.operation and (options["operation"] or sys.stdin.isatty()):
        _take_picture_anew(operator)
    return result.exit_code


def _take_picture_anew(operator: Operator) -> None:
    """What was known before a change says nothing of the time after it: have a check made, in a process of its own.

    Not for scripts, which change many servers at once: there the page has it made when somebody looks.
    """
    with contextlib.suppress(Problem):
        Checks(operator.state_directory).start(anew=True)


def _request(action: str, options: Mapping[str, Any], shield_port: int) -> ChangeRequest:
    site, account = str(options.get("site") or ""), str(options.get("account") or "")
    if site and account:
        raise Problem("invalid-input", "--site and --account do not go together, so nothing was done.")
    site = f"{ACCOUNT}{account}" if account else site
    return ChangeRequest(
        f"site-{action}" if site else action,
        who=options["who"] or who_is_here(),
        reason=options["reason"],
        with_overrides=bool(options.get("with_overrides")),
        write_on=bool(options.get("write_on")),
        return_when_healthy=bool(options.get("return_when_healthy")),
        undone=options.get("undone") or "",
        identity=options["operation"],
        tag=options["tag"],
        wait=options["wait"],
        shield_port=shield_port,
        site=site,
    )


def _dry_run(operator: Operator, as_json: bool) -> int:
    plan = operator.plan()
    emit_json("plan", plan.as_json()) if as_json else click.echo(_plan_text(plan))
    return 0


def _needing_none(operator: Operator) -> Plan:
    """Return the plan if it does nothing. Raises Problem, else `needs-consent`."""
    plan = operator.plan()
    if plan.acts:
        raise needs_consent()
    return plan


def _consented(operator: Operator) -> Plan:
    """Show the plan, ask, and return what was agreed to; where it does nothing there is nothing to ask."""
    plan = operator.plan()
    if plan.acts:
        click.echo(_plan_text(plan))
        if not click.confirm("Do it?", default=False):
            raise Problem("not-confirmed", "Nothing was changed.")
    return plan


def who_is_here() -> str:
    """The person at the terminal: through sudo their own name, not root's."""
    sudo = os.environ.get("SUDO_USER", "")
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"{printable(sudo, 40)} (sudo)" if sudo and sudo != name else name


# -- for people --------------------------------------------------------------------------------------------


def _plan_text(plan: Plan) -> str:
    beware = [("Beware", warning) for warning in plan.warnings]
    if not plan.changes:
        return "\n".join(filter(None, [wrapped(plan.nothing_to_write), table(beware)]))
    sites = [("Sites affected", f"{plan.sites_affected:,}")] if plan.sites_affected else []
    rows = [*sites, ("Restart", plan.cost), *beware]
    files = [change.diff() or f"{change.old.path}: created\n" for change in plan.changes]
    return "\n".join([wrapped(_outlook(plan)), table(rows), "\nWhat will be written:", *files])


_SHIELD = {
    "shield-on": "Apache will ask a relay on this machine instead of the authorities, and staple what that holds.",
    "shield-off": "Apache will ask the authorities itself again, as the configuration says.",
}
_SINGLE = {"site-off": "off", "site-on": "on"}


def _outlook(plan: Plan) -> str:
    if plan.lines_only:
        whose = f"The lines that turn stapling off for {called(plan.site)} alone go"
        return f"{whose}; it stays off there as well, for it is off for all."
    if plan.site:
        what = "changes back" if plan.action == "undo" else f"will be {_SINGLE[plan.action]}"
        stays = f"for all other sites it stays {_on_off(plan.stapling_now)}"
        return f"Stapling {what} for {called(plan.site)} alone; {stays}."
    if plan.action == CACHE_FIT:
        return "Apache's staple cache will hold the staples of all certificates; stapling stays on."
    if plan.action in _SHIELD:
        return _SHIELD[plan.action]
    if plan.stapling_now is plan.stapling_then:
        return f"Stapling stays {_on_off(plan.stapling_now)} for the server; what changes is named below."
    return f"Stapling is {_on_off(plan.stapling_now)} now and will be {_on_off(plan.stapling_then)}."


def _on_off(value: bool) -> str:
    return "on" if value else "off"


def _silent(_name: str, _detail: Mapping[str, Any], _seconds: float) -> None:
    return


def _tell(name: str, detail: Mapping[str, Any], seconds: float) -> None:
    """One line a step, with the time since the call."""
    margin = f"  {seconds:6.2f} s  "
    click.echo(wrapped(printable(step_words(name, detail)), margin, " " * len(margin)))


def _is_held(operator: Operator, result: Result) -> bool:
    """Whether the history, which a full disk may have cost, holds what was done, so that `undo` finds it."""
    with Journal(operator.state_directory, create=False) as journal:
        held = journal.operation(result.operation)
    return held is not None and held.state == DONE


def _show(result: Result, known: Sequence[str], undoable: bool) -> None:
    """Tell how it ended; of the warnings those that were not `known` when it was agreed to, however long ago."""
    seen = {warning.partition(" (")[0] for warning in known}
    good, waiting = result.state == DONE, bool(result.still_waiting)
    ended = f"{_ENDINGS[result.state]}, but some visitors still wait," if waiting else _ENDINGS[result.state]
    told = f"{ended} after {result.seconds:.1f} s: {result.sentence}"
    colour = "red" if not good else "yellow" if waiting else "green"
    click.secho(wrapped(told), fg=colour, bold=waiting or not good, err=not good)
    if result.problem and not good:
        click.echo(f"[{result.problem.code}]", err=True)
        if result.problem.detail:
            click.echo(result.problem.detail.rstrip(), err=True)
    if result.first_quick_seconds is not None:
        click.echo(f"First quick handshake {result.first_quick_seconds:.1f} s after the call.")
    rows = _before_and_after(result)
    if rows:
        click.echo(table(rows, header=("site", "before", "after", "staple")))
    if result.attempt:
        say(result.attempt.sentence)
    for warning in result.warnings:
        if warning.partition(" (")[0] not in seen:
            say(f"Note: {warning}")
    if good and undoable:
        click.echo(f"To take it back: ocsp-stapling undo   (operation {result.operation})")


def _before_and_after(result: Result) -> list[tuple[str, str, str, str]]:
    before = [handshake_json(each) for each in result.before]
    after = [handshake_json(each) for each in result.verdict.handshakes] if result.verdict else []
    rows = []
    for site, then, now in paired(before, after):
        staple = "" if now is None or now["failure"] else "sent" if now["stapled"] else "none"
        rows.append((site, _duration(then), _duration(now) if now else "", staple))
    return rows


def _duration(found: Mapping[str, Any]) -> str:
    if found["failure"] == "timeout":
        return f"did not answer (cut off at {found['seconds']:.1f} s)"
    return found["failure"] or f"{found['seconds'] * 1000:.0f} ms"
