"""The document of a check, what is kept of it, and the texts made from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click import unstyle

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
)
from ocsp_stapling.check.gather import UNREAD_LOG
from ocsp_stapling.check.ticket import READERS, reader_for, ticket
from ocsp_stapling.cli.check_text import as_text
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import evidence, responder, stalled, unstapled

ESCAPE = "\x1b]0;owned\x07"
SERVER = HostEvidence(
    hostname="server.host.example", worker_user="nobody", load_sentence="the load is normal"
)
HANGS = responder(v4=Outcome.REPLY_TIMEOUT, must_staple=True, command="f=$(mktemp) && { curl ...; }")
FINE = responder("zeta")


def document(found: Evidence) -> dict[str, Any]:
    return report.document(found, diagnose(found))


def test_the_document_is_plain_json_with_the_promised_keys() -> None:
    found = document(stalled(HANGS, FINE, host=SERVER))

    promised = (
        "cause severity confidence advice sentence for against sites_affected must_staple_sites responders"
    )
    promised += " handshakes log authorities configuration elsewhere"
    assert set(promised.split()) <= set(found)
    assert json.loads(json.dumps(found)) == found
    assert found["must_staple_sites"] == ["alpha0.example"]


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (evidence(FINE), 0),
        (evidence(), 0),
        (evidence(FINE, log=LogEvidence(last_day=9)), 0),
        (unstapled(responder(v4=Outcome.UNAUTHORIZED)), 1),
        (stalled(HANGS), 2),
        (evidence(problems=("Nothing could be read.",)), 3),
    ],
)
def test_exit_status_as_monitoring_plugins_have_it(made: Evidence, status: int) -> None:
    found = document(made)

    assert found["exit_status"] == status
    assert unstyle(as_text(found)).startswith(f"OCSP STAPLING {report.STATES[status]} - ")


@pytest.mark.parametrize("make", [evidence, unstapled, stalled])
@pytest.mark.parametrize("outcome", list(Outcome), ids=lambda each: each.value)
def test_every_text_can_be_written_for_every_outcome(make: Callable[..., Evidence], outcome: Outcome) -> None:
    found = document(make(responder(v4=outcome), FINE, host=SERVER))

    assert outcome.word in as_text(found)
    for reader in READERS:
        assert ticket(found, reader).startswith("Subject: ")


@pytest.mark.parametrize("odd", [ESCAPE, "\x9b2J", "\x85Bcc: all", "\u2028x", "\r\nBcc: all", "\u202egnp"])
def test_foreign_text_reaches_no_terminal_raw(odd: str) -> None:
    page = AuthorityEvidence(f"Alpha{odd}", Level.OUTAGE, f"says {odd}", "", (odd,))
    told = (Elsewhere("there", "u", False, f"From there: {odd}."),)
    nasty = responder(f"alpha{odd}", v4=Outcome.STALE, elsewhere=told, command=odd, name_sentence=odd)

    found = document(unstapled(nasty, authorities=(page,), host=SERVER, problems=(odd,)))

    for text in (unstyle(as_text(found)), *(ticket(found, reader) for reader in READERS)):
        assert text.replace("\n", "").isprintable()
        assert not any(line.startswith("Bcc:") for line in text.splitlines())


@pytest.mark.parametrize("reader", READERS)
def test_a_redacted_ticket_names_no_customer_and_no_server(reader: str) -> None:
    text = ticket(document(stalled(HANGS, FINE, host=SERVER)), reader, redact=True)

    assert not any(f"alpha{number}.example" in text.replace("ocsp.alpha.example", "") for number in range(2))
    assert "server.host.example" not in text


SERIAL = "0A1B2C"
SPOILED = responder(
    v4=Outcome.BAD_SIGNATURE, serial=SERIAL, sites=1, command=f"curl http://ocsp.alpha.example/{SERIAL}"
)


@pytest.mark.parametrize(("reader", "redact"), [("datacenter", True), ("datacenter", False), ("root", True)])
def test_by_no_serial_number_can_a_site_be_looked_up_that_a_ticket_does_not_name(
    reader: str, redact: bool
) -> None:
    found = document(unstapled(SPOILED, FINE, host=SERVER))
    assert f"(serial {SERIAL})" in found["sentence"]

    text = ticket(found, reader, redact=redact)

    assert "a site" in text
    assert f"serial {SERIAL}" not in text
    assert (SERIAL in text) is not redact  # the line that reproduces it; redacted, another one stands for it
    assert f"serial {SERIAL}" in ticket(found, "ca", redact=redact)


@pytest.mark.parametrize("reader", READERS)
def test_wherever_a_redacted_sentence_has_a_name_from_it_is_left_out(reader: str) -> None:
    names = ("own.example", "other.example", "quick.example", "strict.example")
    found = document(stalled(HANGS, FINE, host=SERVER)) | {
        "sentence": f"At {', '.join(names)}, and at not-own.example.",
        "never_stapled": ["strict.example"],
        "must_staple_sites": ["quick.example"],
    }
    found["configuration"] |= {"still_on": ["own.example"]}
    found["handshakes"][0]["site"] = "other.example"

    text = ticket(found, reader, redact=True)

    assert "At (a site), (a site), (a site), (a site), and at not-own.example." in text


def test_only_root_is_told_which_sites() -> None:
    found = document(stalled(HANGS, FINE, host=SERVER))

    assert "alpha0.example" in ticket(found, "root")
    assert "alpha0.example" not in ticket(found, "datacenter")
    assert "alpha0.example" not in ticket(found, "ca")


@pytest.mark.parametrize(
    ("one", "reader"),
    [
        (responder(v4=Outcome.CONNECT_TIMEOUT), "datacenter"),
        (responder(v4=Outcome.STALE), "ca"),
        (responder(fault=Outcome.DNS_TIMEOUT), "root"),
    ],
)
def test_the_ticket_goes_to_whoever_can_act(one: Any, reader: str) -> None:
    assert reader_for(document(unstapled(one, FINE))) == reader


def test_while_stapling_is_off_the_ticket_still_goes_to_whoever_can_act() -> None:
    off = ConfigurationEvidence(on=False, origin=Origin.PLUGIN)

    assert reader_for(document(unstapled(FINE, configuration=off))) == "root"
    broken = responder(v4=Outcome.CONNECT_TIMEOUT)
    assert reader_for(document(unstapled(broken, FINE, configuration=off))) == "datacenter"


def test_the_ticket_has_times_with_zone_failures_and_what_works() -> None:
    text = ticket(document(stalled(HANGS, FINE, host=SERVER)))

    assert "2026-05-04 03:00:00 UTC" in text
    assert "198.51.100.7: silent; ping " in text
    assert "no HTTP answer" in text
    assert "http://ocsp.zeta.example (Zeta): a good, verified answer" in text
    assert "curl" in text


def test_a_log_that_was_not_read_in_time_is_not_said_to_be_clean() -> None:
    found = evidence(responder(), log=UNREAD_LOG)

    text = as_text(report.document(found, diagnose(found)))

    assert "no stapling failure" not in text
    assert "not read to its end in time" in text
