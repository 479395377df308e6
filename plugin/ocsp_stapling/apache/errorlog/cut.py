"""A line of mod_ssl's or mod_md's that was cut, shortened, or quoted within a sentence."""

from __future__ import annotations

import re
from functools import cache
from itertools import islice

from ocsp_stapling.apache.errorlog.codes import RULES, SUBJECT, Kind, Message, Scope, kind_of
from ocsp_stapling.apache.errorlog.line import Entry, Names, entry_of, names_in, time_of
from ocsp_stapling.apache.errorlog.undress import LEVEL, MODULE, quotes_strangers, without_prefix

_SHORTEST_TEXT = 12  # of a message cut at its end, where nothing says that mod_ssl wrote it
GAP = re.compile(rb"[ \t]{12,}")
_CUT = re.compile(
    rb"(?!//)"
    # What is left of a bracket that was cut, or a date and a name without brackets; a panel's columns.
    rb"(?:\$?[\w:., +/@-]{0,60}\]?[ \t]*(?=\[|\bAH\d{5}: )"
    rb"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*[ \t]+(?:Error|Warning)[ \t]+[\d.:a-f]*[ \t]*)?"
    rb"(?P<brackets>(?:(?:\[[^\[\]]{1,80}\]|\.{2,5}|\xe2\x80\xa6|(?:-|\d[\d.:]{0,60})(?=[ \t]))[ \t]*){0,6}?)"
    rb"(?P<error>\((?:\d{1,8}|EAI -?\d{1,5}|OS \d{1,8})\)(?:[^\[\]\"]|\[(?:\.{3}|\xe2\x80\xa6)\]){0,300}?"
    rb"(?::[ \t]*|[ \t]+(?=AH\d{5})))?"
    # An error text whose number was cut away.
    rb"(?P<reason>(?!AH\d{5}:)[A-Za-z][\w '.-]{3,80}(?<!error):[ \t]*(?=\[client|could not |failed |error reading ))?"
    rb"(?P<client>\[(?:client|remote)[^\[\]]{0,80}\][ \t]*)?"
    rb"(?:(?P<code>[Aa][Hh]\d{5})(?::[ \t]*|[ \t]+(?:- )?))?"
    rb"(?P<text>(?!-|\d)[^\[\]()\s.\xe2].*?)(?:[ \t]+Apache error)?\Z",
    re.DOTALL,
)
_WITHIN = re.compile(
    rb"(?P<error>\((?:\d{1,8}|EAI -?\d{1,5}|OS \d{1,8})\)[^\[\]\"]{0,300}?: )?"
    rb"(?:\[(?:client|remote)[^\[\]]{0,80}\] )?"
    # Without a number it is a message where it begins with a function of mod_ssl's, or with an error, or in quotes.
    rb"(?:(?P<code>[Aa][Hh]\d{5}):?[ \t]+|(?<!\d{5}: )(?<!\d{5} )(?=(?:ssl_)?stapling_[a-z_]{2,30}: )"
    rb"|(?(error)(?=could not |failed reading |error reading )|(?:(?<=[`\"'\x9c\x98\x9e])(?=could not )"
    # Or where it names the responder, behind whatever says who speaks.
    rb"|(?<=\w: )(?=could not (?:connect to|resolve address of) OCSP responder '?[\w-]+\.\w))))"
)
_NOBODY = Names(None, None, None)
_WITH_TEXT = re.compile(rb"\b(AH\d{5}): ?(?=\w[^`|]{11})")
_RECOGNISED, _SHORTEST_TAIL = 8, 16
_BEGINNINGS = b"\n".join(text.partition("%")[0].encode() for rule in RULES.values() for text in rule.formats)
_SENTENCE = 2000  # bytes of a line in which the number must stand
_TRIES = 12  # places in a sentence at which a message may begin
_IN_QUOTES = re.compile(rb"[^`|\"]{1,200}(?=[`|\"])")
_ENDS = re.compile(rb"[(\xe3\xef`\"').,;:|\s\xe2\xc2]|\Z")
_NAMELESS = [rule for rule in RULES.values() if not re.search(r"%[swahn]\Z", rule.formats[0])]
"""Rules whose message can be told from what follows it without a number."""
_OWN_HEADER = re.compile(
    rb"(?:\[[^\[\]]{1,80}\][ \t]*)?\[(ssl|md):" + LEVEL + rb"\][ \t]*(?:\[[^\[\]]{1,80}\][ \t]*){0,4}\Z"
)
_ANY_HEADER = re.compile(rb"\[\w*:?" + LEVEL + rb"\]|\d\d:\d\d:\d\d")
_IN_A_PROGRAM = re.compile(
    rb"(?:\w\(|[\[{=]>?)[ \t]*[\"'`]{1,3}\Z|(?:[,(]|[\"']:)[ \t]*[\"']\Z|\S[ \t]+(?:#|//)[ \t]*\Z"
    rb"|\bAPLOGNO\b|\A[ \t]*#[ \t]*define\b"
    # A pattern, the words of a search, and what follows a file of a program's text.
    rb"|(?:\A|[\s'\"~(])/\Z|\b(?:[efz]?grep|sed|awk|rg|findstr|Select-String)\b[^\"'`/]{0,60}[\"'/]{1,2}\Z"
    rb"|\.[ch][,;|\t:][^()]{0,40}\Z|\A//"
    rb"|(?:\|[ \t]*(?:where|filter|search)\b|\b(?:index|sourcetype)=)[^\"'|]{0,80}[\"'%]{1,2}\Z"
    rb"|\b(?:patterns?|(?:fail|ignore)?regexp?|match(?:es)?|contains|expression|needle)[\"']?[ \t]*"
    rb"(?:[=~]{1,2}[ \t]*[\"']?|:[ \t]*[\"'/])(?:[\^%.(][^\"'\s]{0,60}[ \t]*)?\Z",
    re.IGNORECASE,
)
_GOES_ON_AS_A_PROGRAM = re.compile(
    rb"[\"'][ \t]*(?:\)+(?:;|\{?\Z)|[;+]|\\n|,\Z)|[\"']?(?:%[{\w]|\(\?|[.(\[][.()\[\]^']{0,5}[*+]|\\[SwHd]|\$\{)"
)
"""Where a name should stand, a format or a pattern has a place for one."""
_PID = re.compile(rb"\[pid (\d{1,10})(?::tid (\d{1,20}))?\]")
MENTION = re.compile(
    rb"stapling|OCSP|requesting certificate status|\bAH(?:"
    + b"|".join(code[2:] for code, rule in RULES.items() if rule.kind and rule.module != b"core")
    + rb")\b",
    re.IGNORECASE,
)
_FUNCTION = re.compile(rb"(?:ssl_)?stapling_[a-z_]{2,30}:? ", re.IGNORECASE)
_NAMED = re.compile(rb"could not (?:connect to|resolve address of) OCSP responder \W{0,3}[\w-]+(?:\.[\w-]+)+")
_VAGUE = {
    "%w": rb"[\w() /.-]*?",
    "%a": rb"(?P<answer>(?i:try_?later|unauthori[sz]ed|internal_?error|malformed_?request|sig_?required"
    rb"|revoked|unknown|\(unknown\))(?!\w))?[\w() /.-]*?",
    "%h": rb"(?P<answer>\d{3}(?!\d)(?: [A-Z][\w'-]*){0,5})?.*?",
    "%n": rb"(?P<site>.*?)",
    "%c": rb"(?: ?\[subject: (?:" + SUBJECT + rb")?)?.*?",
}
"""What stands in a message that somebody hands on, within a sentence perhaps."""
ELLIPSIS = re.compile(rb"(?:(?<!\.)\.\.++|\xe2\x80\xa6|[>$])[ \t]*\Z")


def tail_of_a_message(line: bytes, number: int) -> Entry | None:
    """Return what a message says of which only the end is left, and nothing before it, if one alone ends so."""
    begin = line[:_RECOGNISED]
    if len(line) < _SHORTEST_TAIL or begin not in _BEGINNINGS:
        return None
    told = [
        entry_of(rule, rule.kind, names_in(found), None, number, None, None, None)
        for rule in RULES.values()
        for head in (text.partition("%")[0].encode() for text in rule.formats)
        if (at := head.find(begin)) > 0
        and line.startswith(head[at:].rstrip(b"'"))
        and len(head) - at >= _SHORTEST_TAIL
        for found in (way.match(head[:at] + line.rstrip(b" .")) for way in _lenient(rule))
        if found
    ]
    return told[0] if len({entry.kind for entry in told}) == 1 else None


def whole_line(line: bytes, number: int) -> Entry | None:
    """Return what a line says of which nothing but the beginning, blanks and quotes may be missing."""
    return cut_line(line, number, whole=True)


def cut_line(line: bytes, number: int, whole: bool = False) -> Entry | None:
    """Return what a line says that was cut at its beginning or (unless `whole`) its end, None if it is none of ours.

    Apache before 2.4.1 wrote the same texts without a number; they count behind a header only.
    """
    line = without_prefix(GAP.sub(b"", line))
    found = _CUT.match(line)
    if found is None or quotes_strangers(line[: found.start("brackets")]):
        return None
    rules = [RULES.get(found["code"].upper())] if found["code"] else _rules_without_number(found)
    error = found["error"] or found["reason"] or b""
    for rule in rules:
        if rule is None or not _may_have_written(rule, found):
            continue
        kind, names = _said_or_cut(rule, found["text"], error, b"[ssl:" in found["brackets"], whole)
        if kind is not None:
            pid = _PID.search(found["brackets"])
            worker = (pid and pid[1], pid and pid[2])
            return entry_of(
                rule, kind, names, error, number, time_of(line), *worker, _client(found["client"])
            )
    return None


def _client(bracket: bytes | None) -> bytes | None:
    """The client, None where it is no address any more, for who has masked one does not write the same twice."""
    client = (bracket or b"").strip(b"[] \t").partition(b" ")[2]
    return client if re.match(rb"[\da-fA-F.:]+\Z", client) else None


def said_within(line: bytes, number: int) -> list[Entry]:
    """Return what a sentence quotes: messages with their whole text, behind mod_ssl's header or behind mere words.

    None of those before which a log's line of somebody else, a visitor's words or a program's text stands.
    """
    said: list[Entry] = []
    end = 0
    for found in islice(_WITHIN.finditer(line, 0, _SENTENCE), _TRIES):
        if found.start() < end:
            continue  # of the message before
        entry, end = _quoted(line, found, end, number)
        said += [entry] if entry else []
    return said


def has_another_text(line: bytes) -> bool:
    """Return whether a number of ours stands there with a text that Apache does not write behind it."""
    found = _WITH_TEXT.search(line, 0, _SENTENCE)
    rule = RULES.get(found[1]) if found else None
    if found is None or rule is None or rule.module == b"core":  # whose message is about any mutex
        return False
    begins = line[found.end() :][:_SHORTEST_TEXT].lower()
    right = any(begins == fixed.encode()[:_SHORTEST_TEXT].lower() for fixed in rule.formats)
    return not (right or any(way.match(line, found.end()) for way in _lenient(rule, whole=False)))


def _quoted(line: bytes, found: re.Match[bytes], begin: int, number: int) -> tuple[Entry | None, int]:
    """The message that a sentence quotes at a place, and where it ends; before `begin` stands another message."""
    if found["code"]:
        rules = [RULES.get(found["code"].upper())]
    else:
        rules = [*_NAMELESS] if _any_text(whole=False).match(line, found.end()) else []
    for rule in rules:
        if rule is None or (said := _text_at(rule, line, found)) is None:
            continue
        if not _may_be_quoted(line[begin : found.start()], rule) or _GOES_ON_AS_A_PROGRAM.match(
            line, said.end()
        ):
            continue
        kind, pid = kind_of(rule, found["error"] or b""), _PID.search(line, begin, found.start())
        worker = (pid[1], pid[2]) if pid else (None, None)
        entry = entry_of(rule, kind, names_in(said), found["error"], number, time_of(line), *worker)
        return entry, said.end()
    return None, begin


def _text_at(rule: Message, line: bytes, found: re.Match[bytes]) -> re.Match[bytes] | None:
    """The text of a rule behind its number, or (without one) as a whole."""
    said = next((way for each in _lenient(rule, whole=False) if (way := each.match(line, found.end()))), None)
    if found["code"]:
        return said or _shortened(rule, line, found.end())
    return said if said and _ENDS.match(line, said.end()) else None


def _shortened(rule: Message, line: bytes, at: int) -> re.Match[bytes] | None:
    """The beginning of a rule's text, where a quotation mark or a cell ends it."""
    shown = _IN_QUOTES.match(line, at)
    text = shown[0].strip() if shown else b""
    long = len(text) >= _SHORTEST_TEXT
    return shown if long and any(_frames(fixed, text, b"", cut=False) for fixed in rule.formats) else None


def _may_be_quoted(before: bytes, rule: Message) -> bool:
    header = _OWN_HEADER.search(before)
    words = before[: header.start()] if header else before
    if header is not None and header[1] != rule.module:
        return False
    return not (_ANY_HEADER.search(words) or quotes_strangers(words) or _IN_A_PROGRAM.search(words))


def _rules_without_number(found: re.Match[bytes]) -> list[Message]:
    """The rules whose text this is."""
    text = found["text"].strip().rstrip(b" .")
    if not (MENTION.search(text) and _any_text(whole=True).match(text)):
        return []
    if not (MODULE.search(found["brackets"]) or _is_quoted(found, text)):
        return []
    return [rule for rule in RULES.values() if any(way.match(text) for way in _lenient(rule))]


def _is_quoted(found: re.Match[bytes], text: bytes) -> bool:
    """Whether a line is a message and nothing else, in words that only mod_ssl has, as articles quote it."""
    whole = found.start("brackets") == 0 and not found["brackets"].strip(b"[. ]\t")
    told = found["error"] or found["reason"] or _FUNCTION.match(text) or _NAMED.match(text)
    return whole and bool(told)


def _may_have_written(rule: Message, found: re.Match[bytes]) -> bool:
    """Whether what is left of the header is of the rule's module; stapling itself has no client, scripts have one."""
    modules = {module for module in MODULE.findall(found["brackets"]) if module}
    if not modules and found["client"] and rule.scope is Scope.STAPLING:
        return False
    return modules <= {rule.module}


def _said_or_cut(
    rule: Message, text: bytes, os_error: bytes, by_ssl: bool, whole: bool
) -> tuple[Kind | None, Names]:
    """The kind and the names, if the text is the rule's, blanks and names left out or not, or begins like it."""
    text = text.strip()
    for pattern in _lenient(rule):
        if found := pattern.match(text.rstrip(b" .")):  # beforehand, else it would be tried from each of them
            return kind_of(rule, os_error), names_in(found)
    if whole:
        return None, _NOBODY
    shown = ELLIPSIS.sub(b"", text)
    start, _, end = shown.partition(b"\xe2\x80\xa6")
    start, cut = start.rstrip(), shown != text
    shortest = 1 if by_ssl else _SHORTEST_TEXT
    if len(start) >= shortest and any(_frames(fixed, start, end, cut) for fixed in rule.formats):
        return kind_of(rule, os_error), _NOBODY
    return None, _NOBODY


def _frames(fixed: str, start: bytes, end: bytes, cut: bool) -> bool:
    """Whether a text begins like a format and, where something in the middle was left out, ends like it.

    One whose end was `cut` visibly may end within what differs from line to line, a name mostly.
    """
    function, text = _function_and_text(fixed)
    if function and not function.encode().startswith(start[: len(function)]):
        fixed = text
    head, tail = fixed.partition("%")[0].encode(), fixed.rpartition("%")[2][1:].encode()
    named = cut and len(head) >= _SHORTEST_TEXT and len(head) < len(fixed) and start.startswith(head)
    return (named or head.startswith(start)) and (not end or end.endswith(tail) or tail.endswith(end))


@cache
def _lenient(rule: Message, whole: bool = True) -> tuple[re.Pattern[bytes], ...]:
    quote = rb"(?:['\"`\x91-\x94]|\xe2\x80[\x98-\x9f]|\xc2\xb4){0,2}"

    def piece(text: str) -> bytes:
        if text == "%r":
            return rb"(?P<responder>(?:[\w:/\[\]%-]+[.:][\w.:/\[\]%?=&~-]*[\w/\]]{2})?)"
        if text.startswith("%"):
            return _VAGUE.get(text, rb".*?")
        if text == "'":
            return quote
        spaced = re.sub(rb"(?:\\ )+", rb"\\s*", re.escape(text).encode())
        return spaced.replace(b"_", b"[_ ]?").replace(b":", rb"(?::| -)?")  # Markdown takes _ for italics

    end = rb"\Z" if whole else rb"(?!\w)"
    return tuple(
        re.compile(
            b"(?:" + piece(function) + b")?" + b"".join(map(piece, re.split(r"(%[a-z]|')", text))) + end,
            re.DOTALL | re.IGNORECASE,
        )
        for function, text in map(_function_and_text, rule.formats)
    )


@cache
def _any_text(whole: bool) -> re.Pattern[bytes]:
    """What the texts of all rules match: most text is none of them, and a hundred patterns are slow to say so."""
    ways = (way.pattern for rule in RULES.values() for way in _lenient(rule, whole))
    end = b"" if whole else b"(?=" + _ENDS.pattern + b")"
    texts = re.sub(rb"\?P<\w+>", b"?:", b"|".join(ways))
    return re.compile(b"(?:" + texts + b")" + end, re.DOTALL | re.IGNORECASE)


def _function_and_text(text: str) -> tuple[str, str]:
    """The name of mod_ssl's function that a format begins with, which people leave out, and the rest."""
    function = _FUNCTION.match(text.encode())
    at = function.end() if function else 0
    return text[:at], text[at:]
