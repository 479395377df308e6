"""Whatever happens in whatever order: no sentence about an incident says what the record does not hold."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import Journal, Operation
from ocsp_stapling.check import result
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence, ResponderEvidence
from ocsp_stapling.check.incident import Incident, known, look_taken, present, words
from ocsp_stapling.check.incident.postmortem import report
from ocsp_stapling.check.ticket import READERS, ticket
from ocsp_stapling.ocsp.finding import Outcome
from tests.unit.check.diagnosis.made import NOW, evidence, responder, stalled, unstapled

STORIES = 40
_BAD = (Outcome.CONNECT_TIMEOUT, Outcome.REPLY_TIMEOUT, Outcome.HTML, Outcome.HTTP_ERROR, Outcome.TRY_LATER)
_NAMES = ("alpha", "beta", "gamma")
OFF = ConfigurationEvidence(on=False, origin=Origin.PLUGIN)
_OF = re.compile(r"\b(\d+) of (\d+)\b")
_BROKEN = ("Besides, .", "None", "\n\n\n", " ,", " .\n", ": .", "1 sites", "1 looks", "[]", "nan")


@dataclass
class Story:
    """What was done and seen, as the test knows it."""

    directory: Path
    chance: random.Random
    minute: float = 0.0
    off: bool = False
    seen: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def now(self) -> float:
        return NOW.timestamp() + self.minute * 60

    def tell(self) -> None:
        for _ in range(self.chance.randint(3, 9)):
            self.minute += self.chance.choice((1, 5, 5, 12, 40, 200))
            self.chance.choice((self.look, self.look, self.switch))()
        self.minute += 3
        self.look()

    def look(self) -> None:
        found = [self._responder(name) for name in _NAMES[: self.chance.randint(1, 3)]]
        made = self._evidence(found)
        self.last = result.judged(replace(made, taken_at=NOW + timedelta(minutes=self.minute))).document()
        look_taken(self.directory, self.last, self.chance.choice(("check", "page", "watch")))
        self.seen.append((self.now, self.last))

    def _responder(self, name: str) -> ResponderEvidence:
        outcome = self.chance.choice((Outcome.OK, Outcome.OK, *_BAD))
        return responder(name, outcome, sites=self.chance.randint(1, 2))

    def _evidence(self, found: list[ResponderEvidence]) -> Evidence:
        if self.off:
            return evidence(*found, configuration=OFF)
        hanging = {Outcome.CONNECT_TIMEOUT, Outcome.REPLY_TIMEOUT} & {one.finding.outcome for one in found}
        if hanging and self.chance.random() < 0.8:
            return stalled(*found)
        left_out = found[0].sites if self.chance.random() < 0.2 else ()
        return unstapled(*found, unasked=left_out) if self.chance.random() < 0.3 else evidence(*found)

    def switch(self) -> None:
        state = self.chance.choice(("done", "done", "done", "restored", "refused"))
        action = "on" if self.off else self.chance.choice(("off", "off", "shield-on"))
        then = "off" if action == "off" else "on"
        cut = {"site": "a", "seconds": 0.3, "failure": "timeout", "asked": True}
        before = [cut] * self.chance.randint(0, 2)
        attempt = {"sentence": "In the attempt a did not answer (cut off at 0.3 s).", "handshakes": [cut]}
        failed = {"attempt": attempt} if state == "restored" and self.chance.random() < 0.5 else {}
        with Journal(self.directory, clock=lambda: self.now) as journal:
            made = journal.begin(action, "root", "why", {"stapling_then": then}, ())
            journal.finish(made.id, state, {"sentence": "2 sites tested.", "before": before, **failed})
        if state == "done" and action != "shield-on":
            self.off = action == "off"


@pytest.fixture(params=range(STORIES))
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Story:
    made = Story(tmp_path, random.Random(request.param))
    made.tell()
    return made


def test_every_text_about_an_incident_says_only_what_the_record_holds(story: Story) -> None:
    newest = present(story.directory)
    if newest is None:
        assert all(one["severity"] not in ("stalling", "failing") or one["configuration"]["stapling"] == "off"
                   or all(each["ok"] for each in one["responders"]) for _, one in story.seen)  # fmt: skip
        return
    with Journal(story.directory) as journal:
        operations, every = journal.operations(), known(journal)
    for one in every:
        _holds(one, story, operations)
    for reader in READERS:
        for redact in (False, True):
            _ticket_holds(ticket(story.last, reader, redact=redact, incident=newest), story, newest)


def _holds(one: Incident, story: Story, operations: list[Operation]) -> None:
    told, text = words.sentence(one, passes=3), report(one, operations)
    for each in (told, words.advice(one), text):
        _sound(each)
    assert ("not yet" in text) <= (one.ended is None)
    assert ("and still" in told) <= (one.ended is None)
    done = {each.action for each in operations if each.id in one.operations and each.state == "done"}
    assert ("stapling turned off" in told) <= ("off" in done)
    assert ("the shield turned on" in told) <= ("shield-on" in done)
    for number in re.findall(r"(?:up to|more than) ([\d.]+) s", told):
        assert one.wait is not None
        assert float(number) == pytest.approx(one.wait.seconds, abs=0.5)
    _spans_hold(one, story)
    _healing_holds(one, story)


def _spans_hold(one: Incident, story: Story) -> None:
    """A time of waiting begins with somebody who waited, and holds no look at which nobody did."""
    for span in one.hits:
        assert one.began <= span.began <= span.last <= (span.ended or span.last)
        inside = [doc for at, doc in story.seen if span.began <= at < (span.ended or story.now + 1)]
        assert all(doc["severity"] == "stalling" for doc in inside)
    for before, after in zip(one.hits, one.hits[1:], strict=False):
        assert before.ended is not None
        assert before.ended <= after.began
    hit = sum((each.ended or each.last) - each.began for each in one.hits)
    assert hit <= (one.ended or story.now) - one.began


def _healing_holds(one: Incident, story: Story) -> None:
    """That a responder answers again is said only of a look that found it so, or in which nothing names it."""
    for each in one.troubles:
        if each.healed is None or not each.url:
            continue
        looks = [doc for at, doc in story.seen if at == pytest.approx(each.healed, abs=1)]
        assert looks
        for doc in looks:
            asked = [found for found in doc["responders"] if found["url"] == each.url]
            assert all(found["ok"] for found in asked)
            assert asked or not doc["unasked_sites"]


def _ticket_holds(text: str, story: Story, newest: Incident) -> None:
    _sound(text)
    assert not re.search(r"^Server: *$", text, re.MULTILINE)
    assert ("URGENT" in text) <= (story.last["severity"] == "stalling")
    failing = [one["url"] for one in story.last["responders"] if not one["ok"]]
    if "What fails\n" in text:
        assert failing
    if newest.ended is not None and failing:
        assert "Outage:" not in text


def _sound(text: str) -> None:
    assert not [each for each in _BROKEN if each in text], text
    assert all(int(some) <= int(every) for some, every in _OF.findall(text)), text
