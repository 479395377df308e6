"""Stapling or client certificates: what the lines that follow prove."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ocsp_stapling.apache.errorlog.attribution import prove
from ocsp_stapling.apache.errorlog.line import Entry, parse
from tests.unit.apache.errorlog_lines import SUMMARY, TIMEOUT, UNREACHABLE, at, fixture, line

STALE = "AH01936: stapling_check_response: response times invalid"
CLIENT_ONLY = "[client 203.0.113.7:5858] AH01922: OCSP response not successful: 6"
OTHER_CLIENT = UNREACHABLE.replace("5858", "6000")


def verdicts(*lines: str) -> list[bool | None]:
    """Return `stapling` of each line that is shown."""
    parsed = [parse(text.encode(), number) for number, text in enumerate(lines, start=1)]
    return [entry.stapling for entry in prove(entry for entry in parsed if entry)]


def test_a_following_summary_proves_stapling() -> None:
    assert verdicts(line(UNREACHABLE), line(SUMMARY)) == [True, True]


def test_without_one_it_stays_open() -> None:
    assert verdicts(line(UNREACHABLE)) == [None]


def test_a_client_certificate_line_proves_the_contrary_and_is_not_shown() -> None:
    assert verdicts(line(UNREACHABLE), line(CLIENT_ONLY)) == [False]


def test_only_the_same_worker_proves() -> None:
    assert verdicts(line(UNREACHABLE, pid=1), line(SUMMARY, pid=2)) == [None, True]
    assert verdicts(line(UNREACHABLE, tid=1), line(SUMMARY, tid=2)) == [None, True]


def test_workers_may_interleave() -> None:
    lines = [line(UNREACHABLE, pid=1), line(TIMEOUT, pid=2), line(SUMMARY, pid=2), line(SUMMARY, pid=1)]
    assert verdicts(*lines) == [True, True, True, True]


def test_a_second_query_leaves_the_first_open() -> None:
    assert verdicts(line(UNREACHABLE), line(OTHER_CLIENT), line(SUMMARY)) == [None, True, True]
    assert verdicts(line(TIMEOUT), line(TIMEOUT), line(SUMMARY)) == [None, True, True]


def test_another_stapling_failure_leaves_it_open() -> None:
    assert verdicts(line(UNREACHABLE), line(STALE), line(SUMMARY)) == [None, True, True]


def test_a_summary_long_after_proves_nothing() -> None:
    early, late = at("03:04:05.1"), at("03:09:05.1")
    assert verdicts(line(UNREACHABLE, time=early), line(SUMMARY, time=late)) == [None, True]


def test_a_summary_that_stands_above_its_cause_proves_it_by_the_clock() -> None:
    early, late = at("03:04:05.713219"), at("03:04:05.713291")
    cause, summary = line(UNREACHABLE, time=early), line(SUMMARY, time=late)
    assert verdicts(summary, cause) == [True, True]
    assert verdicts(line(SUMMARY, time=early), line(UNREACHABLE, time=late)) == [True, None]
    assert verdicts(line(SUMMARY, pid=7, time=late), cause) == [True, None]
    assert verdicts(line(SUMMARY, time=at("03:05:05.7")), cause) == [True, None]
    assert verdicts(summary, line(CLIENT_ONLY, time=late), cause) == [True, None]


def test_a_summary_across_the_minute_proves() -> None:
    early, late = at("03:04:59.999999"), at("03:05:00.000001")
    assert verdicts(line(UNREACHABLE, time=early), line(SUMMARY, time=late)) == [True, True]


def test_order_is_kept_whatever_waits() -> None:
    lines = [line(UNREACHABLE, pid=1), *(line(STALE, pid=n) for n in range(2, 50)), line(SUMMARY, pid=1)]
    parsed = [parse(text.encode(), number) for number, text in enumerate(lines, start=1)]
    assert [entry.line_number for entry in prove(entry for entry in parsed if entry)] == list(range(1, 51))


def test_what_waits_is_bounded() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Entry]:
        for pid in count(1):
            taken.append(pid)
            entry = parse(line(UNREACHABLE, pid=pid).encode(), pid)
            assert entry
            yield entry

    assert next(prove(endless())).stapling is None
    assert len(taken) < 10_000


def test_apaches_own_logs() -> None:
    def of(name: str) -> list[Entry]:
        return list(prove(entry for raw in fixture(name) if (entry := parse(raw))))

    assert {entry.stapling for entry in of("event")} == {True}
    assert {entry.stapling for entry in of("prefork")} == {True}
    assert {entry.stapling for entry in of("debug")} == {True}
    # What became of the visitor's certificate tells (AH02039), where somebody shows that line as well.
    assert {entry.stapling for entry in of("client-refused")} == {False}
    assert {entry.stapling for entry in of("client-stale-debug")} == {False}
