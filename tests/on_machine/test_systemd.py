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

from tests.machine import Machine, Shape, init
from tests.machine.whm import Browser, log_in
from tests.on_machine.admin import stapled
from tests.on_machine.confined import ATTEMPTS, OUTSIDE, SETUID_PROGRAM
from tests.on_machine.installing import HOME, REPO, SERVER, Kit
from tests.on_machine.shielding import relay_answers, traffic
from tests.on_machine.test_install import GLOBAL, broken, doctor, start_whm, version

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


def test_a_machine_beside_it_shares_no_control_group_and_takes_its_own_with_it(server: Machine) -> None:
    """Else each systemd finds the other's processes in services of the same name, and waits for their end."""
    with Machine(Shape(sites=1, cas=1, extras=False, systemd=True)) as other:
        other.run("systemd-run", "--unit=beside", "sleep", "60")
        group = "sys/fs/cgroup/system.slice/beside.service"
        assert other.path(group).exists()
        assert not server.path(group).exists()
        own = Path(f"/proc/{other.pid}/cgroup").read_text().rpartition("0::")[2].removesuffix("/init.scope\n")
        assert server.path(f"{init.GROUPS}/{own}").exists()
    assert not server.path(f"{init.GROUPS}/{own}").exists()


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

# What each directive of a unit, alone, forbids.
BITES = {
    "NoNewPrivileges": "gain privileges",
    "CapabilityBoundingSet": "chroot",
    "ProtectSystem": "write /usr",
    "ProtectHome": "write /home",
    "PrivateTmp": "see /tmp",
    "PrivateDevices": "device",
    "ProtectKernelModules": "load a module",
    "ProtectKernelTunables": "kernel setting",
    "ProtectKernelLogs": "kernel log",
    "ProtectControlGroups": "write /sys/fs/cgroup",
    "ProtectClock": "clock's settings",
    "ProtectHostname": "host name",
    "RestrictSUIDSGID": "setuid file",
    "RestrictAddressFamilies": "packet socket",
    "RestrictNamespaces": "namespace of users",
    "RestrictRealtime": "real time",
    "LockPersonality": "personality",
    "MemoryDenyWriteExecute": "code at run time",
    "SystemCallArchitectures": "foreign architecture",
    "SystemCallFilter": "mount",
    "DynamicUser": "another's file",
    "IPAddressDeny": "send elsewhere",
    "UMask": "public file",
    "TasksMax": "many threads",
    "MemoryMax": "much memory",
}
# Kept by a control group's controller, where this system has it in the unified hierarchy.
CONTROLLERS = {"TasksMax": "pids", "MemoryMax": "memory"}
# These loosen another one, say how it refuses, or are systemd's default for services anyway.
WITH_ANOTHER = {
    "ReadWritePaths",
    "IPAddressAllow",
    "AmbientCapabilities",
    "SystemCallErrorNumber",
    "KeyringMode",
}
NO_CONFINEMENT = {
    *(
        "Type",
        "ExecStart",
        "Environment",
        "Restart",
        "RestartSec",
        "WatchdogSec",
        "WatchdogSignal",
        "KillMode",
    ),
    *("TimeoutStartSec", "TimeoutStopSec", "Nice", "IOSchedulingClass", "IOSchedulingPriority", "CPUWeight"),
    *("MemoryHigh", "LimitNOFILE", "ExecStartPost"),
}
NEEDED = {
    SERVICE: {
        "write /var/lib",
        "write /usr/local/cpanel",
        "raw socket",
        "another's file",
        "send elsewhere",
        "see /home",
    },
    SHIELD: {"low port"},
}
# The local delivery of a mail writes into /home, and gives directories the set-group-id bit.
NEEDED[WATCH] = NEEDED[SERVICE] | {"write /home", "setuid file"}
LIMITED = {"many threads", "much memory"}
ALLOWED = {SERVICE: {"code at run time"}, WATCH: {"code at run time"}, SHIELD: set[str]()}
# Where the machine's namespaces, or this kernel, refuse by themselves, the directive's own refusal does not show.
FORBIDDEN_ANYWAY = {
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "RestrictRealtime",
    "SystemCallArchitectures",
}


def directives(unit: str) -> dict[str, list[str]]:
    """What a unit's section [Service] says: directive -> its lines."""
    text = (REPO / "plugin/systemd" / unit).read_text().partition("[Service]")[2].partition("[Install]")[0]
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            found.setdefault(line.partition("=")[0], []).append(line)
    return found


def confinement(unit: str) -> list[str]:
    """The lines of a unit that say what its program may not do."""
    found = directives(unit)
    return [line for name in found if name not in NO_CONFINEMENT - {"MemoryHigh"} for line in found[name]]


Trials = dict[str, tuple[list[str], list[str]]]


def confined(machine: Machine, trials: Trials) -> dict[str, dict[str, str]]:
    """Run attempts under lines of a unit, all trials at once: name -> attempt -> how it ended ("": it went well)."""
    # Not from the checkout, which may lie where the unit sees nothing of it: in a home directory.
    script = "/var/lib/confined.py"
    machine.path(script).write_bytes((REPO / "tests/on_machine/confined.py").read_bytes())
    for name, (lines, attempts) in trials.items():
        words = " ".join(f'"{each}"' for each in attempts)
        start = f"ExecStart={HOME}/current/bin/python -I {script} {words}"
        output = f"StandardOutput=truncate:/run/{name}.json"
        text = "\n".join(["[Service]", "Type=oneshot", start, output, *lines, ""])
        machine.path(f"/run/systemd/system/{name}.service").write_text(text)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", *(f"{name}.service" for name in trials))
    return {name: json.loads(machine.path(f"/run/{name}.json").read_text()) for name in trials}


@pytest.fixture(scope="module")
def bait(server: Machine) -> Machine:
    """The server with what attempts need to find: a file in /tmp, a program with the set-user-id bit."""
    server.path(OUTSIDE).touch()
    server.run("install", "-m", "4755", "/usr/bin/id", SETUID_PROGRAM)
    return server


@pytest.fixture(scope="module")
def free(bait: Machine) -> dict[str, str]:
    """How attempts end without any confinement: some are forbidden by the machine's own namespaces."""
    return confined(bait, {"confined-free": ([], list(ATTEMPTS))})["confined-free"]


@pytest.mark.parametrize("unit", [SERVICE, WATCH, SHIELD])
def test_the_confinement_bites_and_leaves_what_the_work_needs(
    bait: Machine, free: dict[str, str], unit: str
) -> None:
    tried = [name for name in ATTEMPTS if name not in LIMITED]
    found = confined(bait, {"confined-whole": (confinement(unit), tried)})["confined-whole"]
    assert {name for name, ending in found.items() if not ending} == NEEDED[unit] | ALLOWED[unit]
    assert [name for name in NEEDED[unit] if free[name]] == []


def test_every_directive_bites_by_itself(bait: Machine, free: dict[str, str]) -> None:
    """One that is misspelt, or that an older line makes void, would show nowhere else."""
    every = {(name, *lines) for unit in (SERVICE, WATCH, SHIELD) for name, lines in directives(unit).items()}
    assert {name for name, *_ in every} == BITES.keys() | WITH_ANOTHER | NO_CONFINEMENT
    there = bait.path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    without = {name for name, controller in CONTROLLERS.items() if controller not in there}
    chosen = sorted(each for each in every if each[0] in BITES.keys() - without)
    trials: Trials = {f"confined-{n}": (list(each[1:]), [BITES[each[0]]]) for n, each in enumerate(chosen)}
    found = confined(bait, trials)
    ended = {each: found[f"confined-{n}"][BITES[each[0]]] for n, each in enumerate(chosen)}
    assert [each for each, ending in ended.items() if not ending] == []
    same = {each[0] for each, ending in ended.items() if ending == free[BITES[each[0]]]}
    assert same <= FORBIDDEN_ANYWAY, {name: free[BITES[name]] for name in same}


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


def test_a_page_that_cannot_be_had_names_the_command_that_tells_how_to_mend_it(
    server: Machine, browser: Browser
) -> None:
    server.run("systemctl", "stop", "ocsp-stapling.socket", SERVICE)
    told = browser.get()
    assert (told.status, "ocsp-stapling doctor" in told.text) == (503, True)
    mend = next(each["mend"] for each in doctor(server)["checks"] if each["grade"] == "failed")
    server.run("sh", "-c", mend)
    assert browser.get().status == 200


def test_a_relay_that_is_stuck_is_ended_and_started_anew(server: Machine) -> None:
    server.run(COMMAND, "shield", "on", "--yes")
    before = state(server, SHIELD, "MainPID")
    assert set(server.run("ps", "-o", "ni=", "--ppid", before).stdout.split()) == {"-10"}
    group = server.path(f"/proc/{before}/autogroup")
    if Path("/proc/self/autogroup").exists():  # else the kernel knows none
        until(lambda: group.read_text().endswith(" nice -10\n"))
    server.run("kill", "-s", "STOP", before)
    until(lambda: state(server, SHIELD, "MainPID") not in (before, "0"), 15)
    until(lambda: state(server, SHIELD) == "active")


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
    """The relay among it, where the shield is on: Apache asks it from its first moment."""
    server.run(COMMAND, "shield", "on", "--yes", check=False)  # refused where a test before left it on
    assert state(server, SHIELD) == "active"
    server.reboot()
    assert server.run("systemctl", "is-system-running").stdout == "running\n"
    assert state(server, "httpd.service") == "active"
    start_whm(server)
    assert log_in(server).get().status == 200
    assert broken(server) == []
    assert state(server, SHIELD) == "active"
    assert stapled(server)
    server.run(COMMAND, "shield", "off", "--yes")
    assert state(server, SHIELD) == "inactive"


def test_after_the_removal_systemd_knows_nothing_of_it(server: Machine) -> None:
    """Nor of a failed pass of the watch: what failed is listed, and the system called degraded, until it is reset.

    The shield is on: the block goes first, then the relay, then its store, and every site staples all the while.
    """
    server.run(COMMAND, "shield", "on", "--yes")
    fails = drop_in(server, WATCH, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    server.run("systemctl", "start", WATCH, check=False)
    assert state(server, WATCH) == "failed"
    fails.unlink()
    server.run(f"{HOME}/current/uninstall.sh", "--yes", "--purge")
    known = ("systemctl", "list-units", "--all", "--no-legend", "ocsp-stapling*")
    try:
        until(lambda: server.run(*known).stdout == "")  # systemd forgets what it has unloaded in its own time
    except AssertionError as late:
        raise AssertionError(why_known(server)) from late
    assert b"OCSP Stapling" not in server.path(GLOBAL).read_bytes()
    assert not relay_answers(server)
    assert not server.path("/var/lib/ocsp-stapling-shield").exists()
    assert traffic(server, 8, 1)["stapled_percent"] == 100
    files = server.run("systemctl", "list-unit-files", "--no-legend", "ocsp-stapling*", check=False)
    assert files.stdout == ""
    assert server.run("systemctl", "is-system-running").stdout == "running\n"


def why_known(machine: Machine) -> str:
    """What systemd says of names that it still lists: jobs, processes, and which units mention them."""
    groups = "grep -r . /sys/fs/cgroup/system.slice/ocsp-stapling*/cgroup.{procs,events}"
    asked: tuple[str, ...] = ("systemctl list-units --all 'ocsp-stapling*'", "systemctl list-jobs", groups)
    asked += ("systemctl show 'ocsp-stapling*'", "systemd-analyze dump | grep -B 60 -A 40 ocsp-stapling")
    return "\n".join(machine.run("bash", "-c", line, check=False).stdout[-20000:] for line in asked)
