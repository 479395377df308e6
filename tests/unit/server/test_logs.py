"""Every log that Apache writes stapling's failures to is found, whoever writes it at the end of a pipe."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ocsp_stapling.apache.errorlog.read import FOREIGN_BYTES
from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.check import report
from ocsp_stapling.check.diagnosis import Action, Confidence, Severity, diagnose
from ocsp_stapling.check.evidence import ConfigurationEvidence, SteeringLine
from ocsp_stapling.check.incident.look import look_at
from ocsp_stapling.check.surroundings import read_log
from ocsp_stapling.server import logs as server_logs
from ocsp_stapling.server import state as server
from ocsp_stapling.server.logs import MOST_FILES, ErrorLogs, error_logs
from ocsp_stapling.settings import WatchSettings
from ocsp_stapling.watch.logcount import LogReader
from ocsp_stapling.watch.observe import observe
from tests.unit.apache.real_apache import layout_at
from tests.unit.check.diagnosis.made import evidence, responder


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
        'ErrorLog "|/usr/bin/rotatelogs {base}/turned.log 86400"',
    ],
)
def test_a_virtual_hosts_own_log_is_read_too(tmp_path: Path, line: str) -> None:
    file = tmp_path / "own.log"
    file.touch()
    (tmp_path / "own.202611").touch()
    for began in ("1795996800", "1796083200"):  # rotatelogs' own ending where its name holds no time
        (tmp_path / f"turned.log.{began}").touch()
    os.utime(tmp_path / "turned.log.1795996800", (1, 1))
    os.utime(tmp_path / "own.log", (1, 1))
    found = logs(tmp_path, f"ServerRoot {tmp_path}", vhost(line.format(file=file, base=tmp_path)))
    wanted = "own.202611" if "%Y" in line else "turned.log.1796083200" if "turned" in line else "own.log"
    assert found.files[1:] == (tmp_path / wanted,)
    assert not found.unheard


def test_names_that_fit_a_pattern_in_countless_ways_take_no_time(tmp_path: Path) -> None:
    """An account holder chooses the names in the account's own folder."""
    for number in range(5):
        (tmp_path / f"own.{'-' * 240}{number}").touch()
    (tmp_path / "own.2026-12-01-00_00_00.log").touch()
    began = time.process_time()
    found = logs(tmp_path, vhost(f'ErrorLog "|rotatelogs {tmp_path}/own.%Y-%m-%d-%H_%M_%S.log 86400"'))
    assert time.process_time() - began < 0.2
    assert found.files[1:] == (tmp_path / "own.2026-12-01-00_00_00.log",)


@pytest.mark.parametrize("value", ["syslog:local1", '"|/usr/bin/logger -t x"', "/dev/null"])
def test_a_log_that_goes_where_it_cannot_be_read_is_named(tmp_path: Path, value: str) -> None:
    (told,) = logs(tmp_path, vhost(f"ErrorLog {value}")).unheard
    assert told.startswith("What goes to syslog, a program or a device is not read: ErrorLog ")
    assert f"{tmp_path}/conf/httpd.conf:3" in told
    (of_all,) = logs(tmp_path, f"ErrorLog {value}").unheard
    assert "httpd.conf:1" in of_all
    assert not logs(tmp_path, f"ErrorLog {value}", "ErrorLog conf/httpd.conf").unheard


@pytest.mark.parametrize("value", ["syslog:local1", '"|/usr/bin/logger -t x"', '"|/bin/rotatelogs {own}"'])
def test_where_the_servers_own_log_leads_elsewhere_those_of_sites_are_read_all_the_same(
    tmp_path: Path, value: str
) -> None:
    """No file is missed that Apache does not write; one that it left there is still read."""
    own, main = tmp_path / "own.log", layout_at(tmp_path).error_log
    own.touch()
    found = logs(tmp_path, f"ErrorLog {value.format(own=own)}", vhost(f"ErrorLog {own}"))
    assert found.roots == (own,)
    assert not read_log(found, datetime.now(UTC)).unreadable
    assert not read_log(
        logs(tmp_path, f"ErrorLog {value.format(own=tmp_path / 'none')}"), datetime.now(UTC)
    ).unreadable
    main.parent.mkdir(exist_ok=True)
    main.touch()
    assert main in logs(tmp_path, f"ErrorLog {value.format(own=own)}").roots


def test_a_full_disk_is_said_of_a_silent_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = layout_at(tmp_path).error_log
    main.parent.mkdir(exist_ok=True)
    main.touch()
    assert not logs(tmp_path, "LogLevel warn").unheard
    full = os.statvfs_result((4096, 4096, 100, 5, 0, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    assert logs(tmp_path, "LogLevel warn").unheard == (
        f"The disk of {main} is full, so Apache cannot log there.",
    )


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


def test_of_a_folder_full_of_names_few_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A customer can fill the folder of a log of theirs, and hide behind it all that a check has no time for then."""
    monkeypatch.setattr(server_logs, "_NAMES_READ", 60)
    monkeypatch.setattr(server_logs, "_LOOKED_AT", 5)
    for number in range(100):
        (tmp_path / f"own.log.{number}").touch()
    looked_at: list[str] = []
    is_file = Path.is_file

    def noted(path: Path) -> bool:
        looked_at.append(path.name)
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", noted)
    line = vhost(f'ErrorLog "|/usr/bin/rotatelogs {tmp_path}/own.log 86400"')
    assert len(logs(tmp_path, line).files) == 2
    assert len([name for name in looked_at if name.startswith("own.log")]) == 5
    assert len(server_logs._names_in(str(tmp_path))) == 60


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
        ("LogLevel emerg", True),
        ("LogLevel warn ssl:crit", True),
        ("LogLevel emerg ssl:info", False),
        ("LogLevel warn mod_ssl.c:alert", True),
        ("LogLevel debug core:emerg", False),
    ],
)
def test_a_log_level_that_hides_the_failures_is_known(tmp_path: Path, line: str, hidden: bool) -> None:
    assert (logs(tmp_path, line).hidden_by is not None) is hidden
    of_one = logs(tmp_path, vhost(line))
    assert (bool(of_one.hidden_for), of_one.hidden_by) == (hidden, None)


def test_of_several_log_levels_of_a_virtual_host_the_last_counts(tmp_path: Path) -> None:
    assert not logs(tmp_path, vhost("LogLevel ssl:emerg\nLogLevel warn")).hidden_for


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


FAILURE = (
    b"[WHEN] [ssl:error] [pid 9:tid 9] AH01974: could not connect to OCSP responder 'ocsp.example.com'\n"
    b"[WHEN] [ssl:error] [pid 9:tid 9] AH01941: stapling_renew_response: responder error\n"
)
FORGED = (
    "[{when}] [ssl:error] [pid 9:tid 9] (110)Connection timed out: [client 192.0.2.9:4] AH01974: could not connect "
    "to OCSP responder 'ocsp.example.com'\n"
    "[{when}] [ssl:error] [pid 9:tid 9] AH01941: stapling_renew_response: responder error\n"
    "[{when}] [ssl:error] [pid 9:tid 9] AH01945: stapling_renew_response: error caching response!\n"
    "[{when}] [ssl:error] [pid 9:tid 9] AH01958: SSLStapling: no stapling cache available\n"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
@pytest.mark.parametrize("whose", ["root's", "a customer's", "a customer's directory", "behind a link"])
def test_a_log_that_a_customer_can_write_does_not_say_that_visitors_wait_now(
    tmp_path: Path, whose: str
) -> None:
    """Forged lines in a log inside of an account are counted, and move no verdict."""
    home, now = tmp_path / "home", datetime.now(UTC)
    home.mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/error_log").touch()
    when = (now - timedelta(seconds=20)).astimezone().strftime("%a %b %d %H:%M:%S.%f %Y")
    real = tmp_path / "real.log" if whose == "behind a link" else home / "own.log"
    real.write_text(FORGED.format(when=when) * 5)
    if whose == "behind a link":
        (home / "own.log").symlink_to(real)
    if whose == "a customer's":
        os.chown(real, 4321, 4321)
    if whose in ("a customer's directory", "behind a link"):
        os.chown(home, 4321, 4321)
    _private(tmp_path)
    found = logs(tmp_path, f"ServerRoot {tmp_path}", vhost(f"ErrorLog {home}/own.log"))
    told, of_watch = read_log(found, now), LogReader(tmp_path / "state")(found, now)
    assert told.last_day == of_watch.last_day == 10
    died = "startup-fatal-no-cache"
    fresh = [(one.fresh_timeouts > 1, one.fresh_unkept > 1, died in one.kinds) for one in (told, of_watch)]
    assert fresh == [(whose == "root's",) * 3] * 2
    assert [bool(one.since) for one in (told, of_watch)] == [whose == "root's"] * 2


def test_a_second_reading_of_a_pass_keeps_since_when_a_responder_has_not_answered(tmp_path: Path) -> None:
    """While visitors wait the log is read once more, and then only what came since the first time."""
    now = datetime.now(UTC)
    log, read = tmp_path / "error_log", LogReader(tmp_path / "state")
    for minutes in (8, 0):
        at = (now - timedelta(minutes=minutes)).astimezone().strftime("%a %b %d %H:%M:%S.%f %Y")
        with log.open("a") as file:
            file.write(FORGED.format(when=at))
        found = read(ErrorLogs((log,), False), now)
    begun = (now - timedelta(minutes=8)).astimezone().replace(tzinfo=None, microsecond=0)
    assert set(found.since.values()) == {begun.isoformat()}


def test_lines_forged_in_apaches_own_log_make_a_check_warn_and_do_no_more(tmp_path: Path) -> None:
    """Under mod_cgid a script's standard error stands there as it is, and looks like Apache's own."""
    now = datetime.now(UTC)
    when = now.astimezone().strftime("%a %b %d %H:%M:%S.%f %Y")
    log = tmp_path / "error_log"
    log.write_text(FORGED.format(when=when) * 5)
    told = read_log(ErrorLogs((log,), False), now)
    assert told.fresh_timeouts > 1
    cache = SteeringLine("SSLStaplingCache", "shmcb:/run/apache2/stapling_cache_shmcb(256000)", "/a:1")
    quick = evidence(responder(), log=told, configuration=ConfigurationEvidence(cache=cache))

    found = diagnose(quick)

    document = report.document(quick, found)
    with Journal(tmp_path) as journal:
        seen = observe(document, journal, WatchSettings(), now.timestamp())
    assert (found.severity, found.action, found.confidence) == (
        Severity.FAILING,
        Action.NOTHING,
        Confidence.LOW,
    )
    assert (seen.stalled, seen.healthy) == (False, True)
    assert not look_at(document, "watch").opens
    off = replace(quick, configuration=ConfigurationEvidence(on=False, origin=Origin.PLUGIN))
    assert diagnose(off).action is Action.TURN_ON


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another group")
@pytest.mark.parametrize(
    ("group", "mode", "foreign"), [(0, 0o660, False), (4321, 0o640, False), (4321, 0o660, True)]
)
def test_a_log_that_a_group_can_write_may_hold_anybodys_lines(
    tmp_path: Path, group: int, mode: int, foreign: bool
) -> None:
    log = tmp_path / "own.log"
    log.touch()
    log.chmod(mode)
    os.chown(log, 0, group)
    _private(tmp_path)
    assert logs(tmp_path, vhost(f"ErrorLog {log}")).foreign == ((log,) if foreign else ())


def test_a_log_that_apache_may_not_write_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "own.log").touch()
    line = f"<IfModule mod_unheard_of.c>\nErrorLog {tmp_path}/own.log\n</IfModule>"
    assert len(logs(tmp_path, vhost(line)).files) == 1


def _terabyte(log: Path) -> None:
    """Of nothing, which costs no room; a failure is the last that is written."""
    with log.open("r+b") as file:
        file.seek(1 << 40)
        file.write(b"\n" + FAILURE)


def _full(log: Path) -> None:
    log.write_bytes(FAILURE * 200_000)


def _others(target: str) -> Callable[[Path], None]:
    def link(log: Path) -> None:
        log.unlink()
        log.symlink_to(target)

    return link


def _pipe(log: Path) -> None:
    log.unlink()
    os.mkfifo(log)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
@pytest.mark.parametrize(
    ("becomes", "counted"),
    [
        (_terabyte, 1),
        (_full, None),
        (_pipe, 0),
        (Path.unlink, 0),
        *((_others(f"/proc/{name}"), 0) for name in ("self/mem", "kmsg", "self/fd", "self/pagemap")),
        (_others("/dev/zero"), 0),
    ],
)
@pytest.mark.parametrize("read", ["at once", "by the watch"])
def test_whatever_a_customers_log_has_become_since_it_was_looked_at_it_hides_no_other(
    tmp_path: Path, becomes: Callable[[Path], None], counted: int | None, read: str
) -> None:
    """It cost each look its time, or the other logs what they say; a race no longer wins anything."""
    home, now = tmp_path / "home", datetime.now(UTC)
    home.mkdir()
    (tmp_path / "logs").mkdir()
    when = now.astimezone().strftime("%a %b %d %H:%M:%S.%f %Y").encode()
    (tmp_path / "logs/error_log").write_bytes(FAILURE.replace(b"WHEN", when))
    (home / "own.log").touch()
    os.chown(home, 4321, 4321)
    _private(tmp_path)
    found = logs(tmp_path, f"ServerRoot {tmp_path}", vhost(f"ErrorLog {home}/own.log"))
    assert found.foreign == (home / "own.log",)

    becomes(home / "own.log")
    if (home / "own.log").is_file() and counted != 0:
        _dated(home / "own.log", when)
    began = time.process_time()
    told = read_log(found, now) if read == "at once" else LogReader(tmp_path / "state")(found, now)

    assert time.process_time() - began < 5
    assert (told.unreadable, told.fresh_timeouts) == ("", 0)
    assert told.last_day == 1 + counted if counted is not None else 1000 < told.last_day < 100_000


def _dated(log: Path, when: bytes) -> None:
    """Give the last lines the time that makes them count."""
    with log.open("r+b") as file:
        begin = max(0, file.seek(0, os.SEEK_END) - FOREIGN_BYTES)
        file.seek(begin)
        tail = file.read().replace(b"WHEN", when)
        file.seek(begin)
        file.write(tail)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_logs_of_customers_crowd_out_none_of_roots(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    names = [f"home/{number}.log" for number in range(MOST_FILES + 5)] + ["roots.log"]
    for name in names:
        (tmp_path / name).touch()
    os.chown(tmp_path / "home", 4321, 4321)
    found = logs(
        tmp_path, f"ServerRoot {tmp_path}", *(vhost(f"ErrorLog {tmp_path}/{name}") for name in names)
    )
    assert (len(found.files), found.left_out) == (MOST_FILES + 1, 6)
    assert found.roots[1:] == (tmp_path / "roots.log",)


def _private(directory: Path) -> None:
    """Nobody but root may have written anything above, which pytest does not see to everywhere."""
    above = [each for each in directory.parents if each.stat().st_uid != 0]
    assert not above, above


def test_a_log_of_the_servers_own_form_is_read_by_check_watch_and_page(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    stamp = f"{now.astimezone():%Y-%m-%d %H:%M:%S.%f}"
    found = logs(
        tmp_path,
        f"ServerRoot {tmp_path}",
        'ErrorLogFormat "<%{cu}t> %l %m %P %M"',
        'ErrorLogFormat request "%{X}i"',
    )
    assert len(found.forms) == 1
    found.files[0].parent.mkdir(parents=True)
    found.files[0].write_text(f"<{stamp}> error ssl 7 AH01941: stapling_renew_response: responder error\n")
    assert read_log(found, now).last_hour == 1
    assert LogReader(tmp_path)(found, now).last_hour == 1


@pytest.mark.parametrize(
    ("line", "checked"), [("", False), ("SSLOCSPEnable leaf", True), ("SSLOCSPEnable off", False)]
)
def test_lines_can_be_about_client_certificates_only_where_these_are_checked(
    tmp_path: Path, line: str, checked: bool
) -> None:
    assert logs(tmp_path, line).client_checks is checked
