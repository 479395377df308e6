"""Whatever Apache, its pid file, WHM or another restart do: Apache is never left down if it could run."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.machine import Machine
from tests.on_machine.admin import (
    GLOBAL,
    PID_FILE,
    REBUILD,
    RESTART,
    RESTART_MOOD,
    kill,
    parent,
    processes,
    stapled,
    switch,
    write,
)

pytestmark = pytest.mark.machine
MODULES = "/usr/lib/apache2/modules"
WHMAPI1 = "/usr/local/cpanel/bin/whmapi1"
OVER = "/root/restart-is-over"
SUCCESS = json.dumps({"metadata": {"result": 1, "reason": "OK"}, "data": {"service": "httpd"}})


def api(machine: Machine, *lines: str) -> None:
    """Let WHM's API do these lines of shell and report success."""
    text = "\n".join(["#!/bin/sh", *lines, f"echo '{SUCCESS}'", ""])
    write(machine, WHMAPI1, text.encode(), 0o755)


def worker(machine: Machine) -> int:
    """One of Apache's workers, as soon as there is one."""
    deadline = time.monotonic() + 30
    while not (found := [pid for pid in processes(machine, "httpd") if pid != parent(machine)]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


def test_a_parent_that_died_leaves_orphans_which_are_ended_before_apache_is_started(machine: Machine) -> None:
    api(machine, f"kill -KILL $(cat {PID_FILE})")
    called = switch(machine, "off")
    assert called.code == 0, called.told
    assert any("left Apache stopped" in each for each in called.document["warnings"])
    assert not stapled(machine)
    machine.run(RESTART, "--check")


def stall(machine: Machine) -> None:
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")


def test_a_restart_that_stops_apache_for_long_is_waited_for_and_never_ended(machine: Machine) -> None:
    """Twelve seconds between stop and start, as reported of WHM: ended there, Apache would stay stopped."""
    stall(machine)
    machine.path(RESTART_MOOD).write_text("stop-start 12")
    called = switch(machine, "off")
    assert called.code == 0, called.told
    assert "whm-api" in called.document["rungs"]
    assert "stop-start" not in called.document["rungs"]
    assert not stapled(machine)


def test_a_stop_does_not_wait_for_workers_that_hang(machine: Machine) -> None:
    stall(machine)
    waiting = machine.popen(
        "openssl", "s_client", "-connect", "44.128.1.2:443", "-servername", machine.sites[0].name, "-status"
    )
    try:
        machine.path(RESTART_MOOD).write_text("stop-start")
        called = switch(machine, "off")
    finally:
        waiting.kill()
        waiting.wait()
    assert called.code == 0, called.told
    assert called.document["first_quick_seconds"] < 8  # twelve and more when the stop waits for them


def test_a_restart_that_whm_puts_off_is_taken_into_our_hands_while_visitors_wait(machine: Machine) -> None:
    stall(machine)
    machine.path(RESTART_MOOD).write_text("deferred 40")
    called = switch(machine, "off")
    assert called.code == 0, called.told
    assert called.document["rungs"][:3] == ["whm-api", "end-old-workers", "signal-parent"]
    assert called.document["seconds"] < 35
    assert not stapled(machine)


def test_what_whm_prints_is_in_the_history(machine: Machine) -> None:
    called = switch(machine, "off")
    told = machine.run("ocsp-stapling", "history", called.document["operation"], "--json").stdout
    assert "httpd restarted successfully" in told


def test_an_httpd_of_a_customers_own_is_not_taken_for_apache(machine: Machine) -> None:
    """With Apache stopped, the only httpd that leads a session is an account holder's, on a port of their own."""
    user = "4321"
    machine.path("/tmp/own.conf").write_text(
        "ServerRoot /tmp\nListen 8080\nPidFile /tmp/own.pid\nErrorLog /tmp/own.log\nServerName own.test\n"
        + "".join(
            f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in ("mpm_event", "authz_core")
        )
    )
    machine.run(RESTART, "--stop")
    machine.run(
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        "/usr/sbin/httpd",
        "-f",
        "/tmp/own.conf",
        "-k",
        "start",
    )
    called = switch(machine, "off")
    assert called.code == 0, called.told
    assert not stapled(machine)
    assert machine.run("pgrep", "-u", user, "-x", "httpd", check=False).stdout


def test_an_update_that_replaces_httpd_under_the_running_one_changes_nothing(machine: Machine) -> None:
    """As a package does: another file of that name, while the parent still runs the one that is gone."""
    machine.run(
        "sh", "-c", "cp -a /usr/sbin/httpd /usr/sbin/httpd.new && mv -f /usr/sbin/httpd.new /usr/sbin/httpd"
    )
    was = parent(machine)
    called = switch(machine, "off")
    assert called.code == 0, called.told
    assert called.document["rungs"] == ["whm-api"]
    assert parent(machine) == was
    assert switch(machine, "on").code == 0
    assert stapled(machine)


def test_an_apache_that_was_down_is_started(machine: Machine) -> None:
    machine.run(RESTART, "--stop")
    called = switch(machine, "off")
    assert called.code == 0, called.told
    assert not stapled(machine)


@pytest.mark.parametrize("kind", ["missing", "stale", "garbage", "a worker's"])
def test_a_wrong_pid_file_is_mended_by_a_signal_to_the_parent(machine: Machine, kind: str) -> None:
    path, was = machine.path(PID_FILE), parent(machine)
    path.unlink()
    if kind != "missing":
        content = {"stale": "999999", "garbage": "no number", "a worker's": str(worker(machine))}[kind]
        path.write_text(f"{content}\n")
    called = switch(machine, "off")
    assert called.code == 0, called.told
    assert called.document["rungs"][:2] == ["signal-parent", "whm-api"]
    assert int(path.read_text()) == parent(machine) == was
    assert not stapled(machine)


def test_other_restarts_and_rebuilds_at_the_same_time_are_survived(machine: Machine) -> None:
    """As AutoSSL and account changes do: rebuild and restart, again and again, while we switch."""
    others = machine.popen("sh", "-c", f"while :; do {REBUILD}; {RESTART}; done >/dev/null 2>&1")
    try:
        called = [switch(machine, action) for action in ("off", "on") * 4]
    finally:
        os.killpg(others.pid, signal.SIGKILL)
        others.communicate()
    machine.run("sleep", "1")
    for each in called:
        assert each.code in (0, 3), each.told
    assert [each.code for each in called].count(0) >= 6
    assert parent(machine)
    blocked = b"OCSP Stapling for WHM" in machine.path(GLOBAL).read_bytes()
    assert stapled(machine) is not blocked


def test_hard_restarts_at_the_same_time_are_survived(machine: Machine) -> None:
    others = machine.popen("sh", "-c", f"while :; do {RESTART} --hard; sleep 0.3; done >/dev/null 2>&1")
    try:
        called = [switch(machine, action) for action in ("off", "on") * 2]
    finally:
        os.killpg(others.pid, signal.SIGKILL)
        others.communicate()
    if not parent(machine):  # the loop itself may have been ended between its stop and its start
        machine.run(RESTART, "--start")
    for each in called:
        assert each.code in (0, 3), each.told
    blocked = b"OCSP Stapling for WHM" in machine.path(GLOBAL).read_bytes()
    assert stapled(machine) is not blocked


def test_ctrl_c_takes_the_change_back_at_once(machine: Machine) -> None:
    api(machine, "sleep 30")
    before = machine.path(GLOBAL).read_bytes()
    running = machine.popen("ocsp-stapling", "off", "--yes")
    assert running.stdout is not None
    for line in running.stdout:
        if "restart" in line:
            break
    kill(machine, signal.SIGINT, processes(machine, line="sbin/ocsp-stapling off"))
    _, err = running.communicate(timeout=60)
    assert running.returncode == 3, err
    assert "[interrupted]" in err
    assert machine.path(GLOBAL).read_bytes() == before
    assert stapled(machine)


def test_a_lost_terminal_does_not_stop_the_change(machine: Machine) -> None:
    api(machine, "sleep 1", f"{RESTART} >/dev/null")
    running = machine.popen("ocsp-stapling", "off", "--yes")
    assert running.stdout is not None
    for line in running.stdout:
        if "restart" in line:
            break
    kill(machine, signal.SIGHUP, processes(machine, line="sbin/ocsp-stapling off"))
    running.stdout.close()
    running.wait(60)
    assert running.returncode == 0
    assert not stapled(machine)


def outliving(machine: Machine, wait: str) -> None:
    """WHM's API is killed after it started a restart, which begins once `wait` (lines of shell) is over."""
    machine.path(OVER).unlink(missing_ok=True)
    script = f"#!/bin/sh\n({wait}; {RESTART}; touch {OVER}) >/dev/null 2>&1 &\nexit 1\n"
    write(machine, WHMAPI1, script.encode(), 0o755)


def over(machine: Machine) -> None:
    """Wait for the end of that restart: a later one would be taken for that of the next change."""
    deadline = time.monotonic() + 60
    while not machine.path(OVER).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_restart_that_outlives_its_failed_call_leaves_apache_with_what_its_files_say(
    machine: Machine,
) -> None:
    """One that comes while Apache is given time to read its files is no failure; whichever it was, it is said so."""
    whms = machine.path(WHMAPI1).read_bytes()
    for delay in ("0.1", "0.9", "1.0", "1.1", "1.3", "1.6", "2"):
        outliving(machine, f"sleep {delay}")
        called = switch(machine, "off")
        assert (called.code, called.error) in ((0, ""), (3, "whmapi-failed")), called.told
        over(machine)
        assert stapled(machine) is (called.code == 3), delay
        if called.code == 0:
            write(machine, WHMAPI1, whms, 0o755)
            assert switch(machine, "undo").code == 0


def test_a_restart_that_comes_once_all_was_taken_back_reads_the_restored_files(machine: Machine) -> None:
    before = "/root/before"
    write(machine, before, machine.path(GLOBAL).read_bytes(), 0o600)
    outliving(machine, f"until cmp -s {before} {GLOBAL}; do sleep 0.05; done")
    called = switch(machine, "off")
    assert (called.code, called.error) == (3, "whmapi-failed"), called.told
    over(machine)
    assert stapled(machine)
