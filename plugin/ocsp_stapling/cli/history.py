"""`history`: what was switched, by whom and why, how it ended, each step of one; the outages the watch saw."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import click

from ocsp_stapling.change.journal import Journal, Operation, Step, ending, step_words
from ocsp_stapling.change.operate import require_root
from ocsp_stapling.change.request import alone, worded
from ocsp_stapling.check.incident import OPERATIONS, brought_up_to_date, known, one_of, words
from ocsp_stapling.check.words import trouble_words
from ocsp_stapling.cli import completion
from ocsp_stapling.cli.options import json_option, operation_argument
from ocsp_stapling.cli.output import emit_json, printable, say, table
from ocsp_stapling.cli.pending import finish_interrupted
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings, load
from ocsp_stapling.text import aged, counted, host_of, when
from ocsp_stapling.watch.history import Past, past, percent, untold
from ocsp_stapling.watch.history import as_json as past_as_json
from ocsp_stapling.watch.outages import SERVER, Outage
from ocsp_stapling.watch.returning import looks_needed

_INCIDENTS = 5


@click.command()
@operation_argument("identity")
@click.option(
    "--incident",
    metavar="ID",
    default="",
    shell_complete=completion.incidents,
    help="The timeline of one incident; latest: the newest.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first."
)
@json_option
def history(identity: str, incident: str, limit: int, as_json: bool) -> None:
    """Show the incidents of this server, what was switched, and the outages of the last 30 days.

    With OPERATION (an identity, a number of the list, or `last`) every step of it; with --incident one incident from
    its first sign to its end. A change that was killed half way is brought to its end first.

    Exit status: 0, or 1 if the operation or incident is not known.
    """
    require_root()
    settings = load()
    finish_interrupted(settings)
    with Journal(settings.state_directory, create=False) as journal:
        brought_up_to_date(journal)
        if incident:
            _show_incident(journal, incident, as_json, looks_needed(settings))
        elif identity:
            _show_one(journal, identity, as_json)
        else:
            _show_all(journal, limit, as_json, settings)
        if missing := journal.missing:
            click.echo(f"ocsp-stapling: the history is lost: {printable(missing)}", err=True)


def _show_all(journal: Journal, limit: int, as_json: bool, settings: Settings) -> None:
    found = journal.operations(limit=limit)
    seen, passes = past(settings.state_directory, time.time()), looks_needed(settings)
    if as_json:
        operations = {
            "operations": [each.as_json() for each in found],
            "server_incidents": [words.as_json(each, passes) for each in known(journal, limit)],
            "lost": journal.missing or None,
        }
        emit_json("history", operations | past_as_json(seen))
        return
    if incidents := known(journal, min(limit, _INCIDENTS)):
        say("Incidents (a timeline: ocsp-stapling history --incident ID):")
        click.echo(
            table((each.id, printable(words.sentence(each, passes), 400)) for each in incidents) + "\n"
        )
    if found:
        click.echo(table(row for number, each in enumerate(found, 1) for row in _rows(number, each)))
        click.echo()
        say("Every step of one: ocsp-stapling history NUMBER, or last")
    elif not journal.missing:
        click.echo("Nothing was switched yet.")
    _show_past(replace(seen, outages=untold(seen.outages, known(journal))), limit)


def _show_incident(journal: Journal, identity: str, as_json: bool, passes: int) -> None:
    found = one_of(journal, identity)
    operations = journal.operations(OPERATIONS)
    if as_json:
        emit_json("incident", words.document(found, operations, passes))
        return
    say(words.sentence(found, passes))
    say(words.advice(found, passes))
    click.echo()
    rows = [(when(each.at), printable(each.sentence, 1000)) for each in words.timeline(found, operations)]
    click.echo(table(rows))


def _rows(number: int, one: Operation) -> Iterable[tuple[str, str, str]]:
    """What happened, who did it why, and, if it did not end well, what kept it."""
    what, who, ended, why = _summary(one)
    yield str(number), when(one.started), f"{what} by {who}: {ended}"
    if why:
        yield "", "", f"reason: {why}"
    if (one.state != "done" or one.result.get("still_waiting_names")) and one.result.get("sentence"):
        yield "", "", str(one.result["sentence"])
    yield "", "", f"operation {one.id}"


def _show_past(seen: Past, limit: int) -> None:
    """Outages and availability, if the watch saw any; its whole memory is for the page and for --json."""
    if seen.outages:
        click.echo(f"\nOutages of the last {seen.days} days, seen by the watch:")
        click.echo(table(_outage_rows(seen.outages[:limit]), header=("from", "to", "of", "what")))
    flawed = [(url, one) for url, one in seen.availability.items() if one.good < one.passes]
    if flawed:
        click.echo(f"\nAvailability over {seen.days} days (every other responder: 100 %):")
        rows = (
            (percent(one), f"of {counted(one.passes, 'look')}", host_of(url)) for url, one in flawed[:limit]
        )
        click.echo(table(rows))
    if seen.lost:
        click.echo(f"ocsp-stapling: the watch's memory is lost: {printable(seen.lost)}", err=True)


def _outage_rows(outages: Iterable[Outage]) -> Iterable[tuple[str, str, str, str]]:
    for one in outages:
        subject = "this server: visitors waited" if one.subject == SERVER else host_of(one.subject)
        yield (
            when(one.began),
            when(one.ended) if one.ended else "still going on",
            subject,
            trouble_words(one.what),
        )


def _show_one(journal: Journal, identity: str, as_json: bool) -> None:
    found = journal.called(identity)
    if found is None:
        raise Problem("unknown-operation", f"No operation {printable(identity, 60)} is in the history.")
    steps = journal.steps(found.id)
    if as_json:
        detail = {"steps": [each.as_json() for each in steps], "plan": found.plan, "result": found.result}
        emit_json("history-operation", found.as_json() | detail)
        return
    what, who, ended, why = _summary(found)
    say(f"{what} by {who}, {aged(found.started)}: {ended}.")
    if why:
        say(f"Reason: {why}")
    click.echo(table((_after(found, each), step_words(each.name, each.detail)) for each in steps))
    if sentence := found.result.get("sentence"):
        say(str(sentence))


def _summary(found: Operation) -> tuple[str, str, str, str]:
    what = printable(alone(worded(found.action).typed, found.site))
    return what, found.who, ending(found.state, found.result), found.reason


def _after(found: Operation, step: Step) -> str:
    return f"{max(0.0, step.at - found.started):.2f} s"
