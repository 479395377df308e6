"""The shield at a glance: what the relay holds, what it lacks, when it asks next, and why asking failed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings
from ocsp_stapling.shield import keeping
from ocsp_stapling.shield.refresh import DIRECTORY
from ocsp_stapling.shield.standing import Standing, wished_port
from ocsp_stapling.text import when
from ocsp_stapling.web.context import services
from ocsp_stapling.web.pages.verdict import Button, Fact
from ocsp_stapling.web.words import Tone, counted, listed, sentence

_KEPT_SECONDS = 15
_OFF = (
    "It keeps stapling on through outages: a small relay on this server holds answers fetched ahead of time. When an "
    "authority is out of reach, no visitor waits and sites keep their staples for days."
)

_ON_BUTTON = Button("Turn the shield on…", "plan.show", {"action": "shield-on"})
_OFF_BUTTON = Button("Turn the shield off…", "plan.show", {"action": "shield-off"})


@dataclass(frozen=True)
class Card:
    """What the overview shows of the shield."""

    tone: Tone
    word: str
    lines: tuple[str, ...]
    facts: tuple[Fact, ...]
    buttons: tuple[Button, ...]


def card(offered: bool = True) -> Card | None:
    """Return the shield as it stands; None if it is off and not to be `offered`."""
    settings = services().settings
    port = wished_port(settings.state_directory)
    if not port and not offered:
        return None
    if not port:
        return Card("calm", "Off", (_OFF,), (), (_ON_BUTTON,))
    try:
        in_force, found = _look(
            settings, port, _stamp(settings.state_directory), int(time.time()) // _KEPT_SECONDS
        )
    except Problem as problem:
        return Card("warn", "Not clear", (problem.sentence,), (), (_OFF_BUTTON,))
    buttons = (_OFF_BUTTON,) if in_force else (_ON_BUTTON, _OFF_BUTTON)
    return Card(*_state(found, in_force), tuple(_lines(found, in_force)), tuple(_facts(found)), buttons)


def _stamp(directory: Path) -> tuple[int, ...]:
    """What changes when answers or attempts do, so that a look is not repeated in vain."""
    found = []
    for path in (DIRECTORY, directory):
        try:
            found.append(path.stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


@lru_cache(maxsize=1)
def _look(settings: Settings, _port: int, _stamps: tuple[int, ...], _moment: int) -> tuple[bool, Standing]:
    here, found = keeping.look(settings)
    return here.shielded, found


def _state(found: Standing, in_force: bool) -> tuple[Tone, str]:
    if not found.answering:
        return "bad", "The relay does not answer"
    if not in_force:
        return "off", "Ready, not in force"
    if found.revoked:
        return "bad", "Revoked"
    if found.missing:
        return "warn", f"{counted(found.missing, 'answer')} missing"
    if found.unread:
        return "warn", "Certificates not read"
    return "good", "On"


def _lines(found: Standing, in_force: bool) -> Iterable[str]:
    if not found.answering:
        yield "Apache gets no answer from the relay. The watch starts it again; the system log says why it ended."
    elif not in_force:
        yield (
            "Apache does not ask the relay now: stapling is off, or another line decides. Stapling returns with the "
            "shield, unless that is turned off here."
        )
    else:
        yield "Apache asks the relay on this server: no visitor waits for an authority that is out of reach."
    if found.revoked:
        yield f"Revoked by the authority: {listed(found.revoked)}."
    if found.missing:
        yield f"Without an answer: {listed(found.missing, 3)}."
    if found.missing_must_staple:
        yield f"Must-Staple among them, which Firefox refuses: {listed(found.missing_must_staple, 3)}."
    if found.unread:
        yield found.unread_words
    for end, site, host in found.stuck[:3]:
        yield f"No new answer for {site} from {host}; the last one is valid until {when(end)}."
    if last := found.last_failure:
        failing = counted(sum(count for _, count in found.failures), "certificate")
        yield sentence(f"Last failure ({failing}), about {last.site} at {last.responder}: {last.reason}")


def _facts(found: Standing) -> Iterable[Fact]:
    yield Fact("Answers held", f"{found.held_count:,} of {found.certificate_count:,}")
    yield Fact("Missing", f"{len(found.missing):,}")
    if found.oldest:
        yield Fact("Oldest signed", when=found.oldest)
    if found.earliest_end:
        yield Fact("First to end", when=found.earliest_end)
    if found.last_failure and found.last_failure.at:
        yield Fact("Last failure", when=found.last_failure.at)
    if found.next_refresh is not None:
        if found.next_refresh <= datetime.now(UTC):
            yield Fact("Next refresh", "with the next look of the watch")
        else:
            yield Fact("Next refresh", when=found.next_refresh)
