"""Another vantage point: the line is what a real shell and a real curl take, and its result is not trusted."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.check import vantage
from ocsp_stapling.check.vantage import command, judge, parse, question_id
from ocsp_stapling.ocsp.certificate import parse as parse_certificate
from ocsp_stapling.ocsp.responder import Target
from ocsp_stapling.problem import Problem
from tests.unit.ocsp.authority import NOW, Responder, answer, encoded, issue, make_authority, replying

CA = make_authority()
LEAF = issue(CA, "http://ocsp.test")
GOOD = answer(CA, LEAF)
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def target(url: str = "http://ocsp.test/a/path") -> Target:
    return Target(url, parse_certificate(encoded(LEAF)), CA.parsed)


def shell(line: str, directory: Path) -> str:
    """Run a line as somebody elsewhere would: in a plain shell."""
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=directory, timeout=60)
    return done.stdout


def printed(body: bytes = GOOD, status: str = "200", identity: str = "") -> str:
    text = base64.encodebytes(body).decode()
    told = f"{identity or question_id(target())} {status} {len(body)} 0.123456 application/ocsp-response"
    return f"OCSP-ELSEWHERE {told}\n{text}OCSP-END\n"


def works(text: str, now: datetime = NOW) -> bool | None:
    found = judge(parse(text), [target()], "another machine", now)
    return found[question_id(target())].works


@pytest.fixture
def responder() -> Iterator[Responder]:
    with Responder(replying(GOOD)) as running:
        yield running


@needs_curl
def test_the_line_asks_the_real_question_and_its_result_is_verified(
    responder: Responder, tmp_path: Path
) -> None:
    asked = target(responder.url + "path")

    replies = parse(shell(command(asked, "127.0.0.1"), tmp_path))

    found = judge(replies, [asked], "another machine", NOW)[question_id(asked)]
    assert found.works is True
    assert responder.requests[0].startswith(b"GET /path/M")
    assert list(tmp_path.iterdir()) == []


@needs_curl
def test_a_question_too_long_for_a_url_is_posted(
    responder: Responder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vantage, "_URL_LIMIT", 50)
    asked = target(responder.url)

    replies = parse(shell(command(asked, "127.0.0.1"), tmp_path))

    assert judge(replies, [asked], "x", NOW)[question_id(asked)].works is True
    assert responder.requests[0].startswith(b"POST / ")
    assert b"application/ocsp-request" in responder.requests[0]


@needs_curl
@pytest.mark.parametrize(
    "path",
    [
        "$(touch%20made)",
        "$(touch${IFS}made)",
        "`touch${IFS}made`",
        "';touch${IFS}made;'",
        '";touch${IFS}made;"',
        "a&b|c>made",
    ],
)
def test_a_hostile_url_reaches_no_shell(responder: Responder, tmp_path: Path, path: str) -> None:
    shell(command(target(f"{responder.url}{path}"), "127.0.0.1", 5), tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert len(responder.requests) == 1


@needs_curl
def test_another_machine_asks_at_the_vetted_address_whatever_the_name_is_there(
    responder: Responder, tmp_path: Path
) -> None:
    port = responder.url.rsplit(":", 1)[1].strip("/")
    asked = target(f"http://ocsp.that-no-resolver-knows.test:{port}/")

    found = judge(parse(shell(command(asked, "127.0.0.1"), tmp_path)), [asked], "x", NOW)

    assert found[question_id(asked)].works is True
    assert command(asked, "") == ""


@needs_curl
def test_another_machine_follows_no_redirect(tmp_path: Path) -> None:
    with Responder(replying(b"", b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:9/\r\n")) as odd:
        asked = target(odd.url)
        found = judge(parse(shell(command(asked, "127.0.0.1"), tmp_path)), [asked], "x", NOW)
        assert len(odd.requests) == 1
    assert "302" in found[question_id(asked)].sentence


@needs_curl
def test_nobody_answering_is_told_as_that(tmp_path: Path) -> None:
    asked = target("http://127.0.0.1:9/")

    found = judge(parse(shell(command(asked, "127.0.0.1", 2), tmp_path)), [asked], "x", NOW)

    assert found[question_id(asked)].works is False
    assert "no answer" in found[question_id(asked)].sentence


@pytest.mark.parametrize(
    "url", ["https://ocsp.test/", "file:///etc/passwd", "http://a b/", "http://x/\n", ""]
)
def test_an_unusable_url_gives_no_line(url: str) -> None:
    assert command(target(url), "192.0.2.1") == ""


def test_without_the_issuer_there_is_no_question() -> None:
    assert command(Target("http://ocsp.test/", parse_certificate(encoded(LEAF))), "192.0.2.1") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (printed(), True),
        (printed(status="500"), False),
        (printed(b"", "000"), False),
        (printed(b"<html>please log in</html>"), False),
        (printed(answer(make_authority("Other", 5), issue(make_authority("Other", 5)))), False),
        (printed(GOOD[:-1] + b"\x00"), False),
        ("root@there:~# f=$(mktemp)\r\n" + printed().replace("\n", "\r\n") + "logout\n", True),
    ],
    ids=[
        "good",
        "http error",
        "no answer",
        "web page",
        "foreign answer",
        "spoiled signature",
        "terminal text",
    ],
)
def test_what_a_pasted_result_means(text: str, expected: bool) -> None:
    assert works(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "OCSP-ELSEWHERE",
        printed().replace("OCSP-END", ""),
        printed().replace("M", "<", 1),
        printed().replace("0.123456", "soon"),
        printed(identity="../../etc/passwd"),
        "OCSP-ELSEWHERE " + "A" * 10_000_000,
    ],
)
def test_text_without_a_whole_result_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="holds no result"):
        parse(text)


def test_a_result_for_another_question_says_nothing() -> None:
    assert judge(parse(printed(identity="0" * 16)), [target()], "x", NOW) == {}


def test_pasted_text_beyond_the_limit_is_not_looked_at() -> None:
    with pytest.raises(Problem):
        parse("\n" * vantage.SIZE_LIMIT + printed())


@given(st.text(max_size=400), st.text(max_size=400))
def test_whatever_is_pasted_around_a_result_neither_crashes_nor_convinces(before: str, after: str) -> None:
    assert works(f"{before}\n{printed()}\n{after}") is True
    with pytest.raises(Problem):
        parse(f"{before}\n{after}")


def test_ssh_runs_the_line_on_the_host_and_nothing_else(
    responder: Responder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ssh of our own, which notes its arguments and is the other machine itself."""
    fake = tmp_path / "ssh"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nexec sh -s\n')
    fake.chmod(0o755)
    monkeypatch.setattr("ocsp_stapling.run.SAFE_PATH", f"{tmp_path}:/usr/bin:/bin")
    asked = [target(responder.url), target(responder.url + "b")]

    found = vantage.ask_by_ssh(["root@there.example"], [(one, "127.0.0.1") for one in asked], 20, NOW)

    assert [told.works for one in asked for told in found[question_id(one)]] == [True, True]
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert "BatchMode=yes" in arguments
    assert arguments[-3:] == ["--", "root@there.example", "sh -s"]


def test_an_ssh_host_that_refuses_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "ssh"
    fake.write_text("#!/bin/sh\necho 'Permission denied' >&2\nexit 255\n")
    fake.chmod(0o755)
    monkeypatch.setattr("ocsp_stapling.run.SAFE_PATH", f"{tmp_path}:/usr/bin:/bin")

    assert vantage.ask_by_ssh(["there"], [(target(), "192.0.2.1")], 20, NOW) == {question_id(target()): ()}
