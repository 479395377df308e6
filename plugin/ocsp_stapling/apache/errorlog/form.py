"""What a line of the error log looks like on a server with an ErrorLogFormat of its own (`core`, `server/log.c`).

Such a line is read as a whole: every item stands where Apache puts it. mod_ssl's lines about OCSP belong to no
request, so items of requests (headers, notes) are empty on them, and what a visitor sends matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ocsp_stapling.apache.errorlog import line as default
from ocsp_stapling.apache.errorlog.line import Entry, said_entry
from ocsp_stapling.apache.errorlog.undress import LEVEL

MOST = 8  # forms of one server
_LONGEST = 2000

_ITEM = re.compile(r"%(?P<flags>[-+\d]*)(?:\{(?P<name>[^{}]*)\}[-+\d]*)?(?P<letter>[A-Za-z%])")
_PIECE = re.compile(rf"(?P<separator>% )|{_ITEM.pattern}|\\(?P<escaped>.)|(?P<text>.)", re.DOTALL)
_TIME = (
    rb"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:.]{8,18} \d{4}"
    rb"|\d{4}-\d\d-\d\d[ T][\d:.]{8,18}(?: ?[+-]\d\d:?\d\d)?"
)
_ALWAYS = {
    "t": (b"time", _TIME),
    "l": (b"", LEVEL),
    "m": (b"module", rb"\w{1,32}"),
    "P": (b"pid", rb"\d{1,10}"),
}
_OFTEN = {
    "T": (b"tid", rb"\d{1,20}"),
    "a": (b"client", rb"[^\s\"]{1,120}"),
    "E": (b"error", rb"\((?:\d{1,8}|EAI -?\d{1,5}|OS \d{1,8})\)[^\[\]\"]{0,160}?"),
    "F": (b"file", rb"[\w./-]{1,200}\(\d{1,7}\)"),
    "A": (b"", rb"[^\s\"]{1,120}"),
    "v": (b"", rb"[^\s\"]{1,260}"),
    "k": (b"", rb"\d{1,9}"),
}
_OF_A_CONNECTION = (b"", rb"[\w+/@-]{1,40}")  # %{c}L
_MESSAGE = rb"(?P<code>AH\d{5}): (?P<text>.*?)"


class _Item(NamedTuple):
    """A literal text, or an item, whose pattern is None where mod_ssl's lines have nothing to put there."""

    pattern: bytes | None
    always: bool = True
    message: bool = False


class Form(NamedTuple):
    """One ErrorLogFormat: how its lines are read, and (None: not by their beginning alone) when they were written."""

    lines: tuple[re.Pattern[bytes], ...]
    time: re.Pattern[bytes] | None


def forms_of(formats: Iterable[str]) -> tuple[Form, ...]:
    """Return how to read lines of these formats (as the configuration gives them); the first MOST count."""
    return tuple(_form(text[:_LONGEST]) for text in list(dict.fromkeys(formats))[:MOST])


def parse(line: bytes, number: int, forms: Sequence[Form]) -> Entry | None:
    """Return what a line says, in httpd's own form or in one of these."""
    if (found := default.parse(line, number)) or len(line) > default.MAX_LINE:
        return found
    matches = (pattern.match(line) for form in forms for pattern in form.lines)
    return next(
        (entry for match in matches if match and (entry := said_entry(match.groupdict(), number))), None
    )


def time_of(line: bytes, forms: Sequence[Form]) -> str | None:
    """Return when a line was written; with forms of the server's own, by these alone."""
    if not forms:
        return default.time_of(line)
    patterns = (form.time for form in forms if form.time)
    found = next((match for pattern in patterns if (match := pattern.match(line))), None)
    return default.iso_time(found["time"]) if found else None


def _form(text: str) -> Form:
    fields = _fields(text)
    lines = [pattern for skipped in (False, True) if (pattern := _pattern(fields, skipped)) is not None]
    return Form(tuple(lines), _time(fields))


def _fields(text: str) -> list[list[_Item]]:
    """The fields, each with the blank before it: httpd leaves out a whole one of which an item is empty."""
    fields: list[list[_Item]] = [[]]
    named: set[bytes] = set()
    for piece in _PIECE.finditer(text):
        if piece["separator"] or piece["text"] == " ":
            fields.append([])
        if not piece["separator"]:
            fields[-1].append(_item(piece, named))
    return fields


def _item(piece: re.Match[str], named: set[bytes]) -> _Item:
    letter, flags = piece["letter"], piece["flags"] or ""
    if letter is None or letter == "%":
        literal = (
            "%" if letter else {"n": "\n", "t": "\t"}.get(piece["escaped"], piece["escaped"]) or piece["text"]
        )
        return _Item(re.escape(literal.encode("utf-8", "surrogateescape")))
    if letter == "M":
        first = b"code" not in named
        named.add(b"code")
        # Said once more it is the same: to try every end of every copy takes the square of a line's length.
        return _Item(_MESSAGE if first else rb"(?P=code): (?P=text)", message=first)
    known = (
        _OF_A_CONNECTION
        if (letter, piece["name"]) == ("L", "c")
        else _ALWAYS.get(letter) or _OFTEN.get(letter)
    )
    hyphen = "-" in flags
    if known is None:
        return _Item(b"-") if hyphen else _Item(None, always=False)
    name, pattern = known
    pattern = (
        b"(?P<" + name + b">" + pattern + b")" if name and name not in named else b"(?:" + pattern + b")"
    )
    named.add(name)
    always = letter in _ALWAYS and not re.search(r"\d", flags)
    return _Item(b"(?:" + pattern + b"|-)" if hyphen else pattern, always or hyphen)


def _pattern(fields: list[list[_Item]], skipped: bool) -> re.Pattern[bytes] | None:
    """The pattern of a whole line; `skipped`: an item before the message is empty, so its field is the message alone.

    None if there is no such line.
    """
    parts = []
    for field in fields:
        at = next((index for index, item in enumerate(field) if item.message), None)
        body = b"".join(item.pattern or b"" for item in field)
        if at is None:
            missing = any(item.pattern is None for item in field)
            parts.append(
                b"" if missing else body if all(item.always for item in field) else b"(?:" + body + b")?"
            )
            continue
        if skipped and all(item.always for item in field[:at]):
            return None
        if not skipped and any(item.pattern is None for item in field):
            return None
        parts.append(_MESSAGE if skipped else body)
    whole = b"".join(parts)
    return re.compile(whole + rb"\r?\Z", re.DOTALL) if b"(?P<code>" in whole else None


def _time(fields: list[list[_Item]]) -> re.Pattern[bytes] | None:
    """What a line of whatever module begins with, up to its time; None if what stands before it may be missing."""
    before = b""
    for field in fields:
        if not all(item.always for item in field):
            return None
        for item in field:
            if item.message:
                return None
            before += item.pattern or b""
            if b"(?P<time>" in before:
                return re.compile(before)
    return None
