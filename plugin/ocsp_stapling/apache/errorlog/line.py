"""One line of Apache's error log -> what it says about stapling, or None.

The number must stand where Apache puts it, right after the header, and the header must name mod_ssl: request
lines, referers, host names and what PHP scripts write with error_log() are chosen by strangers and often quote
log lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from ocsp_stapling.apache.errorlog.codes import RULES, Kind, Message, Scope, kind_of, pattern_of

# Apache cuts its own lines at 8 KiB (MAX_STRING_LEN); JSON escapes of a container runtime may make them longer.
MAX_LINE = 32 * 1024

_MONTHS = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}

_ISO = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
_BSD = rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?"
_WORD = rb"[\w.:@/+-]{1,128}"
_ANSI = rb"(?:\x1b\[[\d;]*m)*"
# What may stand before Apache's header: syslog and journald (host, tag[pid]:), RFC 5424, container runtimes
# (CRI "stderr F", docker --timestamps, compose "web-1  | ", kubectl --prefix, Docker's JSON files).
_PREFIX = (
    rb"(?:\xef\xbb\xbf)?"
    rb"(?:" + _ANSI + rb"[\w.-]{1,128} *\| ?" + _ANSI + rb" ?|\[(?!\d{4}-\d)" + _WORD + rb"\] )?"
    rb"(?:\{\"log\":\")?"
    rb"(?:(?:<\d{1,3}>)?(?:\d )?(?:[A-Z][a-z]{2} )?(?P<outer>" + _ISO + rb"|" + _BSD + rb") "
    rb"(?:std(?:out|err) [FP] "
    rb"|(?:" + _WORD + rb" )?[\w./@-]{1,128}(?:\[\d{1,10}\])?: {1,2}"
    rb"|" + _WORD + rb" " + _WORD + rb" (?:\d{1,10}|-) " + _WORD + rb" (?:-|\[[^\[\]]{0,200}\]) )?)?"
)
_PID = rb"(?:\[pid (?P<pid%d>\d{1,10})(?::tid (?P<tid%d>\d{1,20}))?\] )?"
_LEVEL = rb"(?:emerg|alert|crit|error|warn|notice|info|debug|trace[1-8])"
_ERROR = rb"(?P<error%d>\((?:\d{1,8}|EAI -?\d{1,5}|OS \d{1,8})\)[^\[\]\"]{0,300}?: )?"
_HEADER = re.compile(
    rb"\0*"
    + _PREFIX
    + rb"(?:\[(?P<time>[\w :.,+-]{10,48})\] )?"
    + _PID % (1, 1)
    + rb"\[(?:(?P<module>\w{1,32}):)?"
    + _LEVEL
    + rb"\] "
    + _PID % (2, 2)
    + rb"(?:\[tid (?P<tid3>\d{1,20})\] )?(?:(?P<file>[\w./-]{1,200})\(\d{1,7}\): )?"
    + _ERROR % 1
    # "[client " alone: what httpd leaves of the documented ErrorLogFormat "... [client %a] %M" without a client.
    + rb"(?:\[(?:client|remote) (?:(?P<client>[^\[\]\s\"]{1,120}|\[[^\[\]\s\"]{1,64}\](?::\d{1,5})?)\] )?)?"
    + _ERROR % 2
    + rb"(?P<code>AH\d{5}): ",
)
_APACHE_TIME = re.compile(
    rb"(?:[A-Z][a-z]{2} )?(?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) (?P<clock>[0-2]\d:[0-5]\d:[0-6]\d)"
    rb"(?P<fraction>\.\d{1,9})? (?P<year>\d{4})\Z"
)
# httpd's default format, read faster: in an outage nearly all lines are of it.
_USUAL = re.compile(
    rb"\[[A-Z][a-z]{2} ([A-Z][a-z]{2} [ \d]\d) "
    rb"([0-2]\d:[0-5]\d:[0-6]\d(?:\.\d{1,9})?) (\d{4})\] \[ssl:" + _LEVEL + rb"\] "
    rb"\[pid (\d{1,10})(?::tid (\d{1,20}))?\] (\((?:\d{1,8}|EAI -?\d{1,5})\)[^\[\]\"]{0,160}?: )?"
    rb"(?:\[client ([^\[\]\s\"]{1,120})\] )?(AH\d{5}): (.{1,600})\Z",
    re.DOTALL,
)
_LONGEST_ANSWER = 80
_DOCKER_TAIL = re.compile(rb"(?:\\r)?\\n\",\"stream\":\"std(?:out|err)\".*\Z", re.DOTALL)


class Entry(NamedTuple):
    """One line about stapling. A NamedTuple, not a dataclass: a log may hold millions, and it is made faster.

    `line_number` counts from 1 within its file (0: not counted). `time` is ISO 8601 as the log gives it: local
    time without a zone, or None. `stapling` is None when only a following AH01941 could tell the line from
    OCSP for client certificates.
    """

    line_number: int
    time: str | None
    pid: int | None
    code: str
    kind: Kind | None
    responder: str | None
    stapling: bool | None
    tid: int | None = None
    client: bytes | None = None
    scope: Scope = Scope.STAPLING
    error: bytes | None = None
    """What the operating system said, as Apache writes it: `(111)Connection refused: `."""
    site: str | None = None
    """The virtual host or the certificate's own name, where the line tells one."""
    answer: str | None = None
    """What the responder said instead of a good answer: HTTP's status line, OpenSSL's word for OCSP's status."""


def parse(line: bytes, line_number: int = 0) -> Entry | None:
    """Return what a line (without its newline) says about OCSP in mod_ssl, or None if it is about anything else.

    Lines of OCSP for client certificates come back with kind None: they are evidence, not to be shown.
    """
    if len(line) > MAX_LINE:
        return None
    if usual := _USUAL.match(line):
        day, clock, year, pid, tid, error, client, code, text = usual.groups()
        if (said := _said(code, text, error)) is None or said[0].module != b"ssl":
            return None
        date = _apache_day(year, day[:3], day[4:])
        time = f"{date}T{clock.decode()}" if date else None
        return entry_of(*said, line_number, time, pid, tid, client)
    return _parse_unusual(line, line_number)


def _parse_unusual(line: bytes, line_number: int) -> Entry | None:
    """Read every format of the header, the usual one included."""
    if not (match := _HEADER.match(line)):
        return None
    found = match.groupdict()
    header = {
        **found,
        "text": _DOCKER_TAIL.sub(b"", line[match.end() :]),
        "error": found["error1"] or found["error2"],
        "time": found["time"] or found["outer"],  # Apache's own, else that of a prefix (if it names the year)
        "pid": found["pid1"] or found["pid2"],
        "tid": found["tid1"] or found["tid2"] or found["tid3"],
    }
    return said_entry(header, line_number)


def said_entry(header: Mapping[str, bytes | None], line_number: int) -> Entry | None:
    """Return what a line says of whose parts (code, text, error, time, pid, tid, module, file, client) these are."""
    get = header.get
    said = _said(get("code") or b"", get("text") or b"", get("error"))
    if said is None or not _written_by_apache(said[0], header):
        return None
    time = get("time")
    when = iso_time(time) if time else None
    return entry_of(*said, line_number, when, get("pid"), get("tid"), get("client"))


Said = tuple[Message, Kind | None, "Names", bytes | None]


class Names(NamedTuple):
    """Whom a message names, and what it says that a responder answered."""

    responder: str | None
    site: str | None
    answer: str | None


def names_in(found: re.Match[bytes]) -> Names:
    """Return whom a message names that matches a rule's pattern."""
    named = found.groupdict()
    site = _PORT.sub(b"", named.get("site") or b"")
    answer = _VERSION.sub(b"", (named.get("answer") or b"").replace(b"(none)", b""))
    responder = named.get("responder") or b""
    if responder.startswith((b"<", b"*", b"(")):  # whoever hands the line on has put that in the name's place
        responder = b""
    return Names(_text(responder), _text(site), _text(answer[:_LONGEST_ANSWER]))


_VERSION = re.compile(rb"\AHTTP/\d(?:\.\d)? +")
"""Before a status: Apache leaves it out."""
_PORT = re.compile(rb"(?::\d{1,5}){1,2}\Z")
"""How mod_ssl goes on behind a virtual host's name: its port, and which of its certificates."""


def entry_of(
    rule: Message,
    kind: Kind | None,
    names: Names,
    error: bytes | None,
    line_number: int,
    time: str | None,
    pid: bytes | None,
    tid: bytes | None,
    client: bytes | None = None,
) -> Entry:
    """Return the entry for a message of `rule`."""
    stapling = None if rule.scope is Scope.SHARED else rule.scope is Scope.STAPLING
    return Entry(
        line_number,
        time,
        int(pid) if pid else None,
        rule.code,
        kind,
        names.responder,
        stapling,
        int(tid) if tid else None,
        client,
        rule.scope,
        error,
        names.site,
        names.answer,
    )


@lru_cache(maxsize=256)
def _said(code: bytes, text: bytes, os_error: bytes | None) -> Said | None:
    """Return rule, kind, names and error if the text is the one Apache writes under this number."""
    rule = RULES.get(code)
    found = pattern_of(rule).match(text.rstrip(b"\r")) if rule else None
    if rule is None or found is None:
        return None
    return rule, kind_of(rule, os_error or b""), names_in(found), os_error


def _written_by_apache(rule: Message, header: Mapping[str, bytes | None]) -> bool:
    """Return whether the header can be mod_ssl's own, not that of a module that logs what scripts say."""
    if module := header.get("module"):
        return module == rule.module
    if file := header.get("file"):
        return file.rpartition(b"/")[2].startswith((b"ssl_", b"mod_md_"))
    # Only a level ("[error]"): any module may have written it, but mod_ssl's stapling part never has a client.
    return rule.scope is not Scope.STAPLING or not header.get("client")


def _text(raw: bytes) -> str | None:
    """Return a name as text; it comes from certificates that customers own, so any bytes are possible."""
    return raw.decode("utf-8", "replace").strip()[:1000] or None


def iso_time(raw: bytes) -> str | None:
    """Return one of the times that httpd writes as ISO 8601, None if it is none."""
    match = _APACHE_TIME.match(raw)
    if match is None:
        return _checked(raw.decode("ascii", "replace").replace(",", "."))
    day = _apache_day(match["year"], match["month"], match["day"])
    return f"{day}T{match['clock'].decode()}{(match['fraction'] or b'').decode()}" if day else None


@lru_cache(maxsize=512)
def _apache_day(year: bytes, month: bytes, day: bytes) -> str | None:
    try:
        return datetime(int(year), _MONTHS[month], int(day)).strftime("%Y-%m-%d")
    except (KeyError, ValueError):
        return None


_BLANK_BEFORE_ZONE = re.compile(r" (?=[+-]\d\d:?\d\d\Z)")


def _checked(text: str) -> str | None:
    """Return an ISO 8601 time if it is one (a custom ErrorLogFormat, or a container's prefix)."""
    text = _BLANK_BEFORE_ZONE.sub("", text.replace(" UTC", "Z"))
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    return text.replace(" ", "T", 1)


_DATED = re.compile(rb"\[(?P<time>[A-Z][a-z]{2} [\w :.]{15,40})\]|^(?P<iso>" + _ISO + rb")")


def time_of(line: bytes) -> str | None:
    """Return the time any line of the log begins with, as ISO 8601, or None: what a search by time needs."""
    match = _DATED.search(line[:300])
    return iso_time(match["time"] or match["iso"]) if match else None


@lru_cache(maxsize=4096)
def moment(time: str) -> datetime | None:
    """Return a line's time as a naive local datetime: lines with a zone are brought to this server's."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return None
    try:
        return found.astimezone().replace(tzinfo=None) if found.tzinfo else found
    except (OverflowError, OSError):
        return None
