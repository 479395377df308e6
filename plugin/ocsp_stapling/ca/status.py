"""What the authorities' status pages say right now: all pages at once, within one deadline, cached."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ocsp_stapling import codec, files
from ocsp_stapling.ca import statusio, statuspage
from ocsp_stapling.ca.fetch import Fetcher, FetchError
from ocsp_stapling.ca.reading import Level, PageIncident, PageReading, UnreadablePageError
from ocsp_stapling.settings import Authority, Settings

_GRACE = 0.2  # seconds a thread may need to report after its connection was cut

_SAYS = {
    Level.OPERATIONAL: "reports that everything works",
    Level.MAINTENANCE: "reports maintenance",
    Level.DEGRADED: "reports a disturbance",
    Level.OUTAGE: "reports an outage",
    Level.UNKNOWN: "does not say clearly whether OCSP works",
}


@dataclass(frozen=True)
class AuthorityStatus:
    """What an authority says about itself. A verified probe of our own always outranks it.

    `authority` is its name, `url` the page for people (may be empty).
    """

    authority: str
    level: Level
    sentence: str
    incidents: tuple[PageIncident, ...]
    url: str


def status_of(
    authorities: Sequence[Authority], settings: Settings, now: datetime
) -> tuple[AuthorityStatus, ...]:
    """Return what each authority reports, in the order given, after at most the configured time; never raises.

    `now` must know its time zone. A page that cannot be read, or not in time, is UNKNOWN.
    """
    cache = PageCache(settings.state_directory)
    fresh = cache.fresh(now, timedelta(seconds=settings.status_pages.cache_seconds))
    wanted = {a.status_page: a for a in authorities if _readable(a, settings) and a.status_page not in fresh}
    answers = _read_all(tuple(wanted.values()), settings)
    cache.store({page: found for page, found in answers.items() if isinstance(found, PageReading)}, now)
    said = answers | {page: reading for page, (reading, _) in fresh.items()}
    return tuple(_status(a, settings, said.get(a.status_page)) for a in authorities)


def _readable(authority: Authority, settings: Settings) -> bool:
    return settings.status_pages.enabled and authority.kind != "link" and bool(authority.status_page)


def _read_all(authorities: Sequence[Authority], settings: Settings) -> dict[str, PageReading | str]:
    """Reading or reason per page. A thread stuck in name resolution is left behind, it can do no harm."""
    seconds = settings.status_pages.timeout_seconds
    answers: dict[str, PageReading | str] = {}

    def work(authority: Authority) -> None:
        answers[authority.status_page] = _read(authority, Fetcher(settings.status_pages, seconds))

    threads = [threading.Thread(target=work, args=(a,), daemon=True) for a in authorities]
    deadline = time.monotonic() + seconds + _GRACE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    return dict(answers)


def _read(authority: Authority, fetcher: Fetcher) -> PageReading | str:
    try:
        if authority.kind == "statusio":
            return statusio.read(authority, fetcher.get_text, fetcher.get_json)
        return statuspage.read(authority, fetcher.get_json)
    except (FetchError, UnreadablePageError) as error:
        return str(error)


def _status(authority: Authority, settings: Settings, answer: PageReading | str | None) -> AuthorityStatus:
    if not _readable(authority, settings):
        return _unknown(authority, _why_not_read(authority, settings))
    if isinstance(answer, PageReading):
        return _known(authority, answer)
    why = answer or "did not answer in time"
    return _unknown(authority, f"the status page of {authority.name} {why}: its state is unknown")


def _why_not_read(authority: Authority, settings: Settings) -> str:
    if not authority.status_page:
        return f"no status page of {authority.name} is known"
    if not settings.status_pages.enabled:
        return f"the status page of {authority.name} is not read: status_pages.enabled is false"
    return f"the status page of {authority.name} can only be read by people"


def _unknown(authority: Authority, sentence: str) -> AuthorityStatus:
    return AuthorityStatus(authority.name, Level.UNKNOWN, sentence, (), authority.status_page)


def _known(authority: Authority, reading: PageReading) -> AuthorityStatus:
    sentence = f"the status page of {authority.name} {_SAYS[reading.level]}"
    if reading.incidents and reading.level is not Level.OPERATIONAL:
        sentence += f": {reading.incidents[0].title}"
    return AuthorityStatus(authority.name, reading.level, sentence, reading.incidents, authority.status_page)


FILE_NAME = "status-pages.json"

_SIZE_LIMIT = 4 * 1024 * 1024
_KEEP = timedelta(days=1)  # an entry nobody renews is dropped then

Entries = dict[str, tuple[PageReading, codec.Moment]]


class PageCache:
    """The cache file. It is a convenience: unreadable or not writable means working without it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def fresh(self, now: datetime, age: timedelta) -> Entries:
        """Return the entries younger than `age`; one from the future (the clock was set back) is not."""
        return {page: entry for page, entry in self._load().items() if timedelta(0) <= now - entry[1] < age}

    def store(self, readings: Mapping[str, PageReading], now: datetime) -> None:
        """Add readings made at `now`."""
        if not readings or not self.path.parent.is_dir():
            return
        entries = self.fresh(now, _KEEP) | {page: (reading, now) for page, reading in readings.items()}
        with contextlib.suppress(OSError):
            files.write_own(self.path, codec.to_json({"pages": entries}))

    def _load(self) -> Entries:
        try:
            if self.path.stat().st_size > _SIZE_LIMIT:
                return {}
            found = codec.from_plain(codec.from_json(self.path.read_bytes()), dict[str, Entries])
        except (OSError, codec.UnreadableError):
            return {}  # corrupt, foreign or of another version: as if there were none
        return found.get("pages", {})
