"""Who waits and who causes it: one definition for verdict, table, plan, ticket and metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ocsp_stapling.check.diagnosis.explanation import can_hold_up
from ocsp_stapling.check.diagnosis.handshakes import is_quick
from ocsp_stapling.check.diagnosis.model import ResponderDiagnosis
from ocsp_stapling.check.evidence import Evidence, Site, is_other
from ocsp_stapling.server import sites


def waiting(evidence: Evidence) -> tuple[str, ...]:
    """Return the sites that wait while Apache waits for a responder: all that staple, for they share one queue."""
    return _names(_in_the_queue(evidence))


def must_staple(evidence: Evidence) -> tuple[str, ...]:
    """Return those of the waiting sites that Firefox refuses without a staple."""
    return _names(site for site in _in_the_queue(evidence) if site.must_staple)


def refused(evidence: Evidence) -> tuple[str, ...]:
    """Return the Must-Staple sites that Firefox refuses: stapling is off there, or the shield has no staple for them.

    Where mod_md staples, nothing is known of that.
    """
    if evidence.configuration.md_stapling:
        return ()
    missing = evidence.shield.missing_must_staple if evidence.shield else ()
    named = (site for one in evidence.responders for site in one.sites)
    off = sites.refused((*named, *evidence.strict_off))
    stapled = {each.site for each in evidence.handshakes if each.staple == "good"}  # by a server in front
    names = (*(name for name in off if name not in stapled), *missing)
    return tuple(name for name in dict.fromkeys(names) if not is_other(name))


def causing(evidence: Evidence, found: Iterable[ResponderDiagnosis], *, stalling: bool) -> tuple[str, ...]:
    """Return the sites whose certificates name a responder at fault; in a stall, one that keeps Apache waiting."""
    bad = [(one, why) for one, why in zip(evidence.responders, found, strict=True) if not why.ok]
    guilty = [why for one, why in bad if can_hold_up(one.finding) and not why.why.late] if stalling else []
    several = guilty or [why for _, why in bad]
    return tuple(dict.fromkeys(name for why in several for name in why.sites))


def words(evidence: Evidence, causes: tuple[str, ...]) -> str:
    """Return how many wait and how many cause it; "" for a viewer, who sees only a part of either."""
    waits = waiting(evidence)
    if evidence.unseen is not None or not waits:
        return ""
    which = "" if len(waits) >= evidence.site_count else " that staple"
    every = (
        f"all {len(waits):,} HTTPS sites{which} wait" if len(waits) > 1 else "the one site that staples waits"
    )
    once = ", each once its staple has run out" if _lives_on_a_staple(evidence, causes) else ""
    certificates = (
        f"certificates of {len(causes):,} cause" if len(causes) > 1 else "the certificate of one causes"
    )
    guilty = f"; {certificates} it" if set(causes) < set(waits) else ""
    return f"{every}{once}{guilty}"


def _lives_on_a_staple(evidence: Evidence, causes: tuple[str, ...]) -> bool:
    """Whether another site was quick meanwhile, since Apache still has its staple and asks nobody."""
    return any(
        is_quick(one) and one.staple == "good" and one.site not in causes
        for one in evidence.handshakes
        if one.asked and not one.repeated
    )


def _in_the_queue(evidence: Evidence) -> list[Site]:
    named = (site for one in evidence.responders for site in one.sites if site.stapling)
    return [*evidence.stapling, *named]


def _names(sites: Iterable[Site]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(site.name for site in sites))
