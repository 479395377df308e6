"""What is kept of an incident. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SERVER = ""
"""The subject of an incident in which visitors wait and no responder is seen to fail."""

OTHERS = "others"
"""The subject of one, as a viewer reads it, whose responder only other customers' certificates name."""


@dataclass(frozen=True)
class Wait:
    """The longest that a visitor was seen to wait, in seconds.

    `cut`: the look gave up then, so the visitor waits longer. `each` is what every one of several at once adds for
    the next (Apache asks one after the other), 0 if that was not seen. `waiting` of `met` handshakes waited.
    """

    seconds: float
    at: float
    cut: bool = False
    each: float = 0.0
    waiting: int = 0
    met: int = 0


@dataclass(frozen=True)
class Trouble:
    """One responder (by URL; SERVER for the server itself) that failed, how, and since when it answers again."""

    url: str
    authority: str
    cause: str
    sentence: str
    began: float
    last: float
    healed: float | None = None


@dataclass(frozen=True)
class Note:
    """Something that changed; `kind` is `sign`, `trouble`, `worse`, `healed`, `again`, `off`, `failed` or `end`."""

    at: float
    kind: str
    sentence: str


@dataclass(frozen=True)
class Span:
    """A time in which visitors were hit: from the first look that saw it, through `last`, until it was `ended`."""

    began: float
    last: float
    ended: float | None = None


@dataclass(frozen=True)
class SingleRelief:
    """Stapling turned off for one site, or (`@NAME`) for those of one account; `still` waited after it."""

    at: float
    site: str
    who: str
    still: tuple[str, ...] = ()


@dataclass(frozen=True)
class Incident:
    """An outage: first sign, worst, what was done, when it healed, how it ended.

    `sign` is what told first: `log`, `check`, `page`, `watch` or `change`. `cause`, `severity`, `sentence`, `sites`
    and `kept` (the check's document, its lists cut short) are of the moment at which it was worst; `sites` counts
    those whose certificates name what failed, `waiting` those whose visitors waited for it.
    `off_since` and `off_by`: stapling was turned off on its account, or the shield turned on (`relief` says which, by
    the action's name); `singles`: it was for these alone. `healed` is the first of the looks in a row that found
    nothing failing, `good_passes` how many of them the watch took. It is over when `ended` is set.
    """

    id: str
    began: float
    sign: str
    last: float
    seen: float
    """The last look at it, whatever it showed; `last` is the last one that found trouble."""
    hit: float | None = None
    """As an older version kept it: the last look in which visitors were hit; now `spans` tell it."""
    spans: tuple[Span, ...] = ()
    """When visitors waited or were turned away: a change that ended it, or a look that found it over, ends a span."""
    cause: str = ""
    severity: str = ""
    sentence: str = ""
    sites: int = 0
    waiting: int = 0
    wait: Wait | None = None
    troubles: tuple[Trouble, ...] = ()
    off_since: float | None = None
    off_by: str = ""
    relief: str = "off"
    off_found: bool = False
    """A look found stapling off, turned off by somebody else's line: `off_since` is when it was seen to be."""
    was_off: Span | None = None
    """The last time in which it was so, ended by somebody before anybody saw that it had healed."""
    singles: tuple[SingleRelief, ...] = ()
    healed: float | None = None
    good_passes: int = 0
    ended: float | None = None
    ending: str = ""
    operations: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hits(self) -> tuple[Span, ...]:
        """When visitors were hit, () if they never were; the last one without an end while they still are."""
        if self.spans or self.hit is None:
            return self.spans
        ends = (self.off_since, self.healed, self.ended, self.seen if self.seen > self.hit else None)
        over = min((at for at in ends if at is not None and at >= self.hit), default=None)
        return (Span(self.began, self.hit, over),)

    @property
    def relieved(self) -> float | None:
        """When something was last done that ends the waiting, of all or of some; None if nothing was."""
        return max((at for at in (self.off_since, *(each.at for each in self.singles)) if at), default=None)

    @property
    def hits_now(self) -> bool:
        """Whether visitors were still hit when it was last heard of."""
        return bool(self.hits) and self.hits[-1].ended is None
