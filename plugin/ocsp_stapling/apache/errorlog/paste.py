"""A log as people hand it on: wrapped by a terminal, quoted, cut, with the prefixes of grep and of chat programs.

Only for files that somebody names and for standard input. What Apache itself writes on this server is read by the
stricter rules of `line`, for visitors choose parts of it; here, too, number and text must agree, and what stands
before them must be (a piece of) mod_ssl's header.
"""

from __future__ import annotations

import codecs
import html
import itertools
import json
import re
from collections.abc import Callable, Iterator
from functools import cache

from ocsp_stapling.apache.errorlog.codes import RULES, Kind, Message, kind_of
from ocsp_stapling.apache.errorlog.line import MAX_LINE, Entry, entry_of, parse, time_of

MOST = 4 << 20
"""Bytes that are read so carefully: whoever pastes, pastes less."""
_PIECES = 12  # physical lines of one wrapped line
_GAPS = 4  # whose joints are tried both ways, with and without a blank
_SHORTEST_TEXT = 12  # of a message cut at its end

_BEGIN = re.compile(
    rb"\[(?:[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d |\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|ssl:|md:|error\]|warn\])"
    rb"|\d{4}-\d\d-\d\d[T ]\d\d:|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d |AH\d{5}: "
)
"""How a line of Apache's log begins, bare or behind a prefix with a time."""
_ANSI = re.compile(rb"\x1b\[[\d;]*[A-Za-z]")
_GAP = re.compile(rb"[ \t]{12,}")
_ENTITY = re.compile(rb"&(?:quot|apos|amp|lt|gt|nbsp|#\d{1,4}|#x[0-9a-fA-F]{1,4});")
_QUOTING = re.compile(rb"(?:[>|*\xb7-]|<\d{1,3}>|\xe2\x80[\xa2\xa6]|\.\.\.|`{1,3}|\"|')[ \t]*")
_NUMBER = re.compile(rb"(?:#?\d{1,9}[:.)]?[ \t]+|\d{1,9}[:-])(?=\[|\d{4}-|[A-Z][a-z]{2} )")
_FILE_NAME = re.compile(rb"[^\s\[\]\"'<>]{1,200}?[:-](?=(?:\d{1,9}[:-])?\[)")
_CELLS = re.compile(
    rb"(?:\"[^\"\[\]]{0,100}\"|[^\",;\t\[\]]{0,60})(?:[,;\t](?:\"[^\"\[\]]{0,100}\"|[^\",;\t\[\]]{0,60})){0,8}[,;\t]\"?(?=\[)"
)
_TAIL = re.compile(rb"(?:<br ?/?>|</?(?:p|pre|code|li)>|\\n|[`\"',;]|\s)+\Z")
_OPENING_TAG = re.compile(rb"</?(?:p|pre|code|li|div|span)(?: [^<>]{0,100})?>[ \t]*")

_MODULE = re.compile(rb"\[(?:(\w{1,32}):)?(?:emerg|alert|crit|error|warn|notice|info|debug|trace[1-8])\]")
_CUT = re.compile(
    rb"(?:[\w:., +-]{0,60}\][ \t]*)?"  # the end of a bracket whose beginning was cut away
    rb"(?P<brackets>(?:\[[^\[\]]{1,80}\][ \t]*){0,6})"
    rb"(?P<error>\((?:\d{1,8}|EAI -?\d{1,5})\)[^\[\]\"]{0,160}?:[ \t]*)?"
    rb"(?P<reason>[A-Za-z][\w '.-]{3,80}:[ \t]*(?=\[client))?"  # an error text whose number was cut away
    rb"(?:\[(?:client|remote)[^\[\]]{0,80}\][ \t]*)?"
    rb"(?P<code>AH\d{5}):?[ \t]+(?P<text>.*)\Z",
    re.DOTALL,
)
_PID = re.compile(rb"\[pid (\d{1,10})(?::tid (\d{1,20}))?\]")
_MENTION = re.compile(rb"stapling|OCSP", re.IGNORECASE)
_NGINX = re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+:|nginx: \[|\[\w+\] \d+#\d+: ")
_ELLIPSIS = re.compile(rb"(?:\.\.+|\xe2\x80\xa6)[ \t]*\Z")
_NO_BREAK = b"\xc2\xa0"
_MESSAGES = ("log", "message", "msg", "MESSAGE", "@message", "text", "textPayload", "_source", "jsonPayload")
"""Under which names shippers of logs keep the line itself; others (a referer, a path) are a visitor's words."""
_NEXT = re.compile(
    rb"[ \t]+(?=\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})? \d{4}\] \[)"
)
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How a file begins that an editor of Windows has saved so."""


class Paste:
    """Reads lines one after the other. What it could not understand is counted, never passed over in silence."""

    def __init__(self) -> None:
        self.unclear = 0
        """Lines that speak of stapling or OCSP in another form than Apache's."""
        self.nginx = 0
        """Those of them that are nginx's, whose stapling holds nobody up."""
        self._pending: list[bytes] = []
        self._number = 0

    def entries(self, readline: Callable[[], bytes]) -> Iterator[Entry]:
        """Yield what the lines say, each as soon as it is understood; at most MOST bytes are read."""
        for number, line in enumerate(_lines(readline), start=1):
            yield from self._take(line.rstrip(b"\r\n"), number)
        yield from self._settle()

    def _take(self, raw: bytes, number: int) -> Iterator[Entry]:
        if messages := _messages(raw, number):
            yield from self._settle()
            yield from messages
            return
        line = bare(raw)
        begins = _BEGIN.match(line) is not None
        if self._pending and not begins and line:
            self._pending.append(line)
            if entry := _joined(self._pending, self._number):
                self._pending = []
                yield entry
            elif len(self._pending) >= _PIECES:
                yield from self._settle()
            return
        yield from self._settle()
        # A line with its header may go on in the next one; it is taken for cut only when nothing follows.
        goes_on = begins and not _ELLIPSIS.search(line)
        if entry := _joined([line], number) or (None if goes_on else cut_line(line, number)):
            yield entry
        elif begins:
            self._pending, self._number = [line], number
        else:
            self._note(line)

    def _settle(self) -> Iterator[Entry]:
        """Have done with a line that began and was never understood."""
        pending, self._pending = self._pending, []
        whole = pending and (cut_line(pending[0], self._number) or cut_line(b"".join(pending), self._number))
        if whole:
            yield whole
            return
        self._note(b" ".join(pending))

    def _note(self, line: bytes) -> None:
        if _MENTION.search(line):
            self.unclear += 1
            self.nginx += _NGINX.search(line) is not None


def _lines(readline: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield at most MOST bytes of lines; UTF-16 is read as such."""
    lines = _limited(readline)
    first = next(lines, b"")
    if not first.startswith(UTF_16):
        yield from itertools.chain((first,) if first else (), lines)
        return
    yield from b"".join((first, *lines)).decode("utf-16", "replace").encode("utf-8", "replace").split(b"\n")


def _limited(readline: Callable[[], bytes]) -> Iterator[bytes]:
    read = 0
    while read < MOST and (line := readline()):
        read += len(line)
        yield line


def _messages(line: bytes, number: int) -> list[Entry]:
    """Return what a line says; what several say, if a form or a mail has joined them into one.

    The first must be a message of mod_ssl's in full: a line of another module may quote what a visitor wrote.
    """
    first, *others = _NEXT.split(line) if len(line) <= MAX_LINE else (line,)
    entry = parse(first, number)
    if entry is None:
        whole = parse(line, number) if others else None
        return [whole] if whole else []
    return [entry, *(found for other in others if (found := parse(other, number)))]


def _message_of(line: bytes) -> bytes:
    """Return the log's own line out of an object of JSON, as shippers of logs write them."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return line
    for _ in range(3):
        if not isinstance(found, dict):
            break
        found = next((found[name] for name in _MESSAGES if name in found), None)
    return found.encode("utf-8", "surrogateescape").strip() if isinstance(found, str) else line


def bare(raw: bytes) -> bytes:
    """Return a line without what quoting, lists, grep, pages and terminals put around it."""
    line = _ANSI.sub(b"", raw[: 2 * MAX_LINE]).replace(_NO_BREAK, b" ").strip()
    if line.startswith(b"{"):
        line = _message_of(line)
    if _ENTITY.search(line):
        line = (
            html.unescape(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape").strip()
        )
    for _ in range(6):
        before = line
        for pattern in (_OPENING_TAG, _CELLS, _QUOTING, _NUMBER):
            line = pattern.sub(b"", line, count=1) if pattern.match(line) else line
        if not _BEGIN.match(line) and (name := _FILE_NAME.match(line)):
            line = line[name.end() :]
        if line == before:
            break
    return _TAIL.sub(b"", line)


def _joined(pieces: list[bytes], number: int) -> Entry | None:
    """Return what a line says that a terminal cut into pieces, by new lines or by the blanks that fill its width."""
    parts = [part for piece in pieces for part in _GAP.split(piece)]
    if len(parts) == 1:
        return parse(parts[0], number)
    joints = len(parts) - 1
    ways = (
        itertools.product((b"", b" "), repeat=joints)
        if joints <= _GAPS
        else ((b"",) * joints, (b" ",) * joints)
    )
    for way in ways:
        line = b"".join(part + joint for part, joint in zip(parts, (*way, b""), strict=True))
        if len(line) <= MAX_LINE and (entry := parse(line, number)):
            return entry
    return None


def cut_line(line: bytes, number: int) -> Entry | None:
    """Return what a line says that was cut at its beginning or end, None if it is none of mod_ssl's or mod_md's."""
    found = _CUT.match(_GAP.sub(b"", line))
    rule = RULES.get(found["code"]) if found else None
    if found is None or rule is None or not _of_module(found["brackets"], rule):
        return None
    kind, responder = _said_or_cut(rule, found["text"], found["error"] or found["reason"] or b"")
    if kind is None:
        return None
    pid = _PID.search(found["brackets"])
    worker = (pid[1], pid[2]) if pid else (None, None)
    return entry_of(rule, kind, responder, number, time_of(line), *worker)


def _of_module(brackets: bytes, rule: Message) -> bool:
    modules = {module for module in _MODULE.findall(brackets) if module}
    return modules <= {rule.module}


def _said_or_cut(rule: Message, text: bytes, os_error: bytes) -> tuple[Kind | None, bytes | None]:
    """The kind and the responder, if the text is the rule's, blanks and names left out or not, or begins like it."""
    text = text.strip()
    for pattern in _lenient(rule):
        if found := pattern.match(text):
            return kind_of(rule, os_error), found.groupdict().get("responder")
    start = _ELLIPSIS.sub(b"", text).rstrip()
    literals = (fixed.partition("%")[0].encode() for fixed in rule.formats)
    if len(start) >= _SHORTEST_TEXT and any(literal.startswith(start) for literal in literals):
        return kind_of(rule, os_error), None
    return None, None


@cache
def _lenient(rule: Message) -> tuple[re.Pattern[bytes], ...]:
    quote = rb"(?:['\"`\x91-\x94]|\xe2\x80[\x98-\x9f]|\xc2\xb4)?"

    def piece(text: str) -> bytes:
        if text == "%r":
            return rb"(?P<responder>\S*?)"
        if text.startswith("%"):
            return rb".*?"
        if text == "'":
            return quote
        return re.sub(rb"(?:\\ )+", rb"\\s*", re.escape(text).encode())

    return tuple(
        re.compile(
            b"".join(map(piece, re.split(r"(%[uswrc]|')", text))) + rb"[ .]*\Z", re.DOTALL | re.IGNORECASE
        )
        for text in rule.formats
    )
