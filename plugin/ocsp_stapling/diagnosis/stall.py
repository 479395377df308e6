"""What timed handshakes show: who waits, who is turned away, who gets a staple. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ocsp_stapling.diagnosis.words import listed
from ocsp_stapling.evidence import Evidence, HandshakeEvidence

STALL_SECONDS = 1.0
"""A handshake that takes longer is one a visitor waits for; healthy ones take hundredths of a second."""


@dataclass(frozen=True)
class Measured:
    """What the handshakes show. `slow`: too late or not at all; `aborted`: refused by a TLS alert."""

    slow: tuple[HandshakeEvidence, ...]
    aborted: tuple[HandshakeEvidence, ...]
    without_staple: tuple[HandshakeEvidence, ...]
    bad_staple: tuple[HandshakeEvidence, ...]
    stapled: tuple[HandshakeEvidence, ...]
    plain_quick: bool
    """Whether clients that ask for no staple are served at once (True if none was tried)."""
    served: bool
    """Whether anything answered at all."""
    unmet: tuple[HandshakeEvidence, ...]
    """Refused or unreachable: nobody was there to be slow."""
    once_only: bool
    """Whether every slow handshake was quick and well stapled when repeated."""

    @property
    def stalling(self) -> bool:
        """Whether visitors were seen to wait or to be turned away."""
        return bool(self.slow or self.aborted)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The measurements in plain words."""
        return tuple(filter(None, (_slow_words(self), _aborted_words(self))))


def measure(evidence: Evidence) -> Measured:
    """Sort the handshakes of the evidence."""
    asked = [h for h in evidence.handshakes if h.asked and not h.repeated]
    plain = [h for h in evidence.handshakes if not h.asked]
    cured = {h.site for h in evidence.handshakes if h.repeated and is_quick(h) and h.staple == "good"}
    slow = tuple(h for h in asked if h.error in ("", "timeout") and h.seconds >= STALL_SECONDS)
    done = [h for h in asked if not h.error]
    expected = _stapling_sites(evidence)
    return Measured(
        slow=slow,
        aborted=tuple(h for h in asked if h.error.startswith("tls:")),
        without_staple=tuple(h for h in done if not h.staple and h.site in expected),
        bad_staple=tuple(h for h in done if h.staple not in ("", "good")),
        stapled=tuple(h for h in done if h.staple == "good"),
        plain_quick=any(map(is_quick, plain)) or not plain,
        served=any(not h.error for h in evidence.handshakes) or any(map(_waits, evidence.handshakes)),
        unmet=tuple(h for h in asked if h.error and not _waits(h)),
        once_only=bool(slow) and all(h.site in cured for h in slow),
    )


def is_quick(handshake: HandshakeEvidence) -> bool:
    """Say whether a visitor would notice nothing."""
    return not handshake.error and handshake.seconds < STALL_SECONDS


def _waits(handshake: HandshakeEvidence) -> bool:
    return handshake.error == "timeout" or handshake.error.startswith("tls:")


def _stapling_sites(evidence: Evidence) -> frozenset[str]:
    sites = (site for one in evidence.responders for site in one.sites)
    return frozenset(site.name for site in sites if site.stapling and site.chain_complete)


def _slow_words(measured: Measured) -> str:
    if not measured.slow:
        return ""
    waited = ", ".join(
        f"more than {h.seconds:.1f} s" if h.error else f"{h.seconds:.1f} s" for h in measured.slow[:4]
    )
    plain = "; clients that ask for none are served at once" if measured.plain_quick else ""
    return f"Handshakes that ask for a staple wait {waited}{plain}."


def _aborted_words(measured: Measured) -> str:
    if not measured.aborted:
        return ""
    names = listed([h.site for h in measured.aborted])
    return f"Handshakes that ask for a staple are aborted with a TLS alert: {names}."
