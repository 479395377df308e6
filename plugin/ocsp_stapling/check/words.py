"""Codes of a check in words for people: one vocabulary for terminal, ticket, history and mails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ocsp_stapling.check.diagnosis.handshakes import STALL_SECONDS
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.text import counted

_CAUSES = {
    "healthy": "nothing is wrong",
    "not-applicable": "no certificate in use names a responder",
    "network-block": "something on the way between this server and the responder blocks it",
    "local-firewall": "this server's own firewall forbids the connection",
    "local-limit": "this server has run out of what new connections need",
    "no-route": "this server has no route to the responder",
    "ipv6-broken": "this server's IPv6 does not work",
    "dns": "the responder's name does not resolve as it should on this server",
    "interception": "something on the way answers in the responder's place",
    "ca-outage": "the authority's responder is out of order",
    "ca-bad-answer": "the authority's responder answers wrongly",
    "certificate-revoked": "a certificate is revoked",
    "chain-incomplete": "the issuer's certificate is missing from a site's chain",
    "bad-ocsp-url": "a certificate names a responder that cannot be asked",
    "cache-too-small": "Apache's cache of staples is too small for this server's certificates",
    "cache-broken": "Apache's cache of staples does not keep them",
    "clock": "this server's clock is wrong",
    "proxy": "the proxy that Apache asks through (SSLOCSPProxyURL) does not work",
    "forced-url": "SSLStaplingForceURL sends every question to a place that does not serve",
    "no-cache": "Apache has no staple cache to start with",
    "config-broken": "Apache would not start again with its configuration",
    "not-served": "Apache does not run",
    "shield-down": "the shield's relay does not answer",
    "must-staple-without-ocsp-url": "a certificate demands a staple that nobody can give",
    "must-staple-off": "stapling is off for a certificate that demands a staple",
    "not-in-front": "another web server than Apache answers visitors",
    "mod-md": "mod_md staples in mod_ssl's place",
    "off-by-plugin": "stapling is turned off",
    "off-elsewhere": "stapling is turned off",
    "unknown": "not found out",
}
_SURE = {"high": "", "medium": " (probably)", "low": " (a guess: little evidence)"}
HARM = {
    "stalling": "visitors wait or are turned away",
    "failing": "something fails; nobody is seen to wait for a responder",
    "noise": "messages in the log; visitors notice nothing",
    "none": "visitors notice nothing",
}
DOWN = ("no-cache", "not-served")
"""The causes with which no site is served at all."""
_UNMET = {
    "failing": "something fails; whether visitors wait was not measured",
    "noise": "messages in the log; whether visitors notice anything was not measured",
}


def cause_words(cause: str) -> str:
    """Return a cause's code in words."""
    return _CAUSES.get(cause, cause.replace("-", " "))


def confidence_words(confidence: str) -> str:
    """Return how sure a verdict is, to stand behind it: nothing where it is."""
    return _SURE.get(confidence, "")


def harm_words(found: Mapping[str, Any]) -> str:
    """Return what visitors notice, of a check's document; nothing is said of them where none was met."""
    severity = str(found["severity"])
    if found["cause"] in DOWN and all(one["failure"] for one in found["handshakes"]):
        return "no site is served"
    if found["refused_sites"] and severity in ("none", "noise"):
        return f"Firefox refuses {counted(found['refused_sites'], 'site')}; other visitors notice nothing"
    if found["cause"] == "not-in-front" and _serves_nobody(found["handshakes"]):
        return "the server in front serves nobody in time, which is no matter of stapling"
    if not found["handshakes"] and severity in _UNMET:
        return _UNMET[severity]
    return HARM.get(severity, severity)


def _serves_nobody(handshakes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether everybody who was not refused waited, with and without asking for a staple."""
    met = [one for one in handshakes if one["failure"] in (None, "timeout")]
    kinds = {one["asked"] for one in met}
    return kinds == {True, False} and all(one["seconds"] >= STALL_SECONDS for one in met)


def trouble_words(code: str) -> str:
    """Return what is wrong with a responder (an outcome's code) or a server (a cause's)."""
    try:
        return Outcome(code).word
    except ValueError:
        return cause_words(code)
