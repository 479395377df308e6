"""The fetcher: asks for what Apache would ask, ahead of time, verifies, and keeps what can be stapled.

An answer is due at half of its life. The asking is done by the probe's child without root, with its guard; root
verifies again before anything is stored. A failure never replaces a valid answer.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import shuffle
from typing import NamedTuple

from ocsp_stapling.host.routes import own_addresses
from ocsp_stapling.ocsp import responder
from ocsp_stapling.ocsp.answer import SKEW_SECONDS, Verdict, verify_answer
from ocsp_stapling.ocsp.certificate import Certificate, parse
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.ocsp.issuer import is_signed_by, issuer_of
from ocsp_stapling.ocsp.request import certificate_id
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.certificate_files import by_account, certificates_in, read_in_turn
from ocsp_stapling.server.certificate_memory import Pair
from ocsp_stapling.server.sites import Endpoint, EndpointCertificate, host_of
from ocsp_stapling.settings import ProbeSettings
from ocsp_stapling.shield import store
from ocsp_stapling.shield.store import Kept
from ocsp_stapling.text import shown

DIRECTORY = Path("/var/lib/ocsp-stapling-shield")
ATTEMPTS = "shield-attempts.json"
AT_ONCE = 5
"""Questions to one responder side by side; two rounds a second make ten."""
_ROUND_SECONDS = 0.5
_READ_AT_MOST = 4
"""Answers about one certificate that are verified, of those that its responder's addresses gave."""
_REST_AFTER = 3
"""Failures in a row after which a responder rests for the pass."""
_HANGING = (Outcome.DNS_TIMEOUT, Outcome.CONNECT_TIMEOUT, Outcome.REPLY_TIMEOUT, Outcome.DEADLINE)
_BACK_OFF_SECONDS = (300.0, 3600.0)
_PROBE_SECONDS = 6.0
_WITHOUT_END_SECONDS = 12 * 3600
_WITHOUT_END_KEPT_SECONDS = 7 * 86400
_REVOKED_SECONDS = 3600
_SAME_AGAIN_SECONDS = 3600.0
_ROUND_QUESTIONS = 60
"""In one round, to all responders together: the child looks as many names up side by side, so none waits."""

Ask = Callable[[Sequence[Target]], Sequence[ResponderFinding]]


@dataclass(frozen=True)
class Wanted:
    """A certificate about which Apache asks."""

    cert_id: str
    certificate: Certificate
    issuer: Certificate
    url: str
    """The responder that the certificate itself names."""
    site: str
    must_staple: bool
    skew: int = SKEW_SECONDS
    """Seconds that Apache forgives an answer's times, wherever it staples this one."""


class Need(NamedTuple):
    """What the shield needs answers for."""

    certificates: list[Wanted]
    unread: tuple[str, ...]
    """Sites with a certificate whose turn to be read did not come this time: those of its account take too long."""


@dataclass(frozen=True)
class Attempt:
    """How asking about one certificate failed last: how often in a row, why, and when it may be tried again."""

    failures: int
    next_try: float
    reason: str
    responder: str = ""
    """Its host."""
    failed_at: float = 0.0
    """Seconds since the epoch; 0: not noted."""


@dataclass(frozen=True)
class Pass:
    """What one pass did: how many answers were stored, and what failed, by CertID."""

    asked: int = 0
    stored: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    left: int = 0
    """Due and not asked: their responder rests, or the time was up."""
    why_none: str = "No answer is due."
    """Why nothing was asked, if nothing was."""


def wanted(endpoints: Iterable[Endpoint], stapling: bool = True) -> Need:
    """Return every certificate that Apache staples, once each, with its issuer and the responder it names.

    `stapling` is whether it is on for the server. While it is off, those that it will staple when it is on again:
    their answers must be there then.
    """
    stapled = [
        (endpoint, one)
        for endpoint in endpoints
        if endpoint.stapling or (not stapling and endpoint.override is None)
        for one in endpoint.certificates
        if one.ocsp_urls and one.chain_complete and not one.expired
    ]
    read, found, unread = _read_all(stapled), dict[str, Wanted](), dict[str, None]()
    for endpoint, one in stapled:
        if _files(one) not in read:
            unread[endpoint.name] = None
        elif pair := read[_files(one)].pair:
            url = _usable(one.ocsp_urls)
            each = Wanted(cert_id_of(*pair), *pair, url, endpoint.name, one.must_staple, endpoint.skew)
            if each.cert_id not in found or _is_forged(found[each.cert_id], each):
                found[each.cert_id] = each
            elif found[each.cert_id].certificate.der == each.certificate.der:
                skew = min(found[each.cert_id].skew, each.skew)
                found[each.cert_id] = replace(found[each.cert_id], skew=skew)
    return Need(list(found.values()), tuple(unread))


def _read_all(stapled: Sequence[tuple[Endpoint, EndpointCertificate]]) -> Mapping[Pair, _Reading]:
    """One account's files that take long to read keep nobody else's from it; each look reads others of them."""
    owners = {_files(one): endpoint.owner or "" for endpoint, one in stapled}
    accounts = by_account(list(owners), owners)
    for files in accounts:
        shuffle(files)
    return read_in_turn(accounts, _read, lambda reading: reading.size)


def _files(one: EndpointCertificate) -> Pair:
    return str(one.file), str(one.issuer_file or "")


def _is_forged(one: Wanted, other: Wanted) -> bool:
    """Whether two certificates share a CertID, and the first is not its issuer's.

    Anybody can write issuer and serial number of another customer's certificate into one of his own, with a
    responder of his own.
    """
    return one.certificate.der != other.certificate.der and not is_signed_by(
        one.certificate.der, one.issuer.der
    )


def _usable(urls: Sequence[str]) -> str:
    """The first URL that can be asked; Apache knows `http` alone, and only the first of all."""
    return next((url for url in urls if url.lower().startswith("http://")), urls[0])


class _Reading(NamedTuple):
    """A certificate and its issuer, None if they cannot be had, and how many bytes were read for it."""

    size: int
    pair: tuple[Certificate, Certificate] | None


def _read(pair: Pair) -> _Reading:
    files, size = [Path(name) for name in pair if name], 0
    try:
        size = sum(path.stat().st_size for path in files)
        leaf, *others = (parse(block) for path in files for block in certificates_in(path))
        issuer = issuer_of(leaf, others)
    except (OSError, ValueError, Problem):
        return _Reading(size, None)
    return _Reading(size, (leaf, issuer) if issuer else None)


def cert_id_of(certificate: Certificate, issuer: Certificate) -> str:
    """Return the CertID by which mod_ssl asks, in hexadecimal."""
    found = certificate_id(certificate, issuer)
    serial = found.serial.to_bytes(found.serial.bit_length() // 8 + 1, "big", signed=True)
    return (found.issuer_name_hash + found.issuer_key_hash + serial).hex()


def due_at(kept: Kept, stored_at: float) -> float:
    """Return when an answer is to be asked for again (seconds since the epoch); spread, lest all come at once.

    A responder that still gives an answer whose half-life is over is asked again after a tenth of what is left, an
    hour at most.
    """
    if kept.status != "good":
        return stored_at + _REVOKED_SECONDS
    if kept.next_update is None:
        return stored_at + _WITHOUT_END_SECONDS
    spread = int(kept.cert_id[-4:], 16) / 0xFFFF
    due = kept.this_update + (0.50 + 0.10 * spread) * (kept.next_update - kept.this_update)
    return max(due, stored_at + min(_SAME_AGAIN_SECONDS, 0.1 * (kept.next_update - stored_at)))


class Refresher:
    """One pass over what is due. `ask` puts the questions; a test brings its own `clock` and `sleep`."""

    def __init__(
        self,
        directory: Path,
        state_directory: Path,
        ask: Ask,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.directory, self.ask, self.clock, self.sleep = directory, ask, clock, sleep
        self._notes = state_directory / ATTEMPTS
        self._attempts = read_attempts(state_directory)

    def run(self, every: Sequence[Wanted], seconds: float, at_once: bool = False) -> Pass:
        """Ask for what is due, for `seconds` at most, and keep what is good. Raises OSError if that cannot be.

        `at_once`: a person asks, so what is missing is asked for however lately that failed.
        """
        kept, _ = store.load(self.directory)
        store.make_directory(self.directory)
        known = {one.cert_id for one in every}
        store.discard_ended(self.directory, known, self.clock())
        queues: dict[str, list[Wanted]] = {}
        for one in self._in_turn(every):
            if self._is_due(one, kept.get(one.cert_id), at_once):
                queues.setdefault(host_of(one.url), []).append(one)
        found = self._rounds(queues, kept, self.clock() + seconds)
        self._remember({name: each for name, each in self._attempts.items() if name in known})
        return found

    def _in_turn(self, every: Sequence[Wanted]) -> list[Wanted]:
        """Put them in order: what keeps failing takes nobody else's turn, and no URL all the turns of its host."""
        seen: Counter[str] = Counter()
        turns: list[tuple[int, int]] = []
        for one in every:
            turns.append((self._failures(one), seen[one.url]))
            seen[one.url] += 1
        order = sorted(range(len(every)), key=turns.__getitem__)
        return [every[number] for number in order]

    def _failures(self, one: Wanted) -> int:
        attempt = self._attempts.get(one.cert_id)
        return attempt.failures if attempt else 0

    def _is_due(self, one: Wanted, kept: Kept | None, at_once: bool) -> bool:
        now = self.clock()
        attempt = self._attempts.get(one.cert_id)
        # A try that is further away than any rest lasts was noted before the clock was set back.
        rests = attempt is not None and now < attempt.next_try <= now + _BACK_OFF_SECONDS[1]
        if kept is None or kept.until <= now:
            return at_once or not rests
        if rests:
            return False
        stored_at = store.stored_at(self.directory, kept)
        return now >= due_at(kept, stored_at) or stored_at > now  # the clock was set back

    def _rounds(self, queues: dict[str, list[Wanted]], kept: Mapping[str, Kept], end: float) -> Pass:
        asked = stored = 0
        failed: dict[str, str] = {}
        in_a_row: dict[str, int] = {}
        while self.clock() < end:
            batch = _next_round(queues, in_a_row)
            if not batch:
                break
            begun = self.clock()
            findings = self.ask(
                [Target(one.url, one.certificate, one.issuer, keep=True, skew=one.skew) for one in batch]
            )
            for one, finding in zip(batch, findings, strict=True):
                asked += 1
                reason = self._take(one, finding, kept.get(one.cert_id))
                stored += not reason
                silent = bool(reason) and not any(each.answer for each in finding.addresses)
                _count(in_a_row, one.url, silent)
                _count(in_a_row, host_of(one.url), silent and _hung(finding))
                if reason:
                    failed[one.cert_id] = reason
            self.sleep(max(0.0, _ROUND_SECONDS - (self.clock() - begun)))
        return Pass(asked, stored, failed, sum(map(len, queues.values())))

    def _take(self, one: Wanted, finding: ResponderFinding, before: Kept | None) -> str:
        """Keep the answer that counts of those of all addresses; return "" or why there is none."""
        reason = finding.sentence if finding.fault or not finding.addresses else ""
        usable = []
        for address in _worth_reading(finding.addresses):
            made, told = self._verified(one, finding, address)
            if made is None:
                reason = reason or told
            elif _replaces(made, before, self.clock()):
                usable.append(made)
            else:
                reason = reason or "The answer is older than the one that is kept."
        if usable:
            best = max(usable, key=lambda each: (each.status != "good", each.this_update))
            store.write(self.directory, best, self.clock())
            self._attempts.pop(one.cert_id, None)
            return ""
        self._note_failure(one, reason or "no answer")
        return reason or "no answer"

    def _note_failure(self, one: Wanted, reason: str) -> None:
        failures = self._failures(one) + 1
        shortest, longest = _BACK_OFF_SECONDS
        wait = min(shortest * 2 ** (failures - 1), longest) if failures < 10 else longest
        now = self.clock()
        self._attempts[one.cert_id] = Attempt(failures, now + wait, reason, shown(host_of(one.url)), now)

    def _verified(
        self, one: Wanted, finding: ResponderFinding, address: AddressFinding
    ) -> tuple[Kept | None, str]:
        try:
            answer = base64.b64decode(address.answer, validate=True)
        except (binascii.Error, ValueError):
            answer = b""
        if not answer:
            return None, address.sentence
        if len(answer) > store.MAX_ANSWER_BYTES:
            return None, "The answer is larger than Apache keeps."
        now = self.clock()
        said = verify_answer(answer, one.certificate, one.issuer, datetime.fromtimestamp(now, UTC), one.skew)
        if said.verdict not in (Verdict.GOOD, Verdict.REVOKED) or said.this_update is None:
            return None, said.verdict.sentence
        if not said.apache_accepts:
            return (
                None,
                "The answer names the certificate by another digest than SHA-1, which Apache does not staple.",
            )
        ends = round(said.next_update.timestamp()) if said.next_update else None
        until = ends if ends is not None else round(now) + _WITHOUT_END_KEPT_SECONDS
        status = "good" if said.verdict is Verdict.GOOD else "revoked"
        return Kept(
            one.cert_id, answer, round(said.this_update.timestamp()), ends, until, status, shown(finding.url)
        ), ""

    def _remember(self, attempts: Mapping[str, Attempt]) -> None:
        text = json.dumps({name: asdict(each) for name, each in attempts.items()})
        self._notes.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._notes.with_name(f".{self._notes.name}.{os.getpid()}")
        fresh.write_text(text)
        fresh.replace(self._notes)


def _worth_reading(addresses: Sequence[AddressFinding]) -> list[AddressFinding]:
    """The addresses of which one answer may be kept or one reason told: a few, for hostile ones cost time to verify.

    The child has read them: a revocation comes first, then the newest.
    """
    differing = {each.answer: each for each in reversed(addresses) if each.answer}
    silent = [each for each in addresses if not each.answer]
    answered = sorted(differing.values(), key=lambda each: (each.outcome is Outcome.REVOKED, _signed(each)))
    return [*reversed(answered), *silent][:_READ_AT_MOST]


def _signed(address: AddressFinding) -> float:
    return address.this_update.timestamp() if address.this_update else 0.0


def _count(in_a_row: dict[str, int], who: str, failed: bool) -> None:
    in_a_row[who] = in_a_row.get(who, 0) + 1 if failed else 0


def _hung(finding: ResponderFinding) -> bool:
    """Whether all that asking brought was waiting."""
    outcomes = [finding.fault] if finding.fault else [each.outcome for each in finding.addresses]
    return all(outcome in _HANGING for outcome in outcomes)


def _next_round(queues: dict[str, list[Wanted]], in_a_row: Mapping[str, int]) -> list[Wanted]:
    """Take the next questions off the queues: a few to each host, none to a URL that rests.

    Hosts are limited, for several URLs may lead to one. URLs rest, for a customer's may lead nowhere on a host that
    is well; a host, where whatever was asked of it hung: each of its URLs would cost everybody a round of waiting.
    """
    batch: list[Wanted] = []
    for host in list(queues):
        if in_a_row.get(host, 0) >= _REST_AFTER:
            continue
        awake = [one for one in queues[host] if in_a_row.get(one.url, 0) < _REST_AFTER]
        chosen = awake[: min(AT_ONCE, _ROUND_QUESTIONS - len(batch))]
        if chosen:
            batch += chosen
            taken = {one.cert_id for one in chosen}
            # To the end: with very many hosts those that waited come first in the next round.
            queues[host] = [one for one in queues.pop(host) if one.cert_id not in taken]
    return batch


def _replaces(made: Kept, before: Kept | None, now: float) -> bool:
    """Whether an answer may take the place of the kept one: a revocation always, else only what is no older."""
    if before is None or before.until <= now or made.this_update >= before.this_update:
        return True
    return made.status != "good" and before.status == "good"


def read_attempts(state_directory: Path) -> dict[str, Attempt]:
    """Return how asking failed last, by CertID; nothing if that cannot be read."""
    try:
        found = json.loads((state_directory / ATTEMPTS).read_text())
        return {
            str(name): Attempt(
                int(each["failures"]),
                float(each["next_try"]),
                str(each["reason"]),
                str(each.get("responder", "")),
                float(each.get("failed_at", 0)),
            )
            for name, each in found.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def asking(settings: ProbeSettings, who: tuple[int, int] | None) -> Ask:
    """Return what puts questions as Apache's worker user does, with the guard and within one deadline."""
    uid, gid = who or (None, None)

    def ask(targets: Sequence[Target]) -> Sequence[ResponderFinding]:
        return responder.probe(
            [replace(target, keep=True) for target in targets],
            uid=uid,
            gid=gid,
            deadline_seconds=_PROBE_SECONDS,
            timeout_seconds=settings.timeout_seconds,
            allowed_networks=settings.allow_networks,
            own_addresses=own_addresses(),
        )

    return ask
