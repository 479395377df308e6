"""A mail that was not taken is kept, told and tried again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ocsp_stapling.cli.doctor import running
from ocsp_stapling.problem import Problem
from ocsp_stapling.watch import outbox, tools
from ocsp_stapling.watch.policy import ActionKind, Task, Topic
from ocsp_stapling.whm import notification
from ocsp_stapling.whm.notification import fate


class MailSystem:
    """A sendmail that refuses until it is mended, and keeps what it takes."""

    def __init__(self, directory: Path) -> None:
        self.path, self.box, self.broken = directory / "sendmail", directory / "box", directory / "broken"
        self.box.mkdir()
        self.broken.touch()
        self.path.write_text(
            f"#!/bin/sh\n[ -e {self.broken} ] && exit 75\ncat >{self.box}/$(ls {self.box} | wc -l)\n"
        )
        self.path.chmod(0o755)

    def taken(self) -> list[str]:
        return [path.read_text() for path in sorted(self.box.iterdir())]


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MailSystem:
    made = MailSystem(tmp_path)
    monkeypatch.setattr(notification.send, "__defaults__", (made.path,))
    return made


def lose(directory: Path, subject: str) -> None:
    with pytest.raises(Problem, match="could not be sent"):
        outbox.deliver(directory, notification.message(("root",), subject, "body", "the ticket"))


def test_a_mail_that_was_not_taken_is_told_and_goes_when_it_can(tmp_path: Path, system: MailSystem) -> None:
    lose(tmp_path, "sites hang")
    lose(tmp_path, "still")
    assert outbox.post(tmp_path).sentence.startswith("2 mails of the watch could not be delivered since ")
    assert "ended with status 75" in outbox.post(tmp_path).sentence
    assert running.mails(tmp_path).state == "warning"
    with pytest.raises(Problem, match="could not be sent"):
        outbox.retry(tmp_path, time.time() + 300)
    assert outbox.post(tmp_path).waiting == 2
    system.broken.unlink()
    assert outbox.retry(tmp_path, time.time()) == 0, "what this pass tried in vain is for the next one"
    assert outbox.retry(tmp_path, time.time() + 300) == 2
    assert ["Subject: sites hang" in text for text in system.taken()] == [True, False]
    assert "the ticket" in system.taken()[0] or "dGhlIHRpY2tldA" in system.taken()[0]
    assert outbox.post(tmp_path).sentence == ""
    assert running.mails(tmp_path).state == "ok"


@pytest.mark.parametrize("end", ["", "."])
def test_a_mail_begins_with_a_whole_sentence_however_its_reason_ends(end: str) -> None:
    task = Task(
        ActionKind.NOTIFY, f"a certificate is revoked: browsers refuse it{end}", Topic.REVOKED, "revoked"
    )
    body = tools._text(task, {"sentence": "Seen.", "advice_sentence": "Issue it anew."})
    assert body.partition("\n")[0] == "A certificate is revoked: browsers refuse it."


def test_old_mails_and_too_many_go_unsent(tmp_path: Path, system: MailSystem) -> None:
    for number in range(23):
        lose(tmp_path, str(number))
    assert outbox.post(tmp_path).waiting == 20
    system.broken.unlink()
    assert outbox.retry(tmp_path, time.time() + 4 * 86400) == 0
    assert (outbox.post(tmp_path).waiting, system.taken()) == (0, [])


def test_a_test_mail_tells_whether_it_was_taken(tmp_path: Path, system: MailSystem) -> None:
    taken, told = outbox.send_test(tmp_path, "web1.example.com")
    assert not taken
    assert "could not be sent" in told
    assert outbox.post(tmp_path).waiting == 0
    system.broken.unlink()
    taken, told = outbox.send_test(tmp_path, "web1.example.com")
    assert taken
    assert "was handed to the server's mail system" in told
    assert "Subject: OCSP stapling on web1.example.com: test" in system.taken()[0]
    assert outbox.post(tmp_path).test.endswith(told)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("=> admin@example.com R=dkim T=remote", "Exim delivered it: admin@example.com"),
        (
            "== admin@example.com R=dkim defer (111): Connection refused",
            "Exim puts it off and tries again: admin",
        ),
        (
            "** admin@example.com: Unrouteable address",
            "Exim could not deliver it: admin@example.com: Unrouteable",
        ),
        ("", "Exim took it and has not delivered it yet."),
    ],
)
def test_what_became_of_a_mail_stands_in_exim_s_log(tmp_path: Path, line: str, said: str) -> None:
    log = tmp_path / "exim_mainlog"
    other = "2026-05-04 03:00:01 1tY-0002-CD => else@example.com R=x"
    mine = "2026-05-04 03:00:00 1tX-0001-AB <= root@host U=root P=local S=900 id=abc.1@host"
    log.write_text(
        "\n".join([mine, other, f"2026-05-04 03:00:01 [77] 1tX-0001-AB {line}" if line else ""]) + "\n"
    )
    assert fate("<abc.1@host>", 0, log).startswith(said)
    assert fate("<another@host>", 0, log) == ""
    assert fate("<abc.1@host>", 0, tmp_path / "none") == ""
