"""One configuration file as httpd tokenises it: the lines that matter here, found in one pass over the bytes.

Follows httpd's own reader (server/util.c, ap_cfg_getline and ap_getword_conf): a backslash before the line end
joins lines (in comments too), a NUL byte ends its line, names are case-insensitive and may be quoted.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate

from ocsp_stapling.apache import managed_block

BEGIN, END = managed_block.BEGIN.lower(), managed_block.END.lower()

# Lower-case name -> spelling for people. These are collected; what steers reading follows in _STEERING.
NAMES = {
    name.lower(): name
    for name in (
        "DocumentRoot",
        "ErrorLog",
        "ErrorLogFormat",
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
        "SSLStaplingResponseMaxAge",
        "SSLStaplingResponseTimeSkew",
        "SSLStaplingReturnResponderErrors",
        "SSLStaplingStandardCacheTimeout",
        "SSLUseStapling",
        "Timeout",
        "User",
    )
}
_KINDS = ("module", "define", "version", "file", "directive", "section")
_BEGINS, _ENDS = (frozenset(f"<{end}if{kind}".encode() for kind in _KINDS) for end in ("", "/"))
_OF_A_PART = (
    *(
        "directory",
        "directorymatch",
        "files",
        "filesmatch",
        "location",
        "locationmatch",
        "proxy",
        "proxymatch",
    ),
    *("if", "elseif", "else", "mdomain", "mdomainset", "manageddomain"),
)
PART_BEGINS, PART_ENDS = (frozenset(f"<{end}{kind}".encode() for kind in _OF_A_PART) for end in ("", "/"))
"""Sections whose lines hold for a part of what is served, or for a domain of mod_md: they decide nothing here."""
_STEERING = ("serverroot", "loadmodule", "define", "undefine", "include", "includeoptional", "use")
_STEERING_SECTIONS = ("<virtualhost", "</virtualhost", "<macro", "</macro")
_EMPTY_BEGINS, _EMPTY_ENDS = _BEGINS | PART_BEGINS, _ENDS | PART_ENDS
_WANTED = _EMPTY_BEGINS | _EMPTY_ENDS | {name.encode() for name in (*NAMES, *_STEERING, *_STEERING_SECTIONS)}
_ODD_FORM = re.compile(rb"[\"']?+([^\s>\"']++)[\"']?+(.*+)", re.DOTALL)
_CONTINUATION = re.compile(rb"\\\r?\n")
_NUL_TAIL = re.compile(rb"\0[^\n]*")
_WORD = re.compile(
    rb"\s*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*\\?)\"?|'([^'\\]*(?:\\.[^'\\]*)*\\?)'?|(\S+))", re.DOTALL
)
_SPECIAL = re.compile(rb"[\"'\\$]")
_VARIABLE = re.compile(rb"\$\{([^}]*)\}")

_LINES_KEPT = 1 << 16
MAX_WORD = 8192  # httpd's MAX_STRING_LEN; `Define X ${X}${X}` doubles with every line

Lookup = Callable[[bytes], bytes | None]
"""The value of a `${NAME}`, or None when it is not defined."""


Statement = tuple[bytes, bytes, int, bytes]
"""A line of interest: name in lower case (sections as `<ifmodule` and `</ifmodule`), the raw rest of the line,
1-based line number, name as written. A plain tuple, because a server's configuration has them by the 100,000."""

_Line = tuple[bytes, bytes, bytes]
"""Name, rest and name as written."""


def scan(content: bytes) -> list[Statement]:
    """Return the lines of interest in a configuration file's bytes, in order; any bytes are acceptable."""
    if b"\0" in content:
        content = _NUL_TAIL.sub(b" ", content)
    if _CONTINUATION.search(content):
        return _scan_continued(content)
    return _scan_plain(content)


class _Read(dict[bytes, "_Line | None"]):
    """What lines say. What cPanel writes into one virtual host it writes into a thousand: most were read before."""

    def __missing__(self, raw: bytes) -> _Line | None:
        line = _of_interest(raw)
        if len(self) < _LINES_KEPT:
            self[raw] = line
        return line


def _scan_plain(content: bytes) -> list[Statement]:
    found: list[Statement] = []
    for number, line in enumerate(map(_Read().__getitem__, io.BytesIO(content)), 1):
        if line is None:
            continue
        name, args, written = line
        if name in _EMPTY_ENDS and found and found[-1][0] in _EMPTY_BEGINS:
            found.pop()  # a section without any line of interest: half a dozen in each virtual host
        else:
            found.append((name, args, number, written))
    return found


def _of_interest(raw: bytes) -> _Line | None:
    """The name in lower case, the rest of the line, the name as written; None for a line that changes nothing."""
    text = raw.strip()
    written, *rest = text.split(None, 1) or [b""]
    name = written.lower()
    if name in _WANTED:
        return name, rest[0] if rest else b"", written
    if text.startswith(b"#"):
        lower = text.lower()
        return next(((marker, b"", marker) for marker in (BEGIN, END) if lower.startswith(marker)), None)
    return None if written.isalnum() else _of_odd_form(text)


def _of_odd_form(text: bytes) -> _Line | None:
    """As `_of_interest`, of a name in quotes or with something right behind it."""
    match = _ODD_FORM.match(text)
    if match is None:
        return None
    written, args = match.groups()
    name = written.lower()
    return (name, args, written) if name in _WANTED else None


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
