"""Under the shield: no alarm until answers end, and when it is recommended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ocsp_stapling.check.diagnosis import Action, Cause, Diagnosis, Severity, diagnose
from ocsp_stapling.check.report import exit_status
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.server.sites import host_of
from ocsp_stapling.shield.standing import ShieldedResponder, ShieldEvidence
from tests.unit.check.diagnosis.made import (
    FINE,
    HANGS,
    NOW,
    evidence,
    meeting,
    responder,
    seen,
    stalled,
    unstapled,
)


def shield(hours: float = 72, missing: int = 0, ended: int = 0, **more: Any) -> ShieldEvidence:
    """The shield with answers of the responder that hangs which last so long, and of a healthy one for an hour."""
    last = NOW + timedelta(hours=hours)
    theirs = ShieldedResponder(host_of(HANGS.url), 2, missing, 0, last, ended_count=ended)
    others = ShieldedResponder("ocsp.short-lived.example", 1, 0, 0, NOW + timedelta(hours=1))
    facts: dict[str, Any] = {
        "held_count": 3,
        "certificate_count": 3 + missing,
        "responders": (theirs, others),
    }
    return ShieldEvidence(**({"answering": True} | facts | more))


def test_under_the_shield_a_dead_responder_is_no_alarm_until_a_day_before_the_answers_end() -> None:
    made = evidence(HANGS, handshakes=tuple(meeting(HANGS)), shield=shield())
    found = diagnose(made)
    assert (found.severity, found.action, exit_status(found)) == (Severity.NOISE, Action.NOTHING, 0)
    assert "Not one visitor waits" in found.sentence
    assert f"staples last until {NOW + timedelta(hours=72):%Y-%m-%d %H:%M}" in found.sentence
    assert found.shield_trouble == ()
    soon = diagnose(replace(made, shield=shield(20)))
    assert (soon.severity, exit_status(soon), soon.shield_trouble) == (Severity.FAILING, 1, ("ends-soon",))
    never_held = diagnose(replace(made, shield=shield(missing=1)))
    assert (exit_status(never_held), never_held.shield_trouble) == (0, ())
    ended = diagnose(replace(made, shield=shield(missing=1, ended=1)))
    assert (exit_status(ended), ended.shield_trouble) == (1, ("ends-soon",))
    last = f"{NOW + timedelta(hours=72):%Y-%m-%d %H:%M}"
    assert f"1 staple ended without a new one, the others last until {last}" in ended.sentence
    assert "staples last until" not in ended.sentence
    bare = diagnose(replace(made, shield=shield(missing_must_staple=("a.example",))))
    assert (exit_status(bare), bare.action) == (1, Action.FIX_HERE)
    assert "ocsp-stapling shield refresh" in bare.advice


def test_a_must_staple_site_that_lacks_its_answer_while_its_responder_fails_needs_that_one_mended() -> None:
    made = evidence(HANGS, handshakes=tuple(meeting(HANGS)))
    site = HANGS.sites[0].name
    found = diagnose(replace(made, shield=shield(missing=1, missing_must_staple=(site,))))
    assert (found.severity, found.action) == (Severity.FAILING, diagnose(made).action)
    assert found.action is not Action.NOTHING
    assert found.advice == diagnose(made).advice
    assert "Nothing needs to be done" not in found.advice
    assert f"holds no answer for {site}" in found.sentence


def under_the_shield(*ends: int | None, ended: int = 0) -> Diagnosis:
    """Of as many responders that hang the answers last so many hours (None: none is held); another one is well."""
    names = "abcdefgh"[: len(ends)]
    dark = [responder(name, Outcome.REPLY_TIMEOUT) for name in names]
    theirs = [
        ShieldedResponder(
            f"ocsp.{name}.example",
            2,
            0,
            1,
            None if hours is None else NOW + timedelta(hours=hours),
            ended_count=ended,
        )
        for name, hours in zip(names, ends, strict=True)
    ]
    made = evidence(*dark, FINE, handshakes=tuple(meeting(FINE)), shield=shield(responders=tuple(theirs)))
    return diagnose(made)


def test_under_the_shield_every_dark_responder_counts_and_those_whose_answers_end_first_are_named() -> None:
    found = under_the_shield(90, 72, 80, 100, 60)
    assert found.sentence.startswith("The responder ocsp.e.example ")
    assert (
        " The same holds for ocsp.b.example, ocsp.c.example, ocsp.a.example and 1 more: 5 of 6 responders fail."
        in found.sentence
    )
    assert f"staples last until {NOW + timedelta(hours=60):%Y-%m-%d %H:%M}" in found.sentence
    assert found.sentence.endswith(" at least.")
    assert found.advice.endswith("the watch asks again until they answer.")
    assert (exit_status(found), found.shield_ending) == (0, ())


def test_under_the_shield_all_are_named_whose_staples_end_soon_or_have_ended() -> None:
    soon = under_the_shield(72, 20, None, 5)
    first = f"{NOW + timedelta(hours=5):%Y-%m-%d %H:%M}"
    assert (
        f"; staples of ocsp.d.example, ocsp.b.example end within a day, the first at {first}" in soon.sentence
    )
    assert soon.shield_ending == ("ocsp.d.example", "ocsp.b.example")
    over = under_the_shield(None, 20, ended=1)
    assert (
        "; 2 staples of ocsp.b.example, ocsp.a.example ended without a new one, those of ocsp.b.example end within"
        in over.sentence
    )
    assert set(over.shield_ending) == {"ocsp.a.example", "ocsp.b.example"}
    assert "not one visitor waits" in over.sentence.lower()


def test_under_the_shield_another_kind_of_trouble_is_told_behind_the_first() -> None:
    dark, other = responder("a", Outcome.REPLY_TIMEOUT), responder("b", Outcome.BAD_SIGNATURE)
    theirs = tuple(
        ShieldedResponder(f"ocsp.{letter}.example", 2, 0, 1, NOW + timedelta(hours=72)) for letter in "ab"
    )
    found = diagnose(evidence(dark, other, handshakes=(), shield=shield(responders=theirs)))
    assert found.sentence.endswith(" There is trouble with ocsp.b.example, too: both responders fail.")


def test_under_the_shield_one_certificate_that_gets_no_new_answer_is_told_a_day_before_its_staple_ends() -> (
    None
):
    def stuck(hours: float, **more: Any) -> ShieldEvidence:
        theirs = ShieldedResponder(
            "ocsp.fine.example", 9, 0, 1, NOW, "a.example", NOW + timedelta(hours=hours)
        )
        return shield(responders=(theirs,), **more)

    made = evidence(FINE, handshakes=tuple(meeting(FINE)), shield=stuck(30))
    assert (exit_status(diagnose(made)), diagnose(made).shield_trouble) == (0, ())
    soon = diagnose(replace(made, shield=stuck(20)))
    assert (soon.severity, exit_status(soon), soon.sites) == (Severity.FAILING, 1, ("a.example",))
    assert (soon.shield_trouble, soon.shield_ending) == (("ends-soon",), ("ocsp.fine.example",))
    assert "no new answer for the certificate of a.example" in soon.sentence
    assert "Not one visitor waits" in soon.sentence
    over = diagnose(replace(made, shield=stuck(-1)))
    assert (over.severity, over.shield_ending) == (Severity.FAILING, ("ocsp.fine.example",))
    assert f"its staple ended at {NOW - timedelta(hours=1):%Y-%m-%d %H:%M}" in over.sentence
    both = diagnose(replace(made, shield=stuck(20, revoked=("r.example",))))
    assert both.cause is Cause.CERTIFICATE_REVOKED
    assert "a.example" in both.sentence


def test_a_revoked_certificate_is_shouted_whatever_else_holds() -> None:
    for one in (FINE, HANGS):
        made = evidence(one, handshakes=tuple(meeting(one)), shield=shield(revoked=("r.example",)))
        found = diagnose(made)
        assert (found.cause, found.action) == (Cause.CERTIFICATE_REVOKED, Action.REISSUE)
        assert (exit_status(found), found.shield_trouble) == (1, ("revoked",))
        assert "revoked the certificate of r.example" in found.sentence


def test_a_relay_that_does_not_answer_is_named_and_a_stall_behind_it_is_a_stall() -> None:
    down = diagnose(evidence(FINE, handshakes=tuple(meeting(FINE)), shield=shield(answering=False)))
    assert (down.cause, down.severity, down.action) == (Cause.SHIELD_DOWN, Severity.FAILING, Action.FIX_HERE)
    slow = diagnose(stalled(FINE, shield=shield(answering=False)))
    assert (slow.severity, slow.action) == (Severity.STALLING, Action.TURN_OFF)


def test_staples_missing_although_responders_are_healthy() -> None:
    found = diagnose(unstapled(FINE))
    assert seen(found) == (Cause.UNKNOWN, Severity.FAILING, Action.NOTHING)
    assert "60 seconds: Apache remembers a failed answer" in found.advice
    assert (
        "Look again in an hour: the shield asks again within it (at once: ocsp-stapling shield refresh)"
        in diagnose(unstapled(FINE, shield=shield())).advice
    )


def test_in_an_outage_the_shield_is_recommended_and_turning_off_is_the_fallback() -> None:
    outage = replace(stalled(HANGS, FINE), shield_offered=True)
    found = diagnose(outage)
    assert (found.recommended, found.action) == (Action.SHIELD_ON, Action.TURN_OFF)
    assert found.advice.index("ocsp-stapling shield on") < found.advice.index("ocsp-stapling off")


def test_the_shield_is_not_recommended_where_it_cannot_be_or_nobody_waits() -> None:
    outage = replace(stalled(HANGS, FINE), shield_offered=True)
    behind = replace(outage, host=replace(outage.host, front=Server.NGINX))
    quick = replace(evidence(HANGS, FINE), shield_offered=True)
    for one in (stalled(HANGS, FINE), behind, quick, replace(evidence(FINE), shield_offered=True)):
        assert diagnose(one).recommended is Action.NOTHING
