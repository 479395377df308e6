"""The plugin under this system's real systemd: units, confinement, crashes, upgrade, reboot.

One machine for all of it; the tests stand in the order of a server's life. Each leaves the plugin installed and
Apache as it was.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.machine import Machine, init
from tests.machine.whm import Browser, log_in
from tests.on_machine.installing import HOME, REPO, SERVER, Kit
from tests.on_machine.test_install import GLOBAL, broken, start_whm, version

pytestmark = pytest.mark.machine
SERVICE, WATCH, SHIELD = (
    "ocsp-stapling.service",
    "ocsp-stapling-watch.service",
    "ocsp-stapling-shield.service",
)
COMMAND = "/usr/local/sbin/ocsp-stapling"
EXPOSURE = 4.0  # of ten, as `systemd-analyze security` counts


@pytest.fixture(scope="module")
def server(kit: Kit) -> Iterator[Machine]:
    if reason := init.why_not_here():
        pytest.skip(reason)
    with Machine(replace(SERVER, systemd=True)) as machine:
        kit.installed(machine)
        start_whm(machine)
        yield machine


@pytest.fixture
def browser(server: Machine) -> Browser:
    return log_in(server)


def state(machine: Machine, unit: str, what: str = "ActiveState") -> str:
    return machine.run("systemctl", "show", f"--property={what}", "--value", unit).stdout.strip()


def until(wanted: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def drop_in(machine: Machine, unit: str, text: str) -> Path:
    """Say something more in a unit, as an administrator would."""
    path = machine.path(f"/etc/systemd/system/{unit}.d/test.conf")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    machine.run("systemctl", "daemon-reload")
    return path


def test_installed_everything_runs_and_nothing_failed(server: Machine) -> None:
    assert broken(server) == []
    assert server.run("systemctl", "is-system-running").stdout == "running\n"
    for unit in ("ocsp-stapling.socket", "ocsp-stapling-watch.timer"):
        assert (state(server, unit), state(server, unit, "UnitFileState")) == ("active", "enabled")
    journal = server.run("journalctl", "--no-pager", "-o", "cat", "-u", "ocsp-stapling*").stdout
    assert "Unknown" not in journal, journal


@pytest.mark.parametrize("unit", [SERVICE, WATCH, SHIELD])
def test_each_service_is_confined(server: Machine, unit: str) -> None:
    said = server.run("systemd-analyze", "security", "--no-pager", unit).stdout
    found = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert found
    assert float(found[1]) < EXPOSURE, said


def test_the_first_request_starts_the_page_and_it_leaves_when_nobody_asks(
    server: Machine, browser: Browser
) -> None:
    more = drop_in(server, SERVICE, f"[Service]\nExecStart=\nExecStart={COMMAND} serve --idle-seconds 1\n")
    server.run("systemctl", "stop", SERVICE)
    assert state(server, SERVICE) == "inactive"
    for _ in range(2):
        assert browser.get().status == 200
        until(lambda: state(server, SERVICE) == "inactive")
        assert state(server, SERVICE, "Result") == "success"
    more.unlink()
    server.run("systemctl", "daemon-reload")


def test_the_timer_starts_a_pass(server: Machine) -> None:
    before = state(server, WATCH, "ExecMainStartTimestampMonotonic")
    soon = "[Timer]\nOnActiveSec=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n"
    more = drop_in(server, "ocsp-stapling-watch.timer", soon)
    server.run("systemctl", "restart", "ocsp-stapling-watch.timer")
    until(lambda: state(server, WATCH, "ExecMainStartTimestampMonotonic") != before)
    until(lambda: state(server, WATCH) == "inactive", 60)
    assert state(server, WATCH, "Result") == "success"
    more.unlink()
    server.run("systemctl", "daemon-reload")
    server.run("systemctl", "restart", "ocsp-stapling-watch.timer")


def test_a_change_outlives_the_service_that_started_it(server: Machine, browser: Browser) -> None:
    before = server.path(GLOBAL).read_bytes()
    form = browser.get("plan/off").text
    fields = dict(
        re.findall(r'name="(csrf|operation|action|tag)" value="([^"]*)"', form[form.index("<form method") :])
    )
    assert browser.post("operations", fields).status == 303
    server.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", SERVICE)

    def ended() -> bool:
        return bool(browser.get(f"operations/{fields['operation']}", format="json").json()["ended"])

    until(ended, 60)
    assert "SSLUseStapling Off" in server.path(GLOBAL).read_text()
    assert server.run("systemctl", "list-units", "--no-legend", "ocsp-stapling-operation-*").stdout == ""
    httpd = state(server, "httpd.service", "MainPID")
    assert server.path("/run/apache2/httpd.pid").read_text().strip() == httpd
    server.run(COMMAND, "on", "--yes")
    assert server.path(GLOBAL).read_bytes() == before


# -- confinement ---------------------------------------------------------------------------------------------

FORBIDDEN = {
    *(
        "write /etc",
        "write /usr",
        "write /home",
        "write /sys/fs/cgroup",
        "kernel setting",
        "mount",
        "host name",
    ),
    *("namespace of users", "packet socket", "setuid file", "device", "kernel log", "load a module"),
    *("clock's settings", "personality", "real time", "chroot"),
}
NEEDED = {"write /var/lib", "write /usr/local/cpanel", "raw socket", "another's file"}
# What a machine in namespaces forbids by itself: the host's kernel log and modules are not its own.
NOT_SHOWN = {"kernel log", "load a module", "real time"}
# The local delivery of a mail writes into /home, and gives directories the set-group-id bit.
WATCH_MAY = {"write /home", "setuid file"}


def confined(machine: Machine, unit: str) -> dict[str, str]:
    """What a program was allowed under the confinement of a unit ("": under none)."""
    lines = machine.path(f"/etc/systemd/system/{unit}").read_text().partition("[Service]")[2] if unit else ""
    kept = [
        each
        for each in lines.partition("[Install]")[0].splitlines()
        if not re.match("Exec|Type|Restart", each)
    ]
    result = "/var/lib/confined.json"
    # Not from the checkout, which may lie where the unit sees nothing of it: in /tmp, in a home directory.
    script = "/var/lib/confined.py"
    machine.path(script).write_bytes((REPO / "tests/on_machine/confined.py").read_bytes())
    command = f"{HOME}/current/bin/python -I {script} {result}"
    name = "confined-trial.service"
    text = "\n".join(["[Service]", "Type=oneshot", f"ExecStart={command}", *kept, ""])
    machine.path(f"/run/systemd/system/{name}").write_text(text)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", name)
    found: dict[str, str] = json.loads(machine.path(result).read_text())
    return found


def test_what_is_forbidden_would_go_without_the_confinement(server: Machine) -> None:
    free = confined(server, "")
    assert {name for name, error in free.items() if error} <= NOT_SHOWN
    assert server.path("/tmp/confined-in-tmp").exists()
    server.path("/tmp/confined-in-tmp").unlink()


@pytest.mark.parametrize(("unit", "may"), [(SERVICE, set()), (WATCH, WATCH_MAY)])
def test_the_confinement_bites_and_leaves_what_the_work_needs(
    server: Machine, unit: str, may: set[str]
) -> None:
    found = confined(server, unit)
    assert {name for name, error in found.items() if error} == FORBIDDEN - may
    assert {name for name, error in found.items() if not error} == NEEDED | may
    assert not server.path("/tmp/confined-in-tmp").exists()


def test_a_check_finds_the_same_inside_the_confinement(server: Machine) -> None:
    """Firewall, processes, certificates, responders, handshakes: all that a check looks at, from the page's unit."""
    lines = server.path(f"/etc/systemd/system/{SERVICE}").read_text().partition("[Service]")[2]
    kept = [each for each in lines.splitlines() if not re.match("Exec|Type|Restart", each)]
    command = f"ExecStart=/bin/sh -c '{COMMAND} check --json >/var/lib/confined-check.json'"
    text = "\n".join(["[Service]", "Type=oneshot", command, *kept, ""])
    server.path("/run/systemd/system/confined-check.service").write_text(text)
    server.run("systemctl", "daemon-reload")
    server.run("systemctl", "start", "confined-check.service")
    inside = json.loads(server.path("/var/lib/confined-check.json").read_text())
    outside = json.loads(server.run(COMMAND, "check", "--json").stdout)
    assert inside["monitoring_state"] == outside["monitoring_state"] == "OK"
    assert _shape(inside) == _shape(outside)


def _shape(found: object) -> object:
    """A document without its measurements: they are other ones each time."""
    if isinstance(found, dict):
        return {key: _shape(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_shape(each) for each in found]
    return (
        type(found).__name__
        if isinstance(found, int | float | str) and not isinstance(found, bool)
        else found
    )


# -- it breaks, and comes back -------------------------------------------------------------------------------


def test_after_many_crashes_the_page_comes_back_by_itself(server: Machine, browser: Browser) -> None:
    """systemd's own limit, five starts in ten seconds, would leave the socket closed for good."""
    more = drop_in(server, SERVICE, "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=100ms\n")
    server.run("systemctl", "restart", SERVICE, check=False)
    until(lambda: int(state(server, SERVICE, "NRestarts")) > 8)
    more.unlink()
    server.run("systemctl", "daemon-reload")
    assert browser.get().status == 200
    assert state(server, "ocsp-stapling.socket") == "active"


def test_a_relay_that_is_stuck_is_ended_and_started_anew(server: Machine) -> None:
    server.run(COMMAND, "shield", "on", "--yes")
    before = state(server, SHIELD, "MainPID")
    assert server.run("ps", "-o", "ni=", "--ppid", before).stdout.split() == ["-10", "-10"]
    group = server.path(f"/proc/{before}/autogroup")
    if Path("/proc/self/autogroup").exists():  # else the kernel knows none
        until(lambda: group.read_text().endswith(" nice -10\n"))
    server.run("kill", "-s", "STOP", before)
    until(lambda: state(server, SHIELD, "MainPID") not in (before, "0"), 15)
    until(lambda: state(server, SHIELD) == "active")
    server.run(COMMAND, "shield", "off", "--yes")
    assert state(server, SHIELD) == "inactive"


# -- versions, reboot, removal -------------------------------------------------------------------------------


def test_an_upgrade_goes_into_force_and_one_that_fails_goes_back(
    server: Machine, kit: Kit, browser: Browser
) -> None:
    old = version(server)
    bad = kit.changed(
        "bad-unit", "plugin/ocsp_stapling/web/server.py", "import socket", "import not_there as socket"
    )
    done = kit.install(server, tree=bad)
    assert done.returncode == 1
    assert "from before is back in force" in done.stderr
    assert (version(server), browser.get().status) == (old, 200)
    done = kit.install(server, tree=kit.newer("newer-unit"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert version(server) == f"9.{old}"
    assert (broken(server), browser.get().status) == ([], 200)


def test_after_a_reboot_everything_is_there_again(server: Machine) -> None:
    server.reboot()
    assert server.run("systemctl", "is-system-running").stdout == "running\n"
    assert state(server, "httpd.service") == "active"
    start_whm(server)
    assert log_in(server).get().status == 200
    assert broken(server) == []


def test_after_the_removal_systemd_knows_nothing_of_it(server: Machine) -> None:
    server.run(f"{HOME}/current/uninstall.sh", "--yes", "--purge")
    known = server.run("systemctl", "list-units", "--all", "--no-legend", "ocsp-stapling*").stdout
    files = server.run("systemctl", "list-unit-files", "--no-legend", "ocsp-stapling*", check=False).stdout
    assert (known, files) == ("", "")
    assert server.run("systemctl", "is-system-running").stdout == "running\n"
