"""Many servers at once: the playbook on two machines, and `check` as a monitoring plugin."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine import Machine, Shape
from tests.on_machine.installing import REPO, SERVER, Kit

pytestmark = pytest.mark.machine
PLAYBOOK = REPO / "docs/fleet/ansible/ocsp-stapling.yml"
# What the monitoring plugins' guidelines ask of the first line: STATE - text | label=value[unit];warn;crit;min;max
LINE = re.compile(
    r"OCSP STAPLING (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \| (\S+=[\d.]+(s|%|c|[KMGT]?B)?(;[\d.]*)*( |$))+)?"
)
# Ansible's ssh without a network: its last word but one is the host, which is the process of a machine to enter.
SSH = """#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
        -o | -p | -l | -F | -i) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
pid=${1#machine-}
shift
exec nsenter -t "$pid" -m -n -p -u -i -- /bin/sh -c "cd / && $*"
"""


class Fleet:
    """Ansible at work on machines."""

    def __init__(self, directory: Path, machines: list[Machine]) -> None:
        self.directory = directory
        ssh = directory / "ssh"
        ssh.write_text(SSH)
        ssh.chmod(0o755)
        hosts: dict[str, dict[str, str]] = {f"machine-{machine.pid}": {} for machine in machines}
        settings = {
            "ansible_connection": "ssh",
            "ansible_ssh_executable": str(ssh),
            "ansible_ssh_transfer_method": "piped",
            "ansible_python_interpreter": os.path.realpath(sys.executable),
        }
        inventory = {"whm_servers": {"hosts": hosts, "vars": settings}}
        (directory / "inventory.json").write_text(json.dumps(inventory))

    def play(self, *options: str, **extra: object) -> subprocess.CompletedProcess[str]:
        variables = json.dumps({"ocsp_stapling_become": False} | extra)
        argv = ["ansible-playbook", "-i", "inventory.json", str(PLAYBOOK), "-e", variables, *options]
        home = {"HOME": str(self.directory), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_RETRY_FILES_ENABLED": "0"}
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **home}
        return subprocess.run(
            argv,
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )


def stapling(machine: Machine) -> str:
    return str(json.loads(machine.run("ocsp-stapling", "status", "--json").stdout)["stapling"])


@pytest.mark.skipif(not shutil.which("ansible-playbook"), reason="needs ansible-core")
def test_the_playbook_installs_checks_and_switches_on_two_servers(
    start_machine: Callable[[Shape], Machine], kit: Kit, tmp_path: Path
) -> None:
    machines = [start_machine(SERVER), start_machine(SERVER)]
    for machine in machines:
        kit.prebuilt(machine)
    release = tmp_path / "release.tar.gz"
    subprocess.run(["tar", "-czf", release, "-C", kit.tree.parent, kit.tree.name], check=True)
    fleet = Fleet(tmp_path, machines)

    done = fleet.play(
        "-t",
        "install,check",
        ocsp_stapling_release=str(release),
        ocsp_stapling_install_options=["--wheelhouse", str(kit.wheels)],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("OK: ") == 2
    assert [stapling(machine) for machine in machines] == ["on", "on"]

    done = fleet.play(
        "-t", "switch", ocsp_stapling_switch="off", ocsp_stapling_reason="it's a drill; $(reboot)"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for machine in machines:
        found = json.loads(machine.run("ocsp-stapling", "status", "--json").stdout)
        assert (found["stapling"], found["reason"]) == ("off", "it's a drill; $(reboot)")

    again = fleet.play("-t", "switch", ocsp_stapling_switch="off")
    assert "changed=0" in again.stdout
    assert again.returncode == 0


@pytest.mark.skipif(not shutil.which("ansible-playbook"), reason="needs ansible-core")
def test_after_a_server_that_refuses_no_further_one_is_switched(
    start_machine: Callable[[Shape], Machine], tmp_path: Path
) -> None:
    machines = [start_machine(Shape(sites=2)), start_machine(Shape(sites=2))]
    machines[0].path("/usr/local/cpanel/bin/whmapi1").write_text("#!/bin/sh\nexit 1\n")
    done = Fleet(tmp_path, machines).play("-t", "switch", ocsp_stapling_switch="off")
    assert done.returncode != 0
    assert [stapling(machine) for machine in machines] == ["on", "on"]


def first_line(machine: Machine, status: int) -> str:
    done = machine.run("ocsp-stapling", "check", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.splitlines()[0]


def test_the_first_line_of_check_is_one_for_nagios_in_every_state(machine: Machine) -> None:
    lines = [first_line(machine, 0)]
    machine.fault("alpha", "hang")
    machine.run("/usr/local/cpanel/scripts/restartsrv_httpd", "--hard")
    lines.append(first_line(machine, 2))
    machine.run("ocsp-stapling", "off", "--yes")
    lines.append(first_line(machine, 1))
    machine.path("/etc/cpanel/ea4/paths.conf").unlink()
    lines.append(first_line(machine, 3))
    assert [line.split()[2] for line in lines] == ["OK", "CRITICAL", "WARNING", "UNKNOWN"]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
