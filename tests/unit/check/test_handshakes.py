"""The live handshakes: few, and none more once visitors were seen to wait."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ocsp_stapling.check import handshakes
from ocsp_stapling.check.evidence import Site
from ocsp_stapling.check.questions import Single, Subject
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.ocsp.staple import Handshake

LATER = time.monotonic() + 1000


class Sites:
    """Stands for this server's port 443; notes every round of handshakes."""

    def __init__(self, seconds: dict[str, float] | None = None, error: str = "") -> None:
        self.seconds, self.error = seconds or {}, error
        self.rounds: list[tuple[bool, list[str]]] = []
        self.limits: list[float] = []

    def __call__(self, doors: Sequence[Door], *, ask: bool, limit: float) -> tuple[Handshake, ...]:
        self.rounds.append((ask, [door.name for door in doors]))
        self.limits.append(limit)
        return tuple(self._meet(door, ask) for door in doors)

    def _meet(self, door: Door, ask: bool) -> Handshake:
        seconds = self.seconds.get(door.name, 0.01) if ask else 0.01
        return Handshake(door, ask, seconds, self.error if ask and seconds > 1 else "")


def subject(number: int, sites: int = 1) -> Subject:
    names = [f"s{number}-{i}.test" for i in range(sites)]
    doors = tuple(Door("192.0.2.1", 443, name) for name in names)
    return Subject(
        Target(f"http://ocsp{number}.test"), f"CA {number}", "issuer", tuple(map(Site, names)), doors
    )


@pytest.fixture
def sites(monkeypatch: pytest.MonkeyPatch) -> Sites:
    found = Sites()
    monkeypatch.setattr(handshakes, "handshakes", found)
    return found


def no_failures(_deadline: float) -> frozenset[str]:
    return frozenset()


def test_three_sites_are_met_with_and_without_asking(sites: Sites) -> None:
    found = handshakes.meet([subject(1, sites=5)], 3, LATER, no_failures)

    assert sorted(sites.rounds) == [(ask, ["s1-0.test", "s1-1.test", "s1-2.test"]) for ask in (False, True)]
    assert len(found) == 6


def test_further_responders_are_met_failing_ones_first(sites: Sites) -> None:
    subjects = [subject(number) for number in range(20)]

    handshakes.meet(subjects, 3, LATER, lambda _deadline: frozenset({"http://ocsp17.test"}))

    asked = [names for ask, names in sites.rounds if ask]
    assert [len(names) for names in asked] == [3, 6]
    assert asked[1][0] == "s17-0.test"


def test_every_site_that_must_staple_is_met(sites: Sites) -> None:
    doors = [Door("192.0.2.1", 443, f"strict{number}.test") for number in range(3)]
    strict = [Single(Target("http://ocsp1.test"), (Site(door.name),), (door,)) for door in doors]
    others = replace(subject(1, sites=5), asked=strict[0], others=tuple(strict[1:]))

    handshakes.meet([others], 3, LATER, no_failures)

    assert [names for ask, names in sites.rounds if ask][1] == [door.name for door in doors]


def with_strict(count: int, url: str = "http://ocsp1.test") -> Subject:
    doors = [Door("192.0.2.1", 443, f"strict{number}.test") for number in range(count)]
    strict = [Single(Target(url), (Site(door.name),), (door,)) for door in doors]
    return replace(subject(1, sites=5), asked=strict[0], others=tuple(strict[1:]))


def test_however_many_must_staple_they_are_met_a_few_at_once(sites: Sites) -> None:
    handshakes.meet([with_strict(50)], 3, LATER, no_failures)

    rounds = [names for ask, names in sites.rounds if ask][1:]
    assert [len(names) for names in rounds] == [6] * 8 + [2]
    assert len({name for names in rounds for name in names}) == 50


def test_no_further_site_that_must_staple_is_met_once_one_had_to_wait(sites: Sites) -> None:
    sites.seconds, sites.error = {"strict3.test": 3.5}, "timeout"

    handshakes.meet([with_strict(50)], 3, LATER, no_failures)

    assert [len(names) for ask, names in sites.rounds if ask] == [3, 6]


def test_sites_that_must_staple_are_met_for_a_while_and_no_longer(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "_STRICT_SECONDS", -1.0)

    handshakes.meet([with_strict(50)], 3, LATER, no_failures)

    assert [len(names) for ask, names in sites.rounds if ask] == [3]


def test_of_a_responder_that_keeps_waiting_no_further_site_is_met(sites: Sites) -> None:
    handshakes.meet([with_strict(50)], 3, LATER, lambda _deadline: frozenset({"http://ocsp1.test"}))

    assert [len(names) for ask, names in sites.rounds if ask] == [3]


def test_no_more_handshakes_once_visitors_wait(sites: Sites) -> None:
    sites.seconds, sites.error = {"s1-0.test": 3.5}, "timeout"

    found = handshakes.meet([subject(number) for number in range(20)], 3, LATER, no_failures)

    assert len(sites.rounds) == 2
    assert [h.error for h in found if h.site == "s1-0.test" and h.asked] == ["timeout"]


def test_a_site_that_is_slow_in_the_second_round_is_met_without_asking_as_well(sites: Sites) -> None:
    sites.seconds, sites.error = {"s17-0.test": 3.5}, "timeout"

    found = handshakes.meet(
        [subject(number) for number in range(20)],
        3,
        LATER,
        lambda _deadline: frozenset({"http://ocsp17.test"}),
    )

    assert [(h.asked, h.error) for h in found if h.site == "s17-0.test"] == [(False, ""), (True, "timeout")]


def test_where_apache_waits_longer_than_the_check_may_last_time_is_left_to_tell_it(sites: Sites) -> None:
    handshakes.meet([subject(1)], 120, time.monotonic() + 8, no_failures)

    assert 6 < max(sites.limits) < 7


def test_no_time_left_means_no_handshake(sites: Sites) -> None:
    assert handshakes.meet([subject(1)], 3, time.monotonic() - 1, no_failures) == ()


def test_a_site_without_a_door_is_left_out(sites: Sites) -> None:
    nowhere = Subject(Target("http://ocsp.test"), "CA", "issuer", (Site("x.test"),), ())

    assert handshakes.meet([nowhere], 3, LATER, no_failures) == ()


def test_one_site_alone_is_met_three_times_at_once_so_that_a_queue_shows(sites: Sites) -> None:
    sites.seconds, sites.error = {"s1-0.test": 3.5}, "timeout"

    found = handshakes.meet([subject(1)], 3, LATER, no_failures)

    assert (True, ["s1-0.test"] * 3) in sites.rounds
    assert [h.error for h in found if h.asked] == ["timeout"] * 3
    assert [h.error for h in found if not h.asked] == [""]


def test_a_site_that_is_quick_is_told_once(sites: Sites) -> None:
    found = handshakes.meet([subject(1)], 3, LATER, no_failures)

    assert [h.asked for h in found] == [False, True]


def break_off(sites: Sites, monkeypatch: pytest.MonkeyPatch, names: Sequence[str]) -> None:
    """Have handshakes with these end before they are done when they ask for a staple."""
    ended = Handshake(Door("192.0.2.1", 443, ""), True, 0.01, "reset")
    usual = sites._meet
    monkeypatch.setattr(
        sites,
        "_meet",
        lambda door, ask: replace(ended, door=door) if ask and door.name in names else usual(door, ask),
    )


@pytest.mark.parametrize("cut", [["s8-0.test"], [f"s{number}-0.test" for number in range(4, 9)]])
def test_every_place_that_was_broken_off_is_met_again_before_slow_ones(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, cut: list[str]
) -> None:
    """Else a mere restart would be taken for a worker that crashes."""
    break_off(sites, monkeypatch, cut)
    monkeypatch.setattr(handshakes, "_staple", lambda _place, _made: "good")
    sites.seconds = {f"s{number}-0.test": 2.0 for number in range(3, 9)}

    found = handshakes.meet([subject(number) for number in range(9)], 3, LATER, no_failures)

    again = [each.site for each in found if each.repeated]
    assert again[: len(cut)] == cut
    assert len(again) == max(3, len(cut))


def test_a_further_site_of_a_responder_that_was_broken_off_is_met_again(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(sites, monkeypatch, ["s1-5.test"])
    found = handshakes.meet([subject(1, sites=6)], 3, LATER, no_failures, widely=True)
    assert [each.site for each in found if each.repeated] == ["s1-5.test"]
