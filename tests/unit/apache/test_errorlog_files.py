"""The log as files: periods, rotation, gzip, bookmarks, and files that are none."""

from __future__ import annotations

import errno
import gzip
import json
import os
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ocsp_stapling.apache.errorlog import files
from ocsp_stapling.apache.errorlog.files import offset_of, opened
from ocsp_stapling.apache.errorlog.paste import Paste
from ocsp_stapling.apache.errorlog.read import Bookmark, entries, new_entries, pasted_entries
from ocsp_stapling.problem import Problem
from tests.unit.apache.errorlog_lines import TIME, failure

START = datetime(2026, 11, 22, 0, 0, 0)


def apache_time(when: datetime) -> str:
    return when.strftime("%a %b %d %H:%M:%S.%f %Y")


def failure_at(when: datetime, pid: int = 4711) -> str:
    return failure(pid, apache_time(when))


def foreign_at(when: datetime) -> str:
    return f"[{apache_time(when)}] [core:error] [pid 1:tid 1] [client 203.0.113.7:1] AH00126: Invalid URI\n"


def hours(count: int, first: datetime = START) -> str:
    """Return one failure an hour, and one foreign line before each."""
    times = (first + timedelta(hours=n) for n in range(count))
    return "".join(foreign_at(when) + failure_at(when) for when in times)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "error_log"


def set_mtime(path: Path, when: datetime) -> None:
    os.utime(path, (when.timestamp(), when.timestamp()))


def times(path: Path, since: datetime) -> list[str]:
    return [e.time[:13] for e in entries(path, since) if e.time and e.code == "AH01941"]


def test_a_period_begins_where_it_should_in_a_long_log(log: Path) -> None:
    filling = foreign_at(START - timedelta(days=9)) * 20_000
    log.write_text(filling + "".join(hours(24, START - timedelta(days=n)) for n in (3, 2, 1)))
    since = START - timedelta(hours=5)
    assert times(log, since) == [f"2026-11-21T{hour}" for hour in range(19, 24)]
    everything = [e for e in entries(log) if e.time and datetime.fromisoformat(e.time) >= since]
    assert list(entries(log, since)) == everything  # line numbers too


def test_the_search_by_time_skips_most_of_a_long_log(log: Path) -> None:
    log.write_text(foreign_at(START - timedelta(days=9)) * 50_000 + hours(3))
    with opened(log) as opened_log:
        assert offset_of(opened_log, START) > opened_log.size * 0.9


def test_lines_with_an_invented_past_hide_nothing(log: Path) -> None:
    lines = hours(48, START - timedelta(hours=47)).splitlines(keepends=True)
    invented = f"[{apache_time(START - timedelta(days=9999))}] [ssl:error] [pid 1] x\n"
    log.write_text("".join(line + invented * 40 for line in lines))
    assert len(times(log, START - timedelta(hours=23))) == 24


def test_a_gzipped_log_can_be_named(log: Path, tmp_path: Path) -> None:
    packed = tmp_path / "error_log.1.gz"
    packed.write_bytes(gzip.compress(hours(4).encode()))
    assert [e.line_number for e in entries(packed)] == [2, 3, 5, 6, 8, 9, 11, 12]
    assert len(times(packed, START + timedelta(hours=2))) == 2


def test_a_log_without_times_is_read_whole(log: Path) -> None:
    log.write_text("[ssl:error] [pid 1] AH01941: stapling_renew_response: responder error\n" * 3000)
    assert len(list(entries(log, START))) == 3000


def test_rotated_and_gzipped_neighbours_are_read_oldest_first(log: Path, tmp_path: Path) -> None:
    log.write_text(hours(2, START + timedelta(hours=6)))
    (tmp_path / "error_log.1").write_text(hours(2, START + timedelta(hours=4)))
    (tmp_path / "error_log-20261122.gz").write_bytes(
        gzip.compress(hours(2, START + timedelta(hours=2)).encode())
    )
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "error_log-11-2026.gz").write_bytes(gzip.compress(hours(2).encode()))
    set_mtime(tmp_path / "error_log.1", START + timedelta(hours=6))
    set_mtime(tmp_path / "error_log-20261122.gz", START + timedelta(hours=4))
    set_mtime(tmp_path / "archive" / "error_log-11-2026.gz", START + timedelta(hours=2))
    assert times(log, START) == [f"2026-11-22T0{hour}" for hour in range(8)]


def test_neighbours_are_left_alone_when_the_log_reaches_back(log: Path, tmp_path: Path) -> None:
    log.write_text(hours(4))
    (tmp_path / "error_log.1").write_text(hours(4))
    assert len(times(log, START + timedelta(hours=2))) == 2


def test_files_that_are_no_neighbours(log: Path, tmp_path: Path) -> None:
    log.write_text(foreign_at(START + timedelta(hours=9)))
    for name in ("error_log.bak", "error_log2", "error_log_old", "error_log.1.swp", "access_log.1"):
        (tmp_path / name).write_text(hours(4))
    (tmp_path / "elsewhere").write_text(hours(4))
    (tmp_path / "error_log.2").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "error_log.3")
    assert times(log, START) == []


def test_a_copy_in_the_making_is_not_counted_twice(log: Path, tmp_path: Path) -> None:
    log.write_text(hours(3))
    (tmp_path / "error_log.1").write_text(hours(3))
    assert len(times(log, START - timedelta(hours=9))) == 3


def test_a_damaged_archive_gives_what_it_has(log: Path, tmp_path: Path) -> None:
    packed = gzip.compress(hours(200).encode())
    log.write_text(foreign_at(START + timedelta(days=20)))
    (tmp_path / "error_log.1.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "error_log.2.gz").write_bytes(b"no gzip at all")
    assert 0 < len(times(log, START)) < 200


def test_a_log_rotated_while_it_is_read_loses_nothing(log: Path, tmp_path: Path) -> None:
    log.write_text(hours(3))
    reading = entries(log, START)
    first = next(reading)
    log.rename(tmp_path / "error_log.1")
    log.write_text(hours(2, START + timedelta(hours=3)))
    assert first.time
    assert sum(e.code == "AH01941" for e in reading) == 5


def test_a_log_emptied_while_it_is_read_does_no_harm(log: Path) -> None:
    log.write_text(hours(5000))
    reading = entries(log)
    next(reading)
    os.truncate(log, 0)
    assert sum(1 for _ in reading) < 10_000


def test_a_bookmark_goes_on_where_the_last_pass_stopped(log: Path) -> None:
    log.write_text(hours(2))
    first, mark = new_entries(log, None)
    again, same = new_entries(log, mark)
    with log.open("a") as stream:
        stream.write(hours(1, START + timedelta(hours=2)))
    news, _ = new_entries(log, mark)
    assert (len(first), len(again), len(news)) == (4, 0, 2)
    assert same == mark


def test_a_bookmark_survives_json(log: Path) -> None:
    log.write_text(hours(2))
    _, mark = new_entries(log, None)
    assert Bookmark(**json.loads(json.dumps(asdict(mark)))) == mark


def test_a_line_being_written_waits_for_the_next_pass(log: Path) -> None:
    text = hours(1)
    log.write_text(text + text[:-1])
    first, mark = new_entries(log, None)
    with log.open("a") as stream:
        stream.write("\n")
    second, _ = new_entries(log, mark)
    assert (len(first), len(second)) == (3, 1)


def test_after_a_rotation_the_rest_of_the_old_file_comes_first(log: Path, tmp_path: Path) -> None:
    log.write_text(hours(2))
    _, mark = new_entries(log, None)
    with log.open("a") as stream:
        stream.write(failure(pid=1))
    log.rename(tmp_path / "error_log.1")
    log.write_text(failure(pid=2))
    news, _ = new_entries(log, mark)
    assert [e.pid for e in news] == [1, 1, 2, 2]


def test_a_log_emptied_and_grown_again_is_recognised(log: Path) -> None:
    log.write_text(hours(2))
    _, mark = new_entries(log, None)
    with log.open("r+") as stream:  # the same inode, as "copytruncate" leaves it
        stream.truncate()
        stream.write(failure(pid=77) + hours(5))
    news, _ = new_entries(log, mark)
    assert news[0].pid == 77
    assert len(news) == 12


def test_a_first_pass_reads_its_period_only(log: Path) -> None:
    log.write_text(hours(10))
    found, _ = new_entries(log, None, since=START + timedelta(hours=8))
    assert len(found) == 4


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_pipes_and_directories_are_refused_at_once(log: Path, make: object) -> None:
    make(log)  # type: ignore[operator]
    with pytest.raises(Problem, match=r"not a regular file|a directory") as caught:
        next(entries(log))
    assert caught.value.code == "log-not-a-file"


def test_a_device_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        next(entries(Path("/dev/zero")))
    assert caught.value.code == "log-not-a-file"


def test_an_absent_log_is_a_plain_sentence(log: Path) -> None:
    with pytest.raises(Problem) as caught:
        next(entries(log))
    assert caught.value.code == "log-not-found"
    assert str(log) in caught.value.sentence


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_cannot_be_is_a_problem_too(name: str) -> None:
    with pytest.raises(Problem):
        next(entries(Path(name)))


HOLE = 8 << 30  # bytes; to read them takes minutes


def test_what_a_rotation_left_empty_before_the_lines_is_not_read(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(HOLE)
        file.seek(HOLE)
        file.write(hours(3).encode())

    assert len(list(entries(log, numbered=False))) == 6
    assert len(list(pasted_entries(log, Paste(), numbered=False))) == 6


def test_a_file_system_that_cannot_tell_what_was_written_hides_no_line(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_text(hours(3))

    def unable(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "lseek", unable)
    assert len(list(entries(log))) == 6


def test_a_file_of_nothing_but_its_size_is_no_text(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(HOLE)

    with pytest.raises(Problem) as caught:
        next(pasted_entries(log, Paste()))
    assert (caught.value.code, "no text" in caught.value.sentence) == ("log-not-a-log", True)


def test_no_descriptor_stays_open(log: Path, tmp_path: Path) -> None:
    log.write_text(hours(3))
    (tmp_path / "error_log.1.gz").write_bytes(gzip.compress(hours(3, START - timedelta(hours=3)).encode()))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        list(entries(log, START - timedelta(days=1)))
        next(entries(log))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_gzip_bomb_ends_at_its_bound(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_UNPACKED", 1 << 20)
    log.write_text(foreign_at(START + timedelta(days=20)))
    late = b"\n" * (4 << 20) + failure(time=TIME).encode()
    (tmp_path / "error_log.1.gz").write_bytes(gzip.compress(late))
    assert list(entries(log, START - timedelta(days=1))) == []
