"""A responder in order, and an answer about one certificate that is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ocsp_stapling.check.evidence import AskedCertificates, Site
from ocsp_stapling.check.followup import OF_ONE_CERTIFICATE, ask_further, count_asked, told_apart
from ocsp_stapling.check.questions import Single, Subject
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.responder import Target
from tests.unit.ocsp.authority import encoded, issue, make_authority

URL = "http://ocsp.test"
CA = make_authority()
ISSUER = parse(encoded(CA.certificate))


def single(name: str) -> Single:
    return Single(Target(URL, parse(encoded(issue(CA, URL))), ISSUER), (Site(name),))


FIRST, SECOND, THIRD = (single(name) for name in ("a.test", "b.test", "c.test"))
SUBJECT = Subject(
    FIRST.target,
    "CA",
    "issuer",
    (*FIRST.sites, *SECOND.sites, *THIRD.sites, Site("d.test")),
    (),
    asked=FIRST,
    others=(SECOND, THIRD),
)


def finding(outcome: Outcome) -> ResponderFinding:
    addresses = (AddressFinding("192.0.2.8", "ipv4", outcome), AddressFinding("192.0.2.9", "ipv4", outcome))
    return ResponderFinding(URL, "ocsp.test", 80, True, 1.0, 2, addresses, None)


def names(pairs: Sequence[tuple[Subject, ResponderFinding]]) -> list[tuple[tuple[str, ...], Outcome, bool]]:
    return [(tuple(site.name for site in one.sites), found.outcome, bool(one.serial)) for one, found in pairs]


@pytest.mark.parametrize("outcome", sorted(OF_ONE_CERTIFICATE, key=str))
def test_one_certificate_that_is_answered_wrongly_is_told_by_itself(outcome: Outcome) -> None:
    found = told_apart(
        SUBJECT, finding(Outcome.OK), [(SECOND, finding(outcome)), (THIRD, finding(Outcome.OK))]
    )
    assert names(found) == [
        (("a.test", "c.test", "d.test"), Outcome.OK, False),
        (("b.test",), outcome, True),
    ]
    assert found[1][0].serial == SECOND.serial


def test_others_are_asked_about_where_the_answer_about_the_first_is_wrong() -> None:
    """Only an address that answers rightly about others proves that it is a matter of one certificate."""
    asked: list[tuple[str, ...]] = []

    def note(targets: Sequence[Target], _seconds: float) -> list[ResponderFinding]:
        asked.extend(target.at for target in targets)
        return [finding(Outcome.OK) for _ in targets]

    mixed = finding(Outcome.OK)
    bad = replace(mixed.addresses[1], outcome=Outcome.REVOKED)
    mixed = replace(mixed, addresses=(mixed.addresses[0], bad))
    ask_further([(SUBJECT, mixed)], note, 5).result(1e12, {})
    assert asked == [("192.0.2.9",)] * 2


def test_the_first_one_asked_about_does_not_speak_for_the_others() -> None:
    found = told_apart(SUBJECT, finding(Outcome.REVOKED), [(SECOND, finding(Outcome.OK))])
    assert names(found) == [
        (("b.test", "c.test", "d.test"), Outcome.OK, False),
        (("a.test",), Outcome.REVOKED, True),
    ]


def test_what_it_answers_about_all_is_told_of_all() -> None:
    bad = finding(Outcome.UNAUTHORIZED)
    assert told_apart(SUBJECT, bad, [(SECOND, bad), (THIRD, bad)]) == [(SUBJECT, bad)]


def test_of_certificates_that_are_all_revoked_each_is_told_by_itself() -> None:
    every = replace(SUBJECT, sites=(*FIRST.sites, *SECOND.sites, *THIRD.sites))
    bad = finding(Outcome.REVOKED)
    found = told_apart(every, bad, [(SECOND, bad), (THIRD, bad)])
    assert names(found) == [((name,), Outcome.REVOKED, True) for name in ("a.test", "b.test", "c.test")]
    # One that was not asked about may be good.
    assert told_apart(SUBJECT, bad, [(SECOND, bad), (THIRD, bad)]) == [(SUBJECT, bad)]


@pytest.mark.parametrize("outcome", [Outcome.REPLY_TIMEOUT, Outcome.DEADLINE, Outcome.RESET])
def test_that_a_further_question_was_not_answered_says_nothing_of_that_certificate(outcome: Outcome) -> None:
    good = finding(Outcome.OK)
    assert told_apart(SUBJECT, good, [(SECOND, finding(outcome))]) == [(SUBJECT, good)]


def test_a_responder_that_answers_is_asked_once_about_each_further_certificate() -> None:
    asked: list[Target] = []

    def ask(targets: Sequence[Target], _seconds: float) -> list[ResponderFinding]:
        asked.extend(targets)
        return [finding(Outcome.OK) for _ in targets]

    pairs = [(SUBJECT, finding(Outcome.OK)), (SUBJECT, finding(Outcome.CONNECT_TIMEOUT))]
    answers = ask_further(pairs, ask, 1.0).result(1e12, {})
    assert [target.at for target in asked] == [("192.0.2.8",)] * 2
    assert list(answers) == [0]
    assert [one for one, _ in answers[0]] == [SECOND, THIRD]


def test_the_certificates_of_one_responder_do_not_keep_those_of_another_waiting() -> None:
    asked: list[str] = []

    def ask(targets: Sequence[Target], _seconds: float) -> list[ResponderFinding]:
        asked.extend(target.url for target in targets)
        return [finding(Outcome.OK) for _ in targets]

    one = replace(SUBJECT, others=(SECOND, THIRD, SECOND))
    other = replace(SUBJECT, others=(single("d.test"),))
    other = replace(other, others=(replace(other.others[0], target=Target("http://other.test")),))
    ask_further([(one, finding(Outcome.OK)), (other, finding(Outcome.OK))], ask, 1.0).result(1e12, {})

    assert asked == [URL, "http://other.test", URL, URL]


def test_what_was_not_asked_in_time_is_counted() -> None:
    strict = replace(THIRD, must_staple=True)
    whole = replace(SUBJECT, others=(SECOND, strict), certificate_count=10, must_staple_count=4)
    answers = {0: [(SECOND, finding(Outcome.OK)), (strict, finding(Outcome.DEADLINE))]}
    silent = (whole, finding(Outcome.CONNECT_TIMEOUT))

    assert count_asked([(whole, finding(Outcome.OK)), silent], answers) == AskedCertificates(10, 2, 4)
    assert count_asked([(SUBJECT, finding(Outcome.OK))], {}) == AskedCertificates(1, 1, 0)
