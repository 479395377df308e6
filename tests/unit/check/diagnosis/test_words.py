"""What is told of each cause, word for word: its confidence, what speaks for and against it, what mends it.

`words.txt` holds the texts as an administrator reads them. Whoever changes a word on purpose changes it there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.diagnosis.causes import explain
from ocsp_stapling.check.diagnosis.explanation import Explanation
from ocsp_stapling.check.diagnosis.witnesses import surroundings
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    ConfigurationEvidence,
    Elsewhere,
    Evidence,
    HostEvidence,
    NameState,
    PublicAddresses,
    ResponderEvidence,
    Site,
    SteeringLine,
)
from ocsp_stapling.ocsp.answer import Verdict
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import V4, V6, address, evidence, responder

WORDS = Path(__file__).with_name("words.txt")
FINE = responder("zeta")
V4_TOO = ("198.51.100.8", "198.51.100.9")
WORKS = Elsewhere(
    "another machine", "http://ocsp.alpha.example", True, "From another machine it answers rightly."
)
FAILS = replace(WORKS, works=False, sentence="From another machine it fails as well.")
SILENT = replace(WORKS, works=None, sentence="From another machine nothing certain came back.")
FORCED = SteeringLine("SSLStaplingForceURL", "http://ocsp.alpha.example", "/x.conf:1")
PROXY = SteeringLine("SSLOCSPProxyURL", "http://proxy.example:3128", "/x.conf:2")
OUTAGE = AuthorityEvidence("Alpha", Level.OUTAGE, "reports an outage")
GREEN = AuthorityEvidence("Alpha", Level.OPERATIONAL, "reports no trouble")
HOURS = 2 * 3600.0


def one(outcome: Outcome | None = None, *, fault: Outcome | None = None, **more: Any) -> ResponderEvidence:
    return responder(v4=outcome or Outcome.OK, fault=fault, **more)


def at_v4(outcome: Outcome, name: str = "alpha", **facts: Any) -> ResponderEvidence:
    return responder(name, address(V4, outcome, **facts))


def found(of: ResponderEvidence, **facts: Any) -> ResponderEvidence:
    return replace(of, finding=replace(of.finding, **facts))


def refusing(status: int, name: str = "alpha", **more: Any) -> ResponderEvidence:
    return responder(name, *(address(a, Outcome.HTTP_ERROR, http_status=status) for a in (V4, V6)), **more)


def patient(seconds: int) -> tuple[Site, ...]:
    return (Site("alpha0.example", responder_timeout=seconds),)


def both(outcome: Outcome, **more: Any) -> Evidence:
    return evidence(one(outcome), responder("beta", outcome), **more)


T, R, S = Outcome.CONNECT_TIMEOUT, Outcome.REFUSED, Outcome.REPLY_TIMEOUT
MADE: dict[str, Evidence] = {
    "it answers": evidence(FINE),
    "it answers, but slowly": evidence(at_v4(Outcome.OK, http_ms=1600.0)),
    "it answers later than Apache waits": evidence(
        replace(at_v4(Outcome.OK, http_ms=1600.0), sites=patient(1))
    ),
    "it answers, and Apache waits longer": evidence(
        replace(at_v4(Outcome.OK, http_ms=1600.0), sites=patient(2))
    ),
    "its name is found slowly": evidence(found(one(), resolve_ms=5004)),
    "its name is found slowly behind a dead name server": evidence(
        found(one(dead_nameservers=("192.0.2.53",)), resolve_ms=5004)
    ),
    "for expired certificates, at once": evidence(one(R, expired_only=True), FINE),
    "for expired certificates, and it hangs": evidence(one(S, expired_only=True), FINE),
    "a line sends every question there": evidence(
        one(R), configuration=ConfigurationEvidence(force_url=FORCED)
    ),
    "a line of its sites does": evidence(one(R, steering=(replace(FORCED, of_site=True),)), FINE),
    "a line sends questions elsewhere": evidence(
        one(R), configuration=ConfigurationEvidence(force_url=replace(FORCED, value="http://other.example"))
    ),
    "through a proxy that is dead": both(R, configuration=ConfigurationEvidence(proxy=PROXY)),
    "through a proxy that is silent": both(S, configuration=ConfigurationEvidence(proxy=PROXY)),
    "through a proxy without a name": evidence(
        one(fault=Outcome.DNS_FAILURE), configuration=ConfigurationEvidence(proxy=PROXY)
    ),
    "through a proxy that wants a login": evidence(
        refusing(407), FINE, configuration=ConfigurationEvidence(proxy=PROXY)
    ),
    "through a proxy of its sites": evidence(one(R, steering=(replace(PROXY, of_site=True),)), FINE),
    "through a proxy that answers for all": both(
        Outcome.HTML, configuration=ConfigurationEvidence(proxy=PROXY)
    ),
    "through a proxy, one of several": evidence(
        one(Outcome.HTML), FINE, configuration=ConfigurationEvidence(proxy=PROXY)
    ),
    "a URL that cannot be used": evidence(one(fault=Outcome.URL_UNUSABLE), FINE),
    "the hosts file": evidence(
        one(R, name_state=NameState.HOSTS_OVERRIDE, name_sentence="it says so."), FINE
    ),
    "a private address by the hosts file": evidence(
        one(Outcome.ADDRESS_FORBIDDEN, name_state=NameState.HOSTS_OVERRIDE), FINE
    ),
    "a private address by this resolver": evidence(
        one(Outcome.ADDRESS_FORBIDDEN, name_state=NameState.PRIVATE_ANSWER), FINE
    ),
    "a private address": evidence(one(Outcome.ADDRESS_FORBIDDEN), FINE),
    "silent name servers": evidence(one(fault=Outcome.DNS_TIMEOUT), FINE),
    "a name that is not found": evidence(one(fault=Outcome.DNS_FAILURE), FINE),
    "a name that is found elsewhere": evidence(
        one(
            fault=Outcome.DNS_FAILURE, name_state=NameState.RESOLVER_AT_FAULT, name_sentence="others find it."
        ),
        FINE,
    ),
    "a name that there is not": evidence(
        one(fault=Outcome.DNS_FAILURE, name_state=NameState.NO_SUCH_NAME), FINE
    ),
    "no port left": evidence(one(Outcome.NO_PORT), FINE),
    "a full table of connections": evidence(
        one(T), FINE, host=HostEvidence(tracking_full="the kernel tracks 262,144 connections.")
    ),
    "a full table, and a refusal": evidence(
        one(R), FINE, host=HostEvidence(tracking_full="the kernel tracks 262,144 connections.")
    ),
    "a rule of this firewall": evidence(
        one(T, blocked_by=("drop",), root_connects=frozenset({V4, V6})), FINE
    ),
    "the kernel forbids it over IPv4": evidence(responder(v4=Outcome.NOT_PERMITTED, v6=Outcome.OK), FINE),
    "an old address": evidence(
        one(T, public=PublicAddresses(V4_TOO, V4_TOO, "the name server 192.0.2.53")), FINE
    ),
    "an old address where somebody else answers": evidence(
        one(Outcome.HTML, public=PublicAddresses(V4_TOO, V4_TOO[:1], "a cache")), FINE
    ),
    "only IPv6 fails, everywhere": evidence(*(responder(name, Outcome.OK, T) for name in ("alpha", "beta"))),
    "only IPv6 fails, here": evidence(responder(v4=Outcome.OK, v6=T), FINE),
    "only IPv6 is silent, everywhere": evidence(
        *(responder(name, Outcome.OK, S) for name in ("alpha", "beta"))
    ),
    "only IPv6 is silent, here": evidence(responder(v4=Outcome.OK, v6=S), FINE),
    "no route of ours": evidence(at_v4(Outcome.NO_ROUTE, route=False), FINE),
    "no route beyond": evidence(one(Outcome.NO_ROUTE), FINE),
    "dropped here, works elsewhere": evidence(one(T, elsewhere=(SILENT, WORKS)), FINE),
    "dropped here and elsewhere": evidence(one(T, elsewhere=(FAILS,)), FINE),
    "dropped, the page reports an outage": evidence(one(T), FINE, authorities=(OUTAGE,)),
    "dropped, its operator's page reports trouble": evidence(
        one(T, operator="Beta"), FINE, authorities=(replace(OUTAGE, name="Beta", level=Level.DEGRADED),)
    ),
    "dropped, one of several": evidence(one(T), FINE),
    "refused, one of several": evidence(one(R), FINE),
    "dropped, of all": both(T),
    "dropped, of all of one operator": evidence(
        one(T, operator="Sisters"), responder("beta", T, operator="Sisters"), FINE
    ),
    "dropped at one of four addresses": evidence(
        found(
            one(),
            addresses=(
                address(V4, T),
                *(address(text, Outcome.OK) for text in V4_TOO),
                address(V6, Outcome.OK),
            ),
        ),
        FINE,
    ),
    "silent, one of several": evidence(one(S), FINE),
    "silent, of all": both(S),
    "silent, the page reports no trouble": evidence(one(S), FINE, authorities=(GREEN,)),
    "silent behind a whole answer": evidence(at_v4(S, verdict=Verdict.GOOD), FINE),
    "old answers of all, dates that say so": evidence(
        at_v4(Outcome.STALE, clock_ahead=HOURS), at_v4(Outcome.STALE, "beta", clock_ahead=HOURS)
    ),
    "old answers of all": both(Outcome.STALE),
    "answers of all from the future": both(Outcome.NOT_YET_VALID),
    "an old answer, a date that says so": evidence(at_v4(Outcome.STALE, clock_ahead=HOURS)),
    "an old answer": evidence(one(Outcome.STALE, serial="0A"), FINE),
    "a revocation": evidence(one(Outcome.REVOKED, serial="0A"), FINE),
    "a revocation of one of many": evidence(one(Outcome.REVOKED), FINE),
    "a web page": evidence(one(Outcome.HTML), FINE),
    "a web page, works elsewhere": evidence(one(Outcome.HTML, elsewhere=(WORKS,)), FINE),
    "a web page, everywhere": evidence(one(Outcome.HTML, elsewhere=(FAILS,)), FINE),
    "no HTTP of all": both(Outcome.NOT_HTTP),
    "a redirect": evidence(one(Outcome.REDIRECT), FINE),
    "no OCSP": evidence(at_v4(Outcome.NOT_OCSP, detail="it is compressed."), FINE),
    "no OCSP of all": both(Outcome.NOT_OCSP),
    "an overload": evidence(refusing(503), FINE),
    "an overload, works elsewhere": evidence(refusing(503, elsewhere=(WORKS,)), FINE),
    "an overload, elsewhere, too": evidence(refusing(503, elsewhere=(FAILS,)), FINE, authorities=(GREEN,)),
    "an overload of all": evidence(refusing(503), refusing(503, "beta")),
    "slow, works elsewhere": evidence(one(Outcome.SLOW, elsewhere=(WORKS,)), FINE),
    "try later, works elsewhere": evidence(one(Outcome.TRY_LATER, elsewhere=(WORKS,)), FINE),
    "try later of all": both(Outcome.TRY_LATER),
    "a refusal": evidence(refusing(403), FINE),
    "a refusal, elsewhere, too": evidence(refusing(404, elsewhere=(FAILS,)), FINE),
    "a refusal, works elsewhere": evidence(refusing(403, elsewhere=(WORKS,)), FINE),
    "a refusal by all": evidence(refusing(403), refusing(403, "beta")),
    "a portal": evidence(refusing(511), FINE),
    "not asked in time": evidence(one(fault=Outcome.DEADLINE), FINE),
}


def told(made: Evidence) -> str:
    """The explanation of the first responder, as `words.txt` has it."""
    why: Explanation = explain(made.responders[0], surroundings(made))
    where = f"{', mended here' if why.local else ''}{', late' if why.late else ''}"
    lines = [
        f"{why.cause.value}, {why.confidence.value} confidence, {why.outcome.value}{where}",
        why.sentence,
        *(f"+ {each}" for each in why.reasons_for),
        *(f"- {each}" for each in why.reasons_against),
        *([f"! {why.fix}"] if why.fix else []),
    ]
    return "\n".join(lines)


def kept() -> dict[str, str]:
    sections = WORDS.read_text().split("== ")[1:]
    return {name: text.strip() for name, _, text in (each.partition("\n") for each in sections)}


def test_every_situation_has_its_words_and_no_words_are_of_none() -> None:
    assert list(kept()) == list(MADE)


@pytest.mark.parametrize("case", MADE)
def test_what_is_told_of_a_responder(case: str) -> None:
    assert told(MADE[case]) == kept()[case]
