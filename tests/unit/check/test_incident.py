"""An outage is one record: from checks, changes and passes of the watch, and never mixed up with another one."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import NAME as JOURNAL
from ocsp_stapling.change.journal import IncidentRow, Journal
from ocsp_stapling.check import result
from ocsp_stapling.check.diagnosis.handshakes import each_waits
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence, LogEvidence
from ocsp_stapling.check.incident import Incident, brought_up_to_date, known, look_taken, present, words
from ocsp_stapling.check.incident.postmortem import report
from ocsp_stapling.check.ticket import reader_for, ticket
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.text import local
from tests.unit.check.diagnosis.made import NOW, evidence, responder, stalled, unstapled

DEAD = responder("alpha", Outcome.CONNECT_TIMEOUT)
FINE = responder("alpha")
BETA = responder("beta")
OFF = ConfigurationEvidence(on=False, origin=Origin.PLUGIN)
START = NOW.timestamp()


def look(directory: Path, found: Evidence, minutes: float, source: str = "watch") -> None:
    result.store(directory, result.judged(replace(found, taken_at=NOW + timedelta(minutes=minutes))), source)


def change(
    directory: Path,
    action: str,
    minutes: float,
    *,
    then: str = "off",
    now: str = "",
    state: str = "done",
    site: str = "",
    shielded_then: bool = False,
    **more: Any,
) -> str:
    with Journal(directory, clock=lambda: START + minutes * 60) as journal:
        plan = {"stapling_then": then, "stapling_now": now, "shielded_then": shielded_then}
        plan |= {"site": site} if site else {}
        made = journal.begin(action, "root", "outage", plan, ())
        journal.finish(made.id, state, {"sentence": "2 sites met.", **more})
    return made.id


def incidents(directory: Path) -> list[Incident]:
    with Journal(directory, create=False) as journal:
        brought_up_to_date(journal)
        return known(journal)


def test_an_outage_from_its_first_sign_to_its_end_is_one_record(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0, "check")
    off = change(tmp_path, "off", 14)
    look(tmp_path, evidence(DEAD, configuration=OFF), 15)
    look(tmp_path, evidence(FINE, configuration=OFF), 22)
    look(tmp_path, evidence(FINE, configuration=OFF), 27)
    (open_one,) = incidents(tmp_path)
    assert open_one.ended is None
    told = words.sentence(open_one, passes=3)
    assert told == (
        f"Sites waited more than 3.5 s from {at(0)} to {at(14, 0)}; stapling turned off {at(14, 0)} by root; "
        f"ocsp.alpha.example has answered again since {at(22, 0)}, 2 of 3 looks."
    )
    on = change(tmp_path, "on", 30, then="on")
    look(tmp_path, evidence(FINE), 31)
    (ended,) = incidents(tmp_path)
    assert (ended.sign, ended.began, ended.ended) == ("check", START, START + 30 * 60)
    assert ended.operations == (off, on)
    assert "root turned stapling on again" in ended.ending


def at(minutes: float, beside: float | None = None) -> str:
    return words.clock(START + minutes * 60, None if beside is None else START + beside * 60)


@pytest.mark.parametrize("source", ["watch", "check", "page"])
def test_whoever_saw_it_first_is_its_first_sign(tmp_path: Path, source: str) -> None:
    look(tmp_path, stalled(DEAD), 0, source)
    look(tmp_path, stalled(DEAD), 1, "check")
    (one,) = incidents(tmp_path)
    assert (one.sign, words.as_json(one)["first_sign"]) == (source, source)


def test_two_causes_at_different_times_are_two_incidents(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    look(tmp_path, stalled(responder("beta", Outcome.HTML), FINE), 5)
    newer, older = incidents(tmp_path)
    assert [one.url for one in newer.troubles] == ["http://ocsp.beta.example"]
    assert newer.began == START + 300
    assert older.ended is not None


def test_a_second_responder_that_fails_meanwhile_belongs_to_the_same_story(tmp_path: Path) -> None:
    beta = responder("beta", Outcome.CONNECT_TIMEOUT)
    look(tmp_path, stalled(DEAD), 0)
    look(tmp_path, stalled(DEAD, beta), 5)
    look(tmp_path, stalled(beta), 10)
    (one,) = incidents(tmp_path)
    assert {each.url: each.began - START for each in one.troubles} == {
        "http://ocsp.alpha.example": 0.0,
        "http://ocsp.beta.example": 300.0,
    }


def test_what_flaps_is_one_incident_and_what_comes_back_the_next_day_another(tmp_path: Path) -> None:
    for minutes, found in (
        (0, stalled(DEAD)),
        (5, evidence(FINE)),
        (10, stalled(DEAD)),
        (15, evidence(FINE)),
    ):
        look(tmp_path, found, minutes)
    (one,) = incidents(tmp_path)
    assert one.ended == START + 900
    assert [note.kind for note in one.notes].count("again") == 1
    look(tmp_path, stalled(DEAD), 24 * 60)
    assert len(incidents(tmp_path)) == 2


def test_the_worst_of_it_stays_when_it_is_no_longer_so_bad(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "off", 1)
    look(tmp_path, evidence(DEAD, configuration=OFF), 2)
    (one,) = incidents(tmp_path)
    assert one.wait is not None
    assert (one.severity, one.wait.seconds, one.wait.cut) == ("stalling", 3.5, True)
    assert one.kept["cause"] == one.cause == "network-block"


def test_a_shorter_wait_seen_later_takes_no_place_of_the_longest(tmp_path: Path) -> None:
    worst, met = stalled(DEAD), stalled(DEAD).handshakes
    look(tmp_path, worst, 0)
    milder = tuple(replace(one, seconds=min(one.seconds, 2.0), error="") for one in met)
    look(tmp_path, replace(worst, handshakes=milder), 2)
    (one,) = incidents(tmp_path)
    assert one.wait is not None
    assert (one.wait.seconds, one.wait.cut, one.wait.at) == (3.5, True, START)


def test_turning_off_while_visitors_wait_is_a_first_sign_of_its_own(tmp_path: Path) -> None:
    cut = [{"site": "a", "seconds": 0.3, "failure": "timeout", "asked": True}]
    change(tmp_path, "off", 0, before=cut)
    look(tmp_path, evidence(DEAD, configuration=OFF), 1)
    (one,) = incidents(tmp_path)
    assert one.sign == "change"
    assert [each.cause for each in one.troubles] == ["network-block"]
    assert "did not answer" in words.sentence(one)
    assert "cut off at 0.3 s" in words.sentence(one)


@pytest.mark.parametrize(
    "harmless",
    [evidence(FINE), evidence(responder("alpha", Outcome.REVOKED)), evidence(DEAD, configuration=OFF)],
)
def test_no_outage_no_record(tmp_path: Path, harmless: Evidence) -> None:
    look(tmp_path, harmless, 0)
    assert incidents(tmp_path) == []
    assert not (tmp_path / JOURNAL).exists()


def test_turning_off_a_healthy_server_is_no_incident(tmp_path: Path) -> None:
    change(tmp_path, "off", 0, before=[{"seconds": 0.003, "failure": None}])
    assert incidents(tmp_path) == []


@pytest.mark.parametrize("bad", [b"", b"\xff\xfe", b"[]", b'{"id": 3}', b"[" * 100_000])
def test_a_row_that_cannot_be_read_costs_neither_history_nor_check(tmp_path: Path, bad: bytes) -> None:
    off = change(tmp_path, "off", 0)
    with Journal(tmp_path) as journal:
        journal.amend_incidents(lambda _rows: [IncidentRow("x", 0.0, bad)], bool)
    look(tmp_path, stalled(DEAD), 1)
    with Journal(tmp_path) as journal:
        assert [one.id for one in journal.operations()] == [off]
        assert len(known(journal)) == 1
        assert journal.lost == ""


def test_a_journal_of_an_older_version_is_opened_and_kept(tmp_path: Path) -> None:
    off = change(tmp_path, "off", 0)
    with sqlite3.connect(tmp_path / JOURNAL) as database:
        database.execute("DROP TABLE incidents")
    look(tmp_path, stalled(DEAD), 1)
    with Journal(tmp_path) as journal:
        assert journal.operation(off) is not None
        assert len(known(journal)) == 1


def test_the_timeline_tells_what_happened_in_order(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    failed = change(
        tmp_path,
        "off",
        5,
        state="restored",
        attempt={"sentence": "Visitors of a waited for ocsp.alpha.example."},
    )
    change(tmp_path, "off", 10)
    look(tmp_path, evidence(FINE, configuration=OFF), 15)
    (one,) = incidents(tmp_path)
    with Journal(tmp_path) as journal:
        events = words.timeline(one, journal.operations())
    assert [each.kind for each in events] == ["sign", "wait", "change", "change", "healed"]
    assert events[2].operation == failed
    assert "failed, everything put back" in events[2].sentence
    assert "waited for ocsp.alpha.example" in events[2].sentence


def test_a_ticket_written_once_stapling_is_off_leads_with_the_outage_before(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0, "check")
    change(tmp_path, "off", 1)
    look(tmp_path, evidence(DEAD, configuration=OFF), 2, "check")
    found = result.load_document(tmp_path)
    assert found is not None
    told = present(tmp_path)
    assert reader_for(found, told) == "datacenter"
    text = ticket(found, incident=told)
    assert f"Outage:   Sites waited more than 3.5 s from {at(0)} to {at(1, 0)}; stapling turned off" in text
    assert "Effect:   visitors wait or are turned away" in text
    assert "Sites whose visitors waited: 2 of 2" in text
    assert "Since then (2026-05-04 03:02:00 UTC)" in text
    assert "severity" not in text
    look(tmp_path, evidence(FINE, configuration=OFF), 9, "check")
    found = result.load_document(tmp_path)
    assert found is not None
    healed = ticket(found, incident=present(tmp_path))
    assert "What failed (2026-05-04 03:00:00 UTC)" in healed
    assert "by root" not in ticket(found, incident=present(tmp_path), redact=True)


CUT = {"site": "a", "seconds": 0.3, "failure": "timeout", "asked": True}
ATTEMPT = {
    "sentence": "In the attempt a did not answer (cut off at 0.3 s), for ocsp.alpha.example, which failed before.",
    "handshakes": [CUT, CUT | {"site": "b", "failure": None}],
}


@pytest.mark.parametrize(
    ("action", "then", "told"),
    [
        ("on", "on", "Sites did not answer when root turned stapling on. In the attempt a did not answer"),
        ("undo", "on", "Sites did not answer when root took a change back."),
        ("shield-off", "on", "Sites did not answer when root turned the shield off."),
        ("off", "off", "Sites did not answer when root turned stapling off."),
        ("cache-fit", "on", "Sites did not answer when root made the staple cache fit."),
    ],
)
def test_a_change_that_stalls_visitors_itself_and_is_put_back_is_an_incident_that_is_over(
    tmp_path: Path, action: str, then: str, told: str
) -> None:
    made = change(tmp_path, action, 0, then=then, state="restored", attempt=ATTEMPT)
    (one,) = incidents(tmp_path)
    assert (one.sign, one.severity, one.operations) == ("change", "stalling", (made,))
    assert one.sentence.startswith(told)
    assert "ocsp.alpha.example" in one.sentence
    assert one.wait is not None
    assert (one.wait.waiting, one.wait.met, one.wait.cut) == (1, 2, True)
    assert one.ended == START
    assert "put back" in one.ending
    assert words.sentence(one).startswith("Sites did not answer ")
    assert "over since" in words.sentence(one)


def test_attempts_that_follow_each_other_are_one_incident_and_the_next_day_is_another(tmp_path: Path) -> None:
    for minutes in (0, 5, 9, 24 * 60):
        change(tmp_path, "on", minutes, then="on", state="restored", attempt=ATTEMPT)
    newer, older = incidents(tmp_path)
    assert (len(older.operations), len(older.hits)) == (3, 3)
    assert "3 times between" in words.sentence(older)
    assert len(newer.operations) == 1


def test_an_attempt_that_stalls_while_the_outage_is_open_is_a_time_of_waiting_in_its_story(
    tmp_path: Path,
) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "off", 5)
    look(tmp_path, evidence(DEAD, configuration=OFF), 10)
    change(tmp_path, "on", 12, then="on", state="restored", attempt=ATTEMPT)
    look(tmp_path, evidence(DEAD, configuration=OFF), 15)
    (one,) = incidents(tmp_path)
    assert [span.began - START for span in one.hits] == [0.0, 720.0]
    assert f"from {at(0)} to {at(5, 0)} and at {at(12, 0)}; stapling turned off" in words.sentence(one)
    assert not one.hits_now
    assert (one.ended, one.off_since) == (None, START + 300)


def test_an_off_that_fails_while_visitors_wait_opens_the_incident_that_the_next_look_goes_on_with(
    tmp_path: Path,
) -> None:
    change(tmp_path, "off", 0, state="restored", before=[CUT], attempt=ATTEMPT)
    look(tmp_path, stalled(DEAD), 2)
    (one,) = incidents(tmp_path)
    assert one.sign == "change"
    assert one.hits_now
    assert [each.cause for each in one.troubles] == ["network-block"]


def test_a_change_has_a_part_in_one_incident_alone(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "off", 5, state="refused", before=[CUT])
    look(tmp_path, evidence(FINE), 300)
    (one,) = incidents(tmp_path)
    assert len(one.operations) == 1


def test_a_queue_is_told_as_visitors_live_through_it(tmp_path: Path) -> None:
    one, other, third = (
        replace(each, asked=True, repeated=False) for each in stalled(DEAD, FINE, BETA).handshakes[1::2]
    )
    ended = replace(one, seconds=3.0, error="")
    look(tmp_path, evidence(DEAD, FINE, BETA, handshakes=(ended, other, third)), 0)
    (found,) = incidents(tmp_path)
    assert found.wait is not None
    assert found.wait.each == 3.0
    assert words.experienced(found)[1] == "3 s each, one after the other: the tenth waits 30 s."
    assert "3 s each, one after the other: the tenth waits 30 s" in " ".join(found.kept["for"])


@pytest.mark.parametrize(
    ("ended", "cut", "each"),
    [
        ((3.0, 6.1, 9.1), (), 3.05),
        ((3.0,), (3.5, 3.5), 3.0),
        ((3.0, 3.1), (), 0.0),
        ((), (3.5, 3.5), 0.0),
        ((3.0,), (), 0.0),
        ((), (), 0.0),
    ],
)
def test_only_a_queue_that_was_seen_is_called_one(
    ended: tuple[float, ...], cut: tuple[float, ...], each: float
) -> None:
    assert each_waits(ended, cut) == pytest.approx(each)


def test_a_look_cut_off_early_is_no_time(tmp_path: Path) -> None:
    before = [{"error": "timeout", "milliseconds": 300}]
    change(tmp_path, "off", 0, before=before)
    (found,) = incidents(tmp_path)
    assert "did not answer" in words.sentence(found)
    assert "(cut off at 0.3 s)" in words.sentence(found)
    assert "more than" not in words.sentence(found)
    assert found.wait is not None
    assert words.visitors_waited(found.wait).startswith("sites did not answer")  # a visitor answers nobody
    assert "at least 1 second (" in report(found, [])


def test_the_post_mortem_holds_numbers_timeline_and_evidence(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0, "check")
    change(tmp_path, "off", 14)
    look(tmp_path, evidence(FINE, configuration=OFF), 22)
    change(tmp_path, "on", 30, then="on")
    (found,) = incidents(tmp_path)
    with Journal(tmp_path) as journal:
        text = report(found, journal.operations())
    assert text.startswith("# Incident of 2026-05-04 ")
    assert "| worst wait of a visitor | More than 3.5 s. |" in text
    assert "| visitors were hit for | at least 14 minutes (" in text
    assert "| healed after | 22 minutes (" in text
    assert "Turning stapling off by root (outage): done. 2 sites met. |" in text
    assert "| ocsp.alpha.example | 198.51.100.7 | packets dropped | no answer |" in text
    assert "| alpha0.example | yes | did not answer (cut off at 3.5 s) |" in text


def test_foreign_text_is_no_markup_in_a_post_mortem(tmp_path: Path) -> None:
    look(tmp_path, stalled(responder("x](http://evil)|<b>", Outcome.CONNECT_TIMEOUT)), 0, "check")
    (found,) = incidents(tmp_path)
    text = report(found, [])
    assert "<b>" not in text.replace("\\<b", "")
    assert "](" not in text.replace("\\](", "")


def test_what_still_fails_beside_another_outage_is_neither_healed_nor_out_of_sight(tmp_path: Path) -> None:
    beta = responder("beta", Outcome.HTML)
    look(tmp_path, unstapled(beta, FINE), 0)
    look(tmp_path, stalled(DEAD, beta), 5)
    look(tmp_path, unstapled(beta, FINE), 10)
    look(tmp_path, evidence(BETA, FINE), 15)
    third, second, first = incidents(tmp_path)
    assert [each.url for each in first.troubles] == ["http://ocsp.beta.example"]
    assert first.ending == "It was not seen to end before another outage began."
    assert first.healed is None
    assert (second.healed, second.ending) == (START + 600, "It healed when another outage began.")
    assert [note.sentence for note in second.notes if note.kind == "healed"] == [
        "ocsp.alpha.example answers again."
    ]
    assert third.ending == "It healed; nothing fails any more."
    assert [one.hits[0].began - START for one in (first, second, third) if one.hits] == [300]


def test_what_one_customers_responder_does_pushes_no_outage_out_of_the_history(tmp_path: Path) -> None:
    """It may fail and heal a hundred times: nobody was hit by that."""
    look(tmp_path, stalled(DEAD), 0)
    look(tmp_path, evidence(FINE), 5)
    for number in range(1, 103):
        look(tmp_path, unstapled(responder("own", Outcome.HTML)), number * 60)
        look(tmp_path, evidence(FINE), number * 60 + 5)
    found = incidents(tmp_path)
    assert len(found) == 100
    assert [one.began for one in found if one.hits] == [START]
    assert found[0].began == START + 102 * 3600


def test_hundreds_of_responders_with_long_names_take_no_room_of_the_journal(tmp_path: Path) -> None:
    """Each of them as long as a URL may be, and others with every look."""
    for turn in range(6):
        own = [responder(f"m{turn}-{n}" + "x" * 1900, Outcome.CONNECT_TIMEOUT, sites=1) for n in range(150)]
        look(tmp_path, stalled(BETA, DEAD, *own), turn * 5)
    (one,) = incidents(tmp_path)
    assert len(one.troubles) == 100
    assert (tmp_path / JOURNAL).stat().st_size < 2_000_000


def test_who_fails_for_good_makes_no_one_story_of_the_outages_beside_it(tmp_path: Path) -> None:
    own = responder("own", Outcome.CONNECT_TIMEOUT)
    for hour in range(30):
        outage = hour in (10, 11, 20)
        look(tmp_path, stalled(DEAD, own) if outage else unstapled(FINE, own), hour * 60)
    found = incidents(tmp_path)
    assert [(one.began - START) / 3600 for one in reversed(found)] == [0, 10, 20]
    assert [len(one.hits) for one in reversed(found)] == [0, 1, 1]


def test_a_responder_that_a_look_did_not_ask_is_not_said_to_answer_again(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD, BETA), 0)
    look(tmp_path, evidence(BETA, unasked=DEAD.sites), 5)
    (one,) = incidents(tmp_path)
    assert (one.healed, one.ended, one.troubles[0].healed) == (None, None, None)
    look(tmp_path, evidence(BETA), 10)
    (one,) = incidents(tmp_path)
    assert one.ended == START + 600  # no certificate names it any more


def test_the_times_in_which_visitors_were_hit_leave_out_those_in_which_stapling_was_off(
    tmp_path: Path,
) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "off", 2)
    change(tmp_path, "on", 60, then="on")
    (quiet,) = incidents(tmp_path)
    off = f"stapling was off from {at(2, 0)} to {at(60, 0)}"
    assert words.sentence(quiet) == f"Sites waited more than 3.5 s from {at(0)} to {at(2, 0)}; {off}."
    look(tmp_path, stalled(DEAD), 62)
    look(tmp_path, evidence(FINE), 65)
    (one,) = incidents(tmp_path)
    assert words.sentence(one) == (
        f"Sites waited more than 3.5 s from {at(0)} to {at(2, 0)} and from {at(62, 0)} to {at(65, 0)}; "
        f"{off}; over since {at(65, 0)}."
    )
    with Journal(tmp_path) as journal:
        assert "| visitors were hit for | at least 5 minutes (until " in report(one, journal.operations())


def test_visitors_who_still_wait_after_an_off_are_still_hit(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "off", 2, still_waiting_names=["own.example"])
    (one,) = incidents(tmp_path)
    assert one.hits_now
    assert "and still do" in words.sentence(one)
    with Journal(tmp_path) as journal:
        (event,) = (each for each in words.timeline(one, journal.operations()) if each.kind == "change")
    assert "done, but some visitors still wait" in event.sentence


@pytest.mark.parametrize("action", ["cache-fit", "undo", "site-on", "shield-off", "on"])
def test_visitors_whom_a_change_has_served_again_are_not_said_to_wait_still(
    tmp_path: Path, action: str
) -> None:
    def made(directory: Path, **more: Any) -> Incident:
        site = "own.example" if action == "site-on" else ""
        facts = {"before": [CUT], "after": {"served": True}} | more
        change(directory, action, 2, now="on", then="on", site=site, **facts)
        (one,) = incidents(directory)
        return one

    assert not made(tmp_path / "served").hits_now
    assert "and still do" not in words.sentence(made(tmp_path / "told"))
    assert made(tmp_path / "some", still_waiting_names=["other.example"]).hits_now
    assert made(tmp_path / "slow", after={"served": False}).hits_now


def test_an_outage_ended_by_the_shield_is_not_told_as_turned_off(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "shield-on", 3, then="on")
    (one,) = incidents(tmp_path)
    assert f"; the shield turned on {at(3, 0)} by root" in words.sentence(one)
    assert "off" not in words.sentence(one)
    assert words.as_json(one)["off_since"] is None
    assert "shield" in words.advice(one)


def test_what_ended_the_waiting_is_told_also_when_the_shield_lacks_a_staple_and_not_once_visitors_wait_again(
    tmp_path: Path,
) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "shield-on", 3, then="on")
    look(tmp_path, unstapled(DEAD), 5)
    (one,) = incidents(tmp_path)
    assert f"; the shield turned on {at(3, 0)} by root; " in words.sentence(one)
    look(tmp_path, stalled(DEAD), 10)
    (one,) = incidents(tmp_path)
    assert "shield" not in words.sentence(one)
    assert one.hits_now


def test_a_ticket_after_an_off_without_any_check_leads_with_what_visitors_met(tmp_path: Path) -> None:
    change(tmp_path, "off", 0, before=[{"site": "a", "seconds": 0.3, "failure": "timeout", "asked": True}])
    look(tmp_path, evidence(DEAD, configuration=OFF), 1, "check")
    found = result.load_document(tmp_path)
    assert found is not None
    text = ticket(found, incident=present(tmp_path))
    assert (
        f"Outage:   Sites did not answer at {at(0)} (cut off at 0.3 s); stapling turned off {at(0, 0)} by root"
        in text
    )
    assert "visitors notice nothing" not in text
    assert "visitors wait or are turned away while stapling is on" in text


def test_a_ticket_after_an_off_without_any_check_says_what_fails_and_tells_the_waiting_as_past(
    tmp_path: Path,
) -> None:
    change(tmp_path, "off", 0, before=[{"site": "a", "seconds": 0.3, "failure": "timeout", "asked": True}])
    look(tmp_path, evidence(DEAD, configuration=OFF), 1, "check")
    found = result.load_document(tmp_path)
    assert found is not None
    text = ticket(found, incident=present(tmp_path))
    assert "Finding:  The network does not let this server reach ocsp.alpha.example." in text
    assert "Cause:    stapling is turned off" not in text
    assert "How long visitors waited\n  Sites did not answer (cut off at 0.3 s)" in text


def test_what_begins_to_fail_while_stapling_is_off_is_not_told_as_the_cause_of_the_waiting(
    tmp_path: Path,
) -> None:
    late = responder("beta", Outcome.REPLY_TIMEOUT)
    look(tmp_path, stalled(DEAD, BETA), 0, "check")
    change(tmp_path, "off", 1)
    look(tmp_path, evidence(DEAD, late, configuration=OFF), 5, "check")
    (one,) = incidents(tmp_path)
    assert f"ocsp.alpha.example still fails; ocsp.beta.example fails since {at(5, 0)}" in words.sentence(one)
    look(tmp_path, evidence(FINE, late, configuration=OFF), 10, "check")
    (one,) = incidents(tmp_path)
    told = words.sentence(one)
    assert f"ocsp.alpha.example has answered again since {at(10, 0)}; ocsp.beta.example fails since" in told
    assert "until the responder answers again" in words.advice(one)
    found = result.load_document(tmp_path)
    assert found is not None
    text = ticket(found, incident=one)
    assert "alpha" not in text.partition("What works")[0]
    assert "The responder ocsp.beta.example" in text


def test_a_ticket_from_a_check_before_the_off_does_not_say_that_sites_hang_now(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0, "check")
    change(tmp_path, "off", 1)
    found = result.load_document(tmp_path)
    assert found is not None
    text = ticket(found, incident=present(tmp_path))
    assert "URGENT" not in text
    assert f"Since then\n  Stapling turned off {at(1, 0)} by root. No check was made since." in text


def test_a_ticket_from_a_check_before_one_site_was_turned_off_says_so_and_that_nobody_waits(
    tmp_path: Path,
) -> None:
    look(tmp_path, stalled(DEAD, BETA), 0, "watch")
    change(tmp_path, "site-off", 1, then="on", site="alpha0.example")
    found = result.load_document(tmp_path)
    assert found is not None
    text = ticket(found, "root", incident=present(tmp_path))
    assert "URGENT" not in text
    assert "Done:     Stapling was turned off for alpha0.example alone" in text
    assert "nobody was seen to wait then" in text
    assert "Next step\n  Nobody waits any more" in text
    redacted = ticket(found, "datacenter", redact=True, incident=present(tmp_path))
    assert "Done:     Stapling turned off for 1 site alone" in redacted
    assert "alpha0" not in redacted


def test_a_ticket_says_who_waits_although_one_site_was_turned_off(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD, BETA), 0, "watch")
    change(tmp_path, "site-off", 1, then="on", site="@shop", still_waiting_names=["beta1.example"])
    found = result.load_document(tmp_path)
    assert found is not None
    text = ticket(found, "root", incident=present(tmp_path))
    assert "please turn OCSP stapling off\n" in text.partition("\n\n")[0] + "\n"
    assert "for the sites of account shop alone" in text
    assert "beta1.example still waited then" in text
    assert "Next step\n  Some still wait: turn stapling off for all" in text
    change(tmp_path, "site-on", 2, then="on", site="@shop")
    (one,) = incidents(tmp_path)
    assert not one.singles


def test_a_ticket_after_an_off_that_left_some_waiting_asks_for_what_helps_and_not_for_the_off_again(
    tmp_path: Path,
) -> None:
    look(tmp_path, stalled(DEAD), 0, "check")
    change(tmp_path, "off", 1, still_waiting_names=["own.example"])
    found = result.load_document(tmp_path)
    assert found is not None
    text = ticket(found, "root", incident=present(tmp_path))
    assert text.startswith("Subject: URGENT: ")
    assert "please turn OCSP stapling off" not in text
    assert f"Done:     Stapling turned off {at(1, 0)} by root." in text
    assert (
        "Next step\n  Some still wait at sites that turn stapling on themselves: `ocsp-stapling off --ov"
        in text
    )
    assert "leave stapling off" not in text
    assert "root." not in ticket(found, "ca", redact=True, incident=present(tmp_path))


def test_the_report_of_an_outage_that_no_check_has_seen_names_the_server(tmp_path: Path) -> None:
    change(tmp_path, "off", 0, before=[{"site": "a", "seconds": 0.3, "failure": "timeout", "asked": True}])
    (one,) = incidents(tmp_path)
    assert report(one, [], "web1.example").partition("\n")[0].endswith(" on web1.example")


def test_an_incident_as_an_older_version_kept_it_is_told_as_then(tmp_path: Path) -> None:
    old = Incident(
        "i1", START, "check", START + 60, START + 120, hit=START + 60, off_since=START + 90, off_by="root"
    )
    assert [(one.began, one.last, one.ended) for one in old.hits] == [(START, START + 60, START + 90)]


def test_a_ticket_about_what_fails_now_does_not_lead_with_an_outage_that_is_over(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD, BETA), 0, "check")
    look(tmp_path, evidence(FINE, BETA), 5, "check")
    look(tmp_path, unstapled(FINE, responder("beta", Outcome.HTML)), 30, "check")
    found = result.load_document(tmp_path)
    told = incidents(tmp_path)[-1]
    assert found is not None
    assert told.ended == START + 300
    assert "Outage:" not in ticket(found, incident=told)


def test_a_return_that_is_chosen_already_is_not_advised_again(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "off", 5)
    (one,) = incidents(tmp_path)
    assert words.advice(one, passes=3).endswith("stapling turns on by itself then.")
    look(tmp_path, evidence(FINE, configuration=OFF), 10)
    (one,) = incidents(tmp_path)
    assert "ocsp-stapling return on" in words.advice(one)
    told = words.document(one, [], passes=3)
    assert "return on" not in told["advice_sentence"]
    assert "3 healthy looks" in told["advice_sentence"]
    assert "1 of 3 looks" in told["sentence"]


def test_two_times_within_a_minute_are_told_as_one(tmp_path: Path) -> None:
    change(tmp_path, "off", 0, before=[CUT])
    change(tmp_path, "on", 0.1, then="on", state="restored", attempt=ATTEMPT)
    (one,) = incidents(tmp_path)
    assert words.sentence(one).count(f"at {at(0)}") == 1


def test_two_looks_of_one_moment_tell_of_its_healing_once(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD, BETA), 0)
    change(tmp_path, "off", 1)
    for _ in range(2):
        look(tmp_path, evidence(FINE, BETA, configuration=OFF), 5)
    (one,) = incidents(tmp_path)
    assert [note.kind for note in one.notes].count("healed") == 1


def test_a_name_with_bytes_that_are_no_utf8_costs_neither_check_nor_record(tmp_path: Path) -> None:
    """As `ServerName` and `SSLStaplingForceURL` hand them on from Apache's files."""
    odd = "caf\udce9.example"
    sites = (replace(DEAD.sites[0], name=odd),)
    found = stalled(replace(DEAD, sites=sites, finding=replace(DEAD.finding, url=f"http://{odd}/")))
    look(tmp_path, found, 0)
    (one,) = incidents(tmp_path)
    assert repr(odd)[1:-1] in repr(one)
    assert result.load(tmp_path) is not None


def test_that_stapling_was_off_is_told_also_when_it_was_turned_on_before_anybody_looked(
    tmp_path: Path,
) -> None:
    look(tmp_path, stalled(DEAD, BETA), 0)
    change(tmp_path, "off", 1)
    change(tmp_path, "on", 6, then="on")
    told = f"stapling was off from {at(1, 0)} to {at(6, 0)}"
    assert told in words.sentence(incidents(tmp_path)[0])
    look(tmp_path, evidence(FINE, BETA), 7)
    (one,) = incidents(tmp_path)
    assert one.ended is not None
    assert told in words.sentence(one)


def test_a_check_that_an_off_overtook_does_not_say_that_visitors_wait_after_it(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD, BETA), 0)
    change(tmp_path, "off", 6)
    look(tmp_path, stalled(DEAD, BETA), 5)  # begun before the off, kept after it
    (one,) = incidents(tmp_path)
    assert not one.hits_now
    assert f"from {at(0)} to {at(6, 0)}; stapling turned off {at(6, 0)} by root" in words.sentence(one)


def test_a_check_begun_within_the_second_of_the_off_is_one_made_since(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0, "check")
    change(tmp_path, "off", 1 + 0.9 / 60)
    look(tmp_path, evidence(DEAD, configuration=OFF), 1 + 0.95 / 60, "check")
    found = result.load_document(tmp_path)
    assert found is not None
    assert "No check was made since." not in ticket(found, incident=present(tmp_path))


def logged(**since: float) -> LogEvidence:
    """A log in which responders (of lines that name none: `unnamed`) have failed since some minutes of the story."""
    times = {
        "" if name == "unnamed" else f"ocsp.{name}.example": local(NOW + timedelta(minutes=at)).isoformat()[
            :19
        ]
        for name, at in since.items()
    }
    return LogEvidence(last_hour=9, last_day=9, since=times)


def test_a_run_of_failures_in_the_log_before_the_first_look_is_the_first_sign(tmp_path: Path) -> None:
    look(tmp_path, replace(stalled(DEAD), log=logged(alpha=-50, unnamed=-20)), 0)

    (one,) = incidents(tmp_path)

    assert (one.sign, one.began, one.hits[0].began) == ("log", START - 50 * 60, START)
    began = words.clock(one.began, START)
    assert f"; failing since {began}, by the error log" in words.sentence(one)
    assert "by the error log |" in report(one, ())
    same = replace(one, began=START)
    assert "by the error log" not in words.sentence(same)
    assert [note.kind for note in one.notes] == ["sign", "trouble"]


@pytest.mark.parametrize(
    ("found", "since"),
    [
        (stalled(DEAD), {"beta": -50}),  # another's responder
        (unstapled(DEAD), {"unnamed": -50}),  # of nobody who is known, and nobody waits
    ],
)
def test_failures_in_the_log_that_may_be_of_another_matter_are_no_first_sign(
    tmp_path: Path, found: Evidence, since: dict[str, float]
) -> None:
    look(tmp_path, replace(found, log=logged(**since)), 0)

    assert [(one.sign, one.began) for one in incidents(tmp_path)] == [("watch", START)]


def test_the_log_moves_no_beginning_before_the_last_change(tmp_path: Path) -> None:
    change(tmp_path, "cache-fit", -40, then="on", now="on")
    look(tmp_path, replace(stalled(DEAD), log=logged(alpha=-50)), 0)

    assert [(one.sign, one.began) for one in incidents(tmp_path)] == [("watch", START)]


def test_the_log_moves_no_beginning_before_the_last_look_or_the_end_of_the_last_outage(
    tmp_path: Path,
) -> None:
    document = result.judged(replace(stalled(DEAD), log=logged(alpha=-50))).document()
    look_taken(tmp_path / "looked", document, "watch", START - 40 * 60)
    look(tmp_path / "ended", stalled(DEAD), -90)
    look(tmp_path / "ended", evidence(FINE), -40)
    look_taken(tmp_path / "ended", document, "watch")
    look_taken(tmp_path / "free", document, "watch", START - 51 * 60)

    for name, began in (("looked", START), ("ended", START), ("free", START - 50 * 60)):
        assert incidents(tmp_path / name)[0].began == began, name


def test_a_check_bounds_the_beginning_by_the_check_stored_before_it(tmp_path: Path) -> None:
    result.store(tmp_path, result.judged(evidence(FINE)))
    os.utime(tmp_path / result.NAME, (START - 40 * 60, START - 40 * 60))
    look(tmp_path, replace(stalled(DEAD), log=logged(alpha=-50)), 0)

    assert incidents(tmp_path)[0].sign == "watch"


BY_HAND = ConfigurationEvidence(on=False, origin=Origin.HAND, where="/etc/apache2/conf.d/x.conf:3", line="x")


def test_stapling_turned_off_by_hand_is_part_of_the_story_until_it_is_on_again(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    look(tmp_path, evidence(DEAD, configuration=BY_HAND), 5)
    (one,) = incidents(tmp_path)
    off = (
        f"Sites waited more than 3.5 s from {at(0)} to {at(5, 0)}; stapling found turned off at {at(5, 0)}; "
    )
    assert words.sentence(one) == f"{off}ocsp.alpha.example still fails."
    assert "leave stapling off until the responder answers again" in words.advice(one)
    look(tmp_path, evidence(FINE, configuration=BY_HAND), 10)
    (one,) = incidents(tmp_path)
    assert one.ended is None, "the workaround is still there"
    assert "--write-on" in words.advice(one)
    assert [each.kind for each in one.notes] == ["sign", "off", "healed"]
    look(tmp_path, evidence(FINE), 15)
    (one,) = incidents(tmp_path)
    assert (one.ended, one.ending) == (START + 900, "It healed, and stapling is on again.")


def test_stapling_turned_on_by_hand_into_the_failure_is_told_as_a_time_in_which_it_was_off(
    tmp_path: Path,
) -> None:
    look(tmp_path, stalled(DEAD), 0)
    look(tmp_path, evidence(DEAD, configuration=BY_HAND), 5)
    look(tmp_path, stalled(DEAD), 10)
    (one,) = incidents(tmp_path)
    assert f"stapling was off from {at(5, 0)} to {at(10, 0)}" in words.sentence(one)


def test_an_off_that_the_journal_lost_is_told_from_our_block(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    ours = replace(OFF, off_since=NOW + timedelta(minutes=3), off_by="root")
    look(tmp_path, evidence(DEAD, configuration=ours), 5)
    (one,) = incidents(tmp_path)
    assert f"stapling turned off {at(3, 0)} by root" in words.sentence(one)


def test_what_stalls_with_stapling_off_is_not_told_as_relieved_by_that(tmp_path: Path) -> None:
    for minutes in (0, 5):
        look(tmp_path, stalled(DEAD, configuration=BY_HAND), minutes)
    look(tmp_path, evidence(DEAD, configuration=BY_HAND), 10)
    (one,) = incidents(tmp_path)
    assert one.off_since is None


def test_what_was_done_is_told_in_the_order_in_which_it_was_done(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "site-off", 2, site="a.test", still_waiting_names=["b.test"])
    change(tmp_path, "off", 4)
    (one,) = incidents(tmp_path)
    assert words.relief(one) == (
        f"Stapling turned off for 1 site alone {at(2, 0)}, 1 site still waited then; "
        f"stapling turned off {at(4, 0)} by root."
    )


def test_a_ticket_under_the_shield_neither_says_that_visitors_wait_nor_that_the_responder_is_well(
    tmp_path: Path,
) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "shield-on", 2, then="on")
    found = result.load_document(tmp_path)
    assert found is not None
    for changed in ("", "The shield was turned on"):
        text = ticket(found, "ca", incident=present(tmp_path), changed=changed)
        assert "Subject: your OCSP responder fails, please check" in text
        assert "Effect:   visitors waited or were turned away\n" in text


def test_an_off_that_is_taken_back_under_the_shield_leaves_the_shield_in_the_story(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD), 0)
    change(tmp_path, "shield-on", 2, then="on", shielded_then=True)
    change(tmp_path, "off", 4)
    change(tmp_path, "undo", 6, then="on", shielded_then=True)
    (one,) = incidents(tmp_path)
    told = words.sentence(one)
    assert f"the shield turned on {at(6, 0)} by root; ocsp.alpha.example still fails" in told


def test_a_responder_whose_sites_were_turned_off_alone_has_not_healed_by_that(tmp_path: Path) -> None:
    look(tmp_path, stalled(DEAD, BETA), 0)
    change(tmp_path, "site-off", 2, then="on", site="a.test")
    look(tmp_path, evidence(BETA, turned_off=(DEAD,)), 5)
    (one,) = incidents(tmp_path)
    assert (one.healed, one.ended) == (None, None)
    assert words.sentence(one).endswith(f"for 1 site alone {at(2, 0)}; ocsp.alpha.example still fails.")
    assert "leave it off there until the responder answers again" in words.advice(one)
    found = result.load_document(tmp_path)
    assert found is not None
    text = ticket(found, "ca", incident=one)
    assert "Subject: your OCSP responder fails, please check" in text
    assert "Please check this responder and tell us when it answers again" in text
    look(tmp_path, evidence(BETA, turned_off=(FINE,)), 10)
    (one,) = incidents(tmp_path)
    assert one.ended == START + 600
    assert "`ocsp-stapling status`" in words.advice(one)
