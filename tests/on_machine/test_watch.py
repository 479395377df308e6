"""The watch on the machine: it brings stapling back, sees a stall, tells people, and keeps its hands off."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Machine, Shape
from tests.machine.init import with_systemd
from tests.on_machine.admin import mails, take_mails

pytestmark = pytest.mark.machine
INCLUDE = "/etc/apache2/conf.d/includes/pre_virtualhost_global.conf"
RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
CONFIG = """
[probe]
timeout_seconds = 1.5
deadline_seconds = 5
public_resolvers = []
[status_pages]
enabled = false
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(with_systemd(Shape(sites=3, extras=False))) as machine:
        take_mails(machine)
        configure(machine)
        yield machine


def configure(machine: Machine, more: str = "") -> None:
    path = machine.path("/etc/ocsp-stapling/config.toml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(CONFIG + more)
    path.chmod(0o600)


def one_pass(machine: Machine) -> dict[str, Any]:
    found = json.loads(machine.run("ocsp-stapling", "watch", "--json").stdout)
    assert isinstance(found, dict)
    assert not found.get("problems"), found
    return found


def stapling(machine: Machine) -> str:
    return str(json.loads(machine.run("ocsp-stapling", "status", "--json").stdout)["stapling"])


def stall(machine: Machine) -> None:
    machine.fault("all", "hang")
    machine.run(RESTART, "--hard")


def test_stapling_returns_by_itself_once_the_responders_are_healthy(machine: Machine) -> None:
    machine.fault("all", "hang")
    machine.run("ocsp-stapling", "off", "--yes", "--return", "--reason", "all are down")
    one_pass(machine)
    machine.heal()
    assert [one_pass(machine)["done"] for _ in range(2)] == [[], []]
    assert stapling(machine) == "off"
    done = one_pass(machine)["done"]
    assert done[0].startswith("on: done")
    assert stapling(machine) == "on"
    visit = json.loads(machine.python("tests.machine.clients", "1"))
    assert visit["stapled"]
    assert "turned on again by the watch" in str(mails(machine)[-1]["Subject"])
    history = json.loads(machine.run("ocsp-stapling", "history", "--json").stdout)
    assert "the watch" in json.dumps(history)


def test_without_that_choice_people_are_told_once(machine: Machine) -> None:
    machine.run("ocsp-stapling", "off", "--yes")
    for _ in range(4):
        one_pass(machine)
    assert stapling(machine) == "off"
    (mail,) = mails(machine)
    assert mail["To"] == "admin@example.com"
    assert "can be turned on again" in str(mail["Subject"])
    assert [part.get_filename() for part in mail.iter_attachments()] == ["ticket.txt"]


def test_a_stall_is_told_after_two_passes_and_not_again(machine: Machine) -> None:
    stall(machine)
    assert one_pass(machine)["done"] == []
    for _ in range(2):
        one_pass(machine)
    assert stapling(machine) == "on"
    assert len(mails(machine)) == 1


def test_opted_in_the_watch_ends_a_stall(machine: Machine) -> None:
    configure(machine, "[watch]\nturn_off_when_stalling = true\n")
    stall(machine)
    one_pass(machine)
    done = one_pass(machine)["done"]
    assert any(each.startswith("off: done") for each in done)
    visit = json.loads(machine.python("tests.machine.clients", "1"))
    assert visit["seconds"] < 2


def test_a_block_that_somebody_edited_is_left_alone(machine: Machine) -> None:
    machine.run("ocsp-stapling", "off", "--yes", "--return")
    path = machine.path(INCLUDE)
    path.write_text(path.read_text().replace("    SSLUseStapling Off", "    SSLUseStapling Off\n    # mine"))
    for _ in range(4):
        one_pass(machine)
    assert stapling(machine) == "off"
    assert "# mine" in path.read_text()
    assert ["edited" in str(mail["Subject"]) for mail in mails(machine)] == [True]


def test_two_passes_never_run_at_once(machine: Machine) -> None:
    machine.fault("all", "drop")
    first = machine.popen("ocsp-stapling", "watch", "--json")
    deadline, lock = time.monotonic() + 60, machine.path("/var/lib/ocsp-stapling/watch.lock")
    while not lock.exists() or f":{lock.stat().st_ino} " not in machine.path("/proc/locks").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGSTOP)  # on a slow machine it would be over before the second has begun
    second = json.loads(machine.run("ocsp-stapling", "watch", "--json").stdout)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    assert second == {"schema": "ocsp-stapling/watch/1", "busy": True}


def test_the_hook_gets_what_happened(machine: Machine) -> None:
    hook = machine.path("/usr/local/sbin/told")
    hook.write_text("#!/bin/sh\ncat >>/run/told\n")
    hook.chmod(0o755)
    configure(machine, '[notify]\nmail = false\ncommand = "/usr/local/sbin/told"\n')
    machine.run("ocsp-stapling", "off", "--yes")
    for _ in range(3):
        one_pass(machine)
    told = json.loads(machine.path("/run/told").read_text())
    assert (told["topic"], told["about"], told["server"]) == ("return", "possible", "whm.example.test")
    assert mails(machine) == []


def test_metrics_are_written_for_the_collector(machine: Machine) -> None:
    target = "/run/ocsp_stapling.prom"
    configure(machine, f'[watch]\nmetrics_file = "{target}"\n')
    one_pass(machine)
    text = machine.path(target).read_text()
    assert "ocsp_stapling_enabled 1\n" in text
    assert 'ocsp_stapling_responder_up{url="http://ocsp.alpha-ca.test"' in text
    assert Path(machine.path(target)).stat().st_mode & 0o777 == 0o644


def test_where_somebody_elses_line_keeps_it_off_the_mail_does_not_say_on(machine: Machine) -> None:
    machine.run("ocsp-stapling", "off", "--yes", "--return")
    path = machine.path(INCLUDE)
    path.write_text("SSLUseStapling Off\n" + path.read_text())
    for _ in range(2):
        one_pass(machine)
    told = json.loads(machine.run("ocsp-stapling", "watch", "--json").stdout)
    assert told["done"][0].startswith("on: still-off")
    assert stapling(machine) == "off"
    (mail,) = mails(machine)
    assert "could not be turned on again" in str(mail["Subject"])
    assert one_pass(machine)["done"] == []


UNITS = Path(__file__).resolve().parents[2] / "plugin/systemd"


def test_the_confined_service_brings_stapling_back_and_apache_does_not_inherit_it(machine: Machine) -> None:
    """The units as they are: the pass may write next to nothing, the change it begins runs outside of that."""
    for unit in ("ocsp-stapling-watch.service", "ocsp-stapling-watch.timer"):
        machine.run("cp", str(UNITS / unit), f"/etc/systemd/system/{unit}")
    machine.run("ocsp-stapling", "off", "--yes", "--return")
    for _ in range(3):
        machine.run("systemctl", "start", "ocsp-stapling-watch.service")
    assert stapling(machine) == "on"
    parent = machine.path("/run/apache2/httpd.pid").read_text().strip()
    status = machine.run("grep", "NoNewPrivs", f"/proc/{parent}/status").stdout
    assert status.split() == ["NoNewPrivs:", "0"]


def test_a_change_that_was_killed_is_finished_by_the_next_pass(machine: Machine) -> None:
    running = machine.popen("ocsp-stapling", "off", "--yes", "--json")
    include = machine.path(INCLUDE)
    deadline = time.monotonic() + 60
    while b"BEGIN OCSP" not in include.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    one_pass(machine)
    history = json.loads(machine.run("ocsp-stapling", "history", "--json").stdout)
    assert history["operations"]
    assert all(each["state"] != "running" for each in history["operations"])
    assert json.loads(machine.python("tests.machine.clients", "1"))["seconds"] < 2


def test_a_check_that_an_off_overtakes_is_made_anew_and_says_nothing_of_the_time_before(
    machine: Machine,
) -> None:
    stall(machine)
    running = machine.popen("ocsp-stapling", "check", "--json")
    time.sleep(0.7)
    machine.run("ocsp-stapling", "off", "--yes")
    out, _ = running.communicate(timeout=60)
    found = json.loads(out)
    assert (found["configuration"]["stapling"], found["severity"]) == ("off", "none")
    told = machine.run("ocsp-stapling", "history", "--incident", "latest").stdout
    assert "still do" not in told
    assert "leave stapling off until the responders answer again" in told
