"""A customer's question, and a responder's outage rehearsed: true sentences from the last check, nothing asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ocsp_stapling.check.diagnosis import Cause, diagnose
from ocsp_stapling.check.evidence import Evidence, Unseen
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings, WatchSettings
from ocsp_stapling.shield.standing import ShieldEvidence
from ocsp_stapling.web.pages import customer, sites
from ocsp_stapling.web.pages.rehearsal import rehearse
from ocsp_stapling.web.restricted import restricted
from ocsp_stapling.web.words import moment
from ocsp_stapling.whm.accounts import Visible
from tests.unit.web import made
from tests.unit.web.asking import VIEWER, get
from tests.unit.web.conftest import Shown

LOOK = "ocsp_stapling.web.pages.rehearsal.server.look"
SECTIGO, DIGICERT = "site000.sectigo.example", "site000.digicert.example"


def test_a_viewer_s_customer_is_not_told_that_nothing_fails_while_anothers_responder_does() -> None:
    visible = Visible(frozenset({"site001.digicert.example"}))
    every = tuple(site for one in made.stalling().responders for site in one.sites)
    calm = replace(made.stalling(), handshakes=made.handshakes((3.0, 0.008, 3.5)), stapling=every)
    evidence = restricted(calm, visible)
    assert evidence.unseen is Unseen.OTHERS_RESPONDER
    found = answer("site001.digicert.example", evidence)
    assert found.word == "At times"
    assert "the responder of other sites' certificates" in found.sentence


@pytest.mark.parametrize(
    "typed",
    [
        "Example.com",
        " https://example.com/shop?x=1 ",
        "example.com:443",
        "http://me@example.com",
        "example.com.",
    ],
)
def test_whatever_form_a_domain_is_pasted_in_it_is_found(typed: str) -> None:
    assert customer.domain_of(typed) == "example.com"


def answer(site: str, evidence: Evidence, **more: object) -> customer.CustomerAnswer:
    row = replace(made.row(site), **more)  # type: ignore[arg-type]
    return customer.answer(site, row, evidence, diagnose(evidence))


def test_one_who_causes_the_wait_and_one_who_only_waits_are_told_apart() -> None:
    guilty, other = answer(SECTIGO, made.stalling()), answer(DIGICERT, made.stalling())
    assert (guilty.word, other.word) == ("Yes", "Yes")
    assert "its certificate's responder ocsp.sectigo.com" in guilty.sentence
    assert "other sites' certificates" in other.sentence
    assert "sectigo" not in other.sentence + other.reply  # whose it is concerns nobody else
    assert "nothing has to be changed on your side" in guilty.reply


def test_who_was_quick_in_a_stall_when_tested_is_not_told_to_wait_milliseconds() -> None:
    calm = replace(made.stalling(), handshakes=made.handshakes((3.0, 0.008, 3.5)))
    found = answer("site001.digicert.example", calm)
    assert found.word == "At times"
    assert found.sentence.endswith("responder of other sites' certificates (8 ms when it was tested).")
    assert "again and again" in found.reply


@pytest.mark.parametrize(
    ("state", "more", "word", "said"),
    [
        ("healthy", {}, "No", "nothing that it waits for fails"),
        ("stalling", {"name": "quiet.example", "host": ""}, "No", "names no responder"),
        ("off-by-us", {}, "No", "stapling is off"),
        ("off-by-us", {"must_staple": True}, "In Firefox only", "Must-Staple"),
        ("shielded", {"must_staple": True}, "In Firefox only", "the shield has no staple for it yet"),
        ("failing", {"name": "site001.digicert.example"}, "Hardly", "without a staple"),
    ],
)
def test_the_answer_fits_the_state(state: str, more: dict[str, object], word: str, said: str) -> None:
    shielded = replace(made.healthy(), shield=ShieldEvidence(True, 119, 120, (SECTIGO,)))
    evidence = shielded if state == "shielded" else made.everything()[state]
    found = answer(str(more.get("name", SECTIGO)), evidence, **more)
    assert found.word == word
    assert said in found.sentence
    assert "As of " in found.reply


def test_while_apache_is_down_or_a_handshake_fails_nobody_is_told_that_the_site_opens() -> None:
    refused = replace(made.healthy().handshakes[0], site=DIGICERT, asked=True, error="refused")
    for evidence, why in (
        (made.apache_down(), "Apache does not run"),
        (replace(made.healthy(), handshakes=(*made.healthy().handshakes, refused)), "(refused)"),
    ):
        found = answer(DIGICERT, evidence)
        assert (found.tone, found.word) == ("bad", "Yes")
        assert f"{DIGICERT} does not open: " in found.sentence
        assert why in found.sentence
        assert "does not open at present" in found.reply
    untested = answer(DIGICERT, replace(made.healthy(), handshakes=()))
    assert (untested.word, untested.reply) == ("Not tested", "")


def test_where_stapling_keeps_a_site_shut_nobody_says_that_it_is_no_matter_of_stapling() -> None:
    dead = replace(
        made.apache_down(), log=replace(made.apache_down().log, kinds={"startup-fatal-no-cache": 1})
    )
    dead = replace(dead, configuration=replace(dead.configuration, cache=None))
    calm = made.healthy()
    url = next(one for one in calm.responders if SECTIGO in {site.name for site in one.sites})
    bad = replace(url, finding=replace(url.finding, fault=Outcome.URL_UNUSABLE, addresses=()))
    shut = tuple(
        replace(one, error="tls: internal error", staple="") if one.site == SECTIGO else one
        for one in calm.handshakes
    )
    unusable = replace(
        calm, responders=(bad, *(one for one in calm.responders if one is not url)), handshakes=shut
    )
    for evidence, cause in ((dead, Cause.NO_CACHE), (unusable, Cause.BAD_OCSP_URL)):
        verdict = diagnose(evidence)
        assert verdict.cause is cause
        found = answer(SECTIGO, evidence)
        assert "no matter of stapling" not in found.sentence
        assert found.sentence.endswith(verdict.sentence)
    assert "on your side" not in found.reply  # it may have to change its certificate


QUICK = replace(made.stalling(), handshakes=made.handshakes((3.0, 0.008, 3.5)))
CUT_OFF = replace(
    made.stalling(), handshakes=tuple(replace(one, error="timeout") for one in made.stalling().handshakes)
)
ANSWERS: dict[str, tuple[str, Evidence, dict[str, object]]] = {
    "causes the wait": (SECTIGO, made.stalling(), {}),
    "causes it and did not open when tested": (SECTIGO, CUT_OFF, {}),
    "only waits": (DIGICERT, made.stalling(), {}),
    "waits at times": ("site001.digicert.example", QUICK, {}),
    "opens": (SECTIGO, made.healthy(), {}),
    "names no responder": ("quiet.example", made.stalling(), {"host": ""}),
    "must staple while off": (SECTIGO, made.off_by_us(), {"must_staple": True}),
    "Apache is down": (DIGICERT, made.apache_down(), {}),
    "not tested": (DIGICERT, replace(made.healthy(), handshakes=()), {}),
    "without a staple": ("site001.digicert.example", made.everything()["failing"], {}),
}
WORDS = Path(__file__).with_name("customers.txt")


def test_what_is_told_to_us_and_to_the_customer() -> None:
    told = []
    for state, (site, evidence, more) in ANSWERS.items():
        found = answer(site, evidence, **more)
        told.append(f"== {state}: {found.tone}, {found.word}\n{found.sentence}\n\n{found.reply}")
        told[-1] = told[-1].replace(moment(evidence.taken_at), "MOMENT")
    assert "\n".join(told) == WORDS.read_text()


def test_the_page_asks_answers_and_gives_a_reply(showing: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "named", lambda domain, _: made.row(SECTIGO) if domain == SECTIGO else None)
    app = showing(made.stalling())
    assert "Reply" not in get(app, "p=customer").text
    assert "Hello," in get(app, f"p=customer&domain=https://{SECTIGO}/").text
    unknown = get(app, "p=customer&domain=%3Cscript%3E").text
    assert "No HTTPS site that you may see here is called &lt;script&gt;." in unknown


def rehearsed(evidence: Evidence, settings: Settings = Settings(), number: int = 0) -> str:  # noqa: B008 - frozen
    found = rehearse(evidence.responders[number], evidence, 5, settings)
    return " ".join((found.sentence, *found.lines))


def test_a_rehearsal_names_who_waits_how_long_and_what_the_watch_does() -> None:
    told = rehearsed(made.healthy())
    assert "Visitors of 120 sites would wait" in told
    assert "one of 40 certificates" in told
    assert "of 4 who come at once, the last waits 20 s" in told
    assert "site007.sectigo.example" in told  # Must-Staple
    assert "leave the switch to you" in told
    watched = Settings(watch=WatchSettings(turn_off_when_stalling=True))
    assert "turn stapling off by itself (at most 3 times a day)" in rehearsed(made.healthy(), watched)


def test_with_stapling_off_or_shielded_nobody_would_wait() -> None:
    assert rehearsed(made.off_by_us()) == "Nobody would wait: stapling is off, so Apache asks no responder."
    shielded = replace(made.healthy(), shield=ShieldEvidence(True, 118, 120, ("a.example",)))
    assert "Nobody would wait: Apache asks the shield" in rehearsed(shielded)
    assert "118 of 120" in rehearsed(shielded)
    assert "a.example" in rehearsed(shielded)


def test_the_rehearsal_is_roots_and_lives_without_a_server(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_: object) -> object:
        raise Problem("x", "y")

    app = showing(made.healthy())
    monkeypatch.setattr(LOOK, unreadable)
    text = get(app, "p=rehearsal&responder=http://ocsp.digicert.com").text
    assert 'value="http://ocsp.digicert.com" selected' in text
    assert "SSLStaplingResponderTimeout" not in text
    here = SimpleNamespace(stapling=SimpleNamespace(responder_timeout=10))
    monkeypatch.setattr(LOOK, lambda _: here)
    assert "the last waits 40 s" in get(app, "p=rehearsal").text
    assert get(app, "p=rehearsal", VIEWER).status_code == 403
