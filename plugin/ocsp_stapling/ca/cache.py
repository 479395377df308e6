"""Keeps what status pages said for a short while, so that a page opened often does not ask them often."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ocsp_stapling.ca.reading import Level, PageIncident, PageReading

FILE_NAME = "status-pages.json"

_VERSION = 1
_SIZE_LIMIT = 4 * 1024 * 1024
_KEEP = timedelta(days=1)  # an entry nobody renews is dropped then

Entries = dict[str, tuple[PageReading, datetime]]


class PageCache:
    """The cache file. It is a convenience: unreadable or not writable means working without it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def fresh(self, now: datetime, age: timedelta) -> Entries:
        """Return the entries younger than `age`; one from the future (the clock was set back) is not."""
        return {page: entry for page, entry in self._load().items() if timedelta(0) <= now - entry[1] < age}

    def store(self, readings: Mapping[str, PageReading], now: datetime) -> None:
        """Add readings made at `now`. Written beside and renamed, so that a reader never sees half a file."""
        if not readings or not self.path.parent.is_dir():
            return
        entries = {p: e for p, e in self._load().items() if timedelta(0) <= now - e[1] < _KEEP}
        entries |= {page: (reading, now) for page, reading in readings.items()}
        document = {"version": _VERSION, "pages": {p: _dump(*entry) for p, entry in entries.items()}}
        with contextlib.suppress(OSError):
            _replace(self.path, json.dumps(document))

    def _load(self) -> Entries:
        try:
            if self.path.stat().st_size > _SIZE_LIMIT:
                return {}
            document = json.loads(self.path.read_bytes())
            if document["version"] != _VERSION:
                return {}
            return {str(page): _entry(row) for page, row in document["pages"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}  # corrupt, foreign or of another version: as if there were none


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise


def _dump(reading: PageReading, at: datetime) -> dict[str, Any]:
    incidents = [dataclasses.asdict(i) | {"level": i.level.value} for i in reading.incidents]
    return {"at": at.isoformat(), "level": reading.level.value, "incidents": incidents}


def _entry(row: dict[str, Any]) -> tuple[PageReading, datetime]:
    at = datetime.fromisoformat(row["at"])
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    incidents = tuple(_incident(incident) for incident in row["incidents"])
    return PageReading(Level(row["level"]), incidents), at


def _incident(row: dict[str, Any]) -> PageIncident:
    level = Level(row["level"])
    texts = {f.name: row[f.name] for f in dataclasses.fields(PageIncident) if f.name != "level"}
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a text that is none")
    return PageIncident(level=level, **texts)
