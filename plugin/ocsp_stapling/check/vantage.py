"""Another vantage point: the same question to a responder, asked from a machine in another network.

One shell line that works on any Linux machine with curl carries the real OCSP request; what it prints can be pasted
here and is verified as strictly as an answer of our own probe. "Works there, not here" means our network.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ocsp_stapling.check.evidence import Elsewhere
from ocsp_stapling.ocsp.answer import MAX_ANSWER_BYTES, Verdict, verify_answer
from ocsp_stapling.ocsp.guard import is_plain, parse_url
from ocsp_stapling.ocsp.request import get_url, ocsp_request
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import run

PASTED = "another machine"
SIZE_LIMIT = 512 * 1024
"""Most bytes of pasted text that are looked at; 30 answers are about a tenth of it."""
_REPORTS = 200
_URL_LIMIT = 255  # RFC 5019 section 5: longer requests are posted
_SECONDS = 8

MARK, END = "OCSP-ELSEWHERE", "OCSP-END"
"""What a result begins with and ends with."""
_HEAD = re.compile(
    MARK + r" (?P<id>[0-9a-f]{16}) (?P<status>[0-9]{3}) (?P<size>[0-9]{1,9}) "
    r"(?P<seconds>[0-9]{1,4}[.,][0-9]{1,6}) ?(?P<type>[^\r\n]{0,100})"
)
_TOLD = "%{http_code} %{size_download} %{time_total} %{content_type}"  # curl(1), --write-out
_BODY = re.compile(r"[A-Za-z0-9+/=]{1,1000}")
Pinned = tuple[Target, str]
"""What to ask, and the vetted address to ask it at."""


@dataclass(frozen=True)
class PastedReply:
    """What one run of the line printed: HTTP status (0: no answer at all), seconds, and the body."""

    id: str
    status: int
    seconds: float
    body: bytes


def question_id(target: Target) -> str:
    """Return what ties a pasted result to the question it answers: 16 hexadecimal digits."""
    certificate = target.certificate.fingerprint if target.certificate else ""
    return hashlib.sha256(f"{target.url}\n{certificate}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def command(target: Target, address: str, seconds: int = _SECONDS) -> str:
    """Return the shell line that asks `target` from another machine, "" if there is no question to ask.

    Certificates are foreign, so every part that comes from one is quoted for the shell. The other machine connects to
    `address`, which was vetted here, and looks no name up itself: there it may lead to a private one. It follows no
    redirect.
    """
    if target.certificate is None or target.issuer is None or not is_plain(target.url) or not address:
        return ""
    url_parts = parse_url(target.url)
    literal = f"[{address}]" if ":" in address else address
    pinned = shlex.quote(f"{url_parts.host}:{url_parts.port}:{literal}")
    question = ocsp_request(target.certificate, target.issuer)
    url = get_url(target.url, question)
    told = f"{MARK} {question_id(target)} {_TOLD}\\n"
    bounds = f"-qsgm {seconds} --noproxy '*' --proto =http --max-redirs 0 --max-filesize 65536"
    options = f'{bounds} --resolve {pinned} -o "$f" -w {shlex.quote(told)}'
    ask = f"curl {options} {shlex.quote(url)}"
    if len(url) - len(target.url) > _URL_LIMIT:
        posted = "-H 'Content-Type: application/ocsp-request' --data-binary @-"
        encoded = base64.b64encode(question).decode()
        ask = f"echo {encoded} | base64 -d | curl {options} {posted} {shlex.quote(target.url)}"
    return f'f=$(mktemp) && {{ {ask}; base64 <"$f"; echo {END}; rm -f "$f"; }}'


def parse(text: str) -> tuple[PastedReply, ...]:
    """Return the results in pasted text; whatever else was pasted along is skipped.

    Raises Problem `elsewhere-unreadable` if there is no whole result in it.
    """
    found: list[PastedReply] = []
    lines = iter(text[:SIZE_LIMIT].splitlines())
    for line in lines:
        head = _HEAD.search(line.strip())
        if head is None or len(found) >= _REPORTS:
            continue
        body = _body(lines)
        if body is not None:
            seconds = float(head["seconds"].replace(",", "."))
            found.append(PastedReply(head["id"], int(head["status"]), seconds, body))
    if not found:
        raise Problem(
            "elsewhere-unreadable",
            "The text holds no result of the line that `ocsp-stapling check` prints for another machine: "
            "paste everything from OCSP-ELSEWHERE to OCSP-END.",
        )
    return tuple(found)


def _body(lines: Iterator[str]) -> bytes | None:
    """Read base64 lines up to the end mark; None if the result is torn or is not what the line prints."""
    encoded = ""
    for line in lines:
        text = line.strip()
        if text == END:
            return _decoded(encoded)
        if text and (not _BODY.fullmatch(text) or len(encoded) > 2 * 65536):
            return None
        encoded += text
    return None


def _decoded(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def judge(
    replies: Sequence[PastedReply], targets: Sequence[Target], place: str, now: datetime
) -> dict[str, Elsewhere]:
    """Return what the results mean, by the id of the question; results for other questions are left out."""
    by_id = {question_id(target): target for target in targets}
    return {reply.id: _judged(reply, by_id[reply.id], place, now) for reply in replies if reply.id in by_id}


def _judged(reply: PastedReply, target: Target, place: str, now: datetime) -> Elsewhere:
    works, what = _what(reply, target, now)
    return Elsewhere(place, target.url, works, f"From {place}: {what}")


def _what(reply: PastedReply, target: Target, now: datetime) -> tuple[bool, str]:
    if not reply.status:
        return False, f"no answer within {reply.seconds:.1f} s."
    if not 200 <= reply.status <= 299:
        return False, f"HTTP status {reply.status} instead of an answer."
    if target.certificate is None or target.issuer is None or len(reply.body) > MAX_ANSWER_BYTES:
        return False, "an answer that Apache would not take."
    verdict = verify_answer(reply.body, target.certificate, target.issuer, now, target.skew).verdict
    if verdict is Verdict.GOOD:
        return True, f"a good, verified answer after {reply.seconds:.1f} s."
    return False, verdict.sentence[:1].lower() + verdict.sentence[1:]


def ask_by_ssh(
    hosts: Sequence[str], asked: Sequence[Pinned], seconds: float, now: datetime
) -> dict[str, tuple[Elsewhere, ...]]:
    """Ask from every host by ssh, all at once; return what came back, by the id of the question.

    Hosts come from the configuration and are checked there. ssh must need no password; a host that cannot be
    reached within `seconds` says nothing.
    """
    found: list[Mapping[str, Elsewhere]] = []

    def visit(host: str) -> None:
        found.append(_visit(host, asked, seconds, now))

    threads = [threading.Thread(target=visit, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [question_id(target) for target, _ in asked]
    return {one: tuple(each[one] for each in found if one in each) for one in ids}


def _visit(host: str, asked: Sequence[Pinned], seconds: float, now: datetime) -> Mapping[str, Elsewhere]:
    limit = max(1, int(seconds) - 1)
    lines = [line for target, address in asked if (line := command(target, address, limit))]
    # Each prints in one piece, so that results of questions asked at the same moment do not mix.
    script = "".join(f'( r=$({line}); printf "%s\\n" "$r" ) &\n' for line in lines) + "wait\n"
    options = ("BatchMode=yes", f"ConnectTimeout={limit}", "ForwardAgent=no", "ClearAllForwardings=yes")
    argv = ["ssh", "-T", *(word for option in options for word in ("-o", option)), "--", host, "sh -s"]
    done = run(argv, timeout=seconds, input=script, limit=SIZE_LIMIT)
    try:
        return judge(parse(done.out), [target for target, _ in asked], host, now)
    except Problem:
        return {}
