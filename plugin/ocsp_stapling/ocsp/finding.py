"""What a probe finds: a closed set of outcomes, each with one plain sentence, and the facts per address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from ocsp_stapling.ocsp.answer import Verdict

HTTP = 80


class Outcome(Enum):
    """How asking one responder, or one of its addresses, ended."""

    OK = "ok"
    REACHABLE = "reachable"
    URL_UNUSABLE = "url-unusable"
    DNS_FAILURE = "dns-failure"
    DNS_TIMEOUT = "dns-timeout"
    ADDRESS_FORBIDDEN = "address-forbidden"
    NO_ROUTE = "no-route"
    NO_PORT = "no-local-port"
    NOT_PERMITTED = "not-permitted"
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect-timeout"
    RESET = "reset"
    REPLY_TIMEOUT = "reply-timeout"
    SLOW = "slow"
    EMPTY_REPLY = "empty-reply"
    NOT_HTTP = "not-http"
    HTTP_ERROR = "http-error"
    REDIRECT = "redirect"
    HTML = "html"
    OVERSIZE = "oversize"
    NOT_OCSP = "not-ocsp"
    TRY_LATER = "try-later"
    UNAUTHORIZED = "unauthorized"
    OTHER_OCSP_ERROR = "other-ocsp-error"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    STALE = "stale"
    NOT_YET_VALID = "not-yet-valid"
    WRONG_CERTIFICATE = "wrong-certificate"
    OTHER_DIGEST = "other-digest"
    BAD_SIGNATURE = "bad-signature"
    WRONG_DELEGATE = "wrong-delegate"
    DEADLINE = "deadline"

    @property
    def sentence(self) -> str:
        """What happened and what it means, in one plain sentence."""
        return _SENTENCES[self]

    @property
    def word(self) -> str:
        """What happened, in one to three words."""
        return _WORDS.get(self, self.value.replace("-", " "))

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong as far as could be asked."""
        return self in (Outcome.OK, Outcome.REACHABLE)

    @classmethod
    def of(cls, verdict: Verdict) -> Outcome:
        """Return the outcome of a probe whose answer got this verdict."""
        return cls.OK if verdict is Verdict.GOOD else cls(verdict.value)


_SENTENCES = {
    Outcome.OK: "The responder answers, and its verified answer says that the certificate is good.",
    Outcome.REACHABLE: "The responder answers over HTTP; it was not asked about a certificate.",
    Outcome.URL_UNUSABLE: "The OCSP URL cannot be used: Apache can ask over plain http only.",
    Outcome.DNS_FAILURE: "The responder's name does not resolve: our DNS fails, or the name is gone.",
    Outcome.DNS_TIMEOUT: "This server's resolver does not answer; Apache waits for it without any limit.",
    Outcome.ADDRESS_FORBIDDEN: "The URL leads to an address that is not public, so it was not asked.",
    Outcome.NO_ROUTE: "This server has no route to the address: its network or the path to it is incomplete.",
    Outcome.NO_PORT: "This server has no local port left for a new connection: too many are open or just closed.",
    Outcome.NOT_PERMITTED: "This server itself forbids the connection: look at its firewall.",
    Outcome.REFUSED: "The connection is refused: nothing listens there, or a firewall rejects it.",
    Outcome.CONNECT_TIMEOUT: "The connection times out: packets are dropped, mostly by a firewall on the way.",
    Outcome.RESET: "The connection is cut off: the responder, or something on the way, breaks it.",
    Outcome.REPLY_TIMEOUT: "The responder accepts the connection, then stays silent; whoever asks waits in vain.",
    Outcome.SLOW: "The responder answers too slowly for a handshake.",
    Outcome.EMPTY_REPLY: "The responder closes the connection without an answer: it is broken or filtered.",
    Outcome.NOT_HTTP: "What answers there does not speak HTTP: it is no OCSP responder.",
    Outcome.HTTP_ERROR: "The responder answers with an HTTP error: the fault is on its side or a proxy's.",
    Outcome.REDIRECT: "The responder redirects, and Apache does not follow: a captive page or wrong URL.",
    Outcome.HTML: "A web page came back instead of an OCSP answer: something on the way intercepts it.",
    Outcome.OVERSIZE: "The answer is larger than Apache accepts (10,240 bytes).",
    Outcome.DEADLINE: "The probe's time was up before this responder had answered.",
}
_WORDS = {
    Outcome.OK: "good",
    Outcome.REACHABLE: "reachable",
    Outcome.URL_UNUSABLE: "URL unusable",
    Outcome.DNS_FAILURE: "name not resolved",
    Outcome.DNS_TIMEOUT: "DNS silent",
    Outcome.ADDRESS_FORBIDDEN: "not public",
    Outcome.NO_ROUTE: "no route",
    Outcome.NO_PORT: "no port left",
    Outcome.NOT_PERMITTED: "forbidden here",
    Outcome.CONNECT_TIMEOUT: "packets dropped",
    Outcome.RESET: "cut off",
    Outcome.REPLY_TIMEOUT: "silent",
    Outcome.EMPTY_REPLY: "empty answer",
    Outcome.NOT_HTTP: "not HTTP",
    Outcome.HTTP_ERROR: "HTTP error",
    Outcome.HTML: "web page",
    Outcome.OVERSIZE: "too large",
    Outcome.NOT_OCSP: "not OCSP",
    Outcome.OTHER_OCSP_ERROR: "OCSP error",
    Outcome.DEADLINE: "no time left",
}
_SENTENCES |= {Outcome.of(verdict): verdict.sentence for verdict in Verdict if verdict is not Verdict.GOOD}


@dataclass(frozen=True)
class AddressFinding:
    """What asking one address of a responder showed, stage by stage; None: the stage was not reached."""

    address: str
    family: str
    """`ipv4` or `ipv6`."""
    outcome: Outcome
    detail: str = ""
    """The system's own words (never the responder's), if there are any."""
    allowed_by_operator: bool = False
    """Whether it is asked only because the configuration allows its network."""
    route: bool | None = None
    source: str = ""
    """The address of ours that the route starts from."""
    icmp_ms: float | None = None
    """Evidence only: many responders answer no ping. None: no answer, or no right to ask."""
    tcp_ms: float | None = None
    failed_ms: float | None = None
    """How long it took until no connection came about; None: one did, or none was tried."""
    http_status: int | None = None
    http_ms: float | None = None
    """From sending the request to the end of the answer."""
    verdict: Verdict | None = None
    """What the verified answer says; None if none came or none was asked for."""
    apache_accepts: bool | None = None
    """Whether mod_ssl, which verifies little, would staple this answer. None: no OCSP question was asked."""
    certificate_status: str = ""
    this_update: datetime | None = None
    next_update: datetime | None = None
    clock_ahead: float | None = None
    """Seconds by which this server's clock is ahead of the `Date` that came with the reply; unsigned, so evidence."""
    answer: str = ""
    """The answer in base64, where the target asked for it to be kept."""

    @property
    def sentence(self) -> str:
        """What happened and what it means, in one plain sentence."""
        return self.outcome.sentence

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain data; times in ISO 8601 with zone."""
        found = {**vars(self), "outcome": self.outcome.value, "sentence": self.sentence}
        found["verdict"] = self.verdict.value if self.verdict else None
        for name in ("this_update", "next_update"):
            found[name] = found[name].isoformat() if found[name] else None
        if not self.answer:
            del found["answer"]
        return found


@dataclass(frozen=True)
class ResponderFinding:
    """What asking one responder showed, over all its addresses."""

    url: str
    host: str
    port: int | None
    question: bool
    """Whether a certificate was asked about, not only reachability."""
    resolve_ms: float | None
    address_count: int
    """How many addresses the name has; only the first ones of each family are asked."""
    addresses: tuple[AddressFinding, ...]
    fault: Outcome | None = None
    """What went wrong before any address could be asked."""
    detail: str = ""

    @property
    def called(self) -> str:
        """Whom Apache asks, for a sentence: the host, with its port where that is not http's own."""
        port = "" if self.port in (None, HTTP) else f":{self.port}"
        return f"{self.host}{port}" if self.host else self.url

    @property
    def outcome(self) -> Outcome:
        """The first thing that is wrong, in the order in which Apache tries the addresses; else good."""
        if self.fault is not None or not self.addresses:
            return self.fault or Outcome.DEADLINE
        outcomes = [finding.outcome for finding in self.addresses]
        return next((outcome for outcome in outcomes if not outcome.is_good), outcomes[0])

    @property
    def sentence(self) -> str:
        """What happened and what it means, in one plain sentence."""
        return self.outcome.sentence

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        found = {**vars(self), "outcome": self.outcome.value, "sentence": self.sentence}
        found["fault"] = self.fault.value if self.fault else None
        found["addresses"] = [finding.as_json() for finding in self.addresses]
        return found
