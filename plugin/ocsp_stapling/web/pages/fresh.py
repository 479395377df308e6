"""How old the picture is: opening a page has an old one taken anew, and an old verdict is told as the past."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ocsp_stapling.problem import Problem
from ocsp_stapling.web.context import services
from ocsp_stapling.web.pages.check import checks
from ocsp_stapling.web.pages.picture import Picture, picture
from ocsp_stapling.web.pages.verdict import Band
from ocsp_stapling.web.words import ago

FRESH_SECONDS = 120.0
OLD_SECONDS = 900.0
"""A verdict as old as this is the past."""


@dataclass(frozen=True)
class Refreshing:
    """A check that was begun by itself: it runs, or failed for the reason that `sentence` tells."""

    running: bool
    sentence: str = ""


def refreshing() -> Refreshing | None:
    """Begin a check if the last one is old or a change came after it; return what there is to say about it.

    Before the first check, and while a change is under way, nothing begins by itself.
    """
    seen = picture()
    if seen.evidence is None:
        return None
    due = seen.running is None and (seen.changed is not None or age_of(seen) >= FRESH_SECONDS)
    try:
        reason = (seen.evidence.taken_at, seen.changed.identity if seen.changed else "")
        if due and services().pace.may(reason):
            checks().start()
        state = checks().state()
    except Problem as problem:
        return Refreshing(False, problem.sentence)
    if state.running:
        return Refreshing(True)
    if due and state.problem is not None:
        return Refreshing(False, f"The check that was to refresh this failed. {state.problem.sentence}")
    return None


def age_of(seen: Picture) -> float:
    """Return how many seconds ago the picture was taken; 0 without one."""
    return max((datetime.now(UTC) - seen.evidence.taken_at).total_seconds(), 0) if seen.evidence else 0.0


def told(verdict: Band, seen: Picture) -> Band:
    """Return the verdict as it may be told at its age."""
    if age_of(seen) < OLD_SECONDS or seen.evidence is None:
        return verdict
    when = ago(datetime.now(UTC) - seen.evidence.taken_at)
    kicker, then = f"{when.capitalize()}: {verdict.past}", f"The check said then: {verdict.sentence}"
    advice = "" if verdict.tone in ("good", "calm") else verdict.advice
    return replace(verdict, tone="calm", kicker=kicker, sentence=then, advice=advice)
