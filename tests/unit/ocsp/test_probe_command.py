"""`ocsp-stapling probe` as its users meet it: exit status, one JSON document, words for people."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner, Result
from cryptography.x509 import ocsp

from ocsp_stapling.cli.probe import as_text, find_subject, probe
from ocsp_stapling.cli.probe import document as told_of
from ocsp_stapling.ocsp.finding import Outcome, ResponderFinding
from ocsp_stapling.problem import Problem

from .authority import (
    DAY,
    NOW,
    Responder,
    answer,
    issue,
    make_authority,
    pem,
    replying,
    silent_listener,
    was_contacted,
)

CA = make_authority()


def call(*arguments: str) -> Result:
    return CliRunner().invoke(probe, [*arguments, "--timeout", "2", "--deadline", "20"])


def call_json(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = call(*arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def on_loopback(*arguments: str) -> tuple[int, dict[str, Any]]:
    return call_json(*arguments, "--allow", "127.0.0.1")


@pytest.mark.parametrize(
    ("status", "expected", "outcome"),
    [(ocsp.OCSPCertStatus.GOOD, 0, "ok"), (ocsp.OCSPCertStatus.REVOKED, 2, "revoked")],
)
def test_a_certificate_file_with_its_chain(
    tmp_path: Path, status: ocsp.OCSPCertStatus, expected: int, outcome: str
) -> None:
    body = bytearray()

    with Responder(replying(body)) as responder:  # type: ignore[arg-type]
        leaf = issue(CA, responder.url)
        body += answer(CA, leaf, status)
        (tmp_path / "combined").write_bytes(pem(leaf) + pem(CA.certificate))
        code, document = on_loopback(str(tmp_path / "combined"))
    assert (code, document["outcome"], document["target_kind"]) == (expected, outcome, "certificate")
    assert document["exit_status"] == expected
    assert document["certificate"]["subject"] == "www.example.com"
    assert document["responders"][0]["addresses"][0]["certificate_status"] == status.name.lower()


def test_the_issuer_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    with Responder(replying(b"nonsense")) as responder:
        (tmp_path / "leaf").write_bytes(pem(issue(CA, responder.url)))
        (tmp_path / "issuer").write_bytes(pem(CA.certificate))
        code, document = on_loopback(str(tmp_path / "leaf"), "--issuer", str(tmp_path / "issuer"))
    assert (code, document["outcome"]) == (2, "not-ocsp")


def test_without_the_issuer_the_result_is_unknown_and_the_reason_said(tmp_path: Path) -> None:
    with Responder(replying(b"x")) as responder:
        (tmp_path / "leaf").write_bytes(pem(issue(CA, responder.url)))
        code, document = on_loopback(str(tmp_path / "leaf"))
    assert (code, document["outcome"]) == (3, "reachable")
    assert "chain" in document["note"]


def test_an_expired_certificate_is_not_asked_about(tmp_path: Path) -> None:
    with Responder(replying(b"x")) as responder:
        leaf = issue(CA, responder.url, valid=(NOW - 90 * DAY, NOW - DAY))
        (tmp_path / "combined").write_bytes(pem(leaf) + pem(CA.certificate))
        code, document = on_loopback(str(tmp_path / "combined"))
    assert (code, document["outcome"]) == (3, "reachable")
    assert responder.requests[0].startswith(b"GET ")


def test_a_certificate_without_a_responder_is_calmly_good(tmp_path: Path) -> None:
    (tmp_path / "leaf").write_bytes(pem(issue(CA)) + pem(CA.certificate))
    code, document = call_json(str(tmp_path / "leaf"))
    assert (code, document["outcome"], document["responders"]) == (0, None, [])


def test_a_url_is_probed_for_reachability_and_the_output_says_so() -> None:
    with Responder(replying(b"hello")) as responder:
        result = call(responder.url, "--allow", "127.0.0.1")
    assert result.exit_code == 0
    assert "only reachability was probed" in result.output
    assert "127.0.0.1" in result.output


def test_a_connection_that_cannot_be_made_is_wrong_without_a_question_as_well() -> None:
    with silent_listener() as listening:
        port = listening.getsockname()[1]
        silent = on_loopback(f"http://127.0.0.1:{port}/", "--timeout", "0.3")
    refused = on_loopback(f"http://127.0.0.1:{port}/")
    assert [(code, found["outcome"]) for code, found in (silent, refused)] == [
        (3, "reply-timeout"),
        (2, "refused"),
    ]


def test_a_host_is_probed_at_its_root_url() -> None:
    with Responder(replying(b"hello")) as responder:
        code, document = on_loopback(f"127.0.0.1:{responder.port}")
    assert (code, document["target_kind"], document["responders"][0]["url"]) == (
        0,
        "host",
        f"http://127.0.0.1:{responder.port}/",
    )


def test_loopback_is_not_asked_unless_it_is_allowed() -> None:
    with silent_listener() as listening:
        code, document = call_json(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        assert not was_contacted(listening)
    assert (code, document["outcome"]) == (2, "address-forbidden")


def test_a_hostile_url_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "combined").write_bytes(pem(issue(CA, "http://a\x1b]0;owned\x07/")) + pem(CA.certificate))
    result = call(str(tmp_path / "combined"))
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["/no/such/file.pem"], "target-not-found"),
        (["/etc/hostname"], "certificate-unreadable"),
        (["http://127.0.0.1/", "--user", "no-such-user"], "user-unknown"),
        (["http://127.0.0.1/", "--user", "root"], "probe-user"),
    ],
)
def test_problems_have_a_code(arguments: list[str], code: str) -> None:
    if arguments[-1] == "root" and os.geteuid() != 0:
        pytest.skip("whoever is not root probes as himself")
    raised = call(*arguments).exception
    assert isinstance(raised, Problem)
    assert raised.code == code


def test_a_network_that_is_none_is_a_usage_error() -> None:
    assert call("http://127.0.0.1/", "--allow", "127.0.0.1/99").exit_code == 2


def test_an_issuer_beside_anything_but_a_certificate_file_is_refused_and_a_directory_called_one(
    tmp_path: Path,
) -> None:
    assert call("http://127.0.0.1/", "--issuer", str(tmp_path / "none")).exit_code == 2
    raised = call(str(tmp_path)).exception
    assert isinstance(raised, Problem)
    assert raised.sentence.startswith("That is a directory")


def test_a_name_that_nothing_here_has_is_said_before_the_name_server_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finding = ResponderFinding(
        "http://typo.example/", "typo.example", 80, False, None, 0, (), Outcome.DNS_FAILURE
    )
    here = SimpleNamespace(called=lambda _: None, asking=lambda _: None)
    subject = find_subject("typo.example", None, here)  # type: ignore[arg-type]
    told = told_of("typo.example", subject, [finding])["sentence"]
    assert told.startswith(
        "No site or responder of this server is called typo.example. It does not resolve either"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 99)
    anyone = told_of("typo.example", find_subject("typo.example", None), [finding])["sentence"]
    assert "only root can tell" in anyone
    assert told in unstyle(as_text(subject, finding))
    assert told_of("typo.example", replace(subject, unknown=""), [finding])["sentence"] == finding.sentence
