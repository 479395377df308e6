"""Apache's staple cache against the certificates: what does not fit is asked for again and again. Pure."""

from __future__ import annotations

from ocsp_stapling.apache.stapling import asked_again, cache_bytes
from ocsp_stapling.check.diagnosis.advice import Action
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence
from ocsp_stapling.check.diagnosis.handshakes import Measured
from ocsp_stapling.check.diagnosis.model import Diagnosis, Severity
from ocsp_stapling.check.diagnosis.queue import waiting
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence, SteeringLine


def overflowing(evidence: Evidence) -> bool:
    """Say whether staples are lost from the cache before they are next wanted; mod_md keeps its own elsewhere."""
    found = evidence.configuration
    return bool(found.on) and found.md_stapling is None and _lost(found) > 0


def too_small(evidence: Evidence, measured: Measured) -> Diagnosis:
    """Every visit then asks a responder again, one at a time for the whole server: each is as slow as that one."""
    waits = bool(measured.slow)
    return Diagnosis(
        Cause.CACHE_TOO_SMALL,
        Severity.STALLING if waits else Severity.FAILING,
        Confidence.HIGH,
        Action.FIX_HERE,
        f"{_how_small(evidence.configuration)} {_cost(measured)}",
        _advice(evidence.configuration),
        reasons_against=("Only the responders' quick answers keep visitors from waiting.",)
        if measured.quick and not waits
        else (),
        sites=waiting(evidence) if waits else (),
        waiting=waiting(evidence) if waits else (),
    )


_SEVERAL = 2


def broken(evidence: Evidence, measured: Measured) -> Diagnosis | None:
    """The cache takes no staple (its memcached is gone, its file cannot be written): every visit asks a responder."""
    line = evidence.configuration.cache
    if not evidence.configuration.on or evidence.log.fresh_unkept < _SEVERAL or (line and _in_memory(line)):
        return None
    waits = waiting(evidence) if measured.slow else ()
    which = f" ({line.value}, {line.where})" if line else ""
    return Diagnosis(
        Cause.CACHE_BROKEN,
        Severity.STALLING if measured.slow else Severity.FAILING,
        Confidence.HIGH,
        Action.FIX_HERE,
        f"Apache's staple cache{which} does not keep staples (AH01945), so Apache asks a responder again for every "
        f"visitor. {_cost(measured)}",
        "Mend what that line names, or have it name shared memory, as cPanel does: SSLStaplingCache "
        "shmcb:/run/apache2/stapling_cache_shmcb(1048576); then restart Apache.",
        sites=waits,
        waiting=waits,
    )


def _in_memory(line: SteeringLine) -> bool:
    """Whether the cache is shared memory, which is lost with Apache alone.

    It takes every answer but one that is larger than a place in it, which any customer's responder can send: that
    concerns this customer's sites, whoever else writes of it into the log.
    """
    return line.value.partition(":")[0].lower() == "shmcb"


def besides(evidence: Evidence, cause: Cause) -> str:
    """Return what is said of the cache where something else is the verdict, "" where it is large enough."""
    if cause is Cause.CACHE_TOO_SMALL or not overflowing(evidence) or evidence.unseen is not None:
        return ""
    return f"Besides, {_how_small(evidence.configuration, 'its')} {_advice(evidence.configuration)}"


def _lost(configuration: ConfigurationEvidence) -> int:
    return asked_again(configuration.stapled_certificates, configuration.cache_places)


def _how_small(configuration: ConfigurationEvidence, whose: str = "Apache's") -> str:
    count, lost = configuration.stapled_certificates, _lost(configuration)
    which = "all of them" if lost >= count else f"about {lost:,} of them"
    return (
        f"{whose} staple cache holds {configuration.cache_places:,} staples and {count:,} certificates need one, so "
        f"Apache asks for {which} again and again."
    )


def _cost(measured: Measured) -> str:
    """What it costs, as far as a handshake with a site measured it that this check had not met before."""
    if measured.slowest is None:
        return "Whether visitors wait could not be measured."
    took = f"{measured.slowest:.1f} s" if measured.slowest >= 1 else f"{measured.slowest * 1000:.0f} ms"
    if measured.slow:
        return f"Visitors' handshakes wait for it: up to {took}, for a site that this check had not tested before."
    return f"The sites that were tested answer within {took} all the same."


def _advice(configuration: ConfigurationEvidence) -> str:
    size = cache_bytes(configuration.stapled_certificates)
    return (
        f"Make it fit: ocsp-stapling cache fit (an SSLStaplingCache of {size} bytes, verified, one restart)."
    )
