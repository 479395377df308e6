"""What the page offers beside the switch: the return by itself, a test mail, overrides; and what it warns about."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from ocsp_stapling.apache.tree import Directive
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.change.model import Change
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.check.evidence import Evidence, OwnSwitch
from ocsp_stapling.files import Snapshot
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings
from ocsp_stapling.watch import outbox, returning
from ocsp_stapling.watch.memory import Memory
from ocsp_stapling.watch.policy import REMEMBERED, State
from ocsp_stapling.web.identity import Caller
from ocsp_stapling.web.pages import picture, plan
from ocsp_stapling.whm import notification
from tests.unit.web import made
from tests.unit.web.asking import OPERATOR, VIEWER, get, post
from tests.unit.web.conftest import Shown
from tests.unit.web.walk import CHANGE, visible

OWN_ON = (
    OwnSwitch("own.example", "/etc/apache2/conf.d/userdata/ssl/2_4/a/own.example/x.conf:1", userdata=True),
)
OVERRIDES = "?p=plan/off&amp;overrides=yes"


def send(app: Flask, query: str, caller: Caller = OPERATOR, **fields: str) -> int:
    """Send a form with the token that the page gave."""
    token = re.search(r'name="csrf" value="([^"]+)"', get(app, "p=", caller).text)
    return post(app, query, {"csrf": token[1] if token else "", **fields}, caller).status_code


def off_by_us(directory: Path) -> None:
    with Journal(directory) as journal:
        begun = journal.begin("off", "root", "", {"stapling_then": "off", "changes": [{}]}, [])
        journal.finish(begun.id, "done", {})


def test_the_return_is_armed_and_disarmed_by_a_button_that_tells_how_near_it_is(
    showing: Shown, tmp_path: Path
) -> None:
    off_by_us(tmp_path)
    app, settings = showing(made.off_by_us()), replace(Settings(), state_directory=tmp_path)

    def armed() -> bool | None:
        return returning.standing(settings, time.time()).armed

    assert "Let it turn on by itself" in get(app, "p=").text
    assert send(app, "p=return", armed="yes") == 303
    assert armed() is True
    with Memory(tmp_path) as memory:
        memory.remember(REMEMBERED, State(last_pass=time.time() + 1, healthy_passes=2).as_json())
    text = get(app, "p=").text
    assert "healthy 2 of 3 looks" in text
    assert "Do not turn it on by itself" in text
    assert send(app, "p=return", armed="maybe") == 400
    assert send(app, "p=return", VIEWER, armed="no") == 403
    assert armed() is True
    assert send(app, "p=return", armed="no") == 303
    assert armed() is False


def test_a_mail_that_was_not_taken_is_told_to_root_and_a_button_sends_a_test(
    showing: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def refuse(mail: object) -> None:
        raise Problem("mail-failed", "The mail could not be sent.")

    monkeypatch.setattr(notification, "send", refuse)
    with pytest.raises(Problem):
        outbox.deliver(tmp_path, notification.message(("root",), "sites hang", "body", "ticket"))
    app = showing(made.stalling())
    monkeypatch.setattr(picture, "visible_to", visible)
    assert "Visitors are waiting" in get(app, "p=", VIEWER).text
    for query in ("p=", "p=history"):
        assert "1 mail of the watch could not be delivered since" in get(app, query).text
        assert "could not be delivered" not in get(app, query, VIEWER).text
    monkeypatch.setattr(notification, "send", lambda mail: sent.append(str(mail["Subject"])))
    monkeypatch.setattr(outbox, "fate", lambda _identity, _seconds: "It was delivered.")
    assert send(app, "p=mails", VIEWER) == 403
    assert not sent
    assert send(app, "p=mails") == 303
    assert [subject.endswith(": test") for subject in sent] == [True]
    assert "It was delivered." in get(app, "p=history").text


@pytest.mark.parametrize("found", [made.stalling(), made.off_by_us(healed=False)])
def test_where_sites_turn_stapling_on_themselves_the_button_turns_theirs_off_too(
    showing: Shown, found: Evidence
) -> None:
    waits = replace(found, handshakes=made.stalling().handshakes, responders=made.stalling().responders)
    assert OVERRIDES not in get(showing(waits), "p=").text
    own = replace(waits, configuration=replace(waits.configuration, own_on=OWN_ON, still_on=("own.example",)))
    assert OVERRIDES in get(showing(own), "p=").text


def test_the_plan_offers_to_turn_off_what_overrides_it_and_shows_every_warning(
    showing: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = (Change(Snapshot(Path("/etc/new.conf"), None, None), b"x\n"),)
    file = Path("/etc/apache2/conf.d/userdata/x.conf")
    own = Directive("SSLUseStapling", "On", file, 1, None, (), True, False, "SSLUseStapling On")
    facts = CHANGE | {"overrides": (own,), "warnings": ("ocsp.alpha.example was failing.", "Beware.")}
    monkeypatch.setattr(plan, "_plan", lambda *_: Plan(**facts, changes=changes))
    text = get(showing(made.stalling()), "p=plan/off").text
    assert OVERRIDES in text
    assert text.index("ocsp.alpha.example was failing.") < text.index("Beware.") < text.index("Cancel")
