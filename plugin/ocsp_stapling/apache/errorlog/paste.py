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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from ocsp_stapling.apache.errorlog.codes import RULES, Scope
from ocsp_stapling.apache.errorlog.cut import (
    ELLIPSIS,
    GAP,
    MENTION,
    cut_line,
    has_another_text,
    said_within,
    tail_of_a_message,
    whole_line,
)
from ocsp_stapling.apache.errorlog.files import HEAD_BYTES
from ocsp_stapling.apache.errorlog.line import MAX_LINE, Entry, parse
from ocsp_stapling.apache.errorlog.others import INVENTED, writer_of
from ocsp_stapling.apache.errorlog.undress import (
    FIELD,
    HEADER,
    MODULE,
    bare,
    begins,
    quotes_strangers,
    unlinked,
)

MOST = 4 << 20
"""Bytes that are read so carefully: whoever pastes, pastes less."""
_LEAST = 64  # as many bytes a line counts at least: in millions of short ones is no log
_PIECES = 12  # physical lines of one wrapped line
_GAPS = 4  # whose joints are tried both ways, with and without a blank

_CODE = re.compile(rb"AH\d{5}: ")
_NUMBER = re.compile(b"AH(?:" + b"|".join(code[2:] for code in RULES) + b")")
_TELLS = re.compile(
    _NUMBER.pattern + rb"|stapling|OCSP|requesting certificate status|could not |responder error",
    re.IGNORECASE,
)
"""Without any of these no piece of text is a message or speaks of one."""
_MATTERS = re.compile(rb"[\d\[&<{\\*\x1b\x80-\xff]|" + _TELLS.pattern, re.IGNORECASE)
"""Without any of these, whatever is taken off it, nothing begins in a line and nothing is told."""
_ACCESS = re.compile(rb"(?!\A.{28} \[ssl:)\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]")
"""The time of a line of an access log."""
_CALL = re.compile(rb"[\"']\)+;\s*\Z")
"""How a call ends in a program."""
_NGINX = re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[")
_BREAK = re.compile(
    rb"<br ?/?>|\r(?!\Z)|(?:\\r)?\\n(?=\[[A-Z][a-z]{2} )|['\"]\)?, ?(?:\([^()'\"]{0,200})?['\"](?=\[[A-Z][a-z]{2} )",
    re.IGNORECASE,
)
"""How a page, an old Macintosh, a string of JSON, a list of Python and a row of SQL end a line within one of ours."""
_CONTAINER = re.compile(
    rb"(?P<head>\d{4}-\d\d-\d\dT\S{8,30} (?P<stream>stdout|stderr) )(?P<flag>[FP]) (?P<text>.*)", re.DOTALL
)
"""A line as container runtimes keep it: P is one that goes on in the next."""
_TIMES = rb"(?:x|\xc3\x97|times|mal|Mal|fois|veces|volte)"
_BEFORE = rb"[\w:., +/@<>-]{0,100}?\b"
_AGAIN = tuple(
    re.compile(pattern + rb"\Z", re.DOTALL)
    for pattern in (
        _BEFORE + rb"last message repeated (?P<times>\d{1,6}) times?(?: ---)?(?P<line>)",
        _BEFORE + rb"(?:httpd|apache2?(?:ctl)?)(?:\[\d{1,10}\])?: message repeated (?P<times>\d{1,6}) times: "
        rb"\[ ?(?P<line>.*)\]",
        rb"(?=.{6}\d ) {0,6}(?P<times>\d{1,7}) {1,3}(?P<line>\S.*)",
        # BSD's, as narrow as the numbers of an editor; and dated lines hardly come twice.
        rb"(?=.{3}\d ) {1,3}(?P<times>\d{1,3}) (?P<line>(?:\[(?!\w{3} \w{3} )|AH|\(\d).*)",
        rb"(?P<line>.*): {1,3}(?P<times>\d{1,6}) Time\(s\)",
        rb"[(\[]?(?P<times>\d{1,6}) ?" + _TIMES + rb"[)\]:]{0,2}[ \t]+(?P<line>(?:\[|AH\d{5}: |\(\d).*)",
    )
)
"""How syslog says that a line came again (behind it or with it), and how `uniq -c` and logwatch count lines."""
_BEHIND = re.compile(
    rb"(?<=[^ \t])[ \t]{1,3}[(\[]?(?:(?P<times>\d{1,6}) ?"
    + _TIMES
    + rb"|(?:x|\xc3\x97) ?(?P<more>\d{1,6}))[)\]]?[ .]{0,3}\Z"
)
"""How people do."""
_LONGEST_COUNT = 40
_STATUS_LINE = re.compile(rb"server: \d")
"""Behind it stand a responder's own words."""
_LISTED = re.compile(
    rb"(?=.{7} ) {0,6}(?P<number>\d{1,7}) {1,3}"
    rb"(?=\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?P<fraction>\.)?)"
)
"""A dated line behind what may be its number (`less -N`) or how often it came (`uniq -c`)."""
_SOFT_BREAK = re.compile(rb".{40,75}=")
_NEXT = re.compile(
    rb"(?<![ \t])[ \t]++(?=\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})? \d{4}\] \[)"
)


class Paste:
    """Reads lines one after the other. What it could not understand is counted, never passed over in silence."""

    def __init__(self) -> None:
        self.unclear = 0
        """Lines that speak of stapling or OCSP in another form than Apache's."""
        self.writers: Counter[str] = Counter()
        """Who wrote those of them whose writer is known (`others`)."""
        self.clients = 0
        """Lines that are about client certificates."""
        self.head = b""
        """How the text begins, where it says nothing: what else it may be."""
        self._pending: list[bytes] = []
        self._number = 0
        self._raw = self._begun = b""  # the line at hand as it stood there, and that of the pending one
        self._last: list[Entry] = []
        self._quoted: list[Entry] = []  # by sentences
        self._repeats = MOST // _LEAST  # of lines that are not there
        self._inner = MOST // _LEAST  # lines that others have within them
        self._apart = 0  # how many pieces of the pending one stood before an empty line

    def entries(self, readline: Callable[[], bytes]) -> Iterator[Entry]:
        """Yield what the lines say, each as soon as it is understood; at most MOST bytes are read.

        What only sentences quote comes at the end: most tell what the lines show, and nothing counts twice.
        """
        said: set[str] = set()
        for entry in self._of_lines(readline):
            said.add(entry.code)
            self.clients += entry.scope is Scope.CLIENT
            yield entry
        for entry in self._quoted:
            if entry.code not in said:
                self.clients += entry.scope is Scope.CLIENT
                yield entry

    def _of_lines(self, readline: Callable[[], bytes]) -> Iterator[Entry]:
        def kept() -> bytes:
            line = readline()
            self.head += line[: max(0, HEAD_BYTES - len(self.head))]
            return line

        for number, line in _without_line_numbers(_without_parts(_without_soft_breaks(_lines(kept)))):
            yield from self._take_again(line, number)
        yield from self._settle()

    def _take_again(self, raw: bytes, number: int) -> Iterator[Entry]:
        """Take a line, and once more what it or the last one said, as often as a program has counted it."""
        again = _again(raw)
        line, times = again or (raw, 0)
        if again and line:  # what is counted is whole, and has nothing to do with what stands above
            yield from self._settle()
            said = [*self._take(line, number), *self._settle()]
        else:
            said = list(self._settle() if again else self._take(raw, number))
        yield from said
        self._last = said[-1:] or (self._last if again and not line else [])
        if again:
            times = max(0, min(times - bool(line), self._repeats))
            self._repeats -= times
            yield from self._last * times

    def _take(self, raw: bytes, number: int) -> Iterator[Entry]:
        if not self._pending and not _MATTERS.search(raw):
            return
        self._raw = raw
        if not _ACCESS.search(raw) and (messages := _messages(unlinked(raw), number)):
            yield from self._settle()
            yield from messages
            return
        for line in self._bounded(_lines_within(raw)):
            text = bare(line)
            for piece in map(bare, self._bounded(text.split(b"\n"))) if b"\n" in text else (text,):
                yield from self._take_bare(piece, number)

    def _bounded(self, lines: list[bytes]) -> list[bytes]:
        """Those of the lines within one that may still be read: of a whole text no more than it could have bare."""
        lines = lines[: 1 + self._inner]
        self._inner -= len(lines) - 1
        return lines

    def _take_bare(self, line: bytes, number: int) -> Iterator[Entry]:
        if not line:  # between the pieces of a wrapped one it is a form's doing
            self._apart = self._apart or len(self._pending)
            return
        if _ACCESS.search(line):  # a visitor's words: the address asked for, a user's name, a browser's
            yield from self._settle()
            self._note(line, self._raw)
            return
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
        goes_on = begins(line) and not ELLIPSIS.search(line)
        if entry := _joined([line], number) or (None if goes_on else cut_line(line, number)):
            yield entry
        elif begins(line):
            self._pending, self._number, self._begun, self._apart = [line], number, self._raw, 0
        else:
            yield from self._said_or_noted(line, number, self._raw)

    def _said_or_noted(self, line: bytes, number: int, raw: bytes) -> Iterator[Entry]:
        """Yield what a sentence quotes of a log's line, keep what it quotes else; one that only speaks is counted."""
        if messages := said_within(line, number):
            for entry in messages:
                if entry.time or entry.pid:
                    yield entry
                else:
                    self._quoted.append(entry)
        elif not _CALL.search(raw[-_LONGEST_COUNT:]) and (tail := tail_of_a_message(line, number)):
            yield tail
        else:
            self._note(line, raw)

    def _note(self, line: bytes, raw: bytes) -> None:
        """Count a line that speaks of stapling, and who wrote it."""
        if MENTION.search(line.partition(b", referer: ")[0]):
            self.unclear += 1
            if writer := writer_of(line, raw) or (INVENTED if has_another_text(line) else None):
                self.writers[writer] += 1

    def _is_new(self, line: bytes) -> bool:
        """Whether a line begins here: a header without its date may be the rest of one whose date stands before."""
        if HEADER.match(line) or _NGINX.match(line) or FIELD.match(line):
            return True
        before = b" ".join(self._pending)
        return begins(line) and bool(_CODE.search(before) or (line[:1] == b"[" and MODULE.search(before)))

    def _settle(self) -> Iterator[Entry]:
        """Have done with a line that began and was never understood; behind an empty line stands something else."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        if not (_TELLS.search(b"".join(pending)) or _TELLS.search(b" ".join(pending))):
            return
        first, counts = pending[0], range(len(pending), 1, -1)
        longer = [joint.join(pending[:number]) for number in counts for joint in (b"", b" ")]
        # A whole one may go on in the next piece (a name does); of a cut one nothing more is to come.
        tries = [(whole_line, way) for way in longer and (*longer, first)]
        tries += [(cut_line, way) for way in (first, *longer)]
        whole = next((entry for read, way in tries if (entry := read(way, self._number))), None)
        if whole:
            yield whole
            return
        own = pending[: self._apart or None]
        yield from self._said_or_noted(b" ".join(own), self._number, self._begun)
        for line in pending[len(own) :]:
            yield from self._said_or_noted(line, self._number, line)


def _again(raw: bytes) -> tuple[bytes, int] | None:
    """The line that is counted (empty: the one above) and how often it came, if that is told."""
    if found := next((found for way in _AGAIN if (found := way.match(raw))), None):
        return found["line"], int(found["times"])
    behind = _BEHIND.search(raw, max(0, len(raw) - _LONGEST_COUNT))
    if behind and not _STATUS_LINE.search(raw):
        return raw[: behind.start()], int(behind["times"] or behind["more"])
    return None


def _lines_within(raw: bytes) -> list[bytes]:
    """The lines that a page or a string has made one; none within a line in which others than mod_ssl speak."""
    module = MODULE.search(raw)
    strange = (module and module[1] not in (b"ssl", b"md")) or quotes_strangers(raw)
    return [raw] if strange else _BREAK.split(raw)


def _lines(readline: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield at most MOST bytes of lines; UTF-16 is read as such."""
    lines = _limited(readline)
    first = next(lines, b"")
    encoding = utf_16(first)
    if not encoding:
        yield from itertools.chain((first,) if first else (), lines)
        return
    yield from b"".join((first, *lines)).decode(encoding, "replace").encode("utf-8", "replace").split(b"\n")


def utf_16(head: bytes) -> str:
    """Return which UTF-16 a text that begins so is in, as Windows saves it; "" if in none."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first, second = head[:64:2], head[1:64:2]
    if len(first) < 8 or bool(first.strip(b"\0")) == bool(second.strip(b"\0")):
        return ""
    return "utf-16-le" if first.strip(b"\0") else "utf-16-be"


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


def _without_line_numbers(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines, those of a listing without their numbers, which are no counts of equal lines.

    Nothing comes twice in one microsecond; of lines dated by seconds a number is told by its neighbour's.
    """
    before = -1
    lines = iter(lines)
    held = next(lines, None)
    while held:
        (at, line), found = held, _LISTED.match(held[1])
        if found is None:
            yield held
            held, before = next(lines, None), -1
            continue
        held, number = next(lines, None), int(found["number"])
        after = _LISTED.match(held[1]) if held else None
        listed = found["fraction"] or before == number - 1 or (after and int(after["number"]) == number + 1)
        yield at, line[found.end() :] if listed else line
        before = number


def _without_parts(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines, those whole again that a container's runtime has written in parts."""
    begun, begin, stream = b"", 0, b""
    for number, line in lines:
        part = _CONTAINER.fullmatch(line)
        if begun and (part is None or part["stream"] != stream or len(begun) > MAX_LINE):
            yield begin, begun
            begun = b""
        if part is None or (part["flag"] == b"F" and not begun):
            yield number, line
            continue
        if not begun:
            begun, begin, stream = part["head"] + b"F ", number, part["stream"]
        begun += part["text"]
        if part["flag"] == b"F":
            yield begin, begun
            begun = b""
    if begun:
        yield begin, begun


def _limited(readline: Callable[[], bytes]) -> Iterator[bytes]:
    read = 0
    while read < MOST and (line := readline()):
        read += max(len(line), _LEAST)
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
    parts = [part for piece in pieces for part in GAP.split(piece)]
    if len(parts) == 1:
        return parse(parts[0], number)
    joints = len(parts) - 1
    if not _NUMBER.search(b"".join(parts)):
        return None
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
