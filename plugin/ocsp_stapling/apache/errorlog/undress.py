"""Takes off what quoting, lists, forums, pages, chats, grep and shippers of logs put around a line of Apache's log.

Only for what somebody hands on. Whose words stand before a header decides whether the header is believed: a line of
another module, or of an access log, may quote what a visitor wrote.
"""

from __future__ import annotations

import html
import json
import re
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from ocsp_stapling.apache.errorlog.line import MAX_LINE, parse

LEVEL = rb"(?:emerg|alert|crit|error|warn|notice|info|debug|trace[1-8])"
MODULE = re.compile(rb"\[(?:(\w{1,32}):)?" + LEVEL + rb"\]")
HEADER = re.compile(
    rb"\[(?:[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d |\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d)"
    rb"|(?:[A-Z][a-z]{2} )?\d{4}-\d\d-\d\d[T ]\d\d:|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d "
)
"""How a line of Apache's log begins, bare or behind a prefix with a time."""
_WITHOUT_DATE = re.compile(rb"\[(?:ssl:|md:|error\]|warn\])|AH\d{5}: ")
_NUMBERED = re.compile(rb"\bAH\d{5}: ")
_ANSI = re.compile(rb"(?:\x1b|\^\[|\\(?:033|x1b|e|u001b))\[[\d;]*[A-Za-z]")
_INVISIBLE = re.compile(rb"\xe2\x80[\x8b-\x8f]|\xe2\x81\xa0|\xef\xbb\xbf|\xc2\xad")
_BLANKS = re.compile(rb"\xc2\xa0|\xe2\x80[\x80-\x8a\xaf]")
_WIDE = re.compile(rb"\xef(?:\xbc[\x81-\xbf]|\xbd[\x80-\x9e])")
"""Letters and signs of ASCII as wide as Chinese ones."""
_GARBLED = re.compile(rb"\xc3\xa2\xe2\x82\xac(?:\xe2\x84\xa2|\xcb\x9c|\xc5\x93|\xc2\x9d)")
"""A typographic quotation mark whose bytes were read as Windows-1252."""
_COLONS = re.compile(rb"(\d{4}):(\d\d):(\d\d)-(?=\d\d:\d\d:\d\d )")
"""How Sophos' firewalls write a date."""
_MISREAD = re.compile(rb"\bA[Hh] ?[0Oo](\d{4})(?=: )")
"""A number as a reader of pictures sees it."""
_ENTITY = re.compile(rb"&(?:[A-Za-z]{2,10}|#\d{1,5}|#x[0-9a-fA-F]{1,4});")
_TAG = re.compile(
    rb"</?(?:a|b|blockquote|code|div|em|font|i|li|mark|ol|p|pre|span|strong|table|tbody|td|th|tr|u|ul)"
    rb"(?: [^<>]{0,300})?>"
    rb"|\[/?(?:code|quote|pre|php|b|i|list|noparse|url|font|size|color)(?:=[^\[\]]{0,100})?\]"
    rb"|\{\{|\}\}|\{(?:noformat|code|quote)(?::[^{}]{0,60})?\}",
    re.IGNORECASE,
)
_CELL_END = re.compile(rb"</t[dh]>(?=<t[dh])", re.IGNORECASE)
_LINK = re.compile(
    rb"\[([\w.:/-]{1,200})\]\((?:https?|mailto):[^()\s]{0,300}\)|<a href=[^<>]{0,300}>([^<>]{1,200})</a>"
)
_ESCAPED = re.compile(rb"\\([\[\]_*`'\"().#>~|<-])")
_BOLD = re.compile(rb"(?:\*\*|__)(?=AH\d|\[|\(\d|stapling|OCSP)|(?<=[\w:!\])'])(?:\*\*|__)(?=[\s:]|\Z)")
_QUOTING = re.compile(
    rb"(?:#{2}\[(?:error|warning)\]|\[[\d/., -]{6,12} \d{1,2}:\d\d(?::\d\d)?(?: [AP]M)?\] [\w .'-]{1,40}: |"
    rb"[>|*\xb7+-]|<\d{1,3}>|\xe2\x80[\xa2\xa6]|\.\.\.|`{1,3}|\"|')[ \t]*"
)
_HEADING = re.compile(
    rb"\A(?:(?:subject|title|re|fwd?|aw|betreff):[ \t]*)+"
    rb"(?:\[[\w@. -]{1,40}\][ \t]*(?:re:[ \t]*)?)?(?=AH\d{5}: |\(\d|\[client )",
    re.IGNORECASE,
)
_IN_A_URL = re.compile(rb"(?=\S*%20)(?:%5B|AH\d)\S+")
"""A whole line as a browser escapes it."""
_NUMBER = re.compile(rb"(?:#?\d{1,9}[:.)]?[ \t]+|\d{1,9}[:-])(?=\[|\d{4}-|[A-Z][a-z]{2} |AH\d{5}: |\(\d)")
_FILE_NAME = re.compile(rb"[^\s\[\]\"'<>]{1,200}?[:-](?=(?:\d{1,9}[:-])?\[)")
FIELD = re.compile(rb"[ \t]*_{0,2}[A-Z][A-Z_]{2,40}=")
"""How journald begins a field where it shows all of them."""
_SHOWN_END = re.compile(rb"(?:\^M)?\$\Z")
"""The end of a line as `cat -A` shows it."""
_VISIBLE = re.compile(rb"(?:M-(?:\^[@-_]|[ -~])){2,}")
"""Bytes beyond ASCII as `cat -v` shows them."""
_SYSLOG = re.compile(rb"[\w:., +/@-]{0,100}\b(?:httpd|apache2?(?:ctl)?)\[\d{1,10}\]: (?=AH\d{5}: |\[\.)")
"""How journald begins what Apache says before it has opened its log."""
_CELL = rb"(?:\"[^\"\[\]]{0,100}\"|[^\",;\t\[\]]{0,60})"
_CELLS = re.compile(_CELL + rb"(?:[,;\t]" + _CELL + rb"){0,8}[,;\t]\"?(?=\[)")
_COLUMNS = re.compile(
    rb"(?:[|\"]? ?(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S{0,12}?|\[[A-Z][a-z]{2} [\w :.]{15,30}\]))?"
    rb"(?:\"?[\w:. /@-]{0,40}\"?[\t|;,]){1,8} *\"?(?=AH\d{5}: )"
)
"""Date, level, module and process in columns of their own, as panels and tables of CSV show them."""
_IN_A_COMMAND = re.compile(rb"\"[ \t]+[\w~]")
"""How no cell goes on behind its quotation mark."""
_LOGFMT = re.compile(
    rb"\w+=(?:(?!\bmodule=(?!\"?ssl\b)).){0,300}?\b(?:msg|message)=\"((?:[^\"\\]|\\.){8,4000})\""
)
_QUOTED_CELL = re.compile(rb"\"((?:[^\"]|\"\"){20,4000})\"[,;\t]")
_TAIL = re.compile(rb"(?:<br ?/?>|</[\w:.-]{1,40}>|\]\]>|['\"]\]|\\n|[`\"',;|}\\]|\s)++\Z")
_LONGEST_TAIL = 500  # it is looked for from each place
_END_OF_ROW = re.compile(rb"'\s*\)[\s;,]*\Z")
"""How a row of SQL ends that has the line in its last column."""
_MESSAGES = (
    *("log", "message", "Message", "msg", "MESSAGE", "@message", "text", "textPayload", "_source"),
    *("jsonPayload", "full_message", "short_message", "line", "_raw", "result", "event", "original"),
    *("resultDescription", "full_log"),
)
"""Under which names shippers of logs keep the line itself; others (a referer, a path) are a visitor's words."""
_TIMES = ("@timestamp", "timestamp", "time")
_OBJECT = re.compile(rb"\{[ \t]{0,8}\"")
_NEXT_OBJECT = re.compile(r"\{[ \t]{0,8}\"")
_CODE = re.compile(r"AH\d{5}")
_JSON = json.JSONDecoder()
_LONE = re.compile("[\\ud800-\\udc7f\\udd00-\\udfff]")  # halves of a character that JSON can name alone
_DEEPEST = 3
_LONGEST_PREFIX = 200
_DATE = rb"\[[^\[\]]{0,40}\d{1,2}:\d\d:\d\d[^\[\]]{0,40}\]"
_PREFIXED = re.compile(
    rb"(?=" + _DATE + rb"[ \t]*(?:\[[^\[\]]{1,80}\][ \t]*){0,3}?\[(?:(?:ssl|md):)?" + LEVEL + rb"\])"
)
_CLOSING = dict(zip("\u300c\u300e\u00ab\u201c\u201e", "\u300d\u300f\u00bb\u201d\u201c", strict=True))
"""How a sentence quotes a line in other languages; what stands after it is the sentence's."""
_STRANGERS = re.compile(
    rb"\b(?-i:GET|POST|HEAD|PUT|OPTIONS|PROPFIND) |HTTP/\d|refer+er|user.?agent"
    rb"|(?<!ocsp )(?<!responder )(?:\buri\b|\burl\b|query|request)"
    rb"|php|said into|<= |\bT=\"|(?<!de)script|subject|title|argument",
    re.IGNORECASE,
)
"""What stands before words that a visitor or a script chose."""


def bare(raw: bytes) -> bytes:
    """Return a line without what stands around it."""
    line = raw[: 2 * MAX_LINE]
    begun = _OBJECT.search(line)
    before = line[: begun.start()] if begun else line
    if begun and not (MODULE.search(before) or quotes_strangers(before)):
        line = _message_of(line, len(before))
    line = _VISIBLE.sub(_from_visible, _ANSI.sub(b"", line)) if b"M-" in line else _ANSI.sub(b"", line)
    if not line.isascii():
        line = _GARBLED.sub(b"'", _WIDE.sub(_narrow, _BLANKS.sub(b" ", _INVISIBLE.sub(b"", line))))
    line = line.replace(b"[.]", b".")  # how a name is written that nobody shall click on
    line = _COLONS.sub(rb"\1-\2-\3T", _MISREAD.sub(rb"AH0\1", line.strip()), count=1)
    if _IN_A_URL.fullmatch(line):
        line = unquote_to_bytes(line)
    line = _HEADING.sub(b"", _unmarked(_first_cell(_in_columns(line))), count=1)
    line = line.removeprefix(b"MESSAGE=")
    for _ in range(6):
        before = line
        for pattern in (_SYSLOG, _CELLS, _QUOTING, _NUMBER):
            line = pattern.sub(b"", line, count=1) if pattern.match(line) else line
        if not begins(line) and (name := _FILE_NAME.match(line)):
            line = line[name.end() :]
        if line == before:
            break
    line = without_prefix(line)
    line = _END_OF_ROW.sub(b"", line) if HEADER.match(line) else line
    line = shown if (shown := _SHOWN_END.sub(b"", line)) != line and parse(shown) else line
    tail = _TAIL.search(line, max(0, len(line) - _LONGEST_TAIL))
    if tail is None:
        return line
    closed = line[: tail.start() + 1]  # the quotation mark behind a name is the line's own
    return closed if b"''" not in closed and parse(closed) else closed[:-1]


def _from_visible(shown: re.Match[bytes]) -> bytes:
    return bytes(
        (ord(low) ^ 0x40 if control else ord(low)) | 0x80
        for control, low in re.findall(rb"M-(\^?)(.)", shown[0])
    )


def _narrow(wide: re.Match[bytes]) -> bytes:
    return bytes([ord(wide[0].decode()) - 0xFEE0])


def _in_columns(line: bytes) -> bytes:
    """The message alone, where date, level and module stand in fields of their own."""
    if (found := _LOGFMT.match(line)) and not quotes_strangers(line[: found.start(1)]):
        return found[1]
    line = _CELL_END.sub(b"\t", line)
    columns = _COLUMNS.match(_TAG.sub(b"", line))
    if columns is None or quotes_strangers(columns[0]) or _IN_A_COMMAND.search(line, columns.end()):
        return line
    return (columns["time"] or b"") + b" " + _TAG.sub(b"", line)[columns.end() :]


def _first_cell(line: bytes) -> bytes:
    """The line without the columns behind it, where the first is a message with its number."""
    found = _QUOTED_CELL.match(line)
    first = found[1].replace(b'""', b'"') if found else line.partition(b"\t")[0]
    return first if begins(first) and _NUMBERED.search(first) else line


def begins(line: bytes) -> bool:
    """Return whether a line of Apache's begins here, with its date or without."""
    return bool(HEADER.match(line) or _WITHOUT_DATE.match(line))


def _unmarked(line: bytes) -> bytes:
    """The line without entities and tags of HTML, BBCode, Markdown and tracker markup."""
    for _ in range(2):  # some pages escape what was escaped
        if _ENTITY.search(line):
            text = html.unescape(line.decode("utf-8", "surrogateescape"))
            line = _BLANKS.sub(b" ", text.encode("utf-8", "surrogateescape"))
    line = unlinked(_ESCAPED.sub(rb"\1", line))
    return _BOLD.sub(b"", _TAG.sub(b"", line)).strip()


def unlinked(line: bytes) -> bytes:
    """Return the line with the text of links that a forum has made of names."""
    return _LINK.sub(lambda found: found[1] or found[2], line)


def quotes_strangers(text: bytes) -> bool:
    """Return whether the text is of a kind in which visitors or scripts choose words."""
    return _STRANGERS.search(text) is not None


def without_prefix(line: bytes) -> bytes:
    """The line from its dated header on, whatever stood before it, unless strangers choose what stands there."""
    found = _PREFIXED.search(line, 0, 2 * _LONGEST_PREFIX)
    if found is None or found.start() > _LONGEST_PREFIX:
        return line
    before = line[: found.start()]
    if MODULE.search(before) or quotes_strangers(before):
        return line
    closing = _CLOSING.get(before[-3:].decode("utf-8", "replace")[-1:], "").encode()
    end = line.rfind(closing) if closing else -1
    return line[found.start() : end if end > found.end() else None]


def _message_of(line: bytes, at: int) -> bytes:
    """Return the log's own line out of an object of JSON that begins there, as shippers of logs write them."""
    whole, texts = line.decode("utf-8", "surrogateescape"), []
    at = len(line[:at].decode("utf-8", "surrogateescape"))
    with suppress(ValueError, RecursionError):
        while begun := _NEXT_OBJECT.search(whole, at):
            found, at = _JSON.raw_decode(whole, begun.start())
            texts += [_dated(found)]
    said = [text for text in texts if text]
    return _LONE.sub("?", "\n".join(said)).encode("utf-8", "surrogateescape").strip() if said else line


def _dated(found: dict[str, Any]) -> str | None:
    """Return the line that an object holds, with the object's own number and time where it tells none."""
    text = _text_of(found, _DEEPEST)
    code = next((one for one in found.values() if isinstance(one, str) and _CODE.fullmatch(one)), "")
    text = f"{code}: {text}" if text and code not in text else text
    if not text or HEADER.match(text.encode(errors="replace")):
        return text
    times = (found.get(name) for name in _TIMES)
    return next((f"{time} {text}" for time in times if isinstance(time, str)), text)


def _text_of(found: Any, depth: int) -> str | None:
    if isinstance(found, str):
        return found
    # Journald's way with what is not all printable.
    if isinstance(found, list) and all(isinstance(one, int) and 0 <= one < 256 for one in found):
        return bytes(found).decode("utf-8", "surrogateescape")
    if not isinstance(found, dict) or not depth:
        return None
    texts = (_text_of(found[name], depth - 1) for name in _MESSAGES if name in found)
    return next((text for text in texts if text is not None), None)
