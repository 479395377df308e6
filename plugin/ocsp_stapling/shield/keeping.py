"""What the command and the watch do with the shield: look at it, and refresh what it holds."""

from __future__ import annotations

import grp
import os
import pwd

from ocsp_stapling.server.state import ServerState
from ocsp_stapling.server.state import look as look_at_server
from ocsp_stapling.settings import Settings
from ocsp_stapling.shield.refresh import DIRECTORY, Pass, Refresher, asking, wanted
from ocsp_stapling.shield.standing import Standing, standing

_FALLBACK_USER = "nobody"


def look(settings: Settings) -> tuple[ServerState, Standing]:
    """Return the server and how its shield stands. Raises Problem as reading the configuration does."""
    here = look_at_server(settings.state_directory)
    here.require_readable()
    return here, standing(wanted(here.endpoints), settings.state_directory, DIRECTORY)


def refresh_now(settings: Settings, seconds: float) -> Pass:
    """Make one pass over the answers that are due. Raises Problem, or OSError if nothing can be kept."""
    here = look_at_server(settings.state_directory)
    ask = asking(settings.probe, _identity(here))
    return Refresher(DIRECTORY, settings.state_directory, ask).run(wanted(here.endpoints), seconds)


def _identity(here: ServerState) -> tuple[int, int] | None:
    """Apache's worker user, who asks; None where we are not root and can be nobody else."""
    if os.geteuid() != 0:
        return None
    for name in (here.worker, _FALLBACK_USER):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_uid:
            return account.pw_uid, _group(here.tree.group) or account.pw_gid
    return None


def _group(name: str | None) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid if name else None
    except KeyError:
        return None
