"""Every log that Apache writes stapling's failures to is found, whoever writes it at the end of a pipe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocsp_stapling.server import state as server
from ocsp_stapling.server.logs import MOST_FILES, ErrorLogs, error_logs
from tests.unit.apache.real_apache import layout_at


def logs(base: Path, *lines: str) -> ErrorLogs:
    (base / "conf").mkdir(exist_ok=True)
    (base / "conf/httpd.conf").write_text("\n".join(lines) + "\n")
    return error_logs(server.look(layout=layout_at(base)))


def vhost(line: str) -> str:
    return f"<VirtualHost *:443>\nServerName a.test\n{line}\n</VirtualHost>"


@pytest.mark.parametrize(
    "line",
    [
        "ErrorLog {file}",
        'ErrorLog "{file}"',
        "ErrorLog own.log",
        'ErrorLog "|/usr/bin/rotatelogs {file} 86400"',
        'ErrorLog "|/usr/bin/rotatelogs -l {base}/own.%Y%m 86400"',
        'ErrorLog "||/usr/sbin/cronolog {file}"',
        'ErrorLog "|$/bin/sh -c \\"cat >> {file}\\" {file}"',
        'ErrorLog "|/usr/local/cpanel/bin/splitlogs --main=a.test --file={file}"',
    ],
)
def test_a_virtual_hosts_own_log_is_read_too(tmp_path: Path, line: str) -> None:
    file = tmp_path / "own.log"
    file.touch()
    (tmp_path / "own.202611").touch()
    os.utime(tmp_path / "own.log", (1, 1))
    found = logs(tmp_path, f"ServerRoot {tmp_path}", vhost(line.format(file=file, base=tmp_path)))
    wanted = tmp_path / "own.202611" if "%Y" in line else file
    assert found.files[1:] == (wanted,)


@pytest.mark.parametrize(
    "line",
    [
        "ErrorLog syslog:local1",
        "ErrorLog /nowhere/log",
        'ErrorLog "|/usr/bin/logger -t x"',
        'ErrorLog "|a \'b"',
        f"ErrorLog /{'long' * 80}",
        f'ErrorLog "|/usr/bin/rotatelogs /{"long" * 80}.%Y 86400"',
    ],
)
def test_what_leads_to_no_file_is_none(tmp_path: Path, line: str) -> None:
    assert len(logs(tmp_path, vhost(line)).files) == 1


def test_very_many_logs_are_bounded_and_counted(tmp_path: Path) -> None:
    for number in range(MOST_FILES + 5):
        (tmp_path / f"{number}.log").touch()
    found = logs(tmp_path, *(vhost(f"ErrorLog {tmp_path}/{number}.log") for number in range(MOST_FILES + 5)))
    assert (len(found.files), found.left_out) == (MOST_FILES + 1, 5)


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("", False),
        ("LogLevel warn", False),
        ("LogLevel crit", True),
        ("LogLevel warn ssl:crit", True),
        ("LogLevel emerg ssl:info", False),
        ("LogLevel warn mod_ssl.c:alert", True),
        ("LogLevel debug core:emerg", False),
    ],
)
def test_a_log_level_that_hides_the_failures_is_known(tmp_path: Path, line: str, hidden: bool) -> None:
    assert (logs(tmp_path, line).hidden_by is not None) is hidden


def test_a_log_is_read_once_under_however_many_names(tmp_path: Path) -> None:
    main = layout_at(tmp_path).error_log
    main.parent.mkdir(parents=True, exist_ok=True)
    main.touch()
    (tmp_path / "link.log").symlink_to(main)
    (tmp_path / "other.log").touch()
    lines = [vhost(f"ErrorLog {path}") for path in (main, tmp_path / "link.log", tmp_path / "other.log")]
    assert logs(tmp_path, *lines).files == (main, tmp_path / "other.log")


def test_only_whole_paths_of_a_program_are_taken_for_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "86400").touch()
    assert len(logs(tmp_path, vhost('ErrorLog "|/usr/bin/rotatelogs 86400"')).files) == 1
