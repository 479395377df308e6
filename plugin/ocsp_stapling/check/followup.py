"""What is asked after the first round: of a failed probe root's view, the firewall, other machines and the route.

Of a responder that answers, its certificates one by one: its answer about one can be wrong all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ocsp_stapling.check import network, vantage
from ocsp_stapling.check.deadline import Part
from ocsp_stapling.check.evidence import AskedCertificates, Elsewhere, PublicAddresses, ResponderEvidence
from ocsp_stapling.check.questions import Single, Subject
from ocsp_stapling.check.vantage import question_id
from ocsp_stapling.host.resolver import NameCheck
from ocsp_stapling.ocsp.finding import HTTP, Outcome, ResponderFinding
from ocsp_stapling.ocsp.responder import Target

OF_ONE_CERTIFICATE = frozenset(
    {
        *(Outcome.REVOKED, Outcome.UNKNOWN, Outcome.UNAUTHORIZED, Outcome.STALE),
        *(Outcome.WRONG_CERTIFICATE, Outcome.BAD_SIGNATURE, Outcome.WRONG_DELEGATE),
    }
)
"""What a responder can answer about one certificate and not about the next, whose issuer may be another."""
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
    if found.outcome in OF_ONE_CERTIFICATE and subject.asked is not None:
        bad, found = [(subject.asked, found), *bad], (good or [found])[0]
    guilty = {site for single, _ in bad for site in single.sites}
    rest = tuple(site for site in subject.sites if site not in guilty)
    revoked = not rest and len(bad) > 1 and all(one.outcome is Outcome.REVOKED for _, one in bad)
    if not bad or not (found.outcome.is_good or revoked):
        return [(subject, found)]  # or it answers so about all of them
    whole = [(replace(subject, sites=rest), found)] if rest else []
    return [*whole, *((_alone(subject, single), one) for single, one in bad)]


def _alone(subject: Subject, single: Single) -> Subject:
    return replace(
        subject, target=single.target, sites=single.sites, doors=single.doors, asked=single, others=()
    )


def _answering(found: ResponderFinding) -> str:
    """An address of the responder that answers; first one at which it does not do so rightly about the first.

    If that address answers so about all, it is no matter of one certificate.
    """
    answering = [one for one in found.addresses if one.outcome.is_good or one.outcome in OF_ONE_CERTIFICATE]
    wrongly = [one for one in answering if not one.outcome.is_good]
    return next((one.address for one in (*wrongly, *answering)), "")


_SECONDS = 1.0
_FURTHER_SECONDS = 3.0
_ASKED_ELSEWHERE = 4
_ASKED_PUBLICLY = 8
_TRACES = 2


class Followup:
    """Begins the further questions that the findings call for; `responders` collects everything."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        findings: Sequence[ResponderFinding],
        worker: str,
        pasted: Mapping[str, Elsewhere],
        ssh_hosts: Sequence[str],
        now: datetime,
        seconds: float,
        *,
        checks: Mapping[str, NameCheck],
        ask: Callable[[Sequence[Target], float], Sequence[ResponderFinding]],
        trace: bool,
    ) -> None:
        self.checks = checks
        self.pairs = list(zip(subjects, findings, strict=True))
        self.pasted = pasted
        short = min(_SECONDS, seconds)
        silent, answering = network.unconnected(findings), network.connected(findings)
        self.more = ask_further(self.pairs, ask, max(short, min(_FURTHER_SECONDS, seconds)))
        self.root = Part("Root's view", lambda: network.root_connects(silent, short))
        self.rules = Part(
            "The firewall", lambda: network.firewall_rules(list(silent), answering, worker, short)
        )
        bad = [
            (s.target, vetted_address(found))
            for s, found in self.pairs
            if not found.outcome.is_good and may_be_asked_elsewhere(found)
        ]
        others = self._publicly_resolved()
        self.public: Part[Sequence[ResponderFinding]] = Part(
            "The publicly resolved addresses", lambda: ask(others, short) if others else ()
        )
        self.told = Part("ssh", lambda: _ask_elsewhere(ssh_hosts, bad, seconds, now))
        traced = list(silent)[:_TRACES] if trace else []
        self.paths = [(address, _trace(address, seconds)) for address in traced]

    def _publicly_resolved(self) -> list[Target]:
        """The same questions at the addresses that only public resolvers give: of responders that fail throughout."""
        found = {
            subject.url: replace(subject.target, at=network.elsewhere_resolved(self.checks.get(finding.host)))
            for subject, finding in self.pairs
            if subject.target.asks
            and not subject.target.via
            and not any(address.outcome.is_good for address in finding.addresses)
        }
        return [target for target in found.values() if target.at][:_ASKED_PUBLICLY]

    def responders(self, deadline: float) -> tuple[ResponderEvidence, ...]:
        """Return the evidence about every responder, with what is known by `deadline`."""
        root = self.root.result(deadline, frozenset())
        rules = self.rules.result(deadline, network.Rules())
        told = self.told.result(deadline, {})
        public = {found.url: found for found in self.public.result(deadline, ())}
        further = self.more.result(deadline, {})
        return tuple(
            replace(
                _evidence(
                    subject, found, self.checks.get(found.host), root, rules, self._elsewhere(subject, told)
                ),
                public=self._public(found, public.get(found.url)),
                serial=subject.serial,
            )
            for number, (whole, first) in enumerate(self.pairs)
            for subject, found in told_apart(whole, first, further.get(number, ()))
        )

    def asked(self, deadline: float) -> AskedCertificates:
        """Return how many certificates were asked about by `deadline`."""
        return count_asked(self.pairs, self.more.result(deadline, {}))

    def _public(self, here: ResponderFinding, there: ResponderFinding | None) -> PublicAddresses | None:
        check = self.checks.get(here.host)
        if there is None or check is None or here.outcome.is_good:
            return None
        asked = tuple(address.address for address in there.addresses)
        right = tuple(address.address for address in there.addresses if address.outcome.is_good)
        return PublicAddresses(asked, right, network.source_of(check))

    def _elsewhere(
        self, subject: Subject, told: Mapping[str, tuple[Elsewhere, ...]]
    ) -> tuple[Elsewhere, ...]:
        identity = question_id(subject.target)
        pasted = self.pasted.get(identity)
        return (*((pasted,) if pasted else ()), *told.get(identity, ()))

    def traces(self, deadline: float) -> dict[str, str]:
        """Return the route to each traced address, as far as a tracer told by `deadline`."""
        found = {address: part.result(deadline, "") for address, part in self.paths}
        return {address: text for address, text in found.items() if text}


def of_turned_off(
    subjects: Sequence[Subject], findings: Sequence[ResponderFinding]
) -> tuple[ResponderEvidence, ...]:
    """Return whether they answer, of responders that Apache does not ask; why they fail is not looked into."""
    pairs, rules = zip(subjects, findings, strict=True), network.Rules()
    return tuple(_evidence(subject, found, None, frozenset(), rules, ()) for subject, found in pairs)


def may_be_asked_elsewhere(found: ResponderFinding) -> bool:
    """Say whether other machines may be made to ask: a customer must not reach what is private to them, either."""
    return found.port == HTTP and bool(found.addresses) and _is_public(found)


def vetted_address(found: ResponderFinding) -> str:
    """Return an address of it that the guard let pass, IPv4 first; "" if its name led to none."""
    ordered = sorted(found.addresses, key=lambda address: address.family != "ipv4")
    return ordered[0].address if ordered and _is_public(found) else ""


def _is_public(found: ResponderFinding) -> bool:
    return not any(address.outcome is Outcome.ADDRESS_FORBIDDEN for address in found.addresses)


def _trace(address: str, seconds: float) -> Part[str]:
    return Part("The route trace", lambda: network.trace(address, seconds))


def _ask_elsewhere(
    hosts: Sequence[str], asked: Sequence[vantage.Pinned], seconds: float, now: datetime
) -> dict[str, tuple[Elsewhere, ...]]:
    if not hosts or not asked:
        return {}
    return vantage.ask_by_ssh(hosts, asked[:_ASKED_ELSEWHERE], seconds, now)


def _evidence(
    subject: Subject,
    found: ResponderFinding,
    check: NameCheck | None,
    root: frozenset[str],
    rules: network.Rules,
    told: tuple[Elsewhere, ...],
) -> ResponderEvidence:
    own = {address.address for address in found.addresses}
    fitting = [hint for hint in rules.hints if own & set(hint.destinations)]
    unread = [rules.unread] if rules.unread and network.unconnected([found]) else []
    return ResponderEvidence(
        found,
        subject.authority,
        subject.issuer,
        subject.sites,
        root_connects=root & own,
        name_state=network.name_state(check),
        name_sentence=check.sentence if check else "",
        dead_nameservers=check.dead_nameservers if check else (),
        blocked_by=tuple(hint.text for hint in fitting if hint.certain and not hint.replies),
        replies_blocked_by=tuple(hint.text for hint in fitting if hint.certain and hint.replies),
        perhaps_blocked_by=(*(hint.text for hint in fitting if not hint.certain), *unread),
        elsewhere=told,
        command=vantage.command(subject.target, vetted_address(found)),
        shared=subject.weight[0] > 1,
        expired_only=subject.expired,
        operator=subject.operator,
        steering=subject.steered_by,
    )
