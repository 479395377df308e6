"""The options that every command which changes the server has, without importing what a change needs."""

from __future__ import annotations

from collections.abc import Callable

import click


def change_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that off, on, undo and the shield's off and on share."""
    for option in reversed(
        (
            click.option(
                "--reason", default="", metavar="TEXT", help="Why; kept in the include and in the history."
            ),
            click.option("--dry-run", is_flag=True, help="Show the plan and change nothing."),
            click.option("--yes", is_flag=True, help="Do not ask before the change."),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
            click.option(
                "--wait", type=float, default=0.0, help="Seconds to wait for another change to end."
            ),
            click.option("--tag", default="", hidden=True, help="The tag of the plan that was shown."),
            click.option(
                "--operation", default="", hidden=True, help="The identity to record the operation under."
            ),
            click.option("--who", default="", hidden=True, help="On whose behalf."),
        )
    ):
        command = option(command)
    return command
