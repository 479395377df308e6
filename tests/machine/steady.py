"""In a machine: the plugin's command with measured numbers made steady, for the captures in docs/cli.md.

Usage: python -m tests.machine.steady COMMAND ..., with the beginnings of the story's chapters in STORY_CHAPTERS
What was measured stays what it was in kind (quick, or a wait of so many time-outs) but no longer differs from run to
run, and every moment is that of its chapter. Identities and what else is chosen by chance is replaced afterwards.
"""

from __future__ import annotations

import bisect
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ocsp_stapling import text
from ocsp_stapling.change import verify
from ocsp_stapling.check import result
from ocsp_stapling.check.evidence import Evidence, HostEvidence
from ocsp_stapling.check.incident import words
from ocsp_stapling.cli import main, switching
from ocsp_stapling.ocsp import responder
from ocsp_stapling.ocsp.finding import AddressFinding, ResponderFinding
from ocsp_stapling.ocsp.staple import Handshake

STORY, CHAPTER = datetime(2026, 11, 24, 3, 41, 7, tzinfo=UTC), timedelta(minutes=2)
"""When the story begins, whenever it is told, and how long a chapter of it lasts."""
QUICK = 0.02
TIMEOUT = 3.0
_LOAD = "the load is normal: 0.42 over the last minute on 2 processors"
_judged, _probe, _handshake_json = result.judged, responder.probe, verify.handshake_json


def seconds(measured: float) -> float:
    """A handshake's time: quick, or a whole number of Apache's time-outs."""
    return QUICK if measured < 1 else TIMEOUT * max(1, round(measured / TIMEOUT)) + QUICK


def _address(found: AddressFinding) -> AddressFinding:
    def steady(value: float | None, told: float) -> float | None:
        return None if value is None else told

    times = steady(found.icmp_ms, 0.4), steady(found.tcp_ms, 0.6), steady(found.http_ms, 7.2)
    return replace(found, icmp_ms=times[0], tcp_ms=times[1], http_ms=times[2])


def _finding(found: ResponderFinding) -> ResponderFinding:
    return replace(found, addresses=tuple(map(_address, found.addresses)))


def _host(found: HostEvidence) -> HostEvidence:
    return replace(found, load_normal=True, load_sentence=_LOAD)


def judged(evidence: Evidence) -> result.Check:
    """The check with steady numbers."""
    asked = tuple(replace(one, finding=_finding(one.finding)) for one in evidence.responders)
    met = tuple(replace(one, seconds=seconds(one.seconds)) for one in evidence.handshakes)
    return _judged(replace(evidence, responders=asked, handshakes=met, host=_host(evidence.host)))


def probe(*given: Any, **more: Any) -> Any:
    """The probe's findings with steady numbers."""
    return tuple(map(_finding, _probe(*given, **more)))


def moment(at: datetime | float) -> datetime:
    """The story's time of a moment: its chapter's."""
    begun = [float(word) for word in os.environ["STORY_CHAPTERS"].split(",")]
    seconds_of = at.timestamp() if isinstance(at, datetime) else at
    return STORY + CHAPTER * max(0, bisect.bisect(begun, seconds_of) - 1)


def handshake_json(found: Handshake) -> dict[str, Any]:
    """A handshake before or after a change with a steady time; one that was cut off was so at the quick limit."""
    made = _handshake_json(found)
    return made | {"seconds": 0.3 if made["failure"] else seconds(made["seconds"])}


def steadied() -> None:
    """Put the steady numbers in place, before the commands import what measures."""
    for module, name, instead in (
        (text, "local", moment),
        (words, "local", moment),
        (result, "judged", judged),
        (responder, "probe", probe),
        (verify, "handshake_json", handshake_json),
        (switching, "handshake_json", handshake_json),
        (switching, "_take_picture_anew", lambda _operator: None),
        (Handshake, "milliseconds", property(lambda self: round(seconds(self.seconds) * 1000))),
    ):
        setattr(module, name, instead)


if __name__ == "__main__":
    steadied()
    main()
