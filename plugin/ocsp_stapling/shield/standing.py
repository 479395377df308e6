"""How the shield stands: wished for or not, whether the relay answers, what it holds and what it lacks."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ocsp_stapling.server.sites import host_of
from ocsp_stapling.shield import book, relay, store
from ocsp_stapling.text import counted, listed

if TYPE_CHECKING:
    from ocsp_stapling.shield.refresh import Attempt, Wanted

PORT = 340
WISH = "shield.json"
STUCK_FAILURES = 3
"""After so many in a row, more than half an hour, an answer is not expected to be replaced by itself."""
_LAMENTED_SECONDS = 7 * 86400
"""So long an answer that has ended is missed; afterwards it is as if it had never been held: nobody waits for it."""
_ASK_SECONDS = 1.0
_REPLY_BYTES = 4096
_COUNT = re.compile(rb"\r\n%b: (\d{1,20})\r\n" % relay.COUNT_HEADER.encode())


@dataclass(frozen=True)
class ShieldedResponder:
    """The answers of one responder that the shield holds and lacks."""

    host: str
    held_count: int = 0
    missing_count: int = 0
    failing_count: int = 0
    """For how many certificates the last question failed."""
    earliest_end: datetime | None = None
    """When the first of those that are held ends."""
    stuck_site: str | None = None
    """Whose answer ends first of those for which no new one has come for several questions."""
    stuck_end: datetime | None = None
    """When that is, or was."""
    ended_count: int = 0
    """How many of those that are missing were held until they ended, within the last week."""


@dataclass(frozen=True)
class LastFailure:
    """The question that failed last, of those without a success since."""

    site: str
    responder: str
    """Its host."""
    reason: str
    at: datetime | None
    """None if that is not known."""


@dataclass(frozen=True)
class ShieldEvidence:
    """How the shield stands, as a check keeps it: Apache asks a relay on this machine, which holds answers."""

    answering: bool
    """Whether the relay answers."""
    held_count: int
    """How many certificates have an answer that is still valid."""
    certificate_count: int
    """About how many Apache asks."""
    missing_must_staple: tuple[str, ...] = ()
    """Sites that browsers refuse without a staple, and for which none is held."""
    earliest_end: datetime | None = None
    """When the first of the answers ends that is not replaced by then."""
    revoked: tuple[str, ...] = ()
    """Sites whose certificate its authority has revoked."""
    responders: tuple[ShieldedResponder, ...] = ()
    question_count: int | None = None
    """Questions answered since the relay was started; None if it does not answer."""


@dataclass(frozen=True, kw_only=True)
class Standing(ShieldEvidence):
    """The shield at one moment, with what only its own page and command tell."""

    port: int
    """0: the shield is not wished for."""
    missing: tuple[str, ...] = ()
    """Sites without an answer."""
    oldest: datetime | None = None
    """When the oldest answer was signed."""
    failures: tuple[tuple[str, int], ...] = ()
    """Why asking failed, most frequent first."""
    damaged: tuple[str, ...] = ()
    """Files of the store that hold no answer."""
    unread: tuple[str, ...] = ()
    """Sites with a certificate that was not read: those of its account take too long. The next look reads others."""

    @property
    def unread_words(self) -> str:
        """What was not read and what that means, "" if all was."""
        if not self.unread:
            return ""
        return (
            f"Not read for the shield: certificates of {counted(self.unread, 'site')} ({listed(self.unread)}), "
            "because those of their account take too long to read. The next look reads others of them; files far "
            "larger than a certificate and its chain are best replaced."
        )

    next_refresh: datetime | None = None
    """When the first of all is due to be asked about; the watch does it with its next look from then on."""
    last_failure: LastFailure | None = None

    @property
    def stuck(self) -> list[tuple[datetime, str, str]]:
        """End (or past end), site and responder of answers without a new one, one per responder, in order."""
        return sorted(
            (one.stuck_end, one.stuck_site, one.host)
            for one in self.responders
            if one.stuck_end is not None and one.stuck_site is not None
        )


def standing(
    wanted: Sequence[Wanted],
    unread: Sequence[str],
    state_directory: Path,
    directory: Path,
    now: float | None = None,
) -> Standing:
    """Return how the shield stands for these certificates; of sites in `unread` one could not be looked at."""
    # Asking authorities takes long to load, and a change only wants to know the relay's port.
    from ocsp_stapling.shield.refresh import due_at, read_attempts

    moment = time.time() if now is None else now
    kept, damaged = store.load(directory)
    held = {one.cert_id: kept[one.cert_id] for one in wanted if one.cert_id in kept}
    held = {cert_id: each for cert_id, each in held.items() if each.until > moment - _LAMENTED_SECONDS}
    valid = {cert_id: each for cert_id, each in held.items() if each.until > moment}
    attempts = read_attempts(state_directory)
    lacking = [one for one in wanted if one.cert_id not in valid]
    port = wished_port(state_directory)
    count = question_count(port) if port else None
    due = _next_refresh(wanted, valid, attempts, lambda each: due_at(each, store.stored_at(directory, each)))
    return Standing(
        port=port,
        answering=count is not None,
        certificate_count=len(wanted),
        held_count=len(valid),
        revoked=_revoked(wanted, valid),
        missing=tuple(one.site for one in lacking),
        missing_must_staple=tuple(one.site for one in lacking if one.must_staple),
        earliest_end=_moment(min((each.until for each in valid.values()), default=None)),
        oldest=_moment(min((each.this_update for each in valid.values()), default=None)),
        failures=_reasons(wanted, attempts),
        damaged=damaged,
        unread=tuple(unread),
        responders=_of_responders(wanted, held, valid, attempts),
        question_count=count,
        next_refresh=_moment(due),
        last_failure=_last_failure(wanted, attempts),
    )


def _revoked(wanted: Sequence[Wanted], valid: Mapping[str, store.Kept]) -> tuple[str, ...]:
    return tuple(
        one.site for one in wanted if one.cert_id in valid and valid[one.cert_id].status == "revoked"
    )


def _reasons(wanted: Sequence[Wanted], attempts: Mapping[str, Attempt]) -> tuple[tuple[str, int], ...]:
    found = Counter(attempts[one.cert_id].reason for one in wanted if one.cert_id in attempts)
    return tuple(found.most_common())


def _moment(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def _next_refresh(
    wanted: Sequence[Wanted],
    valid: Mapping[str, store.Kept],
    attempts: Mapping[str, Attempt],
    due_again: Callable[[store.Kept], float],
) -> int | None:
    """What is not held is due at once; what failed, not before its next try."""
    due = []
    for one in wanted:
        kept, attempt = valid.get(one.cert_id), attempts.get(one.cert_id)
        wished = due_again(kept) if kept else 0.0
        due.append(max(wished, attempt.next_try if attempt else 0.0))
    return round(min(due)) if due else None


def _last_failure(wanted: Sequence[Wanted], attempts: Mapping[str, Attempt]) -> LastFailure | None:
    failed = [(attempts[one.cert_id], one) for one in wanted if one.cert_id in attempts]
    if not failed:
        return None
    attempt, one = max(failed, key=lambda pair: pair[0].failed_at)
    return LastFailure(one.site, attempt.responder, attempt.reason, _moment(round(attempt.failed_at) or None))


def _of_responders(
    wanted: Sequence[Wanted],
    kept: Mapping[str, store.Kept],
    valid: Mapping[str, store.Kept],
    attempts: Mapping[str, Attempt],
) -> tuple[ShieldedResponder, ...]:
    hosts: dict[str, list[Wanted]] = {}
    for one in wanted:
        hosts.setdefault(host_of(one.url), []).append(one)
    found = []
    for host, every in hosts.items():
        held = [(valid[one.cert_id].until, one) for one in every if one.cert_id in valid]
        failures = {one.cert_id: attempts[one.cert_id].failures for one in every if one.cert_id in attempts}
        stuck = [  # those that have ended, too: they are what the warning was about
            (kept[one.cert_id].until, one.site)
            for one in every
            if one.cert_id in kept and failures.get(one.cert_id, 0) >= STUCK_FAILURES
        ]
        first = min((until for until, _ in held), default=None)
        end, site = min(stuck, default=(None, None))
        ended = sum(one.cert_id in kept for one in every) - len(held)
        missing = len(every) - len(held)
        ends = _moment(first), site, _moment(end)
        found.append(ShieldedResponder(host, len(held), missing, len(failures), *ends, ended))
    return tuple(found)


def wished_port(state_directory: Path) -> int:
    """Return the relay's port if the shield is wished for, else 0."""
    try:
        port = json.loads((state_directory / WISH).read_text())["port"]
    except (OSError, ValueError, TypeError, KeyError):
        return 0
    return port if isinstance(port, int) and 0 < port < 65536 else 0


def wish(state_directory: Path, port: int) -> None:
    """Note that the shield is wished for (port 0: not any more). Raises OSError."""
    path = state_directory / WISH
    if not port:
        path.unlink(missing_ok=True)
        return
    state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{WISH}.{os.getpid()}")
    fresh.write_text(json.dumps({"port": port}))
    fresh.replace(path)


def answers(port: int, seconds: float = _ASK_SECONDS) -> bool:
    """Ask the relay something that nobody can answer, and say whether it says tryLater at once."""
    return question_count(port, seconds) is not None


def question_count(port: int, seconds: float = _ASK_SECONDS) -> int | None:
    """Ask the relay how many questions it has answered; None if what answers there is none, or nothing does."""
    question = b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n\x30\x00"
    reply = b""
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as opened:
            opened.sendall(question)
            while len(reply) < _REPLY_BYTES and (chunk := opened.recv(4096)):
                reply += chunk
    except OSError:
        return None
    count = _COUNT.search(reply)
    ours = reply.startswith(b"HTTP/1.0 200 ") and reply.endswith(book.TRY_LATER)
    return int(count[1]) if ours and count else None
