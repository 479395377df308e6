"""Two years of readings stay small and evenly spread; a damaged memory costs curves, nothing else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ocsp_stapling.text import moment
from ocsp_stapling.watch.history import as_json, past
from ocsp_stapling.watch.memory import DAY, HOUR, KEPT_DAYS, KEPT_READINGS, Memory, Outage, Reading, Tally

START = 1_800_000_000.0


def reading(at: float, responders: int = 1) -> Reading:
    addresses: dict[str, tuple[str, float | None]] = {
        f"http://ocsp{i}.example.com 192.0.2.{k}": ("ok" if i % 7 else "connect-timeout", 12.5 + i)
        for i in range(responders)
        for k in range(4)
    }
    return Reading(at, "healthy", "none", "on", addresses)


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    with Memory(tmp_path) as memory:
        memory.add(reading(START))
        memory.remember("policy", {"healthy_passes": 2})
    with Memory(tmp_path) as memory:
        assert list(memory.readings()) == [reading(START)]
        assert memory.recall("policy") == {"healthy_passes": 2}
        assert memory.recall("nothing") == {}


def test_old_readings_are_thinned_to_hours_and_days(tmp_path: Path) -> None:
    with Memory(tmp_path) as memory:
        for i in range(int(40 * DAY / 1800)):
            memory.add(reading(START + i * 1800))
        now = START + 40 * DAY - 1800
        times = [each.at for each in memory.readings()]
    last_day = [t for t in times if t >= now - DAY]
    month = [t for t in times if now - 31 * DAY <= t < now - DAY]
    older = [t for t in times if t < now - 31 * DAY]
    assert len(last_day) == 49
    assert abs(len(month) - 30 * 24) <= 2
    assert abs(len(older) - 9) <= 2


def test_two_years_with_fifty_responders_stay_small(tmp_path: Path) -> None:
    with Memory(tmp_path) as memory:
        at = START
        while at < START + 731 * DAY:
            memory.add(reading(at, 50))
            # The last days at full rhythm, the years before at the rhythm that would be left of them.
            at += 300 if at > START + 730 * DAY else HOUR if at > START + 700 * DAY else DAY
        count = sum(1 for _ in memory.readings())
        assert len(memory.tallies(0)) == 50
    assert count < 2000
    size = (tmp_path / "watch.sqlite").stat().st_size
    assert size < 8_000_000, size


def test_readings_from_a_clock_that_was_ahead_vanish(tmp_path: Path) -> None:
    with Memory(tmp_path) as memory:
        memory.add(reading(START + 400 * DAY))
        memory.add(reading(START))
        assert [each.at for each in memory.readings()] == [START]


def test_a_damaged_database_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "watch.sqlite").write_bytes(b"no database" * 100)
    with Memory(tmp_path) as memory:
        memory.add(reading(START))
        assert len(list(memory.readings())) == 1
    assert (tmp_path / "watch.sqlite.damaged").exists()


def test_only_root_can_read_it(tmp_path: Path) -> None:
    with Memory(tmp_path / "state"):
        assert (tmp_path / "state/watch.sqlite").stat().st_mode & 0o077 == 0


URL = "http://ocsp.example.com/path"
PASS = 300.0


def seen(i: int, outcome: str = "ok", severity: str = "none", second: str = "ok") -> Reading:
    addresses: dict[str, tuple[str, float | None]] = {
        f"{URL} 192.0.2.1": (outcome, None),
        f"{URL} 2001:db8::1": (second, 9.5),
    }
    return Reading(START + i * PASS, "ca-outage", severity, "on", addresses)


def kept(directory: Path, readings: list[Reading]) -> tuple[list[Outage], Tally]:
    with Memory(directory) as memory:
        for each in readings:
            memory.add(each)
        return memory.outages(), memory.tallies(START - DAY)[URL]


def test_an_outage_is_kept_with_its_beginning_and_end(tmp_path: Path) -> None:
    (outage,), tally = kept(tmp_path, [seen(0), seen(1, "refused"), seen(2, "refused"), seen(3), seen(4)])
    assert outage == Outage(URL, START + PASS, START + 2 * PASS, START + 3 * PASS, "refused")
    assert (tally.passes, tally.good, tally.percent) == (5, 3, 60.0)


def test_one_bad_address_is_an_outage_and_the_stall_of_the_server_another(tmp_path: Path) -> None:
    outages, tally = kept(tmp_path, [seen(0, second="no-route", severity="stalling")])
    assert [(one.subject, one.what, one.ended) for one in outages] == [
        ("", "ca-outage", None),
        (URL, "no-route", None),
    ]
    assert tally.good == 0


def test_a_flapping_responder_is_one_outage_in_the_timeline(tmp_path: Path) -> None:
    outages, _ = kept(tmp_path, [seen(i, "refused" if i % 2 else "ok") for i in range(200)])
    assert len(outages) == 1


def test_two_outages_a_day_apart_are_two(tmp_path: Path) -> None:
    outages, _ = kept(tmp_path, [seen(i, "refused" if i % 100 == 0 else "ok") for i in range(150)])
    assert [one.began for one in outages] == [START + 100 * PASS, START]


def test_an_outage_during_which_the_server_went_down_ends_when_it_was_last_seen(tmp_path: Path) -> None:
    (outage,), _ = kept(tmp_path, [seen(0, "refused"), seen(1, "refused"), seen(500)])
    assert outage.ended == START + PASS


def test_a_clock_years_ahead_does_not_empty_the_memory(tmp_path: Path) -> None:
    with Memory(tmp_path) as memory:
        for i in range(100):
            memory.add(seen(i))
        memory.add(seen(10**6))
        memory.add(seen(101))
        assert memory.tallies(START - DAY)[URL].passes >= 100
        assert sum(1 for _ in memory.readings()) == 2  # thinned to one a day, at worst


def test_numbers_are_bounded_whatever_customers_put_into_certificates(tmp_path: Path) -> None:
    with Memory(tmp_path) as memory:
        for i in range(200):
            odd = {f"http://r{i}-{k}.example.com x": ("refused", None) for k in range(30)}
            memory.add(Reading(START + i * DAY, "ca-outage", "none", "on", odd))
        assert sum(1 for _ in memory.readings()) <= KEPT_READINGS
        assert len(memory.outages()) <= 5030
        assert len(memory.tallies(0)) <= 30 * KEPT_DAYS


def test_a_locked_memory_is_not_taken_for_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocsp_stapling.watch.memory._BUSY_SECONDS", 0.05)
    with Memory(tmp_path) as memory:
        memory.add(seen(0))
    other = sqlite3.connect(tmp_path / "watch.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError), Memory(tmp_path) as memory:
        memory.add(seen(1))
    other.close()
    assert not (tmp_path / "watch.sqlite.damaged").exists()


def test_damage_found_later_is_put_aside_for_the_next_pass(tmp_path: Path) -> None:
    with Memory(tmp_path) as memory:
        for i in range(300):
            memory.add(reading(START + i * 300, 5))
    path = tmp_path / "watch.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError), Memory(tmp_path) as memory:
        memory.add(seen(9999))
    with Memory(tmp_path) as memory:
        memory.add(seen(0))
    assert (tmp_path / "watch.sqlite.damaged").exists()


def test_the_past_is_empty_and_makes_no_file_before_the_first_pass(tmp_path: Path) -> None:
    assert past(tmp_path, START).outages == ()
    assert list(tmp_path.iterdir()) == []


def test_the_past_as_json_names_outages_and_availability(tmp_path: Path) -> None:
    kept(tmp_path, [seen(0, "refused"), seen(1)])
    found = as_json(past(tmp_path, START + DAY))
    assert found["availability"] == [{"url": URL, "pass_count": 2, "good_count": 1, "percent": 50.0}]
    assert found["outages"][0] == {
        "scope": "responder",
        "url": URL,
        "what": "refused",
        "began": moment(START),
        "last_seen": moment(START),
        "ended": moment(START + PASS),
    }


def test_a_revoked_certificate_is_no_outage_of_its_responder(tmp_path: Path) -> None:
    outages, tally = kept(tmp_path, [seen(0, "revoked"), seen(1, "reachable")])
    assert (outages, tally.percent) == ([], 100.0)
