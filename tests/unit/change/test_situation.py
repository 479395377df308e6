"""Where a site is met: the addresses of its virtual host, or those that Apache listens on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ocsp_stapling.apache.httpd import Httpd
from ocsp_stapling.change import plan
from ocsp_stapling.change.situation import linked_files
from tests.unit.change.made import Tree, wish


@pytest.mark.parametrize(
    ("directive", "there", "wanted"),
    [
        ("PidFile run/a.pid\n", ["run/a.pid"], "run/a.pid"),
        ("PidFile run/a.pid\n", ["a.pid"], "a.pid"),
        ("PidFile run/a.pid\n", [], "run/a.pid"),
        ("", ["httpd.pid", "compiled.pid"], "httpd.pid"),
        ("", ["compiled.pid"], "compiled.pid"),
        ("", [], "httpd.pid"),
    ],
)
def test_the_pid_file_is_found_where_apache_writes_it(
    directive: str, there: list[str], wanted: str, tmp_path: Path
) -> None:
    made = Tree(tmp_path)
    made.conf(early=directive)
    (tmp_path / "run").mkdir()
    for name in there:
        (tmp_path / name).write_text("1\n")
    httpd = Httpd(made.layout)
    made.layout.httpd.write_text(
        f"#!/bin/sh\necho ' -D HTTPD_ROOT=\"{tmp_path}\"'\necho ' -D DEFAULT_PIDLOG=\"compiled.pid\"'\n"
    )
    made.layout.httpd.chmod(0o755)
    found = httpd.pid_file(made.situation().tree)
    assert found == tmp_path / wanted


def test_a_site_is_not_met_at_an_address_that_is_not_this_servers(tmp_path: Path) -> None:
    now = Tree(tmp_path).situation()
    assert plan.make(wish("off"), now).samples
    assert plan.make(wish("off"), replace(now, own=frozenset({"198.51.100.1"}))).samples == ()


def test_a_linked_file_is_known_by_its_real_path(tmp_path: Path) -> None:
    made = Tree(tmp_path)
    (tmp_path / "real.conf").write_text("")
    made.pre[0].symlink_to(tmp_path / "real.conf")
    assert linked_files(made.situation().tree) == {tmp_path / "real.conf": (made.pre[0],)}


def test_a_certificate_that_is_a_fifo_holds_nothing_up(tmp_path: Path) -> None:
    made = Tree(tmp_path)
    (tmp_path / "plain.pem").unlink()
    os.mkfifo(tmp_path / "plain.pem")
    first = made.situation().server.endpoints[0]
    assert (first.responder, first.problem) == ("", "certificate-unreadable")
