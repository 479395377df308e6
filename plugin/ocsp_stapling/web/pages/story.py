"""The incidents as the pages tell them: from the one record, in the words of terminal and ticket."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from ocsp_stapling.change.journal import Journal
from ocsp_stapling.check import incident
from ocsp_stapling.check.incident import OPERATIONS, Incident, known, words
from ocsp_stapling.check.since import as_found
from ocsp_stapling.watch.returning import looks_needed
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.pages.picture import picture
from ocsp_stapling.web.restricted import restricted_incident
from ocsp_stapling.web.words import Tone

_FRESH_SECONDS = 24 * 3600.0
_SHOWN = 20


@dataclass(frozen=True)
class StoryLine:
    """One line of an incident's timeline; `operation` names the change, if it is one."""

    when: datetime
    sentence: str
    operation: str


@dataclass(frozen=True)
class Story:
    """An incident: what a page says of it, and its timeline."""

    identity: str
    began: datetime
    tone: Tone
    word: str
    sentence: str
    advice: str
    lines: tuple[StoryLine, ...]


def present() -> Incident | None:
    """Return the newest incident of this server as the caller may see it, up to date with changes."""
    found = as_found(incident.present(services().settings.state_directory), picture().changed)
    if found is None or caller().is_operator:
        return found
    return restricted_incident(found, picture().evidence)


def fresh(one: Incident | None) -> bool:
    """Whether an incident goes on or ended within a day, so that the overview tells it."""
    return one is not None and (one.ended is None or 0 <= time.time() - one.ended < _FRESH_SECONDS)


def stories(journal: Journal) -> list[Story]:
    """Return the newest incidents with their timelines, newest first."""
    operations, passes = journal.operations(OPERATIONS), looks_needed(services().settings)
    return [
        Story(
            one.id,
            _when(one.began),
            *_state(one),
            words.sentence(one, passes),
            words.advice(one, passes),
            tuple(
                StoryLine(_when(each.at), each.sentence, each.operation)
                for each in words.timeline(one, operations)
            ),
        )
        for one in known(journal, _SHOWN)
    ]


def _state(one: Incident) -> tuple[Tone, str]:
    if one.ended is not None:
        return "good", "Over"
    if one.healed is not None:
        return "off", "Healed"
    return ("warn", "Nobody waits") if one.hits and not one.hits_now else ("bad", "Going on")


def _when(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
