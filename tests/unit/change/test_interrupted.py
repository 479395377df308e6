"""Killed at any step: the next command brings the change to its end, forward or back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ocsp_stapling import files
from ocsp_stapling.change import plan, recovery, restart, running, verify, whm_restart
from ocsp_stapling.change.interruption import taken_back
from ocsp_stapling.change.journal import FileRecord
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.change.transaction import Result
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import Handshake
from ocsp_stapling.problem import Problem
from ocsp_stapling.whm import api
from tests.unit.change.made import SSL, site_wish
from tests.unit.change.simulated import IDENTITY, NEVER, NEXT, Server, World, having, read, stopped

RESET = "systemctl reset-failed httpd.service"


class Killed(BaseException):
    """Nothing that the switch could catch."""


def killed(world: World, step: str, time: int = 1, made: Plan | None = None) -> None:
    """Carry a plan out until it is killed right before it takes a step for the n-th time."""
    left = [time]

    def strike(name: str, _detail: Mapping[str, Any], _seconds: float) -> None:
        left[0] -= name == step
        if not left[0]:
            raise Killed

    seen, world.watch = world.watch, strike
    with pytest.raises(Killed):
        world.run(made)
    world.watch = seen
    assert recovery.is_needed(world.journal)
    world.server.did.clear()


def recovered(world: World) -> Result:
    (found,) = recovery.recover(world.target)
    assert not recovery.is_needed(world.journal)
    operation = world.journal.operation(IDENTITY)
    assert operation is not None
    assert (operation.state, operation.result["sentence"]) == (found.state, found.sentence)
    assert 0 <= found.seconds < 600
    return found


POINTS = {
    ("write", 1): ("restored", []),
    ("write", 2): ("restored", []),
    ("configtest", 1): ("done", ["whm"]),
    ("restart", 1): ("done", ["whm"]),
    ("verify", 1): ("done", ["whm"]),
}


@pytest.mark.parametrize("point", POINTS)
def test_forward_if_every_file_is_written_else_back(world: World, point: tuple[str, int]) -> None:
    state, did = POINTS[point]
    before = world.bytes
    killed(world, *point)
    found = recovered(world)
    assert (found.state, world.server.did, found.problem) == (state, did, None)
    assert (world.bytes == before) is (state == "restored")
    assert all(b"SSLUseStapling Off" in world.bytes[path.name] for path in world.tree.pre) is (
        state == "done"
    )
    how = (
        "has been finished: 2 sites tested, without" if state == "done" else "taken back; everything is as it"
    )
    assert found.sentence.startswith("'off' was interrupted and ")
    assert how in found.sentence
    directions = [
        each.detail["direction"] for each in world.journal.steps(IDENTITY) if each.name == "recover"
    ]
    assert directions == ["forward" if state == "done" else "back"]


def test_the_way_forward_is_in_the_history_too(world: World) -> None:
    killed(world, "configtest")
    recovered(world)
    assert world.steps == ["write", "write", "configtest", "recover", "restart", "whm-said"]


FORWARD: dict[str, tuple[list[str], Mapping[str, Any], str, str, list[str]]] = {
    "httpd refuses it": (["Bad"], {}, "restored", "configtest-failed", []),
    "httpd refuses what was there too": (["Bad", "Bad"], {}, "failed", "configtest-failed", []),
    "WHM has no API": ([], {"failure": Problem("whmapi-missing", "None."), "whm": []}, "restored",
                       "whmapi-missing", ["whm"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FORWARD)
def test_where_there_is_no_way_forward_it_goes_back(world: World, case: str) -> None:
    words, facts, state, code, did = FORWARD[case]
    before = world.bytes
    killed(world, "configtest")
    world.words = list(words)
    having(world.server, **facts)
    found = recovered(world)
    assert found.problem is not None
    assert (found.state, found.problem.code, world.bytes) == (state, code, before)
    assert [each for each in world.server.did if each == "whm"] == did
    assert ("could not be taken back: Apache does not run" in found.sentence) is (state == "failed")


def test_what_httpd_says_is_kept(world: World) -> None:
    killed(world, "configtest")
    world.words = ["Syntax error"]
    found = recovered(world)
    assert found.problem is not None
    assert found.problem.detail == "Syntax error"


@pytest.mark.parametrize(("step", "did"), [("restart", ["SIGUSR1"]), ("write", [])])
def test_on_the_way_back_apache_reads_its_files_only_if_it_may_have_read_others(
    world: World, step: str, did: list[str]
) -> None:
    killed(world, step)
    if step == "restart":
        world.tree.pre[0].write_bytes(b"# an editor's\n")
    assert recovered(world).state == "restored"
    assert world.server.did == did


def test_an_apache_that_is_down_is_started_on_the_way_back(world: World) -> None:
    killed(world, "write", 2)
    stopped(world.server)
    assert recovered(world).state == "restored"
    assert world.server.parent == NEXT


@pytest.mark.parametrize("restarts", [False, True])
def test_without_a_site_that_answers_after_the_way_back_it_says_failed(
    world: World, monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    """Unless somebody else's restart is under way, which is waited for."""
    killed(world, "restart")
    world.tree.pre[0].write_bytes(b"# an editor's\n")
    until = world.server.now + 9 if restarts else NEVER
    having(world.server, root_runs=lambda server, _program: restarts and server.now < until)
    met = world.server.handshakes

    def refused(doors: Sequence[Door], **how: Any) -> Sequence[Handshake]:
        world.server.sleep(0.1)
        down = world.server.now < until
        return [Handshake(each, True, 0.0, "refused") for each in doors] if down else met(doors, **how)

    monkeypatch.setattr(verify, "handshakes", refused)
    found = recovered(world)
    assert found.state == ("restored" if restarts else "failed")
    assert ("no site answers" in found.sentence) is not restarts
    assert ("Try: /usr/local/cpanel/scripts/restartsrv_httpd" in found.sentence) is not restarts


def test_where_its_end_cannot_be_kept_apache_is_not_restarted_at_each_look(world: World) -> None:
    killed(world, "verify")
    before, database = world.bytes, world.journal._database
    assert database is not None
    database.execute("PRAGMA query_only = ON")
    assert recovery.recover(world.target) == []
    assert (world.server.did, world.bytes) == ([], before)
    assert any(
        "is not brought to its end" in detail["sentence"]
        for name, detail, _ in world.shown
        if name == "recover"
    )


def test_what_goes_wrong_in_a_way_that_nobody_thought_of_does_not_stand_in_every_commands_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(world, "restart")
    monkeypatch.setattr(restart, "restart", lambda *_, **__: 1 // 0)
    found = recovered(world)
    assert found.problem is not None
    assert (found.state, found.problem.code) == ("failed", "unexpected")


def test_a_plan_that_another_version_wrote_is_brought_to_its_end_too(world: World) -> None:
    killed(world, "restart")
    database = world.journal._database
    assert database is not None
    database.execute("UPDATE operations SET plan = ?", ('{"verification": [{"where": "a.test"}, 7]}',))
    assert recovered(world).state == "done"


def test_what_cannot_be_put_back_is_told_and_never_called_restored(world: World) -> None:
    killed(world, "write", 2)
    path = world.tree.pre[0]
    path.unlink()
    path.mkdir()
    found = recovered(world)
    assert found.state == "failed"
    assert "regular file" in found.sentence
    assert found.problem is not None


def test_a_restart_by_whm_that_goes_on_without_us_is_waited_for_first(world: World) -> None:
    killed(world, "restart")
    begun = world.server.now
    stopped(world.server)
    having(
        world.server,
        root_runs=lambda server, program: program == "restartsrv_httpd" and server.now < begun + 9,
    )
    assert recovered(world).state == "done"
    assert world.server.now - begun > 9


def test_a_change_that_needs_httpd_conf_rebuilt_is_rebuilt_on_the_way_forward(world: World) -> None:
    world.tree.conf(named=())
    killed(world, "configtest", 1, world.plan())
    world.server.rebuild = lambda _: world.tree.conf()
    assert recovered(world).state == "done"
    assert world.steps[-3:] == ["rebuild", "restart", "whm-said"]


def test_one_whose_rebuild_shows_no_effect_goes_back_and_leaves_files_that_httpd_conf_may_name(
    world: World,
) -> None:
    for path in world.tree.pre:
        path.unlink()
    world.tree.conf(named=())
    killed(world, "configtest", 1, world.plan())
    found = recovered(world)
    assert found.problem is not None
    assert (found.state, found.problem.code) == ("restored", "include-not-read")
    assert world.tree.pre[0].read_bytes() == b""
    assert "SIGUSR1" in world.server.did


@pytest.mark.parametrize("off", [True, False])
def test_of_a_single_site_it_is_seen_that_the_site_is_off(world: World, off: bool) -> None:
    directory = world.tree.layout.userdata / "ssl/2_4/user/a.test"
    own = "    DocumentRoot /home/user/public_html\n"
    world.tree.conf(sites={"a.test": own, "b.test": ""})
    made = plan.make(site_wish("off", "a.test"), world.tree.situation())
    assert made.rebuild
    killed(world, "configtest", 1, made)

    def rebuild(_server: Server) -> None:
        if off:
            world.tree.conf(sites={"a.test": f"{own}    Include {directory}/*.conf\n", "b.test": ""})

    having(world.server, rebuild=rebuild, reads=lambda server: having(server, staple=None))
    found = recovered(world)
    assert (found.state, found.problem and found.problem.code) == (
        ("done", None) if off else ("restored", "include-not-read")
    )


def test_where_a_cache_goes_apache_is_stopped_and_started_forward_and_back(world: World) -> None:
    world.tree.conf(ssl=SSL.replace("SSLStaplingCache", "#").replace("SSLUseStapling On", ""))
    made = world.plan("on", write_on=True)
    assert (made.cache_now, made.cache_then) == (False, True)
    killed(world, "restart", 1, made)
    world.tree.pre[0].write_bytes(b"# an editor's\n")
    assert recovered(world).state == "restored"
    assert world.server.did[0] == "stop"


def test_the_same_forward(world: World) -> None:
    made = replace(world.plan(), cache_now=True, cache_then=False)
    killed(world, "restart", 1, made)
    assert recovered(world).state == "done"
    assert (world.server.did[0], "whm" in world.server.did) == ("stop", False)


def test_several_are_brought_to_their_ends_the_newest_first(world: World) -> None:
    path = world.tree.pre[0]
    for number in range(2):
        world.journal.begin("off", "root", "", {}, [FileRecord(path, b"# theirs\n", b"x")], f"n{number}")
    having(world.server, whm=[(1.0, read)])
    assert [each.operation for each in recovery.recover(world.target)] == ["n1", "n0"]


def signalled(room: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a signal come right when a function is called for the first time."""
    real: Callable[..., Any] = getattr(room, name)

    def struck(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(room, name, real)
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*given, **named)

    monkeypatch.setattr(room, name, struck)


@pytest.mark.parametrize("moment", ["snapshot", "replace", "_refuse_changed", "_swap", "_unwritten"])
def test_a_signal_while_files_go_back_waits_until_all_are_back(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = world.bytes
    killed(world, "write", 2)
    signalled(files, moment, monkeypatch)
    done: list[Sequence[Result]] = []
    with taken_back(), pytest.raises(Problem) as caught:
        recovery.recover(world.target, done.append)
    assert caught.value.code == "interrupted"
    (ended,) = done
    assert [(each.state, each.problem) for each in ended] == [("restored", None)]
    assert world.bytes == before
    assert not recovery.is_needed(world.journal)


def signalled_in_main(world: World, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have a signal come once the script has stopped, or is about to start, Apache; both run in the main thread."""
    real: Callable[[float], bool] = getattr(world.server, script)

    def struck(seconds: float) -> bool:
        monkeypatch.setattr(api, script, real)
        if script == "stop_httpd":
            real(seconds)
        os.kill(os.getpid(), signal.SIGTERM)
        return script == "stop_httpd" or real(seconds)

    monkeypatch.setattr(api, script, struck)
    monkeypatch.setattr(running, "_until_started", lambda _apache, begin: begin(1.0))


def test_an_editors_bytes_survive_a_signal_in_the_middle_of_the_exchange(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(world, "write", 2)
    path, real = world.tree.pre[0], files._swap

    def edited(one: Any, other: Any) -> bool:
        """Somebody saves the file in the moment before the exchange, and a signal comes in the one after it."""
        monkeypatch.setattr(files, "_swap", real)
        other.write_bytes(other.read_bytes() + b"# an editor's\n")
        swapped = real(one, other)
        os.kill(os.getpid(), signal.SIGTERM)
        return swapped

    monkeypatch.setattr(files, "_swap", edited)
    with taken_back(), pytest.raises(Problem):
        recovery.recover(world.target)
    assert path.read_bytes() == b"# theirs\n# an editor's\n"
    assert not recovery.is_needed(world.journal)


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("script", ["stop_httpd", "start_httpd"])
def test_a_signal_between_stop_and_start_leaves_no_apache_down(
    world: World, monkeypatch: pytest.MonkeyPatch, forward: bool, script: str
) -> None:
    made = replace(world.plan(), cache_now=forward, cache_then=not forward)
    killed(world, "restart", 1, made)
    if not forward:
        world.tree.pre[0].write_bytes(b"# an editor's\n")
    signalled_in_main(world, monkeypatch, script)
    with taken_back(), pytest.raises(Problem) as caught:
        recovery.recover(world.target)
    assert caught.value.code == "interrupted"
    assert world.server.parent == NEXT
    assert not recovery.is_needed(world.journal)


@pytest.mark.parametrize("script", ["stop_httpd", "start_httpd"])
def test_nor_does_one_in_a_change(world: World, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    made, before = replace(world.plan(), cache_now=True, cache_then=False), world.bytes
    signalled_in_main(world, monkeypatch, script)
    with taken_back():
        found = world.run(made)
    assert found.problem is not None
    assert (found.state, found.problem.code, world.bytes) == ("restored", "interrupted", before)
    assert world.server.parent == NEXT


def test_a_signal_while_whms_restart_is_waited_for_ends_the_wait_and_the_next_command_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(world, "restart")
    signalled(whm_restart, "await_whm", monkeypatch)
    with taken_back(), pytest.raises(Problem) as caught:
        recovery.recover(world.target)
    assert caught.value.code == "interrupted"
    assert world.server.did == []
    assert recovered(world).state == "done"


def test_after_a_recovery_a_signal_takes_the_change_back_as_ever(world: World) -> None:
    killed(world, "write", 2)
    with taken_back():
        recovered(world)
        with pytest.raises(Problem, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
