"""What our block in Apache's configuration tells about itself: when, by whom and why stapling was switched off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ocsp_stapling.apache import managed_block
from ocsp_stapling.apache.managed_block import SITE_NAME, read_note
from ocsp_stapling.apache.stapling import Origin, StaplingState
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.sites import Endpoint
from ocsp_stapling.server.state import ServerState

_INCLUDE_BYTES = 16 << 20


@dataclass(frozen=True)
class OffNote:
    """Since when (aware), by whom and why; empty where the comment was edited away."""

    since: datetime | None = None
    by: str = ""
    reason: str = ""


def off_note(state: StaplingState) -> OffNote:
    """Return the note of the block that turns stapling off; an empty one if no block of ours does."""
    line = state.decided_by
    if line is None or state.on or state.origin != Origin.PLUGIN:
        return OffNote()
    found = read_note(_body(line.file))
    if found.get("what") != "off":
        return OffNote()
    return OffNote(_moment(found["when"]), found["who"], found["reason"])


def site_note(file: Path) -> OffNote:
    """Return the note of the block that turns a single site off."""
    found = read_note(_body(file))
    return OffNote(_moment(found["when"]), found["who"], found["reason"]) if found else OffNote()


def turned_off(server: ServerState) -> dict[str, Path]:
    """Return the sites that a block of ours turns off alone, with the file in which it stands."""
    return {one.name: file for one in server.endpoints if (file := alone_in(one))}


def alone_in(one: Endpoint) -> Path | None:
    """Return the file of our block that turns this site off alone, None if none does."""
    line = one.override
    return line.file if line and line.managed and line.file.name == SITE_NAME else None


def _body(path: Path) -> str:
    try:
        with path.open("rb") as file:
            block = managed_block.find(file.read(_INCLUDE_BYTES))
    except (OSError, Problem):
        return ""
    return block.body.decode("utf-8", "replace") if block else ""


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None
