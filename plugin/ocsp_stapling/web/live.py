"""What visitors meet at this moment: a handshake every few seconds, few for all who look together.

In a stall Apache lets handshakes wait one after the other, so each of ours costs visitors its time: a slow site is
met more rarely.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import Handshake, handshake

EVERY_SECONDS = 5.0
LIMIT_SECONDS = 10.0
AT_ONCE = 2
TIMES_AS_LONG = 3
"""A site is left alone for so many times as long as it took."""
A_MINUTE = 24
"""Handshakes for all who look, with all sites they look at."""
_KEPT_SECONDS = 60.0
_FRESH_SECONDS = 20.0
"""What ended longer ago is not what visitors meet now; of a slow site twice the time it is left alone."""


@dataclass(frozen=True)
class Now:
    """The last handshake that ended, and for how many seconds one that has not ended waits."""

    last: Handshake | None
    waiting: float | None


@dataclass
class _Site:
    begun: float = float("-inf")
    running: bool = False
    last: Handshake | None = None
    seen: float = float("-inf")
    """When the last one ended."""

    @property
    def pause(self) -> float:
        """For how long it is left alone."""
        return max(EVERY_SECONDS, TIMES_AS_LONG * self.last.seconds if self.last else 0)


class Live:
    """Meets sites while somebody looks; whoever looks at the same site shares what is seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sites: dict[Door, _Site] = {}
        self._begun: deque[float] = deque(maxlen=A_MINUTE)

    def look(self, door: Door) -> Now:
        """Return what visitors of a site meet, and meet it anew if that is due. Never waits."""
        now = time.monotonic()
        with self._lock:
            self._forget_old(now)
            site = self._sites.setdefault(door, _Site())
            if self._is_due(site, now):
                site.begun, site.running = now, True
                self._begun.append(now)
                threading.Thread(target=self._meet, args=(door, site), daemon=True).start()
            fresh = now - site.seen <= max(_FRESH_SECONDS, 2 * site.pause)
            return Now(site.last if fresh else None, now - site.begun if site.running else None)

    def forget(self) -> None:
        """Meet everything anew at the next look: Apache was restarted under what is met now."""
        with self._lock:
            self._sites.clear()

    def _is_due(self, site: _Site, now: float) -> bool:
        running = sum(one.running for one in self._sites.values())
        busy = len(self._begun) == A_MINUTE and now - self._begun[0] < 60
        return now - site.begun >= site.pause and not site.running and running < AT_ONCE and not busy

    def _meet(self, door: Door, site: _Site) -> None:
        try:
            site.last = handshake(door, ask=True, limit=LIMIT_SECONDS)
            site.seen = time.monotonic()
        finally:
            site.running = False

    def _forget_old(self, now: float) -> None:
        old = [d for d, one in self._sites.items() if not one.running and now - one.begun > _KEPT_SECONDS]
        for door in old:
            del self._sites[door]
