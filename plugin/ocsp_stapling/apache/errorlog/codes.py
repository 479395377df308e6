"""What Apache 2.4 says about stapling in its error log: message number and text -> a closed set of kinds.

The texts are the message formats of modules/ssl/ssl_util_stapling.c, ssl_util_ocsp.c, ssl_engine_init.c,
ssl_scache.c and modules/md/mod_md_ocsp.c. A number alone proves nothing: invented texts circulate under real
numbers, so a line counts only if number and text agree.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from typing import NamedTuple


class Kind(StrEnum):
    """What a line says. Closed: programs that read `log --json` depend on these words."""

    UNREACHABLE = "responder-unreachable"
    TIMEOUT = "responder-timeout"
    DNS = "responder-dns-failure"
    BAD_RESPONSE = "responder-bad-response"
    BAD_URI = "responder-bad-uri"
    SUMMARY = "responder-error"
    INVALID = "response-invalid"
    CERT_STATUS = "cert-status-not-good"
    NO_ISSUER = "init-no-issuer"
    NO_URI = "init-no-ocsp-uri"
    NOT_CONFIGURED = "init-cert-not-configured"
    ABORTED = "handshake-aborted"
    NO_CACHE = "startup-fatal-no-cache"
    LOCK = "stapling-lock-failed"
    OK_INFO = "stapling-ok-info"


class Scope(StrEnum):
    """Whose OCSP a message is about."""

    STAPLING = "stapling"
    SHARED = "shared"  # stapling or client certificates (SSLOCSPEnable): ssl_util_ocsp.c serves both
    CLIENT = "client"  # client certificates only


class Message(NamedTuple):
    """One message: its number, its kind (None: only evidence, never shown), its scope and its formats."""

    code: str
    kind: Kind | None
    scope: Scope
    formats: tuple[str, ...]
    module: bytes = b"ssl"


# Kinds of messages that depend on the operating system's error are refined in `kind_of`.
_STAPLING: dict[str, tuple[Kind, *tuple[str, ...]]] = {
    "AH01872": (Kind.NO_CACHE, "Could not initialize stapling cache. Exiting."),
    "AH01926": (
        Kind.OK_INFO,
        "stapling_get_certinfo: stapling not supported for certificate",
        "stapling_get_cert_info: stapling not supported for certificate",
    ),
    "AH01927": (Kind.INVALID, "OCSP stapling response encode error??"),
    "AH01928": (Kind.INVALID, "OCSP stapling response too big (%u bytes)"),
    "AH01929": (Kind.INVALID, "stapling_cache_response: OCSP response session store error!"),
    "AH01930": (Kind.OK_INFO, "stapling_get_cached_response: cache miss"),
    "AH01931": (Kind.INVALID, "stapling_get_cached_response: response length invalid??"),
    "AH01932": (Kind.INVALID, "stapling_get_cached_response: response parse error??"),
    "AH01933": (Kind.OK_INFO, "stapling_get_cached_response: cache hit"),
    "AH01934": (Kind.INVALID, "stapling_check_response: Error Parsing Response!"),
    "AH01935": (Kind.INVALID, "stapling_check_response: certificate ID not present in response!"),
    "AH01936": (Kind.INVALID, "stapling_check_response: response times invalid"),
    "AH01937": (Kind.OK_INFO, "stapling_check_response: cached response expired"),
    "AH01938": (Kind.OK_INFO, "stapling_renew_response: querying responder"),
    "AH01939": (Kind.BAD_URI, "stapling_renew_response: Error parsing uri %r"),
    "AH01940": (Kind.BAD_URI, "stapling_renew_response: Unsupported uri %r"),
    "AH01941": (Kind.SUMMARY, "stapling_renew_response: responder error"),
    "AH01942": (Kind.OK_INFO, "stapling_renew_response: query response received"),
    "AH01943": (
        Kind.INVALID,
        "stapling_renew_response: error in retrieved response!",
        "stapling_renew_response: error in retreived response!",  # before 2.4.1
    ),
    # tryLater, unauthorized ...: the responder did answer, but with no status for the certificate.
    "AH01944": (Kind.BAD_RESPONSE, "stapling_renew_response: responder error %a"),
    "AH01945": (Kind.INVALID, "stapling_renew_response: error caching response!"),
    # A worker without stapling's lock goes on without it, and asks beside the others.
    "AH01946": (Kind.LOCK, "Cannot reinit ssl-stapling%s mutex with file '%s'"),
    "AH01947": (Kind.LOCK, "Cannot reinit ssl-stapling%s mutex"),
    "AH01948": (Kind.LOCK, "Failed to acquire OCSP %s lock"),
    "AH01949": (Kind.LOCK, "Failed to release OCSP %s lock"),
    "AH01950": (Kind.OK_INFO, "stapling_cb: OCSP Stapling disabled"),
    "AH01951": (Kind.OK_INFO, "stapling_cb: OCSP Stapling callback called"),
    "AH01952": (Kind.OK_INFO, "stapling_cb: retrieved cached certificate data"),
    "AH01953": (Kind.OK_INFO, "stapling_cb: retrieved cached response"),
    "AH01954": (Kind.OK_INFO, "stapling_cb: renewing cached response"),
    # Up to 2.4.12 the texts of these two were shorter; CentOS 7 still writes them.
    "AH01955": (Kind.ABORTED, "stapling_cb: fatal error renewing response", "stapling_cb: fatal error"),
    "AH01956": (Kind.OK_INFO, "stapling_cb: setting response"),
    "AH01957": (
        Kind.OK_INFO,
        "stapling_cb: no suitable response available",
        "stapling_cb: no response available",
    ),
    "AH01958": (Kind.NO_CACHE, "SSLStapling: no stapling cache available"),
    # The only kind for "does not start because of stapling"; the code tells the mutex from the cache.
    "AH01959": (Kind.NO_CACHE, "SSLStapling: cannot initialise stapling mutex"),
    "AH01960": (Kind.OK_INFO, "OCSP stapling initialized"),
    "AH02217": (Kind.NO_ISSUER, "ssl_stapling_init_cert: can't retrieve issuer certificate!%c"),
    "AH02218": (
        Kind.NO_URI,
        "ssl_stapling_init_cert: no OCSP URI in certificate and no SSLStaplingForceURL set%c",
        "ssl_stapling_init_cert: no responder URL",
    ),
    "AH02235": (Kind.NOT_CONFIGURED, "Unable to configure server certificate for stapling"),
    "AH02567": (Kind.NOT_CONFIGURED, "Unable to configure certificate %n for stapling"),
    "AH02604": (Kind.NOT_CONFIGURED, "Unable to configure certificate %n for stapling"),
    "AH02621": (Kind.BAD_URI, "stapling_renew_response: no uri for responder"),
    "AH02814": (
        Kind.NO_URI,
        "ssl_stapling_init_cert: no OCSP URI in certificate and no SSLStaplingForceURL configured for server %n",
    ),
    "AH02815": (
        Kind.NOT_CONFIGURED,
        "ssl_stapling_init_cert: can't create CertID for OCSP request%c",
    ),
    "AH02969": (
        Kind.CERT_STATUS,
        "stapling_check_response: response has certificate status %a (reason: %w) for serial number %s",
    ),
    "AH03040": (Kind.OK_INFO, "stapling_cb: success renewing response"),
    "AH03236": (
        Kind.OK_INFO,
        "stapling_cb: error checking for cached response after obtaining refresh mutex",
    ),
    "AH03237": (
        Kind.OK_INFO,
        "stapling_cb: don't need to refresh cached response after obtaining refresh mutex",
    ),
    "AH03238": (
        Kind.OK_INFO,
        "stapling_cb: still must refresh cached response after obtaining refresh mutex",
    ),
    "AH10177": (Kind.OK_INFO, "OCSP stapling added via hook"),
}
_SHARED: dict[str, tuple[Kind, *tuple[str, ...]]] = {
    "AH01972": (
        Kind.DNS,
        "could not resolve address of OCSP responder %r",
        "could not resolve address of proxy %s",
    ),
    "AH01973": (Kind.OK_INFO, "connecting to OCSP responder '%r'", "connecting to proxy '%s'"),
    "AH01974": (
        Kind.UNREACHABLE,
        "could not connect to OCSP responder '%r'",
        "could not connect to proxy '%s'",
    ),
    "AH01975": (Kind.OK_INFO, "sending request to OCSP responder"),
    "AH01976": (Kind.UNREACHABLE, "failed to send request to OCSP responder '%r'"),
    "AH01977": (Kind.BAD_RESPONSE, "failed reading line from OCSP server"),
    "AH01978": (Kind.BAD_RESPONSE, "failed reading line from OCSP server"),
    "AH01979": (Kind.BAD_RESPONSE, "response header line too long from OCSP server"),
    "AH01980": (Kind.BAD_RESPONSE, "bad response from OCSP server: %h"),
    "AH01981": (Kind.OK_INFO, "OCSP response header: %s"),
    "AH01982": (
        Kind.BAD_RESPONSE,
        "could not read response headers from OCSP server, exceeded maximum count (%u)",
    ),
    "AH01983": (Kind.BAD_RESPONSE, "could not read response header from OCSP server"),
    "AH01984": (Kind.OK_INFO, "OCSP response: got EOF"),
    "AH01985": (Kind.BAD_RESPONSE, "error reading response from OCSP server"),
    "AH01986": (Kind.BAD_RESPONSE, "OCSP response size exceeds %u byte limit"),
    "AH01987": (Kind.OK_INFO, "OCSP response: got %u bytes, %u total"),
    "AH01988": (Kind.BAD_RESPONSE, "failed to decode OCSP response data"),
    "AH01989": (Kind.BAD_RESPONSE, "could not serialize OCSP request"),
    "AH02321": (Kind.BAD_RESPONSE, "empty response from OCSP server"),
    "AH10455": (Kind.BAD_RESPONSE, "failed to write OCSP response to BIO buffer"),
}
_CLIENT = {
    "AH01918": "no OCSP responder specified in certificate and no default configured",
    "AH01919": "failed to parse OCSP responder URI '%s'",
    "AH01920": "cannot handle OCSP responder URI '%s'",
    "AH01921": "could not retrieve certificate id",
    "AH01922": "OCSP response not successful: %u",
    "AH01923": "could not retrieve OCSP basic response",
    "AH01924": "Bad OCSP responder answer (bad nonce)",
    "AH01925": "failed to verify the OCSP response",
    "AH02038": "cannot perform OCSP validation for cert if issuer has not been verified (optional_no_ca configured)",
    # What becomes of the certificate that OCSP has not found good.
    "AH02039": "Certificate Verification: Error (50): application verification failure",
    "AH02276": "Certificate Verification: Error (50): application verification failure%c",
    "AH02272": "failed to retrieve OCSP response status%c",
    "AH02273": "OCSP response outside validity period%c",
    "AH03239": "OCSP validation completed, certificate status: %s",
}
_MD = {
    "AH10268": (Kind.NOT_CONFIGURED, "init stapling for: %n, unable to parse PEM data"),
    "AH10269": (Kind.NO_ISSUER, "init stapling for: %n, need at least 2 certificates in PEM data"),
}
# server/util_mutex.c, of any mutex.
_CORE = {
    "AH00023": (Kind.NO_CACHE, "Couldn't create the ssl-stapling%s mutex%s"),
    "AH00024": (Kind.NO_CACHE, "Couldn't set permissions on the ssl-stapling%s mutex%s"),
}

# Every message above contains one of these, so a search for them finds every line worth parsing.
NEEDLES = (b"stapling", b" OCSP ", b"AH0197")

# Log viewers and pages turn straight quotes into typographic ones: UTF-8, or a single byte in Windows-1252.
_QUOTE = rb"(?:['\"`\x91-\x94]|\xe2\x80[\x98-\x9f]|\xc2\xb4)"
# The certificate mod_ssl appends. Its name is a site's where it is one word and stands there to its end.
SUBJECT = rb"[^\[\]/]{0,200}?\bCN=(?P<site>[^\s\[\],/]{1,260})(?= ?[,/\]])"
_PIECES = {
    "%u": rb"\d+",
    "%s": rb".*",
    "%w": rb"[\w() /.-]{0,60}",  # words of OpenSSL
    "%a": rb"(?P<answer>[\w() /.-]{0,60})",  # what a responder answered, in OpenSSL's words
    "%h": rb"(?P<answer>.*)",  # or in HTTP's
    "%r": rb"(?P<responder>.*?)",
    "%n": rb"(?P<site>.*?)",
    "%c": rb"(?: \[subject: (?:" + SUBJECT + rb")?.*)?",
    "'": _QUOTE,
    "can't": rb"[Cc]an" + _QUOTE + rb"t",
}


# A line whose newline got lost is followed by the next line's header; nobody but Apache chooses what stands there.
_END = rb" ?(?:\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d[.\d]* \d{4}\] \[.*)?\Z"


@cache
def pattern_of(rule: Message) -> re.Pattern[bytes]:
    """Return a pattern that matches a rule's whole message; made when first needed, since most never are."""
    return re.compile(b"|".join(_one(text) + _END for text in rule.formats), re.DOTALL)


def _one(text: str) -> bytes:
    pieces = re.split(r"(%[a-z]|can't|')", text)
    return b"".join(_PIECES.get(piece) or re.escape(piece).encode() for piece in pieces)


RULES: dict[bytes, Message] = {
    **{
        code.encode(): Message(code, kind, Scope.STAPLING, tuple(texts))
        for code, (kind, *texts) in _STAPLING.items()
    },
    **{
        code.encode(): Message(code, kind, Scope.SHARED, tuple(texts))
        for code, (kind, *texts) in _SHARED.items()
    },
    **{code.encode(): Message(code, None, Scope.CLIENT, (text,)) for code, text in _CLIENT.items()},
    **{
        code.encode(): Message(code, kind, Scope.STAPLING, (text,), module)
        for module, messages in ((b"md", _MD), (b"core", _CORE))
        for code, (kind, text) in messages.items()
    },
}

# Messages about one socket operation: the operating system's error decides between silence and refusal.
_TIMEABLE = frozenset({"AH01974", "AH01976", "AH01977", "AH01978", "AH01983", "AH01985"})
# 70007 is APR_TIMEUP ("The timeout specified has expired"), 110 Linux's ETIMEDOUT, 10060 that of Windows.
_TIMED_OUT = re.compile(
    rb"\((?:70007|110|OS 10060|730060)\)|timed out|timeout specified has expired", re.IGNORECASE
)


def kind_of(rule: Message, os_error: bytes) -> Kind | None:
    """Return the kind of a line; `os_error` is Apache's `(errno)text`, empty if the line has none."""
    if rule.code in _TIMEABLE and _TIMED_OUT.search(os_error):
        return Kind.TIMEOUT
    return rule.kind
