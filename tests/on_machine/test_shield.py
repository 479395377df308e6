"""The shield on a real Apache: no visitor waits, whatever the authorities do, and staples are there all the same.

One machine for all tests: each begins with responders that are well and the shield on.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ocsp_stapling.shield import store
from tests.machine import Machine
from tests.machine.faults import RUN
from tests.machine.pki import AuthorityKeys
from tests.machine.shape import authorities
from tests.machine.whm import log_in, open_whm
from tests.on_machine.admin import (
    GLOBAL,
    RESTART,
    STATE,
    call,
    mails,
    meet,
    points,
    sabotage,
    switch,
)
from tests.on_machine.shielding import UNIT, asked_port, put_unit, relay_answers, shield, traffic

pytestmark = pytest.mark.machine
STORE = "/var/lib/ocsp-stapling-shield"
ATTEMPTS = "/var/lib/ocsp-stapling/shield-attempts.json"


@pytest.fixture
def shielded(unshielded: Machine) -> Iterator[Machine]:
    """The shared machine with all responders well, the shield on and every answer held."""
    be_well(unshielded)
    if not asked_port(unshielded) or not relay_answers(unshielded):
        called = shield(unshielded, "on", "--yes")
        assert called["state"] == "done", called
    yield unshielded
    be_well(unshielded)


def be_well(machine: Machine) -> None:
    machine.heal()
    # As if the first five minutes of its patience were over.
    machine.path(ATTEMPTS).unlink(missing_ok=True)


def keep_anew(machine: Machine) -> None:
    """Have every answer fetched anew, and Apache ask for all of them."""
    be_well(machine)
    machine.run("rm", "-r", STORE)
    shield(machine, "refresh")
    machine.run(RESTART, "--hard")


def outage(machine: Machine, kind: str = "hang") -> None:
    machine.fault("all", kind)
    machine.run(RESTART, "--hard")


def staple_of(machine: Machine, site: str) -> str:
    """What a site's staple says, "" without one."""
    words = ("-connect", "44.128.1.2:443", "-servername", site, "-status")
    told = machine.run("openssl", "s_client", *words, input="", check=False).stdout
    found = re.search(r"Cert Status: (\w+)", told)
    return found[1] if found else ""


def check(machine: Machine) -> tuple[int, dict[str, object]]:
    done = machine.run("ocsp-stapling", "check", "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def test_turned_on_in_the_middle_of_an_outage_it_ends_it_and_staples_come_back_by_themselves(
    unshielded: Machine,
) -> None:
    outage(unshielded)
    assert traffic(unshielded, 1, 1)["max_ms"] > 2500
    called = shield(unshielded, "on", "--yes")
    assert called["state"] == "done", called
    assert traffic(unshielded, 20, 1)["max_ms"] < 1000
    be_well(unshielded)
    assert shield(unshielded, "refresh")["stored_count"] == 5  # with the Must-Staple site
    deadline = time.monotonic() + 15
    while traffic(unshielded, 8, 0.5)["stapled_percent"] < 100:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def samples(machine: Machine) -> dict[str, float]:
    """The metrics without labels, by their names after our own."""
    told = json.loads(machine.run("ocsp-stapling", "metrics", "--json").stdout)["samples"]
    return {one["name"].removeprefix("ocsp_stapling_"): one["number"] for one in told if not one["labels"]}


@pytest.mark.parametrize("kind", ["hang", "drop"])
def test_in_an_outage_everybody_is_served_at_once_and_stapled(shielded: Machine, kind: str) -> None:
    outage(shielded, kind)
    met = traffic(shielded, 30, 2)
    assert (met["stapled_percent"], met["failed"]) == (100, 0)
    assert met["max_ms"] < 1000
    assert staple_of(shielded, "site0001.example.test") == "good"
    if kind == "drop":
        return
    status, found = check(shielded)
    assert (status, found["severity"]) == (0, "noise")
    assert "Not one visitor waits" in str(found["sentence"])
    metrics = samples(shielded)
    held, missing = metrics["shield_answers_held"], metrics["shield_answers_missing"]
    assert (held, missing, metrics["shield_relay_up"]) == (5, 0, 1)
    assert metrics["shield_questions_total"] > 0
    assert metrics["shield_earliest_end_timestamp_seconds"] > time.time()
    told = shielded.run("tail", "-n", "200", "/etc/apache2/logs/error_log").stdout
    assert "AH01941" not in told.rpartition("resuming normal operations")[2]


def test_restarts_of_apache_and_a_relay_whose_worker_hangs_cost_nobody_a_staple(shielded: Machine) -> None:
    shielded.fault("all", "hang")
    met: list[dict[str, float]] = []
    visitors = threading.Thread(target=lambda: met.append(traffic(shielded, 30, 5)))
    visitors.start()
    time.sleep(1)
    shielded.run(RESTART)
    worker = workers(shielded)[0]
    shielded.run("kill", "-STOP", worker)
    visitors.join()
    assert (met[0]["stapled_percent"], met[0]["failed"]) == (100, 0)
    assert worker not in workers(shielded)


def workers(machine: Machine) -> list[str]:
    """The process numbers of the relay's workers."""
    own = machine.run("systemctl", "show", "--property=MainPID", "--value", UNIT).stdout.strip()
    return machine.run("ps", "-o", "pid=", "--ppid", own).stdout.split()


def test_the_relay_may_die_nobody_waits_and_the_watch_starts_it_anew(shielded: Machine) -> None:
    shielded.run("systemctl", "stop", UNIT)
    shielded.run(RESTART)
    assert traffic(shielded, 20, 1)["max_ms"] < 1000
    assert check(shielded)[1]["cause"] == "shield-down"
    assert shielded.run("ocsp-stapling", "shield", "status", check=False).returncode == 2
    shielded.run("ocsp-stapling", "watch", check=False)
    assert relay_answers(shielded)
    assert asked_port(shielded) == 340


@pytest.mark.parametrize("healthy", [True, False], ids=["responders well", "in an outage"])
def test_a_relay_that_stays_dead_is_given_up_by_the_watch_which_says_so(
    shielded: Machine, healthy: bool
) -> None:
    unit = shielded.path(f"/etc/systemd/system/{UNIT}")
    unit.write_text(unit.read_text().replace("shield serve", "shield gone"))
    if not healthy:
        shielded.fault("all", "hang")
    told_before = len(mails(shielded))
    try:
        shielded.run("systemctl", "daemon-reload")
        shielded.run("systemctl", "stop", UNIT)
        told = shielded.run("ocsp-stapling", "watch", check=False).stdout
        assert asked_port(shielded) == 0, told
        met = traffic(shielded, 20, 1)
        assert met["stapled_percent"] == (100 if healthy else 0)
        assert met["max_ms"] < 1000
        (mail,) = mails(shielded)[told_before:]
        what = "asks the authorities itself again" if healthy else "staples no more"
        assert what in str(mail["Subject"])
    finally:
        put_unit(shielded)


def nothing_told(machine: Machine) -> int:
    """Have the watch start afresh, lest it be quiet for an hour after a word; return how many mails there are."""
    machine.run("sh", "-c", f"rm -f {STATE}/watch.sqlite*")
    return len(mails(machine))


def age(machine: Machine, site: str, hours_left: int = 72) -> None:
    """Have the kept answer about a site be six days old by what is noted of it, so that it is due."""
    kept, until = held_about(machine, site), round(time.time()) + 3600 * hours_left
    older = replace(kept, this_update=kept.this_update - 6 * 86_400, next_update=until, until=until)
    store.write(machine.path(STORE), older, time.time() - 86_400)


def held_about(machine: Machine, site: str) -> store.Kept:
    """The kept answer about a site."""
    every = store.load(machine.path(STORE))[0].values()
    (kept,) = [one for one in every if serial_of(machine, site) in one.cert_id]
    return kept


def certificate_of(machine: Machine, site: str) -> x509.Certificate:
    path = machine.path(f"/var/cpanel/ssl/apache_tls/{site}/combined")
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def serial_of(machine: Machine, site: str) -> str:
    """The serial number of a site's certificate, in hexadecimal."""
    number = certificate_of(machine, site).serial_number
    return number.to_bytes((number.bit_length() + 7) // 8, "big").hex()


def test_a_revocation_replaces_the_good_answer_and_mail_check_status_page_and_visitors_are_told(
    shielded: Machine,
) -> None:
    site = "site0001.example.test"
    told_before = nothing_told(shielded)
    shielded.fault("alpha", "revoked", serial=serial_of(shielded, site))
    age(shielded, site)
    watched = shielded.run("ocsp-stapling", "watch", check=False).stdout
    try:
        status = shield(shielded, "status")
        assert (status["revoked"], status["held_count"]) == ([site], 5), watched
        subjects = [str(mail["Subject"]) for mail in mails(shielded)[told_before:]]
        assert any("revoked" in subject and site in subject for subject in subjects), (subjects, watched)
        code, found = check(shielded)
        assert (code, found["cause"], found["advice"]) == (1, "certificate-revoked", "reissue")
        assert f"revoked the certificate of {site}" in str(found["sentence"])
        open_whm(shielded)
        assert f"Revoked by the authority: {site}" in log_in(shielded).get().text
        shielded.run(RESTART)
        assert staple_of(shielded, site) == "revoked"
    finally:
        keep_anew(shielded)


def test_a_day_before_the_first_staple_ends_check_warns_metrics_have_it_and_a_mail_says_when(
    shielded: Machine,
) -> None:
    told_before = nothing_told(shielded)
    shielded.fault("alpha", "hang")
    age(shielded, "site0001.example.test", hours_left=20)
    shielded.run("ocsp-stapling", "watch", check=False)
    (mail,) = mails(shielded)[told_before:]
    assert "staples of ocsp.alpha-ca.test end within a day" in str(mail["Subject"])
    body = mail.get_body(("plain",))
    assert body is not None
    assert "staples last until" in body.get_content()
    code, found = check(shielded)
    assert (code, found["severity"]) == (1, "failing")
    assert "Not one visitor waits" in str(found["sentence"])
    told = json.loads(shielded.run("ocsp-stapling", "metrics", "--json").stdout)["samples"]
    failing = [one for one in told if one["name"].endswith("shield_refresh_failing")]
    assert {one["labels"]["responder"]: one["number"] for one in failing} == {
        "ocsp.alpha-ca.test": 1,
        "ocsp.beta-ca.test": 0,
    }
    assert 19 * 3600 < samples(shielded)["shield_earliest_end_timestamp_seconds"] - time.time() < 20 * 3600
    shielded.path(STORE).joinpath(
        store.name_of(held_about(shielded, "site0001.example.test").cert_id)
    ).unlink()


def test_when_answers_end_in_an_outage_sites_go_on_quickly_without_a_staple(shielded: Machine) -> None:
    """Apache staples for five minutes past an answer's end, so this one ended almost as long ago."""
    site, seconds = "site0002.example.test", 8.0
    shielded.fault("all", "hang")
    shielded.run(RESTART)  # Apache asks anew
    keys = AuthorityKeys.load(authorities(shielded.shape)[1], shielded.path(str(RUN / "pki")))
    kept = held_about(shielded, site)
    ends = datetime.now(UTC) - timedelta(seconds=300 - seconds)
    builder = ocsp.OCSPResponseBuilder().add_response(
        *(certificate_of(shielded, site), keys.issuer, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD),
        *(ends - timedelta(days=3), ends, None, None),
    )
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, keys.issuer)
    until = round(time.time() + seconds)
    answer = signed.sign(keys.issuer_key, hashes.SHA256()).public_bytes(Encoding.DER)
    store.write(shielded.path(STORE), replace(kept, answer=answer, until=until), time.time())
    try:
        time.sleep(1)  # the relay reads it
        assert meet(shielded, site)["stapled"]
        while time.time() < until - 1:
            assert meet(shielded, site)["stapled"]
            time.sleep(0.5)
        time.sleep(max(0.0, until + 1 - time.time()))
        for _ in range(10):
            found = meet(shielded, site)
            assert (found["stapled"], found["error"], found["seconds"] < 1) == (False, "", True)
    finally:
        keep_anew(shielded)


@pytest.mark.parametrize("size", [15_000, pytest.param(60_000, marks=pytest.mark.long), 65_200])
def test_a_visitors_own_extensions_cost_nobody_a_staple(shielded: Machine, size: int) -> None:
    """mod_ssl hands them on in its own question; they hold somebody else's question, too."""
    site, other = "site0003.example.test", "site0004.example.test"
    shielded.run(RESTART)  # Apache asks anew
    before = shield(shielded, "status")["question_count"]
    met = json.loads(shielded.python("tests.machine.crafted", site, str(size), other))
    assert (met["status"], met["fits"]) == ("good", True)
    assert (
        shield(shielded, "status")["question_count"] == before + 2
    )  # Apache's, and that of the status before
    assert staple_of(shielded, site) == "good"


def test_off_replaces_the_shield_on_returns_to_it_and_shield_off_takes_it_away(shielded: Machine) -> None:
    assert switch(shielded, "off").code == 0
    assert asked_port(shielded) == 0
    assert traffic(shielded, 20, 0.5)["stapled_percent"] == 0
    shielded.run("systemctl", "stop", UNIT)  # no return to a relay that does not answer
    assert switch(shielded, "on").code == 0
    assert (asked_port(shielded), relay_answers(shielded)) == (340, True)
    called = shield(shielded, "off", "--yes")
    assert called["state"] == "done", called
    assert b"OCSP Stapling" not in shielded.path(GLOBAL).read_bytes()
    assert shield(shielded, "status")["on"] is False
    assert shield(shielded, "refresh")["asked_count"] == 0
    assert traffic(shielded, 20, 0.5)["stapled_percent"] == 100
    assert switch(shielded, "undo").code == 0
    assert (asked_port(shielded), relay_answers(shielded)) == (340, True)


def killed(machine: Machine, strike: str, point: int, action: str) -> bool:
    """One run: killed at a point of its work; False if it came to its end. No block is left without its relay."""
    called = sabotage(machine, strike, point, "shield", action, "--yes", "--json")
    what = f"shield {action}, {strike} at {point}"
    assert "Traceback" not in called.err, (what, called.err)
    assert call(machine, "history", "--json").code == 0, what
    port = asked_port(machine)
    assert not port or relay_answers(machine, port), what
    assert traffic(machine, 20, 0.3)["failed"] == 0, what
    if action == "on":
        shield(machine, "off", "--yes")
        assert (asked_port(machine), relay_answers(machine)) == (0, False), what
    else:
        shield(machine, "on", "--yes")
    return called.code != 0


def test_killed_while_it_is_turned_on_no_block_is_left_without_its_relay(shielded: Machine) -> None:
    shield(shielded, "off", "--yes")
    assert killed(shielded, "kill-step", 4, "on")


def points_campaign(machine: Machine) -> int:
    """Every point of turning it on and off, before and after each call that changes something."""
    runs = 0
    for action in ("on", "off"):
        shield(machine, "off" if action == "on" else "on", "--yes")
        count = 2 * points(machine, "shield", action, "--yes", "--json")
        shield(machine, "off" if action == "on" else "on", "--yes")
        for point in range(count):
            killed(machine, "kill", point, action)
            runs += 1
    return runs


def load_campaign(machine: Machine) -> int:
    """Four graceful restarts under load; then the whole relay is killed under it, and comes back."""
    machine.fault("all", "hang")
    met: list[dict[str, float]] = []
    visitors = threading.Thread(target=lambda: met.append(traffic(machine, 100, 30)))
    visitors.start()
    for _ in range(4):
        time.sleep(4)
        machine.run(RESTART)
    machine.run("systemctl", "kill", "--signal=KILL", UNIT, check=False)
    machine.run("systemctl", "restart", UNIT)
    visitors.join()
    print(f"\nunder load: {json.dumps(met[0])}")
    assert met[0]["stapled_percent"] == 100
    return int(met[0]["handshakes"])


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("runs", [points_campaign, load_campaign])
def test_the_long_campaign(shielded: Machine, runs: Callable[[Machine], int]) -> None:
    began = time.monotonic()
    count = runs(shielded)
    print(f"\n{runs.__name__}: {count} runs in {time.monotonic() - began:.0f} s")
