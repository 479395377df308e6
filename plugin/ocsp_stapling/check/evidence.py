"""Evidence: everything one survey found out, as plain facts without a judgement. Times are aware."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.ca.reading import Level
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.host.routes import Ipv6Kind
from ocsp_stapling.ocsp.finding import ResponderFinding
from ocsp_stapling.server.retirement import Retirement
from ocsp_stapling.shield.standing import ShieldEvidence


class NameState(Enum):
    """What name servers say of a responder's name, beside what the probe got."""

    RESOLVES = "resolves"
    HOSTS_OVERRIDE = "hosts-override"
    PRIVATE_ANSWER = "private-answer"
    RESOLVER_AT_FAULT = "resolver-at-fault"
    """This server's name servers are silent or fail, so the fault is theirs."""
    FAILS_EVERYWHERE = "fails-everywhere"
    """Others cannot resolve it either, while all answer for other names."""
    NO_SUCH_NAME = "no-such-name"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Site:
    """A TLS virtual host with a valid certificate that names a responder, or with none."""

    name: str
    owner: str = ""
    must_staple: bool = False
    chain_complete: bool = True
    stapling: bool = True
    """Whether stapling is in force for it."""
    port: int = 443
    where: str = ""
    """Its virtual host, as `FILE:LINE`."""
    responder_timeout: int = 0
    """Seconds that Apache waits at each address of its responder, 0 if that is not known."""


@dataclass(frozen=True)
class Elsewhere:
    """The same question asked from another machine: `works` is None if nothing certain came back."""

    place: str
    url: str
    works: bool | None
    sentence: str


@dataclass(frozen=True)
class PublicAddresses:
    """The responder as public resolvers find it: the same question, asked from here at those addresses."""

    asked: tuple[str, ...]
    right: tuple[str, ...]
    """Those that answered rightly."""
    source: str
    """Who on this server's side gives the other addresses, in words."""


@dataclass(frozen=True)
class SteeringLine:
    """A directive that steers whom Apache asks, or who staples; `where` is `FILE:LINE`."""

    name: str
    value: str
    where: str
    of_site: bool = False
    """Whether it stands in a virtual host, and holds for that one alone."""


@dataclass(frozen=True)
class ResponderEvidence:
    """One responder as asked for one issuer: the probe by Apache's worker user, and what to compare it with."""

    finding: ResponderFinding
    authority: str
    issuer: str
    sites: tuple[Site, ...]
    root_connects: frozenset[str] = frozenset()
    """Addresses that failed for the worker user and to which root can connect."""
    name_state: NameState = NameState.UNKNOWN
    name_sentence: str = ""
    dead_nameservers: tuple[str, ...] = ()
    """Name servers of this server that did not answer for it."""
    blocked_by: tuple[str, ...] = ()
    """Rules of this server's own firewall that stop a connection to it, in plain words."""
    replies_blocked_by: tuple[str, ...] = ()
    """Those that let the question out and stop what comes back."""
    perhaps_blocked_by: tuple[str, ...] = ()
    """Those of which it cannot be told whether they do either; or why no rules could be read."""
    elsewhere: tuple[Elsewhere, ...] = ()
    command: str = ""
    """One shell line that asks the same from any other machine."""
    shared: bool = False
    """Whether certificates of more than one account name it."""
    expired_only: bool = False
    """Whether only expired certificates name it: Apache asks all the same, but no answer about them can be good."""
    operator: str = ""
    """Who runs it: brands of one operator fail together. "" if that is not known."""
    serial: str = ""
    """The serial number (hexadecimal) of the one certificate that this is about, "" if it is about several."""
    steering: tuple[SteeringLine, ...] = ()
    """Lines of its sites' own virtual hosts by which Apache asks it, or asks through a proxy."""
    public: PublicAddresses | None = None
    """Where its own addresses fail and public resolvers give others."""

    @property
    def url(self) -> str:
        """The OCSP URL in the certificates."""
        return self.finding.url


@dataclass(frozen=True)
class HandshakeEvidence:
    """One TLS handshake with a site of this server; `error` is "" when it completed.

    `staple` is "" if none came (or none was asked for), else the verdict on it (`good`, `revoked`, `stale` ...).
    `repeated` marks a second handshake with a site whose first one was slow.
    """

    site: str
    address: str
    port: int
    responder: str
    asked: bool
    seconds: float
    error: str = ""
    staple: str = ""
    repeated: bool = False
    key: str = ""
    """`rsa` or `ecdsa` where a client of only that kind was tried, "" for an ordinary one."""


@dataclass(frozen=True)
class AskedCertificates:
    """Of the certificates whose responder answers, how many this check asked about, each by itself."""

    named_count: int = 0
    asked_count: int = 0
    unasked_must_staple_count: int = 0


@dataclass(frozen=True)
class LogEvidence:
    """Stapling failures in Apache's error log. `last` is ISO 8601 in local time, "" if there was none."""

    last_hour: int = 0
    last_day: int = 0
    last: str = ""
    responders: Mapping[str, int] = field(default_factory=dict)
    """Failures of the last day by responder; "" for those whose lines name none."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    unreadable: str = ""
    """Why the log could not be read, or cannot tell, else ""."""
    unheard: str = ""
    """What of stapling it does not tell: a LogLevel keeps that out, or it goes elsewhere; "" if it tells all."""
    fresh_unkept: int = 0
    """Good answers of the last two minutes that the staple cache did not take (AH01945), likewise."""
    fresh_timeouts: int = 0
    """Failures of the last two minutes for which a handshake waited in vain."""
    since: Mapping[str, str] = field(default_factory=dict)
    """Since when each responder ("": lines that name none) has not answered, in one run up to now; times as `last`.

    Of logs that nobody but root can write.
    """


@dataclass(frozen=True)
class AuthorityEvidence:
    """What a certificate authority says of itself."""

    name: str
    level: Level
    sentence: str
    url: str = ""
    incidents: tuple[str, ...] = ()
    ocsp_ended: str = ""


@dataclass(frozen=True)
class OwnSwitch:
    """A site's own `SSLUseStapling`; with `userdata` it stands in an include that the plugin can follow."""

    site: str
    where: str
    userdata: bool


@dataclass(frozen=True)
class ConfigurationEvidence:
    """Whether stapling is on at server level and who decided it. `where` is `FILE:LINE` or ""."""

    on: bool | None = True
    origin: Origin = Origin.TEMPLATE
    where: str = ""
    line: str = ""
    still_on: tuple[str, ...] = ()
    """Sites whose own `SSLUseStapling On` survives an Off at server level."""
    off_since: datetime | None = None
    off_by: str = ""
    reason: str = ""
    findings: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    """Every line at server level that takes part, as `FILE:LINE: TEXT`, in the order httpd reads them."""
    force_url: SteeringLine | None = None
    """SSLStaplingForceURL: every question goes there, whatever the certificates name."""
    proxy: SteeringLine | None = None
    """SSLOCSPProxyURL: every question goes through it."""
    no_patience: SteeringLine | None = None
    """An SSLStaplingResponderTimeout of 0 seconds."""
    own_on: tuple[OwnSwitch, ...] = ()
    """Sites that turn stapling on by a line of their own, whatever the server level says."""
    own_off: tuple[OwnSwitch, ...] = ()
    """Sites that would staple, and turn it off likewise."""
    refused: str = ""
    """httpd's own words if it does not accept its configuration as the files are now."""
    refused_at: str = ""
    """The place that they name, in words."""
    has_cache: bool = True
    """Whether an SSLStaplingCache is in force; stapling without one ends Apache at its next start (AH01958)."""
    cache: SteeringLine | None = None
    """Its line."""
    cache_places: int | None = None
    """How many staples the cache holds; None if that cannot be told from its line."""
    stapled_certificates: int = 0
    """How many different certificates Apache asks about and keeps staples of."""
    error_seconds: int = 60
    """How long Apache keeps a failed answer."""
    max_age: SteeringLine | None = None
    """SSLStaplingResponseMaxAge: a right answer that is older (in seconds) is none for Apache."""
    md_stapling: SteeringLine | None = None
    """MDStapling: mod_md staples, and SSLUseStapling decides nothing."""


@dataclass(frozen=True)
class HostEvidence:
    """This server: who owns the port that visitors reach, whether Apache runs, IPv6, load."""

    front: Server = Server.HTTPD
    front_sentence: str = ""
    apache_running: bool | None = True
    ipv6: Ipv6Kind = Ipv6Kind.WORKING
    ipv6_sentence: str = ""
    load_normal: bool = True
    load_sentence: str = ""
    hostname: str = ""
    worker_user: str = ""
    selinux_denies: bool = False
    """Whether SELinux keeps Apache, and not our probe, from connecting anywhere."""
    tracking_full: str = ""
    """That the kernel's table of connections has no room left, in words; "" if it has."""
    traces: Mapping[str, str] = field(default_factory=dict)
    """Route trace by address, as the tracer printed it."""


OTHER_SITE = "another site"
"""What stands for the name of a site that a viewer may not see, with a number behind it."""


def is_other(name: str) -> bool:
    """Say whether a name stands for a site that may not be named."""
    return name.startswith(OTHER_SITE)


class Unseen(Enum):
    """What is at fault beyond the part of the evidence that a viewer may see."""

    NOTHING = "nothing"
    OTHERS_RESPONDER = "others-responder"
    """A responder that only other customers' certificates name keeps handshakes waiting, or stapling off."""
    CACHE = "cache"
    """Apache's staple cache is too small for this server's certificates."""


@dataclass(frozen=True)
class Evidence:
    """Everything one survey gathered. `problems` are parts that could not be gathered, in plain words."""

    taken_at: datetime
    seconds: float
    names: tuple[str, ...] = ()
    """All TLS virtual hosts that Apache serves."""
    responders: tuple[ResponderEvidence, ...] = ()
    stapling: tuple[Site, ...] = ()
    """Sites that staple: while a responder keeps Apache waiting, all of them wait in one queue."""
    incomplete_chains: tuple[Site, ...] = ()
    """Sites that Apache cannot staple because the issuer is missing from their chain."""
    never_stapled: tuple[Site, ...] = ()
    """Sites whose certificate demands a staple and names no responder: its authority has ended OCSP."""
    strict_off: tuple[Site, ...] = ()
    """Sites whose certificate demands a staple while a line of their own (`where`) turns stapling off."""
    turned_off: tuple[ResponderEvidence, ...] = ()
    """What Apache would ask for the sites that a line of their own turns off; now it asks none of them."""
    unreadable: tuple[Site, ...] = ()
    """Sites with a certificate that could not be read; Apache may read it, and ask a responder that nobody knows."""
    unasked: tuple[Site, ...] = ()
    """Sites whose responders were not asked, because their account's certificates name so many of them."""
    handshakes: tuple[HandshakeEvidence, ...] = ()
    led_elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """While handshakes wait: of the sites met, those whose name leads to other addresses than this server's."""
    apache_asks: Mapping[str, float] = field(default_factory=dict)
    """Where Apache was seen to ask while handshakes waited (ADDRESS:PORT), each with its share of the looks."""
    log: LogEvidence = LogEvidence()
    authorities: tuple[AuthorityEvidence, ...] = ()
    configuration: ConfigurationEvidence = ConfigurationEvidence()
    host: HostEvidence = HostEvidence()
    shield: ShieldEvidence | None = None
    """None: the shield is not on."""
    shield_offered: bool = False
    """Whether it can be turned on here, and is what the operator wants first in an outage."""
    unseen: Unseen | None = None
    """None: nothing was left out of this evidence."""
    asked: AskedCertificates = AskedCertificates()
    retirement: Retirement = field(default_factory=Retirement)
    """How many certificates name a responder, and until when."""
    problems: tuple[str, ...] = ()

    @property
    def site_count(self) -> int:
        """How many TLS virtual hosts Apache serves; of evidence that 0.1.0 kept, which has no names: at least."""
        return len(self.names) or len(self.stapling)
