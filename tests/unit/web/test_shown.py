"""What stands between the facts and the templates: charts, progress, guided steps, stored documents, assets."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ocsp_stapling.change.jobs import Progress
from ocsp_stapling.change.journal import Step
from ocsp_stapling.check import report
from ocsp_stapling.check.diagnosis import Action, Cause, Severity, diagnose
from ocsp_stapling.check.diagnosis.explanation import answers
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence, is_other
from ocsp_stapling.check.incident import Incident
from ocsp_stapling.check.incident.model import Span
from ocsp_stapling.check.incident.words import clock
from ocsp_stapling.check.ticket import ticket
from ocsp_stapling.shield.standing import ShieldedResponder, ShieldEvidence
from ocsp_stapling.web import assets
from ocsp_stapling.web.pages import chart, guide, operations, overview, verdict
from ocsp_stapling.web.pages.operations import ARM, Act, operation_view
from ocsp_stapling.web.pages.responders import authority_rows
from ocsp_stapling.web.restricted import restricted
from ocsp_stapling.web.words import breaking
from ocsp_stapling.whm.accounts import Visible
from tests.unit.web import made

NOON = datetime(2026, 11, 22, 12, 34)
WORDS = {
    "Do this first",
    "Ask root first",
    "Ask root",
    "Can wait",
    "Done",
    "Needs you",
    "Not possible here",
    "Not needed",
    "Later",
}


def test_the_chart_has_a_column_for_every_hour_with_failures_and_the_rest_in_others() -> None:
    minutes = [
        ("2026-11-22T12:05", "ocsp.a", 4),
        ("2026-11-22T12:06", None, 2),
        ("2026-11-22T03:00", "ocsp.b", 1),
    ]
    minutes += [("2026-11-22T03:01", f"ocsp.{n}", 1) for n in range(10)]
    found = chart.failures_chart(minutes, NOON)
    assert [entry.name for entry in found.legend][:2] == ["ocsp.a", chart.UNNAMED]
    assert found.legend[-1].name == chart.OTHERS
    assert sum(sum(row.counts) for row in found.table) == 17
    assert "17 in all, most between 03:00 and 04:00 (11)" in found.words
    assert found.bars
    assert all(bar.x >= 0 and bar.x + bar.width <= 100 for bar in found.bars)
    assert all(bar.y >= 0 and bar.y + bar.height <= 166.1 for bar in found.bars)


@pytest.mark.parametrize("most", [1, 2, 3, 9, 40, 49, 51, 900, 123_456])
def test_the_axis_reaches_over_the_highest_column(most: int) -> None:
    top = chart.failures_chart([("2026-11-22T12:05", "ocsp.a", most)], NOON).lines[-1].text.replace(",", "")
    assert int(top) >= most
    assert int(top) % 2 == 0


def test_an_empty_log_makes_an_empty_chart_with_words() -> None:
    found = chart.failures_chart([], NOON)
    assert (found.bars, found.legend, found.table) == ((), (), ())
    assert found.words.startswith("No stapling failure")


def progress(state: str, **more: object) -> Progress:
    steps = (
        Step(100.0, "write", {"path": "/etc/x.conf"}),
        Step(100.4, "restart", {"rung": "whm-api"}),
        Step(101.9, "restart", {"rung": "end-old-workers", "because": "Visitors still wait."}),
    )
    result = {"sentence": "7 sites met.", "seconds": 2.5, "before": [], "after": None} | more
    return Progress("20260101T000000-abcdef", state, "off", "root", "why", 100.0, 102.5, steps, result)


def test_an_operations_steps_carry_the_time_since_it_began_and_why_it_climbed() -> None:
    view = operation_view(progress("done"))
    assert [line.at for line in view.steps] == ["0.0 s", "0.4 s", "1.9 s"]
    assert view.steps[-1].words.endswith("still hang. Visitors still wait.")
    assert view.steps[-1].tone == "warn"
    assert "Undo…" in [act.label for act in view.acts]


@pytest.mark.parametrize(
    ("action", "fields"), [("site-off", {"action": "off"}), ("off", {"overrides": "yes"})]
)
def test_an_off_after_which_visitors_wait_offers_first_what_ends_it(
    action: str, fields: dict[str, str]
) -> None:
    view = operation_view(replace(progress("done", still_waiting_names=["b.example"]), action=action))
    assert view.title.endswith(", but some visitors still wait")
    assert view.acts[0].values == {"action": "off"} | fields


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("running", "Turning stapling off…"),
        ("done", "Stapling is off"),
        ("refused", "Nothing was changed"),
        ("restored", "It did not work; everything is as it was before"),
        ("failed", "It did not work, and could not be put right by itself"),
    ],
)
def test_an_operation_says_how_it_stands(state: str, title: str) -> None:
    assert operation_view(progress(state)).title == title


def test_earlier_checks_are_drawn_as_one_path_for_each_tone_the_latest_at_the_right() -> None:
    points = [
        chart.Point("good", 4, "well"),
        chart.Point("bad", 24, "silent"),
        chart.Point("good", 6, "well"),
    ]
    assert chart.spark_paths(points) == {
        "good": "M105 24v-4h4v4zM115 24v-6h4v6z",
        "bad": "M110 24v-24h4v24z",
    }


def test_what_whm_said_stands_in_its_step() -> None:
    said = Step(1.0, "whm-said", {"said": "Apache was\n  restarted."})
    shown = operations.step_lines([said], True, 0.0)
    assert [one.words for one in shown] == ["WHM's own words: Apache was restarted."]


def test_a_path_is_broken_behind_its_slashes_and_stays_text() -> None:
    assert str(breaking("/etc/<b>.conf")) == "/<wbr>etc/<wbr>&lt;b&gt;.conf"


def test_without_a_handshake_that_was_timed_nothing_is_well() -> None:
    unmet = replace(made.healthy(), handshakes=())
    band = verdict.verdict_of(diagnose(unmet), unmet, operator=True)
    assert (band.tone, band.kicker) == ("calm", "Responders answer, no site was tested")
    assert band.past == "responders answered, no site was tested"


def test_a_quick_handshake_fills_no_bar() -> None:
    assert overview._handshakes(made.healthy()).longest == 1.0
    assert overview._handshakes(made.stalling()).longest > 1.0


def test_that_the_load_is_normal_is_only_said_where_it_is() -> None:
    stalling = made.stalling()
    busy = replace(stalling, host=replace(stalling.host, load_normal=False))
    assert "while load is normal and Apache runs" in steps(stalling)[0].why
    assert "hang while Apache runs" in steps(busy)[0].why


def test_a_stale_plan_leads_to_the_new_one() -> None:
    error = {"code": "changed-meanwhile", "sentence": "The configuration changed."}
    first = operation_view(progress("refused", error=error)).acts[0]
    assert (first.label, first.values) == ("Look at the new plan", {"action": "off"})


def test_after_an_off_the_ticket_comes_first_and_undo_is_told_from_turning_on() -> None:
    first = [Act("Write the ticket", "ticket.show"), ARM]
    acts = operation_view(progress("done"), first).acts
    assert [act.label for act in acts] == [
        "Write the ticket",
        "Let it turn on by itself",
        "Back to the overview",
        "Undo…",
        "Turn stapling on again…",
    ]
    assert "byte for byte" in acts[3].words
    assert "what others changed since stays" in acts[4].words
    acts = operation_view(progress("restored"), first).acts
    assert [act.label for act in acts] == ["Back to the overview", "Try again…"]
    assert acts[1].values == {"action": "off"}


def test_handshakes_before_and_after_are_paired_by_site_and_address() -> None:
    one = {"site": "a", "address": "1", "seconds": 0.6, "stapled": False, "failure": "timeout"}
    then = one | {"seconds": 0.008, "failure": None}
    view = operation_view(progress("done", before=[one], after={"handshakes": [then]}))
    pair = view.pairs[0]
    assert (pair.before, pair.after, pair.staple) == ("did not answer (cut off at 0.6 s)", "8 ms", "none")


def test_a_site_on_two_ports_is_paired_with_itself_and_called_by_name_and_port() -> None:
    door = {
        "site": "a",
        "address": "1",
        "port": 443,
        "seconds": 0.6,
        "stapled": False,
        "failure": "timeout",
    }
    drop_in = door | {"port": 8887, "seconds": 0.009, "failure": None}
    after = [drop_in | {"seconds": 0.007}, door | {"seconds": 0.008, "stapled": True, "failure": None}]
    view = operation_view(progress("done", before=[door, drop_in], after={"handshakes": after}))
    assert [(each.site, each.after, each.staple) for each in view.pairs] == [
        ("a:443", "8 ms", "sent"),
        ("a:8887", "7 ms", "none"),
    ]


def test_a_site_met_with_both_kinds_of_certificate_is_paired_kind_by_kind() -> None:
    met = {"site": "a", "address": "1", "port": 443, "seconds": 0.6, "stapled": False, "failure": "timeout"}
    rsa, ecdsa = met | {"key": "rsa"}, met | {"key": "ecdsa"}
    after = [
        ecdsa | {"seconds": 0.007, "failure": None},
        rsa | {"seconds": 0.008, "stapled": True, "failure": None},
    ]
    view = operation_view(progress("done", before=[rsa, ecdsa], after={"handshakes": after}))
    assert [(each.site, each.after, each.staple) for each in view.pairs] == [
        ("a (RSA)", "8 ms", "sent"),
        ("a (ECDSA)", "7 ms", "none"),
    ]


@pytest.mark.parametrize("operator", [True, False])
@pytest.mark.parametrize("state", sorted(made.everything()))
def test_the_nine_steps_always_say_how_they_stand_and_why(state: str, operator: bool) -> None:
    evidence = made.everything()[state]
    found = guide.steps(evidence, diagnose(evidence), operator=operator)
    assert len(found) == 9
    assert {step.word for step in found} <= WORDS
    assert all(step.why for step in found)


def steps(evidence: Evidence, operator: bool = True) -> list[guide.GuideStep]:
    return guide.steps(evidence, diagnose(evidence), operator=operator)


def words(evidence: Evidence, operator: bool = True) -> list[str]:
    return [step.word for step in steps(evidence, operator)]


def test_in_a_stall_the_guide_asks_an_operator_to_turn_off_and_cannot_ask_a_viewer() -> None:
    assert words(made.stalling())[5] == "Do this first"
    assert words(made.stalling())[2] == words(made.stalling())[7] == "Can wait"
    assert guide.next_step(steps(made.stalling())) == 6
    viewers = steps(made.stalling(), operator=False)
    assert (viewers[5].word, guide.next_step(viewers)) == ("Ask root first", 6)
    assert viewers[5].buttons[0].values == {"for": "root"}


def test_without_any_check_the_guide_says_that_stapling_was_turned_off_if_it_was() -> None:
    off = Incident("i", 0.0, "change", 0.0, 0.0, off_since=60.0, off_by="root")
    sixth = guide.steps(None, None, operator=True, incident=off)[5]
    assert (sixth.word, sixth.why) == ("Done", f"Stapling was turned off at {clock(60.0)} by root.")
    found = guide.steps(None, None, operator=True, incident=replace(off, off_found=True, off_by=""))[5]
    assert found.why == f"Stapling was found turned off at {clock(60.0)}."


def test_the_guide_offers_first_what_the_overview_offers_first() -> None:
    stalling = made.stalling()
    found = replace(diagnose(stalling), recommended=Action.SHIELD_ON)
    sixth = guide.steps(stalling, found, operator=True)[5]
    first = verdict.verdict_of(found, stalling, operator=True).buttons[0]
    assert [(one.label, one.main) for one in sixth.buttons] == [
        ("Turn the shield on…", True),
        ("Turn stapling off…", False),
    ]
    assert (first.label, first.main) == ("Turn the shield on…", True)
    assert sixth.title == "Turn the shield on, or stapling off"


def test_while_apache_is_down_the_guide_says_how_to_start_it_and_that_no_site_is_quick() -> None:
    refused = tuple(replace(one, error="refused") for one in made.healthy().handshakes)
    ending = replace(made.apache_down().host, apache_running=True)  # its processes are not all gone yet
    found = steps(replace(made.apache_down(), handshakes=refused, host=ending))
    assert found[0].lines[0] == "Apache does not run."
    told = " ".join(" ".join((one.why, *one.lines)) for one in found)
    assert "did not complete a handshake (refused)" in told
    assert "Start Apache" in found[4].lines[-1]
    assert found[5].why.startswith("Apache does not run. ")
    band = verdict.verdict_of(diagnose(made.apache_down()), made.apache_down(), operator=False)
    assert band.advice == "Someone with root privileges has to start Apache."
    assert not re.findall("quick|waited up to|sites hang while", told.replace("all HTTPS sites hang", ""))


def test_the_guide_asks_for_nothing_where_the_verdict_says_that_nothing_is_to_be_done() -> None:
    failing = made.failing()
    held = ShieldEvidence(True, 120, 120, earliest_end=made.NOW + timedelta(days=5))
    calm = replace(failing, shield=held)
    bad = next(one for one in failing.responders if not one.finding.outcome.is_good)
    bare = replace(failing, shield=replace(held, held_count=119, missing_must_staple=(bad.sites[0].name,)))
    for shown, wanted in ((calm, False), (bare, True)):
        verdict_now = diagnose(shown)
        steps = guide.steps(shown, verdict_now, operator=True)
        assert any(step.word == "Needs you" for step in steps) is wanted
        assert (verdict_now.action is Action.NOTHING) is not wanted


def test_where_the_shield_ended_the_waiting_the_guide_says_so_and_that_stapling_stayed_on() -> None:
    began = NOON.timestamp()
    ended = Incident(
        "i1", began, "check", began, began, spans=(Span(began, began, began + 60),),
        off_since=began + 60, off_by="root", relief="shield-on",
    )  # fmt: skip
    evidence = made.failing()
    found = guide.steps(evidence, diagnose(evidence), operator=True, incident=ended)
    assert [one.word for one in found][5:7] == ["Done", "Done"]
    assert found[5].why.startswith("The shield was turned on at ")
    assert found[8].why == "Stapling stayed on."


def test_while_stapling_is_off_the_guide_does_not_say_that_visitors_wait_now() -> None:
    began = NOON.timestamp()
    going_on = Incident(
        "i1", began, "check", began, began, spans=(Span(began, began, began + 60),),
        off_since=began + 60, off_by="root", sentence="The responder hangs. Visitors' handshakes wait for it.",
    )  # fmt: skip
    evidence = made.off_by_us(healed=False)
    found = guide.steps(evidence, diagnose(evidence), operator=True, incident=going_on)
    assert found[4].why == f"The check said then: {going_on.sentence}"


def test_a_look_that_was_cut_off_is_more_than_its_seconds() -> None:
    cut = replace(made.stalling().handshakes[0], asked=True, error="timeout", seconds=3.5)
    told = steps(replace(made.stalling(), handshakes=(cut,)))[0].lines
    assert any("waited more than 3.5 s" in line for line in told)


def test_once_off_and_healthy_the_guide_asks_to_turn_on_again() -> None:
    assert words(made.off_by_us())[5:] == ["Done", "Done", "Not needed", "Needs you"]
    later = steps(made.off_by_us(healed=False))[8]
    assert (later.word, later.why) == (
        "Later",
        "Not yet, 1 of 3 responders fails: ocsp.sectigo.com (silent).",
    )


def test_a_calm_server_needs_nobody() -> None:
    assert "Needs you" not in words(made.healthy())
    assert guide.next_step(steps(made.healthy())) == 0


@pytest.mark.parametrize(
    ("state", "label", "audience"),
    [("ca-outage", "Write to the authority", "ca"), ("failing", "Tell the datacenter", "datacenter")],
)
def test_overview_and_guide_send_to_whoever_can_mend_it(state: str, label: str, audience: str) -> None:
    evidence = made.everything()[state]
    button = steps(evidence)[7].buttons[0]
    assert (button.label, button.values) == (label, {"for": audience})
    band = verdict.verdict_of(diagnose(evidence), evidence, operator=True)
    assert (label, button.values) in [(one.label, one.values) for one in band.buttons]


def test_of_an_authority_without_a_status_page_nothing_is_said_about_its_page() -> None:
    evidence = replace(made.stalling(), authorities=())
    found = authority_rows(evidence, diagnose(evidence))
    assert [one.meaning for one in found if one.name == "Sectigo"] == [
        "Its responder fails here, and no status page says whether that is so for others, too."
    ]
    assert "page lags" not in repr(found)


def test_a_viewer_learns_of_the_stall_but_not_whose_sites_were_met() -> None:
    evidence = restricted(made.stalling(), Visible(frozenset({"site001.sectigo.example"})))
    assert all(h.site.startswith("another site (") for h in evidence.handshakes)
    assert len({h.site for h in evidence.handshakes}) == 3
    assert {site.name for one in evidence.responders for site in one.sites if not is_other(site.name)} == {
        "site001.sectigo.example"
    }
    assert diagnose(evidence).severity.value == "stalling"


def viewer_of(site: str, evidence: Evidence) -> Evidence:
    return restricted(evidence, Visible(frozenset({site})))


def test_a_viewer_whose_own_responders_answer_learns_that_anothers_is_at_fault_and_nothing_false() -> None:
    every = tuple(site for one in made.stalling().responders for site in one.sites)
    evidence = viewer_of("site001.digicert.example", replace(made.stalling(), stapling=every))
    found = diagnose(evidence)
    assert found.severity is Severity.STALLING
    assert "A responder of other customers' certificates is at fault; root sees which." in found.sentence
    assert "Handshakes with site001.digicert.example wait, more than 3.5 s." in found.sentence
    assert found.waiting == ("site001.digicert.example",)
    assert "customers' certificates" not in repr(found.reasons_against)
    told = repr((found, guide.steps(evidence, found, operator=False)))
    false = "[Ee]very responder answer|[Aa]ll [0-9]+ responders|[Nn]othing is wrong|Sites are quick"
    assert not re.findall(f"sectigo|Turn stapling off now|{false}", told)


def test_what_a_viewer_sends_while_anothers_responder_is_at_fault_asks_of_each_only_what_is_theirs() -> None:
    """The datacenter cannot open a way to responders that answer, nor root send root a ticket."""
    evidence = viewer_of("site001.digicert.example", made.stalling())
    found = report.document(evidence, diagnose(evidence))
    root = ticket(found, "root", restricted=True)
    assert root.startswith("Subject: URGENT: OCSP stapling")
    assert "Request: please end it" in root
    assert "ocsp-stapling check" in root.partition("Request:")[2]
    assert "send them the ticket" not in root
    assert "not found out" not in root
    for whom in ("datacenter", "ca"):
        text = ticket(found, whom, restricted=True)
        assert "cannot be used" not in text
        assert "responder fails" not in text
        assert "Nothing: every responder that was asked answers rightly." in text


def test_a_viewer_whose_certificates_name_no_responder_is_not_told_that_apache_serves_no_site() -> None:
    told = diagnose(viewer_of("elsewhere.example", made.healthy())).sentence
    assert "No certificate of these sites names an OCSP responder" in told
    assert "serves no TLS site" in diagnose(replace(made.not_applicable(), names=())).sentence


def test_a_viewer_is_promised_no_command_that_the_ticket_lacks() -> None:
    evidence = viewer_of("site001.sectigo.example", made.stalling())
    found = diagnose(evidence)
    for whom in ("ca", "datacenter", "root"):
        assert "command" not in ticket(report.document(evidence, found), whom, restricted=True)
    assert "a command to reproduce it" not in repr(guide.steps(evidence, found, operator=False))
    assert "a command to reproduce it" in repr(steps(made.stalling()))


def test_a_viewer_is_not_told_to_turn_on_again_while_anothers_responder_still_fails() -> None:
    site = "site001.digicert.example"
    assert diagnose(viewer_of(site, made.off_by_us())).action is Action.TURN_ON
    found = diagnose(viewer_of(site, made.off_by_us(healed=False)))
    assert "other customers" in found.advice
    assert found.action is not Action.TURN_ON
    assert len(re.findall("other customers", repr((found.reasons_for, found.reasons_against)))) == 1


def test_a_viewer_of_a_server_with_too_small_a_cache_learns_its_cause_and_no_number() -> None:
    small = ConfigurationEvidence(cache_places=168, stapled_certificates=300)
    found = diagnose(
        viewer_of(
            "site000.sectigo.example",
            replace(made.stalling(), responders=made.healthy().responders, configuration=small),
        )
    )
    assert (found.cause, found.severity) == (Cause.CACHE_TOO_SMALL, Severity.STALLING)
    assert not re.search("168|300", repr(found))


def test_published_names_change_with_the_content_and_old_ones_go(tmp_path: Path) -> None:
    (tmp_path / "page-0123456789.css").touch()
    (tmp_path / "index.cgi").touch()
    written = assets.publish(tmp_path)
    assert {path.suffix for path in written} == {".css", ".js"}
    assert {path.name for path in tmp_path.iterdir()} == {"index.cgi", *(path.name for path in written)}
    assert all(re.fullmatch(r"page-[0-9a-f]{10}\.(css|js)", path.name) for path in written)


def test_every_rule_of_the_style_sheet_is_confined_to_our_root_element() -> None:
    text = re.sub(r"/\*.*?\*/", "", (assets.SOURCE / "page.css").read_text(), flags=re.DOTALL)
    text = re.sub(r"@keyframes [^{]+\{[^{}]*\{[^{}]*\}\s*\}", "", text)
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{", text) for part in rule.split(",")]
    ours = [s for s in selectors if not s.startswith("@") and not re.fullmatch(r".*svg \*\)\)?", s)]
    assert ours
    assert not [s for s in ours if not s.startswith("#ost")]


def test_where_visitors_notice_nothing_the_kicker_says_what_there_is_to_notice() -> None:
    healthy = made.healthy()
    one = healthy.responders[0]
    late = tuple(replace(found, http_ms=1400.0) for found in one.finding.addresses)
    slow = replace(one, finding=replace(one.finding, addresses=late))
    shield = ShieldEvidence(True, 120, 120, earliest_end=made.NOW + timedelta(days=5))

    def kicker(evidence: Evidence) -> str:
        return verdict.verdict_of(diagnose(evidence), evidence, operator=True).kicker

    assert kicker(made.noisy()) == "Visitors notice nothing, the log has failures"
    assert kicker(replace(healthy, responders=(slow, *healthy.responders[1:]))) == (
        "Visitors notice nothing, a responder is slow"
    )
    assert kicker(replace(made.failing(), shield=shield)) == "Visitors notice nothing, a responder fails"


@pytest.mark.parametrize("missing", [0, 1])
def test_a_viewer_is_not_told_that_answers_are_held_where_some_of_theirs_are_not(missing: int) -> None:
    failing = made.failing()
    bad = next(one for one in failing.responders if not answers(one.finding))
    end = made.NOW + timedelta(days=5)
    held = ShieldedResponder(bad.finding.host, missing_count=missing, earliest_end=end)
    shield = ShieldEvidence(True, 80, 120, earliest_end=end, responders=(held,))
    found = diagnose(viewer_of(bad.sites[1].name, replace(failing, shield=shield)))
    assert "answers are held" in found.sentence
    assert ("for some of these certificates, not for all" in found.sentence) is bool(missing)
