"""What visitors meet now: few handshakes for however many look, nobody waits for one, and each sees their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import Handshake
from ocsp_stapling.web import live
from ocsp_stapling.web.live import Live
from ocsp_stapling.web.pages import live as page
from ocsp_stapling.whm.accounts import Visible
from tests.unit.web import made
from tests.unit.web.asking import VIEWER, get
from tests.unit.web.conftest import Shown


class Server:
    """A server whose handshakes end when it is told to, and which counts them."""

    def __init__(self) -> None:
        self.met: list[Door] = []
        self.answers = threading.Event()
        self.staple: bytes | None = b"staple"

    def handshake(self, door: Door, *, ask: bool, limit: float) -> Handshake:
        self.met.append(door)
        done = self.answers.wait(min(limit, 5))
        return Handshake(door, ask, 0.006 if done else limit, "" if done else "timeout", self.staple)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    found = Server()
    monkeypatch.setattr(live, "handshake", found.handshake)
    yield found
    found.answers.set()


def door(name: str) -> Door:
    return Door("127.0.0.1", 443, name)


def settled(here: Live, one: Door) -> live.Now:
    deadline = time.monotonic() + 10
    while (now := here.look(one)).last is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return now


def test_all_who_look_at_a_site_share_one_handshake(server: Server) -> None:
    here = Live()
    for _ in range(50):
        here.look(door("a"))
    assert here.look(door("a")).waiting is not None
    server.answers.set()
    settled(here, door("a"))
    for _ in range(50):
        here.look(door("a"))
    assert len(server.met) == 1


def test_a_slow_site_is_left_alone_for_longer_until_something_changes(server: Server) -> None:
    here = Live()
    slow, quick = here._sites.setdefault(door("slow"), live._Site()), live._Site()
    slow.last = Handshake(door("slow"), True, 3.1)
    quick.last = Handshake(door("quick"), True, 0.006)
    slow.begun = quick.begun = 100.0
    assert here._is_due(quick, 106.0)
    assert not here._is_due(slow, 106.0)
    assert here._is_due(slow, 110.0)
    here.forget()
    assert here.look(door("slow")).waiting is not None


def test_two_sites_at_most_are_met_at_once_and_nobody_waits(server: Server) -> None:
    here = Live()
    began = time.monotonic()
    seen = [here.look(door(f"site{n}")) for n in range(20)]
    assert time.monotonic() - began < 1
    assert len([one for one in seen if one.waiting is not None]) == live.AT_ONCE


def test_in_a_minute_no_more_than_a_set_number_is_met(server: Server) -> None:
    server.answers.set()
    here = Live()
    for n in range(live.A_MINUTE):
        settled(here, door(f"site{n}"))
    assert here.look(door("one more")) == live.Now(None, None)
    assert len(server.met) == live.A_MINUTE


def test_the_line_says_how_long_and_whether_with_a_staple(showing: Shown, server: Server) -> None:
    app = showing(made.stalling())  # another site took longer, but this one's responder is silent
    first = get(app, "p=live&format=json").json
    assert first == {"site": "site000.sectigo.example", "text": "being tested…", "tone": "calm", "again": 1.0}
    server.answers.set()
    deadline = time.monotonic() + 10
    while (found := get(app, "p=live&format=json").json)["text"] == "being tested…":  # type: ignore[index]
        assert time.monotonic() < deadline
    assert found == {
        "site": "site000.sectigo.example",
        "text": "6 ms, with staple",
        "tone": "good",
        "again": live.EVERY_SECONDS,
    }


@pytest.mark.parametrize(
    ("last", "waiting", "tone", "words"),
    [
        (None, 4.2, "bad", "waiting for 4 s and not answered yet"),
        (Handshake(door("a"), True, 10.0, "timeout"), None, "bad", "not answered within 10.0 s"),
        (Handshake(door("a"), True, 0.1, "reset"), None, "bad", "the handshake fails (reset)"),
        (Handshake(door("a"), True, 3.1, "", b"x"), None, "bad", "3.1 s, with staple"),
        (Handshake(door("a"), True, 0.007), 0.1, "good", "7 ms, without staple"),
    ],
)
def test_what_is_met_is_told_in_words(
    last: Handshake | None, waiting: float | None, tone: str, words: str
) -> None:
    assert page._words(live.Now(last, waiting)) == (tone, words)


def test_a_viewer_sees_a_site_of_their_own_or_none(
    showing: Shown, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Visible(frozenset({"site000.sectigo.example"}))
    monkeypatch.setattr(page, "visible_to", lambda _: own)
    app = showing(made.stalling())
    assert get(app, "p=live&format=json", VIEWER).json["site"] == "site000.sectigo.example"  # type: ignore[index]
    nothing = replace(made.stalling(), handshakes=made.stalling().handshakes[1:3])
    assert get(showing(nothing), "p=live&format=json", VIEWER).json == {}


def test_what_was_seen_a_while_ago_is_not_told_as_now(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers.set()
    here, clock = Live(), time.monotonic
    assert settled(here, door("a")).last is not None
    server.answers.clear()
    monkeypatch.setattr(time, "monotonic", lambda: clock() + live._FRESH_SECONDS + 1)
    assert here.look(door("a")).last is None
    monkeypatch.undo()
