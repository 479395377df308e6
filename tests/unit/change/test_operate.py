"""One call from the request to the result: what is refused, done already, taken back, recorded."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocsp_stapling.change import lock, operate, plan
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.change.operate import Operator
from ocsp_stapling.change.plan import Outlook, Plan
from ocsp_stapling.change.request import ChangeRequest, already
from ocsp_stapling.change.transaction import Result
from ocsp_stapling.change.whm_restart import Patience
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings
from ocsp_stapling.shield import service, standing
from ocsp_stapling.shield.following import Ending
from tests.unit.change.made import carry_out, site_wish, wish
from tests.unit.change.simulated import OLD, World, having, old_workers_hang, read

KNOWN = "20260301T120000-abcdef"


@pytest.fixture
def here(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The simulated server as `operate` finds it; its files are older than Apache's last reading."""
    means = SimpleNamespace(
        apache=world.server.apache,
        configtest=lambda: world.configtest(),
        read=world.read,
        patience=Patience(),
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        operate, "survey_server", lambda _: SimpleNamespace(situation=world.tree.situation(), means=means)
    )
    monkeypatch.setattr(operate, "find_means", lambda _: means)
    monkeypatch.setattr(operate, "handshakes", world.server.handshakes)
    monkeypatch.setattr(operate, "time", SimpleNamespace(monotonic=lambda: world.server.now))
    world.server.now = time.time() + 1000.0
    world.server.touch()
    return world


def operator(world: World, request: ChangeRequest, **foresight: Any) -> Operator:
    state = world.tree.base / "state"
    return Operator(request, world.watch, replace(Settings(), state_directory=state), **foresight)


def ask(world: World, action: str = "off", **asked: Any) -> Result:
    return operator(world, replace(wish(action), **asked)).run()


def refused(world: World, action: str = "off", **asked: Any) -> str:
    with pytest.raises(Problem) as caught:
        ask(world, action, **asked)
    return caught.value.code


def operations(world: World) -> list[tuple[str, str]]:
    with Journal(world.tree.base / "state") as journal:
        return [(each.action, each.state) for each in journal.operations()]


def test_off_and_on_and_what_is_so_already(here: World) -> None:
    before = here.bytes
    assert (ask(here).state, ask(here, "on").state) == ("done", "done")
    assert here.bytes == before
    here.server.did.clear()
    again = ask(here, "on")
    assert (again.state, again.operation, here.server.did) == ("done", "", [])
    assert again.sentence.startswith(
        "Stapling is on already; nothing was changed. 2 sites tested, with staples"
    )
    assert again.verdict is not None
    assert operations(here) == [("on", "done"), ("off", "done")]


def test_off_that_is_so_in_the_files_but_not_in_apache_restarts_it(here: World) -> None:
    ask(here)
    here.server.staple = b"staple"
    assert ask(here).rungs == ("whm-api",)


@pytest.mark.parametrize("read_since", [True, False])
def test_on_without_staples_restarts_apache_only_if_it_has_not_read_its_files(
    here: World, read_since: bool
) -> None:
    """A responder that fails looks the same, and a restart would empty the cache of good staples."""
    if not read_since:
        late = here.server.now + 500
        os.utime(here.tree.pre[0], (late, late))
    here.server.staple = None
    found = ask(here, "on")
    assert (found.operation == "") is read_since
    assert ("whm" in here.server.did) is not read_since
    if read_since:
        assert "No site sends a staple" in found.sentence


def test_of_a_file_that_is_gone_nothing_is_newer(here: World) -> None:
    assert operate._written(here.tree.base / "gone") == 0


@pytest.fixture
def single(here: World) -> World:
    """A server that lets one site alone be turned off."""
    directory = here.tree.layout.userdata / "ssl/2_4/user/a.test"
    directory.mkdir(parents=True)
    (directory / "own.conf").write_text("# mine\n")
    here.tree.conf(sites={"a.test": f'    Include "{directory}/*.conf"\n', "b.test": ""})
    having(here.server, reads=lambda server: having(server, staple=None))
    return here


def test_what_is_so_already_for_one_site_names_it_and_who_else_waits(single: World) -> None:
    assert operator(single, site_wish("on", "a.test")).plan().already == "Stapling is on for a.test"
    assert operator(single, site_wish("off", "a.test")).run().state == "done"
    single.server.touch()
    again = operator(single, site_wish("off", "a.test")).run()
    assert again.sentence.startswith("Stapling is off for a.test already; nothing was changed.")
    assert operator(single, site_wish("off", "a.test")).plan().already == "Stapling is off for a.test"
    assert operator(single, wish("on")).plan().already == "Stapling is on"
    assert again.exit_code == 0
    having(single.server, hangs=lambda server: server.met.name == "b.test")
    found = operator(single, site_wish("off", "a.test")).run()
    assert (found.state, found.still_waiting, found.exit_code) == ("done", ("b.test",), 5)


def test_what_is_so_already_of_the_shield_is_said_of_the_shield() -> None:
    assert already("shield-off", True) == "The shield is off"
    assert already("shield-on", True) == "The shield is on"


def test_a_cache_that_fits_already_says_so(here: World) -> None:
    assert ask(here, "cache-fit").sentence.startswith("The staple cache holds every staple already;")


def test_nothing_is_changed_that_nobody_agreed_to(here: World) -> None:
    before = here.bytes
    with pytest.raises(Problem) as caught:
        operator(here, wish("off")).run(agreed=False)
    assert (caught.value.code, here.bytes, operations(here)) == ("needs-consent", before, [])
    assert "--yes" in caught.value.sentence
    assert operator(here, wish("on")).run(agreed=False).state == "done", "what needs no change needs no word"


def test_without_root_nothing_is_begun(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert refused(here) == "not-root"
    with pytest.raises(Problem, match="root"):
        operator(here, wish("off")).plan()
    assert operate.recover(Settings(), here.watch) == []


def test_a_plan_changes_nothing_and_only_that_plan_is_carried_out(here: World) -> None:
    before, asked = here.bytes, operator(here, wish("off"))
    made = asked.plan()
    assert (here.bytes, here.server.did) == (before, [])
    assert any("may not help" in each for each in made.warnings), "all sites were quick just now"
    here.tree.post[0].write_bytes(b"# edited\nSSLUseStapling On\n")
    asked.expect(made.tag)
    with pytest.raises(Problem) as caught:
        asked.run()
    assert (caught.value.code, here.server.did) == ("changed-meanwhile", [])
    here.tree.post[0].write_bytes(b"# theirs\n")
    here.server.sleep(1000)
    asked.expect(asked.plan().tag)
    assert asked.run().seconds < 100, "the time in which somebody thought it over does not count"


def test_what_the_last_look_says_is_in_the_plan_but_for_a_shield(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def foresight(_directory: Path, _plan: Plan) -> Outlook:
        return Outlook(failing=("ocsp.ca.test",), warnings=("It fails.",))

    def warned(action: str, port: int) -> bool:
        monkeypatch.setattr(operate, "wished_port", lambda _: port)
        monkeypatch.setattr(service, "require_port", lambda _: None)
        request = replace(wish(action), shield_port=port if action == "shield-on" else 0)
        return "It fails." in operator(here, request, foresight=foresight).plan().warnings

    actions = ("off", "on", "shield-on", "shield-off", "cache-fit")
    assert {each: warned(each, 340) for each in actions} == {
        "off": True,
        "on": False,
        "shield-on": False,
        "shield-off": True,
        "cache-fit": False,
    }
    assert warned("on", 0)


def test_the_port_of_a_shield_is_looked_at_before_anything_else(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(port: int) -> None:
        raise Problem("port-in-use", f"{port} is in use.")

    monkeypatch.setattr(service, "require_port", taken)
    assert refused(here, "shield-on", shield_port=340) == "port-in-use"
    assert operations(here) == []


def test_the_last_change_is_taken_back_byte_for_byte_or_the_one_that_is_named(here: World) -> None:
    before = here.bytes
    first = ask(here).operation
    assert ask(here, "undo").state == "done"
    assert here.bytes == before
    assert [each for each, _ in operations(here)] == ["undo", "off"]
    ask(here, "undo", undone=operations_ids(here)[0])
    assert b"SSLUseStapling Off" in here.bytes[here.tree.pre[0].name]
    assert ask(here, "undo", undone=first).state == "done"
    assert here.bytes == before


def operations_ids(world: World) -> list[str]:
    with Journal(world.tree.base / "state") as journal:
        return [each.id for each in journal.operations()]


def test_what_cannot_be_taken_back_is_refused_with_its_reason(here: World) -> None:
    assert refused(here, "undo") == "nothing-to-undo"
    assert refused(here, "undo", undone="20260101T000000-000000") == "unknown-operation"
    here.words = ["Syntax error"]
    failed = ask(here)
    assert failed.state == "restored"
    assert refused(here, "undo") == "nothing-to-undo", "what was put back is no change"
    with pytest.raises(Problem, match="ended as 'restored'"):
        ask(here, "undo", undone=failed.operation)
    ask(here)
    here.tree.pre[0].write_bytes(here.tree.pre[0].read_bytes() + b"# edited\n")
    assert refused(here, "undo") == "changed-since"


def test_a_change_without_files_is_none_to_take_back(here: World) -> None:
    with Journal(here.tree.base / "state") as journal:
        journal.begin("off", "root", "", {}, [], KNOWN)
        journal.finish(KNOWN, "done", {})
    assert refused(here, "undo") == "nothing-to-undo"
    assert refused(here, "undo", undone=KNOWN) == "nothing-to-undo"


def test_an_undo_of_one_site_looks_at_that_site(single: World) -> None:
    operator(single, site_wish("off", "a.test")).run()
    assert operator(single, wish("undo")).plan().site == "a.test"


def test_a_refusal_is_recorded_under_the_identity_it_came_with_and_once(here: World) -> None:
    here.tree.conf(late="SSLUseStapling On\n")
    assert refused(here) == "overridden"
    assert operations(here) == []
    assert refused(here, identity=KNOWN) == "overridden"
    assert operations(here) == [("off", "refused")]
    with Journal(here.tree.base / "state") as journal:
        kept = journal.operation(KNOWN)
        assert kept is not None
        assert (kept.who, kept.reason, kept.result["error"]["code"]) == ("root", "a trial", "overridden")
    assert refused(here, identity=KNOWN) == "operation-known"
    assert operations(here) == [("off", "refused")]


def test_the_same_request_twice_is_carried_out_once(here: World) -> None:
    assert ask(here, identity=KNOWN).operation == KNOWN
    here.server.did.clear()
    assert refused(here, identity=KNOWN) == "operation-known"
    assert (here.server.did, operations(here)) == ([], [("off", "done")])


class Killed(BaseException):
    """Nothing that the switch could catch."""


def kill(world: World, step: str, action: str = "off") -> None:
    shown = world.watch

    def strike(name: str, detail: Mapping[str, Any], seconds: float) -> None:
        if name == step:
            raise Killed
        shown(name, detail, seconds)

    world.watch = strike
    with pytest.raises(Killed):
        ask(world, action)
    world.watch = shown
    world.shown.clear()


def test_what_a_killed_call_left_is_ended_before_the_next_change_and_shown(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "reconcile", lambda *_, **__: None)
    kill(here, "configtest")
    assert ask(here, "on").state == "done"
    assert operations(here) == [("on", "done"), ("off", "done")]
    assert [(name, detail["sentence"].partition(":")[0]) for name, detail, _ in here.shown[:2]] == [
        ("recover", "'off' by root was interrupted; it is brought to its end first ..."),
        ("recover", "'off' was interrupted and has been finished"),
    ]


@pytest.mark.parametrize(
    ("action", "step", "forget"),
    [("off", "configtest", False), ("shield-off", "configtest", True), ("shield-off", "write", False)],
)
def test_after_an_interruption_the_relay_is_seen_to(
    here: World, monkeypatch: pytest.MonkeyPatch, action: str, step: str, forget: bool
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(operate, "reconcile", lambda _settings, *, forget: seen.append(forget))
    if action == "shield-off":
        shield = replace(wish("shield-on"), shield_port=340)
        carry_out(plan.make(shield, here.tree.situation()))  # a block to take away
    kill(here, step, action)
    settings = replace(Settings(), state_directory=here.tree.base / "state")
    (found,) = operate.recover(settings, here.watch)
    assert found.state == ("restored" if step == "write" else "done")
    assert seen == [forget]
    assert operate.recover(settings, here.watch) == [], "there is nothing left"


def test_nothing_is_recovered_while_a_change_runs(here: World) -> None:
    kill(here, "configtest")
    state = here.tree.base / "state"
    settings = replace(Settings(), state_directory=state)
    with lock.hold(state, "root", "off", 0.0):
        assert operate.recover(settings, here.watch) == []
    assert operations(here) == [("off", "running")]


def test_whom_apache_asks_after_each_kind_of_change(here: World) -> None:
    def then(action: str, **asked: Any) -> int | None:
        chosen = operator(here, replace(wish(action), **asked))
        with Journal(here.tree.base / "state") as journal:
            changes = chosen._made(chosen.request, here.tree.situation(), journal)
            return chosen._relay_then(changes, journal)

    ask(here)
    assert (then("off"), then("on"), then("undo")) == (None, None, None)
    assert (then("on", shield_port=341), then("shield-on", shield_port=341)) == (341, 341)
    assert then("shield-off") == 0
    ask(here, "on")
    with Journal(here.tree.base / "state") as journal:
        record = journal.files(journal.operations()[0].id)
        journal.begin("shield-on", "root", "", {}, record, KNOWN)
        journal.finish(KNOWN, "done", {})
    assert then("undo") == 0


@pytest.mark.parametrize(
    ("words", "done", "unknown"), [([], True, False), (["Bad"], False, False), (["Bad", "Bad"], False, True)]
)
def test_the_relay_follows_how_the_change_ended(
    here: World, monkeypatch: pytest.MonkeyPatch, words: list[str], done: bool, unknown: bool
) -> None:
    ending = Ending()
    monkeypatch.setattr(operate, "followed", lambda _settings, _then: contextlib.nullcontext(ending))
    here.words = words
    ask(here)
    assert (ending.done, ending.unknown) == (done, unknown)


def test_stapling_that_hangs_is_no_reason_to_say_already(here: World) -> None:
    """Off in the files, and visitors wait: Apache has not taken it up."""
    ask(here)
    having(here.server, workers=OLD, whm=[(1.0, read)], hangs=old_workers_hang)
    assert "end-old-workers" in ask(here).rungs


def test_an_end_of_the_shield_while_stapling_is_off_is_told_and_kept_in_the_history(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(service, "stop", lambda: stopped.append("relay"))
    ask(here)
    state = here.tree.base / "state"
    standing.wish(state, 341)
    assert operator(here, wish("shield-off")).plan().nothing_to_write.startswith("The shield ends;")
    with pytest.raises(Problem) as caught:
        operator(here, wish("shield-off")).run(agreed=False)
    assert (caught.value.code, stopped, standing.wished_port(state)) == ("needs-consent", [], 341)
    ended = ask(here, "shield-off")
    assert ended.sentence.startswith("The shield is ended; stapling stays off, and no file needed a change. ")
    assert (ended.operation, stopped, standing.wished_port(state)) == ("", ["relay"], 0)
    assert operations(here) == [("shield-off", "done"), ("off", "done")]
    assert ask(here, "shield-off").sentence.startswith("The shield is off already; nothing was changed.")
    assert len(operations(here)) == 2
