"""Who wrote a line that speaks of stapling or OCSP and is no message of mod_ssl's about stapling."""

from __future__ import annotations

import re
from functools import lru_cache

_ASIDE = "it fetches staples beside its visitors, and none waits for it"
_OTHER = "it is another server than Apache"
_WRITERS: tuple[tuple[str, str, bytes], ...] = (
    ("mod_md", f"Apache's mod_md's: {_ASIDE}", rb"\[md:\w+\]|\bmod_md\b|\bmd_ocsp\.c\b"),
    ("mod_gnutls", "Apache's mod_gnutls's: it takes mod_ssl's place", rb"\[gnutls:\w+\]|\bGnuTLSOCSP"),
    (
        "client certificates",
        "about OCSP for client certificates, not about stapling",
        rb"\[ssl:\w+\].{0,200}SSL Library Error(?!.*(?:asn1|status expired|status not yet valid))",
    ),
    (
        "other modules",
        "what visitors asked for, or of other modules of Apache's: nothing about stapling",
        rb"\"[A-Z]{3,8} [^\"]* HTTP/\d(?:\.\d)?\" \d{3} |\] \[(?!(?:ssl|md|gnutls|core):)\w*:[a-z]+\d?\] \[pid \d"
        rb"|\[core:\w+\] \[pid [^\]]{1,40}\] (?:\(\d+\)[^:]{1,80}: )?\[client (?!.*htaccess: )"
        # Before 2.4 a line had no module; mod_ssl's own about OCSP and certificates begin so.
        rb"|\[(?:error|warn|notice)\] \[client [^\]]{1,60}\] (?!Bad OCSP|OCSP|Certificate)[A-Z]",
    ),
    ("h2o", f"h2o's: {_ASIDE}", rb"(?<![\w.-])h2o(?![\w-]|\.\w)|\[OCSP Stapling\] "),
    ("hitch", f"hitch's: {_ASIDE}", rb"\bhitch\b|\{ocsp\} "),
    ("nghttpx", f"nghttpx's: {_ASIDE}", rb"\bnghttpx|\bshrpx_"),
    (
        "Traffic Server",
        f"Traffic Server's: {_ASIDE}",
        rb"\[\w{3} [ \d]\d \d\d:\d\d:\d\d\.\d+\] (?:\[ET_\w+ \d+\]|\{0x\w+\})? ?[A-Z]{4,7}: "
        rb"|\btraffic_server\b|\bTraffic Server\b|\bssl_callback_ocsp_stapling\b|\bDebug\(\"ssl_ocsp"
        rb"|\[ET_\w+ \d+\]|\bssl_multicert\b|\bproxy\.config\.ssl\b",
    ),
    ("stunnel", f"stunnel's: {_OTHER}", rb"(?i:\bstunnel)|\bLOG\d\[\w+\]: "),
    ("Postfix", f"Postfix's: {_OTHER}", rb"(?i:\bpostfix\b)"),
    ("Dovecot", f"Dovecot's: {_OTHER}", rb"(?i:\bdovecot\b)|\b(?:imap|pop3|submission)-login: "),
    (
        "Exim",
        f"Exim's: {_OTHER}",
        rb"(?i:\bexim4?\b)|\btls_ocsp_file\b|\bhosts_re(?:quire|quest)_ocsp\b"
        rb"|\b\w{6}-\w{6,11}-\w{2,4} (?:[HF]=|[<=>*-]{2} )",
    ),
    (
        "lighttpd",
        f"lighttpd's: {_ASIDE}",
        rb"(?i:\blighttpd\b)|\(mod_\w+\.c\.\d+\) |\bmod_openssl(?:_|\b)|\bssl\.stapling-file\b",
    ),
    (
        "HAProxy",
        f"HAProxy's: {_ASIDE}",
        rb"<OCSP-UPDATE>|(?i:haproxy)|OCSP auto-update|\bocsp-update\b|\bOCSP Certid\b",
    ),
    ("Envoy", f"Envoy's: {_OTHER}", rb"(?i:\benvoy\b)|\bocsp_staple|\]\[\d+\]\[\w+\]\[\w+\] \["),
    ("Traefik", f"Traefik's: {_OTHER}", rb"(?i:\btraefik\b)"),
    (
        "Caddy",
        f"Caddy's (or of a program with its library, certmagic): {_ASIDE}",
        rb"\"logger\": ?\"tls|(?i:\bstapling OCSP\b)|no OCSP stapling for \[|(?i:\bcaddy\b|\bcertmagic\b)"
        rb"|(?<!\(\")no OCSP server specified in certificate|\bOCSP staple file\b",
    ),
    (
        "LiteSpeed",
        f"LiteSpeed's: {_OTHER}",
        rb"\[(?:ERROR|WARN|NOTICE|INFO|DEBUG)\] (?:\[\S{1,80}\] ){0,3}\[(?:SSL|OCSP)\w*\]"
        rb"|(?i:litespeed|lshttpd|\blsws\b)",
    ),
    (
        "nginx",
        f"nginx's: {_ASIDE}",
        rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+:|(?i:nginx|openresty)|\[\w+\] \d+#\d+: |\[lua\]"
        rb"|_by_lua\b|while requesting certificate status"
        # The directives, not the variables that other servers' programs call so.
        rb"|(?<![>.!&*\w])ssl_(?:stapling(?:_(?:verify|file|responder))?|ocsp)\b(?![_:(]|[ \t]*(?:[)=&|]|!=))"
        rb"|OCSP_(?:basic_verify|response_find_status|check_validity)\(\) failed|Read OCSP response file"
        rb"|(?<!\(\")OCSP responder (?:timed out|prematurely closed|sent invalid|query failed)"
        rb"|in(?: the)? OCSP responder \"|host not found in OCSP responder"
        rb"|OCSP response not successful \(\d|in the OCSP response\b",
    ),
    (
        "NaviServer",
        f"NaviServer's: {_OTHER}",
        rb"(?i:\bnaviserver\b)|\]\[\d+\.\w+\]\[-[\w:.-]{1,60}-\] [A-Z][a-z]+: ",
    ),
    (
        "Windows",
        "Windows's (Schannel, IIS): it is another program than Apache",
        rb"(?i:\bschannel\b)|\bW3SVC\d|CRYPT_E_|CERT_TRUST_|Microsoft-Windows|\bcertutil\b|\bIIS\b|\bCAPI2\b|0x8009201[23]",
    ),
    (
        "configuration",
        "directives, or about one. What this server's configuration says: ocsp-stapling config",
        rb"(?i:\b(?:SSL(?:UseStapling|Stapling[A-Z]\w+|OCSP[A-Z]\w+)|MDStapl\w+)\b)",
    ),
    (
        "browser",
        "what a browser says",
        rb"(?i:SEC_ERROR_|MOZILLA_PKIX_)|\bSSL_ERROR_[A-Z]|NET::ERR_|\bERR_CERT",
    ),
    (
        "Java",
        "what a Java program says",
        rb"\bjavax?\.|\bcertpath: |\bsun\.security\b|CertPathValidator|\bPKIX path\b",
    ),
    (
        "openssl",
        "what the openssl command or library says",
        rb"OCSP [Rr]esponse(?: Data| Status)?:|Error querying OCSP responder|\bopenssl ocsp\b|OCSP routines"
        rb"|SSL Library Error|fetch-ocsp-response|Responder Error: |Response [Vv]erify"
        rb"|-status\b.*s_client|s_client\b.*-status",
    ),
    ("MongoDB", f"MongoDB's: {_OTHER}", rb"\"ctx\": ?\"|\b[IWEF] +[A-Z]+ +\[\w+\] "),
    ("GnuTLS", "what GnuTLS' own programs say", rb"\bgnutls-cli\b|\bocsptool\b"),
    ("Snowflake", "what a driver of Snowflake's says", rb"\bsnowflake\.connector\b|\bocsp_snowflake\b"),
    ("NATS", f"the NATS server's: {_OTHER}", rb"\A\[\d+\] \d{4}/\d\d/\d\d [\d:.]{8,15} \[[A-Z]{3}\] "),
    ("FreeRADIUS", f"FreeRADIUS's: {_OTHER}", rb"(?:\A|: )\(\d+\) (?:eap_tls: )?ocsp: "),
    ("Node.js", "what a Node.js program says", rb"\(node:\w+:\d+"),
    ("Go", "what a Go program says", rb"\bocsp: error from server: |\btls: [a-z]"),
    ("Tomcat", f"Tomcat's: {_OTHER}", rb"\borg\.apache\.(?:tomcat|catalina|coyote)\b"),
    (
        "curl",
        "what curl says",
        rb"\bcurl: \(|\A\* (?:Could not resolve host|connect to )|certificate status verification"
        rb"|(?<!\([\"'])No OCSP response received",
    ),
)  # fmt: skip
_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, _, pattern in _WRITERS}
INVENTED = "invented"
"""The text behind a number of Apache's that Apache does not write there: nobody's that is known."""
_WHOSE = {name: whose for name, whose, _ in _WRITERS} | {
    INVENTED: "not as Apache writes it: that number has another text"
}
_MOST = 2000  # bytes of a line in which its writer must show
_NAME = rb"[A-Za-z][\w./-]{1,40}"
_SYSLOG_TIME = (
    rb"(?:\A|[ \t])(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?|\d{4}-\d\d-\d\dT\S{8,30})[ \t]+"
)
_LEVEL = rb"(?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL)"
_PROGRAM = re.compile(
    rb"%(time)s[\w.:-]{1,80}[ \t]+(?:(%(name)s)(?:\[\d{1,10}\])?: |(%(name)s) (?:\d{1,10}|-) \S{1,40} [-\[])"
    rb"|\"(?:SYSLOG_IDENTIFIER|_COMM)\": ?\"(%(name)s)\""
    rb"|(?:\A%(level)s|\d\d:\d\d:\d\d,\d{3}[ :\[-]{1,3}%(level)s)[ :\]\[-]{1,3}(%(name)s)(?:[:\]]| - )"
    rb"|\d\d:\d\d:\d\d,\d{3}[ :\[-]{1,3}(%(name)s)[ :\]-]{1,3}\[?%(level)s\b"
    % {b"time": _SYSLOG_TIME, b"name": _NAME, b"level": _LEVEL}
)
"""The program in syslog's and journald's forms, and the logger in those of Python's logging."""
_NAMED = re.compile(
    rb"(?<![\w./@:-])(openvpn|strongswan|freeradius|certbot|acme\.sh|squid|tomcat|vault|prosody|ejabberd|mosquitto"
    rb"|emqx|mongod|nats-server|trustd|snowflake|wget2?|testssl|sslyze|unbound|asterisk|kamailio|rabbitmq|varnish"
    rb"|sendmail|courier)(?![\w@-]|\.\w)",
    re.IGNORECASE,
)
"""Programs that do TLS and say somewhere in a line who they are."""
_NUMBERED = re.compile(rb"\bAH\d{5}\b")
"""Apache's own; what is said beside it is about Apache, whatever it is called."""
_HOST = re.compile(
    rb"(%b)[\w.:-]{0,79}[\w.-](?=[ \t]+%b(?:(?:\[\d{1,10}\])?: | (?:\d{1,10}|-) ))" % (_SYSLOG_TIME, _NAME)
    + rb"|\"(?:host|hostname|_HOSTNAME)\": ?\"[^\"]{0,200}\""
)
"""A server may be called as a program is; its name says nothing of who wrote the line."""


def writer_of(*lines: bytes) -> str | None:
    """Return who wrote a line (given with and without what stood around it), None if that is nobody known."""
    return min((_shown(line[:_MOST]) for line in lines), key=lambda one: one[0])[1]


@lru_cache(maxsize=16)  # of a page in one line every piece asks again who wrote it
def _shown(line: bytes) -> tuple[int, str | None]:
    """Return who shows in a line, and how much before all others this one counts."""
    hostless = _HOST.sub(rb"\1", line)
    for place, (name, pattern) in enumerate(_PATTERNS.items()):
        if pattern.search(hostless) and not (name == "nginx" and _NUMBERED.search(hostless)):
            return place, name
    found = _PROGRAM.search(line) or _NAMED.search(hostless)
    program = next((one for one in found.groups() if one), b"") if found else b""
    own = not program or re.search(rb"httpd|apache", program, re.IGNORECASE)
    return len(_PATTERNS) + bool(own), None if own else program.decode("ascii")


def sentence_of(writer: str, count: int, of: int) -> str:
    """Return what to say of so many lines of a writer's, of those that are not understood."""
    who = "Some of them are" if count < of else "It is" if of == 1 else "They are"
    return f"{who} {_WHOSE.get(writer, f'of {writer}, another program than Apache')}."
