"""One configuration file as httpd tokenises it: the lines that matter here, found in one pass over the bytes.

Follows httpd's own reader (server/util.c, ap_cfg_getline and ap_getword_conf): a backslash before the line end
joins lines (in comments too), a NUL byte ends its line, names are case-insensitive and may be quoted.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate

from ocsp_stapling.apache import includes

BEGIN, END = includes.BEGIN.lower(), includes.END.lower()

# Lower-case name -> spelling for people. These are collected; what steers reading follows in _STEERING.
NAMES = {
    name.lower(): name
    for name in (
        "DocumentRoot",
        "ErrorLog",
        "Group",
        "Listen",
        "LogLevel",
        "MDStapleOthers",
        "MDStapling",
        "PidFile",
        "ServerAlias",
        "ServerName",
        "SSLCACertificateFile",
        "SSLCACertificatePath",
        "SSLCertificateChainFile",
        "SSLCertificateFile",
        "SSLEngine",
        "SSLOCSPEnable",
        "SSLOCSPProxyURL",
        "SSLSessionCache",
        "SSLStaplingCache",
        "SSLStaplingErrorCacheTimeout",
        "SSLStaplingFakeTryLater",
        "SSLStaplingForceURL",
        "SSLStaplingResponderTimeout",
        "SSLStaplingReturnResponderErrors",
        "SSLStaplingStandardCacheTimeout",
        "SSLUseStapling",
        "Timeout",
        "User",
    )
}
_OPEN = rb"<If(?:Module|Define|Version|File|Directive|Section)"
_CLOSE = _OPEN.replace(b"<", b"</")
_STEERING = rb"ServerRoot|LoadModule|Define|UnDefine|Include|IncludeOptional|Use|</?VirtualHost|</?Macro"
_NAME = (
    b"(?:" + b"|".join([_STEERING, _OPEN, _CLOSE, *(name.encode() for name in NAMES)]) + rb")(?![^\s>\"'])"
)
_MARKER = b"(?:" + includes.BEGIN + b"|" + includes.END + b")"
_BLANK = rb"[ \t\r\x0b\x0c]*+"
_INITIAL = rb"[<#\"'degilmpstu]"  # with which a line of interest can begin


def _idle_section(depth: int) -> bytes:
    """The pattern of a conditional section without any line of interest, nested up to `depth` deep.

    cPanel writes half a dozen of them into each virtual host; taking each as one match halves the time.
    """
    # One way only to match each line: a choice here would multiply when the section turns out not to be idle.
    line = rb"\n" + _BLANK + rb"(?!(?=" + _INITIAL + rb")(?:[\"']|" + _NAME + b"|" + _MARKER + rb"))[^\n]*+"
    inner = line + b"|" + _idle_section(depth - 1) if depth else line
    begin, end = rb"\n" + _BLANK + _OPEN + rb"[ \t][^\n]*+", rb"\n" + _BLANK + _CLOSE + rb">[^\n]*+"
    return begin + b"(?:" + inner + b"){0,200}" + end


# The leading \n is a literal that the regex engine seeks with memchr; the look-ahead then drops most lines.
_LINE = re.compile(
    rb"\n" + _BLANK + b"(?=" + _INITIAL + b")"
    rb"(?:[\"']?+(" + _NAME + rb")[\"']?+([^\n]*+)|(" + _MARKER + b"))",
    re.IGNORECASE,
)
_LINE_OR_IDLE = re.compile(_idle_section(2) + b"|" + _LINE.pattern, re.IGNORECASE)
_CONTINUATION = re.compile(rb"\\\r?\n")
_NUL_TAIL = re.compile(rb"\0[^\n]*")
_WORD = re.compile(
    rb"\s*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*\\?)\"?|'([^'\\]*(?:\\.[^'\\]*)*\\?)'?|(\S+))", re.DOTALL
)
_SPECIAL = re.compile(rb"[\"'\\$]")
_VARIABLE = re.compile(rb"\$\{([^}]*)\}")

MAX_WORD = 8192  # httpd's MAX_STRING_LEN; `Define X ${X}${X}` doubles with every line

Lookup = Callable[[bytes], bytes | None]
"""The value of a `${NAME}`, or None when it is not defined."""


Statement = tuple[bytes, bytes, int, bytes]
"""A line of interest: name in lower case (sections as `<ifmodule` and `</ifmodule`), the raw rest of the line,
1-based line number, name as written. A plain tuple, because a server's configuration has them by the 100,000."""


def scan(content: bytes) -> list[Statement]:
    """Return the lines of interest in a configuration file's bytes, in order; any bytes are acceptable."""
    if b"\0" in content:
        content = _NUL_TAIL.sub(b" ", content)
    if _CONTINUATION.search(content):
        return _scan_continued(content)
    return _scan_plain(content)


def _scan_plain(content: bytes) -> list[Statement]:
    text = b"\n" + content
    found = []
    line, seen = 0, 0
    for match in _LINE_OR_IDLE.finditer(text):
        name, args, marker = match.groups()
        if name is None and marker is None:
            continue
        start = match.start() + 1
        line += text.count(b"\n", seen, start)
        seen = start
        written = name or marker
        found.append((written.lower(), args or b"", line, written))
    return found


def _scan_continued(content: bytes) -> list[Statement]:
    """As `_scan_plain`, with the lines that were joined counted in again afterwards."""
    pieces = _CONTINUATION.split(content)
    # The n-th join happens in this line of the joined text: every later line stands n lines further down.
    joins = list(accumulate(piece.count(b"\n") for piece in pieces))[:-1]
    return [
        (name, args, line + bisect_left(joins, line - 1), written)
        for name, args, line, written in _scan_plain(b"".join(pieces))
    ]


def words(args: bytes, lookup: Lookup) -> list[bytes]:
    """Split arguments as httpd does: blanks, single or double quotes, backslash escapes, `${NAME}`."""
    if not _SPECIAL.search(args):
        return args.split()
    return [resolve(_unquoted(match), lookup) for match in _WORD.finditer(args)]


def resolve(word: bytes, lookup: Lookup) -> bytes:
    """Replace each `${NAME}` that is defined; others stay as they are written, as in httpd."""

    def value(match: re.Match[bytes]) -> bytes:
        found = lookup(match[1])
        return match[0] if found is None else found

    return _VARIABLE.sub(value, word, 1000)[:MAX_WORD] if b"${" in word else word


def _unquoted(match: re.Match[bytes]) -> bytes:
    double, single, bare = match.groups()
    if double is not None:
        return re.sub(rb"\\([\"\\])", rb"\1", double)
    if single is not None:
        return re.sub(rb"\\(['\\])", rb"\1", single)
    assert isinstance(bare, bytes)
    return bare.replace(b"\\\\", b"\\")
