"""install.sh and uninstall.sh, unmodified, at the real paths of servers that look like those cPanel runs on.

The machines have no internet, so every installation here is one from a wheelhouse.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Machine, Shape
from tests.machine.init import with_systemd
from tests.machine.whm import log_in
from tests.on_machine.installing import HOME, REPO, SERVER, Kit, differences, facts

pytestmark = pytest.mark.machine
GLOBAL = "/etc/apache2/conf.d/includes/pre_virtualhost_global.conf"
COMMAND = "/usr/local/sbin/ocsp-stapling"
KEPT = ("/etc/ocsp-stapling", "/var/lib/ocsp-stapling")
Start = Callable[[Shape], Machine]


@pytest.fixture
def server(start_machine: Start) -> Machine:
    return start_machine(with_systemd(SERVER))


@pytest.fixture
def installed(server: Machine, kit: Kit) -> Machine:
    kit.installed(server)
    return server


def version(machine: Machine) -> str:
    return machine.run(COMMAND, "--version").stdout.split()[-1]


def doctor(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run(COMMAND, "doctor", "--json", check=False).stdout)
    return found


def broken(machine: Machine) -> list[str]:
    return [check["name"] for check in doctor(machine)["checks"] if check["grade"] == "failed"]


# -- on each kind of server ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distribution", "asked_for"),
    [
        ("almalinux-8", ["python3.12"]),
        ("ubuntu-22.04", ["python3.12 python3.12-venv", "python3.11 python3.11-venv"]),
        ("ubuntu-24.04", ["python3.12 python3.12-venv"]),
    ],
)
def test_python_comes_from_the_distribution_and_the_systems_own_stays(
    start_machine: Start, kit: Kit, distribution: str, asked_for: list[str]
) -> None:
    machine = start_machine(with_systemd(replace(SERVER, distribution=distribution)))
    own = machine.path("/usr/bin/python3").read_text()
    kit.prebuilt(machine)  # one whole build, the kit's own, is enough
    done = kit.install(machine)
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.path("/run/machine/packages.log").read_text().splitlines() == asked_for
    assert machine.path("/usr/bin/python3").read_text() == own
    assert broken(machine) == []


def test_without_any_python_to_be_had_it_says_so_and_leaves_nothing(start_machine: Start, kit: Kit) -> None:
    machine = start_machine(with_systemd(replace(SERVER, distribution="bare")))
    before = facts(machine)
    done = kit.install(machine)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Unable to find a match: python3.11" in done.stderr
    assert differences(before, facts(machine)) == []


def test_a_python_that_anybody_can_run_is_taken_before_one_of_roots_alone(
    start_machine: Start, kit: Kit
) -> None:
    """The shield's relay has a user of its own, and would not start with the latter."""
    machine = start_machine(with_systemd(replace(SERVER, distribution="almalinux-10")))
    own = machine.path("/root/own/python")
    own.parent.mkdir(mode=0o700)
    own.write_text('#!/bin/sh\necho "$@" >>/run/ran\nexec /usr/bin/python3.12 "$@"\n')
    own.chmod(0o755)
    machine.run("ln", "-s", "/root/own/python", "/usr/local/bin/python3.13")
    kit.prebuilt(machine)
    done = kit.install(machine)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not machine.path("/run/ran").exists()
    assert broken(machine) == []


def test_it_is_all_there_and_running_it_again_changes_nothing(installed: Machine, kit: Kit) -> None:
    found = doctor(installed)
    assert found["ok"], found
    before = facts(installed)
    done = kit.install(installed)
    assert done.returncode == 0
    assert [p for p in differences(before, facts(installed)) if not p.startswith(KEPT)] == []
    assert (
        installed.path("/opt/ocsp-stapling/current/bin/ocsp-stapling")
        .read_text()
        .splitlines()[0]
        .endswith("-I")
    )
    assert oct(installed.path("/var/lib/ocsp-stapling").stat().st_mode)[-3:] == "700"
    assert oct(installed.path("/etc/ocsp-stapling/config.toml").stat().st_mode)[-3:] == "600"


def test_the_units_are_ones_that_systemd_itself_accepts(installed: Machine, kit: Kit) -> None:
    names = [path.name for path in sorted((kit.tree / "plugin/systemd").iterdir())]
    paths = [f"/etc/systemd/system/{name}" for name in names if "@" not in name]
    done = installed.run("systemd-analyze", "verify", "--man=no", *paths, check=False)
    complaints = [line for line in done.stderr.splitlines() if "ocsp-stapling" in line]
    assert complaints == []


def test_what_was_installed_works_under_whm_and_under_systemds_confinement(installed: Machine) -> None:
    """The page through cpsrvd, the front and the socket's service; a change from it; a pass of the watch."""
    start_whm(installed)
    browser = log_in(installed)
    page = browser.get("plan/off")
    assert page.status == 200, page.text
    for name in re.findall(r'(?:href|src)="(static/page-[0-9a-f]+\.(?:css|js))"', page.text):
        assert browser.ask("GET", f"/cgi/ocsp-stapling/{name}").status == 200
    assert browser.ask("GET", "/addon_plugins/ocsp-stapling.png").body[:4] == b"\x89PNG"
    form = page.text[page.text.index("<form method") :]
    fields = dict(re.findall(r'name="(csrf|operation|action|tag)" value="([^"]*)"', form))
    assert browser.post("operations", fields).status == 303
    deadline = time.monotonic() + 60
    while not (state := browser.get(f"operations/{fields['operation']}", format="json").json())["ended"]:
        assert time.monotonic() < deadline, state
        time.sleep(0.2)
    assert state["state"] == "done", state
    assert "SSLUseStapling Off" in installed.path(GLOBAL).read_text()
    installed.run("systemctl", "start", "ocsp-stapling-watch.service")
    assert installed.run(
        "systemctl", "show", "--property=Result", "--value", "ocsp-stapling-watch.service"
    ).stdout == ("success\n")


def start_whm(machine: Machine) -> None:
    """cPanel's web server; this variant of the machine has no Python of its own that could run it."""
    python = f"{HOME}/current/bin/python"
    machine.run("sh", "-c", f'cd "{REPO}" && exec {python} -m tests.machine.cpanel prepare')
    server = machine.popen(python, "-I", f"{REPO}/tests/machine/standins/cpsrvd.py", "2087")
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"


def test_whm_tells_of_new_certificates_once_each_and_no_longer_after_the_removal(
    installed: Machine, kit: Kit
) -> None:
    manage = "/usr/local/cpanel/bin/manage_hooks"
    hook = "/opt/ocsp-stapling/current/hooks/certificates-changed"
    where = ("--manual", "--category", "Whostmgr", "--event", "SSL::installssl", "--stage", "post")

    def events() -> list[str]:
        lines = installed.run(manage, "list").stdout.splitlines()
        return [line.split()[-1] for line in lines if "event:" in line]

    every = ["SSL::installssl", "AutoSSL::installssl", "UAPI::SSL::install_ssl"]
    assert events() == every
    for odd in ("add", "delete", "delete"):  # twice, then not at all
        installed.run(manage, odd, "script", hook, *where, check=False)
        assert kit.install(installed).returncode == 0
        assert events() == every
    assert installed.run("/opt/ocsp-stapling/current/uninstall.sh", "--yes").returncode == 0
    assert events() == []


def test_completion_and_manual_name_every_command(installed: Machine) -> None:
    script = installed.path("/usr/local/share/bash-completion/completions/ocsp-stapling").read_text()
    assert "_OCSP_STAPLING_COMPLETE=bash_complete" in script
    manual = installed.path("/usr/local/share/man/man8/ocsp-stapling.8").read_text()
    assert all(f'.SS "{name} ' in manual for name in ("status", "check", "off", "doctor"))


def test_odd_surroundings_do_no_harm(server: Machine, kit: Kit) -> None:
    """No HOME, a PATH that leads nowhere, umask 077, no terminal, the script through a pipe."""
    kit.prebuilt(server)
    line = (
        f"cd {kit.tree} && umask 077 && cat install.sh | env -i PATH=/nowhere PYTHONPATH=/nowhere "
        "PYTHONHOME=/nowhere CDPATH=/usr BASH_ENV=/nowhere "
        f"/bin/bash -s -- --wheelhouse {kit.wheels} | cat"
    )
    done = server.run("bash", "-o", "pipefail", "-c", line, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert broken(server) == []


# -- refusals ------------------------------------------------------------------------------------------------


REFUSALS = {
    "/usr/local/cpanel/version": "not a cPanel & WHM server",
    "/etc/cpanel/ea4/paths.conf": "EasyApache 4 is not set up",
    "/usr/sbin/httpd": "Apache is not installed",
    "/run/systemd/system": "not run by systemd",
    "/usr/local/cpanel/bin/whmapi1": "whmapi1 is missing",
}


def test_where_it_does_not_belong_it_refuses_and_touches_nothing(server: Machine, kit: Kit) -> None:
    for path, words in REFUSALS.items():
        server.run("mv", path, f"{path}.away")
        before = facts(server)
        done = kit.install(server)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert words in done.stderr
        assert differences(before, facts(server)) == []
        server.run("mv", f"{path}.away", path)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("11.94.0.1", "110 or newer is needed; this is 94"),
        ("unknown", "is not understood"),
        ("", "not understood"),
    ],
)
def test_a_whm_that_is_too_old_or_unknown_is_refused(
    server: Machine, kit: Kit, found: str, words: str
) -> None:
    server.path("/usr/local/cpanel/version").write_text(found)
    done = kit.install(server)
    assert done.returncode == 1
    assert words in done.stderr


def test_only_root_may(server: Machine, kit: Kit) -> None:
    server.run("cp", "-r", str(kit.tree), "/var/tmp/tree")
    for script in ("install.sh", "uninstall.sh"):
        done = server.run("setpriv", "--reuid=nobody", f"/var/tmp/tree/{script}", check=False)
        assert done.returncode == 1
        assert "must be run as root" in done.stderr


def test_a_file_of_another_origin_is_not_replaced(server: Machine, kit: Kit) -> None:
    server.path(COMMAND).write_text("mine\n")
    kit.prebuilt(server)
    before = facts(server)
    done = kit.install(server)
    assert done.returncode == 1
    assert f"{COMMAND} exists and does not belong to this plugin" in done.stderr
    assert differences(before, facts(server)) == []


def test_a_package_that_is_not_the_pinned_one_is_refused(server: Machine, kit: Kit, tmp_path: Path) -> None:
    before = facts(server)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for wheel in kit.wheels.iterdir():
        (wheels / wheel.name).write_bytes(wheel.read_bytes() + (b"\0" if "click" in wheel.name else b""))
    done = server.run(str(kit.tree / "install.sh"), "--wheelhouse", str(wheels), check=False)
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert differences(before, facts(server)) == []


# -- upgrade -------------------------------------------------------------------------------------------------


def test_a_reader_who_leaves_stops_nothing(server: Machine, kit: Kit) -> None:
    kit.prebuilt(server)
    server.run("bash", "-c", f"{kit.tree}/install.sh --wheelhouse {kit.wheels} | true")
    assert broken(server) == []


def test_an_upgrade_keeps_the_settings_and_one_version_from_before(installed: Machine, kit: Kit) -> None:
    settings = installed.path("/etc/ocsp-stapling/config.toml")
    settings.write_text(settings.read_text() + "\n# mine\n")
    old = version(installed)
    done = kit.install(installed, tree=kit.newer())
    assert done.returncode == 0, done.stdout + done.stderr
    assert version(installed) == f"9.{old}"
    assert settings.read_text().endswith("# mine\n")
    assert broken(installed) == []
    assert installed.run(f"{HOME}/previous/bin/ocsp-stapling", "--version").stdout.split()[-1] == old
    assert len(list(installed.path(f"{HOME}/releases").iterdir())) == 2


def test_an_upgrade_that_fails_its_check_is_rolled_back(installed: Machine, kit: Kit) -> None:
    bad = kit.changed(
        "bad", "plugin/ocsp_stapling/web/server.py", "import socket", "import not_there as socket"
    )
    before, old = facts(installed), version(installed)
    done = kit.install(installed, tree=bad)
    assert done.returncode == 1
    assert "does not pass its own check" in done.stderr
    assert "Mend: systemctl restart ocsp-stapling.socket" in done.stderr
    assert "from before is back in force" in done.stderr
    assert version(installed) == old
    assert broken(installed) == []
    assert [p for p in differences(before, facts(installed)) if not p.startswith(KEPT)] == []


def test_a_first_installation_that_fails_its_check_leaves_nothing(server: Machine, kit: Kit) -> None:
    before = facts(server)
    register = "/usr/local/cpanel/bin/register_appconfig"
    server.run("cp", register, f"{register}.kept")
    server.run("ln", "-sf", "/bin/true", register)
    kit.prebuilt(server)
    done = kit.install(server)
    assert done.returncode == 1
    assert "WHM does not list the plugin" in done.stderr
    assert "Nothing stays installed" in done.stderr
    server.run("mv", f"{register}.kept", register)
    assert differences(before, facts(server)) == []


def test_killed_at_random_instants_it_can_be_repeated(server: Machine, kit: Kit) -> None:
    """Kill the installer again and again, while it builds and while it puts things in place; then one whole run."""
    before, chance, codes = facts(server), random.Random(20240), []
    for latest in (4.0, 4.0, 1.5, 1.5, 1.5, 1.5):
        if latest < 2:
            kit.prebuilt(server)
        run = server.popen(str(kit.tree / "install.sh"), "--wheelhouse", str(kit.wheels))
        time.sleep(chance.uniform(0.05, latest))
        kill_inside(server, "install.sh")
        run.communicate(timeout=60)
        codes.append(run.returncode)
    assert any(codes)
    done = kit.install(server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert broken(server) == []
    assert traces(server) == ["lock"]
    for _ in range(4):
        run = server.popen(str(kit.tree / "uninstall.sh"), "--purge", "--yes")
        time.sleep(chance.uniform(0.02, 0.4))
        kill_inside(server, "uninstall.sh")
        run.communicate(timeout=60)
    assert server.run(str(kit.tree / "uninstall.sh"), "--purge", "--yes", check=False).returncode == 0
    assert differences(before, facts(server)) == []
    assert traces(server) == []


def test_removal_waits_for_a_program_of_ours_that_still_runs(installed: Machine) -> None:
    """One that a killed removal left behind wrote its state after the next removal had taken it away."""
    late = "import pathlib, time\nwhile not pathlib.Path('/tmp/go').exists(): time.sleep(0.1)\n"
    late += "pathlib.Path('/var/lib/ocsp-stapling').mkdir(exist_ok=True)"
    left_over = installed.popen(f"{HOME}/current/bin/python", "-c", late)
    removal = installed.popen(f"{HOME}/current/uninstall.sh", "--purge", "--yes")
    try:
        time.sleep(8)
        assert removal.poll() is None
        installed.run("touch", "/tmp/go")
        assert "Waiting for the plugin's programs to end" in removal.communicate(timeout=60)[0]
    finally:
        installed.run("touch", "/tmp/go")
        left_over.wait(60)
    assert installed.run("test", "-e", "/var/lib/ocsp-stapling", check=False).returncode == 1


def traces(machine: Machine) -> list[str]:
    """What runs of the installer left in directories that are in memory or for temporary files."""
    found = machine.run(
        "find", "/tmp", "/run", "/dev/shm", "-xdev", "-path", "*ocsp-stapling-setup*", "-type", "f"
    )
    return [Path(line).name for line in found.stdout.splitlines()]


def test_no_customer_can_block_or_mislead_the_installer(server: Machine, kit: Kit) -> None:
    """/run/lock is everybody's on Debian and Ubuntu: a file there was once the installer's lock."""
    customer = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    server.run("chmod", "1777", "/run/lock")
    server.run(*customer, "mkfifo", "/run/lock/ocsp-stapling-setup.lock")
    kit.installed(server)
    for attack in ("flock -n {}/lock true", "touch {}/lock", "mkdir {}", "mv {0} {0}.away"):
        line = attack.format("/run/ocsp-stapling-setup")
        assert server.run(*customer, "sh", "-c", line, check=False).returncode != 0, line
    server.run("rm", "-r", "/run/ocsp-stapling-setup")
    server.run("ln", "-s", "/etc", "/run/ocsp-stapling-setup")
    for done in (kit.install(server), server.run(f"{HOME}/current/uninstall.sh", "--yes", check=False)):
        assert done.returncode == 1
        assert "is not a directory of root's alone" in done.stderr
    server.run("rm", "/run/ocsp-stapling-setup")
    server.run(f"{HOME}/current/uninstall.sh", "--yes", "--purge")
    assert traces(server) == []


def test_killed_in_an_upgrade_one_version_or_the_other_is_whole(installed: Machine, kit: Kit) -> None:
    chance, old, tree = random.Random(7), version(installed), kit.newer("killed")
    for _ in range(5):
        run = installed.popen(str(tree / "install.sh"))
        time.sleep(chance.uniform(0.05, 2.5))
        kill_inside(installed, "install.sh")
        run.communicate(timeout=60)
        assert version(installed) in (old, f"9.{old}")
    assert kit.install(installed, tree=tree).returncode == 0
    assert version(installed) == f"9.{old}"
    assert broken(installed) == []


def kill_inside(machine: Machine, script: str) -> None:
    """Kill -9 the shell of the machine that runs the script, and its subshells."""
    pids = []
    for entry in machine.path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"bash" in b"".join(words[:1]) and b"".join(words[1:2]).endswith(script.encode()):
                pids.append(entry.name)
    machine.run("sh", "-c", f"kill -9 {' '.join(pids)}", check=False)


# -- removal -------------------------------------------------------------------------------------------------


def test_removal_leaves_only_settings_and_history_and_purge_leaves_nothing(server: Machine, kit: Kit) -> None:
    before = facts(server)
    kit.installed(server)
    server.run("mkdir", "/var/lib/ocsp-stapling-shield")  # as the shield makes it
    done = server.run(f"{HOME}/current/uninstall.sh")
    assert "Kept: /etc/ocsp-stapling /var/lib/ocsp-stapling /var/lib/ocsp-stapling-shield" in done.stdout
    left = differences(before, facts(server))
    assert left
    assert all(path.startswith(KEPT) for path in left)
    server.run(str(kit.tree / "uninstall.sh"), "--purge", "--yes")
    assert differences(before, facts(server)) == []
    assert not server.path("/run/ocsp-stapling").exists()


def test_removal_turns_stapling_on_again_first(installed: Machine) -> None:
    before = installed.path(GLOBAL).read_bytes()
    installed.run(COMMAND, "off", "--yes")
    asked = installed.run(f"{HOME}/current/uninstall.sh", check=False)
    assert asked.returncode == 1
    assert "say --yes" in asked.stderr
    assert installed.path(COMMAND).is_symlink()
    installed.run(f"{HOME}/current/uninstall.sh", "--yes")
    assert installed.path(GLOBAL).read_bytes() == before
    visit = "echo | openssl s_client -connect 44.128.1.2:443 -servername site0001.example.test -status 2>/dev/null"
    assert "OCSP Response Status: successful" in installed.run("sh", "-c", visit).stdout


def test_removal_stops_if_stapling_cannot_be_turned_on_again(installed: Machine) -> None:
    installed.run(COMMAND, "off", "--yes")
    installed.run(
        "sh", "-c", "echo 'NotADirective' >> /etc/apache2/conf.d/includes/post_virtualhost_global.conf"
    )
    done = installed.run(f"{HOME}/current/uninstall.sh", "--yes", check=False)
    assert done.returncode == 1
    assert "nothing was removed" in done.stderr
    assert installed.run(COMMAND, "--version").returncode == 0


def test_removal_can_leave_stapling_off_and_a_later_installation_turns_it_on(
    installed: Machine, kit: Kit
) -> None:
    before = installed.path(GLOBAL).read_bytes()
    installed.run(COMMAND, "off", "--yes")
    mode = installed.path(GLOBAL).stat().st_mode
    installed.run(f"{HOME}/current/uninstall.sh", "--keep-off")
    text = installed.path(GLOBAL).read_text()
    assert "The plugin was removed on" in text
    assert "SSLUseStapling Off" in text
    assert installed.path(GLOBAL).stat().st_mode == mode
    installed.run("httpd", "-t")
    kit.installed(installed)
    installed.run(COMMAND, "on", "--yes")
    assert installed.path(GLOBAL).read_bytes() == before


# -- doctor --------------------------------------------------------------------------------------------------


ILLS = (
    ("rm /usr/local/cpanel/whostmgr/docroot/cgi/ocsp-stapling/index.cgi", "files", "install.sh"),
    (
        "sed -i s/^entryurl=/entryurl=x/ /var/cpanel/apps/ocsp-stapling.conf",
        "registration",
        "register_appconfig",
    ),
    ("chmod 755 /var/lib/ocsp-stapling", "state", "chmod 700"),
    ("echo nonsense=1 >> /etc/ocsp-stapling/config.toml", "configuration", "config.toml"),
    ("systemctl stop ocsp-stapling.socket", "units", "systemctl enable --now ocsp-stapling.socket"),
    (f"echo '#' | tee -a {HOME}/current/lib/python3*/site-packages/click/core.py", "release", "install.sh"),
    ("rm /etc/cpanel/ea4/paths.conf", "apache", "EasyApache"),
)


def test_the_doctor_finds_every_ill_and_says_how_to_mend_it(installed: Machine) -> None:
    assert broken(installed) == []
    for spoil, _, _ in ILLS:
        installed.run("sh", "-c", spoil)
    found = {check["name"]: check for check in doctor(installed)["checks"]}
    for _, name, mend in ILLS:
        assert found[name]["grade"] == "failed", found
        assert mend in found[name]["mend"]
    assert installed.run(COMMAND, "doctor", check=False).returncode == 1


def test_a_privilege_that_whm_does_not_list_is_a_warning_and_no_reason_to_roll_back(
    server: Machine, kit: Kit
) -> None:
    """A plugin's own privilege may be left out of WHM's list."""
    register = server.path("/usr/local/cpanel/bin/register_appconfig")
    kept = register.read_text()
    register.write_text(
        f"{kept.rstrip().replace('exec ', '')} && sed -i s/,software-.*// /var/cpanel/apps/*\n"
    )
    kit.prebuilt(server)
    done = kit.install(server)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {check["name"]: check for check in doctor(server)["checks"]}
    assert found["registration"]["grade"] == "warning"
    assert "acls" in found["registration"]["sentence"]


def test_the_doctor_notices_that_whm_is_silent_or_has_forgotten_the_plugin(installed: Machine) -> None:
    installed.run("rm", "/var/cpanel/apps/ocsp-stapling.conf")
    assert broken(installed) == ["registration"]
    installed.path("/run/machine/whmapi1.mode").write_text("silent")
    assert broken(installed) == ["registration", "whm"]


def test_what_the_doctor_finds_missing_a_repeated_installation_puts_back(
    installed: Machine, kit: Kit
) -> None:
    installed.run(
        "rm", "-r", "/usr/local/cpanel/whostmgr/docroot/cgi/ocsp-stapling", "/var/lib/ocsp-stapling"
    )
    installed.run("systemctl", "disable", "--now", "ocsp-stapling.socket")
    assert {"files", "state", "units"} <= set(broken(installed))
    assert kit.install(installed).returncode == 0
    assert broken(installed) == []
