"""The history: changes and outages in one timeline, availability the worst first, hostile names harmless."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.check import result
from ocsp_stapling.check.evidence import ConfigurationEvidence, Evidence
from ocsp_stapling.check.incident import known
from ocsp_stapling.settings import Settings
from ocsp_stapling.watch.memory import Memory, Reading
from ocsp_stapling.web.app import create_app
from tests.unit.web import made
from tests.unit.web.asking import VIEWER, get
from tests.unit.web.conftest import Shown

URL = "http://ocsp.example.com/<script>alert(1)</script>"
OTHER = "http://ocsp2.example.com"


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(Settings(state_directory=tmp_path))


def words(app: Flask) -> str:
    answer = get(app, "p=history")
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))


def seen(directory: Path, at: float, outcome: str, severity: str = "none") -> None:
    addresses = {f"{URL} 192.0.2.1": (outcome, 9.0), f"{OTHER} 192.0.2.2": ("ok", 9.0)}
    with Memory(directory) as memory:
        memory.add(Reading(at, "network-block", severity, "on", addresses))


def test_before_anything_happened_it_says_so_and_makes_no_file(app: Flask, tmp_path: Path) -> None:
    assert "Nothing has been changed yet, and no outage was seen." in words(app)
    assert "Nothing is known yet: the watch has looked at no responder in the last 30 days." in words(app)
    assert not (tmp_path / "watch.sqlite").exists()
    assert not (tmp_path / "journal.sqlite").exists()


def test_outages_and_changes_stand_in_one_timeline(app: Flask, tmp_path: Path) -> None:
    now = time.time()
    for minutes, outcome in ((60, "ok"), (50, "connect-timeout"), (45, "connect-timeout"), (20, "ok")):
        seen(tmp_path, now - minutes * 60, outcome, "stalling" if outcome != "ok" else "none")
    with Journal(tmp_path, clock=lambda: now - 48 * 60) as journal:
        operation = journal.begin("off", "root", "the sites hang", {}, [])
        journal.finish(operation.id, "done", {"sentence": "All quick."})
    text = words(app)
    places = [
        text.index(part) for part in ("Turn stapling off", "HTTPS handshakes hung", "A responder failed")
    ]
    assert places == sorted(places)
    assert "over after 30 minutes" in text
    assert "Cause: something on the way between this server and the responder blocks it" in text
    assert "The connection times out" in text


def test_availability_shows_the_worst_first_and_never_rounds_up(app: Flask, tmp_path: Path) -> None:
    now = time.time()
    for i in range(300):
        seen(tmp_path, now - 3600 - i, "refused" if i == 7 else "ok")
    text = words(app)
    assert text.index("99.66 %") < text.index("100 %")


def test_a_hostile_url_is_text(app: Flask, tmp_path: Path) -> None:
    seen(tmp_path, time.time(), "refused")
    assert "<script>alert" not in get(app, "p=history").text


def test_a_damaged_memory_of_the_watch_is_said(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "watch.sqlite").mkdir()
    assert "cannot be read" in words(app)


def test_viewers_have_no_history(app: Flask) -> None:
    assert get(app, "p=history", VIEWER).status_code == 403


def test_each_responder_shows_its_availability(showing: Shown, tmp_path: Path) -> None:
    evidence = made.healthy()
    url = evidence.responders[0].url
    with Memory(tmp_path) as memory:
        for i, outcome in enumerate(("ok", "ok", "refused")):
            addresses = {f"{url} 192.0.2.1": (outcome, 9.0)}
            memory.add(Reading(time.time() - 900 + 300 * i, "healthy", "none", "on", addresses))
    shown = get(showing(evidence), "p=responders").text
    assert shown.count("66.66 % of 3 looks by the watch in the last 30 days") == 1


def test_an_incident_is_told_once_with_its_timeline(showing: Shown, tmp_path: Path) -> None:
    app = showing(made.stalling())
    at = made.stalling().taken_at.timestamp()
    with Memory(tmp_path) as memory:
        memory.add(Reading(at, "ca-outage", "stalling", "on", {}))
    with Journal(tmp_path, clock=lambda: at + 60) as journal:
        operation = journal.begin("off", "root", "the sites hang", {"stapling_then": "off"}, [])
        journal.finish(operation.id, "done", {"sentence": "All quick."})
    text = words(app)
    assert "stapling turned off" in text
    assert "Turning stapling off by root (the sites hang): done. All quick." in text
    assert "HTTPS handshakes hung" not in text
    assert "Nothing has been changed yet" not in text
    with Journal(tmp_path) as journal:
        (one,) = known(journal)
    answer = get(app, f"p=history/report/{one.id}")
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="incident-{one.id}.md"'
    assert "## Timeline" in answer.text
    assert get(app, "p=history/report/none").status_code == 404


def test_the_guide_s_steps_stay_done_with_what_was_seen(showing: Shown, tmp_path: Path) -> None:
    app = showing(made.stalling())
    at = made.stalling().taken_at.timestamp()
    with Journal(tmp_path, clock=lambda: at + 60) as journal:
        operation = journal.begin("off", "root", "the sites hang", {"stapling_then": "off"}, [])
        journal.finish(operation.id, "done", {"message": "All quick."})
    guide = get(app, "p=guide").text
    assert "Sites waited more than 3.5 s from" in guide
    assert "Stapling was turned off at" in guide
    assert "No site was tested since the last change" not in guide


def test_the_guide_s_steps_stay_done_once_it_is_solved(showing: Shown, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    off = ConfigurationEvidence(on=False, origin=Origin.PLUGIN)

    def checked(found: Evidence, ago: float, source: str = "check") -> None:
        judged = result.judged(replace(found, taken_at=now - timedelta(seconds=ago)))
        result.store(tmp_path, judged, source)

    def changed(action: str, ago: float) -> None:
        with Journal(tmp_path, clock=lambda: now.timestamp() - ago) as journal:
            operation = journal.begin(action, "root", "", {"stapling_then": action}, [])
            journal.finish(operation.id, "done", {})

    app = showing(made.healthy())
    checked(made.stalling(), 600)
    changed("off", 540)
    checked(replace(made.healthy(), configuration=off), 400)
    changed("on", 300)
    checked(made.healthy(), 0)
    guide = get(app, "p=guide").text
    assert "Solved." in guide
    assert "Stapling was turned off at" in guide
    assert "Stapling is on. It healed, and root turned stapling on again." in guide
    assert "helps only while handshakes stall" not in guide


def test_a_history_that_was_damaged_is_said_also_after_another_was_begun(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"damaged " * 1000)
    with Journal(tmp_path) as journal:
        assert journal.lost
    for _ in range(2):
        text = words(app)
        assert "journal.sqlite.damaged-" in text
        assert "Nothing has been changed yet" not in text
