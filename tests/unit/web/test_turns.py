"""Nobody takes the page away from others: few requests and jobs of one viewer at once, and none of root's refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from flask import Flask

from ocsp_stapling.problem import Problem
from ocsp_stapling.web import turns
from ocsp_stapling.web.context import services
from ocsp_stapling.web.pages import sites
from ocsp_stapling.web.turns import Jobs, Turns
from ocsp_stapling.whm.accounts import Visible
from tests.unit.web import made
from tests.unit.web.asking import OPERATOR, VIEWER, get, post
from tests.unit.web.conftest import Shown


def test_a_viewer_has_a_few_requests_at_once_and_all_viewers_leave_room_for_root() -> None:
    found = Turns()
    for _ in range(turns.REQUESTS_OF_A_VIEWER):
        found.take("one")
    with pytest.raises(Problem, match="several things at once"):
        found.take("one")
    for number in range(turns.REQUESTS_OF_VIEWERS - turns.REQUESTS_OF_A_VIEWER):
        found.take(f"other{number}")
    with pytest.raises(Problem):
        found.take("last")
    found.give_back("one")
    found.take("last")


def test_a_job_runs_beside_its_form_once_and_few_of_them_at_a_time() -> None:
    jobs, gate = Jobs[str](), threading.Event()
    for name in ("a", "a", "b"):
        jobs.begin("one", name, lambda: "met" if gate.wait(10) else "")
    with pytest.raises(Problem):
        jobs.begin("one", "c", lambda: "never")
    jobs.begin("two", "c", lambda: "met")
    gate.set()
    ended(lambda: jobs.look("one", "a"))
    found = jobs.look("one", "a")
    assert found is not None
    assert found.found == "met"
    assert jobs.look("two", "a") is None  # what one asked for is not another's to see


def test_however_many_viewers_meet_sites_that_hang_root_may_meet_one() -> None:
    jobs, gate = Jobs[str](), threading.Event()

    def met() -> str:
        return "met" if gate.wait(20) else ""

    for number in range(turns.JOBS_OF_VIEWERS):
        jobs.begin(f"viewer{number}", "a", met, of_viewer=True)
    with pytest.raises(Problem):
        jobs.begin("one more", "a", met, of_viewer=True)
    jobs.begin("root", "a", met)
    gate.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_job_that_fails_has_ended() -> None:
    jobs = Jobs[str]()
    jobs.begin("one", "a", lambda: str(1 // int("0")))
    ended(lambda: jobs.look("one", "a"))
    assert jobs.look("one", "a").found is None  # type: ignore[union-attr]


def ended(look: Callable[[], turns.Job[str] | None]) -> None:
    deadline = time.monotonic() + 20
    while (found := look()) is None or found.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def app(showing: Shown, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr(sites, "visible_to", lambda *_: Visible(everything=True))
    monkeypatch.setattr("ocsp_stapling.web.pages.picture.visible_to", lambda *_: Visible(everything=True))
    monkeypatch.setattr(sites, "_rows", lambda: [made.row("hanging.example")])
    return showing(replace(made.healthy(), taken_at=datetime.now(UTC)))


def form(app: Flask, **fields: str) -> dict[str, str]:
    with app.app_context():
        return fields | {"csrf": services().tokens.issue(VIEWER)}


def test_the_form_that_meets_a_site_is_answered_while_the_site_hangs(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def met_at(row: sites.SiteRow) -> sites.Met:
        gate.wait(20)
        return sites.Met(row.name, "bad", "Visitors wait.", ())

    monkeypatch.setattr(sites, "met_at", met_at)
    answer = post(app, "p=sites", form(app, site="hanging.example", q="hang"), VIEWER)
    assert answer.headers["Location"] == "?p=sites&met=hanging.example&q=hang"
    assert "Testing hanging.example" in get(app, "p=sites&met=hanging.example", VIEWER).text
    assert get(app, "p=sites/met&met=hanging.example", VIEWER).get_json() == {"ended": False}
    gate.set()
    ended(lambda: jobs_of(app).look(VIEWER.user, "hanging.example"))
    assert "Visitors wait." in get(app, "p=sites&met=hanging.example", VIEWER).text
    assert "Visitors wait." not in get(app, "p=sites&met=hanging.example", OPERATOR).text


def jobs_of(app: Flask) -> Jobs[str]:
    with app.app_context():
        return services().meetings


def test_a_viewer_whose_requests_are_all_under_way_is_told_and_root_is_not(app: Flask) -> None:
    with app.app_context():
        for _ in range(turns.REQUESTS_OF_A_VIEWER):
            services().turns.take(VIEWER.user)
    answer = get(app, "", VIEWER)
    assert (answer.status_code, "too-many" in answer.text) == (429, True)
    assert get(app, "", OPERATOR).status_code == 200
    with app.app_context():
        for _ in range(turns.REQUESTS_OF_A_VIEWER):
            services().turns.give_back(VIEWER.user)
    for _ in range(2 * turns.REQUESTS_OF_A_VIEWER):  # a request that ended counts no more
        assert get(app, "", VIEWER).status_code == 200


def test_a_viewer_starts_no_check_right_after_one(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr("ocsp_stapling.change.checking.Checks.start", lambda *_, **__: started.append("x"))
    post(app, "p=check", form(app), VIEWER)
    assert started == []
    with app.app_context():
        fields = {"csrf": services().tokens.issue(OPERATOR)}
    post(app, "p=check", fields, OPERATOR)
    assert started == ["x"]
