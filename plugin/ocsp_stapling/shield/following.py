"""The relay follows the block: it answers before one is written that sends Apache to it, and goes afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ocsp_stapling.problem import Problem
from ocsp_stapling.server.state import look
from ocsp_stapling.settings import Settings
from ocsp_stapling.shield import service
from ocsp_stapling.shield.standing import wish, wished_port

_PREFETCH_SECONDS = 3.0


@dataclass
class Ending:
    """How the change ended that the relay follows: set by who makes it."""

    done: bool = False
    unknown: bool = False
    """Neither done nor taken back: the block may stand, so the relay must answer."""


@contextlib.contextmanager
def followed(settings: Settings, then: int | None) -> Iterator[Ending]:
    """Make a change with the relay ready for it. Raises Problem as `service.start` does, before anything is written.

    `then` is the port that Apache asks afterwards, 0: it asks no relay any more, None: as before.
    """
    ending, earlier = Ending(), wished_port(settings.state_directory)
    try:
        if then:
            # Asking authorities takes long to load, and few changes begin with it.
            from ocsp_stapling.shield.keeping import refresh_now

            service.start(then)
            wish(settings.state_directory, then)
            with contextlib.suppress(Problem, OSError):  # what cannot be kept now is asked for by the watch
                refresh_now(settings, _PREFETCH_SECONDS)
        yield ending
    finally:
        if then and not ending.done and not ending.unknown:
            _settle(settings, earlier)
        elif then == 0 and ending.done:
            _settle(settings, 0)


def _settle(settings: Settings, port: int) -> None:
    """Have the relay run at this port, 0: not at all."""
    wish(settings.state_directory, port)
    if not port:
        service.stop()
        return
    with contextlib.suppress(Problem):  # the watch goes on with it
        service.start(port)


def reconcile(settings: Settings, *, forget: bool) -> None:
    """After an interrupted change: let the relay run where Apache asks it. `forget`: the wish for it goes, too."""
    asked = look(settings.state_directory).relay_port
    if asked or forget:
        _settle(settings, asked)
