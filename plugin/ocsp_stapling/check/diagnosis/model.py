"""What a diagnosis consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ocsp_stapling.check.diagnosis.advice import Action
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence, Explanation
from ocsp_stapling.text import counted, host_of, listed

_OF_ONE_CERTIFICATE = (Cause.CERTIFICATE_REVOKED, Cause.CA_BAD_ANSWER)
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
    serial: str = ""
    """Of the one certificate that this is about, "" if it is about several."""

    @property
    def cause(self) -> Cause:
        """Why it fails, HEALTHY if it does not."""
        return self.why.cause

    @property
    def concerning(self) -> str:
        """Whose it is, if only one site's certificate names it: it may be that customer's own doing."""
        only = len(self.sites) == 1 and not self.shared and self.cause is not Cause.FORCED_URL
        return f"Only the certificate of {self.sites[0]} names this responder." if only else ""

    @property
    def certificate(self) -> str:
        """Whose it is, and its serial number where it is a single one."""
        return f"{listed(self.sites)} (serial {self.serial})" if self.serial else listed(self.sites)

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
    names = [one.certificate for one in alike]
    several = sum(len(one.sites) for one in alike) > 1
    too = f" The same holds for the certificate{'s'[:several]} of {listed(names)}." if names else ""
    others = [
        one
        for one in broken
        if one not in (leading, *alike) and (host_of(one.url) != host_of(leading.url) or _of_one(one))
    ]
    if not others:
        return too, ""
    named, number = listed([_called(one) for one in others]), _how_many([leading, *others], found)
    if all(one.why.late for one in broken):
        number = number.replace("fail", "are slow")
    if all(one.cause is leading.cause for one in broken):
        return f"{too} The same holds for {named}{number}.", ""
    return too, f" There is trouble with {named}, too{number}."


def _how_many(broken: Sequence[ResponderDiagnosis], found: Sequence[ResponderDiagnosis]) -> str:
    """How many of all responders that makes; who is wrong about a single certificate is not failing."""
    if any(map(_of_one, broken)):
        return ""
    number = _all_or_some(len({host_of(one.url) for one in broken}), len({host_of(one.url) for one in found}))
    return f": {number}"


def _of_one(one: ResponderDiagnosis) -> bool:
    """Whether what is wrong is said of this certificate alone."""
    return bool(one.serial and one.sites) and one.cause in _OF_ONE_CERTIFICATE


def _called(one: ResponderDiagnosis) -> str:
    host = host_of(one.url)
    return f"{host} about the certificate of {one.certificate}" if _of_one(one) else host


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
