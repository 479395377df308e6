"""Two years of readings stay small and evenly spread; a damaged memory costs curves, nothing else."""

from __future__ import annotations

from pathlib import Path

from ocsp_stapling.watch.memory import DAY, HOUR, Memory, Reading

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
        for i in range(int(40 * DAY / 900)):
            memory.add(reading(START + i * 900))
        now = START + 40 * DAY - 900
        times = [each.at for each in memory.readings()]
    last_day = [t for t in times if t >= now - DAY]
    month = [t for t in times if now - 31 * DAY <= t < now - DAY]
    older = [t for t in times if t < now - 31 * DAY]
    assert len(last_day) == 97
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
    assert count < 2000
    assert (tmp_path / "watch.sqlite").stat().st_size < 8_000_000


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
