"""The incident as the pages tell it: from the one record, in the words of terminal and ticket."""

from __future__ import annotations

from ocsp_stapling.change.journal import NAME, Journal
from ocsp_stapling.check.incident import Incident, brought_up_to_date, latest
from ocsp_stapling.web.context import services


def present() -> Incident | None:
    """Return the latest incident with what changes have done since the last look, None if there never was one."""
    directory = services().settings.state_directory
    if not (directory / NAME).exists():
        return None
    with Journal(directory) as journal:
        brought_up_to_date(journal)
        return latest(journal)
