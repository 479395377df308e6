"""What TAB offers beside commands and options: sites, accounts, changes and incidents of this server.

Whoever waits for TAB waits a moment only, and what cannot be found out is not offered; nothing is imported before.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ocsp_stapling.change.journal import Journal
    from ocsp_stapling.server.sites import Endpoint

LONGEST_SECONDS = 1.5
_MOST = 50
_Names = Callable[[], Iterable[str]]
_Offered = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


class _TooLong(Exception):  # noqa: N818 - no error: the shell is answered without it
    pass


def _offering(names: _Names, *, or_file: bool = False) -> _Offered:
    def offered(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = dict.fromkeys(_within(LONGEST_SECONDS, names))
        # The shell takes files only where no name begins so.
        files = [CompletionItem(begun, type="file")] if or_file else []
        return files + [CompletionItem(name) for name in found if name.startswith(begun)]

    return offered


def _within(seconds: float, names: _Names) -> list[str]:
    """What is found in that time; nothing where it takes longer or the server cannot be read."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return list(names())
    except Exception:
        return []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _endpoints() -> tuple[Endpoint, ...]:
    from ocsp_stapling import settings
    from ocsp_stapling.server import state

    return state.look(settings.load().state_directory).endpoints


def _site_names() -> Iterator[str]:
    return (one.name for one in _endpoints())


def _account_names() -> Iterator[str]:
    return (one.owner for one in _endpoints() if one.owner)


def _probed_names() -> Iterator[str]:
    from ocsp_stapling.text import host_of

    for one in _endpoints():
        yield one.name
        yield from map(host_of, one.responders)


@contextlib.contextmanager
def _journal() -> Iterator[Journal]:
    from ocsp_stapling import settings
    from ocsp_stapling.change.journal import Journal

    with Journal(settings.load().state_directory, create=False) as journal:
        yield journal


def _operations() -> Iterator[str]:
    with _journal() as journal:
        if found := journal.operations(limit=_MOST):
            yield from ("last", *(one.id for one in found))


def _incidents() -> Iterator[str]:
    from ocsp_stapling.check.incident import known

    with _journal() as journal:
        if found := known(journal, _MOST):
            yield from ("latest", *(one.id for one in found))


sites = _offering(_site_names)
accounts = _offering(_account_names)
operations = _offering(_operations)
incidents = _offering(_incidents)
probed = _offering(_probed_names, or_file=True)
