"""What the log says is weighed: waits before the last change are over, and a silenced log proves nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from ocsp_stapling.apache.tree import Directive
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.check import surroundings
from ocsp_stapling.check.evidence import LogEvidence
from ocsp_stapling.check.surroundings import (
    SILENT_YET,
    apache_asks,
    no_all_clear,
    read_configuration,
    read_host,
    since_the_change,
    unless_hidden,
)
from ocsp_stapling.server.logs import ErrorLogs
from tests.unit.change.made import Tree

CONF = Path("/etc/apache2/conf/httpd.conf")
HIDING = Directive("LogLevel", "crit", CONF, 12, None, (), True, False, "LogLevel crit")
ENDED = datetime(2026, 11, 22, 3, 41, 0).timestamp()  # naive: local, as the log's own times are


@pytest.mark.parametrize(
    ("last", "kept"), [("2026-11-22T03:40:59.5", 0), ("2026-11-22T03:41:09", 0), ("2026-11-22T03:41:40", 3)]
)
def test_waits_that_a_change_has_ended_are_not_fresh(tmp_path: Path, last: str, kept: int) -> None:
    log = LogEvidence(9, 9, last, fresh_timeouts=3)
    assert since_the_change(log, tmp_path) == log
    with Journal(tmp_path, clock=lambda: ENDED) as journal:
        journal.finish(journal.begin("off", "root", "outage", {}, ()).id, "done", {})
    assert since_the_change(log, tmp_path).fresh_timeouts == kept


def test_a_log_level_that_hides_stapling_is_named_where_the_log_says_nothing() -> None:
    logs = ErrorLogs((), client_checks=False, hidden_by=HIDING)
    silent, told = unless_hidden(LogEvidence(), logs), LogEvidence(1, 2, "2026-11-22T03:41:09")
    assert silent.unreadable == (
        "Apache does not log stapling's errors: LogLevel crit (/etc/apache2/conf/httpd.conf:12)."
    )
    assert unless_hidden(told, logs) == replace(told, unheard=silent.unreadable)
    of_one = replace(logs, hidden_by=None, hidden_for=(HIDING,))
    assert unless_hidden(LogEvidence(), of_one).unreadable == ""
    assert "LogLevel crit" in unless_hidden(LogEvidence(), of_one).unheard


def test_while_visitors_wait_a_log_without_failures_is_no_all_clear() -> None:
    told, hidden = LogEvidence(1, 2, "2026-11-22T03:41:09"), LogEvidence(unreadable="It cannot be read.")
    assert no_all_clear(LogEvidence()).unheard == SILENT_YET
    assert no_all_clear(LogEvidence(unheard="One is not read.")).unheard == f"One is not read. {SILENT_YET}"
    assert (no_all_clear(told), no_all_clear(hidden)) == (told, hidden)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (
            "AH00526: Syntax error on line 6 of /etc/a.conf:\nSSLStaplingCache cannot occur",
            "/etc/a.conf line 6",
        ),
        (
            "AH00526: Syntax error on line 1 of macro 'v' (defined on line 3 of \"/etc/m.conf\") used on line 13 of "
            '"/etc/u.conf":\nInvalid command on line 2 of /etc/no.conf',
            "/etc/u.conf line 13",
        ),
        (
            "[core:warn] AH00111: Config variable ${S} is not defined\n"
            "AH00526: Syntax error on line 1 of /etc/p.conf:\nSSLUseStapling must be On or Off",
            "/etc/p.conf line 1",
        ),
        ("httpd gave no reason.", ""),
    ],
)
def test_the_place_that_httpd_names_is_told_also_where_a_macro_is_used(
    tmp_path: Path, words: str, place: str
) -> None:
    made = Tree(tmp_path)
    made.conf()
    assert read_configuration(made.situation().server, words).refused_at == place
    assert unless_hidden(LogEvidence(), ErrorLogs((), client_checks=False)) == LogEvidence()


@pytest.mark.parametrize("directive", ["PidFile run/other.pid\n", "PidFile other.pid\n"])
def test_apache_is_found_by_its_own_pid_file_wherever_it_is_looked_for(
    directive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a change: beneath ServerRoot or in the run directory."""
    made = Tree(tmp_path)
    made.conf(early=directive)
    (tmp_path / "other.pid").write_text("1\n")
    tree, looked_at = made.situation().tree, list[Path]()
    monkeypatch.setattr(surroundings, "parent", lambda path, _httpd: looked_at.append(path))
    monkeypatch.setattr(surroundings, "STALL_SECONDS", 0.0)

    assert apache_asks(made.layout, tree, threading.Event(), time.monotonic() + 60) == {}
    assert not read_host(made.layout, tree, "nobody").apache_running
    assert looked_at == [tmp_path / "other.pid"] * 2
