"""Whatever foreign bytes a parser is given, it reads them or says in its own way that it cannot; and soon.

Every parser of bytes that others wrote, with inputs bent from real ones. Short here; `--long` takes ten minutes each.
"""

from __future__ import annotations

import contextlib
import copy
import io
import ipaddress
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import dns.exception
import dns.message
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ocsp_stapling import settings as configured
from ocsp_stapling.apache import managed_block, statements
from ocsp_stapling.apache.errorlog import failures, line, paste, read
from ocsp_stapling.ca import statusio, statuspage
from ocsp_stapling.ca.reading import UnreadablePageError
from ocsp_stapling.check import vantage
from ocsp_stapling.host.firewall import csf, iptables, nft, report
from ocsp_stapling.host.firewall.ruleset import Packet, blocks
from ocsp_stapling.ocsp import certificate, exchange, guard, responder
from ocsp_stapling.ocsp.answer import verify_answer
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import Completed
from ocsp_stapling.shield import relay, store
from ocsp_stapling.whm import accounts, api
from tests.unit.ocsp.authority import NOW, answer, encoded, issue, make_authority, pem

LONG_SECONDS = 600.0
SLOWEST_SECONDS = 2.0
CA = make_authority()
LEAF = issue(CA, "http://ocsp.example.com/")
PACKETS = tuple(Packet(ipaddress.ip_address(a), 99, 99, "eth0") for a in ("192.0.2.1", "2001:db8::1"))
RULESET = {
    "nftables": [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "inet", "name": "f", "handle": 1}},
        {
            "chain": {
                "family": "inet",
                "table": "f",
                "name": "out",
                "type": "filter",
                "hook": "output",
                "prio": 0,
                "policy": "drop",
            }
        },
        {"set": {"family": "inet", "table": "f", "name": "s", "type": "ipv4_addr", "elem": ["192.0.2.1"]}},
        {
            "rule": {
                "family": "inet",
                "table": "f",
                "chain": "out",
                "expr": [
                    {
                        "match": {
                            "op": "==",
                            "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                            "right": {"set": [80, {"range": [443, 445]}]},
                        }
                    },
                    {"match": {"op": "in", "left": {"meta": {"key": "skuid"}}, "right": 99}},
                    {
                        "vmap": {
                            "key": {"payload": {"protocol": "ip", "field": "daddr"}},
                            "data": {"set": [["192.0.2.1", {"drop": None}]]},
                        }
                    },
                    {"reject": {"type": "tcp reset"}},
                ],
            }
        },
    ]
}
IPTABLES = b"""*filter
:OUTPUT DROP [0:0]
:LOCAL - [0:0]
-A OUTPUT -p tcp -m tcp --dport 80 -m owner --uid-owner 99 -j REJECT --reject-with icmp-port-unreachable
-A OUTPUT -m set --match-set bad dst -j LOCAL
-A LOCAL ! -d 10.0.0.0/8 -p tcp -m multiport --dports 80,443,30000:35000 -g OUTPUT
COMMIT
"""
STATUS = {
    "result": {
        "status_overall": {"updated": "x", "status": "Operational", "status_code": 100},
        "status": [{"id": "1", "name": "OCSP", "status_code": 300, "containers": []}],
        "incidents": [{"name": "<b>", "datetime_open": "2026-01-01T00:00:00Z", "messages": []}],
        "maintenance": {"active": [], "upcoming": []},
    },
    "status": {"indicator": "major"},
    "components": [{"name": "OCSP", "status": "major_outage"}],
    "incidents": [{"name": "i", "status": "investigating", "started_at": "2026-01-01T00:00:00Z"}],
}
CONFIGURATION = b"""Define X ${X}${X}
<IfModule ssl_module>
SSLUseStapling On \\
</IfModule>
# BEGIN OCSP Stapling for WHM (1 line end added above)
SSLUseStapling Off
# END OCSP Stapling for WHM
"""
PASTED = (
    b"$ sh\nOCSP-ELSEWHERE 0123456789abcdef 200 1500 0.123456 application/ocsp-response\nMIIB\nOCSP-END\n"
)
REPLY = b"HTTP/1.0 200 OK\r\nDate: Mon, 04 May 2026 03:00:00 GMT\r\nContent-Type: x\r\n\r\n"
FINDING = ResponderFinding(
    "http://a.test/", "a.test", 80, True, 1.0, 1, (AddressFinding("192.0.2.1", "ipv4", Outcome.REFUSED),)
).as_json()
LOG_AS_JSON = (
    b'{"log":"[Mon May 04 03:00:00.000001 2026] [ssl:error] [pid 1:tid 2] AH01941: stapling_renew_response: '
    b'responder error\\n","stream":"stderr"}\n'
)
CSF = b'TCP_OUT = "20,21,30000:35000"\nIPV6 = "1"\nTCP6_OUT = "80"\n192.0.2.0/24 # x\ntcp|out|d=80|d=192.0.2.1\n'
NAME_ANSWER = dns.message.make_response(dns.message.make_query("ocsp.a.test", "A")).to_wire()
ACCOUNT_FILES = ("etc/trueuserowners", "etc/userdomains", "etc/domainusers")
QUESTION = (
    b"POST / HTTP/1.0\r\nHost: a:80\r\nContent-Type: application/ocsp-request\r\nContent-Length: 2\r\n\r\n0\0"
)


@dataclass(frozen=True)
class Parser:
    """What reads, real inputs for it, what it may raise, and pieces that mean something to it."""

    read: Callable[[bytes], object]
    inputs: Sequence[bytes]
    may_raise: tuple[type[Exception], ...] = ()
    pieces: Sequence[bytes] = ()
    document: object = None
    """For a reader of JSON: what it reads, bent node by node."""


def text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A reader of texts, given bytes as they are decoded everywhere."""
    return lambda data: read(data.decode("utf-8", "replace"))


def read_certificates(data: bytes) -> None:
    for der in certificate.read_pem_chain(data):
        certificate.parse(der)
        certificate.scan(der)


def read_log_line(data: bytes) -> None:
    found = [one for raw in data.split(b"\n") if (one := line.parse(raw))]
    failures.summarise(found, datetime.now(UTC).replace(tzinfo=None))


def read_rules(ruleset: str) -> None:
    for hook in nft.parse(ruleset):
        for packet in PACKETS:
            blocks(hook, packet)


def read_iptables(rules: str) -> None:
    for hook in iptables.parse(rules, "iptables", lambda _name: lambda _address: None):
        for packet in PACKETS:
            blocks(hook, packet)


def read_status(document: str) -> None:
    for parse in (statusio.parse, statuspage.parse):
        try:
            parse(json.loads(document), "https://status.example.com")
        except UnreadablePageError:
            continue


def read_reply(data: bytes) -> None:
    """What a responder sends, in pieces as they come."""
    for size in (1, 7, 4096):
        reply = exchange.Reply()
        with contextlib.suppress(exchange.ExchangeError):
            for at in range(0, min(len(data), 400 * size), size):
                if exchange._take(reply, data[at : at + size], True):
                    break
            else:
                exchange._end(reply)
        assert reply.date is None or reply.date.tzinfo


def read_findings(data: bytes) -> None:
    """What the probe's child writes, which a hole in it would let a responder write."""
    responder._read(Completed(0, data.decode("utf-8", "replace"), ""))


def read_log_file(data: bytes) -> None:
    found = list(read.entries_of_stream(io.BytesIO(data), paste.Paste()))
    failures.summarise(found, datetime.now(UTC).replace(tzinfo=None))


def in_files(names: Sequence[str], read_them: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of a directory in which these files hold the bytes."""

    def read_directory(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as place:
            for name in names:
                Path(place, name).parent.mkdir(exist_ok=True)
                Path(place, name).write_bytes(data)
            return read_them(Path(place))

    return read_directory


def read_csf(folder: Path) -> None:
    if found := csf.read(folder):
        for packet in PACKETS:
            found.blocks(packet.responder)


def read_kept(folder: Path) -> None:
    with contextlib.suppress(store.Damaged):
        store.read(folder / store.name_of("x"))


def kept_answer() -> bytes:
    """A file of the shield's, as it writes it."""
    with tempfile.TemporaryDirectory() as place:
        store.write(Path(place), store.Kept("x", b"0\0", 1, 2, 3, "good", "http://a.test/"))
        return Path(place, store.name_of("x")).read_bytes()


def read_block(data: bytes) -> None:
    found = managed_block.find(data)
    managed_block.read_note(found.body.decode("utf-8", "replace") if found else "")


@cache
def parsers() -> dict[str, Parser]:
    """Every parser of foreign bytes."""
    leaf, issuer = certificate.parse(encoded(LEAF)), certificate.parse(encoded(CA.certificate))
    good = answer(CA, LEAF)
    log = b"".join(path.read_bytes()[:4000] for path in sorted(Path("tests/fixtures/errorlog").glob("*.log")))
    lines = [each for each in log.split(b"\n") if each][:60]
    return {
        "certificate": Parser(certificate.parse, [encoded(LEAF), encoded(CA.certificate)], (Problem,)),
        "combined file": Parser(
            read_certificates,
            [pem(LEAF) + pem(CA.certificate)],
            (Problem,),
            (b"-----BEGIN TRUSTED CERTIFICATE-----", b"-----END CERTIFICATE-----", b"\r", b"="),
        ),
        "OCSP answer": Parser(lambda data: verify_answer(data, leaf, issuer, NOW), [good]),
        "OCSP URL": Parser(
            lambda data: guard.parse_url(data.decode("latin-1")),
            [b"http://u@ocsp.a.test:80/x?y#z", b"http://[2001:db8::1]:80/", b"http:x"],
            (guard.UnusableURLError,),
            (b"[", b"]", b"@", b":", b"%25eth0", b"\xff", b"//"),
        ),
        "error log": Parser(
            read_log_line, lines, (), (b"[", b"]", b"(", b"AH01941: ", b"[client ", b"\x1b[")
        ),
        "statements": Parser(statements.scan, [CONFIGURATION], (), (b"\\\n", b"<If ", b"${X}", b'"', b"\0")),
        "our block": Parser(
            read_block, [CONFIGURATION], (Problem,), (managed_block.BEGIN, managed_block.END, b"\r\n")
        ),
        "nft": Parser(
            text(read_rules),
            [json.dumps(RULESET).encode()],
            (ValueError,),
            (b"null", b"[]", b"-1"),
            document=RULESET,
        ),
        "iptables": Parser(
            text(read_iptables), [IPTABLES], (), (b"! ", b"--uid-owner ", b"\xd9\xa3", b":", b"/")
        ),
        "ipset": Parser(
            text(report.parse), [b"create s hash:ip\nadd s 192.0.2.1\nadd s 192.0.2.0/24 timeout 3\n"]
        ),
        "status page": Parser(
            text(read_status), [json.dumps(STATUS).encode()], (ValueError,), (b"null", b"[]"), document=STATUS
        ),
        "pasted result": Parser(text(vantage.parse), [PASTED], (Problem,), (b"OCSP-END\n", b"\xe2\x80\xa8")),
        "configuration": Parser(
            text(lambda data: configured.parse(data, "f")),
            [Path("plugin/config.toml").read_bytes().replace(b"\n#", b"\n")],
            (Problem,),
            (b"1e999", b"nan", b"[[[[", b"'''", b"9" * 30),
        ),
        "HTTP reply": Parser(
            read_reply, [REPLY, REPLY + good], (), (b"\r\n\r\n", b"HTTP/1.1 99999 ", b"\ndate: ", b"+99999")
        ),
        "probe's findings": Parser(
            read_findings,
            [json.dumps([0, FINDING]).encode()],
            (),
            (b"1e999", b"[" * 3000, b"null", b"\n"),
            document=[0, FINDING],
        ),
        "log file": Parser(
            read_log_file,
            [log[:3000], LOG_AS_JSON],
            (),
            (b"\xff\xfe", b"\0", b'{"log":"', b"\x1f\x8b", b"\\u"),
        ),
        "CSF": Parser(
            in_files(("csf.conf", "csf.deny", "csf.allow"), read_csf),
            [CSF],
            (),
            (b"\xc2\xb2", b":", b"|", b'"', b"/0", b"%eth0"),
        ),
        "name server's answer": Parser(dns.message.from_wire, [NAME_ANSWER], (dns.exception.DNSException,)),
        "status page's address": Parser(
            text(statusio.discover),
            [b"var statuspageId = '0123456789abcdef01234567';"],
            (UnreadablePageError,),
        ),
        "WHM's answer": Parser(
            text(api._document), [b'{"metadata":{"result":1},"data":{}}'], (), (b"[" * 3000, b"1e999")
        ),
        "accounts": Parser(
            in_files(ACCOUNT_FILES, lambda root: accounts.owned_by("anna", root)),
            [b"a.test: anna\nb.test: bert\nanna: anna\nOWNER=anna\nDNS=a.test\n"],
            (Problem,),
            (b": ", b"\0", b"=", b"\xff"),
        ),
        "kept answer": Parser(
            in_files((store.name_of("x"),), read_kept), [kept_answer()], (), (b"\n", b"1e999", b"[")
        ),
        "question to the relay": Parser(
            relay.question_in, [QUESTION], (), (b"\r\n", b"Content-Length: -1\r\n")
        ),
    }


@st.composite
def bent(draw: st.DrawFn, inputs: Sequence[bytes], pieces: Sequence[bytes]) -> bytes:
    """A real input with up to eight places changed, doubled, cut out or put in."""
    data = bytearray(draw(st.sampled_from(inputs)))
    for _ in range(draw(st.integers(0, 8))):
        at, length = draw(st.integers(0, len(data))), draw(st.sampled_from((1, 2, 8, 64)))
        change = draw(st.integers(0, 4))
        if change == 0:
            del data[at : at + length]
        elif change == 1:
            data[at:at] = data[at : at + length]
        elif change == 2 and pieces:
            data[at:at] = draw(st.sampled_from(pieces))
        elif change == 3:
            data[at : at + 1] = draw(st.sampled_from((b"\0", b"\x30", b"\x7f", b"\x80", b"\x84", b"\xff")))
        else:
            data[at : at + 1] = draw(st.binary(max_size=4))
    return bytes(data)


ODD: st.SearchStrategy[object] = st.sampled_from(
    (
        *(None, True, 0, -1, 2**70, 1e308, "", "@s", "192.0.2.1", "2026-13-99", "9" * 30, [], {}, [[]], [1]),
        *(
            {"set": [[1]]},
            {"range": [1]},
            {"prefix": {"addr": "::", "len": "a"}},
            {"concat": [1, 2]},
            {"&": [1]},
        ),
        *({"jump": {"target": "out"}}, {"elem": {"val": {}}}, ["a", "b"], "<" * 3000, "\ud800"),
    )
)


@st.composite
def bent_json(draw: st.DrawFn, document: object) -> bytes:
    """A real document in which up to four nodes are something else."""
    found = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 4))):
        at: object = found
        while isinstance(at, dict | list) and at:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = draw(st.sampled_from(keys))
            if not isinstance(at[key], dict | list) or draw(st.integers(0, 3)) == 0:
                at[key] = copy.deepcopy(draw(ODD))
                break
            at = at[key]
    return json.dumps(found).encode()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(parsers()))
def test_no_bytes_make_a_parser_fail_or_take_long(name: str, request: pytest.FixtureRequest) -> None:
    parser = parsers()[name]
    until = time.monotonic() + (LONG_SECONDS if request.config.getoption("--long") else 0.0)
    turn = 0
    while turn == 0 or time.monotonic() < until:
        _try(parser, turn)
        turn += 1


def _try(parser: Parser, turn: int) -> None:
    @seed(turn)
    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(
        bent(parser.inputs, parser.pieces)
        if parser.document is None
        else bent(parser.inputs, parser.pieces) | bent_json(parser.document)
    )
    def read(data: bytes) -> None:
        begin = time.process_time()
        with contextlib.suppress(*parser.may_raise):
            parser.read(data)
        assert time.process_time() - begin < SLOWEST_SECONDS

    read()
