"""An outage as a reseller lives through it: their overview, guided steps and ticket, from the stall to its end."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape, why_not_here
from tests.machine.cpanel import VIEWER
from tests.machine.whm import Browser, log_in, open_whm
from tests.on_machine.admin import GLOBAL, RESTART, call, switch

pytestmark = pytest.mark.machine
OTHERS = "a responder of other customers' certificates"
FOREIGN = re.compile(r"site000[3-6]|muststaple|user0003|gamma|by root|SECRET|/etc/")
"""The viewer's are site0001 and site0002, of the authorities alpha and beta."""


@pytest.fixture
def machine() -> Iterator[Machine]:
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape()) as server:
        open_whm(server)
        yield server


def seen(reseller: Browser) -> tuple[str, str, str]:
    """What the three pages say, as text; none names anybody else."""
    pages = [_text(reseller.get(page).text) for page in ("", "guide", "ticket")]
    for text in pages:
        assert not FOREIGN.search(text), FOREIGN.search(text)
    overview, guide, ticket = pages
    return overview, guide, ticket


def _text(page: str) -> str:
    body = page[page.index('id="ost"') :]
    plain = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", body, flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", plain)))


def test_a_reseller_is_told_the_truth_from_the_stall_to_its_end(machine: Machine) -> None:
    reseller = log_in(machine, VIEWER)
    machine.fault("alpha", "drop")
    machine.run(RESTART, "--hard")
    call(machine, "check")
    overview, guide, ticket = seen(reseller)
    assert "Visitors are waiting" in overview
    waited = re.search(r"Sites waited (more than|up to) [\d.]+ s from [\d:]+ and still do\.", overview)
    assert waited, overview
    assert "Next: step 6, Turn stapling off" in guide
    assert re.search(r"Subject: URGENT: HTTPS sites on \S+ hang, please turn OCSP stapling off", ticket)
    assert "My sites whose visitors wait: 2 of 2, in one queue." in ticket
    assert "run: ocsp-stapling off. Or by hand: 1. Log in to WHM as root." in ticket

    assert switch(machine, "off").code == 0
    for checked in (False, True):
        if checked:
            call(machine, "check")
        overview, guide, ticket = seen(reseller)
        outage = r"Sites waited \w+ \w+ [\d.]+ s .*?; stapling turned off [\d:]+; ocsp\.alpha-ca\.test still fails\."
        assert re.search(f"The incident: {outage}", overview)
        assert re.search(r"Notice the symptoms Done Seen from .*? Sites waited \w+ \w+ [\d.]+ s", guide)
        assert re.search(r"Turn stapling off Done Stapling was turned off at [\d:]+\.", guide)
        assert re.search(rf"Subject: OCSP stapling on \S+: an outage Outage: {outage}", ticket)
        assert "Finding: The network does not let this server reach ocsp.alpha-ca.test." in ticket
        assert ("No check was made since." in ticket) is not checked
        assert "hang, please" not in ticket

    machine.heal()
    machine.fault("gamma", "hang")  # of others' certificates
    call(machine, "check")
    overview, _, ticket = seen(reseller)
    told = f"ocsp.alpha-ca.test has answered again since .*?; {OTHERS} fails since"
    assert re.search(told, overview)
    assert re.search(told, ticket)
    assert "can be turned on again" not in overview
    assert "Keep it off for now" in ticket.partition("Request")[2]
    assert switch(machine, "on").code == 3
    overview, _, _ = seen(reseller)
    assert "Since the last check: Turning stapling on failed, and everything was put back" in overview
    assert "Visitors are waiting" not in overview

    machine.heal()
    call(machine, "check")
    overview, guide, ticket = seen(reseller)
    assert "so stapling can be turned on again" in overview
    assert "Next: step 9, Turn stapling on again" in guide
    assert "visitors waited or were turned away" in ticket
    assert "it stays off until" not in ticket

    assert switch(machine, "on").code == 0
    overview, guide, ticket = seen(reseller)
    assert "Since the last check: Stapling was turned on" in overview
    assert "could be reached" not in overview
    assert re.search(r"Solved\. Sites waited .*?; over since", guide)
    assert "Nothing needs to be done." in ticket
    assert machine.run("ocsp-stapling", "status").stdout.startswith("Stapling is on")


def test_what_root_does_by_hand_shows_on_the_pages_before_anybody_checks_again(machine: Machine) -> None:
    reseller = log_in(machine, VIEWER)
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")
    call(machine, "check")
    assert "Visitors are waiting" in seen(reseller)[0]
    include = machine.path(GLOBAL)
    include.write_text(f"{include.read_text()}\n<IfModule ssl_module>\n  SSLUseStapling Off\n</IfModule>\n")
    machine.run(RESTART)
    overview, guide, ticket = seen(reseller)
    assert "Stapling is turned off by a line written by hand." in overview
    assert "Since the last check: Stapling was turned off elsewhere" in overview
    assert "Visitors are waiting" not in overview
    assert "Turn stapling off Done" in guide
    assert "hang, please" not in ticket
    assert "and still do" not in overview + guide + ticket
    told = machine.run("ocsp-stapling", "ticket", "--last", "--for", "root").stdout
    assert "hang, please" not in told
    assert "and still do" not in told
