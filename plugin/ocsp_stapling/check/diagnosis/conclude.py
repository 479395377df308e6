"""The diagnosis: from evidence to cause, severity, confidence and what to do. Pure: no input, no output, no clock.

Two things are kept apart: what is wrong (from the probes) and how bad it is (from timed handshakes alone). Error
lines or a dead responder are no reason to switch anything off while the sites answer quickly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.diagnosis import queue, seen, unseen
from ocsp_stapling.check.diagnosis import special_cases as beside
from ocsp_stapling.check.diagnosis.advice import (
    ALLOWING,
    Action,
    advised,
    remedy,
    single_commands,
    turning_off,
    turning_off_alone,
)
from ocsp_stapling.check.diagnosis.causes import explain
from ocsp_stapling.check.diagnosis.explanation import (
    HANGING,
    Cause,
    Explanation,
    can_hold_up,
)
from ocsp_stapling.check.diagnosis.handshakes import ERROR_STAPLES, Measured, is_quick, measure
from ocsp_stapling.check.diagnosis.model import Diagnosis, ResponderDiagnosis, Severity, besides
from ocsp_stapling.check.diagnosis.no_fault import nothing_wrong, waited_just_now
from ocsp_stapling.check.diagnosis.shield import offered, shielded
from ocsp_stapling.check.diagnosis.staple_cache import besides as cache_besides
from ocsp_stapling.check.diagnosis.staple_cache import broken, overflowing
from ocsp_stapling.check.diagnosis.witnesses import surroundings
from ocsp_stapling.check.evidence import Evidence, HandshakeEvidence, ResponderEvidence, is_other
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.text import capital, counted, host_of, listed, once, shown, uncapital

_NAMED_AT_MOST = 3
"""Sites of one customer that are turned off by name; of more all of the account's are."""
_UNKNOWN = "unknown"
_REVOKED = 20
"""So many revoked certificates are named."""


def diagnose(evidence: Evidence) -> Diagnosis:
    """Return what the evidence means."""
    around = surroundings(evidence)
    told = Counter(one.url for one in evidence.responders)
    found = tuple(_responder(one, explain(one, around), told[one.url] > 1) for one in evidence.responders)
    measured = measure(evidence)
    verdict = beside.refused(evidence, beside.without_cache(evidence, _verdict(evidence, found, measured)))
    verdict = offered(evidence, shielded(evidence, verdict, found, measured))
    verdict = beside.with_never_stapled(evidence, beside.with_strict_off(evidence, verdict))
    if verdict.cause is Cause.OFF_BY_PLUGIN:
        verdict = replace(verdict, **_alone(evidence, found, _guilty(evidence, found))._asdict())
    stranger = seen.stranger_words(evidence) if verdict.severity is Severity.STALLING else ""
    reasons = (*verdict.reasons_for, *measured.sentences, stranger)
    against = (
        *verdict.reasons_against,
        *_seen_otherwise(evidence, found, verdict),
        *_revoked_too(evidence, found, verdict),
    )
    return replace(verdict, reasons_for=once(reasons), reasons_against=once(against), responders=found)


def _responder(one: ResponderEvidence, why: Explanation, shared: bool) -> ResponderDiagnosis:
    sites = tuple(site.name for site in one.sites)
    strict = tuple(site.name for site in one.sites if site.must_staple)
    return ResponderDiagnosis(one.url, one.authority, one.issuer, why, sites, strict, shared, one.serial)


# --- what it is ------------------------------------------------------------------------------------------


def _verdict(evidence: Evidence, found: Sequence[ResponderDiagnosis], measured: Measured) -> Diagnosis:
    leading = _leading(found, evidence)
    keeping = [one for one in found if keeps_off(one)]
    to_blame = leading is not None and not _slow_without_them(evidence, found, measured)
    return (
        beside.not_served(evidence, measured)
        or beside.not_in_front(evidence, measured, holding_up=bool(_guilty(evidence, found)))
        or beside.mod_md(evidence, measured)
        or unseen.verdict(evidence, measured, own=bool(_guilty(evidence, found)))
        or beside.not_applicable(evidence, measured)
        or beside.off(
            evidence,
            _leading(keeping, evidence),
            measured,
            lambda one: _with_others(evidence, one, keeping, found),
        )
        or (
            _faulty(evidence, leading, found, measured)
            if leading is not None and to_blame and not (leading.why.late and overflowing(evidence))
            else _let_apache_wait(evidence, found, measured)
            or nothing_wrong(evidence, measured, all_right=leading is None)
        )
    )


def _let_apache_wait(
    evidence: Evidence, found: Sequence[ResponderDiagnosis], measured: Measured
) -> Diagnosis | None:
    """Where everything is asked again and again for want of a cache, that is the fault, not who is asked."""
    if overflowing(evidence) or broken(evidence, measured):
        return None
    return seen.verdict(
        evidence, measured, *_alone(evidence, found, seen.asked_for_long(evidence), slow=True)
    )


def _slow_without_them(evidence: Evidence, found: Sequence[ResponderDiagnosis], measured: Measured) -> bool:
    """Say whether Apache is slow for every client while no faulty responder can hold anybody up."""
    slow = measured.lasting and not measured.plain_quick
    return slow and not _guilty(evidence, found)


def keeps_off(one: ResponderDiagnosis) -> bool:
    """Say whether this fault is a reason to leave stapling off: not what one customer's certificate did alone."""
    return one.cause not in (Cause.CERTIFICATE_REVOKED, Cause.BAD_OCSP_URL)


def _leading(found: Sequence[ResponderDiagnosis], evidence: Evidence) -> ResponderDiagnosis | None:
    """Return the responder that matters most: one that makes handshakes wait, then the one with most sites."""
    waited = {h.responder for h in evidence.handshakes if h.asked and not is_quick(h)}
    forbidden = {one.url for one in found if one.why.outcome is Outcome.ADDRESS_FORBIDDEN}
    hanging = bool(forbidden & waited) or any(not one.ok and one.why.outcome in HANGING for one in found)

    def weight(one: ResponderDiagnosis) -> tuple[bool, bool, bool, int]:
        hangs = one.why.outcome in HANGING
        # What Apache does not ask at all is not what its site waits for, where something else hangs.
        unasked = one.why.outcome is Outcome.URL_UNUSABLE and hanging
        waits = one.url in waited and (hangs or (one.cause is Cause.BAD_OCSP_URL and not unasked))
        return not one.why.late, waits, hangs, len(one.sites)

    return max((one for one in found if not one.ok), key=weight, default=None)


# --- something is wrong ----------------------------------------------------------------------------------


def _faulty(
    evidence: Evidence, leading: ResponderDiagnosis, found: Sequence[ResponderDiagnosis], measured: Measured
) -> Diagnosis:
    broken = [one for one in found if not one.ok]
    severity = _severity(bool(_guilty(evidence, found)), broken, measured)
    if severity is Severity.STALLING and _concerns_only_itself(leading, measured):
        severity = Severity.FAILING
    waits = queue.waiting(evidence) if severity is Severity.STALLING and measured.slow else ()
    causes = queue.causing(evidence, found, stalling=bool(waits))
    bad = tuple(dict.fromkeys(name for one in broken for name in one.must_staple))
    strict = queue.must_staple(evidence) if waits else bad
    cure = remedy(leading.why)
    handed_on = _errors_handed_on(measured, leading)
    hits = severity is Severity.STALLING or measured.aborted
    guilty = _handing_on(evidence, found, measured) if handed_on else _guilty(evidence, found)
    alone = _alone(evidence, found, guilty, slow=measured.lasting) if hits or handed_on else _Alone()
    if handed_on and severity is not Severity.STALLING and not alone.alone:
        alone = _handing_on_alone(measured)
    ends = Action.TURN_OFF_SITE if alone.alone else Action.TURN_OFF
    action = ends if severity is Severity.STALLING or alone.alone or handed_on else cure
    will_wait = severity is Severity.FAILING and _lives_on_old_staples(evidence, leading, measured)
    whose = (*_whose(evidence, found, alone.alone), _through(evidence, measured))
    meanwhile = _meanwhile(evidence, leading, found, measured, handed_on)
    return Diagnosis(
        leading.cause,
        severity,
        leading.why.confidence,
        action,
        _faulty_words(evidence, leading, found, severity, measured, causes),
        _faulty_advice(action, cure, _mended(leading, measured), will_wait, evidence, alone, meanwhile),
        (*leading.why.reasons_for, leading.concerning, *whose, _again(evidence, leading, waits)),
        (*leading.why.reasons_against, *_warnings(action, strict, bad, measured)),
        waits or causes,
        causes,
        waits,
        strict,
        alone=alone.alone,
        alone_account=alone.alone_account,
        afterwards=cure if action in (Action.TURN_OFF, Action.TURN_OFF_SITE) else Action.NOTHING,
    )


class _Alone(NamedTuple):
    """The fields of a diagnosis that say who can be turned off alone."""

    alone: tuple[str, ...] = ()
    alone_account: str = ""


def _alone(
    evidence: Evidence,
    found: Sequence[ResponderDiagnosis],
    guilty: Sequence[ResponderEvidence],
    *,
    slow: bool = False,
) -> _Alone:
    """The sites of one customer whose responders alone can hold handshakes up, while another one answers.

    `slow`: where nothing else can, one holds them up that answers rightly, but slowly, and for a moment only.

    Then turning stapling off for these ends it, and nobody else loses a staple. Whose fault it is has no part in
    whether others wait; only in what is done about it.
    """
    off = evidence.configuration.on is False
    pairs = zip(evidence.responders, found, strict=True)
    guilty = guilty or [one for one, why in pairs if slow and why.why.late]
    if slow and not guilty and not seen.asks_a_stranger(evidence):
        guilty = seen.asked_for_long(evidence) or _seen_to_wait(evidence, found)
    sites = [site for one in guilty for site in one.sites if site.stapling or off]
    if len({site.owner for site in sites}) != 1 or not sites[0].owner or not any(why.ok for why in found):
        return _Alone()
    names = tuple(dict.fromkeys(site.name for site in sites))
    return _Alone(names, sites[0].owner if len(names) > _NAMED_AT_MOST else "")


def _guilty(evidence: Evidence, found: Sequence[ResponderDiagnosis]) -> list[ResponderEvidence]:
    """The responders at fault that can make handshakes wait; one that fails at once cannot."""
    pairs = zip(evidence.responders, found, strict=True)
    return [one for one, why in pairs if not why.ok and can_hold_up(one.finding)]


def _seen_to_wait(evidence: Evidence, found: Sequence[ResponderDiagnosis]) -> list[ResponderEvidence]:
    """The responders at fault for whose sites alone handshakes waited, however quickly they fail when we ask."""
    waited = {h.responder for h in evidence.handshakes if h.asked and not h.repeated and not is_quick(h)}
    bad = [
        one for one, why in zip(evidence.responders, found, strict=True) if not why.ok and one.url in waited
    ]
    return bad if waited == {one.url for one in bad} else []


def _whose(evidence: Evidence, found: Sequence[ResponderDiagnosis], alone: Sequence[str]) -> list[str]:
    """Where the URLs at fault stand: site, account and virtual host."""
    named = [(one.url, site) for one in _guilty(evidence, found) for site in one.sites if site.name in alone]
    named = named[:_NAMED_AT_MOST]
    told = []
    for url, site in named:
        place = ", ".join(filter(None, (f"account {site.owner}", site.where)))
        told.append(f"{shown(url)} stands in the certificate of {site.name} ({place}).")
    return told


def _through(evidence: Evidence, measured: Measured) -> str:
    """Who stands between visitors and Apache without ending their TLS."""
    if evidence.host.front.is_apache:
        return ""
    front = capital(evidence.host.front_sentence or "another program holds port 443").removesuffix(".")
    if measured.plain_quick:
        return f"{front}, which passes TLS on to Apache: only those that ask for a staple wait."
    return f"{front}, which seems to pass TLS on: Apache was seen to wait for the responder meanwhile."


def _concerns_only_itself(leading: ResponderDiagnosis, measured: Measured) -> bool:
    """Whether Apache turns away visitors of the sites alone whose certificate has a URL that it cannot use.

    Turning stapling off for everybody would be too much: one customer's certificate would cost all others' staples.
    """
    away = {h.site for h in measured.aborted}
    return (
        leading.cause is Cause.BAD_OCSP_URL
        and not measured.slow
        and measured.quick
        and away <= set(leading.sites)
    )


def _badly_stapled(measured: Measured, one: ResponderDiagnosis) -> list[HandshakeEvidence]:
    """The sites of this diagnosis alone: others may be of the same URL."""
    mine = [met for met in measured.bad_staple if met.responder == one.url]
    return [met for met in mine if met.site in one.sites] if one.shared else mine


def _errors_handed_on(measured: Measured, leading: ResponderDiagnosis) -> bool:
    """Whether Apache staples a responder's error (SSLStaplingReturnResponderErrors or SSLStaplingFakeTryLater on)."""
    return any(h.staple in ERROR_STAPLES for h in _badly_stapled(measured, leading))


def _handing_on(
    evidence: Evidence, found: Sequence[ResponderDiagnosis], measured: Measured
) -> list[ResponderEvidence]:
    """The responders whose errors Apache staples."""
    pairs = zip(evidence.responders, found, strict=True)
    return [one for one, why in pairs if not why.ok and _errors_handed_on(measured, why)]


def _handing_on_alone(measured: Measured) -> _Alone:
    """The sites that hand errors on where others of the same responder do not: a line of their own does it."""
    handing = {(h.responder, h.site) for h in measured.bad_staple if h.staple in ERROR_STAPLES}
    silent = {h.responder for h in measured.without_staple if (h.responder, h.site) not in handing}
    names = tuple(sorted({site for _, site in handing}))
    others = any(map(is_other, names)) or any(responder not in silent for responder, _ in handing)
    return _Alone() if others or len(names) > _NAMED_AT_MOST else _Alone(names)


def _unknown_handed_on(measured: Measured, one: ResponderDiagnosis) -> bool:
    """Whether Apache staples an authority's word that it does not know a certificate: it does so whatever is set."""
    return any(h.staple == _UNKNOWN for h in _badly_stapled(measured, one))


def _meanwhile(
    evidence: Evidence,
    leading: ResponderDiagnosis,
    found: Sequence[ResponderDiagnosis],
    measured: Measured,
    handed_on: bool,
) -> str:
    """What lets Firefox open the sites meanwhile, other than what is advised first."""
    if handed_on:
        return (
            " With SSLStaplingReturnResponderErrors and SSLStaplingFakeTryLater off instead no error is handed on, "
            "and all good staples stay."
        )
    if not _unknown_handed_on(measured, leading):
        return ""
    pairs = zip(evidence.responders, found, strict=True)
    alone = _alone(evidence, found, [one for one, why in pairs if _unknown_handed_on(measured, why)])
    command = single_commands(*alone) if alone.alone else "ocsp-stapling off"
    return f" Until then Firefox opens these sites with stapling turned off: {command}."


def _severity(holding_up: bool, broken: Sequence[ResponderDiagnosis], measured: Measured) -> Severity:
    """Waiting once for a first fetch is no stall, unless a responder is at fault that can make them wait again."""
    serving = [one for one in broken if _serves_apache_alone(one, measured)]
    if measured.stalling and (holding_up or measured.aborted or not measured.once_only):
        return Severity.STALLING
    if len(serving) == len(broken):
        return Severity.NONE
    return Severity.NOISE if all(one.why.late or one in serving for one in broken) else Severity.FAILING


def _serves_apache_alone(one: ResponderDiagnosis, measured: Measured) -> bool:
    """Whether it was not asked on purpose (a private address), while Apache has good staples of it: nothing fails."""
    return (
        one.why.outcome is Outcome.ADDRESS_FORBIDDEN
        and _is_stapled(measured, one)
        and not _bare(one, measured)
    )


def _mended(one: ResponderDiagnosis, measured: Measured) -> Explanation:
    """The explanation with its remedy: what serves Apache needs no certificate issued anew."""
    served = f"Apache has good staples of it. To have it asked here, too, {ALLOWING}."
    right = one.cause is Cause.BAD_OCSP_URL and _serves_apache_alone(one, measured)
    return replace(one.why, fix=served) if right else one.why


def _faulty_words(
    evidence: Evidence,
    leading: ResponderDiagnosis,
    found: Sequence[ResponderDiagnosis],
    severity: Severity,
    measured: Measured,
    causes: tuple[str, ...],
) -> str:
    same, other = besides(leading, _in_turn(evidence, found, found), found)
    if severity is Severity.STALLING and measured.slow:
        effect = _stall_words(evidence, leading, causes, "them" if same else "it")
    else:
        alike = [one for one in found if not one.ok and one.cause is leading.cause]
        effect = _effect(evidence, severity, leading, alike, measured)
    return f"{leading.why.sentence}{same} {effect}{other}"


def _with_others(
    evidence: Evidence,
    leading: ResponderDiagnosis,
    told: Sequence[ResponderDiagnosis],
    found: Sequence[ResponderDiagnosis],
) -> str:
    """Say what fails, and what else of those `told` does."""
    return leading.why.sentence + "".join(besides(leading, _in_turn(evidence, told, found), found))


def _in_turn(
    evidence: Evidence, told: Sequence[ResponderDiagnosis], found: Sequence[ResponderDiagnosis]
) -> list[ResponderDiagnosis]:
    """Those of several accounts first, then one of each account: nobody's fill the few places of a sentence."""
    accounts = [{site.owner for site in one.sites} for one in evidence.responders]
    whose = {id(why): owners for owners, why in zip(accounts, found, strict=True)}
    turns: Counter[str] = Counter()
    order: list[tuple[int, bool, str, ResponderDiagnosis]] = []
    for one in sorted(told, key=_revoked_first):
        owners = whose.get(id(one), set())
        alone = next(iter(owners)) if len(owners) == 1 else ""
        order.append((turns[alone] if alone else -1, *_revoked_first(one), one))
        turns[alone] += not one.ok
    return [one for *_, one in sorted(order, key=lambda each: each[:3])]


def _revoked_first(one: ResponderDiagnosis) -> tuple[bool, str]:
    return one.cause is not Cause.CERTIFICATE_REVOKED, host_of(one.url)


def _revoked_too(
    evidence: Evidence, found: Sequence[ResponderDiagnosis], verdict: Diagnosis
) -> Iterable[str]:
    """The revoked certificates for which the verdict itself has no place."""
    revoked = [one for one in found if one.cause is Cause.CERTIFICATE_REVOKED]
    names = [one.certificate for one in _in_turn(evidence, revoked, found)]
    missing = [name for name in names if name not in verdict.sentence]
    if missing:
        more = f" and {len(missing) - _REVOKED:,} more" if len(missing) > _REVOKED else ""
        which = "is the certificate" if len(missing) == 1 else "are the certificates"
        yield f"Revoked as well {which} of {', '.join(missing[:_REVOKED])}{more}."


def _first_works(evidence: Evidence, leading: ResponderDiagnosis) -> bool:
    """Say whether the address that Apache tries first answers; then the others are not missed yet."""
    firsts = [one.finding.addresses[:1] for one in evidence.responders if one.url == leading.url]
    return any(address.outcome.is_good for first in firsts for address in first)


def _again(evidence: Evidence, leading: ResponderDiagnosis, waits: Sequence[str]) -> str:
    """What ends a wait for silent addresses: httpd tries the next (send_request) until one takes its connection."""
    if leading.why.outcome is not Outcome.CONNECT_TIMEOUT or not waits:
        return ""
    tried = [one.finding.addresses for one in evidence.responders if one.url == leading.url]
    takes = [next((each for each in one if each.tcp_ms is not None), None) for one in tried]
    if not any(one is not None and one.outcome.is_good for one in takes):
        return ""
    return (
        "Another of its addresses answers, and Apache goes on to it after its time-out: a certificate whose staple "
        "has come is served at once until Apache fetches the next; then its visitors, and all whose staples are "
        "due, wait again."
    )


def _is_stapled(measured: Measured, leading: ResponderDiagnosis) -> bool:
    """Whether a site of this responder was; another issuer's may name the same URL."""
    return any(met.responder == leading.url and met.site in leading.sites for met in measured.stapled)


def _lives_on_old_staples(evidence: Evidence, leading: ResponderDiagnosis, measured: Measured) -> bool:
    hangs = leading.why.outcome in HANGING and not _first_works(evidence, leading)
    return hangs and _is_stapled(measured, leading)


def _effect(
    evidence: Evidence,
    severity: Severity,
    leading: ResponderDiagnosis,
    alike: Sequence[ResponderDiagnosis],
    measured: Measured,
) -> str:
    if severity is not Severity.STALLING and measured.aborted and not measured.slow:
        return f"Apache turns away whoever asks {listed(sorted(leading.sites))} for a staple; other sites are served."
    if severity is Severity.STALLING:
        return "Visitors are turned away."
    if leading.cause is Cause.CERTIFICATE_REVOKED:
        return f"Browsers refuse {'them' if len(alike) > 1 else 'it'}."
    if not measured.judged:
        return "Whether visitors wait could not be measured."
    if _errors_handed_on(measured, leading):
        return (
            "Apache hands the error on as a staple, and Firefox opens no site with one "
            "(SSLStaplingReturnResponderErrors, SSLStaplingFakeTryLater)."
        )
    if _unknown_handed_on(measured, leading):
        return "Apache staples its word that it does not know these certificates, and Firefox opens no such site."
    if measured.once_only:
        return "The first visitor waits until a staple is fetched; those after him are served at once."
    if severity is Severity.NOISE:
        return "The sites answer quickly."
    if _first_works(evidence, leading) and _is_stapled(measured, leading):
        return "The sites answer quickly and with staples, from the address that Apache tries first."
    if _lives_on_old_staples(evidence, leading, measured):
        return "Sites answer quickly now, from staples Apache still has; they will wait when these run out."
    return _quick_words(leading, alike, measured)


def _stall_words(
    evidence: Evidence, leading: ResponderDiagnosis, causes: tuple[str, ...], for_whom: str
) -> str:
    """What is measured is that they wait; that they wait for it is only said of one that can keep them waiting."""
    guilty = any(one.url == leading.url and can_hold_up(one.finding) for one in evidence.responders)
    who = queue.words(evidence, causes)
    return f"Visitors' handshakes wait{f' for {for_whom}' if guilty else ''}{f': {who}' if who else ''}."


def _quick_words(leading: ResponderDiagnosis, alike: Sequence[ResponderDiagnosis], measured: Measured) -> str:
    """What the table of handshakes shows of the sites of this responder and of those that fail alike, and no more."""
    if bare := [site for one in (leading, *alike) for site in _bare(one, measured)]:
        return f"The sites answer quickly, but no good staple came from {listed(bare)}."
    return f"The sites answer quickly{' and with staples' if _is_stapled(measured, leading) else ''}."


def _bare(one: ResponderDiagnosis, measured: Measured) -> list[str]:
    """The sites of a responder that sent no good staple."""
    return [h.site for h in (*measured.without_staple, *measured.bad_staple) if h.responder == one.url]


def _faulty_advice(
    action: Action,
    cure: Action,
    why: Explanation,
    will_wait: bool,
    evidence: Evidence,
    alone: _Alone,
    meanwhile: str,
) -> str:
    then = f"Then: {uncapital(advised(why, cure))}"
    if action is Action.TURN_OFF_SITE:
        return f"{turning_off_alone(*alone)}{meanwhile} {then}"
    if action is Action.TURN_OFF:
        return f"{turning_off(evidence.configuration)}{meanwhile} {then}"
    advice = advised(why, cure) + meanwhile
    if will_wait:
        advice += " Until then do not restart Apache, which empties its staples; if sites begin to hang, turn it off."
    return advice


def _warnings(
    action: Action, strict: Sequence[str], bad: Sequence[str], measured: Measured
) -> tuple[str, ...]:
    """What Firefox does, which refuses sites that must staple and do not: now, or once stapling is off.

    `bad`: those whose own responder fails. All others get their staple, however late.
    """
    own = [name for name in strict if not is_other(name)]
    if action is not Action.TURN_OFF:
        bare = {met.site for met in measured.without_staple}
        found = {"without a staple": [name for name in own if name in bare]}
    else:
        stapled = {met.site for met in measured.stapled}
        now = [name for name in own if name in bad and name not in stapled]
        found = {
            "without a staple, now and while stapling is off": now,
            "while stapling is off": [name for name in own if name not in now],
        }
    return tuple(
        f"Must-Staple: Firefox refuses these sites {when}: {listed(names)}."
        for when, names in found.items()
        if names
    )


# --- for and against, whatever the verdict ---------------------------------------------------------------


def _seen_otherwise(evidence: Evidence, found: Sequence[ResponderDiagnosis], verdict: Diagnosis) -> list[str]:
    """Facts that do not fit the verdict, or that somebody will ask about."""
    bad = {one.authority for one in found if not one.ok}
    facts = [
        f"{capital(one.sentence)} Our own verified question to it is answered rightly, which counts for more."
        for one in evidence.authorities
        if one.level in (Level.DEGRADED, Level.OUTAGE) and one.name not in bad and found
    ]
    # Who fails for expired certificates alone is no fault, but stands in the table of responders as failing.
    facts += [one.why.sentence for one in found if one.ok and not one.why.outcome.is_good]
    pairs = zip(evidence.responders, found, strict=True)
    quick = sorted({host_of(why.url) for one, why in pairs if not why.ok and not can_hold_up(one.finding)})
    if verdict.cause is Cause.UNKNOWN and quick:
        every = counted(len({host_of(one.url) for one in found}), "responder")
        fails = "fails" if len(quick) == 1 else "fail"
        facts.append(
            f"Besides, {len(quick)} of {every} {fails} at once, which holds nobody up: {listed(quick)}."
        )
    if evidence.log.last_day and verdict.severity is Severity.NOISE:
        day, hour = counted(evidence.log.last_day, "failure"), evidence.log.last_hour
        facts.append(f"The error log has {day} of the last day, {hour:,} of the last hour.")
    if evidence.incomplete_chains and verdict.cause is not Cause.CHAIN_INCOMPLETE:
        names = listed([site.name for site in evidence.incomplete_chains])
        facts.append(f"Besides, the chain of {names} lacks the issuer: no staple there.")
    waited = waited_just_now(evidence)
    if waited and verdict.severity is Severity.FAILING and waited not in verdict.sentence:
        facts.append(f"{waited}.")
    if evidence.unreadable and verdict.sites != tuple(site.name for site in evidence.unreadable):
        names = listed([site.name for site in evidence.unreadable])
        facts.append(
            f"Besides, the certificate of {names} could not be read: nobody knows whom Apache asks about it."
        )
    facts += filter(None, [cache_besides(evidence, verdict.cause), _unasked(evidence)])
    if verdict.severity is Severity.STALLING:
        facts += _beside_a_stall(evidence, verdict)
    return [*facts, *_unseen(evidence, verdict), *evidence.problems]


def _beside_a_stall(evidence: Evidence, verdict: Diagnosis) -> Iterable[str]:
    load = capital(evidence.host.load_sentence)
    if not evidence.host.load_normal and load not in verdict.reasons_for:
        yield load
    if evidence.led_elsewhere:
        yield _led_elsewhere(evidence)


def _led_elsewhere(evidence: Evidence) -> str:
    """What was measured here is not what is met by those who come through a proxy elsewhere."""
    names, places = list(evidence.led_elsewhere), [*evidence.led_elsewhere.values()]
    there = listed([address for each in places for address in each])
    return (
        f"Met at this server, but the names of {listed(names)} lead elsewhere ({there}): whoever is served by a "
        "proxy there meets that one's TLS, and waits only if it asks Apache for a staple."
    )


def _unseen(evidence: Evidence, verdict: Diagnosis) -> list[str]:
    """What a viewer is told of what they may not see, unless the verdict says so."""
    told = unseen.told(evidence)
    return [told] if told and told not in " ".join((verdict.sentence, *verdict.reasons_for)) else []


def _unasked(evidence: Evidence) -> str:
    """What the verdict does not know of single certificates, where not each could be asked about."""
    asked = evidence.asked
    if asked.asked_count >= asked.named_count:
        return ""
    strict = asked.unasked_must_staple_count
    whom = f"; {counted(strict, 'Must-Staple certificate')} among those left out" if strict else ""
    return (
        f"Asked about {asked.asked_count:,} of {asked.named_count:,} certificates, each by itself{whom}: the next "
        "checks draw others by lot."
    )
