"""A check: the evidence stored with its verdict, for `status`, the page and the ticket.

`last-check.json` in the state directory holds the document that `check --json` prints and, under `kept`, evidence and
diagnosis as they were, nothing lost: whoever reads it sees the verdict that was given, not another one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocsp_stapling import files
from ocsp_stapling.problem import not_root
from ocsp_stapling.text import schema

if TYPE_CHECKING:  # `status` reads the document alone, and starts in a tenth of a second
    from ocsp_stapling.check.diagnosis import Diagnosis
    from ocsp_stapling.check.evidence import Evidence

NAME = "last-check.json"
_KEPT = "kept"
_SIZE_LIMIT = 64 << 20


@dataclass(frozen=True)
class Check:
    """What was found out, and what it was found to mean."""

    evidence: Evidence
    diagnosis: Diagnosis

    def document(self) -> dict[str, Any]:
        """Return what `check --json` prints."""
        from ocsp_stapling.check import report

        return report.document(self.evidence, self.diagnosis)


def judged(evidence: Evidence) -> Check:
    """Return the evidence with its diagnosis."""
    from ocsp_stapling.check.diagnosis import diagnose

    return Check(evidence, diagnose(evidence))


def store(directory: Path, check: Check, source: str = "check") -> dict[str, Any]:
    """Keep the check as the last one, readable for us alone, and return its document. Raises OSError.

    The record of incidents learns of it; `source` is who looked: `check`, `page` or `watch`.
    """
    from ocsp_stapling import codec
    from ocsp_stapling.check.incident import look_taken

    document = check.document()
    kept = {"evidence": codec.plain(check.evidence), "diagnosis": codec.plain(check.diagnosis)}
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = (directory / NAME).stat().st_mtime if (directory / NAME).exists() else 0.0
    files.write_own(directory / NAME, json.dumps(document | {_KEPT: kept}).encode())
    look_taken(directory, document, source, before)
    return document


def load(directory: Path) -> Check | None:
    """Return the last check, None if there is none that can be read or if another version wrote it."""
    from ocsp_stapling import codec
    from ocsp_stapling.check.diagnosis import Diagnosis
    from ocsp_stapling.check.evidence import Evidence

    kept = (_read(directory) or {}).get(_KEPT)
    if not isinstance(kept, dict):
        return None
    try:
        evidence = codec.from_plain(kept.get("evidence"), Evidence)
        return Check(evidence, codec.from_plain(kept.get("diagnosis"), Diagnosis))
    except codec.UnreadableError:
        return None


def load_document(directory: Path) -> dict[str, Any] | None:
    """Return the last check's document, None if there is none that can be read.

    What an earlier version wrote is told anew from what it kept, in today's words.
    """
    found = _read(directory) or {}
    if found.get("schema") == schema("check"):
        return {key: value for key, value in found.items() if key != _KEPT}
    check = load(directory) if found else None
    return check.document() if check else None


def require_readable(directory: Path) -> None:
    """Raise the Problem `not-root` where only root can read whether there is a last check."""
    if os.geteuid() != 0 and not os.access(directory, os.R_OK | os.X_OK):
        raise not_root()


def _read(directory: Path) -> dict[str, Any] | None:
    try:
        with (directory / NAME).open("rb") as file:
            found = json.loads(file.read(_SIZE_LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
