"""`off`, `on` and `undo` on a real Apache: done and verified, or refused, or everything as it was."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ocsp_stapling.apache import managed_block
from tests.machine import Machine, Shape
from tests.machine.init import UNITS, with_systemd
from tests.on_machine.admin import (
    API_MODE,
    GLOBAL,
    INCLUDES,
    REBUILD,
    RESTART,
    RESTART_MOOD,
    TWO,
    Called,
    call,
    crowd,
    disk,
    file_state,
    parent,
    pid_stamp,
    stapled,
    switch,
    visits,
    write,
)

pytestmark = pytest.mark.machine
WHMAPI1 = "/usr/local/cpanel/bin/whmapi1"
OURS = b"OCSP Stapling for WHM"


@pytest.fixture
def shape() -> Shape:
    return with_systemd(Shape())


def assert_done(called: Called) -> None:
    assert (called.code, called.document.get("state")) == (0, "done"), called.told


def assert_restored(machine: Machine, called: Called, code: str) -> None:
    """Failed and put back: said plainly, no block left, Apache runs and staples as before."""
    assert (called.code, called.document.get("state")) == (3, "restored"), called.told
    assert called.error == code
    assert "Everything is as it was before." in called.document["sentence"]
    assert OURS not in machine.path(GLOBAL).read_bytes() + machine.path(TWO).read_bytes()
    assert parent(machine)
    assert stapled(machine)


@pytest.fixture
def quick_machine(machine: Machine) -> Machine:
    """A machine whose administrator does not wait long for WHM's API."""
    write(machine, "/etc/ocsp-stapling/config.toml", b"[switch]\nwhm_restart_seconds = 2\n", 0o644)
    return machine


# -- the straight path --------------------------------------------------------------------------------------


def test_off_then_on_gives_back_every_byte_owner_and_mode(machine: Machine) -> None:
    write(machine, GLOBAL, b"# mine\nSSLUseStapling on\n# no line end at the end", 0o640)
    write(machine, TWO, b"# a Windows editor\r\nLogLevel warn\r\n" + b"# filler directive\n" * 55_000)
    machine.run("chown", "root:mail", GLOBAL)
    machine.run(RESTART, "--hard")
    before = file_state(machine)
    assert_done(switch(machine, "off"))
    during = file_state(machine)
    assert not stapled(machine)
    for path, (content, *owner_and_mode) in during.items():
        assert content.startswith(before[path][0])
        assert owner_and_mode == list(before[path][1:])
    assert_done(switch(machine, "on"))
    assert file_state(machine) == before
    assert stapled(machine)


def test_undo_takes_the_last_change_back_and_can_itself_be_undone(machine: Machine) -> None:
    before = file_state(machine)
    off = switch(machine, "off")
    during = file_state(machine)
    assert_done(switch(machine, "undo"))
    assert file_state(machine) == before
    assert_done(switch(machine, "undo"))
    assert file_state(machine) == during
    assert_done(switch(machine, "undo", off.document["operation"]))
    assert file_state(machine) == before


def test_undo_of_an_earlier_change_is_refused_when_its_files_changed_since(machine: Machine) -> None:
    first = switch(machine, "off").document["operation"]
    switch(machine, "on")
    write(machine, GLOBAL, b"# an administrator was here\n")
    before = file_state(machine)
    refused = switch(machine, "undo", first)
    assert (refused.code, refused.error) == (1, "changed-since")
    assert file_state(machine) == before


def test_undo_without_a_history_or_of_an_unknown_operation_is_refused(machine: Machine) -> None:
    assert switch(machine, "undo").error == "nothing-to-undo"
    assert switch(machine, "undo", "20200101T000000-abcdef").error == "unknown-operation"


def test_a_second_off_or_on_changes_nothing_and_restarts_nothing(machine: Machine) -> None:
    assert_done(switch(machine, "off"))
    files, stamp = file_state(machine), pid_stamp(machine)
    assert_done(switch(machine, "off"))
    assert (file_state(machine), pid_stamp(machine)) == (files, stamp)
    assert_done(switch(machine, "on"))
    stamp = pid_stamp(machine)
    again = switch(machine, "on")
    assert_done(again)
    assert "already" in again.document["sentence"]
    assert pid_stamp(machine) == stamp


def test_off_restarts_an_apache_that_did_not_read_the_block_yet(machine: Machine) -> None:
    block = managed_block.apply(b"", ["<IfModule ssl_module>", "SSLUseStapling Off", "</IfModule>"])
    write(machine, GLOBAL, block)
    assert stapled(machine)
    assert_done(switch(machine, "off"))
    assert not stapled(machine)


def test_on_does_not_restart_a_healthy_apache_because_a_responder_fails(machine: Machine) -> None:
    machine.fault("all", "5xx")
    machine.run(RESTART, "--hard")
    stamp = pid_stamp(machine)
    called = switch(machine, "on")
    assert_done(called)
    assert "already" in called.document["sentence"]
    assert pid_stamp(machine) == stamp


# -- what is shown -----------------------------------------------------------------------------------------


def test_dry_run_changes_nothing_and_prints_the_plan(machine: Machine) -> None:
    before, stamp = disk(machine), pid_stamp(machine)
    plan = call(machine, "off", "--dry-run", "--json").document
    assert (plan["stapling_now"], plan["stapling_then"]) == ("on", "off")
    assert [each["path"] for each in plan["changes"]] == [GLOBAL, TWO]
    assert "+    SSLUseStapling Off" in plan["changes"][0]["diff"]
    assert plan["must_staple_sites"] == ["muststaple.example.test"]
    assert plan["sites_affected_count"] == 7
    assert plan["front"] == "httpd"
    assert call(machine, "off", "--dry-run").code == 0
    assert not machine.path("/var/lib/ocsp-stapling").exists()
    assert (disk(machine), pid_stamp(machine)) == (before, stamp)


def test_the_result_says_what_visitors_met_before_and_after(machine: Machine) -> None:
    called = switch(machine, "off", "--reason=trial")
    document = called.document
    assert_done(called)
    assert document["action"] == "off"
    assert document["rungs"] == ["whm-api"]
    assert document["first_quick_seconds"] <= document["seconds"]
    assert {each["stapled"] for each in document["before"] if "noocsp" not in each["site"]} == {True}
    assert {each["stapled"] for each in document["after"]["handshakes"]} == {False}
    assert {type(each["seconds"]) for each in document["before"]} == {float}
    assert any("muststaple.example.test" in each for each in document["warnings"])
    listed = call(machine, "history", "--json").document["operations"]
    assert [(o["operation"], o["state"], o["reason"]) for o in listed] == [
        (document["operation"], "done", "trial")
    ]
    steps = call(machine, "history", document["operation"], "--json").document["steps"]
    assert [each["step"] for each in steps] == [
        *("write", "write", "configtest", "restart", "whm-said", "verify")
    ]
    assert "through" not in call(machine, "history").told
    assert "Asking WHM to restart Apache" in call(machine, "history", document["operation"]).told


def test_a_plan_that_was_seen_is_carried_out_later_but_not_when_it_is_stale(machine: Machine) -> None:
    tag = call(machine, "off", "--dry-run", "--json").document["tag"]
    machine.run("sleep", "1.1")
    assert_done(switch(machine, "off", f"--tag={tag}"))
    tag = call(machine, "on", "--dry-run", "--json").document["tag"]
    path = machine.path(TWO)
    path.write_bytes(b"# edited meanwhile\n" + path.read_bytes())
    before = file_state(machine)
    stale = switch(machine, "on", f"--tag={tag}")
    assert (stale.code, stale.error) == (1, "changed-meanwhile")
    assert file_state(machine) == before


def test_an_operation_of_one_identity_is_carried_out_once(machine: Machine) -> None:
    identity = "--operation=20260101T000000-abcdef"
    assert switch(machine, "off", identity).document["operation"] == "20260101T000000-abcdef"
    assert switch(machine, "on", identity).error == "operation-known"
    assert not stapled(machine)


def test_without_a_terminal_consent_must_be_given(machine: Machine) -> None:
    before = disk(machine)
    for words in (["off"], ["off", "--json"]):
        refused = call(machine, *words)
        assert refused.code == 1
        assert "needs-consent" in refused.told
    assert disk(machine) == before


def test_what_needs_no_change_is_answered_without_consent(machine: Machine) -> None:
    before = disk(machine)
    settled = call(machine, "on", "--json")
    assert (settled.code, settled.document["state"], settled.document["operation"]) == (0, "done", "")
    assert call(machine, "undo", "--json").document["error"]["code"] == "nothing-to-undo"
    assert call(machine, "undo", "7", "--json").document["error"]["code"] == "unknown-operation"
    assert disk(machine) == before


def test_at_a_terminal_the_plan_is_shown_and_consent_is_asked(machine: Machine) -> None:
    def at_terminal(answer: str) -> Called:
        done = machine.run("script", "-qec", "ocsp-stapling off", "/dev/null", input=answer, check=False)
        return Called(done.returncode, {}, done.stdout, done.stderr)

    before = disk(machine)
    refused = at_terminal("n\n")
    assert (refused.code, "not-confirmed" in refused.told) == (1, True)
    assert "+    SSLUseStapling Off" in refused.told
    assert "Must-Staple" in refused.told
    assert disk(machine) == before
    agreed = at_terminal("y\n")
    assert agreed.code == 0, agreed.told
    assert "Done after" in agreed.told
    assert not stapled(machine)


def test_the_change_survives_a_reader_that_leaves(machine: Machine) -> None:
    done = machine.run("sh", "-c", "ocsp-stapling off --yes | true; sleep 2", check=False)
    assert done.returncode == 0
    assert not stapled(machine)
    assert call(machine, "history", "--json").document["operations"][0]["state"] == "done"


# -- refused: nothing touched --------------------------------------------------------------------------------


def test_a_syntax_error_already_there_is_refused_with_httpds_own_words(machine: Machine) -> None:
    write(machine, GLOBAL, b"NoSuchDirective here\n")
    before, stamp = disk(machine), pid_stamp(machine)
    for words in (["off", "--yes"], ["on", "--yes"], ["off", "--dry-run"], ["off", "--yes", "--json"]):
        refused = call(machine, *words)
        assert refused.code == 1
        assert "NoSuchDirective" in refused.told
        assert "config-broken" in refused.told
    assert (disk(machine), pid_stamp(machine)) == (before, stamp)


def one_sentence(called: Called, code: str) -> None:
    assert called.code == 1
    assert called.out == ""
    lines = called.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("ocsp-stapling: ")
    assert lines[0].endswith(f"[{code}]")


def test_without_root_one_plain_sentence(machine: Machine) -> None:
    line = "setpriv --reuid=65534 --regid=65534 --clear-groups ocsp-stapling off --yes"
    done = machine.run("sh", "-c", line, check=False)
    one_sentence(Called(done.returncode, {}, done.stdout, done.stderr), "not-root")


def test_without_cpanel_one_plain_sentence(machine: Machine) -> None:
    machine.path("/etc/cpanel/ea4/paths.conf").unlink()
    one_sentence(call(machine, "off", "--yes"), "no-cpanel")


def test_without_mod_ssl_one_plain_sentence(machine: Machine) -> None:
    machine.path("/etc/apache2/conf.modules.d/390_mod_ssl.conf").unlink()
    conf = machine.path("/etc/apache2/conf/httpd.conf")
    conf.write_text(conf.read_text().partition("<VirtualHost")[0])
    one_sentence(call(machine, "off", "--yes"), "no-mod-ssl")


# -- failed: everything as it was ----------------------------------------------------------------------------


def test_a_configtest_that_fails_after_the_write_restores_and_never_restarts(machine: Machine) -> None:
    """httpd here refuses whatever holds our block, as a httpd with another idea of the directive would."""
    machine.run("mv", "/usr/sbin/httpd", "/usr/sbin/httpd.real")
    script = (
        "#!/bin/sh\n"
        f'case " $* " in *" -t "*) if grep -q "{OURS.decode()}" {INCLUDES}/*.conf; then\n'
        'echo "AH00526: Syntax error on purpose" >&2; exit 1; fi;; esac\nexec /usr/sbin/httpd.real "$@"\n'
    )
    write(machine, "/usr/sbin/httpd", script.encode(), 0o755)
    before, stamp = disk(machine), pid_stamp(machine)
    called = switch(machine, "off")
    assert (called.code, called.error) == (3, "configtest-failed"), called.told
    assert "AH00526: Syntax error on purpose" in called.document["error"]["detail"]
    assert "rungs" in called.document
    assert called.document["rungs"] == []
    assert (disk(machine), pid_stamp(machine)) == (before, stamp)
    assert "AH00526" in call(machine, "off", "--yes").told


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("fail", "whmapi-failed"),
        ("hang", "whmapi-timeout"),
        ("silent", "whmapi-failed"),
        ("garbage", "whmapi-failed"),
        ("page", "whmapi-failed"),
    ],
)
def test_an_api_that_misbehaves_is_named_and_everything_is_put_back(
    quick_machine: Machine, mode: str, code: str
) -> None:
    quick_machine.path(API_MODE).write_text(mode)
    before = file_state(quick_machine)
    assert_restored(quick_machine, switch(quick_machine, "off"), code)
    assert file_state(quick_machine) == before
    quick_machine.path(API_MODE).unlink()
    assert_done(switch(quick_machine, "off"))


def test_a_missing_api_is_named_and_everything_is_put_back(machine: Machine) -> None:
    machine.path(WHMAPI1).unlink()
    assert_restored(machine, switch(machine, "off"), "whmapi-missing")


def test_an_api_that_reports_success_while_httpd_is_dead_is_found_out(machine: Machine) -> None:
    answer = json.dumps({"metadata": {"result": 1, "reason": "OK"}, "data": {"service": "httpd"}})
    write(machine, WHMAPI1, f"#!/bin/sh\n{RESTART} --stop\necho '{answer}'\n".encode(), 0o755)
    called = switch(machine, "off")
    assert_done(called)
    assert any("left Apache stopped" in each for each in called.document["warnings"])


@pytest.mark.parametrize("why", ["its start limit", "a broken unit"])
def test_an_apache_that_systemd_does_not_start_is_started_with_stapling_off(
    machine: Machine, why: str
) -> None:
    """WHM cannot start it, then, for its script asks systemd."""
    if not machine.shape.systemd:
        pytest.skip("this system has no systemd of its own in namespaces")
    if why == "a broken unit":
        write(
            machine,
            f"{UNITS}/httpd.service.d/broken.conf",
            b"[Service]\nExecStart=\nExecStart=/bin/false\n",
            0o644,
        )
        machine.run("systemctl", "daemon-reload")
    for _ in range(7):
        machine.run("systemctl", "restart", "httpd.service", check=False)
        if not parent(machine):
            break
    assert not parent(machine)
    called = switch(machine, "off")
    assert_done(called)
    assert any("left Apache stopped" in each for each in called.document["warnings"])
    assert not stapled(machine)


def test_an_api_that_reports_success_and_does_nothing_is_found_out_and_off_succeeds(machine: Machine) -> None:
    machine.path(API_MODE).write_text("lie")
    called = switch(machine, "off")
    assert_done(called)
    assert called.document["rungs"][:2] == ["whm-api", "signal-parent"]
    assert not stapled(machine)


def test_an_api_that_restarts_apache_but_never_answers_does_not_bring_the_stall_back(
    quick_machine: Machine,
) -> None:
    write(quick_machine, WHMAPI1, f"#!/bin/sh\n{RESTART}\nexec sleep 600\n".encode(), 0o755)
    called = switch(quick_machine, "off")
    assert_done(called)
    assert any("did not answer" in each for each in called.document["warnings"])
    assert not stapled(quick_machine)


@pytest.mark.parametrize("mode", ["page-after", "error-after"])
def test_an_api_that_restarts_apache_and_says_that_it_failed_does_not_bring_the_stall_back(
    machine: Machine, mode: str
) -> None:
    machine.path(API_MODE).write_text(mode)
    called = switch(machine, "off")
    assert_done(called)
    assert any("restarted all the same" in each for each in called.document["warnings"])
    assert not stapled(machine)


def test_an_api_that_answers_before_it_restarts_apache_is_not_waited_for_in_vain(machine: Machine) -> None:
    """Apache is signalled by us; that WHM stops it a moment later is survived, whoever starts it."""
    machine.path(API_MODE).write_text("answer-first")
    machine.path(RESTART_MOOD).write_text("stop-start 3")
    assert_done(switch(machine, "off"))
    machine.run("sleep", "6")
    assert not stapled(machine)


def test_whms_words_are_shown_without_their_control_characters(machine: Machine) -> None:
    told = call(machine, "off", "--yes").told
    assert "gut, äußerst schnell" in told
    assert "\x1b" not in told
    history = call(machine, "history", "last").told
    assert "Waiting for “httpd”" in history
    assert "\x1b" not in history


def test_on_while_a_responder_hangs_is_taken_back_without_harder_restarts(machine: Machine) -> None:
    machine.fault("alpha", "hang")
    assert_done(switch(machine, "off"))
    call(machine, "check")
    warned = call(machine, "on", "--dry-run").out
    assert "Beware" in warned
    assert "ocsp.alpha-ca.test was failing when it was asked last" in warned
    assert "site0001.example.test" in warned
    before = file_state(machine)
    called = switch(machine, "on")
    assert (called.code, called.error) == (3, "still-stalling"), called.told
    attempt = called.document["attempt"]
    assert attempt["responder_hosts"] == ["ocsp.alpha-ca.test"]
    assert "site0001.example.test" in attempt["site_names"]
    assert attempt["sentence"] in call(machine, "history", called.document["operation"], "--json").out
    (told,) = call(machine, "history", "--json").document["server_incidents"]
    assert told["operation_ids"][-1] == called.document["operation"]
    timeline = call(machine, "history", "--incident", "latest", "--json").document["timeline"]
    assert attempt["sentence"] in timeline[-1]["sentence"]
    assert called.document["rungs"] == ["whm-api"]
    assert file_state(machine) == before
    assert not stapled(machine)
    machine.heal()
    assert_done(switch(machine, "on"))
    assert stapled(machine)


# -- the stall -----------------------------------------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.parametrize(
    "mpm",
    ["event-tight", "prefork", *(pytest.param(each, marks=pytest.mark.long) for each in ("event", "worker"))],
)
def test_off_ends_a_stall_of_200_visitors_quickly(
    mpm: str, start_machine: Callable[[Shape], Machine]
) -> None:
    machine = start_machine(Shape(mpm=mpm))
    machine.fault("alpha", "hang")
    machine.run(RESTART, "--hard")
    with crowd(machine, 200):
        done = machine.run("ocsp-stapling", "off", "--yes")
    seconds = float(done.stdout.split("First quick handshake ")[1].split(" s")[0])
    assert seconds < 5, done.stdout
    if mpm in ("event-tight", "worker"):
        assert "Ending Apache's old workers" in done.stdout
    assert all(each["seconds"] < 2 and not each["error"] for each in visits(machine, 4))


def test_rebuilding_and_restarting_afterwards_keeps_stapling_off(machine: Machine) -> None:
    assert_done(switch(machine, "off"))
    machine.run(REBUILD)
    machine.run(RESTART, "--hard")
    assert not stapled(machine)
