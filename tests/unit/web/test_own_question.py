"""A viewer gets the line for another machine: about a certificate of their own, and never about another's."""

from __future__ import annotations

import base64
import html
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from ocsp_stapling.check.evidence import Evidence, Site
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.server import state as server
from ocsp_stapling.web.identity import Caller
from ocsp_stapling.web.pages import picture
from ocsp_stapling.whm.accounts import Visible
from tests.unit.check.test_sites import URL, Tree
from tests.unit.web import made
from tests.unit.web.asking import OPERATOR, VIEWER, get
from tests.unit.web.conftest import Shown

LABEL = "Command to run on another machine"
SITES = tuple(Site(name, owner, False) for name, owner in (("theirs.test", "one"), ("mine.test", "two")))


def visible(caller: Caller) -> Visible:
    own = Visible(frozenset({"mine.test"}))
    return Visible(everything=True) if caller.is_operator else own


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    found = Tree(tmp_path)
    monkeypatch.setattr(picture, "visible_to", visible)
    look = server.look

    def at_the_tree(*_: object, **layout: Any) -> object:
        return look(**layout) if layout else SimpleNamespace(endpoints=found.endpoints())

    monkeypatch.setattr(server, "look", at_the_tree)
    return found


def silent(outcome: Outcome = Outcome.REPLY_TIMEOUT) -> Evidence:
    found = made.responder("ocsp.one.test", outcome=outcome)
    return replace(made.stalling(), responders=(replace(found, sites=SITES),))


def serial_in(directory: Path, name: str) -> int:
    return x509.load_pem_x509_certificate((directory / f"{name}.pem").read_bytes()).serial_number


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_the_line_asks_about_a_certificate_of_the_viewer(showing: Shown, tree: Tree, tmp_path: Path) -> None:
    for name in ("theirs.test", "mine.test", "theirs-too.test"):
        tree.site(name, url=URL)
    text = html.unescape(get(showing(silent()), "p=guide", VIEWER).text)
    shown = text.partition(f'aria-label="{LABEL}">')[2].partition("</pre>")[0]
    asked = re.findall(rf"{URL}/([^\s']+)", shown)
    assert len(asked) == 1
    question = ocsp.load_der_ocsp_request(base64.b64decode(unquote(asked[0])))
    assert question.serial_number == serial_in(tmp_path, "mine.test")
    assert "ocsp.one.test:80:198.51.100.10" in shown
    assert text.count(LABEL) == 1


def test_root_gets_the_check_s_own_line_on_its_page(showing: Shown, tree: Tree) -> None:
    tree.site("mine.test", url=URL)
    text = get(showing(silent()), "p=guide", OPERATOR).text
    assert LABEL not in text
    assert "Get the command" in text


@pytest.mark.parametrize(
    "case",
    ["no-server", "others-site", "unreadable", "proxy", "forced", "forbidden-address", "another-responder"],
)
def test_where_no_question_of_their_own_can_be_put_there_is_none(
    showing: Shown, tree: Tree, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {
        "proxy": "SSLOCSPProxyURL http://192.0.2.9:3128/",
        "forced": f"SSLStaplingForceURL {URL}",
    }.get(case, "")
    name = "theirs.test" if case == "others-site" else "mine.test"
    url = "http://ocsp.two.test" if case == "another-responder" else URL
    tree.site(name, more, url=url)
    if case == "unreadable":
        pem = tree.root / "mine.test.pem"
        pem.write_bytes(pem.read_bytes().partition(b"-----BEGIN")[0])
    if case == "no-server":
        monkeypatch.setattr(server, "look", made.no_server)
    outcome = Outcome.ADDRESS_FORBIDDEN if case == "forbidden-address" else Outcome.REPLY_TIMEOUT
    answer = get(showing(silent(outcome)), "p=guide", VIEWER)
    assert answer.status_code == 200
    assert LABEL not in answer.text
