"""Why one responder does not serve this server: from what a probe found to a cause. Pure."""

from __future__ import annotations

from dataclasses import replace

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.diagnosis.explanation import (
    MUTE,
    SLOW_MS,
    UNCONNECTED,
    Cause,
    Confidence,
    Explanation,
    can_hold_up,
    failing,
    is_found_slowly,
)
from ocsp_stapling.check.diagnosis.witnesses import Surroundings, end_of
from ocsp_stapling.check.evidence import NameState, ResponderEvidence, SteeringLine
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.ocsp.guard import ITS_OWN, NO_HOST
from ocsp_stapling.text import capital, duration, listed, once, shown, uncapital

_SEVERAL = 2
_WRONG_CLOCK_SECONDS = 300.0
_REFUSING, _PROXY_LOGIN, _PORTAL = (
    4,
    407,
    511,
)  # HTTP: the class of refusals, and what only a proxy or portal says
_UNRESOLVED = frozenset({Outcome.DNS_FAILURE, Outcome.DNS_TIMEOUT, Outcome.URL_UNUSABLE})
_OVERLOADED = frozenset({Outcome.HTTP_ERROR, Outcome.SLOW, Outcome.TRY_LATER})
_TIMES = frozenset({Outcome.STALE, Outcome.NOT_YET_VALID})
_LOOKS = {
    Outcome.STALE: "expired",
    Outcome.NOT_YET_VALID: "from the future",
    Outcome.WRONG_DELEGATE: "wrongly signed",
}
"""What a wrong clock makes of an answer; who signs by delegation has a certificate of a few days for that."""
_FOREIGN = frozenset({Outcome.HTML, Outcome.REDIRECT, Outcome.NOT_HTTP})
_EXPIRED = "Only expired certificates name it, and Apache asks for them all the same: renew or remove them."
_ALLOW = "If the authority is your own, name its network in allow_networks (config.toml, [probe])."
_LET_IN = (
    "Let replies in before that rule (nft: ct state established,related accept; iptables: -m conntrack --ctstate "
    "ESTABLISHED,RELATED -j ACCEPT), or take it out."
)
_NOWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - how a hosts file blocks a name: no network to allow
_COMPARE = (
    "Compare this server's clock with another first (timedatectl). If it is right, wait for the authority; "
    "ocsp-stapling ticket --for ca writes a text to send."
)
_SENT_ELSEWHERE = (
    "See whether a rule on this server sends port 80 elsewhere (REDIRECT or DNAT in nft list ruleset or "
    "iptables-save -t nat). If none does, tell the datacenter; ocsp-stapling ticket writes the text."
)
_LOST = "Connections come about and what follows is lost: by a filter, or where full-sized packets are lost (MTU)."
_LONGER = (
    "Set SSLStaplingResponderTimeout higher than that and restart Apache, so that the answers come and are kept; or "
    "wait for the authority: ocsp-stapling ticket --for ca writes a text to send."
)
_UNDO_OVERRIDE = "Take that line out of /etc/hosts, or give it the right address."
_ANOTHERS_DOING = (Cause.DNS, Cause.INTERCEPTION, Cause.NETWORK_BLOCK)
"""Causes that lie between this server and a responder, and that a responder's own zone and host can feign."""
_FAMILY_NAMES = {"ipv4": "IPv4", "ipv6": "IPv6"}
# What counts when the addresses show different things: what costs most.
_GRAVITY = (
    Outcome.REVOKED,
    Outcome.REPLY_TIMEOUT,
    Outcome.CONNECT_TIMEOUT,
    Outcome.SLOW,
    Outcome.NO_PORT,
    Outcome.NOT_PERMITTED,
    Outcome.NO_ROUTE,
    Outcome.REFUSED,
)


def explain(one: ResponderEvidence, around: Surroundings) -> Explanation:
    """Return why this responder fails, or that it does not."""
    outcome = decisive(one)
    if outcome.is_good:
        return _healthy(one, outcome)
    if one.expired_only and not can_hold_up(one.finding):
        sentence = f"{_host(one)} fails, but only for expired certificates, and at once: nobody waits for it."
        return Explanation(Cause.HEALTHY, Confidence.HIGH, outcome, sentence)
    judges = (_steered, _name, _limit, _local, _stale_name, _ipv6, _way, _clock, _answer)
    found = next(filter(None, (judge(one, outcome, around) for judge in judges)), None)
    if found is None:
        found = Explanation(Cause.UNKNOWN, Confidence.LOW, outcome, f"{_host(one)}: {outcome.sentence}")
    alike = outcome in around.shared
    stands_in = found.cause is Cause.INTERCEPTION and (alike or around.operators < _SEVERAL)
    if stands_in or (found.cause is Cause.NETWORK_BLOCK and outcome is Outcome.REFUSED and alike):
        found = replace(found, fix=_SENT_ELSEWHERE)
    if found.cause in _ANOTHERS_DOING and _names_it_alone(one, around):
        found = _perhaps_its_own_doing(one, found)
    return replace(found, reasons_for=(*found.reasons_for, _EXPIRED)) if one.expired_only else found


def _names_it_alone(one: ResponderEvidence, around: Surroundings) -> bool:
    """Whether one account alone names it while others answer, and nothing but what came from there speaks."""
    owners = {site.owner for site in one.sites}
    alone = len(owners) == 1 and "" not in owners and not (one.shared or one.operator)
    proven = one.name_state is NameState.HOSTS_OVERRIDE or one.dead_nameservers or one.elsewhere
    return alone and not proven and bool(around.answering - {end_of(one.finding.host)})


def _perhaps_its_own_doing(one: ResponderEvidence, found: Explanation) -> Explanation:
    """Whoever runs a name and a server may tell this server what nobody else is told."""
    against = (
        f"One account alone names {_host(one)}, and other responders answer: whoever runs it may treat this "
        "server so on purpose.",
    )
    if found.cause is Cause.DNS:
        fix = (
            f"Ask the name servers of {_host(one)} themselves, here and elsewhere (dig): if they tell all the same, "
            "this server's resolver is at fault (/etc/resolv.conf, a cache)."
        )
        found = replace(found, fix=fix)
    return replace(found, confidence=Confidence.LOW, reasons_against=(*found.reasons_against, *against))


def decisive(one: ResponderEvidence) -> Outcome:
    """Return the finding that matters most: of several bad addresses, the one that costs most."""
    finding = one.finding
    if finding.fault is not None or not finding.addresses:
        return finding.outcome
    bad = {found.outcome for found in failing(one)}
    for outcome in _GRAVITY:
        if outcome in bad:
            return outcome
    return finding.outcome


def slowest_ms(one: ResponderEvidence) -> float:
    """Return how long the slowest good answer took, in milliseconds."""
    times = [(a.tcp_ms or 0) + (a.http_ms or 0) for a in one.finding.addresses if a.outcome.is_good]
    return max(times, default=0.0)


def _healthy(one: ResponderEvidence, outcome: Outcome) -> Explanation:
    if is_found_slowly(one.finding):
        return _found_slowly(one)
    took = slowest_ms(one)
    patience = min((site.responder_timeout for site in one.sites), default=0)
    if 0 < patience * 1000 < took:
        sentence = (
            f"{_host(one)} answers rightly, but after {took / 1000:.1f} s, and Apache gives up after {patience} s "
            "(SSLStaplingResponderTimeout): no staple comes."
        )
        return Explanation(Cause.CA_OUTAGE, Confidence.MEDIUM, Outcome.SLOW, sentence, fix=_LONGER)
    if took < SLOW_MS:
        return Explanation(Cause.HEALTHY, Confidence.HIGH, outcome, f"{_host(one)} answers rightly.")
    sentence = f"{_host(one)} answers rightly but slowly, after {took / 1000:.1f} s."
    return Explanation(Cause.CA_OUTAGE, Confidence.LOW, Outcome.SLOW, sentence, late=True)


def _found_slowly(one: ResponderEvidence) -> Explanation:
    """The name is found in the end: Apache's time-out does not count while it looks for it."""
    took = (one.finding.resolve_ms or 0) / 1000
    sentence = f"This server takes {took:.1f} s to resolve {_host(one)}, and Apache waits for that without any limit."
    dead = one.dead_nameservers
    why = (f"No answer from {listed(dead)} (/etc/resolv.conf): lookups wait for that first.",) if dead else ()
    against = () if dead else ("This server's name servers do answer: those of that name may be slow.",)
    sure = Confidence.HIGH if dead else Confidence.MEDIUM
    fix = "Repair that name server, or take it out of /etc/resolv.conf." if dead else ""
    return Explanation(Cause.DNS, sure, Outcome.SLOW, sentence, why, against, local=True, late=True, fix=fix)


def _steered(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation | None:
    """A line of Apache's configuration sends the question elsewhere, or another way, and that place fails."""
    if outcome in (Outcome.DEADLINE, Outcome.REVOKED):  # nobody but the authority can sign that
        return None
    line = _line("SSLStaplingForceURL", one) or around.force_url
    if line and one.url == line.value:
        for_some = line.of_site or one.url in around.serving
        whose = _questions_of(one) if for_some else "every question"
        does_not = "does not serve them" if one.url in around.serving else "does not serve"
        sentence = f"{line.name} ({line.where}) sends {whose} to {shown(one.url)}, which {does_not}: "
        plain = "The responders that the certificates name are"
        why = (f"{'The responder that their certificates name is' if for_some else plain} not asked at all.",)
        told = f"{sentence}{uncapital(outcome.sentence)}"
        return Explanation(Cause.FORCED_URL, Confidence.HIGH, outcome, told, why, local=True)
    return _by_proxy(one, outcome, around)


def _line(name: str, one: ResponderEvidence) -> SteeringLine | None:
    return next((line for line in one.steering if line.name == name), None)


def _questions_of(one: ResponderEvidence) -> str:
    return f"the questions of {listed([site.name for site in one.sites])}"


def _by_proxy(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation | None:
    """The proxy of SSLOCSPProxyURL is not reached, or answers in the place of every responder."""
    line = _line("SSLOCSPProxyURL", one) or around.proxy
    if line is None:
        return None
    answers = outcome in _FOREIGN | {Outcome.HTTP_ERROR, Outcome.NOT_OCSP}
    for_all = outcome in around.shared or around.operators < _SEVERAL or _refusal(one) == _PROXY_LOGIN
    if not (outcome in UNCONNECTED | MUTE | _UNRESOLVED or (answers and for_all)):
        return None
    sure = Confidence.MEDIUM if answers or outcome in MUTE else Confidence.HIGH
    fault = uncapital(outcome.sentence).replace("the responder", "the proxy", 1)
    fault = "its name does not resolve." if outcome in _UNRESOLVED else fault
    if answers:
        status = next((found.http_status for found in failing(one) if found.http_status), None)
        fault = f"what comes back is no OCSP answer (HTTP {status})." if status else fault
    whose = _questions_of(one) if line.of_site else "every question"
    sentence = f"{line.name} ({line.where}) sends {whose} through {shown(line.value)}, which fails: {fault}"
    why = (f"Apache does not connect to {_host(one)} itself.",)
    return Explanation(Cause.PROXY, sure, outcome, sentence, why, local=True)


def _name(one: ResponderEvidence, outcome: Outcome, _around: Surroundings) -> Explanation | None:
    """Faults of the URL, of the name and of what the name leads to."""
    if outcome is Outcome.URL_UNUSABLE:
        sentence = f"The OCSP URL {shown(one.url)} in the certificate cannot be used by Apache."
        why = (
            "Apache finds nobody to ask there: no staple comes."
            if one.finding.detail == NO_HOST
            else "Apache asks over plain http only and aborts the handshake of every client that wants a staple.",
        )
        return Explanation(Cause.BAD_OCSP_URL, Confidence.HIGH, outcome, sentence, why)
    if one.name_state is NameState.HOSTS_OVERRIDE:
        return _overridden(one, outcome)
    if outcome is Outcome.ADDRESS_FORBIDDEN:
        return _forbidden(one, outcome)
    if outcome in (Outcome.DNS_TIMEOUT, Outcome.DNS_FAILURE) and (
        one.name_state is NameState.FAILS_EVERYWHERE
    ):
        sentence = (
            f"{_host(one)} cannot be resolved, neither by this server nor elsewhere: its name servers fail."
        )
        why = ("The same name servers and resolvers answer for other names.",)
        return Explanation(Cause.CA_OUTAGE, Confidence.MEDIUM, outcome, sentence, why)
    if outcome is Outcome.DNS_TIMEOUT:
        return _dns(
            one, outcome, Confidence.HIGH, f"This server's name servers do not answer for {_host(one)}."
        )
    if outcome is Outcome.DNS_FAILURE:
        return _unresolved(one, outcome)
    return None


def _overridden(one: ResponderEvidence, outcome: Outcome) -> Explanation:
    """By a line for an authority that is not in DNS, or by one that was right once."""
    sentence, fix = f"/etc/hosts overrides the address of {_host(one)}", _UNDO_OVERRIDE
    if outcome is Outcome.ADDRESS_FORBIDDEN:
        sentence += ", and the one it gives is not public, so it was not asked"
        if not all(found.address in _NOWHERE for found in failing(one)):
            fix = f"{_ALLOW} Else: {uncapital(_UNDO_OVERRIDE)}"
    return replace(_dns(one, outcome, Confidence.HIGH, f"{sentence}."), fix=fix)


def _dns(one: ResponderEvidence, outcome: Outcome, confidence: Confidence, sentence: str) -> Explanation:
    why = (capital(one.name_sentence),) if one.name_sentence else (outcome.sentence,)
    return Explanation(Cause.DNS, confidence, outcome, sentence, why, local=True)


def _forbidden(one: ResponderEvidence, outcome: Outcome) -> Explanation:
    if one.name_state is NameState.PRIVATE_ANSWER:
        sentence = f"This server resolves {_host(one)} to an address that is not public."
        return _dns(one, outcome, Confidence.MEDIUM, sentence)
    itself = all(found.detail == ITS_OWN for found in failing(one))
    where, why = (
        ("this server itself", ()) if itself else ("an address that is not public", (outcome.sentence,))
    )
    sentence = f"The OCSP URL {shown(one.url)} leads to {where}, so it was not asked."
    return Explanation(Cause.BAD_OCSP_URL, Confidence.MEDIUM, outcome, sentence, why, local=True)


def _unresolved(one: ResponderEvidence, outcome: Outcome) -> Explanation:
    if one.name_state is NameState.NO_SUCH_NAME:
        sentence = f"{_host(one)} does not exist in DNS, neither for this server nor elsewhere."
        why = ("The authority has given the name up; the certificate still names it.",)
        return Explanation(Cause.BAD_OCSP_URL, Confidence.MEDIUM, outcome, sentence, why)
    known = one.name_state in (NameState.RESOLVER_AT_FAULT, NameState.RESOLVES)
    confidence = Confidence.HIGH if known else Confidence.MEDIUM
    return _dns(one, outcome, confidence, f"This server cannot resolve {_host(one)}.")


def _limit(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation | None:
    """This server has run out of what a new connection needs, whoever it is for."""
    bad = {found.outcome for found in failing(one)}
    if Outcome.NO_PORT in bad:
        sentence = (
            f"This server has no local port left for new connections, to {_host(one)} or anywhere else."
        )
        return Explanation(
            Cause.LOCAL_LIMIT, Confidence.HIGH, outcome, sentence, (outcome.sentence,), local=True
        )
    if around.tracking_full and bad & {Outcome.CONNECT_TIMEOUT, Outcome.NOT_PERMITTED}:
        sentence = f"This server drops new connections, to {_host(one)} and others: its table of connections is full."
        why = (capital(around.tracking_full), outcome.sentence)
        return Explanation(Cause.LOCAL_LIMIT, Confidence.HIGH, outcome, sentence, why, local=True)
    return None


def _local(one: ResponderEvidence, outcome: Outcome, _around: Surroundings) -> Explanation | None:
    """A firewall on this server: it says so, its rules say so, or another user gets through."""
    bad = failing(one)
    if not any(found.outcome in UNCONNECTED for found in bad):
        return None
    reasons = [f"A rule of this server's firewall fits: {rule}" for rule in one.blocked_by]
    if one.root_connects:
        where = ", ".join(sorted(one.root_connects)[:3])
        reasons.append(
            f"Root connects to {where}; Apache's user does not: only a rule on this server does that."
        )
    if any(found.outcome is Outcome.NOT_PERMITTED for found in bad):
        reasons.append("The kernel itself refused the connection (operation not permitted).")
    if not reasons:
        return _replies_stopped(one, outcome)
    sentence = f"This server's own firewall stops Apache's connections to {_host(one)}{_partly(one)}."
    return Explanation(Cause.LOCAL_FIREWALL, Confidence.HIGH, outcome, sentence, tuple(reasons), local=True)


def _replies_stopped(one: ResponderEvidence, outcome: Outcome) -> Explanation | None:
    """The question leaves, and a rule drops the answer to its first packet: to whoever asks it looks like silence."""
    waits = any(found.outcome is Outcome.CONNECT_TIMEOUT for found in failing(one))
    if not one.replies_blocked_by or not waits:
        return None
    sentence = f"This server's own firewall drops what {_host(one)} sends back{_partly(one)}."
    rules = tuple(f"A rule of this server's firewall fits: {rule}" for rule in one.replies_blocked_by)
    why = (*rules, "The question itself gets out.")
    return Explanation(Cause.LOCAL_FIREWALL, Confidence.HIGH, outcome, sentence, why, local=True, fix=_LET_IN)


def _stale_name(one: ResponderEvidence, outcome: Outcome, _around: Surroundings) -> Explanation | None:
    """The name leads this server to a place where nobody serves (any more), and others to one that does."""
    if one.public is None or not one.public.right or any(a.outcome.is_good for a in one.finding.addresses):
        return None
    ours, theirs = (listed(each) for each in (_addresses(one), one.public.right))
    sentence = (
        f"This server resolves {_host(one)} to {ours}, which does not serve; where public resolvers lead, at "
    )
    why = (
        outcome.sentence,
        f"The same question, asked from here at {theirs}, is answered rightly.",
        f"The address comes from {one.public.source}.",
    )
    against = ("A content network can have one broken place: then the address is right and heals by itself.",)
    sure = Confidence.HIGH if outcome in _FOREIGN else Confidence.MEDIUM
    told = f"{sentence}{theirs}, it answers rightly."
    return Explanation(Cause.DNS, sure, outcome, told, why, against, local=True)


def _addresses(one: ResponderEvidence) -> tuple[str, ...]:
    return tuple(found.address for found in one.finding.addresses)


def _ipv6(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation | None:
    """Only IPv6 fails: the trap in which ping works and ping6 does not."""
    bad = failing(one)
    good_ipv4 = any(a.family == "ipv4" and a.outcome.is_good for a in one.finding.addresses)
    if not good_ipv4 or not bad or any(a.family == "ipv4" for a in bad):
        return None
    unconnected = all(a.outcome in UNCONNECTED for a in bad)
    muted = all(a.outcome in UNCONNECTED | MUTE for a in bad) and around.mute_everywhere
    if not unconnected and not muted:
        return None
    sentence = f"{_host(one)} answers over IPv4, but IPv6 to it does not work from this server."
    why = [f"{a.address}: {a.outcome.sentence}" for a in bad[:3]]
    if around.ipv6_answers and unconnected:
        against = ("IPv6 to other responders works, so only the way to this one is broken.",)
        return Explanation(Cause.IPV6_BROKEN, Confidence.MEDIUM, outcome, sentence, tuple(why), against)
    return Explanation(Cause.IPV6_BROKEN, Confidence.HIGH, outcome, sentence, tuple(why), local=True)


def _way(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation | None:
    """No connection, or one on which nothing comes back: the network or the authority?"""
    if outcome is Outcome.NO_ROUTE:
        return _no_route(one, outcome)
    if outcome not in UNCONNECTED | MUTE:
        return None
    from_elsewhere = _by_elsewhere(one, outcome)
    if from_elsewhere is not None:
        return from_elsewhere
    if who := _in_trouble(one, around):
        why = (f"{who} reports trouble on its status page.", outcome.sentence)
        return Explanation(Cause.CA_OUTAGE, Confidence.HIGH, outcome, _down(one), why)
    if outcome in MUTE:
        return _mute(one, outcome, around)
    found = _unconnected(one, outcome, around)
    perhaps = [f"This server's own firewall may do it as well: {rule}." for rule in one.perhaps_blocked_by]
    return replace(found, reasons_against=(*found.reasons_against, *perhaps))


def _no_route(one: ResponderEvidence, outcome: Outcome) -> Explanation:
    local = any(found.route is False for found in one.finding.addresses)
    here = "This server's routing table has no way there (no entry, or a blackhole)."
    where = here if local else "The network answers that there is none."
    sentence = f"There is no route from this server to {_host(one)}{_partly(one)}."
    return Explanation(Cause.NO_ROUTE, Confidence.HIGH, outcome, sentence, (where,), local=local)


def _by_elsewhere(one: ResponderEvidence, outcome: Outcome) -> Explanation | None:
    """Works elsewhere and not here: the network; fails everywhere: the authority."""
    told = [found for found in one.elsewhere if found.works is not None]
    if not told:
        return None
    reasons = (outcome.sentence, *(found.sentence for found in told))
    if any(found.works for found in told):
        return Explanation(Cause.NETWORK_BLOCK, Confidence.HIGH, outcome, _blocked(one), reasons)
    return Explanation(Cause.CA_OUTAGE, Confidence.HIGH, outcome, _down(one), reasons)


def _mute(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation:
    if around.mute_everywhere:
        lost = (_LOST,) if outcome is Outcome.REPLY_TIMEOUT else ()
        why = (outcome.sentence, _several(around, "give no answer after the connection"), *lost)
        return Explanation(Cause.NETWORK_BLOCK, Confidence.MEDIUM, outcome, _blocked(one), why)
    complete = any(found.verdict and Outcome.of(found.verdict).is_good for found in failing(one))
    open_still = "Its answer comes, but the connection is not closed, and Apache waits for that in vain."
    told = open_still if complete else outcome.sentence
    return Explanation(
        Cause.CA_OUTAGE, Confidence.MEDIUM, outcome, _down(one), (told,), _page_green(one, around)
    )


def _unconnected(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation:
    if around.unconnected_everywhere:
        why = (outcome.sentence, _several(around, "cannot be connected to"))
        return Explanation(Cause.NETWORK_BLOCK, Confidence.HIGH, outcome, _blocked(one), why)
    if names := around.down_together.get(one.finding.host):
        return _operator_down(one, outcome, names)
    confidence = Confidence.LOW if outcome is Outcome.REFUSED else Confidence.MEDIUM
    against = ("The authority could be down as well: ask from another machine to be sure.",)
    return Explanation(Cause.NETWORK_BLOCK, confidence, outcome, _blocked(one), (outcome.sentence,), against)


def _operator_down(one: ResponderEvidence, outcome: Outcome, names: tuple[str, ...]) -> Explanation:
    """Brands of one operator are one witness: that they fail together is no sign of a block."""
    who = one.operator or "one operator"
    why = (outcome.sentence, f"All responders of {who} that were asked fail together: {listed(names)}.")
    against = (
        f"A block of {who}'s addresses on the way looks the same: ask from another machine to be sure.",
    )
    return Explanation(Cause.CA_OUTAGE, Confidence.MEDIUM, outcome, _down(one), why, against)


def _in_trouble(one: ResponderEvidence, around: Surroundings) -> str:
    """The authority, or who runs its responders, if its own status page reports trouble; else ""."""
    told = (one.authority, one.operator)
    return next((who for who in told if around.levels.get(who) in (Level.OUTAGE, Level.DEGRADED)), "")


def _clock(_one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation | None:
    """Answers from the past or the future: of one authority its own fault, of several this server's clock."""
    if outcome not in _LOOKS:
        return None
    ahead = around.clock_ahead
    wrong = ahead is not None and abs(ahead) >= _WRONG_CLOCK_SECONDS
    if ahead is not None and not wrong:
        return None  # the clock is right, whoever else gives old answers
    if not wrong and (outcome not in _TIMES & around.shared or around.some_good):
        return None
    fast = ahead > 0 if ahead is not None else outcome is Outcome.STALE
    if outcome is (Outcome.NOT_YET_VALID if fast else Outcome.STALE):
        return None  # a wrong clock, but not what makes it look so
    way = "ahead" if fast else "behind"
    told = f"{duration(abs(ahead))} {way}" if ahead is not None else way
    sentence = f"This server's clock is {told}, so that valid answers look {_LOOKS[outcome]}."
    why = [outcome.sentence]
    if outcome in around.shared:
        why.append(
            f"All {around.operators} authorities give such times at once, and they do not fail together."
        )
    if wrong:
        why.append("The dates that came with their replies say the same.")
    sure = Confidence.HIGH if wrong and around.operators > 1 else Confidence.MEDIUM
    return Explanation(Cause.CLOCK, sure, outcome, sentence, tuple(why), local=True)


def _answer(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation | None:
    """Something came back, but not what should have."""
    why: tuple[str, ...] = (outcome.sentence,)
    if outcome is Outcome.REVOKED:
        names = listed([site.name for site in one.sites])
        which = _certificate(one) or f"a certificate in use{f' ({names})' if names else ''}"
        sentence = f"{one.authority} says that {which} is revoked."
        return Explanation(Cause.CERTIFICATE_REVOKED, Confidence.HIGH, outcome, sentence, why)
    if outcome in _FOREIGN or (outcome is Outcome.NOT_OCSP and outcome in around.shared):
        return _foreign(one, outcome, around)
    if outcome in _OVERLOADED:
        return _overloaded(one, outcome, around)
    if outcome is Outcome.DEADLINE:
        return None
    if outcome in _TIMES and not around.some_good and around.clock_ahead is None:
        seem = "expired" if outcome is Outcome.STALE else "from the future"
        sentence = f"The answers of {_host(one)} seem {seem}: this server's clock is wrong, or they are."
        return Explanation(Cause.CA_BAD_ANSWER, Confidence.LOW, outcome, sentence, why, fix=_COMPARE)
    if outcome in _TIMES and around.some_good:
        why = (f"{outcome.sentence.partition(':')[0]}; by this server's clock others give right ones.",)
    if outcome is Outcome.NOT_OCSP:
        details = once([found.detail for found in failing(one) if found.detail])
        why = tuple(capital(f"Apache cannot read the answer: {detail}") for detail in details) or why
    about = f"answer about {which} is" if (which := _certificate(one)) else "answers are"
    sentence = f"{_host(one)} is reached, but its {about} wrong{_partly(one)}."
    return Explanation(Cause.CA_BAD_ANSWER, Confidence.HIGH, outcome, sentence, why)


def _certificate(one: ResponderEvidence) -> str:
    if not one.serial or not one.sites:
        return ""
    return f"the certificate of {listed([site.name for site in one.sites])} (serial {one.serial})"


def _foreign(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation:
    works = _works_elsewhere(one)
    told = _told(one)
    intercepted = outcome is Outcome.HTML or outcome in around.shared or works is True
    if intercepted and works is not False:
        confidence = Confidence.HIGH if outcome in around.shared or works else Confidence.MEDIUM
        return Explanation(Cause.INTERCEPTION, confidence, outcome, _replaced(one), (outcome.sentence, *told))
    sentence = f"{_host(one)} does not answer as an OCSP responder."
    return Explanation(Cause.CA_BAD_ANSWER, Confidence.MEDIUM, outcome, sentence, (outcome.sentence, *told))


def _overloaded(one: ResponderEvidence, outcome: Outcome, around: Surroundings) -> Explanation:
    if outcome is Outcome.HTTP_ERROR and (status := _refusal(one)):
        return _refused(one, status, around)
    reasons, against = (outcome.sentence, *_told(one)), _page_green(one, around)
    works = _works_elsewhere(one)
    if works and outcome is not Outcome.TRY_LATER:
        if outcome is Outcome.HTTP_ERROR:
            return Explanation(Cause.INTERCEPTION, Confidence.HIGH, outcome, _replaced(one), reasons)
        return Explanation(Cause.NETWORK_BLOCK, Confidence.HIGH, outcome, _blocked(one), reasons)
    if works:  # who is overloaded turns away one and answers the next
        reasons, against = reasons[:1], (*_told(one), *against)
    alike = outcome in around.shared and outcome is not Outcome.TRY_LATER
    if alike:
        against += ("Several authorities at once show the same: a proxy on the way is as likely.",)
    sure = works is False or bool(_in_trouble(one, around))
    confidence = Confidence.HIGH if sure else Confidence.LOW if alike else Confidence.MEDIUM
    return Explanation(Cause.CA_OUTAGE, confidence, outcome, _down(one), reasons, against)


def _refusal(one: ResponderEvidence) -> int:
    """The HTTP status, if it is one that refuses whoever asks (4xx, 511): no overload; 0 if not."""
    told = {found.http_status for found in failing(one) if found.outcome is Outcome.HTTP_ERROR}
    status = next(iter(told), None) if len(told) == 1 else None
    return status if status is not None and (status // 100 == _REFUSING or status == _PORTAL) else 0


def _refused(one: ResponderEvidence, status: int, around: Surroundings) -> Explanation:
    """By the responder itself, by a filter before it that knows this server's address, or by a proxy on the way."""
    outcome, works = Outcome.HTTP_ERROR, _works_elsewhere(one)
    sentence = f"{_host(one)} answers this server with HTTP {status} and no OCSP answer{_partly(one)}"
    reasons = (outcome.sentence, *_told(one))
    shared = outcome in around.shared
    if shared:
        reasons += (_several(around, "refuse this server's questions"),)
    if works or ((shared or status in (_PROXY_LOGIN, _PORTAL)) and works is None):
        sure = Confidence.HIGH if works else Confidence.MEDIUM
        told = f"{sentence}: a filter or proxy between this server and it refuses the question."
        return Explanation(Cause.INTERCEPTION, sure, outcome, told, reasons)
    sure = Confidence.MEDIUM if works is None else Confidence.HIGH
    against = ("A filter may refuse this server's address alone: ask from another machine to be sure.",)
    told = f"{sentence}."
    return Explanation(Cause.CA_OUTAGE, sure, outcome, told, reasons, against if works is None else ())


def _works_elsewhere(one: ResponderEvidence) -> bool | None:
    told = [found.works for found in one.elsewhere if found.works is not None]
    return any(told) if told else None


def _told(one: ResponderEvidence) -> tuple[str, ...]:
    return tuple(found.sentence for found in one.elsewhere if found.works is not None)


def _page_green(one: ResponderEvidence, around: Surroundings) -> tuple[str, ...]:
    if around.levels.get(one.authority) is not Level.OPERATIONAL:
        return ()
    return (f"{one.authority}'s status page reports no trouble; such pages lag.",)


def _several(around: Surroundings, what: str) -> str:
    return f"All {around.operators} authorities {what} at the same time, and they do not fail together."


def _blocked(one: ResponderEvidence) -> str:
    """Whoever takes the connection is reached: only what should come back does not come, or comes too late."""
    if all(found.tcp_ms is not None for found in failing(one)):
        return f"The network lets no answer of {_host(one)} reach this server in time{_partly(one)}."
    return f"The network does not let this server reach {_host(one)}{_partly(one)}."


def _partly(one: ResponderEvidence) -> str:
    """Which of its addresses fail, if some work: ` over IPv4`, ` at 1 of its 4 addresses`."""
    bad, every = failing(one), one.finding.addresses
    families = {found.family for found in bad}
    if not bad or len(bad) == len(every):
        return ""
    if len(families) == 1 and all(found in bad for found in every if found.family in families):
        return f" over {_FAMILY_NAMES[families.pop()]}"
    return f" at {len(bad)} of its {len(every)} addresses"


def _replaced(one: ResponderEvidence) -> str:
    return f"Something on the way answers in place of {_host(one)}."


def _down(one: ResponderEvidence) -> str:
    return f"The responder {_host(one)} of {one.authority} is out of order{_partly(one)}."


def _host(one: ResponderEvidence) -> str:
    return shown(one.finding.called)
