"""What a viewer is told of a fault that lies beyond what they may see. Pure."""

from __future__ import annotations

from ocsp_stapling.check.diagnosis.advice import Action
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence
from ocsp_stapling.check.diagnosis.handshakes import Measured
from ocsp_stapling.check.diagnosis.model import Diagnosis, Severity
from ocsp_stapling.check.evidence import Evidence, Unseen, is_other
from ocsp_stapling.text import listed

OTHERS = "A responder of other customers' certificates is at fault; root sees which."
_TOLD = {
    Unseen.OTHERS_RESPONDER: OTHERS,
    Unseen.CACHE: "Apache's staple cache is too small for this server's certificates; root can enlarge it.",
}


def told(evidence: Evidence) -> str:
    """Return what is at fault in words that name nobody, "" if nothing is or nothing was left out."""
    return _TOLD.get(evidence.unseen, "") if evidence.unseen else ""


def verdict(evidence: Evidence, measured: Measured, *, own: bool) -> Diagnosis | None:
    """Return the verdict on a stall for whose cause none of the responders in sight can be blamed.

    `own` says whether one in sight keeps handshakes waiting, too: then that is what is told first.
    """
    why = told(evidence)
    if not why or own or not measured.slow or not measured.lasting or evidence.configuration.on is False:
        return None
    mine = tuple(dict.fromkeys(h.site for h in measured.slow if not is_other(h.site)))
    whose = f"Handshakes with {listed(mine)} wait" if mine else "All sites here wait in one queue"
    slowest = max(measured.slow, key=lambda h: h.seconds)
    sentence = f"{why} {whose}, {'more than' if slowest.error else 'up to'} {slowest.seconds:.1f} s."
    own_sites = tuple(dict.fromkeys(site.name for site in evidence.stapling))
    advice = "Only someone with root privileges can end it: send them the ticket."
    cause = Cause.CACHE_TOO_SMALL if evidence.unseen is Unseen.CACHE else Cause.UNKNOWN
    return Diagnosis(
        cause,
        Severity.STALLING,
        Confidence.HIGH,
        Action.NOTHING,
        sentence,
        advice,
        sites=own_sites,
        waiting=own_sites,
    )
