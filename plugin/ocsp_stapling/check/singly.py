"""Certificates one by one: a responder can be in order and its answer about one certificate wrong all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ocsp_stapling.check.deadline import Part
from ocsp_stapling.check.evidence import AskedCertificates
from ocsp_stapling.check.subject import Single, Subject
from ocsp_stapling.ocsp.finding import Outcome, ResponderFinding
from ocsp_stapling.ocsp.responder import Target

OF_ONE_CERTIFICATE = frozenset(
    {Outcome.REVOKED, Outcome.UNKNOWN, Outcome.UNAUTHORIZED, Outcome.STALE, Outcome.WRONG_CERTIFICATE}
)
"""What a responder can answer about one certificate and not about the next."""
Pair = tuple[Subject, ResponderFinding]
Answers = Sequence[tuple[Single, ResponderFinding]]
Ask = Callable[[Sequence[Target], float], Sequence[ResponderFinding]]


def ask_further(pairs: Sequence[Pair], ask: Ask, seconds: float) -> Part[Mapping[int, Answers]]:
    """Begin to ask about the further certificates of each pair, by its number: of a responder that answers.

    One of each responder in turn, so that in `seconds` none is kept from its own by another's hundreds.
    """
    turns = [
        (turn, number, single, replace(single.target, at=(address,)))
        for number, (subject, found) in enumerate(pairs)
        if (address := _answering(found))
        for turn, single in enumerate(subject.others)
    ]
    asked = [(number, single, target) for _, number, single, target in sorted(turns, key=lambda one: one[0])]

    def answers() -> Mapping[int, Answers]:
        told = ask([target for *_, target in asked], seconds) if asked else ()
        found: dict[int, list[tuple[Single, ResponderFinding]]] = {}
        for (number, single, _), one in zip(asked, told, strict=True):
            found.setdefault(number, []).append((single, one))
        return found

    return Part("The questions about further certificates", answers)


def count_asked(pairs: Sequence[Pair], answers: Mapping[int, Answers]) -> AskedCertificates:
    """Return how many certificates were asked about in time, of those whose responder answers."""
    named = asked = strict = 0
    for number, (subject, found) in enumerate(pairs):
        if subject.asked is None or not _answering(found):
            continue
        told = [single for single, one in answers.get(number, ()) if one.outcome is not Outcome.DEADLINE]
        named += subject.certificate_count
        asked += len(told) + 1
        strict += subject.must_staple_count - sum(one.must_staple for one in (subject.asked, *told))
    return AskedCertificates(named, asked, strict)


def told_apart(subject: Subject, found: ResponderFinding, answers: Answers) -> list[Pair]:
    """Return the subject without the certificates that alone are answered wrongly, and each of these by itself."""
    bad = [(single, one) for single, one in answers if one.outcome in OF_ONE_CERTIFICATE]
    good = [one for _, one in answers if one.outcome.is_good]
    if found.outcome in OF_ONE_CERTIFICATE:
        if not good or subject.asked is None:
            return [(subject, found)]  # it answers so about all of them
        bad, found = [(subject.asked, found), *bad], good[0]
    if not bad:
        return [(subject, found)]
    guilty = {site for single, _ in bad for site in single.sites}
    rest = tuple(site for site in subject.sites if site not in guilty)
    whole = [(replace(subject, sites=rest), found)] if rest else []
    return [*whole, *((_alone(subject, single), one) for single, one in bad)]


def _alone(subject: Subject, single: Single) -> Subject:
    return replace(
        subject, target=single.target, sites=single.sites, doors=single.doors, asked=single, others=()
    )


def _answering(found: ResponderFinding) -> str:
    """An address of the responder that answers, if not rightly about the first certificate."""
    right = (
        one.address for one in found.addresses if one.outcome.is_good or one.outcome in OF_ONE_CERTIFICATE
    )
    return next(right, "")
