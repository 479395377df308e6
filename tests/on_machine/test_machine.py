"""The machine itself: it has WHM's shape, its faults are real, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.machine import Machine, Shape, why_not_here
from tests.machine.machine import REPO
from tests.machine.shape import MPMS

pytestmark = pytest.mark.machine
INCLUDES = "/etc/apache2/conf.d/includes"
RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
REBUILD = "/usr/local/cpanel/scripts/rebuildhttpdconf"
WHMAPI1 = ("/usr/local/cpanel/bin/whmapi1", "--output=json")
OCSP_POST = (
    "openssl x509 -in {c} -out /tmp/leaf.pem && "
    "awk '/BEGIN CERT/{{n++}} n==2' {c} >/tmp/issuer.pem && "
    "openssl ocsp -issuer /tmp/issuer.pem -cert /tmp/leaf.pem -url http://ocsp.{ca}-ca.test -no_nonce "
    "-noverify -timeout 4 2>&1"
)


@pytest.fixture(scope="module")
def whole() -> Iterator[Machine]:
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape()) as started:
        yield started


@pytest.fixture
def shared(whole: Machine) -> Iterator[Machine]:
    """A machine for those that only break responders, or nothing."""
    yield whole
    whole.heal()


def ask(machine: Machine, site: str, ca: str) -> str:
    """Return what OpenSSL's own OCSP client says of the site's responder."""
    command = OCSP_POST.format(c=f"/var/cpanel/ssl/apache_tls/{site}/combined", ca=ca)
    return machine.run("sh", "-c", command, check=False).stdout


@pytest.mark.parametrize("mpm", MPMS)
def test_it_starts_with_every_mpm_and_serves_staples(
    mpm: str, start_machine: Callable[[Shape], Machine]
) -> None:
    machine = start_machine(Shape(mpm=mpm, sites=3))
    visit = json.loads(machine.python("tests.machine.clients", "1"))
    assert visit["stapled"]


def test_it_starts_with_its_own_logs_and_nothing_written_to_its_tmp_is_this_systems() -> None:
    """What this system's Apache has logged is out of sight, and what runs in the machine leaves no trace."""
    log, mark = Path("/var/log/apache2/error_log"), f"machine-{os.getpid()}"
    before = log.stat() if log.exists() else None
    with Machine(Shape(sites=1)) as machine:
        started, end = machine.path("/var/log/apache2/error_log"), time.monotonic() + 10
        while (
            said := started.read_text().count("resuming normal operations")
        ) == 0 and time.monotonic() < end:
            time.sleep(0.05)  # Apache serves before it says so
        assert said == 1
        assert [p.name for p in machine.path("/var/log/apache2").iterdir() if p.name == "error.log"] == []
        machine.run("touch", f"/tmp/{mark}")
        assert not Path("/tmp", mark).exists()
    assert (log.stat() if log.exists() else None) == before


def test_its_tree_is_that_of_ea4(shared: Machine) -> None:
    conf = shared.path("/etc/apache2/conf/httpd.conf").read_text()
    order = [
        "conf.modules.d",
        "pre_main_global",
        "SSLUseStapling On",
        "conf.d/*.conf",
        "pre_virtualhost_global",
    ]
    order += ["pre_virtualhost_2", "<VirtualHost", "post_virtualhost_global"]
    places = [conf.index(word) for word in order]
    assert places == sorted(places)
    found = shared.run("stat", "-c", "%a %U:%G", f"{INCLUDES}/pre_virtualhost_global.conf").stdout
    assert found.strip() == "600 root:root"
    assert "info_module" not in shared.run("httpd", "-M").stdout
    assert "Group nobody" in conf
    assert "dir_conf=/etc/apache2/conf.d\n" in shared.path("/etc/cpanel/ea4/paths.conf").read_text()
    assert "SSLUseStapling off" in conf.partition("ServerName noocsp")[2]


def test_a_new_include_is_read_only_after_a_rebuild(machine: Machine) -> None:
    path = machine.path(f"{INCLUDES}/pre_virtualhost_2.conf")
    path.unlink()
    machine.run(REBUILD)
    path.write_text("# new\n")
    listing = ("httpd", "-t", "-D", "DUMP_INCLUDES")
    assert "pre_virtualhost_2" not in machine.run(*listing).stdout
    machine.run(REBUILD)
    assert "pre_virtualhost_2" in machine.run(*listing).stdout


def test_a_rebuild_fails_on_a_broken_include_and_keeps_httpd_conf(machine: Machine) -> None:
    conf = machine.path("/etc/apache2/conf/httpd.conf")
    before = conf.read_bytes()
    machine.path(f"{INCLUDES}/pre_virtualhost_2.conf").write_text("NoSuchDirective\n")
    done = machine.run(REBUILD, check=False)
    assert done.returncode != 0
    assert "NoSuchDirective" in done.stderr
    assert conf.read_bytes() == before


def test_restartsrv_httpd_takes_its_documented_options_and_no_other(machine: Machine) -> None:
    for option in (
        "check",
        "--graceful",
        "reload",
        "--hard",
        "stop",
        "--start",
        "--restart",
        "--notconfigured-ok",
    ):
        machine.run(RESTART, option, "--no-verbose")
        state = machine.run(RESTART, "--check", check=False).returncode
        assert state == (1 if option == "stop" else 0), option
    assert machine.run(RESTART, "--status", check=False).returncode == 2


def test_whmapi1_answers_as_documented_and_fails_on_command(machine: Machine) -> None:
    done = json.loads(machine.run(*WHMAPI1, "restartservice", "service=httpd").stdout)
    assert (done["metadata"]["result"], done["data"]["service"]) == (1, "httpd")
    machine.path("/run/machine/whmapi1.mode").write_text("fail")
    failed = machine.run(*WHMAPI1, "restartservice", "service=httpd", check=False)
    assert json.loads(failed.stdout)["metadata"]["result"] == 0


def test_appconfig_registers_lists_and_unregisters(shared: Machine) -> None:
    text = "name=trial\nservice=whostmgr\nurl=/cgi/trial/\nacls=all\ndisplayname=Trial\n"
    shared.path("/run/trial.conf").write_text(text)
    shared.run("/usr/local/cpanel/bin/register_appconfig", "/run/trial.conf")
    listed = json.loads(shared.run(*WHMAPI1, "get_appconfig_application_list").stdout)
    assert listed["data"]["whostmgr"][0]["displayname"] == "Trial"
    assert listed["data"]["whostmgr"][0]["url"] == ["/cgi/trial/"]
    shared.run("/usr/local/cpanel/bin/unregister_appconfig", "trial")
    listed = json.loads(shared.run(*WHMAPI1, "get_appconfig_application_list").stdout)
    assert listed["data"] == {"cpanel": [], "whostmgr": [], "webmail": []}


def test_responders_answer_openssl_over_ipv4_and_ipv6(shared: Machine) -> None:
    assert ": good" in ask(shared, "site0001.example.test", "alpha")
    shared.fault("beta", "drop", "4")
    curl = ("curl", "-6", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "4")
    assert shared.run(*curl, "http://ocsp.beta-ca.test/x", check=False).stdout in ("000", "200")
    assert shared.run("ping", "-6", "-c1", "-W2", "ocsp.beta-ca.test").returncode == 0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("5xx", "received error"),
        ("try-later", "trylater"),
        ("unauthorized", "unauthorized"),
        ("revoked", ": revoked"),
        ("unknown", ": unknown"),
        ("stale", "Status times invalid"),
    ],
)
def test_faults_are_what_openssl_calls_them(shared: Machine, kind: str, words: str) -> None:
    shared.fault("alpha", kind)
    assert words in ask(shared, "site0001.example.test", "alpha")
    assert ": good" in ask(shared, "site0002.example.test", "beta")
    shared.heal()
    assert ": good" in ask(shared, "site0001.example.test", "alpha")


def connect(machine: Machine, address: str, user: str = "root") -> str:
    """Return the name of the error of a TCP connection to port 80, as `user`; "" if it succeeds."""
    code = (
        "import os,pwd,socket,sys,errno\n"
        "os.setuid(pwd.getpwnam(sys.argv[2]).pw_uid)\n"
        "try: socket.create_connection((sys.argv[1], 80), 1.5)\n"
        "except TimeoutError: print('timeout')\n"
        "except OSError as e: print(errno.errorcode.get(e.errno, e))\n"
    )
    return machine.run(sys.executable, "-I", "-c", code, address, user).stdout.strip()


@pytest.mark.parametrize(
    ("kind", "error"), [("drop", "timeout"), ("refuse", "ECONNREFUSED"), ("unreachable", "ENETUNREACH")]
)
def test_packet_faults_can_be_one_family_or_one_user_only(shared: Machine, kind: str, error: str) -> None:
    v4, v6 = shared.authorities[0].addresses
    shared.fault("alpha", kind, "6")
    assert (connect(shared, v4), connect(shared, v6)) == ("", error)
    shared.heal()
    shared.fault("alpha", kind, user="nobody")
    assert connect(shared, v4) == ""
    assert connect(shared, v4, "nobody") not in ("", "0")


def test_a_dns_fault_is_the_servers_own_resolvers_only(shared: Machine) -> None:
    shared.fault("alpha", "dns")
    assert shared.run("getent", "ahosts", "ocsp.alpha-ca.test", check=False).returncode != 0
    assert shared.run("getent", "ahosts", "ocsp.beta-ca.test").returncode == 0


def traces() -> tuple[str, set[str]]:
    """Return this system's mounts and network devices, which no machine may change."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return Path("/proc/self/mounts").read_text(), {line.split(":")[1].strip() for line in links.splitlines()}


def processes_with(word: str) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if word in (entry / "cmdline").read_text():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def test_it_leaves_nothing_behind_even_when_its_owner_is_killed() -> None:
    before = traces()
    mark = "sites_per_ca=(2, 1, 4)"
    start = f"m = Machine(Shape({mark}))\nm.start()\nprint('up', flush=True)\ninput()"
    code = f"from tests.machine import Machine, Shape\n{start}"
    owner = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    assert processes_with('"sites_per_ca": [2, 1, 4]')
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    deadline = time.monotonic() + 15
    while processes_with('"sites_per_ca": [2, 1, 4]') and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes_with('"sites_per_ca": [2, 1, 4]')
    assert traces()[1] == before[1]
    assert "machine" not in set(traces()[0].split()) - set(before[0].split())
