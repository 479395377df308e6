"""Mails and hooks: to the right people, harmless to whoever reads them, never through a shell."""

from __future__ import annotations

import email
import email.policy
import json
import os
from email.message import EmailMessage
from pathlib import Path

import pytest

from ocsp_stapling.problem import Problem
from ocsp_stapling.whm import notification


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("CONTACTEMAIL admin@example.com\n", ("admin@example.com",)),
        ("HOST x\nCONTACTEMAIL a@example.com, b@example.com\nNS ns1\n", ("a@example.com", "b@example.com")),
        ("CONTACTEMAIL -oQ/tmp|x@example.com\n", ("root",)),
        ("CONTACTEMAIL\n", ("root",)),
        ("", ("root",)),
    ],
)
def test_mail_goes_to_the_contact_of_the_server(tmp_path: Path, text: str, wanted: tuple[str, ...]) -> None:
    path = tmp_path / "wwwacct.conf"
    path.write_text(text)
    assert notification.contacts(path) == wanted


def test_without_the_file_root_is_told(tmp_path: Path) -> None:
    assert notification.contacts(tmp_path / "none") == ("root",)


def test_foreign_text_cannot_add_headers() -> None:
    mail = notification.message(("root",), "stalled\nBcc: everybody@example.com", "text")
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert read["Bcc"] is None
    assert read["Subject"] == "stalled Bcc: everybody@example.com"


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def test_the_ticket_travels_as_an_attachment(tmp_path: Path) -> None:
    kept = tmp_path / "mail"
    sendmail = script(tmp_path / "sendmail", f'echo "$@" >{tmp_path}/args; cat >{kept}')
    notification.send(notification.message(("root",), "subject", "body", "the ticket"), sendmail)
    read = email.message_from_bytes(kept.read_bytes(), policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    assert [part.get_content().strip() for part in read.iter_attachments()] == ["the ticket"]
    assert (tmp_path / "args").read_text().split() == ["-t", "-i", "-f", "root"]


def test_a_mail_system_that_fails_is_a_problem_not_a_silence(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        notification.send(notification.message(("root",), "s", "t"), script(tmp_path / "sendmail", "exit 75"))
    assert caught.value.code == "mail-failed"


@pytest.mark.skipif(os.geteuid() != 0, reason="a hook must belong to root")
def test_the_hook_gets_one_json_document(tmp_path: Path) -> None:
    hook = script(tmp_path / "hook", f"cat >{tmp_path}/got")
    notification.call_hook(str(hook), {"topic": "stall", "text": "$(touch /tmp/never)"})
    assert json.loads((tmp_path / "got").read_text())["topic"] == "stall"


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_hook_that_others_could_write_is_not_run(tmp_path: Path, mode: int) -> None:
    hook = script(tmp_path / "hook", f"touch {tmp_path}/ran", mode)
    with pytest.raises(Problem) as caught:
        notification.call_hook(str(hook), {})
    assert caught.value.code == "hook-failed"
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a hook must belong to root")
def test_a_hook_in_a_directory_of_somebody_else_is_not_run(tmp_path: Path) -> None:
    """The file is root's, but whoever owns its directory can put another into its place."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    hook = script(theirs / "hook", f"touch {tmp_path}/ran")
    os.chown(theirs, 65534, 65534)
    (tmp_path / "link").symlink_to(hook)
    for command in (hook, tmp_path / "link"):
        with pytest.raises(Problem) as caught:
            notification.call_hook(str(command), {})
        assert caught.value.code == "hook-failed"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("target", ["missing", "loop"])
def test_a_hook_that_leads_nowhere_is_a_problem(tmp_path: Path, target: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(Problem) as caught:
        notification.call_hook(str(tmp_path / target), {})
    assert caught.value.code == "hook-failed"


def test_names_that_are_not_text_do_not_cost_the_mail() -> None:
    mail = notification.message(("root",), "site \udcff", "site \udcff", "ticket \udcff")
    assert b"ticket.txt" in mail.as_bytes()
