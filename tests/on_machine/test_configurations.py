"""Odd configurations that servers really have: each ends as wished, or is refused with the way to mend it."""

from __future__ import annotations

import json

import pytest

from ocsp_stapling.apache import managed_block
from tests.machine import Machine
from tests.on_machine.admin import (
    CONF,
    GLOBAL,
    INCLUDES,
    LATE,
    REBUILD,
    RESTART,
    TWO,
    Called,
    call,
    disk,
    file_state,
    pid_stamp,
    stapled,
    switch,
    userdata,
    write,
)

pytestmark = pytest.mark.machine
OFF_BLOCK = managed_block.apply(b"", ["<IfModule ssl_module>", "    SSLUseStapling Off", "</IfModule>"])
SITE = "site0002.example.test"
EA4_CONF = "/etc/cpanel/ea4/ea4.conf"


def done(called: Called) -> Called:
    assert (called.code, called.document.get("state")) == (0, "done"), called.told
    return called


def refused(machine: Machine, code: str, action: str, *words: str) -> Called:
    """The call is refused with this code, and nothing at all happened."""
    before, stamp = disk(machine), pid_stamp(machine)
    called = switch(machine, action, *words)
    assert (called.code, called.error) == (1, code), called.told
    assert (disk(machine), pid_stamp(machine)) == (before, stamp)
    return called


def edit(machine: Machine, path: str, old: str, new: str) -> None:
    """Change a file in place, as with an editor."""
    outside = machine.path(path)
    text = outside.read_text()
    assert old in text
    outside.write_text(text.replace(old, new))


def restart(machine: Machine) -> None:
    machine.run("httpd", "-t")
    machine.run(RESTART, "--hard")


def traces(machine: Machine) -> str:
    """Return the files under /etc that hold anything of ours."""
    found = machine.run("grep", "-rl", "OCSP Stapling for WHM", "/etc", check=False).stdout
    left = machine.run("find", "/etc/apache2", "-name", "*ocsp*stapling*").stdout
    return found + left


# -- where the include stands --------------------------------------------------------------------------------


def test_includes_that_httpd_conf_does_not_name_are_read_after_a_rebuild(machine: Machine) -> None:
    for path in (GLOBAL, TWO):
        machine.path(path).unlink()
    machine.run(REBUILD)
    for path in (GLOBAL, TWO):
        write(machine, path, b"# here, but not read\n")
    before = file_state(machine)
    called = done(switch(machine, "off"))
    assert not stapled(machine)
    steps = call(machine, "history", called.document["operation"], "--json").document["steps"]
    assert [each["step"] for each in steps if each["step"] in ("rebuild", "configtest")] == [
        "configtest",
        "rebuild",
        "configtest",
    ]
    done(switch(machine, "on"))
    assert file_state(machine) == before


def test_missing_includes_are_made_and_stay_empty_because_httpd_conf_names_them(machine: Machine) -> None:
    for path in (GLOBAL, TWO):
        machine.path(path).unlink()
    machine.run(REBUILD)
    done(switch(machine, "off"))
    assert not stapled(machine)
    assert not machine.path(TWO).exists()
    done(switch(machine, "undo"))
    assert file_state(machine, GLOBAL) == {GLOBAL: (b"", 0o600, 0, 0)}
    machine.run("httpd", "-t")
    assert stapled(machine)


def test_a_rebuild_that_leaves_the_include_out_is_found_before_any_restart(machine: Machine) -> None:
    machine.path(GLOBAL).unlink()
    machine.path(TWO).unlink()
    machine.run(REBUILD)
    write(machine, REBUILD, b"#!/bin/sh\nexit 0\n", 0o755)
    write(machine, "/var/cpanel/templates/apache2_4/main.local", b"[% # an administrator's own %]\n", 0o644)
    stamp = pid_stamp(machine)
    plan = call(machine, "off", "--dry-run", "--json").document
    assert plan["rebuild"]
    assert any("main.local" in each for each in plan["warnings"])
    called = switch(machine, "off")
    assert (called.code, called.error) == (3, "include-not-read"), called.told
    assert pid_stamp(machine) == stamp
    assert not traces(machine)


def test_a_rebuild_that_fails_is_taken_back(machine: Machine) -> None:
    machine.path(GLOBAL).unlink()
    machine.path(TWO).unlink()
    machine.run(REBUILD)
    write(machine, REBUILD, b"#!/bin/sh\necho 'template error' >&2\nexit 1\n", 0o755)
    called = switch(machine, "off")
    assert (called.code, called.error) == (3, "rebuild-failed"), called.told
    assert "template error" in called.document["error"]["detail"]
    assert stapled(machine)


def test_a_linked_include_stays_a_link_and_its_target_carries_the_block(machine: Machine) -> None:
    write(machine, "/etc/apache2/shared/stapling.conf", b"# shared\n")
    for path in (GLOBAL, TWO):
        machine.path(path).unlink()
        machine.path(path).symlink_to("../../shared/stapling.conf")
    before = file_state(machine)
    plan = call(machine, "off", "--dry-run", "--json").document
    assert [each["path"] for each in plan["changes"]] == ["/etc/apache2/shared/stapling.conf"]
    assert (plan["rebuild"], plan["stapling_then"]) == (False, "off")
    done(switch(machine, "off"))
    assert machine.path(GLOBAL).is_symlink()
    assert not stapled(machine)
    done(switch(machine, "on"))
    assert file_state(machine) == before
    assert stapled(machine)


def test_a_linked_include_that_others_can_write_is_refused(machine: Machine) -> None:
    write(machine, "/home/user0001/stapling.conf", b"# mine\n")
    machine.run("chown", "-R", "nobody", "/home/user0001")
    machine.path(GLOBAL).unlink()
    machine.path(GLOBAL).symlink_to("/home/user0001/stapling.conf")
    refused(machine, "unsafe-path", "off")


def test_includes_read_under_their_old_name_are_recognised(machine: Machine) -> None:
    edit(machine, CONF, f'"{INCLUDES}/pre_virtualhost', '"/usr/local/apache/conf/includes/pre_virtualhost')
    restart(machine)
    plan = call(machine, "off", "--dry-run", "--json").document
    assert (plan["rebuild"], plan["stapling_then"]) == (False, "off")
    done(switch(machine, "off"))
    assert not stapled(machine)
    done(switch(machine, "on"))
    assert stapled(machine)


def test_a_line_for_a_name_that_apache_was_started_with_counts_as_long_as_it_runs_so(
    machine: Machine,
) -> None:
    write(machine, GLOBAL, b"<IfDefine QUICK>\nSSLUseStapling Off\n</IfDefine>\n")
    for words, stapling in ((("-D", "QUICK"), "off"), ((), "on")):
        machine.run(RESTART, "--stop")
        machine.run("httpd", *words, "-k", "start")
        assert call(machine, "config", "--json").document["stapling"] == stapling
        assert stapled(machine) is (stapling == "on")


# -- lines of other hands ------------------------------------------------------------------------------------


def test_off_in_pre_main_is_overridden_in_silence_and_the_plan_knows(machine: Machine) -> None:
    write(machine, f"{INCLUDES}/pre_main_global.conf", b"SSLUseStapling off\n")
    restart(machine)
    assert stapled(machine)
    assert call(machine, "off", "--dry-run", "--json").document["stapling_now"] == "on"
    done(switch(machine, "off"))
    assert not stapled(machine)


def test_a_hand_written_on_after_our_place_is_beaten_from_a_later_include(machine: Machine) -> None:
    write(machine, LATE, b"SSLUseStapling On\n")
    restart(machine)
    before = file_state(machine, GLOBAL, TWO, LATE)
    done(switch(machine, "off"))
    assert not stapled(machine)
    done(switch(machine, "on"))
    assert file_state(machine, GLOBAL, TWO, LATE) == before


def test_a_line_that_no_include_can_beat_is_named(machine: Machine) -> None:
    conf = machine.path(CONF)
    conf.write_text(conf.read_text() + "\nSSLUseStapling On\n")
    restart(machine)
    called = refused(machine, "overridden", "off")
    line = conf.read_text().count("\n")
    assert f"{CONF} line {line} says 'SSLUseStapling On'" in called.document["error"]["sentence"]


def test_a_hand_written_off_is_named_and_on_is_written_with_consent_only(machine: Machine) -> None:
    write(machine, TWO, b"SSLUseStapling off\n")
    restart(machine)
    called = refused(machine, "off-elsewhere", "on")
    assert f"{TWO} line 1" in called.document["error"]["sentence"]
    done(switch(machine, "on", "--write-on"))
    assert stapled(machine)
    done(switch(machine, "on"))
    assert stapled(machine), "a second on must not take the block away that turns it on"
    done(switch(machine, "undo"))
    assert not stapled(machine)
    assert machine.path(TWO).read_bytes() == b"SSLUseStapling off\n"


def test_whms_own_switch_is_explained_and_never_written(machine: Machine) -> None:
    write(machine, EA4_CONF, json.dumps({"sslusestapling": "Off"}).encode(), 0o644)
    machine.run(REBUILD)
    restart(machine)
    called = refused(machine, "off-elsewhere", "on")
    assert "WHM's own switch" in called.document["error"]["sentence"]
    plan = call(machine, "on", "--write-on", "--dry-run", "--json").document
    assert plan["origin"] == "native-switch"
    done(switch(machine, "on", "--write-on"))
    assert stapled(machine)
    done(switch(machine, "off"))
    assert not stapled(machine)
    stays = done(switch(machine, "on"))
    assert any("stays off: WHM's own switch" in each for each in stays.document["warnings"])
    assert json.loads(machine.path(EA4_CONF).read_text()) == {"sslusestapling": "Off"}
    assert not traces(machine)


# -- single sites --------------------------------------------------------------------------------------------


def test_a_sites_own_on_survives_off_is_named_and_goes_with_overrides(machine: Machine) -> None:
    path = userdata(machine, SITE, "SSLUseStapling On\n")
    before = disk(machine)
    plan = call(machine, "off", "--dry-run", "--json").document
    assert [(each["file"], each["line"]) for each in plan["overrides"]] == [(path, 1)]
    called = done(switch(machine, "off"))
    assert any(f"{path}:1" in each for each in called.document["warnings"])
    assert (stapled(machine), stapled(machine, SITE)) == (False, True)
    done(switch(machine, "off", "--overrides"))
    assert not stapled(machine, SITE)
    done(switch(machine, "on"))
    assert (stapled(machine), stapled(machine, SITE)) == (True, True)
    assert disk(machine) == before
    assert not traces(machine)


def test_an_off_after_which_a_sites_own_on_still_hangs_is_no_success_and_names_the_next_command(
    machine: Machine,
) -> None:
    machine.fault("all", "hang")
    userdata(machine, SITE, "SSLUseStapling On\n")
    restart(machine)
    called = switch(machine, "off")
    assert (called.code, called.document["state"]) == (5, "done")
    assert called.document["still_waiting_names"] == [SITE]
    assert "`ocsp-stapling off --overrides` ends it" in called.document["sentence"]
    again = switch(machine, "off")
    assert (again.code, again.document["still_waiting_names"]) == (5, [SITE])
    (first, *_) = call(machine, "history", "--json").document["operations"]
    assert (first["state"], first["still_waiting_names"]) == ("done", [SITE])
    assert "done, but some visitors still wait" in machine.run("ocsp-stapling", "history").stdout
    ended = done(switch(machine, "off", "--overrides"))
    assert ended.document["still_waiting_names"] == []


def test_overrides_alone_are_turned_off_when_the_rest_is_off_already(machine: Machine) -> None:
    userdata(machine, SITE, "SSLUseStapling On\n")
    done(switch(machine, "off"))
    plan = call(machine, "off", "--overrides", "--dry-run", "--json").document
    assert [each["path"].rpartition("/")[2] for each in plan["changes"]] == ["zzz_ocsp_stapling.conf"]
    assert (plan["overrides"], plan["sites_affected_count"]) == ([], 1)
    done(switch(machine, "off", "--overrides"))
    assert not stapled(machine, SITE)
    done(switch(machine, "undo"))
    assert stapled(machine, SITE)


def test_an_override_that_is_read_after_ours_is_named(machine: Machine) -> None:
    path = userdata(machine, SITE, "SSLUseStapling On\n", "zzzz.conf")
    called = refused(machine, "overridden", "off", "--overrides")
    assert f"{path} line 1" in called.document["error"]["sentence"]


def test_the_last_file_of_a_userdata_directory_stays_because_apache_needs_one(machine: Machine) -> None:
    path = userdata(machine, SITE, "SSLUseStapling On\n")
    done(switch(machine, "off", "--overrides"))
    machine.path(path).unlink()
    done(switch(machine, "on"))
    machine.run("httpd", "-t")
    assert stapled(machine, SITE)


# -- the cache -----------------------------------------------------------------------------------------------


def without_cache(machine: Machine) -> None:
    """A server whose template has neither SSLUseStapling nor a cache for it."""
    edit(machine, CONF, "        SSLUseStapling On\n", "")
    edit(machine, CONF, "        SSLStaplingCache shmcb:/run/apache2/stapling_cache_shmcb(256000)\n", "")
    restart(machine)


def test_on_adds_the_cache_that_fits_the_session_cache(machine: Machine) -> None:
    without_cache(machine)
    refused(machine, "off-elsewhere", "on")
    first = done(switch(machine, "on", "--write-on"))
    assert b'SSLStaplingCache "shmcb:/run/apache2/' in machine.path(GLOBAL).read_bytes()
    assert stapled(machine)
    done(switch(machine, "off"))
    assert not stapled(machine)
    done(switch(machine, "undo"))
    assert stapled(machine)
    taken = done(switch(machine, "undo", first.document["operation"]))
    assert taken.document["rungs"] == ["stop-start"], "a graceful restart without the cache ends Apache"
    assert not traces(machine)


def test_on_adds_a_dbm_cache_beside_a_dbm_session_cache(machine: Machine) -> None:
    modules = machine.path("/etc/apache2/conf.modules.d/001_core.conf")
    modules.write_text(modules.read_text() + "LoadModule socache_dbm_module modules/mod_socache_dbm.so\n")
    without_cache(machine)
    edit(
        machine,
        CONF,
        "SSLSessionCache shmcb:/run/apache2/ssl_gcache_data_shmcb(1024000)",
        'SSLSessionCache "dbm:/run/apache2/ssl_scache"',
    )
    restart(machine)
    done(switch(machine, "on", "--write-on"))
    assert b'SSLStaplingCache "dbm:/run/apache2/' in machine.path(GLOBAL).read_bytes()
    assert stapled(machine)


def test_on_is_refused_where_no_cache_can_be_had(machine: Machine) -> None:
    without_cache(machine)
    machine.path("/etc/apache2/conf.d/session.conf").write_text("SSLSessionCache nonenotnull\n")
    restart(machine)
    refused(machine, "no-session-cache", "on", "--write-on")
    modules = machine.path("/etc/apache2/conf.modules.d/001_core.conf")
    text = "".join(line for line in modules.read_text().splitlines(True) if "shmcb" not in line)
    modules.write_text(text + "LoadModule socache_dbm_module modules/mod_socache_dbm.so\n")
    machine.path("/etc/apache2/conf.d/session.conf").write_text('SSLSessionCache "dbm:/run/apache2/s"\n')
    restart(machine)
    done(switch(machine, "on", "--write-on"))


def test_on_without_a_cache_in_force_is_never_restored(machine: Machine) -> None:
    """Taking the block away would leave On without a cache, which ends Apache."""
    done(switch(machine, "off"))
    edit(machine, CONF, "        SSLStaplingCache shmcb:/run/apache2/stapling_cache_shmcb(256000)\n", "")
    restart(machine)
    refused(machine, "no-cache", "on")
    refused(machine, "no-cache", "undo")


# -- our block, after other hands were on it -----------------------------------------------------------------


def test_a_block_whose_line_was_edited_is_written_anew(machine: Machine) -> None:
    done(switch(machine, "off"))
    edit(machine, GLOBAL, "SSLUseStapling Off", "SSLUseStapling On")
    edit(machine, TWO, "SSLUseStapling Off", "SSLUseStapling On")
    restart(machine)
    assert stapled(machine)
    done(switch(machine, "off"))
    assert not stapled(machine)
    done(switch(machine, "on"))
    assert not traces(machine)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("# END OCSP Stapling for WHM\n", "", 2),
        ("# BEGIN OCSP Stapling for WHM\n", "", 7),
        ("# END OCSP Stapling for WHM\n", "# END OCSP Stapling for WHM\n# END OCSP Stapling for WHM\n", 9),
    ],
    ids=["end deleted", "begin deleted", "marker doubled"],
)
def test_a_half_deleted_block_is_refused_with_its_lines_and_mended_by_deleting_them(
    machine: Machine, old: str, new: str, line: int
) -> None:
    write(machine, TWO, b"# mine\n")
    done(switch(machine, "off"))
    edit(machine, TWO, old, new)
    called = refused(machine, "block-damaged", "on")
    error = called.document["error"]
    assert f"{TWO}:{line}: #" in error["detail"]
    assert "Delete the marker lines" in error["sentence"]
    mended = [x for x in machine.path(TWO).read_text().splitlines(True) if x == "# mine\n"]
    machine.path(TWO).write_text("".join(mended))
    done(switch(machine, "on"))
    assert stapled(machine)
    assert machine.path(TWO).read_bytes() == b"# mine\n"


@pytest.mark.parametrize("wrong", [f"{INCLUDES}/pre_main_2.conf", "/etc/apache2/conf.d/mine.conf"])
def test_a_block_in_the_wrong_file_does_not_hide_and_goes_with_on(machine: Machine, wrong: str) -> None:
    write(machine, wrong, b"# mine\n" + OFF_BLOCK)
    write(machine, GLOBAL, OFF_BLOCK)
    restart(machine)
    assert not stapled(machine)
    done(switch(machine, "on"))
    assert machine.path(wrong).read_bytes() == b"# mine\n"
    assert stapled(machine)
    assert not traces(machine)


def test_markers_in_a_customers_file_stop_nobody(machine: Machine) -> None:
    """A customer whose file an administrator includes must not be able to forbid the switch."""
    write(machine, "/home/user0001/extra.conf", b"# BEGIN OCSP Stapling for WHM\n", 0o644)
    machine.run("chown", "-R", "nobody", "/home/user0001")
    write(machine, "/etc/apache2/conf.d/extra.conf", b"Include /home/user0001/extra.conf\n")
    restart(machine)
    done(switch(machine, "off"))
    done(switch(machine, "on"))
    assert stapled(machine)


def test_a_site_of_an_address_that_moved_away_does_not_make_the_change_fail(machine: Machine) -> None:
    conf = machine.path(CONF)
    extra = (
        "\n<VirtualHost 192.0.2.77:443>\n    ServerName moved.example.test\n    SSLEngine on\n"
        "    SSLCertificateFile /var/cpanel/ssl/apache_tls/site0001.example.test/combined\n</VirtualHost>\n"
    )
    conf.write_text(conf.read_text() + extra)
    restart(machine)
    called = done(switch(machine, "off"))
    met = {each["site"] for each in called.document["after"]["handshakes"]}
    assert "moved.example.test" not in met
    assert "site0001.example.test" in met
