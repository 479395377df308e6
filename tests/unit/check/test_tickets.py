"""The tickets, line for line: what each reader is sent, and what of it is left out where customers may not be named.

`tickets.txt` holds them as they are sent. Whoever changes a line on purpose changes it there.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check import report
from ocsp_stapling.check.diagnosis import diagnose
from ocsp_stapling.check.evidence import (
    AuthorityEvidence,
    ConfigurationEvidence,
    Elsewhere,
    Evidence,
    HostEvidence,
    LogEvidence,
    Site,
)
from ocsp_stapling.check.ticket import READERS, ticket
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import (
    V4,
    V6,
    address,
    at_port,
    evidence,
    meeting,
    responder,
    stalled,
    unstapled,
)

TEXTS = Path(__file__).with_name("tickets.txt")
HOST = HostEvidence(
    hostname="server.host.example",
    worker_user="nobody",
    load_sentence="the load is normal",
    traces={V4: "1  192.0.2.1  0.4 ms\n2  *"},
)
FINE = responder("zeta")
CUT_OFF = responder(
    v4=address(V4, Outcome.CONNECT_TIMEOUT, source="192.0.2.80", icmp_ms=0.4),
    v6=address(V6, Outcome.NO_ROUTE, source="2001:db8::80"),
    must_staple=True,
    serial="0A1B",
    command="curl http://ocsp.alpha.example/0A1B",
    blocked_by=("drop tcp dport 80",),
    elsewhere=(
        Elsewhere("my laptop", "http://ocsp.alpha.example", True, "From my laptop it answers rightly."),
    ),
)
WRONG = responder(
    v4=address(V4, Outcome.HTTP_ERROR, http_status=403, icmp_ms=12.0),
    v6=address(V6, Outcome.NOT_OCSP, http_status=200, detail="it is compressed"),
    serial="0A1B",
    sites=1,
    name_sentence="ocsp.alpha.example resolves as it does elsewhere.",
)
LOST = replace(responder(fault=Outcome.DNS_TIMEOUT), sites=(Site("his.example", owner="anna"),))
LOG = LogEvidence(last_hour=1, last_day=2000)
MADE: dict[str, Evidence] = {
    "a stall": stalled(
        CUT_OFF,
        FINE,
        host=HOST,
        log=LOG,
        authorities=(
            AuthorityEvidence("Zeta", Level.OPERATIONAL, "Zeta reports no trouble.", "https://s.zeta"),
        ),
    ),
    "wrong answers": unstapled(WRONG, FINE, host=replace(HOST, traces={}, load_sentence="")),
    "a name that does not resolve": evidence(
        LOST, FINE, host=HOST, handshakes=tuple(meeting(LOST, seconds=3.5, error="timeout", staple=""))
    ),
    "off": unstapled(
        CUT_OFF,
        host=HOST,
        log=LogEvidence(unreadable="it could not be read."),
        configuration=ConfigurationEvidence(on=False, origin=Origin.PLUGIN),
    ),
    "a stall, and httpd refuses a site's file": stalled(
        responder(v4=Outcome.REPLY_TIMEOUT),
        FINE,
        configuration=ConfigurationEvidence(
            refused="SSLStaplingCache cannot occur within <VirtualHost> section",
            refused_at="/etc/apache2/conf.d/userdata/ssl/2_4/anna/his.example/own.conf line 1",
        ),
    ),
    "visitors are turned away": evidence(
        FINE, handshakes=tuple(meeting(FINE, seconds=0.0, error="tls: internal error", staple=""))
    ),
    "nobody answers": evidence(
        FINE,
        handshakes=tuple(meeting(FINE, seconds=0.0, error="refused", staple="")),
        host=replace(
            HOST, front=Server.NOBODY, front_sentence="nothing listens on port 443", apache_running=False
        ),
    ),
    "a port of its own": unstapled(at_port(responder(v4=Outcome.REFUSED), 8080), responder("zeta")),
}
CASES = [
    f"{name}, for {reader}{how}"
    for name, reader, how in product(MADE, READERS, ("", ", redacted"))
    if name.startswith("a stall") or not how
]


def told(case: str) -> str:
    name, _, rest = case.partition(", for ")
    reader, _, redacted = rest.partition(", ")
    made = MADE[name]
    return ticket(report.document(made, diagnose(made)), reader, redact=bool(redacted)).strip()


def kept() -> dict[str, str]:
    sections = TEXTS.read_text().split("== ")[1:]
    return {name: text.strip() for name, _, text in (each.partition("\n") for each in sections)}


def test_every_ticket_has_its_text_and_no_text_is_of_none() -> None:
    assert list(kept()) == CASES


@pytest.mark.parametrize("case", CASES)
def test_what_a_ticket_says(case: str) -> None:
    assert told(case) == kept()[case]
