"""What several commands take, declared once; importing it loads nothing that a change needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ocsp_stapling.cli import completion

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_change = (
    click.option("--reason", default="", metavar="TEXT", help="Why; kept in the include and in the history."),
    click.option("--dry-run", is_flag=True, help="Show the plan and change nothing."),
    click.option("--yes", is_flag=True, help="Do not ask before the change."),
    json_option,
    click.option("--wait", type=float, default=0.0, help="Seconds to wait for another change to end."),
    click.option("--tag", default="", hidden=True, help="The tag of the plan that was shown."),
    click.option("--operation", default="", hidden=True, help="The identity to record the operation under."),
    click.option("--who", default="", hidden=True, help="On whose behalf."),
)


def change_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that off, on, undo, `cache fit` and the shield's off and on share."""
    for option in reversed(_change):
        command = option(command)
    return command


def operation_argument(name: str) -> Decorator:
    """Add OPERATION: a change by its identity, its number in `history`, or `last`."""
    return click.argument(name, metavar="[OPERATION]", default="", shell_complete=completion.operations)


def overrides_option(text: str) -> Decorator:
    """Add --overrides."""
    return click.option("--overrides", "with_overrides", is_flag=True, help=text)


def site_option(text: str) -> Decorator:
    """Add --site, with what it means here."""
    return click.option("--site", default="", metavar="NAME", shell_complete=completion.sites, help=text)


account_option = click.option(
    "--account",
    default="",
    metavar="NAME",
    shell_complete=completion.accounts,
    help="For the sites of this account alone.",
)
