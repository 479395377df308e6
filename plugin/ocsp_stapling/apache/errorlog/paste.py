"""A log as people hand it on: wrapped by a terminal, quoted, cut, with the prefixes of grep and of chat programs.

Only for files that somebody names and for standard input. What Apache itself writes on this server is read by the
stricter rules of `line`, for visitors choose parts of it; here, too, number and text must agree, and what stands
before them must be (a piece of) mod_ssl's header.
"""

from __future__ import annotations

import codecs
import itertools
import quopri
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from ocsp_stapling.apache.errorlog.codes import RULES, Kind, Message, Scope, kind_of
from ocsp_stapling.apache.errorlog.line import MAX_LINE, Entry, entry_of, parse, time_of
from ocsp_stapling.apache.errorlog.undress import (
    HEADER,
    MODULE,
    bare,
    begins,
    quotes_strangers,
    unlinked,
)

MOST = 4 << 20
"""Bytes that are read so carefully: whoever pastes, pastes less."""
_PIECES = 12  # physical lines of one wrapped line
_GAPS = 4  # whose joints are tried both ways, with and without a blank
_SHORTEST_TEXT = 12  # of a message cut at its end, where nothing says that mod_ssl wrote it

_CODE = re.compile(rb"AH\d{5}: ")
_BREAK = re.compile(
    rb"<br ?/?>|\r(?!\Z)|(?:\\r)?\\n(?=\[[A-Z][a-z]{2} )|['\"], ?['\"](?=\[[A-Z][a-z]{2} )", re.IGNORECASE
)
"""How a page, an old Macintosh, a string of JSON and a list of Python end a line within one of ours."""
_GAP = re.compile(rb"[ \t]{12,}")
_CUT = re.compile(
    # What is left of a bracket that was cut, or a date and a name without brackets; a panel's columns.
    rb"(?:[\w:., +/@-]{0,60}\]?[ \t]*(?=\[|\bAH\d{5}: )"
    rb"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*[ \t]+(?:Error|Warning)[ \t]+[\d.:a-f]*[ \t]*)?"
    rb"(?P<brackets>(?:(?:\[[^\[\]]{1,80}\]|\.{2,5}|\xe2\x80\xa6)[ \t]*){0,6}?)"
    rb"(?P<error>\((?:\d{1,8}|EAI -?\d{1,5}|OS \d{1,8})\)[^\[\]\"]{0,300}?(?::[ \t]*|[ \t]+(?=AH\d{5})))?"
    # An error text whose number was cut away.
    rb"(?P<reason>(?!AH\d{5}:)[A-Za-z][\w '.-]{3,80}:[ \t]*(?=\[client|could not |failed |error reading ))?"
    rb"(?P<client>\[(?:client|remote)[^\[\]]{0,80}\][ \t]*)?"
    rb"(?:(?P<code>AH\d{5}):?[ \t]+)?(?P<text>[^\[\]()\s.\xe2].*?)(?:[ \t]+Apache error)?\Z",
    re.DOTALL,
)
_PID = re.compile(rb"\[pid (\d{1,10})(?::tid (\d{1,20}))?\]")
_MENTION = re.compile(rb"stapling|OCSP", re.IGNORECASE)
_FUNCTION = re.compile(rb"(?:ssl_)?stapling_[a-z_]{2,30}: ")
_NGINX = re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+:|nginx: \[|\[\w+\] \d+#\d+: ")
_SOFT_BREAK = re.compile(rb".{40,75}=")
_ELLIPSIS = re.compile(rb"(?:\.\.+|\xe2\x80\xa6|>)[ \t]*\Z")
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
        for number, line in _without_soft_breaks(_lines(readline)):
            yield from self._take(line, number)
        yield from self._settle()

    def _take(self, raw: bytes, number: int) -> Iterator[Entry]:
        if messages := _messages(unlinked(raw), number):
            yield from self._settle()
            yield from messages
            return
        for line in _lines_within(raw):
            yield from self._take_bare(bare(line), number)

    def _take_bare(self, line: bytes, number: int) -> Iterator[Entry]:
        if not line:
            return  # an empty line between the pieces of a wrapped one is a form's doing
        if self._pending and not self._is_new(line):
            self._pending.append(line)
            if entry := _joined(self._pending, self._number):
                self._pending = []
                yield entry
            elif len(self._pending) >= _PIECES:
                yield from self._settle()
            return
        yield from self._settle()
        if messages := _messages(line, number):
            yield from messages
            return
        # A line with its header may go on in the next one; it is taken for cut only when nothing follows.
        goes_on = begins(line) and not _ELLIPSIS.search(line)
        if entry := _joined([line], number) or (None if goes_on else cut_line(line, number)):
            yield entry
        elif begins(line):
            self._pending, self._number = [line], number
        else:
            self._note(line)

    def _is_new(self, line: bytes) -> bool:
        """Whether a line begins here: a header without its date may be the rest of one whose date stands before."""
        if HEADER.match(line):
            return True
        before = b" ".join(self._pending)
        return begins(line) and bool(_CODE.search(before) or (line[:1] == b"[" and MODULE.search(before)))

    def _settle(self) -> Iterator[Entry]:
        """Have done with a line that began and was never understood."""
        pending, self._pending = self._pending, []
        some = (pending[:number] for number in (1, *range(len(pending), 1, -1)) if pending)
        ways = (joint.join(pieces) for pieces in some for joint in (b"", b" "))
        whole = next((entry for way in ways if (entry := cut_line(way, self._number))), None)
        if whole:
            yield whole
            return
        self._note(b" ".join(pending))

    def _note(self, line: bytes) -> None:
        if _MENTION.search(line):
            self.unclear += 1
            self.nginx += _NGINX.search(line) is not None


def _lines_within(raw: bytes) -> list[bytes]:
    """The lines that a page or a string has made one; none within a line in which others than mod_ssl speak."""
    module = MODULE.search(raw)
    strange = (module and module[1] not in (b"ssl", b"md")) or quotes_strangers(raw)
    return [raw] if strange else _BREAK.split(raw)


def _lines(readline: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield at most MOST bytes of lines; UTF-16 is read as such."""
    lines = _limited(readline)
    first = next(lines, b"")
    if not first.startswith(UTF_16):
        yield from itertools.chain((first,) if first else (), lines)
        return
    yield from b"".join((first, *lines)).decode("utf-16", "replace").encode("utf-8", "replace").split(b"\n")


def _without_soft_breaks(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, those whole again that a mail has broken as quoted-printable."""
    begun, begin = b"", 0
    for number, line in enumerate(lines, start=1):
        line, begin = line.rstrip(b"\r\n"), begin if begun else number
        if _SOFT_BREAK.fullmatch(line) and len(begun) <= MAX_LINE:
            begun += line[:-1]
            continue
        yield begin, quopri.decodestring(begun + line) if begun else line
        begun = b""
    if begun:
        yield begin, begun


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
    """Return what a line says that was cut at its beginning or end, None if it is none of mod_ssl's or mod_md's.

    Apache before 2.4.1 wrote the same texts without a number; they count behind a header only.
    """
    found = _CUT.match(_GAP.sub(b"", line))
    if found is None or quotes_strangers(line[: found.start("brackets")]):
        return None
    rules = [RULES.get(found["code"])] if found["code"] else _rules_without_number(found)
    error = found["error"] or found["reason"] or b""
    for rule in rules:
        if rule is None or not _may_have_written(rule, found):
            continue
        kind, responder = _said_or_cut(rule, found["text"], error, b"[ssl:" in found["brackets"])
        if kind is not None:
            pid = _PID.search(found["brackets"])
            worker = (pid[1], pid[2]) if pid else (None, None)
            return entry_of(rule, kind, responder, number, time_of(line), *worker)
    return None


def _rules_without_number(found: re.Match[bytes]) -> list[Message]:
    """The rules whose text this is."""
    text = found["text"].strip()
    if not _MENTION.search(text) or not (MODULE.search(found["brackets"]) or _is_quoted(found, text)):
        return []
    return [rule for rule in RULES.values() if any(way.match(text) for way in _lenient(rule))]


def _is_quoted(found: re.Match[bytes], text: bytes) -> bool:
    """Whether a line is a message and nothing else, in words that only mod_ssl has, as articles quote it."""
    whole = found.start("brackets") == 0 and not found["brackets"].strip(b"[. ]\t")
    return whole and bool(found["error"] or found["reason"] or _FUNCTION.match(text))


def _may_have_written(rule: Message, found: re.Match[bytes]) -> bool:
    """Whether what is left of the header is of the rule's module; stapling itself has no client, scripts have one."""
    modules = {module for module in MODULE.findall(found["brackets"]) if module}
    if not modules and found["client"] and rule.scope is Scope.STAPLING:
        return False
    return modules <= {rule.module}


def _said_or_cut(
    rule: Message, text: bytes, os_error: bytes, by_ssl: bool
) -> tuple[Kind | None, bytes | None]:
    """The kind and the responder, if the text is the rule's, blanks and names left out or not, or begins like it."""
    text = text.strip()
    for pattern in _lenient(rule):
        if found := pattern.match(text):
            return kind_of(rule, os_error), found.groupdict().get("responder")
    shown = _ELLIPSIS.sub(b"", text)
    start, _, end = shown.partition(b"\xe2\x80\xa6")
    start, cut = start.rstrip(), shown != text
    shortest = 1 if by_ssl else _SHORTEST_TEXT
    if len(start) >= shortest and any(_frames(fixed, start, end, cut) for fixed in rule.formats):
        return kind_of(rule, os_error), None
    return None, None


def _frames(fixed: str, start: bytes, end: bytes, cut: bool) -> bool:
    """Whether a text begins like a format and, where something in the middle was left out, ends like it.

    One whose end was `cut` visibly may end within what differs from line to line, a name mostly.
    """
    head, tail = fixed.partition("%")[0].encode(), fixed.rpartition("%")[2][1:].encode()
    named = cut and len(head) >= _SHORTEST_TEXT and len(head) < len(fixed) and start.startswith(head)
    return (named or head.startswith(start)) and (not end or end.endswith(tail) or tail.endswith(end))


@cache
def _lenient(rule: Message) -> tuple[re.Pattern[bytes], ...]:
    quote = rb"(?:['\"`\x91-\x94]|\xe2\x80[\x98-\x9f]|\xc2\xb4){0,2}"

    def piece(text: str) -> bytes:
        if text == "%r":
            return rb"(?P<responder>(?:[\w:/\[\]%-]+[.:][\w.:/\[\]%?=&~-]*[\w/\]]{2})?)"
        if text.startswith("%"):
            return rb"[\w() /.-]*?" if text == "%w" else rb".*?"
        if text == "'":
            return quote
        spaced = re.sub(rb"(?:\\ )+", rb"\\s*", re.escape(text).encode())
        return spaced.replace(b"_", b"_?")  # Markdown takes them for italics

    return tuple(
        re.compile(
            b"".join(map(piece, re.split(r"(%[uswrc]|')", text))) + rb"[ .]*\Z", re.DOTALL | re.IGNORECASE
        )
        for text in rule.formats
    )
