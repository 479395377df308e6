"""What is known beforehand is said before a change: on into a failure, off without one, and who waited in vain."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ocsp_stapling.change import plan
from ocsp_stapling.change.plan import Outlook, Plan
from ocsp_stapling.change.transaction import attempted
from ocsp_stapling.change.verify import judge
from ocsp_stapling.check import report, result
from ocsp_stapling.check.diagnosis import diagnose
from ocsp_stapling.check.evidence import Evidence, Site
from ocsp_stapling.check.outlook import foretold, outlook
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.ocsp.staple import Handshake
from tests.unit.change.made import Tree, carry_out, site_wish, wish
from tests.unit.change.test_single import include
from tests.unit.change.test_single import sites as single
from tests.unit.check.diagnosis.made import NOW, evidence, responder, stalled

DEAD = responder("alpha", Outcome.CONNECT_TIMEOUT)
BETA = responder("beta")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    for path in (*made.pre, *made.post):
        path.write_bytes(b"")
    return made


def turned(tree: Tree, action: str) -> Plan:
    if action == "on":
        carry_out(plan.make(wish("off"), tree.situation()))
    return plan.make(wish(action), tree.situation())


def checked(directory: Path, found: Evidence) -> None:
    result.store(directory, result.judged(replace(found, taken_at=datetime.now(UTC))))


def met(made: Plan, seconds: float, error: str = "") -> list[Handshake]:
    return [Handshake(each.door, True, seconds, error) for each in made.samples]


def test_turning_on_into_a_known_failure_is_warned_about_with_site_and_responder(tree: Tree) -> None:
    checked(tree.base, evidence(DEAD, BETA))
    made = turned(tree, "on")
    known = made.knowing(outlook(tree.base, made))
    (warning,) = [text for text in known.warnings if "was failing" in text]
    assert warning.startswith("ocsp.alpha.example was failing when it was asked last (")
    assert "Certificates of alpha0.example, alpha1.example name it." in warning
    assert "all visitors wait again" in warning
    assert known.as_json()["failing_responders"] == ["ocsp.alpha.example"]
    assert "beta" not in " ".join(known.warnings)


def test_turning_on_one_site_is_warned_about_although_its_responder_is_not_asked_by_apache() -> None:
    made = evidence(BETA, turned_off=(DEAD,))
    found = report.document(made, diagnose(made))
    site = SimpleNamespace(site="alpha0.example", concerned={"alpha0.example"}, asks_again=True)
    told = foretold(found, cast("Plan", site), NOW.timestamp())
    assert told.failing == ("ocsp.alpha.example",)
    (warning,) = told.warnings
    assert "all visitors wait again" in warning
    every = SimpleNamespace(site="", concerned={"alpha0.example", "beta0.example"}, asks_again=True)
    assert not foretold(found, cast("Plan", every), NOW.timestamp()).warnings


@pytest.mark.parametrize("site", ["site:a.test", "account:user"])
@pytest.mark.parametrize("action", ["on", "undo"])
def test_whatever_turns_single_sites_on_into_a_known_failure_is_warned_about(
    tree: Tree, action: str, site: str
) -> None:
    kind, _, whom = site.partition(":")
    include(tree, "user", "a.test")
    single(tree, "a.test")
    named = "@user" if kind == "account" else whom
    off = plan.make(site_wish("off", named), tree.situation())
    carry_out(off)
    dead = replace(DEAD, sites=(Site("a.test", "user"),))
    checked(tree.base, evidence(BETA, turned_off=(dead,)))
    on = plan.make(site_wish("on", named), tree.situation())
    made = on if action == "on" else plan.make(wish("undo"), tree.situation(), on.changes, named)
    (warning,) = outlook(tree.base, made).warnings
    assert "all visitors wait again" in warning


def test_turning_off_in_the_outage_is_not_warned_about(tree: Tree) -> None:
    checked(tree.base, stalled(DEAD))
    made = turned(tree, "off")
    known = made.knowing(outlook(tree.base, made))
    assert known.met(met(known, 0.01)).warnings == made.warnings


def test_turning_off_a_healthy_server_is_told_to_be_in_vain(tree: Tree) -> None:
    checked(tree.base, evidence(BETA))
    made = turned(tree, "off")
    known = made.knowing(outlook(tree.base, made))
    assert known.warnings == made.warnings
    assert known.met(met(known, 0.01)).warnings[0].startswith("This will not help: 2 sites tested just now")
    assert known.met(met(known, 3.0, "timeout")).warnings == made.warnings
    assert made.met(met(made, 0.01)).warnings[0].startswith("This may not help: ")


def test_a_last_check_that_another_version_wrote_keeps_nobody_from_a_change(tree: Tree) -> None:
    (tree.base / result.NAME).write_text('{"cause": "healthy", "responders": [{}]}')
    assert outlook(tree.base, turned(tree, "off")) == Outlook()


def test_a_failed_attempt_keeps_who_waited_and_for_which_responder(tree: Tree) -> None:
    made = turned(tree, "on")
    verdict = judge(made.samples, met(made, 2.0, "timeout"))
    found = attempted(made, verdict)
    assert found is not None
    sites = ", ".join(dict.fromkeys(each.door.name for each in made.samples))
    assert found.sentence == (
        f"In the attempt {sites} did not answer (cut off at 2.0 s), for ocsp.ca.test, which their certificates name."
    )
    known = attempted(made.knowing(Outlook(("ocsp.ca.test",))), verdict)
    assert known is not None
    assert known.responders == ("ocsp.ca.test",)
    assert "which failed before already" in known.sentence
    assert attempted(made, judge(made.samples, met(made, 0.01))) is None
