"""A change from its first write to its end: done, refused, or everything as it was; and what it tells of that."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ocsp_stapling import files
from ocsp_stapling.change import plan, recovery, transaction, verify
from ocsp_stapling.change.interruption import taken_back
from ocsp_stapling.change.plan import Outlook, Plan
from ocsp_stapling.change.transaction import Result
from ocsp_stapling.files import Snapshot, Tag
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import Handshake
from ocsp_stapling.problem import Problem
from tests.unit.change.made import SSL, site_wish
from tests.unit.change.simulated import OLD, SITE, Server, World, having, old_workers_hang, read, stopped


def test_a_change_is_written_tested_restarted_and_verified_in_that_order(world: World) -> None:
    found = world.run()
    steps = ["write", "write", "configtest", "restart", "whm-said", "verify"]
    assert (found.state, found.exit_code, found.rungs) == ("done", 0, ("whm-api",))
    assert world.steps == steps
    assert [name for name, _, _ in world.shown] == steps
    assert all(5 <= seconds < 60 for *_, seconds in world.shown), "they count from the call"
    assert [detail["path"] for name, detail, _ in world.shown if name == "write"] == list(
        map(str, world.tree.pre)
    )
    assert all(b"SSLUseStapling Off" in world.bytes[path.name] for path in world.tree.pre)
    assert found.sentence.startswith("2 sites tested, without staples")
    assert found.first_quick_seconds is not None
    assert 5 < found.first_quick_seconds < found.seconds
    assert {each.staple for each in found.before} == {b"staple"}
    kept = world.journal.operation("an-identity")
    assert kept is not None
    assert (kept.state, kept.action, kept.who, kept.reason) == ("done", "off", "root", "a trial")
    assert kept.result == json.loads(json.dumps(found.as_json()))
    assert {record.path: record.before for record in world.journal.files("an-identity")} == dict.fromkeys(
        world.tree.pre, b"# theirs\n"
    )


def test_the_verify_step_says_what_was_found_and_how_long_the_restart_took(world: World) -> None:
    world.run()
    (told,) = (detail for name, detail, _ in world.shown if name == "verify")
    assert told["sentence"].startswith("2 sites tested")
    assert 1 < told["seconds"] < 10


def no_whm(server: Server) -> None:
    having(server, whm=[], failure=Problem("whmapi-missing", "There is no API."))


def always_slow(server: Server) -> None:
    having(server, hangs=lambda _: True, plain_hangs=lambda _: True)


def staples_go_on(server: Server) -> None:
    having(server, reads=lambda _: None)


RESET = "systemctl reset-failed httpd.service"
BROKEN: dict[str, tuple[Callable[[Server], None], list[str], str, str, list[str]]] = {
    # what is wrong, httpd's words, the error, how it ended, what was done to Apache
    "httpd refuses it": (lambda _: None, ["Syntax error"], "configtest-failed", "restored", []),
    "httpd refuses it and what was there": (lambda _: None, ["Bad", "Bad"], "configtest-failed", "failed", []),
    "WHM has no API": (no_whm, [], "whmapi-missing", "restored", ["whm"]),
    "staples go on": (staples_go_on, [], "no-staple", "restored",
                      ["whm", "SIGUSR1", "stop", RESET, "start", "SIGUSR1"]),
    "sites hang on": (always_slow, [], "still-stalling", "restored",
                      ["whm", "stop", RESET, "start", "SIGUSR1"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_whatever_fails_every_byte_is_as_before_and_apache_is_touched_no_more_than_needed(
    world: World, case: str
) -> None:
    break_it, words, code, state, did = BROKEN[case]
    break_it(world.server)
    world.words, before, made = list(words), world.bytes, replace(world.plan(), warnings=("Beware.",))
    found = world.run(made)
    assert found.problem is not None
    assert (found.problem.code, found.state) == (code, state)
    assert found.exit_code == (3 if state == "restored" else 4)
    assert world.bytes == before
    assert [each for each in world.server.did if each != "end"] == did
    assert found.sentence.startswith(found.problem.sentence)
    told = (
        "Everything is as it was before."
        if state == "restored"
        else "It could not be put right: Apache refuses"
    )
    assert told in found.sentence
    assert {"because": code} in [dict(detail) for name, detail, _ in world.shown if name == "restore"]
    operation = world.journal.operation("an-identity")
    assert operation is not None
    assert operation.state == state
    # What the plan warned of is of no interest where nothing came of it.
    assert ("Beware." in found.warnings) is (state == "failed")


def test_who_still_waits_when_the_restart_begins_is_told_as_waiting_for_so_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    monkeypatch.setattr(transaction, "handshake", lambda *_, **__: done.wait(60))
    before = transaction._Before([SITE], 1.0)
    world.server.now += 0.4
    (met,) = before.cut()
    done.set()
    assert (met.door, met.error) == (SITE.door, "timeout")
    assert met.seconds == pytest.approx(0.4)


def test_httpds_own_words_are_told(world: World) -> None:
    world.words = ["Syntax error on line 5"]
    found = world.run()
    assert found.problem is not None
    assert found.problem.detail == "Syntax error on line 5"
    assert "Apache was not restarted" in found.sentence


def test_who_waited_in_an_attempt_that_failed_is_told_with_the_responders_that_fail(world: World) -> None:
    always_slow(world.server)
    made = replace(world.plan(), outlook=Outlook(failing=("ocsp.ca.test",)))
    found = world.run(made)
    assert found.attempt is not None
    assert found.attempt.sites == ("a.test", "b.test")
    assert found.attempt.responders == ("ocsp.ca.test",)
    assert "did not answer (cut off at 1.0 s), for ocsp.ca.test, which failed before already." in (
        found.attempt.sentence
    )
    assert found.as_json()["attempt"]["responder_hosts"] == ["ocsp.ca.test"]
    assert len(found.as_json()["attempt"]["handshakes"]) == len(made.samples)


def test_a_file_that_was_saved_before_the_first_write_is_a_refusal_and_nothing_is_touched(
    world: World,
) -> None:
    made = world.plan()
    world.tree.pre[0].write_bytes(b"# edited\n")
    before = world.bytes
    found = world.run(made)
    assert (found.state, found.exit_code, world.bytes) == ("refused", 1, before)
    assert world.steps == ["write"]
    assert world.server.did == []


def test_a_file_that_was_saved_in_the_middle_of_the_exchange_keeps_no_block_of_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file was saved, so the exchange fails; and so was the new one, with our block in it."""
    replace_file = files.replace
    struck: list[Snapshot] = []

    def replace_and_save(old: Snapshot, content: bytes, *mode: int) -> Tag:
        if struck:
            return replace_file(old, content, *mode)
        struck.append(old)
        old.path.write_bytes(b"# an editor's\n" + content)
        raise files.changed_meanwhile(old.path)

    monkeypatch.setattr(files, "replace", replace_and_save)
    found = world.run()
    assert (found.state, found.exit_code) == ("restored", 3)
    assert world.bytes[world.tree.pre[0].name] == b"# an editor's\n# theirs\n"


def test_a_file_that_was_saved_before_the_second_write_keeps_its_editors_bytes(world: World) -> None:
    made = world.plan()
    world.tree.pre[1].write_bytes(b"# edited\n")
    before = world.bytes
    found = world.run(made)
    assert (found.state, world.bytes) == ("restored", before)
    assert found.problem is not None
    assert found.problem.code == "changed-meanwhile"
    assert world.server.did == []


def test_a_block_that_an_editor_takes_away_during_the_restart_ends_it(world: World) -> None:
    edited = b"# edited, without the block\n"

    def edit(server: Server) -> None:
        world.tree.pre[0].write_bytes(edited)
        read(server)

    having(world.server, whm=[(1.0, edit)], hangs=old_workers_hang)
    found = world.run()
    assert (found.state, found.problem and found.problem.code) == ("restored", "changed-meanwhile")
    assert world.bytes[world.tree.pre[0].name] == edited
    assert world.bytes[world.tree.pre[1].name] == b"# theirs\n"
    assert "SIGUSR1" in world.server.did  # Apache may have read what was taken back


def test_an_edit_that_leaves_the_block_alone_does_not(world: World) -> None:
    def edit(server: Server) -> None:
        with world.tree.pre[0].open("ab") as file:
            file.write(b"# added\n")
        read(server)

    having(world.server, whm=[(1.0, edit)], hangs=old_workers_hang)
    assert world.run().state == "done"


@pytest.mark.parametrize("words", [[], ["Bad", ""]])
def test_a_first_signal_on_the_way_back_or_after_the_last_step_changes_nothing(
    world: World, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the call would say that nothing was touched, while half of it is put back and its end is open."""

    def interrupted(done: Result, *_: object) -> Result:
        os.kill(os.getpid(), signal.SIGTERM)
        return done

    def configtest() -> str:
        if "restore" in world.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return words.pop(0) if words else ""

    monkeypatch.setattr(transaction, "with_still_waiting", interrupted)
    wanted, world.configtest = "restored" if words else "done", configtest
    with taken_back():
        found = world.run()
    assert found.state == wanted
    assert not recovery.is_needed(world.journal)


def test_an_error_that_nobody_thought_of_takes_everything_back_and_is_named(world: World) -> None:
    before = world.bytes

    def broken() -> str:
        if world.steps[-1] == "configtest":
            raise ValueError("no such thing")
        return ""

    world.configtest = broken
    found = world.run()
    assert found.problem is not None
    assert (found.problem.code, found.problem.detail) == ("unexpected", "ValueError: no such thing")
    assert (found.state, world.bytes) == ("restored", before)


def test_a_terminal_that_is_gone_and_a_history_that_is_lost_stop_nothing(world: World) -> None:
    def gone(_name: str, _detail: Mapping[str, Any], _seconds: float) -> None:
        raise OSError("no terminal")

    world.watch = gone
    made = world.plan()
    world.journal.close()
    world.journal.lost = "it is on a full disk"
    found = world.run(made)
    assert (found.state, found.rungs) == ("done", ("whm-api",))
    assert "The history is lost: it is on a full disk." in found.warnings


def test_without_a_site_that_answers_after_the_way_back_it_says_failed(world: World) -> None:
    def end_it_all(server: Server) -> None:
        stopped(server)
        having(server, starts=False, httpd_starts=False)

    having(world.server, whm=[(0.5, end_it_all)])
    found = world.run()
    assert (found.state, found.exit_code) == ("failed", 4)
    assert "Apache does not run with the restored files, so no site answers." in found.sentence
    assert found.sentence.endswith("Try: /usr/local/cpanel/scripts/restartsrv_httpd")


def test_an_apache_that_was_down_before_and_after_is_restored(world: World) -> None:
    stopped(world.server)
    having(world.server, starts=False, httpd_starts=False)
    found = world.run()
    assert (found.state, found.exit_code) == ("restored", 3)
    assert found.sentence.endswith("Apache does not run. The end of its error log says why.")


def test_an_apache_that_runs_and_answers_nobody_after_the_way_back_is_no_restored_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    staples_go_on(world.server)
    met = world.server.handshakes

    def refused(doors: Sequence[Door], **how: Any) -> Sequence[Handshake]:
        found = met(doors, **how)
        return (
            [Handshake(each, True, 0.0, "refused") for each in doors] if "restore" in world.steps else found
        )

    monkeypatch.setattr(verify, "handshakes", refused)
    found = world.run()
    assert (found.state, found.exit_code) == ("failed", 4)
    assert "no site answers (a.test" in found.sentence


def test_an_apache_that_was_down_and_was_not_restarted_is_left_down(world: World) -> None:
    stopped(world.server)
    world.words = ["Syntax error"]
    found = world.run()
    assert (found.state, world.server.did) == ("restored", [])
    assert {each.error for each in found.before} == {"refused"}


def rebuilt(world: World) -> None:
    world.tree.conf()


def refuse_to_rebuild(_world: World) -> None:
    raise Problem("rebuild-failed", "It cannot be rebuilt.")


REBUILDS: dict[str, tuple[Callable[[World], None], str, str]] = {
    "it reads the includes then": (rebuilt, "done", ""),
    "a template leaves them out": (lambda _: None, "restored", "include-not-read"),
    "cPanel cannot": (refuse_to_rebuild, "restored", "rebuild-failed"),
}


@pytest.mark.parametrize("case", REBUILDS)
def test_where_httpd_conf_has_to_be_rebuilt_it_is_seen_to_read_the_includes(world: World, case: str) -> None:
    rebuild, state, code = REBUILDS[case]
    world.tree.conf(named=())
    world.server.rebuild = lambda _: rebuild(world)
    made = world.plan()
    assert made.rebuild
    found = world.run(made)
    assert (found.state, found.problem.code if found.problem else "") == (state, code)
    assert world.steps[:4] == ["write", "write", "configtest", "rebuild"]
    assert (world.steps[4] == "configtest") is (state == "done")
    assert ("restart" in world.steps) is (state == "done")


def alone(world: World) -> Plan:
    directory = world.tree.layout.userdata / "ssl/2_4/user/a.test"
    directory.mkdir(parents=True)
    (directory / "own.conf").write_text("# mine\n")
    world.tree.conf(sites={"a.test": f'    Include "{directory}/*.conf"\n', "b.test": ""})
    return plan.make(site_wish("off", "a.test"), world.tree.situation())


@pytest.mark.parametrize("action", ["site-off", "undo"])
@pytest.mark.parametrize("for_good", [False, True])
def test_after_one_site_went_off_others_that_wait_behind_it_are_freed_or_told(
    world: World, for_good: bool, action: str
) -> None:
    """Off by name, or since the return of its stapling was taken back."""
    made = replace(alone(world), action=action)

    def hangs(server: Server) -> bool:
        return server.met.name == "b.test" and (for_good or old_workers_hang(server))

    having(world.server, hangs=hangs, reads=lambda server: having(server, staple=None))
    found = world.run(made)
    assert found.state == "done"
    assert world.server.rungs == []
    assert [d["rung"] for name, d, _ in world.shown if name == "restart"] == ["whm-api", "end-old-workers"]
    assert world.server.ended == set(OLD)
    told = "Other sites still wait for a staple (b.test): ocsp-stapling check says for whom."
    assert (told in found.warnings) is for_good
    assert (found.still_waiting, found.exit_code) == ((("b.test",), 5) if for_good else ((), 0))
    assert "turn stapling on themselves" not in found.sentence


def test_after_the_change_of_one_site_nobody_is_ended_where_nobody_waits(world: World) -> None:
    having(world.server, reads=lambda server: having(server, staple=None))
    assert world.run(alone(world)).state == "done"
    assert world.server.ended == set()


def test_after_an_off_those_that_wait_all_the_same_are_told_with_what_ends_it(world: World) -> None:
    directory = world.tree.layout.userdata / "ssl/2_4/user/own.test"
    directory.mkdir(parents=True)
    (directory / "mine.conf").write_text("SSLUseStapling On\n")
    own = {"own.test": f"    Include {directory}/*.conf\n"}
    having(world.server, hangs=lambda server: server.met.name in ("own.test", "hand.test"))
    world.tree.conf(sites={"a.test": "", **own})
    sentence = world.run().sentence
    assert "Visitors still wait at sites that turn stapling on themselves (own.test)" in sentence
    assert sentence.endswith("; `ocsp-stapling off --overrides` ends it where that stands in userdata.")


def test_after_an_off_a_line_by_hand_that_keeps_visitors_waiting_is_named(world: World) -> None:
    world.tree.conf(sites={"a.test": "", "hand.test": "    SSLUseStapling On\n"})
    having(world.server, hangs=lambda server: server.met.name == "hand.test")
    sentence = world.run().sentence
    assert "--overrides" not in sentence
    assert "take SSLUseStapling On out by hand at " in sentence
    assert "httpd.conf:" in sentence


def test_where_a_cache_of_ours_goes_with_an_on_apache_is_stopped_and_started(world: World) -> None:
    world.tree.conf(ssl=SSL.replace("SSLStaplingCache", "#").replace("SSLUseStapling On", ""))
    assert world.run(world.plan("on", write_on=True)).state == "done"
    world.journal.close()
    made = world.plan("off")
    assert world.run(made).rungs == ("whm-api",), "the cache stays while stapling is off"
    made = world.plan("on")
    assert (made.cache_now, made.cache_then) == (True, False)
    world.server.did.clear()
    assert world.run(made).rungs == ("stop-start",)
    assert "whm" not in world.server.did
