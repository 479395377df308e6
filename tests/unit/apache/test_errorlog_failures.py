"""Two or three lines are one failure; failures are counted per responder, minute, hour and day."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from ocsp_stapling.apache.errorlog.attribution import prove
from ocsp_stapling.apache.errorlog.failures import (
    OTHERS,
    Failure,
    failures,
    summarise,
)
from ocsp_stapling.apache.errorlog.line import Entry, parse
from tests.unit.apache.errorlog_lines import ISO, SUMMARY, TIMEOUT, UNREACHABLE, at, failure, fixture, line

NOW = datetime(2026, 11, 22, 12, 0, 0)


def entries(text: str) -> list[Entry]:
    parsed = (parse(raw.encode(), number) for number, raw in enumerate(text.splitlines(), start=1))
    return list(prove(entry for entry in parsed if entry))


def grouped(text: str) -> list[tuple[str, str | None, tuple[str, ...]]]:
    return [(one.kind, one.responder, one.codes) for one in failures(entries(text))]


def test_cause_and_summary_are_one_failure() -> None:
    assert list(failures(entries(failure()))) == [
        Failure(ISO, 4711, "responder-unreachable", "ocsp.example.com", ("AH01974", "AH01941"))  # type: ignore[arg-type]
    ]


def test_apache_wrote_one_failure_for_every_site_that_got_no_staple() -> None:
    found = list(failures(prove(entry for raw in fixture("event") if (entry := parse(raw)))))
    assert [(one.kind, one.responder, " ".join(one.codes)) for one in found][4:] == [
        ("responder-timeout", None, "AH01977 AH01980 AH01941"),
        ("responder-timeout", None, "AH01985 AH01941"),
        ("responder-unreachable", "localhost:33619", "AH01974 AH01941"),
        ("responder-timeout", "[2001:db8::1]", "AH01974 AH01941"),
        ("responder-dns-failure", "ocsp.no-such-host.invalid", "AH01972 AH01941"),
        ("responder-bad-response", None, "AH01977 AH01980 AH01941"),
        ("responder-bad-response", None, "AH02321 AH01980 AH01941"),
        ("responder-bad-response", None, "AH01988 AH01941"),
        ("responder-bad-response", None, "AH01980 AH01941"),
        ("responder-bad-response", None, "AH01980 AH01941"),
        ("responder-bad-response", None, "AH01982 AH01941"),
        ("responder-bad-response", None, "AH01988 AH01941"),
        ("response-invalid", None, "AH01936 AH01943"),
        ("response-invalid", None, "AH01935 AH01943"),
        ("cert-status-not-good", None, "AH02969"),
        ("cert-status-not-good", None, "AH02969"),
        ("responder-bad-uri", "https://ocsp.example.com/", "AH01940 AH01955"),
        ("responder-dns-failure", None, "AH01972 AH01941"),
    ]
    assert {(one.kind, " ".join(one.codes)) for one in found[:4]} == {
        ("init-no-issuer", "AH02217 AH02604"),
        ("init-no-ocsp-uri", "AH02218 AH02604"),
    }


def test_a_debug_log_names_the_responder_of_which_the_failure_does_not_tell() -> None:
    asked = [
        line(f"[client 203.0.113.7:5858] AH01973: connecting to OCSP responder '{one}.example'")
        for one in "ab"
    ]
    stale = [line("AH01936: stapling_check_response: response times invalid")]
    stale += [line("AH01943: stapling_renew_response: error in retrieved response!")]
    answered = line("AH01942: stapling_renew_response: query response received")
    late = [line(TIMEOUT), line(SUMMARY)]
    refused = line("AH01944: stapling_renew_response: responder error unauthorized")
    text = (
        "\n".join([asked[0], answered, *stale, asked[1], *late, asked[1], refused, asked[0], answered]) + "\n"
    )
    assert grouped(text) == [
        ("response-invalid", "a.example", ("AH01936", "AH01943")),
        ("responder-timeout", "b.example", ("AH01985", "AH01941")),
        ("responder-bad-response", "b.example", ("AH01944",)),
    ]


def test_a_summary_without_a_cause_is_a_failure() -> None:
    assert grouped(line(SUMMARY)) == [("responder-error", None, ("AH01941",))]


def test_a_cause_that_is_not_proven_is_no_failure() -> None:
    assert grouped(line(UNREACHABLE)) == []
    assert summarise(entries(line(UNREACHABLE)), NOW).unproven == 1


def test_workers_are_kept_apart() -> None:
    lines = [line(UNREACHABLE, 1), line(TIMEOUT, 2), line(SUMMARY, 1), line(SUMMARY, 2)]
    assert grouped("\n".join(lines)) == [
        ("responder-unreachable", "ocsp.example.com", ("AH01974", "AH01941")),
        ("responder-timeout", None, ("AH01985", "AH01941")),
    ]


def test_many_causes_that_nothing_closes_need_little_room() -> None:
    stale = "AH01936: stapling_check_response: response times invalid"
    assert len(grouped("\n".join(line(stale) for _ in range(1000)))) == 1000
    assert len(grouped("\n".join(line(stale, pid=n) for n in range(6000)))) == 6000


def test_counts_per_period_responder_and_minute() -> None:
    text = (
        failure(time=at("11:30:00.0"))
        + failure(time=at("11:30:30.0"))
        + failure(time=at("02:00:00.0"), cause=TIMEOUT)
        + failure(time=at("11:00:00.0", day=20))
    )
    found = summarise(entries(text), NOW)
    assert (found.total, found.last_day, found.last_hour) == (4, 3, 2)
    assert [(one.responder, one.failures) for one in found.responders] == [("ocsp.example.com", 3), (None, 1)]
    assert found.minutes == (
        ("2026-11-22T02:00", None, 1),
        ("2026-11-22T11:30", "ocsp.example.com", 2),
    )
    assert dict(found.kinds) == {"responder-unreachable": 3, "responder-timeout": 1}


def test_first_and_last_are_told_by_the_clock_whatever_log_they_stand_in() -> None:
    server, site = failure(time=at("11:30:00.0")), failure(time=at("03:00:00.0"))
    for text in (server + site, site + server):
        found = summarise(entries(text), NOW)
        assert (found.first, found.last) == ("2026-11-22T03:00:00.0", "2026-11-22T11:30:00.0")
        (one,) = found.responders
        assert (one.first, one.last) == (found.first, found.last)


def test_complaints_at_start_are_noted_but_no_failures() -> None:
    found = summarise(prove(entry for raw in fixture("without-cache") if (entry := parse(raw))), NOW)
    assert found.total == 0
    assert found.noted == (("startup-fatal-no-cache", 1),)


def test_failures_without_a_time_count_in_no_period() -> None:
    text = "\n".join(f"[ssl:error] [pid 1] {message}" for message in (UNREACHABLE, SUMMARY))
    found = summarise(entries(text), NOW)
    assert (found.total, found.last_day, found.undated) == (1, 0, 1)


def test_responders_are_counted_one_by_one_only_up_to_a_bound() -> None:
    many = "".join(
        failure(cause=UNREACHABLE.replace("ocsp.example.com", f"ocsp{n}.example")) for n in range(300)
    )
    found = summarise(entries(many), NOW)
    assert found.total == 300
    assert sum(one.failures for one in found.responders) == 300
    assert found.responders[0].responder == OTHERS
    assert len(found.responders) <= 101


def test_only_late_failures_that_held_visitors_up_are_fresh_timeouts() -> None:
    text = "\n".join(line(one, number, 1) for number, one in enumerate((TIMEOUT, UNREACHABLE)))
    written = datetime.fromisoformat(ISO)
    found = summarise(entries(text), written, False)
    assert found.total == 2
    assert found.fresh_timeouts == 1
    assert summarise(entries(text), written + timedelta(minutes=3), False).fresh_timeouts == 0


def test_no_other_lines_however_many_hide_that_visitors_waited_a_moment_ago() -> None:
    """A script of a customer's may write them: its standard error stands in Apache's log as it is."""
    kinds = (TIMEOUT, TIMEOUT, *[UNREACHABLE] * 20)
    text = "\n".join(line(one, number, 1) for number, one in enumerate(kinds))
    assert summarise(entries(text), datetime.fromisoformat(ISO), False).fresh_timeouts == 2


def test_good_answers_that_the_cache_did_not_take_are_counted_while_they_are_fresh() -> None:
    lost = "AH01945: stapling_renew_response: error caching response!"
    text = "\n".join(line(one, number, 1) for number, one in enumerate((lost, lost, TIMEOUT)))
    written = datetime.fromisoformat(ISO)
    found = summarise(entries(text), written, False)

    assert found.fresh_unkept == 2
    assert summarise(entries(text), written + timedelta(minutes=3), False).fresh_unkept == 0


def run_of(*minutes: float, cause: str = UNREACHABLE) -> dict[str, float]:
    """Since when the log says that responders have not answered, from failures so many minutes before now."""
    end = datetime.fromisoformat(ISO)
    stamps = [(end - timedelta(minutes=each)).strftime("%a %b %d %H:%M:%S.%f %Y") for each in minutes]
    text = "\n".join(f"[{at}] [ssl:error] [pid 1:tid 1] {cause}" for at in stamps)
    found = dict(summarise(entries(text), end, False).since)
    return {name: (end - datetime.fromisoformat(at)).total_seconds() // 60 for name, at in found.items()}


def test_a_run_of_failures_begins_after_the_last_pause_that_is_longer_than_apaches_own() -> None:
    assert run_of(60, 32, 21, 10, 1) == {"ocsp.example.com": 32}
    assert run_of(32, 21) == {}  # nothing of this moment
    assert run_of(*range(905, 0, -10)) == {"ocsp.example.com": 715}  # half a day at most
    assert run_of(32, 21, 10, cause=TIMEOUT) == {"": 32}


def test_no_line_dated_back_moves_the_beginning_of_a_run() -> None:
    assert run_of(5, 30, 20, 10, 4) == {"ocsp.example.com": 5}


ANSWERS = {
    "[client 192.0.2.1:5] AH01980: bad response from OCSP server: 503 Busy": "HTTP 503 Busy",
    "[client 192.0.2.1:5] AH01980: bad response from OCSP server: (none)": "",
    "AH01944: stapling_renew_response: responder error trylater": "trylater",
    "AH01944: stapling_renew_response: responder error unauthorized": "unauthorized",
    "(104)Connection reset by peer: [client 192.0.2.1:5] AH01977: failed reading line from OCSP server": (
        "Connection reset by peer"
    ),
}


@pytest.mark.parametrize(("message", "reason"), ANSWERS.items())
def test_a_failure_tells_what_the_responder_answered(message: str, reason: str) -> None:
    first, *_ = failures(entries(f"{line(message)}\n{line(SUMMARY)}\n"))
    assert first.reason == reason
