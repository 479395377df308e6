"""What is told of the shield: held and missing, the oldest, the next refresh, the last failure with its reason."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from ocsp_stapling.cli.shield import _text
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.shield.standing import Standing, standing, wish
from tests.unit.shield.test_refresh import World, world

__all__ = ["world"]


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def told(world: World) -> Standing:
    return standing(world.certificates, (), world.base / "state", world.base / "store", world.now)


def test_the_next_refresh_is_that_of_the_first_answer_and_at_once_where_one_is_missing(world: World) -> None:
    world.site()
    assert told(world).next_refresh == moment(0)
    world.run()
    found = told(world)
    kept = next(iter(world.held().values()))
    assert kept.next_update is not None
    life = kept.next_update - kept.this_update
    assert found.next_refresh is not None
    assert 0.5 * life <= found.next_refresh.timestamp() - kept.this_update <= 0.6 * life
    assert (found.held_count, found.missing, found.oldest) == (1, (), moment(kept.this_update))
    assert found.last_failure is None


def test_what_failed_is_tried_again_when_its_patience_is_over_and_the_last_failure_has_its_reason(
    world: World,
) -> None:
    for host in ("ocsp.a.test", "ocsp.b.test"):
        world.site(host, f"www.{host}")
        world.behaviour[host] = "hang"
        world.run()
    found = told(world)
    assert found.last_failure is not None
    assert (found.last_failure.site, found.last_failure.responder) == ("www.ocsp.b.test", "ocsp.b.test")
    assert found.last_failure.reason == Outcome.REPLY_TIMEOUT.sentence
    assert found.last_failure.at is not None
    assert world.now - 10 < found.last_failure.at.timestamp() <= world.now
    assert found.next_refresh is not None
    assert 250 < found.next_refresh.timestamp() - world.now < 300
    assert found.missing == ("www.ocsp.a.test", "www.ocsp.b.test")


def test_the_text_says_all_of_it_within_a_terminals_width(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocsp_stapling.shield.standing.question_count", lambda _port: 7)
    monkeypatch.setattr("ocsp_stapling.cli.output.columns", lambda: 80)
    (world.base / "state").mkdir()
    wish(world.base / "state", 340)
    world.site("ocsp.a.test", "held.test")
    world.run()
    world.site("ocsp.b.test", "missing.test")
    world.behaviour["ocsp.b.test"] = "hang"
    world.run()
    text = _text(told(world), True)
    rows = dict(line.strip().split("  ", 1) for line in text.splitlines()[1:] if "  " in line.strip())
    assert {"Answers", "Oldest", "First to end", "Next refresh", "Missing", "Last failure", "Failed"} <= set(
        rows
    )
    assert "1 of 2 held" in rows["Answers"]
    assert "1: missing.test" in rows["Missing"]
    assert "ocsp.b.test (missing.test)" in rows["Last failure"]
    assert Outcome.REPLY_TIMEOUT.sentence[:30] in text
    assert max(map(len, click.unstyle(text).splitlines())) <= 80


def test_a_note_of_failures_from_an_earlier_version_is_read(world: World) -> None:
    one = world.site()
    note = f'{{"{one.cert_id}": {{"failures": 2, "next_try": {world.now + 60}, "reason": "silent"}}}}'
    (world.base / "state").mkdir()
    (world.base / "state/shield-attempts.json").write_text(note)
    found = told(world)
    assert found.last_failure is not None
    assert (found.last_failure.reason, found.last_failure.at) == ("silent", None)


def test_whose_answer_no_new_one_has_come_for_is_named_with_its_end_after_several_questions(
    world: World,
) -> None:
    world.site("ocsp.a.test", "www.a.test")
    world.run()
    (kept,) = world.held().values()
    world.behaviour["ocsp.a.test"] = "hang"
    world.now += 4 * 86_400
    seen = []
    for _ in range(4):
        world.run()
        (one,) = told(world).responders
        seen.append((one.failing_count, one.stuck_site, one.stuck_end))
        world.now += 3600
    assert seen == [(1, None, None), (1, None, None), *[(1, "www.a.test", moment(kept.until))] * 2]
    world.now = kept.until + 1
    (one,) = told(world).responders
    assert (one.ended_count, one.stuck_site, one.stuck_end) == (1, "www.a.test", moment(kept.until))


def test_an_answer_that_was_held_until_it_ended_is_told_from_one_that_never_came(world: World) -> None:
    world.site("ocsp.a.test", "www.a.test")
    world.run()
    world.site("ocsp.a.test", "new.a.test")
    (one,) = told(world).responders
    assert (one.held_count, one.missing_count, one.ended_count) == (1, 1, 0)
    (kept,) = world.held().values()
    world.now = kept.until + 1
    (one,) = told(world).responders
    assert (one.held_count, one.missing_count, one.ended_count) == (0, 2, 1)


def test_an_authority_that_never_answers_again_is_lamented_for_a_week_and_no_longer(world: World) -> None:
    world.site("ocsp.a.test", "www.a.test")
    world.run()
    (kept,) = world.held().values()
    world.behaviour["ocsp.a.test"] = "hang"
    world.now = kept.until - 3 * 3600
    for _ in range(4):
        world.run()
        world.now += 3600
    seen = []
    for days in (6, 8):
        world.now = kept.until + days * 86_400
        found = told(world)
        (one,) = found.responders
        seen.append((one.missing_count, one.ended_count, one.stuck_site, len(found.stuck)))
    assert seen == [(1, 1, "www.a.test", 1), (1, 0, None, 0)]
