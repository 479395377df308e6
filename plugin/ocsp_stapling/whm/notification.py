"""Telling people: a mail to the server's contact and what became of it, and an executable of the operator's.

WHM has no API to send an arbitrary notification; root's contact stands in /etc/wwwacct.conf (cPanel's
documentation, "Basic WebHost Manager Setup"), and every cPanel server has /usr/sbin/sendmail. What became of a mail
stands in Exim's log (its specification, "Log files"): `<=` it arrived (with `id=` its Message-ID), `=>` and `->`
delivered, `==` put off, `**` failed, `Completed`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import time
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

from ocsp_stapling.problem import Problem
from ocsp_stapling.run import run

SENDMAIL = Path("/usr/sbin/sendmail")
WWWACCT = Path("/etc/wwwacct.conf")
_CONTACT = re.compile(r"^CONTACTEMAIL\s+(.+)$", re.M)
_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+|root")
_SECONDS = 20.0


def contacts(wwwacct: Path = WWWACCT) -> tuple[str, ...]:
    """Return the addresses of the server's contact; root if none is set or the file cannot be read."""
    try:
        found = _CONTACT.search(wwwacct.read_text(errors="replace"))
    except OSError:
        found = None
    addresses = re.split(r"[,\s]+", found[1].strip()) if found else []
    return tuple(each for each in addresses if _ADDRESS.fullmatch(each)) or ("root",)


def message(to: tuple[str, ...], subject: str, text: str, ticket: str = "") -> EmailMessage:
    """Return a mail with a plain subject and, if there is one, the ticket attached as text."""
    mail = EmailMessage()
    mail["To"] = ", ".join(to)
    mail["From"] = f"OCSP Stapling <root@{socket.gethostname()}>"
    mail["Subject"] = " ".join(_encodable(subject).split())[:200]
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid("ocsp-stapling")
    # Vacation answers and the like must not come back (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(_encodable(text))
    if ticket:
        mail.add_attachment(_encodable(ticket), filename="ticket.txt")
    return mail


def _encodable(text: str) -> str:
    """Names that are not UTF-8 reach us as lone surrogates; they must not cost the mail."""
    return text.encode("utf-8", "replace").decode()


def send(mail: EmailMessage, sendmail: Path = SENDMAIL) -> None:
    """Hand a mail to the server's own mail system. Raises Problem `mail-failed`."""
    done = run([str(sendmail), "-t", "-i", "-f", "root"], timeout=_SECONDS, input=mail.as_bytes())
    if not done.ok:
        reason = "did not end in time" if done.timed_out else f"ended with status {done.code}"
        raise Problem("mail-failed", f"The mail could not be sent: {sendmail} {reason}.", done.err[-1000:])


def call_hook(command: str, document: Mapping[str, Any]) -> None:
    """Run the operator's executable with one JSON document on its standard input; no shell is involved.

    Raises Problem `hook-failed`, also when somebody other than root could have written the file.
    """
    try:
        # The real path is run, so that no link on the way can be turned elsewhere after the look at it.
        path = Path(command).resolve(strict=True)
        safe = stat.S_ISREG(path.stat().st_mode) and all(map(_only_roots, (path, *path.parents)))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "its links lead in circles"
        raise Problem("hook-failed", f"notify.command {command} cannot be run: {reason}.") from error
    if not safe:
        sentence = (
            f"notify.command {command} was not run: it must be a file that only root can write or replace."
        )
        raise Problem("hook-failed", sentence)
    done = run([str(path)], timeout=_SECONDS, input=json.dumps(document))
    if not done.ok:
        reason = "did not end in time" if done.timed_out else f"ended with status {done.code}"
        raise Problem("hook-failed", f"notify.command {command} {reason}.", done.err[-1000:])


def _only_roots(path: Path) -> bool:
    """Whether only root can write this file, or put another one into this directory's place for ours."""
    found = path.stat()
    sticky = stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_ISVTX)
    return found.st_uid == 0 and (sticky or not stat.S_IMODE(found.st_mode) & 0o022)


LOG = Path("/var/log/exim_mainlog")
_TAIL = 256 * 1024
_TICK = 0.25
_SHOWN = 300
_DELIVERED, _FAILED = ("=>", "->"), "**"


def fate(message_id: str, within: float, log: Path = LOG) -> str:
    """Return in a sentence what the log says of a mail, "" if nothing; `within` seconds are waited for its end."""
    deadline = time.monotonic() + within
    while True:
        told, ended = _told(_tail(log), message_id)
        if ended or time.monotonic() >= deadline or not log.exists():
            return told
        time.sleep(_TICK)


def _told(lines: list[str], message_id: str) -> tuple[str, bool]:
    wanted = f"id={message_id.strip('<>')}"
    mine = next((_fields(line)[0] for line in lines if " <= " in line and wanted in line.split()), "")
    if not mine:
        return "", False
    events = [(flag, rest) for one, flag, rest in map(_fields, lines) if one == mine]
    for flag, rest in reversed(events):
        if flag == _FAILED:
            return f"Exim could not deliver it: {rest}", True
        if flag in _DELIVERED:
            return f"Exim delivered it: {rest}", True
        if flag == "==":
            return f"Exim puts it off and tries again: {rest}", True
    return "Exim took it and has not delivered it yet.", False


def _fields(line: str) -> tuple[str, str, str]:
    """The message, the flag and the rest of a line: `2026-05-04 03:00:00 [pid] 1tX-0001-AB => who ...`."""
    words = [word for word in line.split() if not word.startswith("[")][2:]
    rest = "".join(c if c.isprintable() else "?" for c in " ".join(words[2:]))[:_SHOWN]
    return (words[0], words[1], rest) if len(words) > 2 else ("", "", "")


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL, 0))
            return file.read(_TAIL).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
