"""Evidence made by hand in every state a page can show, for tests and for looking at the pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import escape
from typing import NoReturn

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    ConfigurationEvidence,
    Elsewhere,
    Evidence,
    HandshakeEvidence,
    HostEvidence,
    LogEvidence,
    ResponderEvidence,
    Site,
)
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.answer import Verdict
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import Completed
from ocsp_stapling.web.pages.sites import SiteRow

NOW = datetime.now(UTC).replace(microsecond=0)
LAUNCHED = Completed(0, "", "", False)
HOSTILE = "<script>alert(1)</script>'\"&"
_AUTHORITIES = {
    "ocsp.sectigo.com": ("Sectigo", "Sectigo RSA Domain Validation Secure Server CA", "104.18.38"),
    "ocsp.digicert.com": ("DigiCert", "GeoTrust TLS RSA CA G1", "192.229.221"),
    "ocsp.globalsign.com": ("GlobalSign", "GlobalSign GCC R6 AlphaSSL CA 2023", "104.18.20"),
}


def row(name: str) -> SiteRow:
    """One site of the list."""
    door = Door("127.0.0.1", 443, name)
    return SiteRow(name, "user", "Sectigo", "ocsp.sectigo.com", "good", "On", False, None, "", door)


def no_server(*_: object, **__: object) -> NoReturn:
    """In place of what reads the server: it is none."""
    raise Problem("no-cpanel", "This is no cPanel server.")


def escaped(text: str) -> str:
    """Text as a template writes it."""
    return escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def address(text: str, outcome: Outcome = Outcome.OK) -> AddressFinding:
    """An address that answered well, or failed in the way of `outcome`."""
    family = "ipv6" if ":" in text else "ipv4"
    if outcome is Outcome.OK:
        return AddressFinding(
            text,
            family,
            outcome,
            route=True,
            source="203.0.113.7",
            icmp_ms=8.2,
            tcp_ms=8.9,
            http_status=200,
            http_ms=21.4,
            verdict=Verdict.GOOD,
            apache_accepts=True,
            certificate_status="good",
            this_update=NOW - timedelta(hours=9),
            next_update=NOW + timedelta(days=6),
        )
    if outcome is Outcome.REPLY_TIMEOUT:
        return AddressFinding(text, family, outcome, route=True, icmp_ms=8.4, tcp_ms=9.1)
    return AddressFinding(text, family, outcome, detail="Connection timed out", route=True)


def responder(host: str, count: int = 40, outcome: Outcome = Outcome.OK) -> ResponderEvidence:
    """One responder with an IPv4 and an IPv6 address and `count` sites, one in forty of them Must-Staple."""
    authority, issuer, prefix = _AUTHORITIES.get(host, (host, f"{host} CA", "198.51.100"))
    finding = ResponderFinding(
        f"http://{host}",
        host,
        80,
        True,
        3.1,
        2,
        (address(f"{prefix}.10", outcome), address(f"2001:db8:{prefix.replace('.', ':')}::10", outcome)),
    )
    sites = tuple(
        Site(f"site{n:03}.{authority.lower()}.example", f"user{n:03}", n % 40 == 7) for n in range(count)
    )
    command = f'f=$(mktemp) && {{ curl -qsgm 8 http://{host}/MFAwTjBMMEowSDAJBgUrDgMCGgUABBQ; rm -f "$f"; }}'
    return ResponderEvidence(finding, authority, issuer, sites, command=command)


def handshakes(seconds: tuple[float, ...], staple: str = "good") -> tuple[HandshakeEvidence, ...]:
    """Handshakes that took this long while asking for a staple, and two that did not ask."""
    hosts = list(_AUTHORITIES)
    asked = [_handshake(n, hosts[n % 3], True, one, staple) for n, one in enumerate(seconds)]
    return (*asked, *(_handshake(n, hosts[n % 3], False, 0.011, "") for n in range(2)))


def _handshake(number: int, host: str, asked: bool, seconds: float, staple: str) -> HandshakeEvidence:
    name = f"site{number:03}.{_AUTHORITIES[host][0].lower()}.example"
    error = "timeout" if seconds >= 3.5 else ""
    return HandshakeEvidence(
        name,
        "203.0.113.7",
        443,
        f"http://{host}",
        asked,
        seconds,
        error,
        "" if error or seconds >= 3 else staple,
    )


def authorities(**levels: Level) -> tuple[AuthorityEvidence, ...]:
    """The three authorities, operational unless said otherwise."""
    pages = {
        "Sectigo": "sectigo.status.io",
        "DigiCert": "status.digicert.com",
        "GlobalSign": "status.globalsign.com",
    }
    return tuple(_authority(name, levels.get(name, Level.OPERATIONAL), page) for name, page in pages.items())


def _authority(name: str, level: Level, page: str) -> AuthorityEvidence:
    says = {
        Level.OPERATIONAL: "reports that everything works",
        Level.OUTAGE: "reports an outage: OCSP unavailable",
    }
    incidents = ("OCSP responders unavailable in Europe (investigating)",) if level is Level.OUTAGE else ()
    words = f"the status page of {name} {says.get(level, 'can only be read by people')}"
    return AuthorityEvidence(name, level, words, f"https://{page}", incidents)


def healthy() -> Evidence:
    """All is well."""
    responders = tuple(responder(host) for host in _AUTHORITIES)
    named = tuple(site.name for one in responders for site in one.sites)
    return Evidence(
        taken_at=NOW,
        seconds=2.4,
        names=(*named, *(f"plain{number}.example" for number in range(128 - len(named)))),
        responders=responders,
        handshakes=handshakes((0.012, 0.013, 0.015)),
        authorities=authorities(GlobalSign=Level.UNKNOWN),
        configuration=ConfigurationEvidence(
            origin=Origin.TEMPLATE, where="/etc/apache2/conf/httpd.conf:148", line="SSLUseStapling On"
        ),
        host=HostEvidence(
            front=Server.HTTPD,
            front_sentence="httpd answers on port 443",
            load_sentence="the load is normal (0.4 on 8 cores)",
            hostname="web12.example.com",
            worker_user="nobody",
        ),
    )


def stalling() -> Evidence:
    """Sectigo's responder accepts connections and stays silent; visitors wait one after the other."""
    found = healthy()
    bad = responder("ocsp.sectigo.com", outcome=Outcome.REPLY_TIMEOUT)
    return replace(
        found,
        seconds=8.0,
        responders=(bad, *found.responders[1:]),
        handshakes=handshakes((3.0, 3.5, 3.5)),
        log=LogEvidence(412, 530, "2026-11-22T08:41:07", {"ocsp.sectigo.com": 210, "": 320}, {}),
    )


def blocked() -> Evidence:
    """No packet to port 80 comes back from anywhere: the datacenter's network."""
    found = healthy()
    return replace(
        found,
        responders=tuple(responder(host, outcome=Outcome.CONNECT_TIMEOUT) for host in _AUTHORITIES),
        handshakes=handshakes((3.0, 3.5, 3.5)),
        log=LogEvidence(412, 530, "2026-11-22T08:41:07", {"ocsp.sectigo.com": 530}, {}),
    )


def failing() -> Evidence:
    """A responder refuses, the sites are quick without staples."""
    found = healthy()
    bad = responder("ocsp.digicert.com", outcome=Outcome.REFUSED)
    met = (_handshake(1, bad.finding.host, True, 0.012, ""), *handshakes(()))
    return replace(found, responders=(found.responders[0], bad, found.responders[2]), handshakes=met)


def noisy() -> Evidence:
    """Healthy now, with failures in the log."""
    return replace(healthy(), log=LogEvidence(0, 37, "2026-11-22T02:10:00", {"ocsp.digicert.com": 37}, {}))


def not_applicable() -> Evidence:
    """No certificate names a responder."""
    return replace(healthy(), responders=(), handshakes=(), authorities=())


def off_by_us(healed: bool = True) -> Evidence:
    """Switched off through the plugin; the responders answer again or not yet."""
    found = healthy() if healed else stalling()
    configuration = ConfigurationEvidence(
        on=False,
        origin=Origin.PLUGIN,
        where="/etc/apache2/conf.d/includes/pre_virtualhost_global.conf:14",
        line="SSLUseStapling Off",
        off_since=NOW - timedelta(hours=5, minutes=12),
        off_by="root (WHM)",
        reason="Sectigo's responder hangs, ticket 4711",
    )
    return _nowhere(
        replace(found, configuration=configuration, handshakes=handshakes((0.012, 0.012, 0.014), ""))
    )


def _nowhere(found: Evidence) -> Evidence:
    """The same with stapling in force for no site."""
    responders = (
        replace(one, sites=tuple(replace(site, stapling=False) for site in one.sites))
        for one in found.responders
    )
    return replace(found, responders=tuple(responders))


def off_elsewhere() -> Evidence:
    """Switched off by hand."""
    where = "/etc/apache2/conf.d/includes/pre_virtualhost_2.conf:3"
    configuration = ConfigurationEvidence(
        on=False, origin=Origin.HAND, where=where, line="SSLUseStapling off"
    )
    return _nowhere(replace(healthy(), configuration=configuration, handshakes=handshakes((0.012,), "")))


def apache_down() -> Evidence:
    """Nobody answers on port 443."""
    host = replace(
        healthy().host, front=Server.NOBODY, front_sentence="nobody answers on port 443", apache_running=False
    )
    return replace(healthy(), host=host, handshakes=())


def ca_outage() -> Evidence:
    """An authority reports an outage, and its responder is silent."""
    return replace(stalling(), authorities=authorities(Sectigo=Level.OUTAGE))


def told_elsewhere() -> Evidence:
    """Another machine gets an answer that this server does not get."""
    found = blocked()
    url = found.responders[0].url
    told = Elsewhere(
        "another machine", url, True, "From another machine: a good, verified answer after 0.1 s."
    )
    return replace(found, responders=(replace(found.responders[0], elsewhere=(told,)), *found.responders[1:]))


def hostile() -> Evidence:
    """Every text that others write holds markup."""
    found = stalling()
    one = found.responders[0]
    nasty = replace(
        one,
        authority=HOSTILE,
        issuer=HOSTILE,
        sites=(Site(f"{HOSTILE}.example", HOSTILE, True),),
        name_sentence=HOSTILE,
        blocked_by=(HOSTILE,),
        elsewhere=(Elsewhere(HOSTILE, one.url, True, HOSTILE),),
        command=HOSTILE,
        finding=replace(one.finding, url=f"http://{HOSTILE}/", host=HOSTILE, detail=HOSTILE),
    )
    said = AuthorityEvidence(HOSTILE, Level.OUTAGE, HOSTILE, f"https://{HOSTILE}/", (HOSTILE,))
    configuration = ConfigurationEvidence(
        on=True,
        origin=Origin.HAND,
        where=f"{HOSTILE}:1",
        line=HOSTILE,
        findings=(HOSTILE,),
        directives=(HOSTILE,),
    )
    met = tuple(replace(h, site=HOSTILE) for h in found.handshakes)
    return replace(
        found,
        responders=(nasty, *found.responders[1:]),
        handshakes=met,
        authorities=(said,),
        configuration=configuration,
        log=LogEvidence(1, 1, HOSTILE, {HOSTILE: 1}, {"responder-timeout": 1}, HOSTILE),
        host=replace(
            found.host, front_sentence=HOSTILE, load_sentence=HOSTILE, hostname=HOSTILE, traces={"a": HOSTILE}
        ),
        problems=(HOSTILE,),
    )


def everything() -> Mapping[str, Evidence]:
    """Every state by name."""
    return {
        "healthy": healthy(),
        "stalling": stalling(),
        "blocked": blocked(),
        "failing": failing(),
        "noisy": noisy(),
        "not-applicable": not_applicable(),
        "off-by-us": off_by_us(),
        "off-and-still-bad": off_by_us(healed=False),
        "off-elsewhere": off_elsewhere(),
        "apache-down": apache_down(),
        "ca-outage": ca_outage(),
        "told-elsewhere": told_elsewhere(),
        "hostile": hostile(),
    }
