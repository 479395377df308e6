"""Disks that are full, read-only or broken, a history that is lost, a clock that jumps: nothing is half done."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import sys
from typing import Any

import pytest

from ocsp_stapling.apache import managed_block
from tests.machine import Machine
from tests.on_machine.admin import (
    GLOBAL,
    INCLUDES,
    RESTART,
    STATE,
    TWO,
    Called,
    call,
    file_state,
    kill,
    parent,
    pid_stamp,
    processes,
    sabotage,
    stapled,
    switch,
    write,
)

pytestmark = pytest.mark.machine
ERRNOS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EPERM")
FOREIGN = b"# mine\n# no line end at the end"


def check(machine: Machine, called: Called, before: dict[str, Any], what: str) -> None:
    """The files are the old ones or hold exactly the block, as the result says; Apache serves what they say."""
    now = file_state(machine)
    if called.code == 0:
        assert [managed_block.remove(each[0]) for each in now.values()] == [FOREIGN, b""], what
        assert managed_block.find(now[GLOBAL][0]), what
    else:
        assert called.code in (1, 3), (what, called.told)
        assert now == before, (what, called.told)
    names = machine.run("ls", "-A", INCLUDES).stdout
    assert "ocsp-stapling-new" not in names, (what, names)
    assert parent(machine), what
    assert stapled(machine) is (called.code != 0), what


def strike_everywhere(machine: Machine, errnos: tuple[str, ...]) -> list[int]:
    """Let every call that writes, syncs or renames fail once; return the exit codes."""
    write(machine, GLOBAL, FOREIGN, 0o640)
    before, codes = file_state(machine), []
    for point in range(100):
        called = sabotage(machine, errnos[point % len(errnos)], point, "off", "--yes", "--json")
        codes.append(called.code)
        check(machine, called, before, f"{errnos[point % len(errnos)]} at {point}")
        if called.code == 0:
            assert switch(machine, "on").code == 0
            assert file_state(machine) == before
        if called.code == 0 and not any(code != 0 for code in codes[-4:]) and point > 20:
            return codes
    raise AssertionError("there is no end of the points")


def test_every_write_sync_and_rename_may_fail(machine: Machine) -> None:
    codes = strike_everywhere(machine, ERRNOS)
    assert codes.count(3) >= 10, codes


@pytest.mark.long
@pytest.mark.parametrize("name", ERRNOS)
def test_every_write_sync_and_rename_may_fail_in_every_way(machine: Machine, name: str) -> None:
    codes = strike_everywhere(machine, (name,))
    print(f"\n{name}: {len(codes)} calls, exit codes {sorted(set(codes))}")


# -- real file systems ---------------------------------------------------------------------------------------


def own_file_system(machine: Machine, directory: str, size: str = "64k") -> None:
    """Give a directory a small file system of its own, with what was in it."""
    line = f"cp -a {directory} /run/kept && mount -t tmpfs -o size={size},mode=755 small {directory}"
    machine.run("sh", "-c", f"{line} && cp -a /run/kept/. {directory}/ && rm -r /run/kept")


def test_a_full_file_system_is_named_and_nothing_changes(machine: Machine) -> None:
    own_file_system(machine, INCLUDES)
    write(machine, GLOBAL, FOREIGN)
    machine.run("sh", "-c", f"dd if=/dev/zero of={INCLUDES}/big bs=4k 2>/dev/null", check=False)
    before, stamp = file_state(machine), pid_stamp(machine)
    called = switch(machine, "off")
    assert (called.code, called.error) == (3, "write-failed"), called.told
    assert "No space left on device" in called.document["error"]["sentence"]
    check(machine, called, before, "full")
    assert pid_stamp(machine) == stamp
    machine.path(f"{INCLUDES}/big").unlink()
    assert switch(machine, "off").code == 0


def test_a_read_only_file_system_is_named_and_nothing_changes(machine: Machine) -> None:
    own_file_system(machine, INCLUDES)
    write(machine, GLOBAL, FOREIGN)
    machine.run("mount", "-o", "remount,ro", INCLUDES)
    before, stamp = file_state(machine), pid_stamp(machine)
    called = switch(machine, "off")
    assert (called.code, called.error) == (3, "write-failed"), called.told
    assert "Read-only file system" in called.document["error"]["sentence"]
    check(machine, called, before, "read-only")
    assert pid_stamp(machine) == stamp


def test_an_immutable_include_is_named_and_the_other_one_put_back(machine: Machine) -> None:
    own_file_system(machine, INCLUDES)
    write(machine, GLOBAL, FOREIGN)
    if machine.run("chattr", "+i", TWO, check=False).returncode != 0:
        pytest.skip("this kernel's tmpfs knows no immutable attribute")
    before = file_state(machine)
    called = switch(machine, "off")
    assert (called.code, called.error) == (3, "write-failed"), called.told
    assert TWO in called.document["error"]["sentence"]
    check(machine, called, before, "immutable")


FILL = "dd if=/dev/zero of=/run/apache2/.fill bs=4k 2>/dev/null"


def test_where_apache_could_not_write_its_pid_file_nothing_is_touched(machine: Machine) -> None:
    """It would end at the restart, and could not be started with what was there before."""
    own_file_system(machine, "/run/apache2", "2m")
    machine.run("sh", "-c", FILL, check=False)
    before, stamp = file_state(machine), pid_stamp(machine)
    called = switch(machine, "off")
    assert (called.code, called.error) == (1, "pid-file-unwritable"), called.told
    assert (file_state(machine), pid_stamp(machine)) == (before, stamp)
    assert stapled(machine)
    machine.path("/run/apache2/.fill").unlink()
    assert switch(machine, "off").code == 0


@pytest.mark.long
def test_where_no_site_answers_after_the_way_back_it_says_so_and_names_the_command(machine: Machine) -> None:
    """Apache's own directory is full when WHM restarts it."""
    own_file_system(machine, "/run/apache2", "2m")
    script = f"#!/bin/sh\n{FILL}\n{RESTART}\n"
    write(machine, "/usr/local/cpanel/bin/whmapi1", script.encode(), 0o755)
    before = file_state(machine)
    called = switch(machine, "off")
    assert (called.code, called.document["state"]) == (4, "failed"), called.told
    assert file_state(machine) == before
    assert "no site answers" in called.document["sentence"]
    assert f"Try: {RESTART}" in called.document["sentence"]
    machine.path("/run/apache2/.fill").unlink()
    machine.run(RESTART)
    assert stapled(machine)


# -- a history that is lost ----------------------------------------------------------------------------------


def assert_done_without_history(machine: Machine, called: Called) -> None:
    assert called.code == 0, called.told
    assert any("history is lost" in each for each in called.document["warnings"]), called.told
    assert not stapled(machine)


def damaged(machine: Machine) -> None:
    switch(machine, "off")
    switch(machine, "on")
    write(machine, f"{STATE}/journal.sqlite", b"SQLite format 3\x00" + b"\xff" * 5000)


def no_database(machine: Machine) -> None:
    write(machine, f"{STATE}/journal.sqlite", b"this is no database at all, " * 100)


def a_directory(machine: Machine) -> None:
    machine.path(f"{STATE}/journal.sqlite").mkdir(parents=True)


def read_only(machine: Machine) -> None:
    machine.run("mkdir", "-p", STATE)
    machine.run("mount", "-t", "tmpfs", "-o", "ro,mode=700", "small", STATE)


def full(machine: Machine) -> None:
    machine.run("mkdir", "-p", STATE)
    machine.run("mount", "-t", "tmpfs", "-o", "size=8k,mode=700", "small", STATE)
    machine.run("sh", "-c", f"dd if=/dev/zero of={STATE}/big bs=4k 2>/dev/null", check=False)


def a_file_for_the_directory(machine: Machine) -> None:
    machine.path("/var/lib").mkdir(exist_ok=True)
    write(machine, STATE, b"")


@pytest.mark.parametrize(
    "lose", [damaged, no_database, a_directory, read_only, full, a_file_for_the_directory]
)
def test_off_works_without_a_history_and_says_so(machine: Machine, lose: Any) -> None:
    lose(machine)
    assert_done_without_history(machine, switch(machine, "off"))
    told = call(machine, "history").told
    assert "lost" in told or "Nothing was switched yet" in told or "off" in told
    assert switch(machine, "on").code == 0
    assert stapled(machine)


@pytest.mark.parametrize(("lose", "offered"), [(full, False), (read_only, False), (damaged, True)])
def test_an_undo_is_offered_only_of_what_the_history_holds(
    machine: Machine, lose: Any, offered: bool
) -> None:
    lose(machine)
    done = machine.run("ocsp-stapling", "off", "--yes")
    assert "Done" in done.stdout
    assert ("To take it back" in done.stdout) is offered


def test_a_damaged_history_is_put_aside_and_a_new_one_begins(machine: Machine) -> None:
    damaged(machine)
    switch(machine, "off")
    names = machine.run("ls", STATE).stdout
    assert "journal.sqlite.damaged-" in names
    assert switch(machine, "undo").code == 0
    assert stapled(machine)


def test_off_works_while_somebody_holds_the_history_locked(machine: Machine) -> None:
    switch(machine, "off")
    switch(machine, "on")
    code = (
        "import sqlite3,sys,time; d=sqlite3.connect(sys.argv[1]); d.execute('BEGIN EXCLUSIVE');"
        "print('locked', flush=True); time.sleep(60)"
    )
    holder = machine.popen(sys.executable, "-c", code, f"{STATE}/journal.sqlite")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    assert_done_without_history(machine, switch(machine, "off"))
    kill(machine, signal.SIGTERM, processes(machine, line="BEGIN EXCLUSIVE"))
    holder.communicate()


# -- the clock -----------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_back_during_a_change_confuses_nothing(machine: Machine) -> None:
    for point in (8, 16, 24):
        called = sabotage(machine, "jump", point, "off", "--yes", "--json")
        assert called.code == 0, called.told
        assert 0 <= called.document["seconds"] < 60
        assert switch(machine, "undo").code == 0
        assert stapled(machine)
    listed = call(machine, "history", "--json").document["operations"]
    assert [each["action"] for each in listed] == ["undo", "off"] * 3


def test_a_kill_and_a_clock_an_hour_back_are_recovered(machine: Machine) -> None:
    sabotage(machine, "kill", 36, "off", "--yes", "--json")
    path = machine.path(f"{STATE}/journal.sqlite")
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(path.read_bytes())
        database.execute("UPDATE operations SET started = started + 3600")
        database.execute("UPDATE steps SET at = at + 3600")
        database.commit()
        path.write_bytes(database.serialize())
    listed = call(machine, "history", "--json").document["operations"]
    assert listed[0]["state"] in ("done", "restored")
    machine.run(RESTART, "--check")
    blocked = managed_block.find(machine.path(GLOBAL).read_bytes()) is not None
    assert stapled(machine) is not blocked
