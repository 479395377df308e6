"""The verdict, word for word: cause, severity, what to do now and then, whom it concerns and what speaks for it.

`verdicts.txt` holds the texts as an administrator reads them. Whoever changes a word on purpose changes it there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.diagnosis import Action, diagnose
from ocsp_stapling.check.evidence import (
    AskedCertificates,
    AuthorityEvidence,
    ConfigurationEvidence,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    OwnSwitch,
    ResponderEvidence,
    Site,
    SteeringLine,
)
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.ocsp.guard import ITS_OWN, NO_HOST
from ocsp_stapling.shield.standing import ShieldEvidence
from ocsp_stapling.text import when
from tests.unit.check.diagnosis.made import (
    NOW,
    V4,
    V6,
    address,
    at_port,
    evidence,
    meeting,
    responder,
    stalled,
    unstapled,
)

WORDS = Path(__file__).with_name("verdicts.txt")
FINE = responder("zeta")
SILENT, REFUSED = Outcome.REPLY_TIMEOUT, Outcome.REFUSED
LATER = responder(v4=Outcome.TRY_LATER)
OWN_SITES = tuple(
    Site(f"his{number}.example", owner="anna", where=f"/x.conf:{number}") for number in range(4)
)


AGED = responder("zeta", v4=address(V4, Outcome.OK, this_update=NOW - timedelta(hours=9)))
STRICT_OFF = (Site("gamma0.example", must_staple=True, stapling=False, where="/x.conf:4"),)


def theirs(of: ResponderEvidence, count: int = 1) -> ResponderEvidence:
    return replace(of, sites=OWN_SITES[:count])


def met(*responders: ResponderEvidence, **asked: Any) -> tuple[HandshakeEvidence, ...]:
    return tuple(each for one in responders for each in meeting(one, **asked))


def beside(bad: ResponderEvidence, **more: Any) -> Evidence:
    """A stall by one responder, while another answers; who asks for no staple is served at once."""
    waits = met(bad, seconds=3.5, error="timeout", staple="")
    return evidence(bad, FINE, handshakes=(*waits, *met(FINE)), **more)


def of_several(*outcomes: Outcome) -> list[ResponderEvidence]:
    """A responder that answers so about single certificates, and rightly about all others."""
    one = responder("zeta")
    singles = [
        replace(responder("zeta", v4=outcome, serial=f"A{n}"), sites=(Site(f"bad{n}.example"),))
        for n, outcome in enumerate(outcomes)
    ]
    return [one, *singles]


def nowhere(url: str, detail: str) -> ResponderEvidence:
    one = responder(fault=Outcome.URL_UNUSABLE)
    return replace(one, finding=replace(one.finding, url=url, host="", port=None, detail=detail))


def front(server: Server, made: Evidence, words: str = "it holds port 443", **facts: Any) -> Evidence:
    return replace(made, host=HostEvidence(front=server, front_sentence=words, **facts))


def set_to(made: Evidence, **facts: Any) -> Evidence:
    return replace(made, configuration=ConfigurationEvidence(**facts))


def no_one(made: Evidence, **asked: Any) -> Evidence:
    """Every handshake fares as told, whether it asks for a staple or not."""
    return replace(made, handshakes=tuple(replace(each, **asked) for each in made.handshakes))


BAD = responder(v4=SILENT)
STRICT = responder(v4=SILENT, must_staple=True)
LATE = address(V4, Outcome.OK, tcp_ms=1.0, http_ms=1500.0)
EVERYTHING = SteeringLine("SSLStaplingForceURL", FINE.url, "/x.conf:7")
OFF = {"on": False, "origin": Origin.PLUGIN, "off_by": "root", "off_since": NOW}
ONCE = replace(
    meeting(FINE)[1], site="alpha0.example", responder=BAD.url, seconds=0.01, staple="good", repeated=True
)
MADE: dict[str, Evidence] = {
    # one responder or several
    "all is well": evidence(FINE),
    "all is well, and the authority's page says so": evidence(
        FINE, authorities=(AuthorityEvidence("Zeta", Level.OPERATIONAL, "its page reports no trouble."),)
    ),
    "all is well again": evidence(FINE, log=LogEvidence(last_day=3), handshakes=met(FINE)),
    "the relay is down": evidence(FINE, handshakes=met(FINE), shield=ShieldEvidence(False, 118, 120)),
    "the shield lacks an answer that must be stapled": evidence(
        FINE, handshakes=met(FINE), shield=ShieldEvidence(True, 119, 120, ("must.example",))
    ),
    "the shield holds a revocation": evidence(
        FINE, handshakes=met(FINE), shield=ShieldEvidence(True, 120, 120, revoked=("r.example",))
    ),
    "a stall": stalled(BAD),
    "a stall while another answers": beside(BAD),
    "a stall, and a Must-Staple site of the one that answers": stalled(
        BAD, responder("zeta", must_staple=True)
    ),
    "a stall, and one must staple that has its staple still": evidence(
        STRICT, FINE, handshakes=(*met(STRICT), *met(FINE, seconds=3.5, error="timeout", staple=""))
    ),
    "a stall, and some names lead to a proxy elsewhere": stalled(
        BAD, led_elsewhere={"alpha0.example": ("192.0.2.7", "192.0.2.8")}
    ),
    "times of the only authority seem wrong": unstapled(responder(v4=Outcome.NOT_YET_VALID)),
    "a stall by two": stalled(BAD, responder("beta", SILENT)),
    "a stall by one, another refuses": stalled(BAD, responder("beta", REFUSED)),
    "a stall, Must-Staple": stalled(STRICT),
    "a stall by one customer": beside(theirs(BAD)),
    "a stall by one customer's many sites": beside(theirs(BAD, 4)),
    "a stall behind another program": front(Server.OTHER, stalled(BAD), "HAProxy holds port 443."),
    "a stall, the load is high": stalled(
        BAD, host=HostEvidence(load_normal=False, load_sentence="the load is high")
    ),
    "sites are turned away": evidence(
        BAD, FINE, handshakes=(*met(BAD, error="tls: handshake failure", staple=""), *met(FINE))
    ),
    "a URL that turns its own sites away": evidence(
        theirs(responder(fault=Outcome.URL_UNUSABLE)),
        FINE,
        handshakes=(
            *met(theirs(responder(fault=Outcome.URL_UNUSABLE)), error="tls: internal error", staple=""),
            *met(FINE),
        ),
    ),
    "only the first visitor waits": evidence(
        responder(v4=REFUSED),
        handshakes=(*met(responder(v4=REFUSED, sites=1), seconds=1.5, staple="good"), ONCE),
    ),
    "an error is handed on": evidence(
        responder(v4=Outcome.TRY_LATER),
        handshakes=met(responder(v4=Outcome.TRY_LATER), staple="try-later"),
    ),
    "the first address is silent, the second answers": stalled(
        responder(v6=address(V6, Outcome.CONNECT_TIMEOUT), v4=address(V4, Outcome.OK)), FINE
    ),
    "the first address takes the connection and is silent": stalled(
        responder(v6=address(V6, SILENT), v4=address(V4, Outcome.OK)), FINE
    ),
    "an error is handed on by one of its sites": evidence(
        LATER,
        FINE,
        handshakes=(
            *met(LATER, staple="try-later"),
            *met(replace(LATER, sites=LATER.sites[1:]), staple=""),
            *met(FINE),
        ),
    ),
    "one customer's error is handed on": evidence(
        theirs(responder(v4=Outcome.TRY_LATER)),
        FINE,
        handshakes=met(responder(v4=Outcome.TRY_LATER), staple="try-later"),
    ),
    "an unknown certificate is stapled": evidence(
        responder(v4=Outcome.UNKNOWN), FINE, handshakes=met(responder(v4=Outcome.UNKNOWN), staple="unknown")
    ),
    "one customer's unknown certificate is stapled": evidence(
        theirs(responder(v4=Outcome.UNKNOWN)),
        FINE,
        handshakes=met(responder(v4=Outcome.UNKNOWN), staple="unknown"),
    ),
    "old staples": evidence(BAD, handshakes=met(BAD)),
    "the first address works": evidence(
        responder(v4=address(V4, SILENT), v6=address(V6, Outcome.OK)),
        handshakes=met(responder(v4=address(V4, SILENT), v6=address(V6, Outcome.OK))),
    ),
    "a revocation": unstapled(responder(v4=Outcome.REVOKED), FINE),
    "two certificates of many revoked": evidence(*of_several(Outcome.REVOKED, Outcome.REVOKED)),
    "five certificates of many revoked": evidence(*of_several(*[Outcome.REVOKED] * 5)),
    "one certificate of many revoked, another unknown": evidence(
        *of_several(Outcome.REVOKED, Outcome.UNKNOWN)
    ),
    "one certificate of many revoked, and one of another authority": evidence(
        *of_several(Outcome.REVOKED),
        replace(responder(v4=Outcome.REVOKED, serial="B0"), sites=(Site("b.example"),)),
    ),
    "one certificate of many unknown": evidence(*of_several(Outcome.UNKNOWN)),
    "nobody was met": evidence(responder(v4=REFUSED), handshakes=()),
    "no staples": unstapled(responder(v4=REFUSED), FINE),
    "quick with staples": evidence(responder(v4=REFUSED), FINE),
    "slow answers": evidence(responder(v4=address(V4, Outcome.OK, http_ms=1600.0))),
    # beside the verdict
    "a page that reports what we do not see": evidence(
        FINE, authorities=(AuthorityEvidence("Zeta", Level.OUTAGE, "its page reports an outage."),)
    ),
    "a broken chain beside": unstapled(responder(v4=REFUSED), incomplete_chains=(Site("chain.example"),)),
    "failures in the log": evidence(
        responder(v4=address(V4, Outcome.OK, http_ms=1600.0)), log=LogEvidence(last_hour=1, last_day=2000)
    ),
    "not each certificate was asked about": evidence(FINE, asked=AskedCertificates(2000, 81, 2)),
    "a part could not be gathered": evidence(FINE, problems=("The load could not be read.",)),
    # not Apache, not running, not accepted
    "nobody serves": front(
        Server.NOBODY, no_one(evidence(FINE), error="refused", staple=""), apache_running=False
    ),
    "nobody serves, for httpd refuses a line about stapling": set_to(
        front(Server.NOBODY, no_one(evidence(FINE), error="refused", staple=""), apache_running=False),
        refused="SSLStaplingCache: size has to be >= 8192 bytes.",
        refused_at="/x.conf line 6",
    ),
    "another program serves": front(
        Server.OTHER, no_one(evidence(FINE), error="refused"), apache_running=False
    ),
    "everybody is turned away": no_one(evidence(FINE), error="reset", staple=""),
    "everybody is turned away with an alert": no_one(
        evidence(FINE), error="tls: handshake failure", staple=""
    ),
    "nobody has the port, and Apache serves at its own": front(Server.NOBODY, evidence(FINE)),
    "it died of stapling": set_to(
        front(Server.NOBODY, no_one(evidence(FINE), error="refused"), apache_running=False), has_cache=False
    ),
    "it died of stapling, of a site's own line": set_to(
        front(Server.NOBODY, no_one(evidence(FINE), error="refused"), apache_running=False),
        has_cache=False,
        on=False,
        own_on=(OwnSwitch("own.example", "/x.conf:9", True), OwnSwitch("hand.example", "/y.conf:2", False)),
    ),
    "its cache could not be made": replace(
        front(Server.NOBODY, no_one(evidence(FINE), error="refused"), apache_running=False),
        log=LogEvidence(kinds={"startup-fatal-no-cache": 1}),
        configuration=ConfigurationEvidence(
            cache=SteeringLine("SSLStaplingCache", "shmcb:/no/such", "/x.conf:3")
        ),
    ),
    "its next restart would be its end": set_to(evidence(FINE), has_cache=False),
    "its next restart would be its end, for one site's line": set_to(
        evidence(FINE), has_cache=False, on=None, own_on=(OwnSwitch("own.example", "/x.conf:9", True),)
    ),
    "its next restart would be its end, in a stall": set_to(beside(BAD), has_cache=False),
    "the configuration is refused": set_to(
        evidence(FINE), refused="bad  line\n", refused_at="/x.conf line 6"
    ),
    "the configuration is refused in a stall": set_to(stalled(BAD), refused="bad line"),
    "handshakes are broken off": evidence(
        responder(fault=Outcome.URL_UNUSABLE), handshakes=met(FINE, error="reset", staple="")
    ),
    "a site that must staple does not": evidence(
        FINE, strict_off=STRICT_OFF, turned_off=(responder("gamma"),)
    ),
    "a site that must staple does not, and its responder hangs": evidence(
        FINE, strict_off=STRICT_OFF, turned_off=(responder("gamma", v4=SILENT),)
    ),
    "a site that must staple does not, and its responder refuses": evidence(
        FINE, strict_off=STRICT_OFF, turned_off=(responder("gamma", v4=REFUSED),)
    ),
    "a site that must staple does not, and there is no other": evidence(
        strict_off=STRICT_OFF, turned_off=(responder("gamma", v4=SILENT),)
    ),
    "it answers again, and Apache keeps its error": evidence(
        FINE,
        handshakes=tuple(meeting(FINE, staple="try-later")),
        configuration=ConfigurationEvidence(error_seconds=1800),
    ),
    "no staple comes for no reason": evidence(FINE, handshakes=tuple(meeting(FINE, staple=""))),
    "no staple comes, for answers are too old": evidence(
        AGED,
        handshakes=tuple(meeting(FINE, staple="")),
        configuration=ConfigurationEvidence(
            max_age=SteeringLine("SSLStaplingResponseMaxAge", "3600", "/x.conf:5")
        ),
    ),
    "no staple comes, though answers are young enough": evidence(
        AGED,
        handshakes=tuple(meeting(FINE, staple="")),
        configuration=ConfigurationEvidence(
            max_age=SteeringLine("SSLStaplingResponseMaxAge", "36000", "/x.conf:5")
        ),
    ),
    "a site that must staple does not on two ports": evidence(
        FINE,
        strict_off=tuple(replace(STRICT_OFF[0], name=f"gamma0.example:{port}") for port in (443, 2083)),
        turned_off=(
            replace(responder("gamma"), sites=(Site("gamma0.example:443"), Site("gamma0.example:2083"))),
        ),
    ),
    "many sites that must staple do not": evidence(
        FINE,
        strict_off=tuple(
            replace(STRICT_OFF[0], name=f"gamma{n}.example", where=f"/x.conf:{n}") for n in range(5)
        ),
        turned_off=(responder("gamma", sites=5),),
    ),
    "a site that must staple does not, and nobody knows": evidence(FINE, strict_off=STRICT_OFF),
    "each site is off by a line of its own": evidence(
        turned_off=(responder("gamma", sites=2),),
        configuration=ConfigurationEvidence(
            own_off=(
                *(OwnSwitch(f"gamma{n}.example", "/userdata/a.conf:2", True) for n in range(2)),
                *(OwnSwitch(f"beta{n}.example", f"/userdata/b{n}.conf:1", True) for n in range(5)),
            )
        ),
    ),
    "a site that must staple does not, beside a stall": replace(
        beside(BAD), strict_off=STRICT_OFF, turned_off=(responder("gamma"),)
    ),
    "nginx in front": front(Server.NGINX, evidence(FINE)),
    "nginx in front of an Apache that does not run": front(
        Server.NGINX, evidence(FINE), apache_running=False
    ),
    "nginx in front, slow": front(Server.NGINX, stalled(FINE)),
    "nginx in front, slow for all": front(Server.NGINX, no_one(stalled(FINE), seconds=3.5, error="timeout")),
    "nginx passes on": front(Server.NGINX, stalled(BAD)),
    "LiteSpeed in front": front(Server.LITESPEED, evidence(FINE)),
    "LiteSpeed in front, slow": front(Server.LITESPEED, stalled(FINE)),
    "OpenLiteSpeed in front": front(Server.OPENLITESPEED, evidence(FINE)),
    "another program in front": front(Server.OTHER, evidence(FINE)),
    "another program has Apache's port": front(
        Server.OTHER, no_one(stalled(FINE), seconds=3.5, error="timeout"), apache_running=False
    ),
    "mod_md staples": set_to(evidence(FINE), md_stapling=SteeringLine("MDStapling", "on", "/md.conf:1")),
    "mod_md staples, slow": set_to(stalled(FINE), md_stapling=SteeringLine("MDStapling", "on", "/md.conf:1")),
    # nothing to staple, never a staple, not readable, not asked
    "no responder": evidence(),
    "no responder but of expired certificates": evidence(
        responder(v4=REFUSED, expired_only=True), handshakes=()
    ),
    "no site": replace(evidence(), names=()),
    "no responder, slow": replace(evidence(), handshakes=met(FINE, seconds=2.0, staple="")),
    "no staple, as must be": unstapled(responder(v4=Outcome.HTTP_ERROR, must_staple=True), FINE),
    "no staple by a time-out of nothing": set_to(
        unstapled(FINE), no_patience=SteeringLine("SSLStaplingResponderTimeout", "0", "/x.conf:2")
    ),
    "a forced URL that answers rightly for others": evidence(
        *(replace(one, steering=(EVERYTHING,)) for one in of_several(Outcome.UNAUTHORIZED)),
        handshakes=met(FINE),
        configuration=ConfigurationEvidence(force_url=EVERYTHING),
    ),
    "a forced URL that tells of a revocation": evidence(
        *(replace(one, steering=(EVERYTHING,)) for one in of_several(Outcome.REVOKED)), handshakes=met(FINE)
    ),
    "a URL of this server's own": unstapled(
        responder(v4=address(V4, Outcome.ADDRESS_FORBIDDEN, detail=ITS_OWN), sites=1), FINE
    ),
    "one certificate that its authority does not know": evidence(
        *(one_unknown := of_several(Outcome.UNKNOWN)),
        handshakes=(*met(FINE), *met(one_unknown[1], staple="unknown")),
    ),
    "two that are slow": evidence(
        *(two := (responder("a", v4=LATE, sites=1), responder("b", v4=LATE, sites=1))), handshakes=met(*two)
    ),
    "a URL without a host": unstapled(nowhere("http://", NO_HOST), FINE),
    "a URL of another kind": unstapled(nowhere("ldap://x.example/", "Apache can ask over http only"), FINE),
    "another port": unstapled(at_port(responder(v4=REFUSED), 8080), FINE),
    "never a staple": evidence(never_stapled=(Site("strict.example", must_staple=True),)),
    "never a staple beside a fault": unstapled(
        responder(v4=REFUSED), never_stapled=(Site("strict.example"),)
    ),
    "unreadable": evidence(FINE, unreadable=(Site("odd.example"),)),
    "not all asked": evidence(FINE, unasked=(Site("many.example", owner="anna"), Site("too.example"))),
    "not all asked, of nobody": evidence(FINE, unasked=(Site("many.example"),), handshakes=()),
    # off
    "off": set_to(unstapled(FINE), **OFF),
    "off, not all asked": replace(
        set_to(unstapled(FINE), **OFF), unasked=(Site("many.example", owner="anna"),)
    ),
    "off, and it still fails": set_to(unstapled(BAD, FINE), **OFF),
    "off, and two still fail": set_to(
        unstapled(BAD, responder("gamma", Outcome.CONNECT_TIMEOUT), FINE), **OFF
    ),
    "off, and all still fail alike": set_to(unstapled(BAD, responder("gamma", SILENT)), **OFF),
    "off, and a customer's still fails": set_to(unstapled(theirs(BAD), FINE), **OFF),
    "off, slow": set_to(stalled(FINE), **OFF),
    "off, slow where it is on": set_to(
        stalled(BAD), **OFF, still_on=("own.example",), own_on=(OwnSwitch("own.example", "/x.conf:9", True),)
    ),
    "off, slow where a line by hand turns it on": set_to(
        stalled(BAD), **OFF, still_on=("own.example",), own_on=(OwnSwitch("own.example", "/x.conf:9", False),)
    ),
    "off in WHM": set_to(unstapled(FINE), on=False, origin=Origin.WHM),
    "off by a template": set_to(unstapled(FINE), on=False, origin=Origin.OWN_TEMPLATE, where="/t.local:3"),
    "off by hand": set_to(unstapled(FINE), on=False, origin=Origin.HAND, where="/x.conf:3"),
    "off by an edit of httpd.conf": set_to(
        unstapled(FINE), on=False, origin=Origin.TEMPLATE, where="/h.conf:48"
    ),
    "off by nobody": set_to(unstapled(FINE), on=False, origin=Origin.DEFAULT),
}


def told(made: Evidence) -> str:
    """The verdict as `verdicts.txt` has it."""
    found = diagnose(made)
    then = f", then {found.afterwards.value}" if found.afterwards is not Action.NOTHING else ""
    whom = {
        "sites": found.sites,
        "causing": found.causing,
        "waiting": found.waiting,
        "must-staple": found.must_staple,
        "alone": (*found.alone, *([f"account {found.alone_account}"] if found.alone_account else [])),
    }
    text = "\n".join(
        [
            f"{found.cause.value}, {found.severity.value}, {found.confidence.value}: {found.action.value}{then}",
            found.sentence,
            f"> {found.advice}",
            *(f"+ {each}" for each in found.reasons_for),
            *(f"- {each}" for each in found.reasons_against),
            *(f"{name}: {', '.join(names)}" for name, names in whom.items() if names),
        ]
    )
    return text.replace(when(NOW), "2026-05-04 03:00:00 UTC")  # whatever this server's zone is


def kept() -> dict[str, str]:
    sections = WORDS.read_text().split("== ")[1:]
    return {name: text.strip() for name, _, text in (each.partition("\n") for each in sections)}


def test_every_verdict_has_its_words_and_no_words_are_of_none() -> None:
    assert list(kept()) == list(MADE)


@pytest.mark.parametrize("case", MADE)
def test_what_is_told_of_the_server(case: str) -> None:
    assert told(MADE[case]) == kept()[case]
