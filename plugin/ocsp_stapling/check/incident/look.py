"""What one check says about an incident, read from its document. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ocsp_stapling.check.diagnosis.handshakes import STALL_SECONDS, queue_of
from ocsp_stapling.check.incident.model import SERVER, Trouble, Wait
from ocsp_stapling.check.words import DOWN

Document = Mapping[str, Any]
_OWN_FAULTS = ("bad-ocsp-url", "certificate-revoked", "chain-incomplete")
"""What is wrong with a certificate itself: it lasts until somebody replaces it, so it is no outage."""
_KEPT_RESPONDERS, _KEPT_HANDSHAKES, _TROUBLES = 24, 60, 48
KEPT_NAMES = 1000
_NAME_LISTS = ("sites_affected", "sites_causing", "sites_waiting", "must_staple_sites", "alone")


@dataclass(frozen=True)
class Look:
    """One look at the server. `troubles` by subject; `failing` are the URLs of all that fail, leading or not.

    `asked` are those of all responders asked; `partial`: some certificates were not asked about.
    """

    at: float
    source: str
    cause: str
    severity: str
    sentence: str
    off: bool
    off_at: float | None
    """Since when it is off, where our own block says so."""
    off_by: str
    troubles: Mapping[str, Trouble]
    failing: frozenset[str]
    asked: frozenset[str]
    partial: bool
    sites: int
    waiting: int
    wait: Wait | None
    kept: Document
    logged: float
    """Since when, by the error log, one of `troubles` has not answered; the time of the look if it tells nothing."""

    @property
    def opens(self) -> bool:
        """Whether visitors are hit now: they wait, are turned away, or miss a staple that an outage keeps away."""
        return bool(self.troubles) and self.severity in ("stalling", "failing")

    def may_fail(self, subject: str) -> bool:
        """Whether it fails in this look, or this look says nothing of it."""
        return subject in self.failing or (self.partial and subject not in self.asked and subject != SERVER)


def look_at(found: Document, source: str) -> Look:
    """Return what a check's document says; `source` is `check`, `page` or `watch`."""
    at = datetime.fromisoformat(str(found["checked_at"])).timestamp()
    stalling = found["severity"] == "stalling"
    down = found["cause"] in DOWN  # that concerns all sites, and no certificate causes it
    causing = len(found["sites_causing"] or ([] if down else found["sites_affected"]))
    everybody = stalling and not found["alone"]
    troubles = _troubles(found, at, stalling)
    return Look(
        at,
        source,
        str(found["cause"]),
        str(found["severity"]),
        str(found["sentence"]),
        found["configuration"]["stapling"] == "off",
        datetime.fromisoformat(since).timestamp()
        if (since := found["configuration"].get("off_since"))
        else None,
        str(found["configuration"].get("off_by") or ""),
        troubles,
        frozenset([*troubles, *(str(one["url"]) for one in [*_bad(found, stalling), *_turned_off(found)])]),
        frozenset(str(one["url"]) for one in found["responders"]),
        bool(found["unasked_sites"]),
        causing,
        (len(found["sites_waiting"]) or (int(found["site_count"]) if everybody else causing)) * stalling,
        _wait(found["handshakes"], at) if stalling else None,
        _kept(found),
        _logged(found["log"], troubles, stalling, at),
    )


def _logged(log: Document, troubles: Mapping[str, Trouble], stalling: bool, at: float) -> float:
    """Lines that name no responder are of one that stays silent: they belong here if visitors wait."""
    named = {url.partition("://")[2].partition("/")[0] for url in troubles}
    mine = {*named, "unnamed"} if stalling else named
    since = log.get("unanswered_since", {})
    return min([at, *(datetime.fromisoformat(since[name]).timestamp() for name in mine if since.get(name))])


def _troubles(found: Document, at: float, stalling: bool) -> dict[str, Trouble]:
    """Those that can hold visitors up, if there are any: what fails at once beside them is not their story."""
    bad = _bad(found, stalling)
    leading = [one for one in bad if one["holds_up"]] or bad
    several = (
        Trouble(str(one["url"]), str(one["authority"]), str(one["cause"]), str(one["sentence"]), at, at)
        for one in reversed(leading[:_TROUBLES])  # those of most accounts come first
    )
    troubles = {one.url: one for one in several}
    if not troubles and stalling:
        troubles[SERVER] = Trouble(SERVER, "", str(found["cause"]), str(found["sentence"]), at, at)
    return troubles


def _bad(found: Document, stalling: bool) -> list[Document]:
    return [one for one in found["responders"] if not one["ok"] and _is_outage(one, found, stalling)]


def _turned_off(found: Document) -> list[Document]:
    """Those that Apache does not ask, as stapling is off for their sites alone: that heals none of them."""
    return [one for one in found.get("responders_turned_off", ()) if not one["ok"]]


def _is_outage(one: Document, found: Document, stalling: bool) -> bool:
    return one["cause"] not in _OWN_FAULTS or (stalling and one["cause"] == found["cause"])


def _wait(handshakes: Sequence[Document], at: float) -> Wait | None:
    met = [one for one in handshakes if one["asked"] and not one["repeated"]]
    slow = [one for one in met if one["failure"] in (None, "timeout") and one["seconds"] >= STALL_SECONDS]
    if not slow:
        return None
    longest = max(slow, key=lambda one: float(one["seconds"]))
    each = queue_of((str(one["responder"]), float(one["seconds"]), bool(one["failure"])) for one in slow)
    return Wait(float(longest["seconds"]), at, bool(longest["failure"]), each, len(slow), len(met))


def _kept(found: Document) -> dict[str, Any]:
    """The document with its long lists cut short: enough for a ticket, little enough for a history."""
    bad_first = sorted(found["responders"], key=lambda one: bool(one["ok"]))
    lists = {name: found[name][:KEPT_NAMES] for name in _NAME_LISTS}
    responders = [
        one | {"site_names": one["site_names"][:KEPT_NAMES]} for one in bad_first[:_KEPT_RESPONDERS]
    ]
    waited_first = sorted(found["handshakes"], key=lambda one: not one["failure"] and _is_quick(one))
    return {**found, **lists, "responders": responders, "handshakes": waited_first[:_KEPT_HANDSHAKES]}


def _is_quick(handshake: Document) -> bool:
    return bool(handshake["seconds"] < STALL_SECONDS)
