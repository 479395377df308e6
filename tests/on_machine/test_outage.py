"""The outage is real: what a hanging responder does to visitors, measured on real Apache with EA4's settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.alone]
RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"


def visits(machine: Machine, count: int, *options: str) -> list[dict[str, Any]]:
    printed = machine.python("tests.machine.clients", str(count), *options)
    return sorted((json.loads(line) for line in printed.splitlines()), key=lambda v: float(v["seconds"]))


@pytest.fixture
def stalled(machine: Machine) -> Machine:
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")
    return machine


def test_visitors_who_ask_for_a_staple_wait_one_after_the_other(stalled: Machine) -> None:
    seconds = [visit["seconds"] for visit in visits(stalled, 4)]
    assert seconds == [pytest.approx(3 * n, abs=1.2) for n in (1, 2, 3, 4)]


def test_a_visitor_who_asks_for_no_staple_is_served_at_once_meanwhile(stalled: Machine) -> None:
    crowd = stalled.popen("sh", "-c", "machine visit 2")
    plain = visits(stalled, 1, "--no-status")
    crowd.communicate(timeout=60)
    assert plain[0]["error"] == ""
    assert plain[0]["seconds"] < 1


def test_the_queue_is_server_wide(stalled: Machine) -> None:
    """A site of a healthy authority waits behind the visitors of a site whose responder hangs."""
    first, *others = visits(stalled, 2, "--site", "site0001.example.test", "--site", "site0002.example.test")
    assert max(first["seconds"], others[0]["seconds"]) > 2


def test_the_log_says_what_the_article_quotes(stalled: Machine) -> None:
    visits(stalled, 1)
    log = stalled.path("/var/log/apache2/error_log").read_text()
    assert "AH01941: stapling_renew_response: responder error" in log
    assert "(70007)The timeout specified has expired" in log


def test_a_healthy_responder_means_quick_stapled_handshakes(machine: Machine) -> None:
    found = visits(machine, 4)
    assert all(visit["stapled"] and visit["seconds"] < 2 for visit in found)
