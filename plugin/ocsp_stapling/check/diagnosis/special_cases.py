"""Verdicts that do not turn on a responder: nothing is served, others are in front, off already, no OCSP at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.check.diagnosis import queue, unseen
from ocsp_stapling.check.diagnosis import seen as apache
from ocsp_stapling.check.diagnosis.advice import FIXES, Action, advised, off_command, remedy, turning_off
from ocsp_stapling.check.diagnosis.explanation import Cause, Confidence, all_answer, answers, can_hold_up
from ocsp_stapling.check.diagnosis.handshakes import Measured
from ocsp_stapling.check.diagnosis.model import Diagnosis, ResponderDiagnosis, Severity
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence, HostEvidence, Site
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.text import capital, counted, listed, once, uncapital, when

_NAMED = 3
_LINES_NAMED = 5
_NO_CACHE = "startup-fatal-no-cache"
"""The error log's word for it (AH01958): the one way in which stapling keeps Apache from starting."""


def not_served(evidence: Evidence, measured: Measured) -> Diagnosis | None:
    """Apache does not run, or nobody holds the port."""
    nobody = evidence.host.front is Server.NOBODY
    running = evidence.host.apache_running is not False
    # With nobody on port 443 of this machine Apache may serve on other ports, behind a load balancer.
    # Who is no front that is known, and lets all wait in vain, has only taken Apache's port.
    taken = evidence.host.front is Server.OTHER and all(met.error for met in evidence.handshakes)
    served = measured.served and (running or not taken)
    if (served and running) or (not nobody and (running or served)):
        return None
    if not evidence.site_count:
        return None
    if _died_of_stapling(evidence):
        if evidence.configuration.has_cache:
            return _cache_not_made(evidence)
        sentence = (
            "Apache does not run, and cannot start: stapling is on without an SSLStaplingCache (AH01958)."
        )
        ended = _down(evidence, Cause.NO_CACHE, sentence, _reviving(evidence.configuration))
        return replace(ended, action=Action.TURN_OFF, afterwards=Action.TURN_ON)
    # What httpd refuses may well be a line about stapling.
    elsewise = "" if evidence.configuration.refused.strip() else ", which is not a matter of stapling"
    sentence = f"Apache does not run: no site is served{elsewise}."
    advice = "Start Apache (/usr/local/cpanel/scripts/restartsrv_httpd) and read the end of its error log."
    if not nobody:
        sentence = "Apache does not run, although another program holds port 443."
        advice = f"End that program, or have it listen elsewhere. {advice}"
    return _down(evidence, Cause.NOT_SERVED, sentence, advice)


def _down(evidence: Evidence, cause: Cause, sentence: str, advice: str) -> Diagnosis:
    """With Apache all sites are down."""
    front, every = (capital(evidence.host.front_sentence),), once(evidence.names)
    return Diagnosis(
        cause, Severity.FAILING, Confidence.HIGH, Action.FIX_HERE, sentence, advice, front, sites=every
    )


def _reviving(configuration: ConfigurationEvidence) -> str:
    """Every line that turns stapling on keeps Apache from starting, those of single virtual hosts as well."""
    command, by_hand = off_command(configuration)
    told = f"Revive it now: {command} turns stapling off and starts Apache."
    if by_hand:
        told = f"First {uncapital(by_hand)} {told}"
    return f"{told} Then ocsp-stapling on --write-on turns it on again, with a cache."


def _cache_not_made(evidence: Evidence) -> Diagnosis:
    """Apache makes every cache that it is given when it starts, whether stapling is on or not: no off would help."""
    line = evidence.configuration.cache
    which = f" ({line.name} {line.value}, {line.where})" if line else ""
    sentence = f"Apache does not run, and its log says that it could not set up its staple cache{which}."
    advice = (
        "Start Apache: /usr/local/cpanel/scripts/restartsrv_httpd. If its log says so again, mend that line: its "
        "directory must exist and its module be loaded; or take it out. Turning stapling off would not be enough."
    )
    return replace(_down(evidence, Cause.NO_CACHE, sentence, advice), confidence=Confidence.MEDIUM)


def _died_of_stapling(evidence: Evidence) -> bool:
    """The configuration leaves Apache no other end, or does not rule out what the log says: that may be forged."""
    configuration = evidence.configuration
    said = bool(evidence.log.kinds.get(_NO_CACHE))
    if configuration.has_cache:
        return said
    return bool(configuration.on or configuration.own_on) or (said and configuration.on is None)


def refused(evidence: Evidence, found: Diagnosis) -> Diagnosis:
    """What httpd says of its configuration comes first: while it refuses that, no advice to restart it would work."""
    words = evidence.configuration.refused.strip()
    if not words or (found.cause is Cause.NOT_APPLICABLE and not evidence.site_count):
        return found
    first = capital(" ".join(words.split())[:300])
    at = f" ({evidence.configuration.refused_at})" if evidence.configuration.refused_at else ""
    advice = FIXES[Cause.CONFIG_BROKEN]
    if found.severity is Severity.STALLING or found.cause in (Cause.NO_CACHE, Cause.NOT_SERVED, Cause.MOD_MD):
        then = found.action if found.action is not Action.FIX_HERE else found.afterwards
        return replace(
            found,
            sentence=f"Apache refuses its configuration{at}, so nothing can be changed yet. {found.sentence}",
            action=Action.FIX_HERE,
            advice=f"{advice} Then: {uncapital(found.advice)}",
            afterwards=then,
            reasons_for=(first, *found.reasons_for),
        )
    told = f"Apache refuses its configuration{at}: its next restart would end it. {found.sentence}"
    return _next_start_fails(replace(found, reasons_for=(first, *found.reasons_for)), told, advice)


def _next_start_fails(found: Diagnosis, sentence: str, advice: str) -> Diagnosis:
    return replace(
        found,
        cause=Cause.CONFIG_BROKEN,
        severity=Severity.FAILING,
        confidence=Confidence.HIGH,
        action=Action.FIX_HERE,
        sentence=sentence,
        advice=advice,
    )


def without_cache(evidence: Evidence, found: Diagnosis) -> Diagnosis:
    """Apache runs with a cache that its files have lost since: httpd's own test passes them, its restart does not."""
    configuration = evidence.configuration
    on = configuration.on or bool(configuration.own_on)
    if configuration.has_cache or not on or found.cause in (Cause.NO_CACHE, Cause.NOT_SERVED):
        return found
    told = "Stapling is on without an SSLStaplingCache: the next restart of Apache would end it (AH01958)."
    if found.severity not in (Severity.NONE, Severity.NOISE):
        return _beside(found, told)
    ends, by_hand = "ocsp-stapling cache fit, which writes one.", ""
    if not configuration.on:
        command, by_hand = off_command(configuration)
        ends = f"{command}, for only single sites turn it on."
    advice = f"Put that line back before anything restarts Apache, or: {ends} {by_hand}"
    return _next_start_fails(found, f"{told} {found.sentence}", advice.rstrip())


def passed_on(evidence: Evidence, measured: Measured, *, holding_up: bool) -> bool:
    """Say whether what answers visitors hands their TLS on to Apache (HAProxy's `mode tcp`, nginx's `stream`).

    No such program waits for a responder inside a handshake: where those that ask for a staple wait, and those that
    ask for none do not, they meet Apache. Where both wait, they do if Apache itself was seen waiting for a responder
    meanwhile: all its workers may be taken.
    """
    front = evidence.host.front
    in_between = not front.is_apache and front not in (*_READS_APACHE, Server.OTHER_HTTPD)
    met = (measured.plain_quick and measured.plain_met) or bool(apache.asked_for_long(evidence))
    return in_between and holding_up and bool(measured.slow) and met


def not_in_front(evidence: Evidence, measured: Measured, *, holding_up: bool) -> Diagnosis | None:
    """Another web server answers visitors; `holding_up`: a responder can keep Apache waiting."""
    front = evidence.host.front
    if front.is_apache or not evidence.responders:
        return None
    if passed_on(evidence, measured, holding_up=holding_up):
        return None
    sentence = _who_is_met(evidence.host)
    if measured.stalling and not measured.plain_quick:
        return _late_for_all(front, sentence)
    if measured.stalling and front is Server.LITESPEED:
        advice = "LiteSpeed obeys Apache's SSLUseStapling: turning it off there ends the waiting."
        return Diagnosis(
            Cause.NOT_IN_FRONT, Severity.STALLING, Confidence.MEDIUM, Action.TURN_OFF, sentence, advice
        )
    advice = _STAPLES_MET.get(front, _PASSES_OR_NOT)
    severity, action = Severity.NONE, Action.NOTHING
    if measured.stalling:
        severity, action = Severity.STALLING, Action.FIX_HERE
        sentence += " Handshakes with it are slow all the same."
        advice += f" {_LOOK_THERE}"
    return Diagnosis(Cause.NOT_IN_FRONT, severity, Confidence.HIGH, action, sentence, advice)


def _who_is_met(host: HostEvidence) -> str:
    holds = f": {host.front_sentence}" if host.front_sentence else ""
    where = "not Apache" if host.front in _STAPLES_MET else "and through it perhaps Apache"
    sentence = f"Visitors reach {host.front.name_for_people}, {where}{holds}."
    if host.front is Server.OTHER_HTTPD:
        sentence = f"Visitors reach another Apache, not the one of this server's sites{holds}."
    if host.apache_running is False and host.front not in _READS_APACHE:
        sentence += " Apache itself does not run: what is passed on to it fails."
    return sentence


def _late_for_all(front: Server, who: str) -> Diagnosis:
    """Everybody waits, asked for a staple or not: no alarm of ours where a front never waits for a responder."""
    sentence = f"{who} It serves no client in time, asked for a staple or not: no matter of stapling."
    calm = front.asks_beside
    return Diagnosis(
        Cause.NOT_IN_FRONT,
        Severity.NONE if calm else Severity.FAILING,
        Confidence.HIGH,
        Action.NOTHING if calm else Action.FIX_HERE,
        sentence,
        f"{_LOOK_THERE} Switching Apache's stapling would not help.",
    )


_LOOK_THERE = "Look at its own error log and at the load."
_READS_APACHE = (Server.LITESPEED, Server.OPENLITESPEED)
_NOT_MET = "Apache's stapling does not reach visitors, so switching it changes nothing for them."
_OF_ITS_OWN = "It reads Apache's SSLUseStapling, but fetches and keeps staples in its own way."
_STAPLES_MET = {
    Server.LITESPEED: _OF_ITS_OWN,
    Server.OPENLITESPEED: _OF_ITS_OWN,
    **dict.fromkeys((Server.CADDY, Server.HITCH, Server.VARNISH), f"{_NOT_MET} It ends TLS itself."),
    Server.OTHER_HTTPD: "They meet its stapling, which this plugin does not switch.",
    Server.NGINX: f"{_NOT_MET} nginx asks Apache for no staple; with ssl_stapling on it fetches its own, beside its "
    "visitors.",
}
_PASSES_OR_NOT = (
    "If it passes TLS on as it is (HAProxy's mode tcp), visitors meet Apache's stapling; if not, they "
    "meet its own."
)


def mod_md(evidence: Evidence, measured: Measured) -> Diagnosis | None:
    """mod_md staples in mod_ssl's place: it fetches in the background, and no visitor waits for it."""
    line = evidence.configuration.md_stapling
    if line is None or not evidence.responders:
        return None
    waits = "" if measured.stalling else ", and no visitor waits for a responder"
    sentence = (
        f"mod_md staples on this server ({line.name} {line.value}, {line.where}), in the background: SSLUseStapling "
        f"decides nothing{waits}."
    )
    if measured.stalling:
        return _slow_all_the_same(Cause.MOD_MD, Confidence.MEDIUM, sentence)
    advice = (
        "Nothing needs to be done here; turning stapling off or on with this plugin would change nothing."
    )
    return Diagnosis(Cause.MOD_MD, Severity.NONE, Confidence.HIGH, Action.NOTHING, sentence, advice)


def _slow_all_the_same(cause: Cause, sure: Confidence, sentence: str) -> Diagnosis:
    advice = "Handshakes are slow all the same: look at the load and at Apache's error log."
    return Diagnosis(cause, Severity.STALLING, sure, Action.FIX_HERE, sentence, advice)


def not_applicable(evidence: Evidence, measured: Measured) -> Diagnosis | None:
    """Nothing on this server can be affected: a normal, calm result."""
    harmless = all(one.expired_only and not can_hold_up(one.finding) for one in evidence.responders)
    if not harmless or evidence.incomplete_chains or evidence.problems or evidence.unreadable:
        return None
    valid = " valid" if evidence.responders else ""
    sentence = f"No{valid} certificate in use names an OCSP responder, so stapling cannot make any site wait."
    if evidence.unseen is not None:
        sentence = (
            f"No{valid} certificate of these sites names an OCSP responder, so none of them needs a staple."
        )
    elif not evidence.site_count:
        sentence = "Apache serves no TLS site, so stapling cannot make any site wait."
    elif evidence.turned_off:
        sentence = (
            "Stapling is turned off for each site whose certificate names an OCSP responder: none can wait."
        )
    if measured.stalling:
        return _slow_all_the_same(Cause.NOT_APPLICABLE, Confidence.HIGH, sentence)
    advice = "Nothing needs to be done. Many authorities have ended OCSP, Let's Encrypt in 2025."
    why: tuple[str, ...] = ()
    if evidence.turned_off:
        advice, why = _back_on(evidence.configuration), tuple(_off_at(evidence.configuration))
    return Diagnosis(
        Cause.NOT_APPLICABLE, Severity.NONE, Confidence.HIGH, Action.NOTHING, sentence, advice, why
    )


def _off_at(configuration: ConfigurationEvidence) -> Iterator[str]:
    """Which lines turn single sites off: the first few, each with its sites."""
    sites: dict[str, list[str]] = {}
    for one in configuration.own_off:
        sites.setdefault(one.where, []).append(one.site)
    for where, names in list(sites.items())[:_LINES_NAMED]:
        yield f"Turned off by {where}: {listed(names)}."
    if (left := len(sites) - _LINES_NAMED) > 0:
        yield f"And by {counted(left, 'more line')}."


def _back_on(configuration: ConfigurationEvidence) -> str:
    told = "Nothing needs to be done while it is meant so."
    if not configuration.own_off:
        return told
    lines = _lines_at([one.where for one in configuration.own_off])
    command = _turning_on([one.site for one in configuration.own_off])
    return f"{told} To have staples again, take {lines} out; where this plugin wrote it: {command}."


def _lines_at(places: Sequence[str]) -> str:
    return "that line" if len(set(places)) == 1 else "these lines"


def with_never_stapled(evidence: Evidence, found: Diagnosis) -> Diagnosis:
    """Where nothing else is a warning, such a certificate is; else it is told beside the verdict."""
    if not evidence.never_stapled:
        return found
    if found.severity in (Severity.NONE, Severity.NOISE) and not found.cause.value.startswith("off-"):
        return _never_stapled(evidence)
    return _beside(found, _never_stapled(evidence).sentence)


def _beside(found: Diagnosis, told: str) -> Diagnosis:
    return replace(found, reasons_against=(*found.reasons_against, f"Besides: {uncapital(told)}"))


def with_strict_off(evidence: Evidence, found: Diagnosis) -> Diagnosis:
    """The same of certificates that demand a staple while a line of their own turns stapling off.

    That line may be what keeps a hanging responder from all visitors: it is to be taken out once that one answers.
    """
    without = queue.refused(evidence)
    refused = [site for site in evidence.strict_off if site.name in without]
    elsewhere = found.cause in (Cause.MOD_MD, Cause.NOT_IN_FRONT)
    if not refused or evidence.configuration.on is not True or elsewhere:
        return found
    ready = _can_be_turned_on(evidence)
    sites = [site for site in refused if site.name in ready]
    if waits := [site.name for site in refused if site.name not in ready]:
        found = replace(found, reasons_against=(*found.reasons_against, _best_left_off(evidence, waits)))
    if not sites:
        return found
    names = tuple(site.name for site in sites)
    told = (
        f"The certificate of {listed(names)} demands a staple, and stapling is off there: Firefox refuses it."
    )
    if found.severity not in (Severity.NONE, Severity.NOISE):
        return _beside(found, told)
    places = listed([site.where for site in sites])
    lines = _lines_at([site.where for site in sites])
    where = f"Take {lines} out ({places}); where this plugin wrote it: " if places else "Turn it on there: "
    return Diagnosis(
        Cause.MUST_STAPLE_OFF, Severity.FAILING, Confidence.HIGH, Action.FIX_HERE, told,
        f"{where}{_turning_on(names)}.", reasons_against=found.reasons_against if waits else (),
        sites=names, causing=names, must_staple=names,
    )  # fmt: skip


def _turning_on(names: Sequence[str]) -> str:
    """The commands for a few sites, one for all ports of a name, and how many more need theirs."""
    sites = once([name.partition(":")[0] for name in names])
    commands = ", ".join(f"ocsp-stapling on --site {name}" for name in sites[:_NAMED])
    rest = len(sites) - _NAMED
    return f"{commands} and so for {rest} more" if rest > 0 else commands


def _can_be_turned_on(evidence: Evidence) -> set[str]:
    """The sites that are turned off alone and whose responders all answer when we ask them."""
    asked = [(answers(one.finding), site.name) for one in evidence.turned_off for site in one.sites]
    return {name for good, name in asked if good} - {name for good, name in asked if not good}


def _best_left_off(evidence: Evidence, names: Sequence[str]) -> str:
    """What there is to wait for before these sites are turned on again."""
    failing = [one for one in evidence.turned_off if not answers(one.finding)]
    of_these = [one for one in failing if any(site.name in names for site in one.sites)]
    hosts = listed(sorted({one.finding.called for one in of_these})) or "their responder"
    told = f"Stapling is off for {listed(names)} alone, whose certificate demands a staple, so Firefox refuses it;"
    means = "no staple would come"
    if any(can_hold_up(one.finding) for one in of_these):
        means = "all visitors would wait again"
    elif not of_these:
        means = "visitors may wait again"
    known = f"no right answer comes from {hosts} yet" if of_these else f"{hosts} was not asked in time"
    return f"{told} {known}. Leave it off until it does: turned on now, {means}. Each check asks again."


def _never_stapled(evidence: Evidence) -> Diagnosis:
    """Certificates that demand what nobody can give: browsers that insist refuse these sites for good."""
    names = tuple(site.name for site in evidence.never_stapled)
    sentence = (
        f"The certificate of {listed(names)} demands a staple and names no responder, so Firefox refuses it: its "
        "authority has ended OCSP."
    )
    advice = "Have it issued anew without Must-Staple (in AutoSSL: it does so by itself at the next renewal)."
    return Diagnosis(
        Cause.MUST_STAPLE_WITHOUT_URL, Severity.FAILING, Confidence.HIGH, Action.REISSUE, sentence, advice,
        sites=names, must_staple=names,
    )  # fmt: skip


def unreadable(evidence: Evidence) -> Diagnosis:
    """What we cannot read Apache may: then nobody knows whom it asks, and all is well is more than can be said."""
    names = tuple(site.name for site in evidence.unreadable)
    sentence = (
        f"The certificate of {listed(names)} could not be read, so nobody knows which responder Apache asks for it. "
        "Nothing else is wrong."
    )
    advice = "Look at the file with: openssl x509 -noout -text -in FILE; install the certificate again."
    return Diagnosis(
        Cause.UNKNOWN, Severity.FAILING, Confidence.LOW, Action.FIX_HERE, sentence, advice, sites=names
    )


def unasked_words(sites: Sequence[Site]) -> str:
    """Return whose certificates name more responders than are asked or take too long, who has most sites first."""
    owners = Counter(site.owner for site in sites)
    named = [f"account {owner}" if owner else "no account" for owner, _ in owners.most_common()]
    return (
        f"the certificates of {listed(named)} name far more than those of others, or take far longer to read."
    )


def not_all_asked(evidence: Evidence, measured: Measured) -> Diagnosis:
    """Who has hundreds of responders keeps the last of them from being asked: said, named, and no alarm for all.

    A warning, never more: whether others wait is measured at their own sites, and the ten by lot among those
    asked come to each of them in time.
    """
    owners = tuple(dict.fromkeys(filter(None, (site.owner for site in evidence.unasked))))
    quick = (
        "Visitors were not seen to wait." if measured.judged else "Whether visitors wait was not measured."
    )
    asked = "All that were asked answer rightly. " if evidence.responders else ""
    sentence = f"Not every responder could be asked: {unasked_words(evidence.unasked)} {asked}{quick}"
    commands = ", ".join(f"ocsp-stapling off --account {owner}" for owner in owners[:_NAMED])
    advice = f"See whether that is what the account is for; else turn stapling off for its sites alone: {commands}."
    if not owners:
        advice = "See why this server has so many responders; look again for the others."
    names = tuple(dict.fromkeys(site.name for site in evidence.unasked))
    return Diagnosis(
        Cause.UNKNOWN, Severity.FAILING, Confidence.LOW, Action.FIX_HERE, sentence, advice, sites=names
    )


def off(
    evidence: Evidence,
    leading: ResponderDiagnosis | None,
    measured: Measured,
    told_of: Callable[[ResponderDiagnosis], str],
) -> Diagnosis | None:
    """Stapling is off already: is it time to turn it on again? `leading` is what speaks against it.

    `told_of` says what fails, that one first.
    """
    configuration = evidence.configuration
    if configuration.on is not False or not evidence.responders:
        return None
    cause = Cause.OFF_BY_PLUGIN if configuration.origin is Origin.PLUGIN else Cause.OFF_ELSEWHERE
    sentence = _off_words(evidence)
    if measured.stalling:
        found = _off_and_slow(evidence, cause, sentence)
        return replace(found, reasons_for=(told_of(leading), leading.concerning)) if leading else found
    if leading is None:
        return _off_and_well(evidence, cause, sentence)
    action = remedy(leading.why)
    fails = told_of(leading)
    advice = f"Keep it off for now: {uncapital(fails)} {advised(leading.why, action)}"
    reasons = (fails, *leading.why.reasons_for, leading.concerning)
    return Diagnosis(
        cause, Severity.NONE, Confidence.HIGH, action, sentence, advice, reasons, afterwards=Action.TURN_ON
    )


def _off_and_well(evidence: Evidence, cause: Cause, sentence: str) -> Diagnosis:
    """Nothing that may be seen speaks against turning it on."""
    if told := unseen.told(evidence):
        advice, then = f"Keep it off for now: {uncapital(told)}", Action.TURN_ON
        return Diagnosis(
            cause, Severity.NONE, Confidence.HIGH, Action.NOTHING, sentence, advice, (told,), afterwards=then
        )
    advice = (
        f"{all_answer(evidence)}: {_TURNED_ON.get(evidence.configuration.origin, 'turn stapling on again')}."
    )
    if evidence.unasked:
        advice += f" Not all were asked: {unasked_words(evidence.unasked)}"
    return Diagnosis(cause, Severity.NONE, Confidence.HIGH, Action.TURN_ON, sentence, advice)


_TURNED_ON = {
    Origin.WHM: "turn stapling on again there, or from here with ocsp-stapling on --write-on",
    Origin.HAND: "turn stapling on again: take that line out, or ocsp-stapling on --write-on",
    Origin.OWN_TEMPLATE: "turn stapling on again: take that line out, or ocsp-stapling on --write-on",
    Origin.TEMPLATE: "turn stapling on again: have httpd.conf written anew "
    "(/usr/local/cpanel/scripts/rebuildhttpdconf) and restart Apache, or ocsp-stapling on --write-on",
    Origin.DEFAULT: "turn stapling on: ocsp-stapling on --write-on",
}
"""How, where plain `on` would refuse: what keeps it off is not ours."""


def _off_words(evidence: Evidence) -> str:
    configuration = evidence.configuration
    where = f" ({configuration.where})" if configuration.where else ""  # a viewer is not told
    if configuration.origin is Origin.PLUGIN:
        who = f" by {configuration.off_by}" if configuration.off_by else ""
        moment = f" at {when(configuration.off_since)}" if configuration.off_since else ""
        return f"Stapling was turned off{moment}{who} through this plugin."
    if configuration.origin is Origin.WHM:
        return "Stapling is turned off in WHM itself (Apache Configuration, Global Configuration)."
    if configuration.origin is Origin.OWN_TEMPLATE:
        return (
            f"Stapling is turned off by a line of the administrator's own template{where}, from which httpd.conf is "
            "written: an edit of httpd.conf would be lost."
        )
    if configuration.origin is Origin.HAND:
        return f"Stapling is turned off by a line written by hand{where}."
    if configuration.origin is Origin.TEMPLATE:
        return (
            f"Stapling is turned off by a line of httpd.conf{where} that WHM's own switch does not explain."
        )
    return "Stapling is off: no directive turns it on."


def _off_and_slow(evidence: Evidence, cause: Cause, sentence: str) -> Diagnosis:
    configuration = evidence.configuration
    still = configuration.still_on
    if still:
        sentence += f" Visitors still wait at sites that turn it on for themselves: {listed(still)}."
        advice = turning_off(configuration)
    else:
        sentence += " Handshakes are slow all the same."
        advice = "Restart Apache if that was not done, else look at the load."
    waits = queue.waiting(evidence)
    return Diagnosis(
        cause, Severity.STALLING, Confidence.MEDIUM, Action.FIX_HERE, sentence, advice, sites=waits, waiting=waits
    )  # fmt: skip
