"""Counting on from where the last pass ended comes to what reading the whole day comes to."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ocsp_stapling.apache.errorlog.failures import Summary, summarise
from ocsp_stapling.apache.errorlog.line import Entry
from ocsp_stapling.apache.errorlog.read import entries
from ocsp_stapling.watch import logcount
from ocsp_stapling.watch.logcount import read_on
from tests.unit.apache.errorlog_lines import TIMEOUT, UNREACHABLE, failure

NOW = datetime(2026, 11, 22, 3, 0)


def stamp(when: datetime) -> str:
    return when.strftime("%a %b %d %H:%M:%S.%f %Y")


def cause(host: str) -> str:
    return UNREACHABLE.replace("ocsp.example.com", host)


@pytest.mark.parametrize("seed", range(4))
def test_it_comes_to_the_same_as_the_whole_log_of_the_day(tmp_path: Path, seed: int) -> None:
    """Three days in passes of random distance, with rotations, quiet hours and storms."""
    chance, log = random.Random(seed), tmp_path / "error_log"
    log.touch()
    known: dict[str, object] = {}
    now = NOW - timedelta(days=3)
    for number in range(300):
        begin, now = now, now + timedelta(minutes=chance.choice([5, 5, 5, 30]))
        with log.open("a") as file:
            for i in range(chance.choice([0, 0, 1, 40])):
                at = begin + (now - begin) * chance.random()
                what = chance.choice([TIMEOUT, cause("ocsp.a.test"), cause("ocsp.b.test")])
                file.write(failure(1000 + i, stamp(at), what))
        if number % 70 == 69:
            log.rename(tmp_path / f"error_log.{number}")
            log.touch()
        evidence, following = read_on(log, known, now)
        assert following is not None
        known = json.loads(json.dumps(following))
    # The hours at the edge are kept whole.
    whole = summarise(entries(log, now - timedelta(hours=25)), now)
    exact = summarise(entries(log, now - timedelta(days=1)), now)
    assert exact.last_day <= evidence.last_day <= whole.total
    assert abs(evidence.last_hour - exact.last_hour) <= 40
    assert evidence.last == exact.last
    assert set(evidence.responders) == {"", "ocsp.a.test", "ocsp.b.test"}


def test_a_quiet_log_empties_within_a_day(tmp_path: Path) -> None:
    log = tmp_path / "error_log"
    log.write_text(failure(time=stamp(NOW)))
    first, known = read_on(log, {}, NOW)
    assert (first.last_hour, first.last_day) == (1, 1)
    later, known = read_on(log, known or {}, NOW + timedelta(hours=3))
    assert (later.last_hour, later.last_day) == (0, 1)
    assert known is not None
    end, _ = read_on(log, known, NOW + timedelta(hours=26))
    assert (end.last_hour, end.last_day, end.last[:10]) == (0, 0, "2026-11-22")


def test_only_new_lines_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "error_log"
    log.write_text(failure(time=stamp(NOW)) * 500)
    _, known = read_on(log, {}, NOW)
    seen: list[int] = []

    def counting(lines: Sequence[Entry], now: datetime, _checks: bool) -> Summary:
        seen.append(len(lines))
        return summarise(lines, now)

    monkeypatch.setattr(logcount, "summarise", counting)
    evidence, _ = read_on(log, known or {}, NOW + timedelta(minutes=5))
    assert (seen, evidence.last_day) == ([0], 500)


def test_what_is_remembered_is_bounded_however_many_responders_are_named(tmp_path: Path) -> None:
    log, now = tmp_path / "error_log", NOW
    known: dict[str, object] = {}
    for turn in range(30):
        now += timedelta(minutes=5)
        lines = (failure(i, stamp(now), cause(f"ocsp{turn}-{i}.test")) for i in range(90))
        log.write_text(log.read_text() + "".join(lines) if log.exists() else "".join(lines))
        evidence, following = read_on(log, known, now)
        known = following or {}
    assert len(evidence.responders) <= 101
    assert evidence.last_day == 30 * 90


@pytest.mark.parametrize("odd", [{"bookmark": 1}, {"bookmark": {"x": 1}, "failures": []}, {"failures": "x"}])
def test_a_damaged_memory_begins_with_the_whole_day(tmp_path: Path, odd: dict[str, object]) -> None:
    log = tmp_path / "error_log"
    log.write_text(failure(time=stamp(NOW)))
    assert read_on(log, odd, NOW)[0].last_day == 1


def test_a_log_that_is_not_there_is_said_and_forgets_nothing(tmp_path: Path) -> None:
    evidence, known = read_on(tmp_path / "none", {}, NOW)
    assert evidence.unreadable
    assert known is None
