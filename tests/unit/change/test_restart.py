"""The ladder of restarts: which rung is taken when, how long what is waited for, and who is ended for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.change import restart, running, whm_restart
from ocsp_stapling.change.restart import RestartOutcome
from ocsp_stapling.change.whm_restart import Patience, RestartError
from ocsp_stapling.problem import Problem
from ocsp_stapling.whm import api
from tests.unit.change.simulated import (
    FRESH,
    NEVER,
    NEXT,
    OLD,
    PARENT,
    SITE,
    Server,
    old_workers_hang,
    read,
    simulate,
    started,
    stopped,
)

PATIENCE = Patience()
STAPLES = replace(SITE, staple=True)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return simulate(monkeypatch, Server(tmp_path, whm=[(1.0, read)]))


def having(server: Server, **facts: Any) -> Server:
    for name, value in facts.items():
        setattr(server, name, value)
    return server


def restarted(
    server: Server, samples: Any = (SITE,), *, stalled: bool = False, **how: bool
) -> RestartOutcome:
    return restart.restart(server.apache, samples, PATIENCE, stalled=stalled, report=server.report, **how)


def refused(server: Server, samples: Any = (SITE,), *, stalled: bool = False, **how: bool) -> RestartError:
    with pytest.raises(RestartError) as caught:
        restarted(server, samples, stalled=stalled, **how)
    return caught.value


def always(_server: Server) -> bool:
    return True


def until_started_anew(server: Server) -> bool:
    return server.parent == PARENT


LADDER: dict[str, tuple[bool, Mapping[str, Any], list[str], set[Any]]] = {
    "WHM restarts it and all is well": (False, {}, ["whm-api"], set()),
    "WHM says that it did, and did nothing": (False, {"whm": []}, ["whm-api", "signal-parent"], set()),
    "the workers of before hang on": (
        True,
        {"hangs": old_workers_hang},
        ["whm-api", "end-old-workers"],
        set(OLD),
    ),
    "nobody knew that they hang": (
        False,
        {"hangs": old_workers_hang},
        ["whm-api", "end-old-workers"],
        set(OLD),
    ),
    "WHM puts it off while visitors wait": (
        True,
        {"hangs": lambda server: not server.workers & FRESH, "whm": [(40.0, read)], "answers": NEVER},
        ["whm-api", "end-old-workers", "signal-parent"],
        set(OLD),
    ),
    "only stopping and starting helps": (
        True,
        {"hangs": until_started_anew},
        ["whm-api", "end-old-workers", "stop-start"],
        set(OLD),
    ),
    "WHM leaves it stopped": (False, {"whm": [(0.5, stopped)]}, ["whm-api", "start"], set()),
    "WHM stops it and starts it much later": (
        False,
        {"whm": [(0.5, stopped), (60.0, started)], "answers": 61.0},
        ["whm-api"],
        set(),
    ),
    "the same while visitors wait": (
        True,
        {"whm": [(0.5, stopped), (60.0, started)], "answers": 61.0, "hangs": old_workers_hang},
        ["whm-api"],
        set(),
    ),
    "its pid file names another process": (
        False,
        {"pid_in_file": 4711},
        ["signal-parent", "whm-api"],
        set(),
    ),
}


@pytest.mark.parametrize("case", LADDER)
def test_no_rung_is_harder_than_it_must_be(server: Server, case: str) -> None:
    stalled, facts, rungs, ended = LADDER[case]
    outcome = restarted(having(server, **facts), stalled=stalled)
    assert server.rungs == rungs
    assert server.ended == ended
    assert (outcome.alive, outcome.reloaded, outcome.verdict.served) == (True, True, True)


ONE, OTHER = sorted(OLD, key=lambda each: each.pid)
DOWNLOADS: dict[str, tuple[Mapping[str, Any], set[Any]]] = {
    "WHM's restart comes late": ({"whm": [(5.0, read)], "answers": 6.0}, {OTHER}),
    "the others make room enough": ({"hangs": lambda server: OTHER in server.workers}, {OTHER}),
    "it is in the way itself": ({"hangs": lambda server: ONE in server.workers}, set(OLD)),
}


@pytest.mark.parametrize("case", DOWNLOADS)
def test_a_worker_that_serves_somebody_is_ended_only_where_visitors_wait_without_that(
    server: Server, case: str
) -> None:
    facts, ended = DOWNLOADS[case]
    restarted(having(server, serving=frozenset({ONE}), **facts), stalled=True)
    assert server.ended == ended


def test_each_rung_says_why_it_is_taken(server: Server) -> None:
    restarted(having(server, hangs=until_started_anew, whm=[]), stalled=True)
    first, *rest = (each for each in server.reports if each["name"] == "restart")
    assert first["workers"] == len(OLD)
    assert [(each["rung"], each["because"].partition(".")[0]) for each in rest] == [
        ("signal-parent", "WHM reported a restart, but Apache has not read its configuration anew"),
        ("end-old-workers", "1 of 1 sites did not complete a handshake in 1"),
        ("stop-start", "1 of 1 sites did not complete a handshake in 5"),
    ]


def test_what_whm_says_is_kept_but_for_what_is_too_long(server: Server) -> None:
    restarted(having(server, said=" x" * 400 + " the end \n"))
    (told,) = (each["said"] for each in server.reports if each["name"] == "whm-said")
    assert (len(told), told[-8:]) == (500, " the end")
    server.reports.clear()
    restarted(having(server, said=""))
    assert [each["name"] for each in server.reports] == ["restart"]


def test_an_apache_that_whm_left_stopped_is_started_and_that_is_said(server: Server) -> None:
    left = frozenset({*OLD})
    outcome = restarted(having(server, whm=[(0.5, stopped)], orphaned=left))
    assert outcome.rungs == ("whm-api", "start")
    assert [each for each in outcome.warnings if "left Apache stopped" in each]
    assert server.ended == set(left), "orphans keep the ports"
    assert server.did == ["whm", "end", "systemctl reset-failed httpd.service", "start"]
    assert server.reports[-1]["because"] == "WHM reported a restart, but Apache is not running."


def test_where_cpanels_script_cannot_start_it_httpd_is_called(server: Server) -> None:
    restarted(having(server, whm=[(0.5, stopped)], starts=False))
    assert server.did[-2:] == ["start", "httpd -f httpd.conf -k start"]
    assert server.parent == NEXT


@pytest.mark.parametrize("comes_up", [True, False])
def test_a_start_is_waited_for_while_an_httpd_comes_up_and_is_never_ended(
    server: Server, comes_up: bool
) -> None:
    """Thousands of sites are read for longer than anybody would wait for a script that does nothing."""
    go, given = threading.Event(), []

    def start_slowly(seconds: float) -> None:
        given.append(seconds)
        if go.wait(30) and comes_up:
            started(server)

    def looked_for(now: Server, program: str) -> bool:
        now.now += 10.0 if program == "httpd" else 0.0
        if now.now > 1100:
            go.set()
        return comes_up and program == "httpd"

    having(server, parent=None, start_httpd=start_slowly, root_runs=looked_for)
    try:
        assert running.start(server.apache)
    finally:
        go.set()
    assert given[0] > 600
    by_itself = "httpd -f httpd.conf -k start"
    assert (server.did[-1] == by_itself) is not comes_up
    assert (server.now < 1060) is not comes_up


def test_an_apache_that_cannot_be_started_at_all_is_an_error_that_says_dead(server: Server) -> None:
    error = refused(having(server, whm=[(0.5, stopped)], starts=False, httpd_starts=False))
    assert (error.problem.code, error.reloaded) == ("httpd-dead", True)


UNMOVED = {"whm": [], "obeys": False, "stops": False, "starts": False, "end": lambda _: 0}
FAILURES: dict[str, tuple[bool, Mapping[str, Any], str, bool]] = {
    "no API": (False, {"whm": [], "failure": Problem("whmapi-missing", "None.")}, "whmapi-missing", False),
    "an API that refuses": (False, {"whm": [], "failure": Problem("whmapi-failed", "No.")}, "whmapi-failed", True),
    "no answer and no restart": (False, {"whm": [], "answers": NEVER}, "whmapi-timeout", True),
    "no restart, whatever is done": (False, UNMOVED, "restart-without-effect", False),
    "sites that hang whatever is done": (True, {"hangs": always, "plain_hangs": always}, "still-stalling", True),
    "staples that go on": (False, {"staple": b"staple"}, "no-staple", True),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_a_restart_that_failed_says_why_and_whether_apache_may_have_read_its_files(
    server: Server, case: str
) -> None:
    stalled, facts, code, reloaded = FAILURES[case]
    error = refused(having(server, **facts), stalled=stalled)
    assert (error.problem.code, error.reloaded) == (code, reloaded)
    assert (error.verdict is not None) is (code in ("still-stalling", "no-staple"))


PAGE = Problem("whmapi-failed", "WHM's API refused it.", "<html>503</html>")
ACTED: dict[str, tuple[bool, Mapping[str, Any], tuple[str, ...]]] = {
    "it died meanwhile": (False, {"whm": [(0.5, stopped)]}, ("whm-api", "start")),
    "it read its files": (False, {}, ("whm-api",)),
    "it does so a moment later": (False, {"whm": [(2.0, read)]}, ("whm-api",)),
    "it read them, and its workers hang on": (
        True,
        {"hangs": old_workers_hang},
        ("whm-api", "end-old-workers"),
    ),
}


@pytest.mark.parametrize("case", ACTED)
def test_an_api_that_fails_is_forgiven_where_apache_was_restarted_all_the_same(
    server: Server, case: str
) -> None:
    """Taking back what visitors have been seen to be served with would bring the outage back."""
    stalled, facts, rungs = ACTED[case]
    outcome = restarted(having(server, **facts, failure=PAGE), stalled=stalled)
    assert (outcome.rungs, outcome.verdict.served) == (rungs, True)
    assert outcome.warnings[0] == "Apache was restarted all the same, but WHM's API refused it."
    assert {"name": "whm-said", "said": "<html>503</html>"} in server.reports


def test_an_apache_that_whm_stopped_and_never_starts_is_started_after_the_limit(server: Server) -> None:
    having(server, whm=[(0.5, stopped)], answers=NEVER)
    begun = server.now
    outcome = restarted(server)
    assert outcome.rungs == ("whm-api", "start")
    assert PATIENCE.api < server.now - begun < PATIENCE.api + 60
    assert any("did not answer" in each for each in outcome.warnings)


@pytest.mark.parametrize("stalled", [False, True])
def test_whms_word_is_not_waited_for_forever_once_apache_serves(server: Server, stalled: bool) -> None:
    begun = server.now
    outcome = restarted(having(server, answers=NEVER), stalled=stalled)
    assert outcome.rungs == ("whm-api",)
    (told,) = outcome.warnings
    assert told.startswith(
        "Apache restarted and serves, but WHM's API was asked to restart Apache and did not answer within 2"
    )
    assert 20 < server.now - begun < 30


def test_without_an_answer_and_without_a_restart_it_is_waited_for_as_long_as_a_large_server_takes(
    server: Server,
) -> None:
    begun = server.now
    error = refused(having(server, whm=[], answers=NEVER))
    assert PATIENCE.api <= server.now - begun < PATIENCE.api + 60
    assert "within 260 seconds" in error.problem.sentence
    assert server.ended == set()


def test_while_visitors_wait_a_restart_without_a_sign_is_given_up_after_seconds(server: Server) -> None:
    begun = server.now
    restarted(having(server, hangs=lambda now: not now.workers & FRESH, whm=[], answers=NEVER), stalled=True)
    assert 8 < server.now - begun < 20


def test_a_parent_at_work_is_a_sign_of_a_restart(server: Server) -> None:
    """Thousands of sites take their time: the processor time of the parent shows that it reads them."""

    def work(now: Server) -> None:
        now.ticks += 5
        if now.ticks < 200:
            now.after(0.5, work)

    having(server, whm=[(0.5, work), (19.0, read)], answers=19.5, hangs=lambda now: not now.workers & FRESH)
    assert restarted(server, stalled=True).rungs == ("whm-api",)


def test_the_workers_that_hang_are_ended_while_whm_waits_for_them_and_not_at_once(server: Server) -> None:
    at: list[Any] = []
    server.whm = [(0.9, lambda now: at.append(set(now.ended)))]

    def stop_when_free(now: Server) -> None:
        if now.workers:
            now.after(0.1, stop_when_free)
            return
        at.append(now.now)
        stopped(now)
        now.after(0.5, started)

    begun = server.now
    having(server, whm=[*server.whm, (1.0, stop_when_free)], answers=6.0, hangs=old_workers_hang)
    assert restarted(server, stalled=True).rungs == ("whm-api",)
    assert at[0] == set()
    assert 2.0 <= at[1] - begun < 2.5
    assert [each["because"] for each in server.reports if each.get("rung") == "end-old-workers"] == [
        "Its workers hang, and a stop would wait for them."
    ]


STAPLED: dict[str, tuple[Mapping[str, Any], bool, str]] = {
    "no staple comes": ({}, False, "no-staple"),
    "visitors wait, those that ask for none do not": ({"hangs": always}, False, "still-stalling"),
    "visitors wait, the cache is empty": ({"hangs": always}, True, ""),
    "no staple comes, the cache is empty": ({}, True, "no-staple"),
}


@pytest.mark.parametrize("case", STAPLED)
def test_a_responder_that_fails_is_no_reason_for_a_harder_restart(server: Server, case: str) -> None:
    facts, cold, code = STAPLED[case]
    having(server, **facts)
    if code:
        assert refused(server, [STAPLES], cold=cold).problem.code == code
    else:
        outcome = restarted(server, [STAPLES], cold=cold)
        assert outcome.verdict.sentence.startswith(
            "Apache serves, and is still fetching staples: 1 of 1 sites"
        )
    assert server.rungs == ["whm-api"]


def test_with_an_empty_cache_it_is_watched_for_longer(server: Server) -> None:
    begun = server.now
    having(server, hangs=lambda now: now.now < begun + 15, staple=b"staple")
    outcome = restarted(server, [STAPLES], cold=True)
    assert (outcome.rungs, outcome.verdict.as_wanted) == (("whm-api",), True)


def test_with_an_empty_cache_an_apache_that_serves_nobody_is_still_a_failure(server: Server) -> None:
    error = refused(having(server, hangs=always, plain_hangs=always), [STAPLES], cold=True)
    assert error.problem.code == "still-stalling"
    assert server.rungs == ["whm-api", "end-old-workers", "stop-start"]


@pytest.mark.parametrize("stops", [True, False])
def test_where_the_last_cache_goes_apache_is_stopped_and_started_at_once(server: Server, stops: bool) -> None:
    outcome = restarted(having(server, stops=stops), whole=True)
    assert (outcome.rungs, server.parent) == (("stop-start",), NEXT)
    assert server.did[0] == "stop"
    assert "whm" not in server.did
    assert server.ended == (set() if stops else {PARENT, *OLD})
    assert [each["rung"] for each in server.reports] == ["stop-start"]
    assert "no SSLStaplingCache" in server.reports[0]["because"]


def test_an_apache_that_stops_by_itself_in_time_is_not_ended(server: Server) -> None:
    having(server, stops=False).after(0.5, stopped)
    restarted(server, whole=True)
    assert server.ended == set()


BACK: dict[str, tuple[Mapping[str, Any], Mapping[str, bool], list[str], bool]] = {
    "it runs, and read nothing": ({}, {"reload": False}, [], True),
    "it is down": (
        {"parent": None},
        {"reload": False},
        ["end", "systemctl reset-failed httpd.service", "start"],
        True,
    ),
    "it is down for good": (
        {"parent": None, "starts": False, "httpd_starts": False},
        {"reload": True},
        ["end", "systemctl reset-failed httpd.service", "start", "httpd -f httpd.conf -k start"],
        False,
    ),
    "it read what is taken back": ({}, {"reload": True}, ["SIGUSR1"], True),
    "it reads nothing, whatever it is sent": (
        {"obeys": False},
        {"reload": True},
        [*["SIGUSR1"] * 3, "stop", "end", "systemctl reset-failed httpd.service", "start"],
        True,
    ),
    "its old workers hang": ({"hangs": old_workers_hang}, {"reload": True}, ["SIGUSR1", "end"], True),
    "a cache goes with it": (
        {},
        {"reload": True, "whole": True},
        ["stop", "end", "systemctl reset-failed httpd.service", "start"],
        True,
    ),
    "a cache would go, but it was never read": ({}, {"reload": False, "whole": True}, [], True),
}


@pytest.mark.parametrize("case", BACK)
def test_on_the_way_back_apache_runs_and_no_more_is_done_to_it_than_that_takes(
    server: Server, case: str
) -> None:
    facts, how, did, runs = BACK[case]
    having(server, **facts)
    whole = how.get("whole", False)
    found = restart.ensure_running(server.apache, [SITE], PATIENCE, reload=how["reload"], whole=whole)
    assert (found, server.did) == (runs, did)
    assert server.ended <= OLD


def test_on_the_way_back_a_signal_that_apache_forgot_is_sent_again(server: Server) -> None:
    def obey(now: Server) -> None:
        now.obeys = True

    having(server, obeys=False).after(1.0, obey)
    assert restart.ensure_running(server.apache, [SITE], PATIENCE, reload=True)
    assert server.did == ["SIGUSR1", "SIGUSR1"]


def test_on_the_way_back_staples_are_no_matter(server: Server) -> None:
    having(server, staple=b"staple")
    assert restart.ensure_running(server.apache, [SITE], PATIENCE, reload=True)
    assert server.ended == set()


def test_on_the_way_back_an_apache_that_the_signal_ended_is_started(server: Server) -> None:
    having(server, send=lambda _process, _number: stopped(server))
    assert restart.ensure_running(server.apache, [SITE], PATIENCE, reload=True)
    assert server.did[-1] == "start"


def runs(*programs: str, until: float = NEVER) -> Callable[[Server, str], bool]:
    return lambda server, program: program in programs and server.now < 1000 + until


AWAITED: dict[str, tuple[Mapping[str, Any], float, float]] = {
    "nobody restarts it": ({}, 0, 0),
    "cPanel's script is at work": ({"root_runs": runs("restartsrv_httpd", until=30)}, 30, 31),
    "its API was called and has not begun": ({"root_runs": runs("whmapi1")}, 2, 3),
    "its API stopped it": ({"root_runs": runs("whmapi1", until=30), "parent": None}, 30, 31),
    "a script that never ends": ({"root_runs": runs("restartsrv_httpd")}, PATIENCE.api, PATIENCE.api + 1),
    "a short call": ({"root_runs": runs("whmapi1", until=1)}, 1, 2),
}


@pytest.mark.parametrize("case", AWAITED)
def test_a_restart_that_nobody_waits_for_any_more_is_waited_for_while_it_is_under_way(
    server: Server, case: str
) -> None:
    facts, least, most = AWAITED[case]
    having(server, **facts)
    whm_restart.await_whm(server.apache, PATIENCE)
    assert least <= server.now - 1000 <= most


def test_on_the_way_back_a_restart_under_way_is_waited_for_before_anything_is_done(server: Server) -> None:
    having(server, root_runs=runs("restartsrv_httpd", until=5), parent=None).after(4.5, started)
    assert restart.ensure_running(server.apache, [SITE], PATIENCE, reload=True)
    assert server.did == ["SIGUSR1"]


READING: dict[str, tuple[float, float, float]] = {
    "at once": (0.0, 0.0, 1.0),
    "within a moment": (0.8, 0.5, 1.0),
    "after long work": (20.0, 19.9, 21.0),
    "never": (NEVER, 30.0, 31.0),
}


@pytest.mark.parametrize("case", READING)
def test_after_a_signal_a_parent_that_works_is_given_time_to_read_its_files(
    server: Server, case: str
) -> None:
    seconds, least, most = READING[case]

    def work(now: Server) -> None:
        now.ticks += 6
        now.after(0.5, work)

    having(server, obeys=False).after(0.1, work)
    mark, begun = server.apache.mark(), server.now
    server.after(seconds, read)
    server.sleep(0.0)
    assert running.wait_until_read(server.apache, mark) is (seconds < NEVER)
    assert least <= server.now - begun <= most


def test_after_a_signal_an_idle_parent_is_given_a_second(server: Server) -> None:
    begun = server.now
    assert not running.wait_until_read(server.apache, server.apache.mark())
    assert 1.0 <= server.now - begun < 1.1


def test_a_signal_waits_for_the_end_of_another_restart(server: Server) -> None:
    """Apache forgets a signal that comes while it reads its files."""

    def work(now: Server) -> None:
        now.ticks += 2
        if now.now < 1003:
            now.after(0.1, work)

    server.after(0.0, work)
    server.after(3.5, read)
    begun = server.now
    running.wait_until_quiet(server.apache)
    assert 3.3 <= server.now - begun < 3.5
    running.wait_until_quiet(server.apache)
    assert 0.3 <= server.now - begun - 3.4 < 0.9


def test_the_first_answer_of_whm_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call itself, in its thread: what it printed, or why it failed; and it is waited for, but never ended."""
    go = threading.Event()

    def answer(_seconds: float) -> str:
        go.wait(10)
        return "restarted"

    monkeypatch.setattr(api, "restart_httpd", answer)
    call = whm_restart._WhmCall()
    call.wait(0.01)
    assert (call.is_running, call.said) == (True, "")
    go.set()
    call.wait(10)
    assert (call.is_running, call.said, call.failure) == (False, "restarted", None)

    def fail(_seconds: float) -> str:
        raise Problem("whmapi-failed", "No.")

    monkeypatch.setattr(api, "restart_httpd", fail)
    failed = whm_restart._WhmCall()
    failed.wait(10)
    assert failed.failure is not None
    assert (failed.failure.code, failed.said) == ("whmapi-failed", "")
