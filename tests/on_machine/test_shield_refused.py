"""Where the shield would not help or not be safe, it is refused: with the reason, nothing touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from tests.machine import Machine, nginx
from tests.on_machine.admin import GLOBAL, RESTART, TWO, file_state, userdata
from tests.on_machine.shielding import PORT, relay_answers, shield

pytestmark = pytest.mark.machine
SITE = "site0001.example.test"
MD = "\nLoadModule md_module modules/mod_md.so\nMDStapling on\nMDStapleOthers on\n"
PROXY = "SSLOCSPProxyURL http://192.0.2.9:3128\n"
LISTEN = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalAddr => '{at}', Listen => 9, ReuseAddr => 1); sleep"


def refused(machine: Machine, code: str, *reason: str) -> None:
    """It is refused with this code and these words, asked in earnest and on trial; all is as it was."""
    before = file_state(machine, GLOBAL, TWO)
    for consent in ("--yes", "--dry-run"):
        error = shield(machine, "on", consent)["error"]
        assert error["code"] == code, error
        assert [word for word in (*reason, "othing") if word not in error["sentence"]] == [], error
    assert file_state(machine, GLOBAL, TWO) == before
    assert shield(machine, "status")["on"] is False
    assert not relay_answers(machine)


@contextlib.contextmanager
def listening(machine: Machine, address: str, program: str = "/usr/bin/perl") -> Iterator[None]:
    """Another program listens there."""
    taker = machine.popen(program, "-e", LISTEN.format(at=address))
    try:
        end = time.monotonic() + 20
        while f" {address} " not in machine.run("ss", "-ltn").stdout:
            assert time.monotonic() < end
            time.sleep(0.05)
        yield
    finally:
        os.killpg(taker.pid, signal.SIGKILL)
        taker.communicate()


@contextlib.contextmanager
def configured(machine: Machine, text: str) -> Iterator[None]:
    """An administrator's lines stand in the include before the virtual hosts."""
    path = machine.path(GLOBAL)
    before = path.read_bytes()
    path.write_bytes(before + text.encode())
    try:
        machine.run(RESTART)
        yield
    finally:
        path.write_bytes(before)
        machine.run(RESTART)


def test_a_port_that_another_program_has(unshielded: Machine) -> None:
    with listening(unshielded, f"127.0.0.1:{PORT}"):
        refused(unshielded, "shield-port", "perl", "--port")


@pytest.mark.parametrize("first", [0, PORT])
def test_a_port_that_any_account_may_have(unshielded: Machine, first: int) -> None:
    setting = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    unshielded.run("sh", "-c", f"echo {first} >{setting}")
    try:
        refused(unshielded, "shield-port", "Any account", "ip_unprivileged_port_start")
    finally:
        unshielded.run("sh", "-c", f"echo 1024 >{setting}")


def test_a_proxy_for_the_questions_of_all(unshielded: Machine) -> None:
    with configured(unshielded, PROXY):
        refused(unshielded, "shield-proxy", "proxy", GLOBAL, "192.0.2.9")


def test_a_proxy_or_a_responder_of_a_single_site(unshielded: Machine) -> None:
    path = userdata(unshielded, SITE, PROXY)
    try:
        refused(unshielded, "shield-proxy", "proxy", path)
        userdata(unshielded, SITE, "SSLStaplingForceURL http://192.0.2.9/\n")
        refused(unshielded, "overridden", path, "SSLStaplingForceURL")
    finally:
        unshielded.path(path).unlink()
        unshielded.run("/usr/local/cpanel/scripts/rebuildhttpdconf")
        unshielded.run(RESTART, "--hard")


def test_mod_md_that_staples(unshielded: Machine) -> None:
    with configured(unshielded, MD):
        refused(unshielded, "md-staples", "mod_md")


@pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin"), reason="nginx is missing (nginx-light)")
def test_nginx_with_stapling_of_its_own(unshielded: Machine) -> None:
    nginx.put_in_front(unshielded, stapling=True)
    try:
        refused(unshielded, "shield-not-in-front", "nginx answers visitors")
    finally:
        unshielded.run("nginx", "-s", "stop")


def test_litespeed_in_apaches_place(unshielded: Machine) -> None:
    """LiteSpeed's program is called lshttpd with its version; visitors reach that, not Apache."""
    nginx.move_apache_behind(unshielded)
    program = "/usr/local/lsws/bin/lshttpd.6.3.1"
    unshielded.run("install", "-D", "/usr/bin/perl", program)
    with listening(unshielded, "0.0.0.0:443", program):
        refused(unshielded, "shield-not-in-front", "LiteSpeed answers visitors")


def test_certificates_of_which_none_names_a_responder(unshielded: Machine) -> None:
    every = "/var/cpanel/ssl/apache_tls"
    for name in {site.name for site in unshielded.sites if site.ocsp_url}:
        unshielded.run("cp", f"{every}/noocsp.example.test/combined", f"{every}/{name}/combined")
    unshielded.path(nginx.CPANEL_CONFIG).unlink(missing_ok=True)
    unshielded.run("/usr/local/cpanel/scripts/rebuildhttpdconf")
    unshielded.run(RESTART, "--hard")
    refused(unshielded, "nothing-to-shield", "No certificate in use names a responder")
