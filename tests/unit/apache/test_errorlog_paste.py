"""A log as people hand it on is understood as a human would; what is not is counted, never called an all-clear."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import quopri
import re
import textwrap
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ocsp_stapling.apache.errorlog.codes import Kind
from ocsp_stapling.apache.errorlog.failures import failures, summarise
from ocsp_stapling.apache.errorlog.line import Entry
from ocsp_stapling.apache.errorlog.others import INVENTED, sentence_of
from ocsp_stapling.apache.errorlog.paste import Paste
from ocsp_stapling.apache.errorlog.read import entries_of_stream
from ocsp_stapling.cli.log import log
from tests.unit.apache.errorlog_lines import SUMMARY, TIMEOUT, UNREACHABLE, line

NOW = datetime(2026, 11, 22, 4, 0)
MESSAGES = {
    SUMMARY: Kind.SUMMARY,
    TIMEOUT: Kind.TIMEOUT,
    UNREACHABLE: Kind.UNREACHABLE,
    "[client 203.0.113.7:5858] AH01972: could not resolve address of OCSP responder ocsp.example.com": Kind.DNS,
    "[client 203.0.113.7:5858] AH01980: bad response from OCSP server: (none)": Kind.BAD_RESPONSE,
    "(104)Reset by peer: [client 203.0.113.7:5] AH01977: failed reading line from OCSP server": Kind.BAD_RESPONSE,
    "AH01940: stapling_renew_response: Unsupported uri https://ocsp.example.com": Kind.BAD_URI,
    "AH01955: stapling_cb: fatal error renewing response": Kind.ABORTED,
    "AH02217: ssl_stapling_init_cert: can't retrieve issuer certificate! [subject: CN=a]": Kind.NO_ISSUER,
    "AH02604: Unable to configure certificate a.example:443:0 for stapling": Kind.NOT_CONFIGURED,
    "AH01936: stapling_check_response: response times invalid": Kind.INVALID,
    "AH01958: SSLStapling: no stapling cache available": Kind.NO_CACHE,
    "(22)Invalid argument: AH01948: Failed to acquire OCSP ssl-stapling-refresh lock": Kind.LOCK,
}
DRESSES: dict[str, Callable[[str], str]] = {
    "bare": lambda text: text,
    "wrapped": lambda text: "\n".join(text[at : at + 80] for at in range(0, len(text), 80)),
    "wrapped by words": lambda text: "\n".join(textwrap.wrap(text, 78, break_long_words=False)),
    "filled up to the width": lambda text: (" " * 78).join(text[at : at + 80] for at in range(0, len(text), 80)),
    "quoted": lambda text: f"> {text}",
    "twice quoted": lambda text: f"> > {text}",
    "listed": lambda text: f"  * `{text}`",
    "fenced": lambda text: f"```\n{text}\n```",
    "grep -H": lambda text: f"/var/log/apache2/error_log:{text}",
    "grep -Hn": lambda text: f"/etc/apache2/logs/error_log.1:1234:{text}",
    "grep -n": lambda text: f"1234:{text}",
    "zgrep": lambda text: f"error_log-20261101.gz:{text}",
    "grep -C": lambda text: f"/var/log/httpd/error_log-{text}",
    "cat -n": lambda text: f"  12\t{text}",
    "coloured": lambda text: f"\x1b[31m{text}\x1b[0m",
    "dots before": lambda text: f"...{text}",
    "of a page": lambda text: "<p>" + text.replace("'", "&#39;").replace("(", "&#40;") + "</p>",
    "windows": lambda text: f"{text}\r",
    "syslog": lambda text: f"Nov 22 03:04:05 server httpd[4711]: {text}",
    "journald": lambda text: f"Nov 22 03:04:05 server.example.com apachectl[4711]: {text}",
    "compose": lambda text: f"web-1  | {text}",
    "docker": lambda text: f"2026-11-22T03:04:05.123456789Z {text}",
    "quotation": lambda text: f'"{text}",',
    "of a log shipper": lambda text: json.dumps({"@timestamp": "2026-11-22T03:04:05Z", "message": text, "n": 1}),
    "of a search": lambda text: json.dumps({"_index": "a", "_source": {"host": "b", "message": text}}),
    "journald's JSON": lambda text: json.dumps({"_PID": "7", "PRIORITY": "3", "MESSAGE": text}),
    "docker's file": lambda text: json.dumps({"log": f"{text}\n", "stream": "stderr", "time": "2026-11-22T03:04Z"}),
    "cells": lambda text: f'"2026-11-22 03:04:05","web1","{text}"',
    "cells without quotes": lambda text: f"2026-11-22T03:04:05Z,web1,error,{text}",
    "no-break blanks": lambda text: text.replace(" ", "\u00a0"),
    "escaped for Markdown": lambda text: re.sub(r"([\[\]_*])", r"\\\1", text),
    "underscores taken for italics": lambda text: text.replace("_", ""),
    "number in bold type": lambda text: re.sub(r"(AH\d{5})", r"**\1**", text),
    "between code tags": lambda text: f"[code]{text}[/code]",
    "between a forum's tags": lambda text: f"[PHP]{text}[/PHP]",
    "quoted by a forum": lambda text: f'[quote="joe, post:3"]\n{text}\n[/quote]',
    "of a tracker": lambda text: f"{{noformat}}\n{text}\n{{noformat}}",
    "inline in a tracker": lambda text: f"{{{{{text}}}}}",
    "said in a chat": lambda text: f"14:25 <joe> {text}",
    "said in another chat": lambda text: f"[10/02/2026, 14:25:01] Joe: {text}",
    "line of a ticket": lambda text: f"L12: {text}",
    "in round brackets": lambda text: f"(12) {text}",
    "numbered with a bar": lambda text: f"  12 | {text}",
    "row of a page's table": lambda text: f"<tr><td>12</td><td>{text}</td></tr>",
    "of a list of JSON's": lambda text: json.dumps([{"id": 1}, {"message": text}, {"id": 2}]),
    "in an element of XML": lambda text: f"<m><t>1</t><message><![CDATA[{text}]]></message></m>",
    "of a platform's JSON": lambda text: json.dumps({"category": "Logs", "resultDescription": text}),
    "row of a Markdown table": lambda text: f"| 12 | {text} |",
    "in a span": lambda text: f'<span class="line">{text}</span>',
    "escaped twice": lambda text: text.replace("'", "&amp;#39;").replace("[", "&amp;#91;"),
    "with invisible blanks": lambda text: text.replace("AH", "\u200bAH"),
    "journald in seconds": lambda text: f"1795316645.123456 web1 httpd[4711]: {text}",
    "journald since boot": lambda text: f"[12345.678901] web1 httpd[4711]: {text}",
    "journald's whole date": lambda text: f"Sun 2026-11-22 03:04:05 UTC web1 httpd[4711]: {text}",
    "journald in German": lambda text: f"Mär 22 03:04:05 web1 httpd[4711]: {text}",
    "a service of a swarm": lambda text: f"stack_web.1.x8d7@node1    | {text}",
    "a pod's line": lambda text: f"[pod/web-5d9c7f-abcde/apache] {text}",
    "a pod's line by stern": lambda text: f"web-5d9c7f-abcde apache {text}",
    "of a platform": lambda text: f"2026-11-22T03:04:05.123456+00:00 app[web.1]: {text}",
    "of a log group": lambda text: f"/ecs/web ecs/web/0123abcd 2026-11-22T03:04:05.123Z {text}",
    "of supervisord": lambda text: f"2026-11-22 03:04:05,402 DEBG 'apache2' stderr output: {text}",
    "with the virtual host": lambda text: f"www.example.org:443 {text}",
    "of a Windows path": lambda text: f"C:\\Apache24\\logs\\error.log:12:{text}",
    "an item of Ansible's": lambda text: f'ok: [web1] => {{\n    "lines": [\n        "{text}"\n    ]\n}}',
    "a list of Python's": lambda text: f"['{text}']",
    "a string of JSON's": lambda text: json.dumps({"output": f"Log:\n{text}\n"}),
    "of fluentd": lambda text: f"2026-11-22 03:04:05 +0100 apache.error: {json.dumps({'message': text})}",
    "of an agent with levels": lambda text: json.dumps({"log": {"level": "error"}, "message": text}),
    "double spaced": lambda text: "\n\n".join(text[at : at + 80] for at in range(0, len(text), 80)),
    "wrapped after a backslash": lambda text: "\\\n".join(text[at : at + 79] for at in range(0, len(text), 79)),
    "wrapped and indented": lambda text: textwrap.fill(text, 80, subsequent_indent="    ", break_long_words=False),
    "wrapped in a quotation": lambda text: textwrap.indent(textwrap.fill(text, 66, break_long_words=False), "> > "),
    "dated in German": lambda text: text.replace("Sun Nov", "So Nov"),
    "dated in Russian": lambda text: text.replace("Sun Nov", "Вс ноя"),
    "without the year": lambda text: text.replace(" 2026]", "]"),
    "dated by numbers": lambda text: text.replace("Sun Nov 22 03:04:05.123456 2026", "22.11.2026 03:04:05"),
    "dated as visits are": lambda text: text.replace("Sun Nov 22 03:04:05.123456 2026", "22/Nov/2026:03:04:05 +0100"),
    "date left out": lambda text: text.replace("Sun Nov 22 03:04:05.123456 2026", "..."),
    "process hidden": lambda text: text.replace("4711:tid 140", "xxxx:tid ***"),
    "client hidden": lambda text: text.replace("203.0.113.7:", "<my ip>:"),
    "client of IPv6": lambda text: text.replace("203.0.113.7:", "2001:db8:12::7:"),
    "of Apache 2.2's form": lambda text: text.replace("[ssl:error] [pid 4711:tid 140]", "[error]"),
    "before other columns": lambda text: f"{text}\tweb1\terror_log",
    "first of the cells": lambda text: f'"{text}","web1","2026-11-22"',
    "of a log shipper in short": lambda text: json.dumps({"short_message": text[:30], "full_message": text}),
    "counted by a report": lambda text: f"    {text}: 1 Time(s)",
    "in a mail of quoted-printable": lambda text: quopri.encodestring(text.encode()).decode(),
    "of an alarm": lambda text: json.dumps({"rule": {"description": "errors"}, "full_log": text}),
    "scrolled to the right in an editor": lambda text: f"${text[6:]}",
    "of a list in YAML": lambda text: "- '" + text.replace("'", "''") + "'",
    "journald's bytes": lambda text: json.dumps({"MESSAGE": list(text.encode())}),
    "quoted in a sentence": lambda text: f"\u30ed\u30b0\u306b\u300c{text}\u300d\u3068",
    "wrapped before its last word": lambda text: "\n".join(textwrap.wrap(text, 70, break_long_words=False)),
    "behind words": lambda text: f"Apache error: {text[text.index('AH0') :]}",
    "behind a date without brackets": lambda text: f"Nov 22 03:04:05 2026 {text[text.index('AH0') :]}",
    "dots for what is left out": lambda text: f"... [ssl:error] ... {text[text.index('140] ') + 5 :]}",
    "after a dash": lambda text: f"\u2014 {text}",
    "with a priority": lambda text: f"<3> {text}",
    "saved by Windows": lambda text: f"{text}\r\n",
    "indented": lambda text: f"\t\t{text}",
    "without its date": lambda text: text.partition("] ")[2],
    "of logfmt": lambda text: f'time="03:04:05" level=error module=ssl msg="{text[text.index("AH0") :]}"',
    "in a panel's columns": lambda text: f"2026-11-22 03:04:05\terror\tssl\t{text[text.index('AH0') :]}",
    "in a panel's table": lambda text: f"<td>03:04:05</td><td>ssl:error</td><td>{text[text.index('AH0') :]}</td>",
    "as cat -v shows it": lambda text: f"{text.replace(chr(39), 'M-bM-^@M-^X')}^M$",
    "a field of journald's": lambda text: f"_PID=7\n    MESSAGE={text}\n    _HOSTNAME=web1",
    "of JSON with blanks": lambda text: f'{{ "time": "03:04:05", "message": {json.dumps(text)} }}',
    "its number in a field of its own": lambda text: json.dumps(
        {"module": "ssl", "errorcode": text[text.index("AH") :][:7], "message": text[text.index("AH") + 9 :]}
    ),
    "in a panel's columns with commas": lambda text: (
        f"Nov 22, 2026 @ 03:04:05.123\tweb1\terror\t{text[text.index('AH0') :]}"
    ),
    "in signs as wide as Chinese ones": lambda text: text.translate({ord(c): ord(c) + 0xFEE0 for c in "[]:()"}),
    "with garbled quotes": lambda text: text.replace("'", "\u00e2\u20ac\u2122"),
    "its number misread": lambda text: text.replace("AH0", "AH O"),
    "an error of a build": lambda text: f"##[error]{text}",
    "coloured, as an editor shows it": lambda text: text.replace("AH0", "^[[01;31m^[[KAH0"),
    "in entities with names": lambda text: text.replace("[", "&lbrack;").replace("'", "&rsquo;"),
    "as in a URL": lambda text: text.replace(" ", "%20").replace("[", "%5B").replace("]", "%5D"),
    "its signs misread": lambda text: text.replace("_", " "),
    "subject of a mail": lambda text: f"Subject: Re: [users] {text[text.index('AH0') :]}",
    "cut at its beginning": lambda text: text[20:],
    "without its header": lambda text: text[text.index("AH0") :],
}  # fmt: skip


NUMBER_FIRST = (
    *("without its header", "behind words", "behind a date without brackets"),
    *("its number in a field of its own", "in a panel's columns with commas"),
    *("of logfmt", "in a panel's columns", "in a panel's table", "subject of a mail"),
)


def read(text: str | bytes) -> tuple[list[Entry], Paste]:
    paste = Paste()
    data = text.encode() if isinstance(text, str) else text
    return list(entries_of_stream(io.BytesIO(data), paste)), paste


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("message", MESSAGES, ids=lambda text: str(text)[str(text).index("AH") :][:7])
def test_a_line_is_understood_however_it_is_dressed(message: str, dress: str) -> None:
    text = DRESSES[dress](line(message))
    found, paste = read(f"{text}\n".encode("utf-16" if dress == "saved by Windows" else "utf-8"))
    wanted = MESSAGES[message]
    if dress in NUMBER_FIRST and wanted is Kind.TIMEOUT:
        wanted = Kind.BAD_RESPONSE  # the operating system's words stood before the number
    assert [entry.kind for entry in found] == [wanted]
    assert not paste.unclear


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        ("syslog", "wrapped"),
        ("journald", "wrapped by words"),
        ("journald", "wrapped in a quotation"),
        ("journald's whole date", "wrapped in a quotation"),
        ("syslog", "filled up to the width"),
        ("wrapped by words", "of a log shipper"),
        ("no-break blanks", "of a log shipper"),
        ("of a platform's JSON", "docker"),
        ("journald's bytes", "compose"),
        ("without its header", "said in another chat"),
        ("without its date", "said in another chat"),
        ("date left out", "syslog"),
    ],
)
def test_a_line_is_understood_in_one_dress_over_another(inner: str, outer: str) -> None:
    found, paste = read(f"{DRESSES[outer](DRESSES[inner](line(UNREACHABLE)))}\n")
    assert [(one.kind, one.responder) for one in found] == [(Kind.UNREACHABLE, "ocsp.example.com")]
    assert not paste.unclear


@pytest.mark.parametrize("message", MESSAGES, ids=lambda text: str(text)[str(text).index("AH") :][:7])
def test_a_message_cut_at_its_end_is_understood(message: str) -> None:
    code, text = message[message.index("AH") :].split(": ", 1)
    found, _ = read(f"[ssl:error] [pid 1] {code}: {text[:24]}...\n")
    assert [entry.code for entry in found] == [code]


def test_a_message_cut_within_a_name_is_understood() -> None:
    for text, kind in (
        ("AH01974: could not connect to OCSP responder 'ocsp.exam\u2026", Kind.UNREACHABLE),
        ("AH01974: could not connect to OCSP responder 'ocsp.exam>", Kind.UNREACHABLE),
        ("AH02604: Unable to configure certificate www.exam...", Kind.NOT_CONFIGURED),
        ("AH01941: stapling_renew_response: res$", Kind.SUMMARY),
        (f"{UNREACHABLE.replace('unreachable', '[...]')}", Kind.UNREACHABLE),
    ):
        assert [entry.kind for entry in read(f"{line(text)}\n")[0]] == [kind]


def test_the_lines_that_every_article_shows_are_two_failures_with_their_causes() -> None:
    late = TIMEOUT.replace("203.0.113.7", "203.0.113.8")
    for order in ((SUMMARY, late, SUMMARY, UNREACHABLE), (late, SUMMARY, UNREACHABLE, SUMMARY)):
        for pids in ((1, 1, 2, 2), (7, 7, 7, 7)):
            text = "\n".join(line(one, pid, None) for one, pid in zip(order, pids, strict=True))
            found, _ = read(text)
            told = summarise(found, NOW, None)
            assert (told.total, dict(told.kinds)) == (2, {Kind.TIMEOUT: 1, Kind.UNREACHABLE: 1})
            assert [one.responder for one in told.responders if one.responder] == ["ocsp.example.com"]


def test_a_pair_of_different_processes_that_is_shown_without_dates_is_one_failure() -> None:
    pairs = [(SUMMARY, 40), (UNREACHABLE, 52)]
    undated = "\n".join(line(one, pid, None).partition("] ")[2] for one, pid in pairs)
    assert [one.codes for one in failures(_as_stapling(undated))] == [("AH01974", "AH01941")]
    dated = "\n".join(line(one, pid, None, time=f"Sun Nov 22 03:04:{pid}.1 2026") for one, pid in pairs)
    assert len(list(failures(_as_stapling(dated)))) == 2


def _as_stapling(text: str) -> list[Entry]:
    return [entry._replace(stapling=True) for entry in read(text)[0]]


def test_a_message_without_number_and_header_counts_where_only_mod_ssl_says_so() -> None:
    told = "Connection refused: could not connect to OCSP responder 'ocsp.example.com'\n"
    (found,) = read(told)[0]
    assert (found.kind, found.responder) == (Kind.UNREACHABLE, "ocsp.example.com")
    assert [one.kind for one in read("stapling_renew_response: responder error\n")[0]] == [Kind.SUMMARY]
    nothing, paste = read("Apache error: could not resolve address of OCSP responder\n")
    assert (nothing, paste.unclear) == ([], 1)
    nothing, paste = read("Failed to decode OCSP response data\n")
    assert not nothing
    assert paste.unclear == 1


SENTENCES_WITH_A_MESSAGE = (
    f"seeing this a lot: `[ssl:error] [pid 31337] {SUMMARY}`",
    f"In the log I get [ssl:error] [pid 7:tid 9] {TIMEOUT} every minute.",
    f"Error: {SUMMARY} (Apache 2.4.6, CentOS 7)",
    f"\u65e5\u5fd7\uff1a{line(SUMMARY)}\uff0c\u8bf7\u95ee",
    "AH01941:stapling_renew_response: responder error",
    "AH01941 stapling_renew_response responder error",
    "AH01941 - stapling_renew_response - responder error",
    "ah01941: stapling_renew_response: responder error",
    "Stapling_renew_response: responder error",
    "It says `stapling_renew_response: responder error`",
    "It fills the log (`stapling_renew_response: responder error`)",
    'Since Monday "stapling_renew_response: responder error" comes again and again.',
    "He wrote \u201estapling_renew_response: responder error\u201c, no more.",
    "Only stapling_renew_response: responder error, ten times a minute.",
    f'ssl - Apache: "{SUMMARY}" - Questions and answers',
    "We see (70007)The timeout specified has expired: error reading response from OCSP server a lot.",
    f"<p>Is <code>{SUMMARY}</code> bad?</p>",
    "| `AH01941: stapling_renew_response: resp` | the responder is down | turn it off |",
    "| `AH01941: responder error` | the responder is down | turn it off |",
    f"With the leaf alone Apache makes no OCSP request, or the responder URL is none: you get `{SUMMARY}` then.",
)


@pytest.mark.parametrize("told", SENTENCES_WITH_A_MESSAGE)
def test_a_message_within_a_sentence_or_a_title_counts(told: str) -> None:
    (found,) = read(f"Hello,\n{told}\nthanks\n")[0]
    assert found.kind in (Kind.SUMMARY, Kind.TIMEOUT)


def test_a_sentence_may_quote_several_messages() -> None:
    told = f"First `{UNREACHABLE}`, then `{SUMMARY}`, or just stapling_renew_response: responder error.\n"
    found, _ = read(told)
    assert [entry.code for entry in found] == ["AH01974", "AH01941", "AH01941"]
    assert found[0].responder == "ocsp.example.com"


def test_what_stands_behind_an_empty_line_is_no_part_of_anothers_line() -> None:
    other = line("AH00094: Command line: httpd").replace("ssl:error", "core:notice")
    found, _ = read(f"{other}\n\nAnd often `{SUMMARY}` as well.\n")
    assert [entry.kind for entry in found] == [Kind.SUMMARY]
    nginx = "2026/11/22 03:04:05 [error] 1#1: OCSP responder timed out while requesting certificate status"
    _, paste = read(f"{other}\n{nginx}\n{nginx}\n")
    assert paste.writers == {"nginx": 2}


def test_a_sentence_about_client_certificates_is_said_to_be_so() -> None:
    nothing, paste = read("Logins fail with `AH01925: failed to verify the OCSP response` since Monday.\n")
    assert (nothing, paste.clients, paste.unclear) == ([], 1, 0)


@pytest.mark.parametrize(
    "message",
    [
        "AH02276: Certificate Verification: Error (50): application verification failure [subject: CN=a]",
        "AH02038: cannot perform OCSP validation for cert if issuer has not been verified "
        "(optional_no_ca configured)",
    ],
)
def test_a_client_certificate_that_fails_is_said_to_be_so(message: str) -> None:
    nothing, paste = read(f"{line(f'[client 192.0.2.1:5] {message}')}\n")
    assert (nothing, paste.clients, paste.unclear) == ([], 1, 0)


def test_causes_of_different_clients_stay_apart_where_the_processes_are_left_out() -> None:
    shown = [TIMEOUT, UNREACHABLE.replace("203.0.113.7", "x.x.x.x"), SUMMARY]
    found, _ = read("\n".join(f"... [ssl:error] ... {one}" for one in shown))
    assert dict(summarise(found, NOW, None).kinds) == {Kind.TIMEOUT: 1, Kind.UNREACHABLE: 1}


SECOND = "Sun Nov 22 03:04:05 2026"
SYSLOG = "Nov 22 03:04:05 web1 httpd[7]: "


@pytest.mark.parametrize(
    ("told", "count"),
    [
        (f"{SYSLOG}[ssl:error] [pid 7] {SUMMARY}\nNov 22 03:04:06 web1 last message repeated 3 times", 4),
        (f"{SYSLOG}[ssl:error] [pid 7] {SUMMARY}\n--- last message repeated 1 time ---", 2),
        (f"{SYSLOG}message repeated 3 times: [ [ssl:error] [pid 7] {SUMMARY}]", 3),
        (f"{SYSLOG}sshd is well\nNov 22 03:04:06 web1 last message repeated 3 times", 0),
        (f"[{SYSLOG}] [php:error] [pid 7] httpd: message repeated 3 times: [ [ssl:error] {SUMMARY}]", 0),
        (f"    {line(SUMMARY)}: 3 Time(s)", 3),
        (f"    {SUMMARY}: 3 Time(s)", 3),
        (f"    412 {SUMMARY}", 412),
        (f"    412  {SUMMARY}", 412),  # cut from lines at a blank, which stayed
        (f"     12 {line(SUMMARY, time=SECOND)}", 12),
        (f"   1201 {line(SUMMARY)}", 1),  # in one microsecond nothing comes twice: the number of the line
        (f"      7 {line(SUMMARY, time=SECOND)}\n      8 {line(SUMMARY, time=SECOND)}", 2),
        (f"      7 {SUMMARY}\n      8 {SUMMARY}", 15),
        (f"     12\t{line(SUMMARY)}", 1),
        (f"  12 {line(SUMMARY)}", 1),
        (f"  12 {SUMMARY}", 12),  # BSD's
        (f"     1  {line(SUMMARY)}\n     2  {line(SUMMARY)}", 2),  # `cat -n`, its tabs made blanks
        (f"      7 {line(SUMMARY)}\n      8 {line(SUMMARY)}\n      9 sshd is well", 2),  # a pager's
        *(
            (f"{before}{line(SUMMARY)}{behind}", 3)
            for before, behind in (
                *(("3x ", ""), ("3 x ", ""), ("(3x) ", ""), ("3 times: ", ""), ("3\u00d7 ", "")),
                *(("", " x3"), ("", " (x3)"), ("", " (3 times)"), ("", " [3 times]"), ("", " - 3x")),
            )
        ),
        (f"{SYSLOG}message repeated 0 times: [ [ssl:error] [pid 7] {SUMMARY}]", 1),
    ],
)
def test_what_a_program_says_came_again_counts_as_often(told: str, count: int) -> None:
    found, _ = read(f"{told}\n")
    assert [entry.kind for entry in found] == [Kind.SUMMARY] * count


def test_a_responders_own_words_are_no_count() -> None:
    found, _ = read(line("[client 192.0.2.1:5] AH01980: bad response from OCSP server: 503 Busy x999"))
    assert [(entry.kind, entry.answer) for entry in found] == [(Kind.BAD_RESPONSE, "503 Busy x999")]


@pytest.mark.parametrize("tag", ["reverseproxy", "httpd[7]"])
def test_a_firewalls_time_with_colons_is_a_time(tag: str) -> None:
    found, _ = read(f"2026:11:22-03:04:05 fw-1 {tag}: [ssl:error] [pid 7:tid 8] {SUMMARY}\n")
    assert [(entry.kind, entry.time) for entry in found] == [(Kind.SUMMARY, "2026-11-22T03:04:05")]


@pytest.mark.parametrize(
    ("told", "writer"),
    [
        ("AH01941: stapling_cb: no OCSP response there is for the certificate", INVENTED),
        (line("AH02217: the session cache is not yet set up"), INVENTED),
        ("AH01941 and AH01980 are about OCSP stapling", None),
        ("if $msg contains 'AH01941: stapling_renew_response' then stop", None),
        (f"[core:error] [pid 7] {SUMMARY}", None),
    ],
)
def test_a_text_that_apache_does_not_write_under_its_number_is_called_so(
    told: str, writer: str | None
) -> None:
    found, paste = read(f"{told}\n")
    assert not found
    assert paste.unclear == 1
    assert paste.writers == ({writer: 1} if writer else {})


def test_whose_lines_are_is_said_of_one_of_all_and_of_some() -> None:
    assert sentence_of("nginx", 1, 1).startswith("It is nginx's")
    assert sentence_of("nginx", 2, 2).startswith("They are nginx's")
    assert sentence_of("nginx", 1, 2).startswith("Some of them are nginx's")


@pytest.mark.parametrize("mask", ["x.x.x.x:xxxx", "***", "REDACTED", "203.0.113.7:5858"])
def test_causes_of_one_question_stay_together_where_clients_are_masked(mask: str) -> None:
    shown = [
        "(70007)The timeout specified has expired: [client 203.0.113.7:5858] "
        "AH01977: failed reading line from OCSP server",
        f"[client {mask}] AH01980: bad response from OCSP server: (none)",
        SUMMARY,
    ]
    found, _ = read("\n".join(f"... [ssl:error] ... {one}" for one in shown))
    assert dict(summarise(found, NOW, None).kinds) == {Kind.TIMEOUT: 1}


@pytest.mark.parametrize("least_first", [False, True])
def test_messages_that_were_counted_are_as_many_failures_as_there_were(least_first: bool) -> None:
    counted = [f"    412 {SUMMARY}", "     97 AH01980: bad response from OCSP server: (none)"]
    found, _ = read("\n".join(sorted(counted, reverse=not least_first)) + "\n")
    assert dict(summarise(found, NOW, None).kinds) == {Kind.SUMMARY: 315, Kind.BAD_RESPONSE: 97}


@pytest.mark.parametrize(
    ("message", "words", "exactly"),
    [
        (
            "AH01929: stapling_cache_response: OCSP response session store error!",
            "or not cached",
            "cache did not take",
        ),
        (
            "AH01935: stapling_check_response: certificate ID not present in response!",
            "for another",
            "another",
        ),
        ("AH01936: stapling_check_response: response times invalid", "answer stale", "a clock is wrong"),
        (
            "AH01944: stapling_renew_response: responder error unauthorized",
            "no proper OCSP answer",
            "an OCSP error",
        ),
        ("AH01988: failed to decode OCSP response data", "no proper OCSP answer", "was not OCSP"),
        (
            "AH01982: could not read response headers from OCSP server, exceeded maximum count (3)",
            "no proper",
            "proper",
        ),
    ],
)
def test_what_became_of_an_answer_is_told_as_exactly_as_its_message_tells(
    tmp_path: Path, message: str, words: str, exactly: str
) -> None:
    (tmp_path / "log").write_text(f"{line(message)}\n")
    counted, last = call(str(tmp_path / "log")).output.split("Last ones:")
    assert words in counted
    assert exactly in last


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("(111)Connection refused: ", "could not connect (Connection refused)  "),
        ("(113)No route to host: ", "could not connect (No route to host)  "),
        ("(OS 10061)No connection " + "because it refused " * 9 + ".  : ", "refused beca ...)  "),
        ("(110)Connection timed out: ", "no answer in time  "),
        ("", "could not connect  "),
    ],
)
def test_why_a_connection_failed_is_told_in_the_systems_words(tmp_path: Path, error: str, told: str) -> None:
    (tmp_path / "log").write_text(f"{error}AH01974: could not connect to OCSP responder 'ocsp.example.com'\n")
    assert told in call(str(tmp_path / "log")).output.split("Last ones:")[1]


def test_half_a_character_in_json_hides_nothing() -> None:
    for half in ("\\ud800", "\\udfff", "\\udc92"):
        found, _ = read(f'{{"message": "{half} {line(SUMMARY)}"}}\n')
        assert [one.kind for one in found] == [Kind.SUMMARY]


def test_how_often_syslog_may_say_so_is_bounded() -> None:
    again = "last message repeated 999999 times\n" * 9
    assert len(read(f"{line(SUMMARY)}\n{again}")[0]) < 1_000_000


@pytest.mark.parametrize(
    "told",
    [
        f'"2026-11-22T03:04:05","web1","{SUMMARY}"',
        f"2026-11-22 03:04:05\tError\t192.0.2.1\t\t{SUMMARY}",
        f"| [Sun Nov 22 03:04:05 2026] | ssl:error | {SUMMARY} |",
        json.dumps({"@timestamp": "2026-11-22T03:04:05", "log": {"level": "error"}, "message": SUMMARY}),
    ],
)
def test_a_time_in_a_column_or_a_field_of_its_own_is_the_line_s(told: str) -> None:
    (found,) = read(f"{told}\n")[0]
    assert (found.kind, found.time) == (Kind.SUMMARY, "2026-11-22T03:04:05")


def test_a_number_alone_looks_like_stapling(tmp_path: Path) -> None:
    (tmp_path / "paste").write_text("Since the update I get AH01941 all the time.\n")
    assert "1 line looks like" in call(str(tmp_path / "paste")).output


@pytest.mark.parametrize(
    "told",
    [
        f"[Sun Nov 22 03:04:05 2026] [php:notice] [pid 1] a visitor's words {SUMMARY}",
        f"[Sun Nov 22 03:04:05 2026] [:error] [pid 1] [client 192.0.2.1:5] words {SUMMARY}",
        f"[22-Nov-2026 03:04:05 UTC] a visitor's words {SUMMARY}",
        f"Nov 22 03:04:05 web1 shop[7]: a visitor's words {SUMMARY}",
        f'192.0.2.1 - - [22/Nov/2026:03:04:05 +0000] "GET /x HTTP/1.1" 200 5 "-" "words {SUMMARY}"',
        'match => { "message" => "AH01974: could not connect to OCSP responder \'%{HOSTNAME:responder}\'" }',
        r"failregex = AH01974: could not connect to OCSP responder '([^']+)'",
        "// ignore AH01974: could not connect to OCSP responder",
        f"pattern={SUMMARY}",
        f'index=web sourcetype=apache "{SUMMARY}" | stats count by host',
        f'Syslog | where SyslogMessage contains "{SUMMARY}"',
        f"next if $line =~ /{SUMMARY}/;",
        f"sed -i '/{SUMMARY}/d' error_log",
        f"zgrep -c '{SUMMARY}' error_log*",
        f':msg, contains, "{SUMMARY}" stop',
        "AH01941,error,ssl_util_stapling.c,stapling_renew_response: responder error",
        f"warnings.push('{SUMMARY}');",
        f"return fail('{SUMMARY}');",
        f"problems.push(`{SUMMARY}`);",
        '                     "stapling_renew_response: responder error");',
        'log(s, "stapling_renew_response: responder error")',
        "filter -v 'AH01941' | # stapling_renew_response: responder error",
        "Error: stapling_renew_response: responder error???",
        "[Sun Nov 22 03:04:05 2026] [php:notice] [pid 1] words `stapling_renew_response: responder error`",
        "Error: AH01941: stapling_renew_response: responder errors may have many reasons",
    ],
)
def test_a_message_behind_a_strangers_words_or_in_a_program_does_not(told: str) -> None:
    nothing, paste = read(f"{told}\n")
    assert not nothing
    assert paste.unclear == 1


def test_what_apache_says_on_the_terminal_is_understood_behind_journalds_prefix() -> None:
    (found,) = read("Nov 22 03:04:05 web1 apachectl[7]: AH01958: SSLStapling: no stapling cache available\n")[
        0
    ]
    assert found.kind is Kind.NO_CACHE


def test_a_failed_question_whose_visitor_was_refused_is_about_his_certificate() -> None:
    refused = line("AH02039: Certificate Verification: Error (50): application verification failure")
    found, paste = read(f"{line(UNREACHABLE)}\n{refused}\n")
    assert [one.stapling for one in found] == [False]
    assert (summarise(found, NOW, None).total, paste.clients) == (0, 1)


@pytest.mark.parametrize("width", range(60, 190))
def test_at_whatever_width_a_line_is_wrapped_its_responder_is_named(width: int) -> None:
    text = line(UNREACHABLE)
    wrapped = "\n".join(text[at : at + width] for at in range(0, len(text), width))
    (found,) = read(f"{wrapped}\n{line('AH00094: Command line: httpd')}\n")[0]
    assert (found.kind, found.responder) == (Kind.UNREACHABLE, "ocsp.example.com")


def test_who_could_not_be_connected_to_is_enough_where_nothing_else_is_shown() -> None:
    (found,) = read("could not connect to OCSP responder 'ocsp.example.com'\n")[0]
    assert (found.kind, found.responder) == (Kind.UNREACHABLE, "ocsp.example.com")
    for speaker in ("Apache", "ssl:error"):
        told = f"{speaker}: could not connect to OCSP responder 'ocsp.example.com' (timed out)"
        assert [one.responder for one in read(f"{told}\n")[0]] == ["ocsp.example.com"]
    assert not read("could not connect to OCSP responder\n")[0]


@pytest.mark.parametrize("cells", ["1.2.3.4\tGET /", "php\terror", "03:04:05,user agent"])
def test_columns_in_which_strangers_speak_make_no_message(cells: str) -> None:
    assert not read(f"{cells}\t{SUMMARY}\n")[0]


@pytest.mark.parametrize(
    "piece", ["</td><td>", "\t", 'a=1 msg="', "(1)x: ", "[ssl:error] ", "AH01941: ", "( "]
)
def test_no_long_line_costs_more_than_its_length(piece: str) -> None:
    begun = time.process_time()
    read(f"{piece * 4000}stapling AH01941: x\n")
    assert time.process_time() - begun < 2


def test_lines_of_a_mail_that_are_broken_in_one_paragraph_are_told_apart() -> None:
    text = quopri.encodestring(" ".join(map(line, (UNREACHABLE, SUMMARY))).encode()).decode()
    assert [entry.code for entry in read(f"{text}\n{line(TIMEOUT)}\n")[0]] == [
        "AH01974",
        "AH01941",
        "AH01985",
    ]


def test_what_stands_after_a_message_that_was_cut_is_no_part_of_it() -> None:
    text = "[ssl:error]  The timeout specified has expired:\n\ncould not connect to OCSP responder\n\netc\n"
    (found,) = read(text)[0]
    assert (found.kind, found.responder) == (Kind.TIMEOUT, None)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("AH01955: stapling_cb: fatal error", Kind.ABORTED),
        ("AH01957: stapling_cb: no response available", Kind.OK_INFO),
        ("AH01926: stapling_get_cert_info: stapling not supported for certificate", Kind.OK_INFO),
        ("AH01943: stapling_renew_response: error in retreived response!", Kind.INVALID),
        ("AH01946: Cannot reinit ssl-stapling mutex with file `/run/apache2/ssl-stapling'", Kind.LOCK),
        ("AH01947: Cannot reinit ssl-stapling-refresh mutex", Kind.LOCK),
        ("AH01949: Failed to release OCSP stapling lock", Kind.LOCK),
    ],
)
def test_older_texts_and_those_of_the_lock_are_known(text: str, kind: Kind) -> None:
    assert [entry.kind for entry in read(line(text))[0]] == [kind]
    told = summarise(read(line(text))[0], NOW, False)
    assert told.total == (kind in (Kind.ABORTED, Kind.INVALID))


def test_lines_that_a_form_has_joined_into_one_are_told_apart() -> None:
    text = " ".join(
        line(one, pid) for pid, one in ((1, UNREACHABLE), (1, SUMMARY), (2, TIMEOUT), (2, SUMMARY))
    )
    told = summarise(read(text)[0], NOW, False)
    assert (told.total, dict(told.kinds)) == (2, {Kind.TIMEOUT: 1, Kind.UNREACHABLE: 1})


def test_a_file_saved_as_utf_16_is_read_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "error.txt"
    path.write_bytes(f"{line(TIMEOUT)}\r\n{line(SUMMARY)}\r\n".encode("utf-16"))
    assert "1 stapling failure in the whole file" in CliRunner().invoke(log, [str(path)]).output


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_piece_of_a_file_in_utf_16_needs_no_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "error.txt").write_bytes(f"{line(SUMMARY)}\n".encode(encoding))
    assert "1 stapling failure in the whole file" in call(str(tmp_path / "error.txt")).output


def test_a_log_that_was_emptied_under_its_writer_is_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(bytes(5000) + f"{line(SUMMARY)}\n".encode())
    assert "1 stapling failure in the whole file" in call(str(tmp_path / "log")).output


def test_the_last_ones_of_several_logs_are_the_latest_in_order() -> None:
    times = [f"Sun Nov 22 03:0{minute}:05.000000 2026" for minute in (9, 8, 1, 7, 2, 6, 3)]
    text = "\n".join(line(SUMMARY, pid, None, time=time) for pid, time in enumerate(times))
    recent = summarise(read(text)[0], NOW, False).recent
    assert [str(one.time)[14:16] for one in recent] == ["03", "06", "07", "08", "09"]


def test_causes_without_their_last_line_count_where_no_client_certificates_are_checked() -> None:
    text = "\n".join(line(one) for one in (TIMEOUT, UNREACHABLE))
    found, _ = read(text)
    assert [entry.stapling for entry in found] == [None, None]
    assert summarise(found, NOW, False).total == 2
    probably = summarise(found, NOW, None)
    assert (probably.total, probably.probable) == (2, 2)
    nothing = summarise(found, NOW, True)
    assert (nothing.total, nothing.unproven) == (0, 2)


def test_halves_that_are_written_in_the_wrong_order_are_one_failure() -> None:
    early, late = "Sun Nov 22 03:04:05.123456 2026", "Sun Nov 22 03:04:05.123461 2026"
    lines = [line(SUMMARY, 7, 1, time=early), line(UNREACHABLE, 7, 1, time=late)]
    (found,) = failures(entry._replace(stapling=True) for entry in read("\n".join(lines))[0])
    assert (found.kind, found.codes) == (Kind.UNREACHABLE, ("AH01974", "AH01941"))


@pytest.mark.parametrize("separator", ["<br>", "<br />\n", "\\n", "\r", "\r\n", '", "'])
def test_lines_that_a_page_or_a_string_has_joined_are_told_apart(separator: str) -> None:
    text = separator.join(line(one) for one in (TIMEOUT, SUMMARY))
    assert [entry.code for entry in read(text)[0]] == ["AH01985", "AH01941"]


@pytest.mark.parametrize("link", ["[{0}](http://{0})", '<a href="http://{0}" rel="nofollow">{0}</a>'])
def test_a_responder_that_a_forum_has_made_a_link_is_named_by_its_text(link: str) -> None:
    found, _ = read(line(UNREACHABLE.replace("ocsp.example.com", link.format("ocsp.example.com"))))
    assert [entry.responder for entry in found] == ["ocsp.example.com"]


def test_texts_without_a_number_count_behind_a_header_as_apache_before_2_4_wrote_them() -> None:
    header = "[Sun Nov 22 03:04:05 2026] [error] "
    cause = "(70007)The timeout specified has expired: could not connect to OCSP responder 'ocsp.example.com'"
    found, _ = read(f"{header}{cause}\n{header}stapling_renew_response: responder error\n")
    told = summarise(found, NOW, None)
    assert (told.total, dict(told.kinds)) == (1, {Kind.TIMEOUT: 1})


def test_a_time_out_of_windows_is_one() -> None:
    said = (
        "(OS 10060)A connection attempt failed because the connected party did not properly respond after a period "
        "of time, or established connection failed because connected host has failed to respond.  : "
        "[client 203.0.113.7:1] AH01974: could not connect to OCSP responder 'ocsp.example.com'"
    )
    assert [entry.kind for entry in read(line(said))[0]] == [Kind.TIMEOUT]


def test_a_message_shortened_in_its_middle_is_understood() -> None:
    found, paste = read(
        "Nov 22 03:04:05 web httpd[1]: [Sun Nov 22 03:04:05.1 2026] [ssl:error] [pid 1] "
        "AH02604: Unable to configure cert\u2026e.org:443:0 for stapling\n"
    )
    assert [entry.kind for entry in found] == [Kind.NOT_CONFIGURED]
    assert not paste.unclear


def test_lines_sorted_the_newest_first_are_paired_all_the_same() -> None:
    times = ["Sun Nov 22 03:04:47.2 2026", "Sun Nov 22 03:04:44.2 2026"]
    text = "\n".join(line(one, 7, None, time) for time in times for one in (SUMMARY, UNREACHABLE))
    told = summarise(read(text)[0], NOW, False)
    assert (told.total, dict(told.kinds)) == (2, {Kind.UNREACHABLE: 2})


def test_the_site_that_a_complaint_at_start_is_about_is_told(tmp_path: Path) -> None:
    lines = [
        "AH02218: ssl_stapling_init_cert: no OCSP URI in certificate and no SSLStaplingForceURL set "
        "[subject: O=A,CN=b.example / issuer: CN=ca / serial: 01]",
        "AH02604: Unable to configure certificate a.example:443:0 for stapling",
        "AH02217: ssl_stapling_init_cert: can't retrieve issuer certificate! [subject: CN=c.example / issuer: CN=ca]",
    ]
    assert [one.site for one in read("\n".join(map(line, lines)))[0]] == [
        "b.example",
        "a.example",
        "c.example",
    ]
    unnamed = "AH02217: ssl_stapling_init_cert: can't retrieve issuer certificate! [subject: CN="
    for name in ("A fallback of ours / issuer: CN=A fallback", "www.exam", "www.exam...", "Ours"):
        assert read(line(unnamed + name))[0][0].site is None
    many = [f"AH02604: Unable to configure certificate {one}.example:443:0 for stapling" for one in "vwxyz"]
    (tmp_path / "log").write_text("\n".join(map(line, (*lines[:2], *many, lines[2]))))
    told = " ".join(call(str(tmp_path / "log")).output.split())
    assert "no OCSP URL: stapling not set up (harmless) a.example" in told
    assert "c.example" in told
    assert "v.example, w.example, x.example and 2 more" in told
    assert '"site": "a.example"' in call(str(tmp_path / "log"), "--json").output


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("ponse: responder error", Kind.SUMMARY),
        ("ror reading response from OCSP server", Kind.BAD_RESPONSE),
        ("uld not connect to OCSP responder 'ocsp.example.com'", Kind.UNREACHABLE),
    ],
)
def test_the_end_of_a_message_is_one_where_no_other_ends_so(told: str, kind: Kind) -> None:
    assert [entry.kind for entry in read(f"{told}\n")[0]] == [kind]


def test_a_visitors_referer_speaks_of_nothing() -> None:
    refused = line("[client 192.0.2.1:5] AH02261: Re-negotiation handshake failed")
    nothing, paste = read(f"{refused}, referer: https://ocsp.example.com/{SUMMARY}\n")
    assert (nothing, paste.unclear) == ([], 0)


def test_a_status_with_its_version_is_the_same_answer() -> None:
    told = "[client 192.0.2.1:5] AH01980: bad response from OCSP server: HTTP/1.1 503 Service Unavailable"
    assert [one.answer for one in read(line(told))[0]] == ["503 Service Unavailable"]


@pytest.mark.parametrize("name", ["<responder>", "***", "(hidden)"])
def test_what_stands_in_the_place_of_a_name_is_none(name: str) -> None:
    (found,) = read(line(UNREACHABLE.replace("ocsp.example.com", name)))[0]
    assert (found.kind, found.responder) == (Kind.UNREACHABLE, None)


def test_the_end_of_a_line_that_cat_shows_hides_no_name() -> None:
    assert [one.responder for one in read(f"{line(UNREACHABLE)}^M$\n")[0]] == ["ocsp.example.com"]


def test_a_name_that_nobody_shall_click_on_is_that_name() -> None:
    (found,) = read(UNREACHABLE.replace("ocsp.example.com", "ocsp[.]example[.]com"))[0]
    assert found.responder == "ocsp.example.com"


def test_process_and_thread_need_no_brackets() -> None:
    (found,) = read(f"2026-11-22T03:04:05.123+01:00 [ssl:error] 4711 140 - - {SUMMARY}\n")[0]
    assert (found.kind, found.time) == (Kind.SUMMARY, "2026-11-22T03:04:05.123+01:00")


@pytest.mark.parametrize(
    "told", ["OCSP responder 'ocsp.example.com'", "the response from OCSP server", "responder error"]
)
def test_the_end_of_several_messages_or_a_sentence_is_none(told: str) -> None:
    assert not read(f"{told}\n")[0]


def test_a_mutex_of_staplings_that_apache_cannot_make_is_why_it_did_not_start() -> None:
    header = "[Sun Nov 22 03:04:05.1 2026] [core:emerg] [pid 7] (28)No space left on device: "
    text = f"{header}AH00023: Couldn't create the ssl-stapling mutex (file /run/ssl-stapling)\n"
    ended = "[ssl:emerg] [pid 7] AH01959: SSLStapling: cannot initialise stapling mutex\n"
    assert summarise(read(text + ended)[0], NOW, None).noted == ((Kind.NO_CACHE, 1),)
    nothing, paste = read(text.replace("ssl-stapling", "rewrite-map"))
    assert (nothing, paste.unclear) == ([], 0)


def test_an_answer_that_the_cache_refuses_is_one_failure_of_two_lines() -> None:
    lines = [
        "AH01929: stapling_cache_response: OCSP response session store error!",
        "AH01945: stapling_renew_response: error caching response!",
    ]
    told = summarise(read("\n".join(map(line, lines)))[0], NOW, False)
    assert (told.total, dict(told.kinds)) == (1, {Kind.INVALID: 1})


def test_a_paste_is_a_paste_with_a_period_too(tmp_path: Path) -> None:
    (tmp_path / "paste").write_text(DRESSES["wrapped"](line(SUMMARY)))
    assert "1 stapling failure since" in call(str(tmp_path / "paste"), "--since", "2026-11-01").output
    (tmp_path / "other").write_text("stapling_renew_response: responder error???\n")
    assert "1 line looks like" in call(str(tmp_path / "other"), "--since", "3d").output


def test_queries_of_one_process_whose_threads_are_not_told_keep_their_own_causes() -> None:
    other = UNREACHABLE.replace("ocsp.example.com", "b.example").replace("203.0.113.7", "203.0.113.8")
    for order in ((UNREACHABLE, other, SUMMARY, SUMMARY), (SUMMARY, SUMMARY, UNREACHABLE, other)):
        told = summarise(read("\n".join(line(one, 7, None) for one in order))[0], NOW, None)
        assert sorted((one.responder, one.failures) for one in told.responders) == [
            ("b.example", 1),
            ("ocsp.example.com", 1),
        ]


def test_halves_of_different_moments_stay_apart() -> None:
    lines = [line(SUMMARY, 7, 1), line(UNREACHABLE, 7, 1, time="Sun Nov 22 03:14:05.123461 2026")]
    found = list(failures(entry._replace(stapling=True) for entry in read("\n".join(lines))[0]))
    assert len(found) == 2


FORGED = "[Sun Nov 22 03:04:05 2026] [ssl:error] [pid 7] AH01958: SSLStapling: no stapling cache available"
FOREIGN = r"""\
# "AH01941: stapling_cb: OCSP response not available for certificate"
AH01941: stapling_cb: OCSP response not available for certificate
[04-Mar-2026 03:12:44 UTC] PHP Warning: FORGED
[04-Mar-2026 03:12:44] WARNING: [pool a] child 1 said into stderr: "FORGED"
[Sun Nov 22 03:04:05 2026] [php:notice] [pid 1] x\nFORGED
[Sun Nov 22 03:04:05 2026] [error] [client 192.0.2.1] x<br>FORGED
[Sun Nov 22 03:04:05 2026] [error] [client 192.0.2.1] stapling_renew_response: responder error
[Sun Nov 22 03:04:05 2026] [error] [client 192.0.2.1] AH01941: stapling_renew_response: responder error
192.0.2.1 - - [22/Nov/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 5 "-" "FORGED"
2026-11-22 03:04:05 1abc <= a@example.org T="FORGED"
2026-11-22 03:04:05.119 [NOTICE] [312] [OCSP] failed to get OCSP response from http://ocsp.example.com
Nov 22 03:04:05 mx postfix/smtpd[1]: warning: TLS library problem: error:27069065:OCSP routines:verify error
PHP message: AH01941: stapling_renew_response: responder error
[Sun Nov 22 03:04:05 2026] [php:error] [pid 7] AH01941: stapling_renew_response: responder error
[Sun Nov 22 03:04:05 2026] [proxy_fcgi:error] [pid 7] [client 192.0.2.1:5] AH01071: Got error 'AH01941: stapling'
[Sun Nov 22 03:04:05 2026] [core:error] [pid 7] [client 192.0.2.1:5] AH00126: Invalid URI in request GET AH01941:
192.0.2.1 - - [22/Nov/2026:03:04:05 +0000] "GET /?AH01941:%20stapling_renew_response:%20responder%20error" 200
192.0.2.1 - - [22/Nov/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 5 "AH01941: stapling_renew_response: responder error"
grep -v 'AH01941' | # stapling_renew_response: responder error
https://a.example/?q=%5Bssl:error%5D%20AH01941:%20stapling_renew_response:%20responder%20error
/search?q=%5Bssl:error%5D%20AH01941:%20stapling_renew_response:%20responder%20error
2026-11-22 03:04:05 mail 1abc Subject: AH01941: stapling_renew_response: responder error
2026/11/22 03:04:05 [error] 10#10: OCSP responder timed out (110: Connection timed out) while requesting status
nginx: [warn] "ssl_stapling" ignored, no OCSP responder URL in the certificate
[Sun Nov 22 03:04:05 2026] [gnutls:error] [pid 7] (104)Connection reset by peer: Caching a fresh OCSP response failed
[Sun Nov 22 03:04:05 2026] [md:info] [pid 7] AH10071: mod_md (v2.4), initializing...
An error occurred: SEC_ERROR_OCSP_SERVER_ERROR
{"referer": "[Sun Nov 22 03:04:05 2026] [ssl:error] [pid 7] AH01941: stapling_renew_response: responder error"}
[Sun Nov 22 03:04:05 2026] [php:error] [pid 7] [Sun Nov 22 03:04:05 2026] [ssl:error] [pid 7] AH01958: no cache
"""


@pytest.mark.parametrize("text", FOREIGN.splitlines())
def test_what_only_looks_like_stapling_is_no_line_of_apaches(text: str) -> None:
    found, _ = read(f"{text.replace('FORGED', FORGED)}\n{line('AH00094: Command line: httpd')}\n")
    assert not found


def call(*arguments: str) -> Result:
    return CliRunner().invoke(log, arguments)


def test_what_is_in_another_form_is_counted_and_never_an_all_clear(tmp_path: Path) -> None:
    (tmp_path / "paste").write_text(FOREIGN)
    told = call(str(tmp_path / "paste")).output
    assert "No stapling failures" not in told
    assert "look like stapling or OCSP in another form" in told
    assert "nginx" in told
    (tmp_path / "other").write_text("stapling_renew_response: responder error???\n")
    assert "1 line looks like" in call(str(tmp_path / "other")).output


OTHER_FILES = {
    "a certificate or key": b"-----BEGIN CERTIFICATE-----\nMIIB\n",
    "a web page": b"<!DOCTYPE html>\n<p>AH01941</p>",
    "a configuration file": b"# comment\n\n<VirtualHost *:443>\nSSLUseStapling on\n",
    "a log of visits": b'192.0.2.1 - - [22/Nov/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 5 "-" "x"\n',
    "a text without a line of any log": b"name,place\na.example,Vienna\n",
    "a file packed by xz (xzcat prints its text)": b"\xfd7zXZ\x00\x00\x04",
    "a file packed by zstd (zstdcat prints its text)": b"\x28\xb5\x2f\xfd\x04\x88",
    "a file packed by bzip2 (bzcat prints its text)": b"BZh91AY&SY",
    "a ZIP archive (unzip -p prints its text)": b"PK\x03\x04\x14\x00",
    "no text": b"\x7fELF\x02\x01\x00\x00\x00\x00rest",
}


def test_a_line_of_another_program_without_a_time_is_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kernel: DROP IN= OUT=eth0 DPT=80")
    assert "No stapling failures" in call(str(tmp_path / "file")).output
    (tmp_path / "file").write_text("pop3d: /etc/pop3d.pem: error:0906D06C:PEM routines: no start line\n")
    assert "No stapling failures" in call(str(tmp_path / "file")).output


@pytest.mark.parametrize("what", OTHER_FILES)
def test_a_file_that_is_no_log_is_called_what_it_is(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_bytes(OTHER_FILES[what])
    error = call(str(tmp_path / "file")).exception
    assert getattr(error, "code", "") == "log-not-a-log"
    assert what in getattr(error, "sentence", "")


@pytest.mark.parametrize("what", [*OTHER_FILES, "a gzipped file"])
def test_standard_input_that_is_no_log_is_called_what_it_is(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = OTHER_FILES.get(what) or gzip.compress(b"nothing")
    text = text.replace(b"AH01941", b"hello").replace(
        b"SSLUseStapling", b"SSLEngine"
    )  # else it is told of them
    monkeypatch.setattr("ocsp_stapling.cli.log._open_stream", lambda _: io.BytesIO(text))
    error = call("-").exception
    assert getattr(error, "code", "") == "log-not-a-log"
    assert f"Standard input is {what}" in getattr(error, "sentence", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        line("AH00094: Command line: httpd"),
        "stapling_renew_response: responder error???",
        "an error of some kind",
        line("AH01925: failed: client certificate"),
        line(SUMMARY, time="Thu Nov 05 03:04:05.1 2026"),
    ],
)
def test_what_may_be_of_a_log_is_not_refused_on_standard_input(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocsp_stapling.cli.log._open_stream", lambda _: io.BytesIO(text.encode()))
    assert call("-", "--since", "2026-11-20").exception is None


def parted(text: str, *places: int, stream: str = "stderr", number: int = 0) -> str:
    """A line as a container's runtime keeps it that is too long for one of its own."""
    cuts = [0, *places, len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(cuts)]
    flags = ["P"] * len(places) + ["F"]
    return "".join(
        f"2026-11-22T03:04:05.{number + at}Z {stream} {flag} {piece}\n"
        for at, (flag, piece) in enumerate(zip(flags, pieces, strict=True))
    )


@pytest.mark.parametrize("places", [(10,), (60,), (100,), (50, 90), (20, 60, 120)])
def test_parts_of_a_containers_line_are_one_line(places: tuple[int, ...]) -> None:
    found, _ = read(parted(line(UNREACHABLE), *places) + parted(line(SUMMARY)))
    assert [(one.code, one.responder) for one in found] == [
        ("AH01974", "ocsp.example.com"),
        ("AH01941", None),
    ]
    assert [one.line_number for one in found] == [1, len(places) + 2]


def test_a_part_of_a_containers_line_takes_no_other_stream_s_and_may_be_the_last() -> None:
    begun = parted(line(SUMMARY), 60).splitlines(keepends=True)[0]
    found, paste = read(begun + parted("GET / 200", stream="stdout") + parted(line(SUMMARY)) + begun)
    assert [one.line_number for one in found] == [3]
    assert not paste.unclear


@pytest.mark.parametrize("message", [SUMMARY, UNREACHABLE, TIMEOUT])
def test_a_row_of_sql_is_read_by_the_line_in_its_last_column(message: str) -> None:
    quoted = line(message).replace("'", "''")
    plain, _ = read(line(message))
    for before, after in (("INSERT INTO log (id, text) VALUES (7, ", ");"), ("insert into l values (", ")")):
        found, _ = read(f"{before}'{quoted}'{after}\n")
        assert [one[1:6] for one in found] == [one[1:6] for one in plain]


def test_an_insert_of_several_rows_says_what_each_of_them_says() -> None:
    rows = ", ".join(
        f"({at}, 'it', '{line(one)}')".replace("r 'o", "r ''o").replace("m')", "m'')")
        for at, one in enumerate((UNREACHABLE, SUMMARY, TIMEOUT))
    )
    found, paste = read(f"INSERT INTO log (id, host, text) VALUES {rows};\n")
    assert [one.code for one in found] == ["AH01974", "AH01941", "AH01985"]
    assert found[0].responder == "ocsp.example.com"
    assert not paste.unclear


NOT_THEIRS = {
    "Nov 22 03:04:05 h2o mydaemon[7]: OCSP stapling broke": "mydaemon",
    "Nov 22 03:04:05 nginx-1 mydaemon[7]: OCSP stapling broke": "mydaemon",
    "<27>1 2026-11-22T03:04:05.1Z caddy.example prosody 7 - - OCSP response is too old": "prosody",
    '{"host":"haproxy2","SYSLOG_IDENTIFIER":"ejabberd","MESSAGE":"OCSP response is too old"}': "ejabberd",
    "OCSP stapling of https://h2o.example.net/ fails": None,
    "OCSP stapling of vault.example.net and /etc/squid/a.pem fails": None,
    "    if (pc->ssl_stapling && !ssl_stapling_file) { /* OCSP */": None,
    "        'AH02217',  # ssl_stapling at start": None,
    '    #[error("no OCSP server specified in certificate")]': None,
    '+   Debug("ssl_ocsp", "No answer");': "Traffic Server",
    'throw new Late("OCSP responder timed out");': None,
    "console.log('No OCSP response received');": None,
    "[WARNING] Stapling OCSP: no OCSP stapling for [a.test]: parsing OCSP response: ocsp: error": "Caddy",
    "snowflake.connector.ocsp_snowflake - no OCSP response": "Snowflake",
    "mod_openssl_refresh_stapling_file (server *srv, plugin_cert *pc)": "lighttpd",
}


@pytest.mark.parametrize(("told", "writer"), NOT_THEIRS.items())
def test_the_name_of_a_server_or_a_variable_says_nothing_of_who_wrote_it(
    told: str, writer: str | None
) -> None:
    _, paste = read(f"{told}\n")
    assert paste.unclear == 1
    assert paste.writers == ({writer: 1} if writer else {})


@pytest.mark.parametrize(
    ("period", "total"),
    [
        ("all", 2),
        ("3d", 1),
        ("72h", 1),
        ("2026-01-01", 2),
        ("2026-01-01 10:00", 2),
        ("4320m", 1),
        ("100w", 2),
    ],
)
def test_a_period_may_be_a_length_or_a_date(tmp_path: Path, period: str, total: int) -> None:
    recent = f"{datetime.now():%a %b %d %H:%M:%S.%f %Y}"
    (tmp_path / "log").write_text(
        "\n".join(line(SUMMARY, time=time) for time in ("Thu Nov 05 03:04:05.1 2026", recent)) + "\n"
    )
    assert f"{total} stapling failure" in call(str(tmp_path / "log"), "--since", period).output


@pytest.mark.parametrize("period", ["yesterday-ish", "0h", "-3d", "3", "2026-13-01", "999999h"])
def test_what_is_no_period_is_refused_with_examples(period: str) -> None:
    found = call("--since", period)
    assert found.exit_code == 2
    assert "12h, 3d, a date or all" in found.output


WRITTEN_BY_OTHERS = {
    "2026/11/22 03:04:05 [error] 1#1: OCSP responder timed out, responder: ocsp.example.com": "nginx",
    "OCSP_basic_verify() failed while requesting certificate status, responder: ocsp.example.com": "nginx",
    "r1.example could not be resolved (5: Operation refused) while requesting certificate status": "nginx",
    '"ssl_stapling" ignored, no OCSP responder URL in the certificate': "nginx",
    "Nov 22 03:04:05 web1 nginx[7]: nginx: [warn] host not found in OCSP responder": "nginx",
    '<OCSP-UPDATE> /etc/haproxy/a.pem 2 "HTTP error" 0 0': "HAProxy",
    "2026-11-22 03:04:05.123 [ERROR] [SSL] OCSP Stapling can't be enabled [failed!].": "LiteSpeed",
    '2026/11/22 03:04:05.000\tWARN\ttls\tstapling OCSP\t{"error": "no OCSP stapling"}': "Caddy",
    "[md:debug] [pid 7:tid 9] mod_md_ocsp.c(142): AH10198: md ocsp watchdog run": "mod_md",
    "[Sun Nov 22 03:04:05 2026] [ssl:error] [pid 7] SSL Library Error: error:27:OCSP routines:verify": (
        "client certificates"
    ),
    "[ssl:error] [pid 7] SSL Library Error: error:06:asn1 encoding routines:: (Type=OCSP_RESPONSE)": "openssl",
    "[ssl:info] [pid 7] SSL Library Error: error:27:OCSP routines:OCSP_check_validity:status expired": "openssl",
    "[Sun Nov 22 03:04:05.1 2026] [:error] [pid 7] [client 192.0.2.1:5] ModSecurity: OCSP at ARGS:q": "other modules",
    "[Sun Nov 22 03:04:05.1 2026] [php7:warn] [pid 7] PHP Warning: no OCSP responder": "other modules",
    "[Sun Nov 22 03:04:05 2026] [error] [client 192.0.2.1] File does not exist: /srv/ocsp": "other modules",
    "[Sun Nov 22 03:04:05.1 2026] [core:error] [pid 7] [client 192.0.2.1:5] AH00126: no OCSP": "other modules",
    '192.0.2.1 - - [22/Nov/2026:03:04:05 +0000] "GET /ocsp-stapling HTTP/1.1" 200 5 "-" "x"': "other modules",
    "AH00526: Syntax error\nSSLStaplingCache cannot occur within <VirtualHost> section": "configuration",
    "[Sun Nov 22 03:04:05 2026] [core:alert] [pid 7] [client 192.0.2.1:5] /a/.htaccess: SSLUseStapling not allowed": (
        "configuration"
    ),
    "OCSP response: no response sent": "openssl",
    "Nov 22 03:04:05 web1 hitch[7]: {ocsp} request to ocsp.example.com:80 failed": "hitch",
    "Nov 22 03:04:05 web1 h2o[7]: OCSP stapling: updater failed": "h2o",
    "[OCSP Stapling] temporary failed for file:/etc/a.crt": "h2o",
    "22/Nov/2026:03:04:05 +0100 PID7 [WARN] shrpx_connection_handler.cc:1 ocsp query failed": "nghttpx",
    "[Nov 22 03:04:05.123]  ERROR: no connection to OCSP server; host=ocsp.example.com": "Traffic Server",
    "[Nov 22 03:04:05.123] [ET_TASK 1] NOTE: stapling is ready for a.crt": "Traffic Server",
    "2026.11.22 03:04:05 LOG3[0]: OCSP: no answer": "stunnel",
    "Nov 22 03:04:05 mx postfix/smtpd[7]: warning: no OCSP stapling": "Postfix",
    "Nov 22 03:04:05 imap-login: Error: OCSP response is stale": "Dovecot",
    "2026-11-22 03:04:05 1abcde-0001AB-3x H=mx.example.net [192.0.2.9] OCSP stapling failed": "Exim",
    "gnutls-cli: *** OCSP: The certificate status is good": "GnuTLS",
    "* Could not resolve host: ocsp.example.com": "curl",
    "2026-11-22 03:04:05 TLS error: tls_ocsp_file /etc/exim4/a.ocsp": "Exim",
    "2026-11-22 03:04:05: (mod_openssl.c.900) OCSP stapling file is too old": "lighttpd",
    '{"level":"warn","ts":1795316645.1,"msg":"stapling OCSP","identifiers":["a.example"]}': "Caddy",
    "[lua] certificate.lua:1: no OCSP responder, context: ngx.timer": "nginx",
    "[2026-11-22 03:04:05.101][1][warning][config] [grpc_mux_impl.cc:1] OCSP response has expired": "Envoy",
    '{"s":"W","c":"NETWORK","ctx":"OCSPManagerHTTP-0","msg":"Could not staple OCSP response"}': "MongoDB",
    "[7] 2026/11/22 03:04:05.123456 [ERR] OCSP staple error: bad http status": "NATS",
    "(12) eap_tls: ocsp: Couldn't connect to OCSP responder": "FreeRADIUS",
    "at TLSSocket.onocsp (node:_tls_wrap:1234:17) no OCSP response": "Node.js",
    "2026/11/22 03:04:05 ocsp: error from server: try later": "Go",
    "WARNING [main] org.apache.tomcat.util.net.openssl.OpenSSLContext.init no OCSP responder": "Tomcat",
    "OCSP check failed: openvpn tls-verify script exited with 1": "openvpn",
    "auth.cert: OCSP request failed: vault error": "vault",
    "* schannel: the OCSP server was offline": "Windows",
    "Error code: SEC_ERROR_OCSP_SERVER_ERROR": "browser",
    "java.security.cert.CertPathValidatorException: no OCSP response": "Java",
    "Nov 22 03:04:05 box syslog-ng[7]: OCSP stapling verification failed": "syslog-ng",
    "<27>1 2026-11-22T03:04:05.1Z web1 prosody 7 - - OCSP response is too old": "prosody",
    "2026-11-22 03:04:05,123 - backup.ocsp - WARNING - OCSP check failed": "backup.ocsp",
    "2026-11-22 03:04:05,123 ERROR backup.ocsp: OCSP check failed": "backup.ocsp",
    "2026-11-22 03:04:05,123:DEBUG:backup.ocsp:OCSP check failed": "backup.ocsp",
    "WARNING:backup.ocsp:OCSP check failed": "backup.ocsp",
    "[22/Nov/2026:03:04:05][7.7f0011][-main:conf-] Notice: OCSP stapling enabled": "NaviServer",
    '{"SYSLOG_IDENTIFIER":"ejabberd","MESSAGE":"OCSP response is too old"}': "ejabberd",
}


@pytest.mark.parametrize(("told", "writer"), WRITTEN_BY_OTHERS.items())
def test_what_others_write_is_said_to_be_theirs(tmp_path: Path, told: str, writer: str) -> None:
    _, paste = read(f"{told}\n")
    assert paste.writers == {writer: 1}
    (tmp_path / "paste").write_text(f"{told}\n")
    assert sentence_of(writer, 1, 1) in " ".join(call(str(tmp_path / "paste")).output.split())


@pytest.mark.parametrize(
    "heading", ["## The error `{0}`", 'Since Monday the log says "{0}", all day:', "Why {0}?"]
)
def test_what_a_sentence_tells_of_the_lines_below_counts_once(heading: str) -> None:
    found, _ = read(f"{heading.format(SUMMARY)}\n\n{line(SUMMARY)}\n{line(UNREACHABLE, 5)}\n")
    assert sorted(entry.code for entry in found) == ["AH01941", "AH01974"]


@pytest.mark.parametrize(
    "told",
    [
        '+ ap_log_error(MARK, APLOGNO(01934) "stapling_check_response: Error Parsing Response!"); - return;',
        '   APLOGNO(02218) "ssl_stapling_init_cert: no OCSP URI "',
        f'#define SUMMARY "{SUMMARY}"',
        f"ignoreregex = {SUMMARY}",
        "failregex = ^%(_apache_error_client)s AH01980: bad response from OCSP server",
        f'- match: "{SUMMARY}"',
        "pattern: '%{HTTPD_ERRORLOG} AH01977: failed reading line from OCSP server'",
    ],
)
def test_the_text_of_a_program_or_a_rule_is_no_line_of_a_log(told: str) -> None:
    found, _ = read(f"{told}\n")
    assert not found


@pytest.mark.parametrize("said", [SUMMARY, UNREACHABLE, f"23x [ssl:error] [pid 1] {SUMMARY}"])
@pytest.mark.parametrize("place", ["- {0}", "{0} -", 'u "GET /{0}"', 'u "GET /" 200 1 "`{0}`" "-"'])
def test_nothing_that_a_visitor_sends_into_an_access_log_is_a_failure(said: str, place: str) -> None:
    who, _, what = place.format(said).partition(" u ")
    found, _ = read(f"203.0.113.9 - {who} [22/Nov/2026:03:04:05 +0000] {what}\n")
    assert not found
