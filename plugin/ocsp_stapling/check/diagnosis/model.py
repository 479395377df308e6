"""What a diagnosis consists of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ocsp_stapling.check.diagnosis.advice import Action
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence, Explanation


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

    @property
    def cause(self) -> Cause:
        """Why it fails, HEALTHY if it does not."""
        return self.why.cause

    @property
    def concerning(self) -> str:
        """Whose it is, if only one site's certificate names it: it may be that customer's own doing."""
        return (
            f"Only the certificate of {self.sites[0]} names this responder." if len(self.sites) == 1 else ""
        )

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.why.cause is Cause.HEALTHY


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
