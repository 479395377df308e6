"""Whatever somebody sends, the page answers with a sentence: no form and no parameter makes it fail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from flask import Flask

from ocsp_stapling import web
from ocsp_stapling.change.jobs import Operations
from ocsp_stapling.change.request import ACTIONS
from ocsp_stapling.run import Completed
from ocsp_stapling.settings import Settings
from ocsp_stapling.web import pages
from ocsp_stapling.web.app import create_app
from ocsp_stapling.web.context import services
from ocsp_stapling.web.identity import Caller
from ocsp_stapling.web.pages import sites
from tests.unit.web import made
from tests.unit.web.asking import OPERATOR, VIEWER, headers, post
from tests.unit.web.conftest import Shown

JUNK = (
    "",
    "x" * 5000,
    "\0",
    "../../etc/passwd",
    "-1",
    "99999999999999999999",
    "<script>'\"&",
    "http://[::1",
    "[",
    "%",
    "\u202e\ud7ff\U0001f4a5",
    "\r\nLocation: x",
    "20250101T000000-abcdef",
    "yes",
    "²",
    "OCSP-ELSEWHERE 0123456789abcdef 200 1 0.1 x\nAAAA\nOCSP-END",
    "OCSP-ELSEWHERE 0123456789abcdef 200 1 0.1 x\n!",
)
READ = re.compile(r"""request\.(?:args|form)\.get\(\s*f?["'](\w+)["']|(?:form\.get|get)\(["'](\w+)["']""")


def names() -> list[str]:
    """Every field and parameter that the page's code reads."""
    sources = Path(web.__file__).parent.rglob("*.py")
    found = {name for source in sources for pair in READ.findall(source.read_text()) for name in pair if name}
    return sorted(found | {"write_on", "overrides"} - {"csrf"})


def views(app: Flask) -> list[tuple[str, str]]:
    """Every view: its method, and its page with each junk that may stand in an address."""
    found = []
    for rule in app.url_map.iter_rules():
        method = "POST" if "POST" in (rule.methods or ()) else "GET"
        for filling in (*(ACTIONS if "action" in rule.arguments else ("20250101T000000-abcdef",)), "x"):
            built = rule.build(dict.fromkeys(rule.arguments, filling))
            assert built is not None
            found.append((method, built[1].lstrip("/")))
    return sorted(set(found))


@pytest.fixture
def app(showing: Shown, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr(sites, "_rows", list)
    monkeypatch.setattr("ocsp_stapling.change.checking.launcher", lambda: lambda *_: made.LAUNCHED)
    monkeypatch.setattr("ocsp_stapling.web.pages.errorlog.server.look", made.no_server)
    monkeypatch.setattr("ocsp_stapling.change.operate.survey_server", made.no_server)
    return showing(made.stalling())


@pytest.fixture(autouse=True)
def no_mail_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocsp_stapling.web.pages.history.outbox.send_test", lambda *_: None)


def test_no_page_and_no_form_is_left_out(app: Flask) -> None:
    tried = {
        app.url_map.bind("").match(f"/{page}", method=method)[0].partition(".")[0]
        for method, page in views(app)
    }
    assert tried == {"operations", *(area.blueprint.name for area in pages._AREAS)}
    assert {("GET", f"plan/{action}") for action in ACTIONS} <= set(views(app))


def test_the_names_of_all_fields_are_found() -> None:
    assert {
        "responder",
        "pasted",
        "undone",
        "site",
        "tag",
        "reason",
        "q",
        "page",
        "open",
        "for",
        "met",
    } <= set(names())


@pytest.mark.parametrize(("caller", "step"), [(OPERATOR, 1), (VIEWER, 6)], ids=["root", "viewer"])
def test_no_junk_in_any_field_or_parameter_makes_the_page_fail(app: Flask, caller: Caller, step: int) -> None:
    with app.app_context():
        token = services().tokens.issue(caller)
    client, failed, fields = app.test_client(), [], names()
    for method, page in views(app):
        for shift in range(0, len(JUNK), step):
            junk = {name: JUNK[(number + shift) % len(JUNK)] for number, name in enumerate(fields)}
            query = (
                {"p": page} | ({"format": "json"} if shift % 2 else {}) | (junk if method == "GET" else {})
            )
            data = junk | {"csrf": token} if method == "POST" else None
            answer = client.open("/", method=method, headers=headers(caller), query_string=query, data=data)
            if answer.status_code >= 500:
                failed.append((method, page, junk, answer.text[-300:]))
    assert failed == []


@pytest.mark.parametrize("action", ACTIONS)
def test_junk_in_the_form_of_a_change_is_refused_or_stays_in_its_own_option(
    tmp_path: Path, action: str
) -> None:
    started: list[list[str]] = []

    def launch(_identity: str, argv: Sequence[str]) -> Completed:
        started.append(list(argv))
        return made.LAUNCHED

    app = create_app(replace(Settings(), state_directory=tmp_path), operations=Operations(tmp_path, launch))
    with app.app_context():
        token = services().tokens.issue(OPERATOR)
    for number, (name, junk) in enumerate(product(("reason", "tag", "undone", "site"), (*JUNK, "--yes"))):
        fields = {"csrf": token, "operation": f"20250101T000000-{number:06x}", "action": action, name: junk}
        answer = post(app, "p=operations", fields)
        assert answer.status_code in (303, 400), (fields, answer.text)
    assert started
    for argv in started:
        given = argv[argv.index("--yes") + 1 :]
        assert "--yes" not in given[: given.index("--") if "--" in given else None]
        assert all(word.isprintable() for word in given)


def test_bytes_that_are_no_text_do_not_either(app: Flask) -> None:
    with app.app_context():
        token = services().tokens.issue(OPERATOR)
    body = f"csrf={token}".encode() + b"".join(b"&%s=%%ff%%fe%%00\xff" % name.encode() for name in names())
    for method, page in views(app):
        if method == "POST":
            kind = "application/x-www-form-urlencoded"
            answer = app.test_client().post(
                f"/?p={page}", headers=headers(OPERATOR), data=body, content_type=kind
            )
            assert answer.status_code < 500, (page, answer.text)


QUESTION = "0123456789abcdef"
RESULT = f"OCSP-ELSEWHERE {QUESTION} 200 4 0.1 application/ocsp-response\nMAMKAQM=\nOCSP-END"


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("", "Nothing was pasted"),
        ("curl: not found <b>", "This is not what the command prints"),
        ("f=$(mktemp) && { curl; echo OCSP-END; }", "This is the command itself"),
        (RESULT.removesuffix("OCSP-END"), "The result is not whole"),
        (RESULT.replace("0123", "ffff"), "This is the result of another command"),
    ],
)
def test_a_wrong_paste_is_kept_and_what_is_wrong_is_said(showing: Shown, pasted: str, said: str) -> None:
    app = pasting(showing)
    with app.app_context():
        fields = {"csrf": services().tokens.issue(OPERATOR), "pasted": pasted}
    answer = app.test_client().post("/?p=elsewhere", headers=headers(OPERATOR), data=fields)
    assert answer.status_code == 400
    assert said in answer.text
    assert 'aria-invalid="true"' in answer.text
    shown = answer.text.partition("<textarea")[2].partition(">")[2].partition("</textarea")[0]
    assert shown == f"\n{made.escaped(pasted)}"


def test_a_right_paste_starts_a_check(showing: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocsp_stapling.change.checking.launcher", lambda: lambda *_: made.LAUNCHED)
    app = pasting(showing)
    with app.app_context():
        fields = {"csrf": services().tokens.issue(OPERATOR), "pasted": f"$ f=$(mktemp)\n{RESULT}"}
    answer = app.test_client().post("/?p=elsewhere", headers=headers(OPERATOR), data=fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "?p=check&back=elsewhere.show")


def pasting(showing: Shown) -> Flask:
    """A page whose command asks one question."""
    found = made.stalling()
    asked = replace(found.responders[0], command=f"curl -w 'OCSP-ELSEWHERE {QUESTION} %{{http_code}}'")
    return showing(replace(found, responders=(asked, *found.responders[1:])))
