"""Who wrote a line that speaks of stapling or OCSP and is no message of mod_ssl's about stapling."""

from __future__ import annotations

import re

_ASIDE = "it fetches staples beside its visitors, and none waits for it."
_WRITERS: tuple[tuple[str, str, re.Pattern[bytes]], ...] = (
    (
        "nginx",
        f"nginx wrote some of them: {_ASIDE}",
        re.compile(
            rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+:|nginx(?:\[\d+\])?: |\[\w+\] \d+#\d+: "
            rb"|while requesting certificate status|\bssl_stapling(?:_\w+)?\b(?![_:(])"
        ),
    ),
    (
        "HAProxy",
        f"HAProxy wrote some of them: {_ASIDE}",
        re.compile(rb"<OCSP-UPDATE>|haproxy|OCSP auto-update", re.IGNORECASE),
    ),
    (
        "LiteSpeed",
        "LiteSpeed wrote some of them: it is another server than Apache.",
        re.compile(
            rb"\[(?:ERROR|WARN|NOTICE|INFO|DEBUG)\] (?:\[\S{1,80}\] ){0,3}\[SSL\w*\]|litespeed|lshttpd",
            re.IGNORECASE,
        ),
    ),
    (
        "Caddy",
        f"Caddy wrote some of them: {_ASIDE}",
        re.compile(rb"\"logger\": ?\"tls|\btls(?:\.\w+)*[ \t]+stapling OCSP"),
    ),
    ("mod_md", f"Apache's mod_md wrote some of them: {_ASIDE}", re.compile(rb"\[md:\w+\]|\bmod_md\b")),
    (
        "mod_gnutls",
        "Apache's mod_gnutls wrote some of them: it takes mod_ssl's place.",
        re.compile(rb"\[gnutls:\w+\]"),
    ),
    (
        "client certificates",
        "Some of them are about OCSP for client certificates, not about stapling.",
        re.compile(rb"\[ssl:\w+\].{0,200}SSL Library Error", re.DOTALL),
    ),
    (
        "configuration",
        "Some of them are directives, or about one. What this server's configuration says: ocsp-stapling config",
        re.compile(rb"\b(?:SSL(?:UseStapling|Stapling[A-Z]\w+|OCSP[A-Z]\w+)|MDStapl\w+)\b", re.IGNORECASE),
    ),
    (
        "openssl",
        "Some of them are what the openssl command says.",
        re.compile(rb"OCSP [Rr]esponse(?: Data| Status)?:|Error querying OCSP responder|\bopenssl ocsp\b"),
    ),
)
SENTENCES = {name: sentence for name, sentence, _ in _WRITERS}
"""What to say of each writer's lines."""


def writer_of(line: bytes) -> str | None:
    """Return who wrote a line, None if nobody known."""
    return next((name for name, _, pattern in _WRITERS if pattern.search(line)), None)
