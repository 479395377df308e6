"""What a diagnosis consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ocsp_stapling.check.diagnosis.advice import Action
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence, Explanation
from ocsp_stapling.text import counted, host_of, listed

_BOTH = 2


class Severity(Enum):
    """How bad it is, as measured by handshakes."""

    STALLING = "stalling"
    FAILING = "failing"
    NOISE = "noise"
    NONE = "none"


@dataclass(frozen=True)
class ResponderDiagnosis:
    """What is wrong with one responder, and whose sites it concerns."""

    url: str
    authority: str
    issuer: str
    why: Explanation
    sites: tuple[str, ...]
    must_staple: tuple[str, ...]
    shared: bool = False
    """Whether other certificates name it too, and are told of by themselves: it answers otherwise about them."""

    @property
    def cause(self) -> Cause:
        """Why it fails, HEALTHY if it does not."""
        return self.why.cause

    @property
    def concerning(self) -> str:
        """Whose it is, if only one site's certificate names it: it may be that customer's own doing."""
        only = len(self.sites) == 1 and not self.shared
        return f"Only the certificate of {self.sites[0]} names this responder." if only else ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.why.cause is Cause.HEALTHY


def besides(
    leading: ResponderDiagnosis, told: Sequence[ResponderDiagnosis], found: Sequence[ResponderDiagnosis]
) -> tuple[str, str]:
    """Return what else fails of those `told`, how many of all that makes, for the same reason or for another one.

    They are named in their order. The other reason comes behind what the first one does to visitors, so that
    "it" is the first.
    """
    broken = [one for one in told if not one.ok]
    alike = [
        one for one in broken if one.url == leading.url and one.cause is leading.cause and one != leading
    ]
    names = [name for one in alike for name in one.sites]
    too = f" The same holds for the certificate{'s'[: len(names) > 1]} of {listed(names)}." if names else ""
    hosts = [host for one in broken if (host := host_of(one.url)) != host_of(leading.url)]
    if not hosts:
        return too, ""
    number = _all_or_some(len(set(hosts)) + 1, len({host_of(one.url) for one in found}))
    if all(one.cause is leading.cause for one in broken):
        return f"{too} The same holds for {listed(hosts)}: {number}.", ""
    return too, f" There is trouble with {listed(hosts)}, too: {number}."


def _all_or_some(failing: int, every: int) -> str:
    if failing < every:
        return f"{failing} of {counted(every, 'responder')} fail"
    return "both responders fail" if every == _BOTH else f"all {every:,} responders fail"


@dataclass(frozen=True)
class Diagnosis:
    """The verdict: one leading cause, every responder's own, and what to do now and afterwards."""

    cause: Cause
    severity: Severity
    confidence: Confidence
    action: Action
    sentence: str
    advice: str
    """What to do, in one or two plain sentences."""
    reasons_for: tuple[str, ...] = ()
    reasons_against: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    """Whom it concerns: those that wait during a stall, else those whose own certificate or staple is at fault."""
    causing: tuple[str, ...] = ()
    """The sites whose certificates name what is at fault."""
    waiting: tuple[str, ...] = ()
    """The sites whose visitors wait; they share one queue, so it is each that staples."""
    must_staple: tuple[str, ...] = ()
    """Those of `sites` that Firefox refuses without a staple."""
    responders: tuple[ResponderDiagnosis, ...] = ()
    alone: tuple[str, ...] = ()
    """The sites for which turning stapling off alone ends it: those of one customer, with no other at fault."""
    alone_account: str = ""
    """That customer's account where its sites are too many to be turned off by name, else ""."""
    shield_trouble: tuple[str, ...] = ()
    """What of the shield needs somebody: `relay-down`, `revoked`, `must-staple`, `ends-soon`."""
    shield_ending: tuple[str, ...] = ()
    """Hosts of the responders that do not answer and of whose answers one ends within a day, or has ended."""
    recommended: Action = Action.NOTHING
    """What is better than `action`, which is the fallback then; NOTHING: `action` itself."""
    afterwards: Action = Action.NOTHING
    """What remains to be done once the first action is."""

    @property
    def inferred(self) -> bool:
        """Whether the cause is a conclusion that fits what was seen, and others would fit it as well."""
        return self.confidence is not Confidence.HIGH
