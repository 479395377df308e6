"""What the log says is weighed: waits before the last change are over, and a silenced log proves nothing."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from ocsp_stapling.apache.tree import Directive
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.check import surroundings
from ocsp_stapling.check.evidence import LogEvidence
from ocsp_stapling.check.surroundings import apache_asks, read_host, since_the_change, unless_hidden
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
    silent, told = unless_hidden(LogEvidence(), HIDING), LogEvidence(1, 2, "2026-11-22T03:41:09")
    assert silent.unreadable == (
        "Apache does not log stapling's errors: LogLevel crit (/etc/apache2/conf/httpd.conf:12)."
    )
    assert unless_hidden(told, HIDING) == told
    assert unless_hidden(LogEvidence(), None) == LogEvidence()


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
