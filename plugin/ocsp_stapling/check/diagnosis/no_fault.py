"""Verdicts where no responder is at fault: all is well, or something else makes Apache slow. Pure."""

from __future__ import annotations

from dataclasses import replace

from ocsp_stapling.check.diagnosis import special_cases as beside
from ocsp_stapling.check.diagnosis import staple_cache
from ocsp_stapling.check.diagnosis.advice import ADVICE, FIXES, Action, single_commands, turning_off
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence, all_answer
from ocsp_stapling.check.diagnosis.handshakes import ERROR_STAPLES, Measured, is_turned_away
from ocsp_stapling.check.diagnosis.model import Diagnosis, Severity
from ocsp_stapling.check.diagnosis.queue import waiting
from ocsp_stapling.check.evidence import Evidence, is_other
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.text import capital, counted, duration, listed, once, uncapital

_FEW = 3
_SEVERAL = 2
"""Fresh failures that held visitors up; one may be the end of what has just healed."""


def nothing_wrong(evidence: Evidence, measured: Measured, *, all_right: bool) -> Diagnosis:
    """Return the verdict where no responder is to blame; `all_right`: every one of them answers as it should."""
    if lost := staple_cache.broken(evidence, measured):
        return lost
    if staple_cache.overflowing(evidence) and measured.slow:
        return staple_cache.too_small(evidence, measured)
    if measured.lasting:
        return _slow_for_no_reason(evidence, measured, all_right)
    if measured.unmet and not measured.judged:
        return _nobody_met(evidence, measured)
    if waited_just_now(
        evidence
    ):  # before what single certificates lack: nobody hides it behind one of theirs
        return _answers_us_only(evidence, measured)
    if evidence.incomplete_chains:
        return _chain_incomplete(evidence, measured)
    if not found_anything(evidence) and not evidence.unasked:
        sentence = "Too little could be found out for a diagnosis."
        found = _failing(Action.NOTHING, sentence, "Run it as root.")
        return replace(found, severity=Severity.NONE, reasons_for=evidence.problems)
    if staple_cache.overflowing(evidence):
        return staple_cache.too_small(evidence, measured)
    if evidence.unreadable:
        return beside.unreadable(evidence)
    if evidence.unasked:
        return beside.not_all_asked(evidence, measured)
    return _unstapled(evidence, measured) or _kept_bad(evidence, measured) or _healthy(evidence, measured)


def waited_just_now(evidence: Evidence) -> str:
    """Return what the error log says of visitors a moment ago, "" if they did not wait."""
    if evidence.log.fresh_timeouts < _SEVERAL:
        return ""
    last = evidence.log.last[11:19]
    return f"Visitors waited in vain for a responder within the last two minutes, the last at {last}"


def _answers_us_only(evidence: Evidence, measured: Measured) -> Diagnosis:
    """Good answers to us count for less than visitors who waited a moment ago: a responder may know who asks."""
    quick = met_words(measured, "The sites that were tested answer quickly.")
    sentence = (
        f"{waited_just_now(evidence)}, although {uncapital(all_answer(evidence))} when asked now. {quick}"
    )
    advice = (
        "Look again in two minutes. If the error log goes on so, a responder answers this check and not Apache; "
        "then stapling is best turned off: ocsp-stapling off."
    )
    return _failing(Action.NOTHING, sentence, advice)


def _kept_bad(evidence: Evidence, measured: Measured) -> Diagnosis | None:
    """A responder answers rightly again, and Apache goes on stapling what it said before."""
    bad = [h for h in measured.bad_staple if h.staple != "unverified"]
    if not bad:
        return None
    names = once([h.site for h in bad])
    what = listed(sorted({h.staple for h in bad}))
    sentence = (
        f"{all_answer(evidence)}, yet Apache still staples a bad answer ({what}) for {listed(names)}, and Firefox "
        "opens no site with one."
    )
    advice = "Restart Apache, which empties its staple cache: /usr/local/cpanel/scripts/restartsrv_httpd."
    if not {h.staple for h in bad}.isdisjoint(ERROR_STAPLES):
        kept = duration(evidence.configuration.error_seconds)
        advice += f" An error it keeps for {kept} (SSLStaplingErrorCacheTimeout)."
    if len(names) <= _FEW and not any(map(is_other, names)):
        advice += (
            " If it staples such a one again after that, the responder answers Apache otherwise than this check: "
            f"turn it off there alone, {single_commands(names, '')}."
        )
    return _failing(Action.FIX_HERE, sentence, advice, names, sure=Confidence.HIGH)


def _too_old(evidence: Evidence) -> str:
    """What SSLStaplingResponseMaxAge does to answers that are right, "" if it cannot be that."""
    line = evidence.configuration.max_age
    answers = [found for one in evidence.responders for found in one.finding.addresses if found.this_update]
    ages = [(evidence.taken_at - found.this_update).total_seconds() for found in answers if found.this_update]
    if line is None or not line.value.isdecimal() or not 0 < int(line.value) < max(ages, default=0):
        return ""
    return f"{line.name} {line.value} ({line.where}) has Apache refuse answers of that age"


def _no_patience(evidence: Evidence) -> str:
    """What a time-out of nothing does: mod_ssl then waits for no connection at all. "" if it is not that."""
    line = evidence.configuration.no_patience
    return f"{line.name} {line.value} ({line.where}) has Apache wait for no answer at all" if line else ""


def _unstapled(evidence: Evidence, measured: Measured) -> Diagnosis | None:
    """No site is sent a staple, or one is not that browsers refuse without."""
    missing = tuple(dict.fromkeys(h.site for h in measured.without_staple))
    demanding = {site.name for one in evidence.responders for site in one.sites if site.must_staple}
    strict = tuple(name for name in missing if name in demanding)
    if not missing or (measured.stapled and not strict):
        return None
    names = strict if measured.stapled else missing
    if evidence.host.selinux_denies:
        return _denied(names, strict)
    refused = f" Firefox refuses {listed(strict)} without one (Must-Staple)." if strict else ""
    tested = {h.site for h in (*measured.without_staple, *measured.bad_staple, *measured.stapled)}
    sentence = (
        f"{all_answer(evidence)}, yet Apache sends no staple for {len(names)} of "
        f"{counted(len(tested), 'site')} tested ({listed(names)}), though quickly."
    )
    advice = f"Look again in {_patience(evidence)}. Then read its error log."
    old = _too_old(evidence) or _no_patience(evidence)
    if old:
        refused, advice = f"{refused} {old}.", "Take that line out and restart Apache."
    action, sure = (Action.FIX_HERE, Confidence.MEDIUM) if old else (Action.NOTHING, Confidence.LOW)
    return replace(_failing(action, sentence + refused, advice, names, sure=sure), must_staple=strict)


def _denied(names: tuple[str, ...], strict: tuple[str, ...]) -> Diagnosis:
    """The probe runs as Apache's user, but not in Apache's domain."""
    sentence = (
        "SELinux keeps Apache from connecting to the responders (httpd_can_network_connect is off), which answer a "
        f"process of Apache's user outside its domain rightly: no staple is sent ({listed(names)}), though quickly."
    )
    advice = "Allow it: setsebool -P httpd_can_network_connect on."
    found = _failing(Action.FIX_HERE, sentence, advice, names, sure=Confidence.MEDIUM)
    return replace(found, cause=Cause.LOCAL_FIREWALL, must_staple=strict)


def met_words(measured: Measured, quick: str) -> str:
    """Return what is said of sites that answer quickly, if any handshake measured that they do."""
    return quick if measured.quick else "Whether visitors wait could not be measured."


def _nobody_met(evidence: Evidence, measured: Measured) -> Diagnosis:
    sites = tuple(dict.fromkeys(h.site for h in measured.unmet))
    places = listed([f"{h.site} at {h.address} ({h.error})" for h in measured.unmet])
    sentence = (
        f"{all_answer(evidence)}, but no site of {len(sites)} tested could be reached at its "
        f"address: {places}."
    )
    advice = "See whether Apache listens there and whether these are this server's addresses."
    if all(is_turned_away(h) for h in measured.unmet):
        sentence = (
            f"{all_answer(evidence)}, but Apache turns every client away, asked for a staple or not, so whether "
            f"visitors wait could not be measured: {places}."
        )
        advice = (
            "That is no matter of stapling. Apache may demand what this check does not bring: a balancer's PROXY "
            "line (RemoteIPProxyProtocol) or a client certificate (SSLVerifyClient). If it does not, read the end "
            "of its error log."
        )
    return _failing(Action.FIX_HERE, sentence, advice, sites)


def _failing(
    action: Action,
    sentence: str,
    advice: str,
    sites: tuple[str, ...] = (),
    *,
    sure: Confidence = Confidence.LOW,
) -> Diagnosis:
    """Something fails, and no responder is known to."""
    return Diagnosis(Cause.UNKNOWN, Severity.FAILING, sure, action, sentence, advice, sites=sites)


def _patience(evidence: Evidence) -> str:
    """How long a staple may be missing although its responder answers again, and why."""
    if evidence.shield is not None:
        return "an hour: the shield asks again within it (at once: ocsp-stapling shield refresh)"
    kept = duration(evidence.configuration.error_seconds)
    return f"{kept}: Apache remembers a failed answer for so long"


def found_anything(evidence: Evidence) -> bool:
    """Say whether any responder was asked or there was certainly none to ask."""
    return bool(evidence.responders) or not evidence.problems


def _healthy(evidence: Evidence, measured: Measured) -> Diagnosis:
    quick = (
        "and the sites answer quickly"
        if measured.judged
        else "but no site could be reached to see whether it waits"
    )
    sentence = f"{all_answer(evidence)} at every address, {quick}."
    against = []
    if measured.once_only:
        against.append("A first handshake had to wait for the staple to be fetched; the next one was quick.")
    if measured.without_staple:
        names = listed([h.site for h in measured.without_staple])
        against.append(f"No staple came from {names}; look again in {_patience(evidence)}.")
    if measured.unmet:
        names = listed([f"{h.site} at {h.address}" for h in measured.unmet])
        against.append(f"No client is served there in time, so not judged: {names}.")
    if evidence.host.front is Server.NOBODY:
        against.append(
            "Nothing listens on port 443 here: in order only where visitors come to Apache's own port, as from a "
            "balancer elsewhere."
        )
    noisy = evidence.log.last_day > 0
    if noisy:
        sentence = f"{sentence} The failures in the error log are over, or concern few visitors."
    return Diagnosis(
        Cause.HEALTHY,
        Severity.NOISE if noisy else Severity.NONE,
        Confidence.MEDIUM if _in_part(evidence, measured) else Confidence.HIGH,
        Action.NOTHING,
        sentence,
        ADVICE[Action.NOTHING],
        reasons_against=tuple(against),
    )


def _in_part(evidence: Evidence, measured: Measured) -> bool:
    """Say whether something that could be wrong was not looked at."""
    return bool(evidence.problems or evidence.asked.unasked_must_staple_count) or not measured.judged


def _slow_for_no_reason(evidence: Evidence, measured: Measured, all_right: bool) -> Diagnosis:
    sites = tuple(dict.fromkeys(h.site for h in (*measured.slow, *measured.aborted)))
    if not measured.plain_quick:
        silent = all(each.error for each in measured.slow) and not measured.quick
        what = "answers no client in time" if silent else "is slow for every client"
        sentence = f"Apache {what}, and no responder makes it wait: stapling is not to blame."
        advice = "Look at the load, at MaxRequestWorkers and at the end of Apache's error log."
        if silent:
            advice = f"See whether a firewall drops connections to port 443. {advice}"
        reasons = (capital(evidence.host.load_sentence),)
        found = _failing(Action.FIX_HERE, sentence, advice, sites)
        return replace(found, severity=Severity.STALLING, reasons_for=reasons)
    fate = "wait" if measured.slow else "are aborted"
    others = uncapital(all_answer(evidence)) if all_right else "no responder keeps anybody waiting"
    sentence = f"Handshakes that ask for a staple {fate}, although {others} when asked now."
    advice = (
        f"{turning_off(evidence.configuration)} If the cause has just gone, a look in a minute will tell."
    )
    waits = waiting(evidence) if measured.slow else ()
    found = _failing(Action.TURN_OFF, sentence, advice, waits or sites)
    return replace(found, severity=Severity.STALLING, waiting=waits)


def _chain_incomplete(evidence: Evidence, measured: Measured) -> Diagnosis:
    names = tuple(site.name for site in evidence.incomplete_chains)
    strict = tuple(site.name for site in evidence.incomplete_chains if site.must_staple)
    effect = met_words(measured, "The sites answer quickly.")
    if seen := [name for name in strict if not is_other(name)]:
        effect += f" Firefox refuses {listed(seen)} without a staple (Must-Staple)."
    sentence = f"The chain of {listed(names)} lacks the issuer, so Apache cannot staple there. {effect}"
    found = _failing(Action.FIX_HERE, sentence, FIXES[Cause.CHAIN_INCOMPLETE], names, sure=Confidence.HIGH)
    return replace(found, cause=Cause.CHAIN_INCOMPLETE, must_staple=strict)
