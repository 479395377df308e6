"""Numbers, times and states as words; what templates call filters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flask import Flask
from markupsafe import Markup, escape

from ocsp_stapling import text as words
from ocsp_stapling.apache.errorlog.codes import Kind
from ocsp_stapling.apache.stapling import ORIGINS, Origin
from ocsp_stapling.ca.reading import Level
from ocsp_stapling.change.request import called
from ocsp_stapling.check.diagnosis import Confidence
from ocsp_stapling.check.evidence import HandshakeEvidence
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.text import ago as ago
from ocsp_stapling.text import counted as counted  # some of the words here, too
from ocsp_stapling.text import zone as zone

Tone = Literal["good", "warn", "bad", "off", "calm"]

LEVELS: dict[Level, tuple[Tone, str]] = {
    Level.OPERATIONAL: ("good", "Operational"),
    Level.MAINTENANCE: ("calm", "Maintenance"),
    Level.DEGRADED: ("warn", "Disturbed"),
    Level.OUTAGE: ("bad", "Outage"),
    Level.UNKNOWN: ("calm", "Unknown"),
}
ENDINGS: dict[str, tuple[Tone, str]] = {
    "starting": ("calm", "Starting"),
    "running": ("calm", "Running"),
    "done": ("good", "Done"),
    "refused": ("warn", "Refused, nothing touched"),
    "restored": ("warn", "Failed, restored"),
    "interrupted": ("warn", "Interrupted"),
    "failed": ("bad", "Failed"),
}
_STILL_WAITING: tuple[Tone, str] = ("warn", "Done, but some visitors still wait")
CONFIDENCE = {
    Confidence.HIGH: "",
    Confidence.MEDIUM: " (inferred, probable)",
    Confidence.LOW: " (inferred, a guess: little evidence)",
}
FAILURES = {
    Kind.UNREACHABLE: "Apache could not connect to {who}",
    Kind.TIMEOUT: "{who} did not answer in time",
    Kind.DNS: "the name of {who} did not resolve",
    Kind.BAD_RESPONSE: "{who} gave no proper OCSP answer",
    Kind.BAD_URI: "a certificate names an OCSP URL that Apache cannot use ({who})",
    Kind.SUMMARY: "the question to {who} failed, no cause logged",
    Kind.INVALID: "the answer of {who} was stale, for another certificate, or not kept by the cache",
    Kind.CERT_STATUS: "certificate revoked or unknown to its authority",
    Kind.NO_ISSUER: "issuer missing from a chain: stapling not set up",
    Kind.NO_URI: "no OCSP URL: stapling not set up (harmless)",
    Kind.NOT_CONFIGURED: "stapling not set up for a certificate",
    Kind.ABORTED: "a visitor's handshake was aborted ({who})",
    Kind.NO_CACHE: "Apache did not start: no stapling cache or mutex",
    Kind.LOCK: "Apache could not use the lock of stapling",
    Kind.OK_INFO: "information only",
}
_COMMAND = re.compile(r"`([^`]{1,80})`")
_STAPLES = {
    "good": "good",
    "revoked": "says revoked",
    "unknown": "says unknown",
    "stale": "stale",
    "unverified": "could not be verified",
}


def ended(state: str, result: Mapping[str, Any]) -> tuple[Tone, str]:
    """Return how an operation stands or ended."""
    if result.get("still_waiting_names"):
        return _STILL_WAITING
    return ENDINGS.get(state, ("calm", state))


def outcome_word(outcome: Outcome) -> str:
    """Return an outcome in one to three words."""
    return outcome.word.capitalize() if outcome.word[:2].islower() else outcome.word


def moment(when: datetime) -> str:
    """Return a time in the server's zone, with the zone named."""
    return words.when(when)


def clock(when: datetime) -> str:
    """Return the date and the time of day, for lines under a heading that says more."""
    return f"{when.astimezone():%m-%d %H:%M:%S}"


def day(when: datetime | None) -> str:
    """Return a date."""
    return f"{when.astimezone():%Y-%m-%d}" if when else "–"


def log_time(text: str | None) -> str:
    """Return a time of Apache's log as it is read by people."""
    return text[:19].replace("T", " ") if text else "no time"


def log_moment(text: str | None) -> datetime | None:
    """Return a time of Apache's log, which is the server's own, as a moment; None if it is none."""
    try:
        return datetime.fromisoformat(text[:19]).astimezone() if text else None
    except ValueError:
        return None


def duration(seconds: float) -> str:
    """Return a duration: milliseconds below one second, else seconds."""
    if seconds < 0.0005:
        return "<1 ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def milliseconds(value: float | None) -> str:
    """Return a stage's time, or a dash if it was not reached."""
    return "–" if value is None else duration(value / 1000)


def ago_of(when: datetime) -> str:
    """Return about how long ago a moment was."""
    return ago(datetime.now(UTC) - when)


def told_time(when: datetime) -> str:
    """Return a time where a sentence has no room for hovering: how long ago, and exactly when."""
    return f"{ago_of(when)} ({moment(when)})"


def lasted(span: timedelta) -> str:
    """Return about how long something lasted."""
    return words.about(span) or "moments"


def staple_word(found: HandshakeEvidence) -> str:
    """Return what became of the staple in a handshake."""
    if not found.asked:
        return "not asked for"
    if found.error:
        return "–"
    return _STAPLES.get(found.staple, found.staple.replace("-", " ")) if found.staple else "none"


def sentence(text: str) -> str:
    """Return text that begins with a capital and ends with a full stop."""
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "!", "?")) else ".")


def commands(text: str) -> Markup:
    """Return a sentence with the commands in it, which stand between backticks, as code."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def breaking(path: str) -> Markup:
    """Return a path that is broken behind its slashes first."""
    return Markup(str(escape(path)).replace("/", "/<wbr>"))  # noqa: S704 - escaped before


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names in a row, the rest as a number."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def register(app: Flask) -> None:
    """Give the templates these words."""
    for filter_ in (
        ago_of,
        listed,
        moment,
        clock,
        day,
        log_time,
        log_moment,
        duration,
        counted,
        staple_word,
        sentence,
        commands,
        breaking,
        called,
    ):
        app.jinja_env.filters[filter_.__name__] = filter_


def decided(origin: Origin) -> str:
    """Return in a sentence who decided whether Apache staples."""
    return sentence(ORIGINS[origin] if origin is Origin.DEFAULT else f"decided {ORIGINS[origin]}")
