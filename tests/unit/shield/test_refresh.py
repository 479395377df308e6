"""Answers are fetched ahead, verified, and never lost to a failure; a dead responder delays nobody else's."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ocsp_stapling import settings
from ocsp_stapling.cli.shield import _refresh
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.request import ocsp_request
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.shield import keeping, standing, store
from ocsp_stapling.shield.book import TRY_LATER
from ocsp_stapling.shield.refresh import Pass, Refresher, Wanted, cert_id_of, due_at, read_attempts
from tests.unit.ocsp.authority import DAY, NOW, answer, error_answer, issue, key, make_authority
from tests.unit.shield.test_relay import read_book

CA, STRANGER = make_authority(), make_authority("A stranger", 7)
ISSUER = parse(CA.certificate.public_bytes(Encoding.DER))
GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


class World:
    """Responders that do as told, and a clock that only moves when somebody waits."""

    def __init__(self, base: Path) -> None:
        self.base, self.now = base, NOW.timestamp()
        self.behaviour: dict[str, str] = {}
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.certificates: list[Wanted] = []

    def site(self, host: str = "ocsp.a.test", name: str = "a.test") -> Wanted:
        made = issue(CA, f"http://{host}", common_name=name)
        leaf = parse(made.public_bytes(Encoding.DER))
        one = Wanted(cert_id_of(leaf, ISSUER), leaf, ISSUER, f"http://{host}", name, False)
        self.answers[one.cert_id] = answer(CA, made, GOOD)
        self.certificates.append(one)
        self.made = made
        return one

    def ask(self, targets: Sequence[Target]) -> list[ResponderFinding]:
        found = []
        slow = False
        for target in targets:
            assert target.certificate is not None
            host = target.url.removeprefix("http://")
            self.asked.append(host)
            how = self.behaviour.get(host, "good")
            slow = slow or how == "hang"
            cert_id = cert_id_of(target.certificate, ISSUER)
            outcome = Outcome.REPLY_TIMEOUT if how == "hang" else Outcome.OK
            text = "" if how == "hang" else base64.b64encode(self.answers[cert_id]).decode()
            address = AddressFinding("192.0.2.1", "ipv4", outcome, answer=text)
            found.append(ResponderFinding(target.url, host, 80, True, 1.0, 1, (address,)))
        self.now += 6.0 if slow else 0.05  # the child's own deadline
        return found

    def run(self, seconds: float = 60.0, at_once: bool = False) -> object:
        def sleep(pause: float) -> None:
            self.now += pause

        refresher = Refresher(self.base / "store", self.base / "state", self.ask, lambda: self.now, sleep)
        return refresher.run(self.certificates, seconds, at_once)

    def held(self) -> dict[str, store.Kept]:
        return store.load(self.base / "store")[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_good_answer_is_kept_and_not_asked_for_again_before_half_its_life(world: World) -> None:
    one = world.site()
    world.run()
    kept = world.held()[one.cert_id]
    assert (kept.status, kept.answer) == ("good", world.answers[one.cert_id])
    world.run()
    assert world.asked == ["ocsp.a.test"]
    assert kept.next_update is not None
    due = due_at(kept, world.now)
    life = kept.next_update - kept.this_update
    assert 0.5 * life <= due - kept.this_update <= 0.6 * life


def test_a_failure_never_takes_a_valid_answer_away_and_is_tried_again_ever_later(world: World) -> None:
    one = world.site()
    world.run()
    kept = world.held()[one.cert_id]
    world.behaviour["ocsp.a.test"] = "hang"
    assert kept.next_update is not None
    world.now = kept.this_update + 0.7 * (kept.next_update - kept.this_update)
    waits = []
    for _ in range(6):
        world.run()
        attempt = read_attempts(world.base / "state")[one.cert_id]
        waits.append(round((attempt.next_try - world.now) / 60))
        world.now = attempt.next_try + 1
    assert world.held()[one.cert_id] == kept
    assert waits == [5, 10, 20, 40, 60, 60]
    assert attempt.reason == Outcome.REPLY_TIMEOUT.sentence


def test_a_person_who_asks_need_not_wait_for_the_next_try_where_no_valid_answer_is_held(world: World) -> None:
    one = world.site("ocsp.a.test")
    world.run()
    (kept,) = world.held().values()
    world.site("ocsp.b.test")
    world.behaviour = {"ocsp.a.test": "hang", "ocsp.b.test": "hang"}
    world.now = kept.this_update + 0.7 * (kept.until - kept.this_update)
    for at_once, asked in ((False, ["ocsp.a.test", "ocsp.b.test"]), (False, []), (True, ["ocsp.b.test"])):
        world.asked.clear()
        world.run(at_once=at_once)
        assert sorted(world.asked) == asked
    world.now = kept.until - 60
    world.run()
    world.now = kept.until + 1
    world.asked.clear()
    world.run(at_once=True)
    assert sorted(world.asked) == ["ocsp.a.test", "ocsp.b.test"]
    assert one.cert_id in read_attempts(world.base / "state")


def test_the_command_asks_at_once_and_the_watch_in_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    chosen = settings.Settings(state_directory=tmp_path)
    here = SimpleNamespace(endpoints=(), stapling=SimpleNamespace(on=True), relay_port=0)
    standing.wish(tmp_path, 340)
    monkeypatch.setattr(settings, "load", lambda: chosen)
    monkeypatch.setattr(keeping, "look_at_server", lambda _directory: here)
    monkeypatch.setattr(keeping, "_identity", lambda _here: None)

    def run(_self: Refresher, _every: object, _seconds: float, at_once: bool) -> Pass:
        seen.append(at_once)
        return Pass()

    monkeypatch.setattr(Refresher, "run", run)
    _refresh(1.0)
    keeping.refresh_now(chosen, 1.0)
    assert seen == [True, False]


def by_a_customer(certificate: x509.Certificate) -> bytes:
    """Signed with a certificate of the authority's that may not sign answers."""
    customer = issue(CA, common_name="customer.test", number=3)
    return answer(CA, certificate, signer=(customer, key(3)))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda made: answer(CA, made, UNKNOWN), "does not know this certificate"),
        (lambda made: answer(STRANGER, made, GOOD), "another certificate"),
        (lambda made: answer(CA, made, GOOD)[:-9] + bytes(9), "did not sign this answer"),
        (by_a_customer, "may not sign for this authority"),
        (lambda made: answer(CA, made, updates=(NOW - 9 * DAY, NOW - DAY)), "has expired"),
        (lambda made: answer(CA, made, updates=(NOW + 9 * DAY, NOW + 19 * DAY)), "dated in the future"),
        (lambda _: answer(CA, issue(CA), GOOD), "another certificate"),
        (lambda made: answer(CA, made, GOOD, digest=hashes.SHA256()), "another digest"),
        (lambda _: bytes(10_240), "larger than Apache keeps"),
        (lambda _: error_answer(ocsp.OCSPResponseStatus.UNAUTHORIZED), "refuses to answer"),
        (lambda _: b"<html>", "not an OCSP answer"),
    ],
    ids=[
        *("unknown", "stranger", "altered", "wrong delegate", "stale", "future", "other certificate"),
        *("SHA-256", "too large", "unauthorized", "HTML"),
    ],
)
def test_a_wrong_answer_is_never_kept_takes_no_good_one_away_and_its_reason_is(
    world: World, wrong: Callable[[x509.Certificate], bytes], reason: str
) -> None:
    one = world.site()
    good, world.answers[one.cert_id] = world.answers[one.cert_id], wrong(world.made)
    world.run()
    assert world.held() == {}
    assert reason in read_attempts(world.base / "state")[one.cert_id].reason
    world.now += 400
    world.answers[one.cert_id] = good
    world.run()
    kept = world.held()[one.cert_id]
    assert kept.next_update is not None
    world.answers[one.cert_id] = wrong(world.made)
    world.now = kept.next_update - 400
    if reason != "dated in the future":  # by then it is not any more
        world.run()
        assert world.held()[one.cert_id] == kept
        assert reason in read_attempts(world.base / "state")[one.cert_id].reason


def test_what_apache_would_refuse_for_its_time_is_not_kept(world: World) -> None:
    one = world.site()
    world.answers[one.cert_id] = answer(CA, world.made, updates=(NOW + timedelta(seconds=100), NOW + DAY))
    world.certificates[:] = [replace(one, skew=0)]
    world.run()
    assert world.held() == {}
    world.now -= 1000
    world.certificates[:] = [replace(one, skew=1200)]
    world.run(at_once=True)
    assert list(world.held()) == [one.cert_id]


def test_a_clock_that_was_wrong_for_a_while_costs_no_refresh(world: World) -> None:
    """A year ahead at boot, then set right: neither what failed nor what was kept then waits for that year."""
    one, now = world.site(), world.now
    world.now = now + 365 * 86_400
    world.run()
    assert world.held() == {}  # it is stale by that clock
    world.now = now
    world.run()
    assert one.cert_id in world.held()
    os.utime(world.base / "store" / store.name_of(one.cert_id), (now + 365 * 86_400,) * 2)
    world.run()
    assert world.asked == ["ocsp.a.test"] * 3


def test_a_verified_revocation_replaces_a_good_answer_at_once(world: World) -> None:
    one = world.site()
    world.run()
    world.answers[one.cert_id] = answer(CA, world.made, REVOKED)
    kept = world.held()[one.cert_id]
    assert kept.next_update is not None
    world.now = kept.this_update + 0.7 * (kept.next_update - kept.this_update)
    world.run()
    assert world.held()[one.cert_id].status == "revoked"


def test_one_dead_responder_with_very_many_certificates_delays_the_others_by_seconds(world: World) -> None:
    leaf = world.site("ocsp.dead.test")
    for number in range(1000):
        world.certificates.append(
            Wanted(f"{number:088x}", leaf.certificate, ISSUER, "http://ocsp.dead.test", "d.test", False)
        )
    others = [world.site("ocsp.b.test", f"b{number}.test") for number in range(12)]
    world.behaviour["ocsp.dead.test"] = "hang"
    begun = world.now
    world.run()
    kept_at = [(world.base / "store" / store.name_of(one.cert_id)).stat().st_mtime for one in others]
    assert max(kept_at) - begun < 10
    assert world.now - begun < 60
    assert world.asked.count("ocsp.dead.test") <= 5


def test_a_hanging_responder_rests_however_many_urls_lead_to_it(world: World) -> None:
    """Each of them would cost the others a round of six seconds, three times."""
    for number in range(40):
        lost = world.site(f"ocsp.dead.test/{number}", f"d{number}.test")
        world.behaviour[lost.url.removeprefix("http://")] = "hang"
    others = [world.site("ocsp.b.test", f"b{number}.test") for number in range(12)]
    begun = world.now
    world.run()
    kept_at = [(world.base / "store" / store.name_of(one.cert_id)).stat().st_mtime for one in others]
    assert max(kept_at) - begun < 10
    assert sum(each.startswith("ocsp.dead.test") for each in world.asked) <= 5


def test_urls_that_hang_on_a_host_that_answers_elsewhere_take_nobody_elses_turn(world: World) -> None:
    lost = [world.site(f"ocsp.a.test/{number}", f"bad{number}.test") for number in range(3)]
    for one in lost:
        world.behaviour[one.url.removeprefix("http://")] = "hang"
    honest = [world.site(name=f"good{number}.test") for number in range(20)]
    world.run()
    assert {one.cert_id for one in honest} == set(world.held())


def test_what_is_missing_for_a_moment_is_kept_and_goes_when_it_has_ended(world: World) -> None:
    one = world.site()
    world.run()
    until = world.held()[one.cert_id].until
    world.certificates = []
    world.run()
    assert list(world.held()) == [one.cert_id]
    world.now = until + 1
    world.run()
    assert world.held() == {}


def test_certificates_that_no_responder_knows_keep_nobody_from_being_asked_about(world: World) -> None:
    strangers = [world.site(name=f"bad{number}.test") for number in range(40)]
    for one in strangers:
        world.answers[one.cert_id] = answer(STRANGER, world.made, GOOD)
    honest = [world.site(name=f"good{number}.test") for number in range(20)]
    world.run()
    assert {one.cert_id for one in honest} == set(world.held())
    assert set(read_attempts(world.base / "state")) == {one.cert_id for one in strangers}


def test_a_url_that_leads_nowhere_does_not_rest_its_host(world: World) -> None:
    lost = [world.site("ocsp.a.test/nowhere", f"bad{number}.test") for number in range(20)]
    world.behaviour["ocsp.a.test/nowhere"] = "hang"
    honest = [world.site(name=f"good{number}.test") for number in range(20)]
    world.run()
    assert {one.cert_id for one in honest} == set(world.held())
    assert world.asked.count("ocsp.a.test/nowhere") <= 5 < len(lost)


def test_very_many_hosts_are_asked_a_bounded_number_at_a_time(world: World) -> None:
    sizes = []
    ask = world.ask
    world.ask = lambda targets: sizes.append(len(targets)) or ask(targets)  # type: ignore[method-assign,func-returns-value]
    every = [world.site(f"ocsp{number}.test") for number in range(250)]
    world.run()
    assert sizes == [60, 60, 60, 60, 10]
    assert len(world.held()) == len(every)


def test_to_one_responder_five_questions_at_once_and_ten_a_second(world: World) -> None:
    for number in range(40):
        world.site(name=f"s{number}.test")
    sizes = []
    ask = world.ask
    world.ask = lambda targets: sizes.append(len(targets)) or ask(targets)  # type: ignore[method-assign,func-returns-value]
    begun = world.now
    world.run()
    assert sizes == [5] * 8
    assert world.now - begun >= 40 / 10


def test_a_responder_that_gives_the_same_answer_again_is_not_asked_at_every_pass(world: World) -> None:
    one = world.site()
    world.run()
    kept = world.held()[one.cert_id]
    assert kept.next_update is not None
    world.now = kept.this_update + 0.7 * (kept.next_update - kept.this_update)
    for _ in range(12):
        world.run()
        world.now += 300
    assert len(world.asked) <= 3


def test_a_responder_that_stays_dark_for_days_costs_nothing_until_its_answers_end(world: World) -> None:
    one = world.site()
    world.run()
    until = world.held()[one.cert_id].until
    world.behaviour["ocsp.a.test"] = "hang"
    while world.now < until - 600:
        world.run()
        assert one.cert_id in relayed(world)
        world.now += 300
    world.now = until + 1
    assert relayed(world) == []
    world.behaviour["ocsp.a.test"] = "good"


def relayed(world: World) -> list[str]:
    """What the relay would hand out now."""
    book = read_book(world.base / "store")
    questions = {one.cert_id: ocsp_request(one.certificate, one.issuer) for one in world.certificates}
    found = {cert_id: book.answer(each, world.now) for cert_id, each in questions.items()}
    return [cert_id for cert_id, answer in found.items() if answer != TRY_LATER]


def test_an_answer_without_an_end_is_asked_for_after_half_a_day_and_a_revocation_hourly() -> None:
    kept = store.Kept("ab" * 44, b"x", 0, None, 10, "good", "u")
    assert due_at(kept, 1000.0) == 1000.0 + 12 * 3600
    revoked = store.Kept("ab" * 44, b"x", 0, 99_999, 99_999, "revoked", "u")
    assert due_at(revoked, 1000.0) == 1000.0 + 3600
