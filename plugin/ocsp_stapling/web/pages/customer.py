"""*Is my customer affected?*: a domain, one sentence about it, and a reply that can be sent as it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, render_template, request

from ocsp_stapling.check.diagnosis import Cause, Diagnosis, Severity
from ocsp_stapling.check.diagnosis.handshakes import is_quick
from ocsp_stapling.check.diagnosis.queue import refused
from ocsp_stapling.check.evidence import Evidence, HandshakeEvidence
from ocsp_stapling.web.context import caller
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture, sites
from ocsp_stapling.web.pages.sites import SiteRow
from ocsp_stapling.web.pages.verdict import apache_down, measured
from ocsp_stapling.web.visibility import visible_to
from ocsp_stapling.web.words import Tone, duration, moment

blueprint = Blueprint("customer", __name__)
DOMAIN_LIMIT = 253


@dataclass(frozen=True)
class CustomerAnswer:
    """What holds for a domain now: for us in one sentence, for the customer as a reply ("" where none fits)."""

    tone: Tone
    word: str
    sentence: str
    reply: str = ""


def domain_of(text: str) -> str:
    """Return the domain in what somebody typed or pasted: an address, a host and port, a name."""
    host = text.strip().lower().partition("://")[2] or text.strip().lower()
    return host.partition("/")[0].rpartition("@")[2].partition(":")[0].rstrip(".")[:DOMAIN_LIMIT]


def answer(domain: str, row: SiteRow | None, evidence: Evidence, diagnosis: Diagnosis) -> CustomerAnswer:
    """Return what holds for a domain; `row` is its site, None if this server has none that may be seen."""
    if row is None:
        return CustomerAnswer("calm", "Not here", f"No HTTPS site that you may see here is called {domain}.")
    met = _met(row, evidence)
    if diagnosis.severity is Severity.STALLING and row.name in (*diagnosis.waiting, *diagnosis.causing):
        return _waits(domain, row, evidence, diagnosis, met)
    down = apache_down(evidence, diagnosis)
    if down or (met is not None and met.error):
        return _closed(domain, row, evidence, diagnosis, "" if down or met is None else met.error)
    if not measured(evidence):
        return CustomerAnswer("calm", "Not tested", f"The last check could test no site, {domain} neither.")
    if why := _refused(row, evidence):
        return CustomerAnswer(
            "warn",
            "In Firefox only",
            f"{domain} opens at once, but not in Firefox: its certificate is Must-Staple, and {why}.",
            _letter(
                f"https://{domain}/ opens, except in Firefox: the certificate asks for something that this server "
                "does not send for a while, because an authority's service is out of order. It works again when "
                "that is over. A certificate without the Must-Staple mark would open everywhere now.",
                evidence.taken_at,
            ),
        )
    if diagnosis.severity is Severity.FAILING and row.name in diagnosis.sites:
        bare = "" if met and met.staple == "good" else ", without a staple"
        return CustomerAnswer(
            "warn",
            "Hardly",
            f"{domain} opens at once{_took(met)}{bare}: {diagnosis.sentence}",
            _letter(f"https://{domain}/ opens normally{_took(met)}.", evidence.taken_at),
        )
    return _quick(domain, row, evidence, met)


def _refused(row: SiteRow, evidence: Evidence) -> str:
    """Why Firefox does not open it, "" if it does; a site that came after the check goes by the server."""
    if evidence.shield is not None and row.name in evidence.shield.missing_must_staple:
        return "the shield has no staple for it yet"
    server_off = evidence.configuration.on is False and row.name not in evidence.configuration.still_on
    if row.name in refused(evidence) or (row.must_staple and server_off):
        return "stapling is off" if server_off else "stapling is off for it"
    return ""


def _waits(
    domain: str, row: SiteRow, evidence: Evidence, diagnosis: Diagnosis, met: HandshakeEvidence | None
) -> CustomerAnswer:
    own = row.name in diagnosis.causing
    host = row.host if own else ""
    whose = f"its certificate's responder {host}" if own else "the responder of other sites' certificates"
    service = f"The service {host} of its authority" if own else "A certificate authority's service"
    quick = met is not None and is_quick(met)
    how = (
        "is slow to open or does not open, again and again," if quick else "is slow to open or does not open"
    )
    took = f" ({_length(met)} when it was tested)" if met else ""
    told = f"Visitors of {domain} wait{took}: Apache waits for {whose}."
    if quick:
        told = f"Visitors of {domain} wait whenever Apache waits for {whose}{took}."
    return CustomerAnswer(
        "bad",
        "At times" if quick else "Yes",
        told,
        _letter(
            f"https://{domain}/ {how} at present. Your site, its files and its "
            f"certificate are in order. {service} does not answer this server, and the web server "
            "waits for it. This is being worked on; nothing has to be changed on your side.",
            evidence.taken_at,
        ),
    )


def _closed(
    domain: str, row: SiteRow, evidence: Evidence, diagnosis: Diagnosis, error: str
) -> CustomerAnswer:
    own = bool(error) and row.name in diagnosis.sites  # with Apache down all are
    why = f"its handshake failed when it was tested ({error}). " if error else "Apache does not run. "
    if diagnosis.cause is Cause.NO_CACHE:
        why = diagnosis.sentence
    else:
        why += diagnosis.sentence if own else "That is no matter of stapling."
    # Whose own certificate is at fault may well have to change something.
    calm = "" if own else "; nothing has to be changed on your side"
    return CustomerAnswer(
        "bad",
        "Yes",
        f"{domain} does not open: {why}",
        _letter(
            f"https://{domain}/ does not open at present. We are looking into it{calm}.", evidence.taken_at
        ),
    )


def _quick(domain: str, row: SiteRow, evidence: Evidence, met: HandshakeEvidence | None) -> CustomerAnswer:
    why = "its certificate names no responder" if not row.host else "nothing that it waits for fails"
    if evidence.configuration.on is False:
        why = "stapling is off, so it waits for no responder"
    return CustomerAnswer(
        "good",
        "No",
        f"{domain} opens at once{_took(met)}: {why}.",
        _letter(
            f"https://{domain}/ opens normally from here{_took(met)}. If you still cannot open it, please tell us "
            "when, from which network, in which browser, and what exactly it says.",
            evidence.taken_at,
        ),
    )


def _met(row: SiteRow, evidence: Evidence) -> HandshakeEvidence | None:
    own = [one for one in evidence.handshakes if one.site == row.name and one.asked]
    return max(own, key=lambda one: one.seconds, default=None)


def _length(met: HandshakeEvidence) -> str:
    return f"more than {duration(met.seconds)}" if met.error == "timeout" else duration(met.seconds)


def _took(met: HandshakeEvidence | None) -> str:
    return f" (secure connection after {_length(met)})" if met and not met.error else ""


def _letter(body: str, taken_at: datetime) -> str:
    return f"Hello,\n\n{body}\n\nAs of {moment(taken_at)}.\n"


@blueprint.get("/customer")
@operators_and_viewers
def show() -> str:
    """Ask for a domain; with `domain`, say whether visitors of that site wait, and give a reply to send."""
    seen = picture.picture()
    domain = domain_of(request.args.get("domain", ""))
    found = None
    if domain and seen.evidence is not None and seen.diagnosis is not None:
        row = sites.named(domain, visible_to(caller()))
        found = answer(domain, row, seen.evidence, seen.diagnosis)
    return render_template(
        "customer.html",
        evidence=seen.evidence,
        domain=domain,
        found=found,
    )
