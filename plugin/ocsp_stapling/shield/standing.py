"""How the shield stands: wished for or not, whether the relay answers, what it holds and what it lacks."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.shield import relay, store
from ocsp_stapling.shield.refresh import Wanted, read_attempts

PORT = 340
WISH = "shield.json"
_ASK_SECONDS = 1.0


@dataclass(frozen=True)
class Standing:
    """The shield at one moment. Times are seconds since the epoch."""

    port: int
    """0: the shield is not wished for."""
    answering: bool
    """Whether the relay answers."""
    certificate_count: int
    """How many certificates Apache asks about."""
    held_count: int
    """How many of them have an answer that is still valid."""
    revoked: tuple[str, ...]
    """Sites whose certificate its authority has revoked."""
    missing: tuple[str, ...]
    """Sites without an answer."""
    missing_must_staple: tuple[str, ...]
    """Those of them that browsers refuse without a staple."""
    earliest_end: int | None
    """When the first answer ends that is not replaced by then."""
    oldest: int | None
    """When the oldest answer was signed."""
    failures: tuple[tuple[str, int], ...]
    """Why asking failed, most frequent first."""
    damaged: tuple[str, ...]
    """Files of the store that hold no answer."""


def standing(
    wanted: Sequence[Wanted], state_directory: Path, directory: Path, now: float | None = None
) -> Standing:
    """Return how the shield stands for these certificates."""
    moment = time.time() if now is None else now
    kept, damaged = store.load(directory)
    held = {one.cert_id: kept[one.cert_id] for one in wanted if one.cert_id in kept}
    valid = {cert_id: each for cert_id, each in held.items() if each.until > moment}
    attempts = read_attempts(state_directory)
    reasons: dict[str, int] = {}
    for one in wanted:
        if attempt := attempts.get(one.cert_id):
            reasons[attempt.reason] = reasons.get(attempt.reason, 0) + 1
    lacking = [one for one in wanted if one.cert_id not in valid]
    port = wished_port(state_directory)
    return Standing(
        port=port,
        answering=bool(port) and answers(port),
        certificate_count=len(wanted),
        held_count=len(valid),
        revoked=tuple(
            one.site for one in wanted if one.cert_id in valid and valid[one.cert_id].status == "revoked"
        ),
        missing=tuple(one.site for one in lacking),
        missing_must_staple=tuple(one.site for one in lacking if one.must_staple),
        earliest_end=min((each.until for each in valid.values()), default=None),
        oldest=min((each.this_update for each in valid.values()), default=None),
        failures=tuple(sorted(reasons.items(), key=lambda pair: -pair[1])),
        damaged=damaged,
    )


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
    question = b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n\x30\x00"
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as opened:
            opened.sendall(question)
            reply = b""
            while chunk := opened.recv(4096):
                reply += chunk
    except OSError:
        return False
    return reply.startswith(b"HTTP/1.0 200 ") and reply.endswith(relay.TRY_LATER)
