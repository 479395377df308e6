"""`ocsp-stapling log` as a command: its JSON contract, its words, its behaviour in pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ocsp_stapling import text
from ocsp_stapling.apache import layout
from ocsp_stapling.cli import group
from tests.unit.apache.errorlog_lines import FIXTURES, SUMMARY, TIMEOUT, failure, line

COMMAND = [sys.executable, "-c", "from ocsp_stapling.cli import main; main()", "log"]
KEYS = ["line_number", "time", "pid", "code", "kind", "responder", "site", "stapling", "answer"]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


def objects(*arguments: str, **options: Any) -> list[dict[str, Any]]:
    done = run(*arguments, "--json", **options)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_json_is_one_object_a_line_with_exactly_these_keys() -> None:
    found = objects(str(FIXTURES / "event.log"))
    assert all(list(one) == KEYS for one in found)
    assert found[8] == {
        "line_number": 14,
        "time": found[8]["time"],
        "pid": found[8]["pid"],
        "code": "AH01977",
        "kind": "responder-timeout",
        "responder": None,
        "site": None,
        "stapling": True,
        "answer": None,
    }
    lines = (FIXTURES / "event.log").read_text().splitlines()
    assert all(one["code"] in lines[one["line_number"] - 1] for one in found)


def test_hostile_responders_stay_json() -> None:
    evil = TIMEOUT.replace(
        "AH01985: error reading response from OCSP server",
        "AH01974: could not connect to OCSP responder '%s'",
    )
    text = line(evil % '"},\\\x1b[31m\ufffd') + "\n"
    assert objects("-", input=text)[0]["responder"] == '"},\\\x1b[31m\ufffd'


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0"])
def test_standard_input_is_read(name: str) -> None:
    assert [one["line_number"] for one in objects(name, input="x\n" + failure())] == [2, 3]


def test_a_live_stream_is_printed_as_it_comes() -> None:
    with subprocess.Popen(
        [*COMMAND, "-", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(failure().encode())
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        process.stdin.close()
    assert first["code"] == "AH01974"


def test_of_another_machines_log_the_times_stay_as_they_stand(tmp_path: Path) -> None:
    there = tmp_path / "error_log"
    there.write_text(failure(time="Tue Nov 24 03:41:07.123456 2026"))
    shown = CliRunner().invoke(group, ["log", str(there)]).output
    assert "  2026-11-24 03:41:07  ocsp.example.com  " in shown
    assert text.zone() not in shown


def test_people_get_totals_responders_and_the_last_ones() -> None:
    done = run(str(FIXTURES / "event.log"))
    assert done.returncode == 0
    assert done.stdout.startswith("16 stapling failures in the whole file")
    assert "localhost:33619" not in done.stderr
    assert "no answer in time" in done.stdout
    assert "certificate revoked or unknown to its CA" in done.stdout


def test_terminal_escapes_do_not_reach_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "error_log"
    log.write_text(
        failure(cause="(1)x: [client 1.2.3.4:5] AH01974: could not connect to OCSP responder 'a\x1b[2Jb'")
    )
    assert "\x1b" not in run(str(log)).stdout


def test_an_apache_that_stapling_kept_from_starting_is_no_good_news() -> None:
    told = run(str(FIXTURES / "without-cache.log")).stdout
    assert told.startswith("Stapling kept Apache from starting; no failures at handshakes in the whole file.")
    assert "No stapling failures" not in told


def test_an_empty_log_is_no_failure(tmp_path: Path) -> None:
    log = tmp_path / "error_log"
    log.touch()
    done = run(str(log))
    assert (done.returncode, done.stdout) == (0, "No stapling failures in the whole file.\n")
    assert objects(str(log)) == []


def test_since_limits_the_period(tmp_path: Path) -> None:
    log = tmp_path / "error_log"
    now = datetime.now()
    ages = [timedelta(days=3), timedelta(hours=5), timedelta(minutes=5)]
    log.write_text("".join(failure(time=(now - age).strftime("%a %b %d %H:%M:%S.%f %Y")) for age in ages))
    counts = {period: len(objects(str(log), "--since", period)) for period in ("all", "24h", "1h")}
    assert counts == {"all": 6, "24h": 4, "1h": 2}
    assert len(objects(str(log))) == 6
    text = log.read_text()
    assert len(objects("-", "--since", "1h", input=text)) == 2


def test_without_a_file_the_servers_log_of_the_last_day_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now()
    logs = tmp_path / "logs"
    logs.mkdir()
    for name, age in (("error_log", 0), ("error_log.1", 5), ("error_log.2", 50)):
        when = now - timedelta(hours=age, minutes=1)
        (logs / name).write_text(failure(time=when.strftime("%a %b %d %H:%M:%S.%f %Y")))
        os.utime(logs / name, (when.timestamp(), when.timestamp()))
    paths_conf = tmp_path / "paths.conf"
    paths_conf.write_text(f"file_error_log={logs / 'error_log'}\n")
    monkeypatch.setattr(layout.read_layout, "__defaults__", (paths_conf,))
    done = CliRunner().invoke(group, ["log"])
    assert done.exit_code == 0
    assert done.output.startswith("2 stapling failures in the last 24 hours, 1 in the last hour.")
    last = f"  {text.when(now.astimezone() - timedelta(minutes=1))}  ocsp.example.com  "
    assert "The last one: 1 minute ago." in done.output
    assert last in done.output.splitlines()[-3]


def test_what_the_log_level_of_one_virtual_host_hides_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "error_log").touch()
    conf = tmp_path / "httpd.conf"
    conf.write_text("<VirtualHost *:443>\nServerName a.test\nLogLevel warn ssl:emerg\n</VirtualHost>\n")
    paths_conf = tmp_path / "paths.conf"
    paths_conf.write_text(f"file_error_log={tmp_path / 'error_log'}\nfile_conf={conf}\ndir_base={tmp_path}\n")
    monkeypatch.setattr(layout.read_layout, "__defaults__", (paths_conf,))
    told = " ".join(CliRunner().invoke(group, ["log"]).output.split())
    assert told.startswith("No stapling failures are logged in the last 24 hours.")
    assert "A LogLevel of virtual hosts keeps stapling's errors of theirs out of the log:" in told
    assert "httpd.conf:3" in told.replace(" ", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_reader_that_leaves_early_causes_no_trace(tmp_path: Path, as_json: bool) -> None:
    log = tmp_path / "error_log"
    log.write_text(failure() * 20_000)
    flags = ["--json"] if as_json else []
    with subprocess.Popen(
        [*COMMAND, str(log), *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_problem_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    done = run(str(tmp_path / "none"))
    assert done.returncode == 1
    assert " ".join(done.stderr.split()) == (
        f"ocsp-stapling: There is no error log {tmp_path / 'none'}. [log-not-found]"
    )
    told = run(str(tmp_path / "none"), "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["error"]["code"] == "log-not-found"


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = run(str(tmp_path / "pipe"))
    assert done.returncode == 1
    assert "[log-not-a-file]" in done.stderr


def test_the_command_starts_without_the_heavy_libraries(tmp_path: Path) -> None:
    code = (
        "import sys; from ocsp_stapling.cli import group; "
        f"group(['log', {str(tmp_path / 'error_log')!r}], standalone_mode=False); "
        "print(sorted({'cryptography', 'OpenSSL', 'requests', 'dns'} & set(sys.modules)))"
    )
    (tmp_path / "error_log").write_text(line(SUMMARY))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
