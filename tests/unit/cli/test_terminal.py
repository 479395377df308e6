"""What people see at a terminal: it fits, says first what matters, and asks before it does anything."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
from click.testing import CliRunner

from ocsp_stapling import cli, settings
from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.check import gather, result, since
from ocsp_stapling.check.evidence import ConfigurationEvidence, OwnSwitch
from ocsp_stapling.cli import check as face
from ocsp_stapling.cli import history, output, status
from ocsp_stapling.cli.check_text import as_text
from ocsp_stapling.cli.metrics import metrics
from ocsp_stapling.cli.ticket import ticket
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.problem import Problem
from ocsp_stapling.shield.standing import ShieldEvidence
from tests.unit.check.diagnosis.made import evidence, responder
from tests.unit.web import made


@pytest.fixture(params=[60, 80, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(output, "columns", lambda: request.param)
    return int(request.param)


def document(state: str) -> dict[str, Any]:
    return result.judged(made.everything()[state]).document()


@pytest.mark.parametrize("state", sorted(made.everything()))
def test_a_check_fits_the_terminal(state: str, width: int) -> None:
    found = document(state)
    commands = [one["command"] for one in found["responders"] if one["command"]]
    lines = click.unstyle(as_text(found, monitoring=False)).splitlines()
    wide = [line for line in lines if len(line) > width and " " in line.strip()]
    assert [line for line in wide if not any(each[:40] in line for each in commands)] == []


@pytest.mark.parametrize("state", ["stalling", "healthy", "off-by-us"])
def test_verdict_and_next_step_come_first_in_a_box(state: str, width: int) -> None:
    found = document(state)
    box, _, rest = click.unstyle(as_text(found, monitoring=False)).partition("\n\n")
    words = " ".join(line.strip("|+- ") for line in box.splitlines()).split()
    told = f"{found['monitoring_state']}: {found['sentence']} Next step: {found['advice_sentence']}"
    assert words == told.split()
    assert "Next step" not in rest
    assert "slowest_handshake" not in rest


def test_while_stapling_is_off_the_sites_that_firefox_refuses_are_named() -> None:
    told = "Firefox refuses 3 Must-Staple sites while it is off: site007.sectigo.example, site007.digicert.example"
    assert told in as_text(document("off-by-us"))
    assert "Firefox refuses" not in as_text(document("healthy"))


def test_off_a_terminal_lines_stay_whole() -> None:
    found = document("stalling")
    first = click.unstyle(as_text(found)).splitlines()[0]
    assert first.startswith(f"OCSP STAPLING CRITICAL - {found['sentence']} | slowest_handshake=")


def test_a_table_too_wide_is_broken_in_its_widest_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "columns", lambda: 40)
    words = "some words that do not fit in one line"
    shown = output.table([("a", words, "b")])
    assert max(map(len, shown.splitlines())) <= 40
    assert shown.splitlines()[0].startswith("  a  some words")
    assert sorted(shown.split()) == sorted(
        ["a", "some", "words", "that", "do", "not", "fit", "in", "one", "line", "b"]
    )


@pytest.mark.parametrize(
    ("state", "command"), [("stalling", ["off"]), ("healthy", []), ("off-by-us", ["on"])]
)
@pytest.mark.parametrize("answer", [True, False])
def test_a_recommended_change_is_asked_about(
    state: str, command: list[str], answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    asked: list[tuple[str, bool]] = []

    def confirm(text: str, default: bool) -> bool:
        asked.append((text, default))
        return answer

    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(os, "execv", lambda _, words: started.append(list(words[4:])))
    monkeypatch.setattr(click, "confirm", confirm)
    face._offer(document(state))
    assert asked == ([(f"Do it now (ocsp-stapling {' '.join(command)})?", False)] if command else [])
    assert started == ([command] if answer and command else [])


@pytest.mark.parametrize("as_json", [False, True])
def test_check_watch_repeats_until_ctrl_c_and_says_so_in_one_line(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    states, waits = iter(["stalling", "stalling", "healthy"]), []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    def leave(status: int) -> NoReturn:
        raise SystemExit(status)

    monkeypatch.setattr(face, "finish_interrupted", lambda _configured: None)
    monkeypatch.setattr(face, "run_check", lambda *_given, **_more: document(next(states)))
    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as ended:
        face.check.main(["--watch", "7", *(["--json"] if as_json else [])])
    told = capsys.readouterr()
    assert ended.value.code == document("healthy")["exit_status"]
    assert waits == [7.0, 7.0, 7.0]
    if as_json:
        seen = [json.loads(line)["monitoring_state"] for line in told.out.splitlines()]
    else:
        seen = re.findall("^OCSP STAPLING ([A-Z]+)", told.out, re.MULTILINE)
    assert seen == ["CRITICAL", "CRITICAL", "OK"]
    assert told.err.split("\n") == ["", "Ended after 3 checks.", ""]


def test_a_name_too_long_for_its_column_is_broken_behind_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "columns", lambda: 40)
    rows = [("->", "/etc/apache2/conf.d/includes/pre_virtualhost_2.conf:5", "SSLUseStapling Off")]
    shown = output.table(rows).splitlines()
    assert max(map(len, shown)) <= 40
    assert all(line[6:].split()[0][-1] in "/_.:" for line in shown[:-1])


def test_a_number_stays_with_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "columns", lambda: 60)
    rows = [("0.03 s", "write", "/etc/apache2/conf.d/includes/pre_virtualhost_global.conf")]
    assert output.table(rows).splitlines()[0].startswith("  0.03 s  write")


@pytest.mark.parametrize("state", sorted(made.everything()))
def test_no_word_of_the_program_s_own_stands_in_a_check_for_people(state: str, width: int) -> None:
    text = click.unstyle(as_text(document(state), monitoring=False))
    told = re.sub(r"\[[a-z-]+\]|/\S+|\S+\.\S+", "", text)  # codes in brackets, paths and names may stand
    assert not re.search(r"\b(noisy?|severity|reply-timeout|connect-timeout|managed-block|met)\b", told)


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colour_gets_none(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ocsp-stapling", "log", "/dev/null"])
    given: list[Any] = []
    monkeypatch.setattr(cli, "group", lambda **options: given.append(options.get("color")))
    for wanted in (None, False):
        with pytest.raises(SystemExit):
            cli.main()
        assert given.pop() is wanted
        monkeypatch.setenv(variable, value)


@pytest.mark.parametrize(
    ("encoding", "read_as"), [("ascii", "utf-8"), ("utf-8", "utf-8"), ("latin-1", "latin-1")]
)
def test_what_a_terminal_cannot_show_is_a_question_mark_and_no_error(encoding: str, read_as: str) -> None:
    code = (
        "from ocsp_stapling import cli; import click; cli.group = lambda **_: click.echo('St\\xf6rung \\udcff');"
        " cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout.decode(read_as), done.stderr) == (0, "Störung ?\n", b"")


def test_what_only_root_may_read_is_said_to_need_root(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**_options: object) -> NoReturn:
        raise PermissionError(13, "Permission denied", "/var/lib/ocsp-stapling/journal.sqlite")

    monkeypatch.setattr(cli, "group", refused)
    monkeypatch.setattr(sys, "argv", ["ocsp-stapling", "metrics"])
    for uid, code in ((0, "system-refused"), (99, "not-root")):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        with pytest.raises(SystemExit):
            cli.main()
        assert f"[{code}]" in capsys.readouterr().err


def test_colour_takes_no_room_when_a_line_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    since = {"off_since": "2026-11-24T03:45:07+00:00", "off_by": "root", "reason": "why not"}
    found = {"stapling": "off", **since}
    monkeypatch.setattr(status, "table", lambda _: "")
    monkeypatch.setattr(status, "_rows", lambda _: [])
    monkeypatch.setattr(status, "_local", lambda _: "2026-11-24 03:45:07 UTC (just now)")
    monkeypatch.setattr(output, "columns", lambda: 80)
    told = status._text(found)
    assert "\x1b[" in told
    assert click.unstyle(told) == (
        "Stapling is off since 2026-11-24 03:45:07 UTC (just now), by root: why not.\n"
    )


def test_what_only_root_could_read_is_not_told_as_missing_to_anybody_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "config.toml"
    written.write_text(f'state_directory = "{tmp_path / "none"}"\n')
    written.chmod(0o600)
    monkeypatch.setenv(settings.PATH_VARIABLE, str(written))
    monkeypatch.setattr(os, "geteuid", lambda: 99)
    monkeypatch.setattr(os, "access", lambda *_: False)
    for command, words in ((metrics, []), (ticket, ["--last"])):
        found = CliRunner().invoke(command, words).exception
        assert isinstance(found, Problem)
        assert found.code == "not-root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    refused = CliRunner().invoke(metrics, ["--output", str(tmp_path / "none/x")]).exception
    assert isinstance(refused, OSError)
    assert refused.filename == str(tmp_path / "none/x"), (
        "the name that was given, not that of a file beside it"
    )


@pytest.mark.parametrize(
    ("state", "changed", "step"),
    [
        ("OK", None, ""),
        ("CRITICAL", None, "Turn stapling off now."),
        ("CRITICAL", "2026-11-24T03:40:00+00:00", "Turn stapling off now."),
        ("CRITICAL", "2026-11-24T03:50:00+00:00", "before the last change"),
    ],
)
def test_what_a_check_advised_is_no_next_step_after_a_change(
    state: str, changed: str | None, step: str
) -> None:
    last = {
        "monitoring_state": state,
        "checked_at": "2026-11-24T03:45:00+00:00",
        "advice_sentence": "Turn stapling off now.",
        "stapling": "on",
    }
    told = status._next_step(last, {"started": changed} if changed else None, "on")
    assert step in told if step else told == ""


def test_what_a_check_advised_is_no_next_step_after_somebody_turned_stapling_off_by_hand() -> None:
    last = {
        "monitoring_state": "CRITICAL",
        "checked_at": "2026-11-24T03:45:00+00:00",
        "advice_sentence": "Turn stapling off now.",
        "stapling": "on",
    }
    assert "stapling was on when the last one was made" in status._next_step(last, None, "off")
    assert status._next_step(last | {"stapling": None}, None, "off") == "Turn stapling off now."


def test_the_effect_is_what_visitors_meet_also_where_no_site_is_served_or_firefox_refuses_some() -> None:
    assert "Effect: no site is served." in as_text(document("apache-down"))
    told = "Effect: Firefox refuses 3 sites; other visitors notice nothing."
    assert told in as_text(document("off-by-us"))


def test_a_check_says_that_the_shield_is_on_and_what_it_holds() -> None:
    shielded = replace(made.healthy(), shield=ShieldEvidence(True, 119, 120))
    told = as_text(result.judged(shielded).document())
    assert re.search(r"Shield +on; 119 of 120 answers held", told)
    assert not re.search(r"^  Shield", as_text(document("healthy")), re.MULTILINE)


def test_a_check_names_the_sites_that_are_off_alone_and_says_whether_their_responder_answers() -> None:
    one = made.responder("ocsp.own.example", 1)
    told = as_text(result.judged(replace(made.healthy(), turned_off=(one,))).document())
    assert f"off alone for {one.sites[0].name}, whose responder ocsp.own.example answers" in told
    assert "off alone" not in as_text(document("healthy"))


def test_a_result_that_cannot_be_kept_is_told_all_the_same_and_that_the_page_shows_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(gather, "survey", lambda _request: made.healthy())
    monkeypatch.setattr(result, "store", full)
    found = face.run_check(settings.Settings(state_directory=tmp_path))
    assert found["cause"] == "healthy"
    told = "This result is not kept (No space left on device): page and status show the one before it."
    assert told in capsys.readouterr().err


def test_a_history_that_is_lost_is_not_told_as_nothing_switched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = settings.Settings(state_directory=tmp_path)
    with Journal(tmp_path) as journal:
        history._show_all(journal, 5, as_json=False, settings=shown)
    assert "Nothing was switched yet." in capsys.readouterr().out
    (tmp_path / "journal.sqlite").write_bytes(b"damaged " * 1000)
    with Journal(tmp_path):
        pass
    with Journal(tmp_path) as journal:
        history._show_all(journal, 5, as_json=False, settings=shown)
        assert "was put aside as" in journal.missing
    assert "Nothing was switched yet." not in capsys.readouterr().out
    assert status._unknown("managed-block") == "not in the history"
    assert status._unknown("template") == "none through this plugin"


@pytest.mark.parametrize("armed", [True, False])
def test_the_status_says_that_stapling_returns_by_itself(tmp_path: Path, armed: bool) -> None:
    shown = settings.Settings(state_directory=tmp_path)
    with Journal(tmp_path) as journal:
        plan = {"stapling_then": "off", "return_when_healthy": armed}
        journal.finish(journal.begin("off", "root", "", plan, ()).id, "done", {})
    assert ("healthy 0 of 3 looks" in status._return(shown, "off")) is armed
    assert status._return(shown, "on") == ""


def test_a_ticket_about_the_last_check_says_what_was_changed_since(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = tmp_path / "config.toml"
    written.write_text(f'state_directory = "{tmp_path}"\n')
    written.chmod(0o600)
    monkeypatch.setenv(settings.PATH_VARIABLE, str(written))
    off = ConfigurationEvidence(on=False, origin=Origin.PLUGIN)
    found = evidence(responder("alpha", Outcome.CONNECT_TIMEOUT), configuration=off)
    result.store(tmp_path, result.judged(found))
    assert "Changed:" not in CliRunner().invoke(ticket, ["--last"]).output
    with Journal(tmp_path) as journal:
        made = journal.begin("on", "root", "", {"stapling_then": "on", "stapling_now": "off"}, ())
        journal.finish(made.id, "done", {"sentence": "2 sites tested."})
    told = CliRunner().invoke(ticket, ["--last"]).output
    assert "Changed:  Stapling was turned on; what the check before it found may be over by now." in told
    assert "Check again before this is sent" in told


def test_after_a_change_that_was_made_httpd_is_not_said_to_refuse_its_configuration(tmp_path: Path) -> None:
    file = "/etc/apache2/conf.d/userdata/ssl/2_4/anna/a.test/zzz.conf"
    own = (OwnSwitch("a.test", f"{file}:5", True), OwnSwitch("b.test", "/etc/b.conf:1", True))
    before = evidence(configuration=ConfigurationEvidence(on=True, refused="AH00526", own_off=own))
    with Journal(tmp_path) as journal:
        plan = {"stapling_then": "on", "stapling_now": "on", "changes": [{"path": file}]}
        journal.finish(journal.begin("on", "root", "", plan, ()).id, "done", {})
        (change,) = journal.operations()
    after, _ = since.up_to_date(before, [change])
    assert after.configuration.refused == ""
    assert [one.site for one in after.configuration.own_off] == ["b.test"]


def test_what_a_change_under_way_writes_is_not_called_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path) as journal:
        journal.begin("off", "root", "", {"stapling_then": "off", "stapling_now": "on"}, ())
        operations = journal.operations()
    monkeypatch.setattr(since, "_switched_elsewhere", lambda found: (found, "somebody"))

    assert since.up_to_date(evidence(), operations)[1] is None
    assert since.up_to_date(evidence(), [])[1] is not None
