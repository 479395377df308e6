"""Mails that the server's mail system did not take: kept, tried again by every pass, told on the page."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import time
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from ocsp_stapling import files
from ocsp_stapling.problem import Problem
from ocsp_stapling.text import counted
from ocsp_stapling.whm import notification
from ocsp_stapling.whm.notification import fate

_DIRECTORY = "outbox"
_NOTE = "outbox.json"
_KEPT = 20
_KEPT_SECONDS = 3 * 86400.0
"""An older mail would tell what is long over."""
_FRESH_SECONDS = 60.0
_FATE_SECONDS = 4.0


@dataclass(frozen=True)
class Post:
    """How mails stand: how many wait, since when (seconds since the epoch), and why; what became of the last test."""

    waiting: int = 0
    since: float | None = None
    reason: str = ""
    test: str = ""

    @property
    def sentence(self) -> str:
        """What there is to say, "" while nothing waits."""
        if not self.waiting:
            return ""
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        return (
            f"{counted(self.waiting, 'mail')} of the watch could not be delivered since {since}: {self.reason} "
            "Every pass of the watch tries again; `ocsp-stapling watch --test-mail` shows what becomes of one."
        )


def post(directory: Path) -> Post:
    """Return how mails stand."""
    waiting, note = _waiting(directory), _note(directory)
    since = min((_age(path) for path in waiting), default=None)
    return Post(len(waiting), since, str(note.get("reason") or ""), str(note.get("test") or ""))


def deliver(directory: Path, mail: EmailMessage) -> None:
    """Hand a mail over; one that is not taken is kept. Raises Problem `mail-failed`."""
    try:
        notification.send(mail)
    except Problem as problem:
        _keep(directory, mail)
        _noted(directory, reason=problem.sentence)
        raise


def retry(directory: Path, now: float) -> int:
    """Try what waits again, oldest first, until one fails; return how many went. Raises Problem `mail-failed`.

    `now` is in seconds since the epoch; what this very pass tried in vain is left for the next one.
    """
    gone = 0
    for path in _waiting(directory):
        if now - _age(path) < _FRESH_SECONDS:
            continue
        if now - _age(path) > _KEPT_SECONDS:
            path.unlink(missing_ok=True)
            continue
        found = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        if isinstance(found, EmailMessage):
            try:
                notification.send(found)
            except Problem as problem:
                _noted(directory, reason=problem.sentence)
                raise
        path.unlink(missing_ok=True)
        gone += 1
    return gone


def send_test(directory: Path, server: str) -> tuple[bool, str]:
    """Send one to the server's contact; return whether it was taken, and in a sentence what became of it."""
    to = notification.contacts()
    text = (
        "This is a test, asked for by an administrator: mails of the watch of OCSP Stapling for WHM arrive here.\n"
        "Its settings: /etc/ocsp-stapling/config.toml, [notify]\n"
    )
    mail = notification.message(to, f"OCSP stapling on {server}: test", text)
    whom = ", ".join(to)
    try:
        notification.send(mail)
        taken = True
        became = (
            fate(str(mail["Message-ID"]), _FATE_SECONDS)
            or "What becomes of it stands in the mail system's log."
        )
        told = f"The test mail to {whom} was handed to the server's mail system. {became}"
    except Problem as problem:
        taken, told = (
            False,
            f"The test mail to {whom} could not be sent. {problem.sentence} {problem.detail}".strip(),
        )
    with contextlib.suppress(OSError):
        _noted(directory, test=f"{time.strftime('%Y-%m-%d %H:%M')}: {told}")
    return taken, told


def _keep(directory: Path, mail: EmailMessage) -> None:
    """Keep a mail; of very many the oldest go. A disk that is full costs the mail, not the pass."""
    with contextlib.suppress(OSError):
        place = directory / _DIRECTORY
        place.mkdir(mode=0o700, exist_ok=True)
        path = place / f"{time.time_ns()}.eml"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(mail.as_bytes())
        for old in _waiting(directory)[:-_KEPT]:
            old.unlink(missing_ok=True)


def _waiting(directory: Path) -> list[Path]:
    return sorted((directory / _DIRECTORY).glob("[0-9]*.eml"))


def _age(path: Path) -> float:
    """When a mail was written, from its name: a clock that jumps must not make it younger."""
    return int(path.stem) / 1e9 if path.stem.isdigit() else 0.0


def _note(directory: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((directory / _NOTE).read_text())
        return found if isinstance(found, dict) else {}
    return {}


def _noted(directory: Path, **facts: str) -> None:
    with contextlib.suppress(OSError):
        files.write_own(directory / _NOTE, json.dumps(_note(directory) | facts).encode())
