"""The outage is real: what a hanging responder does to visitors, measured on real Apache with EA4's settings."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ocsp_stapling.check.surroundings import SILENT_YET
from tests.machine import Machine, why_not_here

pytestmark = [pytest.mark.machine, pytest.mark.alone]
RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"


def visits(machine: Machine, count: int, *options: str) -> list[dict[str, Any]]:
    printed = machine.python("tests.machine.clients", str(count), *options)
    return sorted((json.loads(line) for line in printed.splitlines()), key=lambda v: float(v["seconds"]))


@pytest.fixture(scope="module")
def server() -> Iterator[Machine]:
    """One machine for all of it."""
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine() as machine:
        yield machine


@pytest.fixture
def stalled(server: Machine) -> Iterator[Machine]:
    server.fault("alpha", "hang")
    server.run(RESTART, "--hard")
    yield server
    server.heal()


def test_a_healthy_responder_means_quick_stapled_handshakes(server: Machine) -> None:
    found = visits(server, 4)
    assert all(visit["stapled"] and visit["seconds"] < 2 for visit in found)


def test_visitors_who_ask_for_a_staple_wait_one_after_the_other_and_the_log_says_what_the_article_quotes(
    stalled: Machine,
) -> None:
    seconds = [visit["seconds"] for visit in visits(stalled, 4)]
    assert seconds == [pytest.approx(3 * n, abs=1.2) for n in (1, 2, 3, 4)]
    log = stalled.path("/var/log/apache2/error_log").read_text()
    assert "AH01941: stapling_renew_response: responder error" in log
    assert "(70007)The timeout specified has expired" in log


@pytest.mark.parametrize("kind", ["hang", "drop"])
def test_the_record_of_an_outage_begins_with_what_apache_logged_before_anybody_looked(
    stalled: Machine, kind: str
) -> None:
    """A responder that is silent is named by no line, one that cannot be reached is."""
    stalled.fault("alpha", kind)
    stalled.run("rm", "-rf", "/var/lib/ocsp-stapling")
    stalled.path("/var/log/apache2/error_log").write_text("")
    stalled.run(RESTART, "--hard")
    visits(stalled, 1)
    time.sleep(1)  # the log tells whole seconds
    stalled.run("ocsp-stapling", "check", check=False)

    told = json.loads(stalled.run("ocsp-stapling", "history", "--incident", "latest", "--json").stdout)
    found = json.loads(stalled.run("ocsp-stapling", "status", "--json").stdout)["last_check"]
    assert told["first_sign"] == "log"
    assert told["began"] < found["checked_at"]
    assert [one["event"] for one in told["timeline"]][:2] == ["sign", "trouble"]


def test_the_log_is_read_last_so_it_tells_of_the_waits_that_the_check_itself_met(stalled: Machine) -> None:
    stalled.path("/var/log/apache2/error_log").write_text("")

    found = json.loads(stalled.run("ocsp-stapling", "check", "--json", check=False).stdout)

    assert found["severity"] == "stalling"
    assert found["log"]["last_hour_count"]
    assert found["log"]["unheard_reason"] is None

    conf = stalled.path("/etc/apache2/conf/httpd.conf")
    before = conf.read_text()
    conf.write_text(f"{before}\nErrorLog /dev/null\n")
    try:
        stalled.run(RESTART, "--hard")
        stalled.path("/var/log/apache2/error_log").write_text("")
        deaf = json.loads(stalled.run("ocsp-stapling", "check", "--json", check=False).stdout)
    finally:
        conf.write_text(before)
    assert (deaf["severity"], deaf["log"]["last_day_count"]) == ("stalling", 0)
    assert deaf["log"]["unheard_reason"].endswith(SILENT_YET)


def test_a_visitor_who_asks_for_no_staple_is_served_at_once_meanwhile_and_the_queue_is_server_wide(
    stalled: Machine,
) -> None:
    """A site of a healthy authority waits behind the visitors of a site whose responder hangs."""
    sites = ("--site", "site0001.example.test", "--site", "site0002.example.test")
    crowd: list[dict[str, Any]] = []
    visitors = threading.Thread(target=lambda: crowd.extend(visits(stalled, 2, *sites)))
    visitors.start()
    time.sleep(1)
    plain = visits(stalled, 1, "--no-status")
    assert visitors.is_alive(), "they are still waiting"
    visitors.join()
    assert plain[0]["error"] == ""
    assert plain[0]["seconds"] < 1
    first, *others = crowd
    assert max(first["seconds"], others[0]["seconds"]) > 2
