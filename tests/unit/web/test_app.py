"""The application: every view has roles, forms and only forms change things, errors are one sentence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, Response, request
from werkzeug.routing import Rule

from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import Settings
from ocsp_stapling.web.app import create_app
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.identity import Role, operators_and_viewers, operators_only, roles_of
from ocsp_stapling.web.routing import link, see_other
from tests.unit.web.asking import OPERATOR, VIEWER, get, headers, post

Make = Callable[[Callable[[Flask], None]], Flask]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda register: create_app(Settings(state_directory=tmp_path), register=register)


@pytest.fixture
def app(make: Make) -> Flask:
    return make(trial_views)


def trial_views(app: Flask) -> None:
    @app.get("/trial/<name>")
    @operators_and_viewers
    def trial(name: str) -> str:
        return f"{name} {caller().user} {link('trial', name='a:b', q='x y&z')}"

    @app.post("/trial/change")
    @operators_only
    def change() -> Response:
        if request.form.get("wrong"):
            raise Problem("invalid-input", "The field is wrong.", "secret detail")
        return see_other("trial", name="after")

    @app.get("/trial/odd")
    @operators_and_viewers
    def odd() -> str:
        return "caf\udce9.example"

    @app.get("/trial/broken")
    @operators_and_viewers
    def broken() -> str:
        raise ValueError("the-posted-secret")


def rules(app: Flask) -> list[Rule]:
    return list(app.url_map.iter_rules())


def page_of(app: Flask, rule: Rule) -> str:
    """The `p` of a rule, its variable parts filled."""
    values = dict.fromkeys(rule.arguments, "20250101T000000-abcdef")
    built = rule.build(values)
    assert built is not None
    return built[1].lstrip("/")


# -- roles -------------------------------------------------------------------------------------------------


def test_every_view_says_who_may_use_it(make: Make) -> None:
    app = make(lambda _app: None)
    assert [r.endpoint for r in rules(app) if not roles_of(app.view_functions[r.endpoint])] == []


def test_a_view_without_roles_keeps_the_application_from_starting(make: Make) -> None:
    def careless(app: Flask) -> None:
        app.add_url_rule("/careless", "careless", lambda: "all of it")

    with pytest.raises(RuntimeError, match="careless"):
        make(careless)


def test_nobody_gets_into_a_view_that_is_not_for_their_role(make: Make) -> None:
    app = make(lambda _app: None)
    client = app.test_client()
    for rule in rules(app):
        allowed = roles_of(app.view_functions[rule.endpoint])
        method = "POST" if "POST" in (rule.methods or ()) else "GET"
        strangers = [headers(c) for c in (OPERATOR, VIEWER) if c.role not in allowed]
        for their in [{}, headers(OPERATOR) | {"X-Ocsp-Stapling-Role": "root"}, *strangers]:
            answer = client.open(f"/?p={page_of(app, rule)}", method=method, headers=their)
            assert answer.status_code == 403, rule.endpoint


def test_a_view_that_changes_something_is_for_operators_and_answers_to_forms_only(make: Make) -> None:
    app = make(lambda _app: None)
    changing = [r for r in rules(app) if "POST" in (r.methods or ())]
    assert changing
    for rule in changing:
        assert not {"GET", "HEAD"} & set(rule.methods or ()), rule.endpoint
        answer = post(app, f"p={page_of(app, rule)}&format=json", {})
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (403, "form-missing"), (
            rule.endpoint
        )


def test_unknown_pages_are_not_told_apart_to_strangers(app: Flask) -> None:
    assert app.test_client().get("/?p=nowhere").status_code == 403
    assert get(app, "p=nowhere").status_code == 404


# -- forms -------------------------------------------------------------------------------------------------


def token(app: Flask) -> str:
    with app.app_context():
        return services().tokens.issue(OPERATOR)


def test_a_form_with_its_token_is_accepted_and_redirects_by_a_relative_address(app: Flask) -> None:
    answer = post(app, "p=trial/change", {"csrf": token(app)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "?p=trial/after")


@pytest.mark.parametrize("where", ["query", "nowhere", "other name"])
def test_a_form_without_its_token_does_nothing(app: Flask, where: str) -> None:
    query = f"p=trial/change&csrf={token(app)}" if where == "query" else "p=trial/change"
    answer = post(app, query, {"xcsrf": token(app)} if where == "other name" else {})
    assert answer.status_code == 403
    assert "form-missing" in answer.text


def test_another_sessions_form_does_nothing(app: Flask) -> None:
    other = headers(OPERATOR) | {"X-Ocsp-Stapling-Token": "/cpsess1111111111"}
    answer = app.test_client().post("/?p=trial/change", headers=other, data={"csrf": token(app)})
    assert answer.status_code == 403
    assert "form-foreign" in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_answered(app: Flask, method: str) -> None:
    answer = app.test_client().open("/?p=trial/change", method=method, headers=headers(OPERATOR))
    assert answer.status_code in (403, 405)


def test_a_form_of_more_than_a_mebibyte_is_refused(app: Flask) -> None:
    answer = post(app, "p=trial/change&format=json", {"csrf": token(app), "pasted": "x" * (1 << 20)})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (413, "too-large")
    assert post(app, "p=trial/change", {"csrf": token(app), "pasted": "x" * 1000000}).status_code == 303


# -- routing -----------------------------------------------------------------------------------------------


def test_the_parameter_p_is_the_page_and_links_are_relative(app: Flask) -> None:
    assert get(app, "p=trial/name").text == "name root ?p=trial/a:b&q=x+y%26z"
    assert get(app, "p=trial%2Fa:b&q=1").text.startswith("a:b ")


@pytest.mark.parametrize(
    "query",
    [
        "p=trial/a&p=trial/b",
        "p=/trial/a",
        "p=trial//a",
        "p=trial/../trial/a",
        "p=trial/a%0d%0ax",
        "p=trial/%00",
        "p=trial/a%2520",
        "p=trial/%C3%A9",
        "p=static/x",
    ],
)
def test_an_odd_page_does_not_exist(app: Flask, query: str) -> None:
    assert get(app, query).status_code == 404


def test_a_path_behind_the_root_does_not_exist(app: Flask) -> None:
    assert app.test_client().get("/trial/a?p=trial/a", headers=headers(OPERATOR)).status_code == 404


# -- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["p=trial/a", "p=nowhere", "p=trial/broken", "p=nowhere&format=json"])
def test_every_answer_is_uncached_unsniffed_and_free_of_inline_script(app: Flask, query: str) -> None:
    answer = get(app, query)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert "Set-Cookie" not in answer.headers
    assert answer.content_length == len(answer.data)


def test_an_unforeseen_exception_is_one_sentence_and_its_message_is_not_logged(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = get(app, "p=trial/broken&format=json")
    assert answer.status_code == 500
    assert answer.get_json()["error"]["code"] == "internal-error"
    assert "ValueError at" in caplog.text
    assert "test_app.py" in caplog.text
    for told in (caplog.text, answer.text):
        assert "the-posted-secret" not in told
        assert "Traceback" not in told


def test_a_name_with_bytes_that_are_no_utf8_costs_no_page(app: Flask) -> None:
    """As a ServerName or a directive in Apache's files hands it on."""
    answer = get(app, "p=trial/odd", OPERATOR)
    assert (answer.status_code, answer.text) == (200, "caf?.example")


def test_a_problem_is_a_sentence_and_its_detail_is_for_operators(app: Flask) -> None:
    answer = post(app, "p=trial/change&format=json", {"csrf": token(app), "wrong": "1"})
    assert answer.status_code == 400
    assert answer.get_json() == {
        "schema": "ocsp-stapling/error/1",
        "error": {"code": "invalid-input", "sentence": "The field is wrong.", "detail": "secret detail"},
    }


def test_even_a_broken_error_page_ends_as_a_sentence(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> str:
        raise OSError("no such template")

    monkeypatch.setattr("ocsp_stapling.web.errors.render_template", broken)
    answer = get(app, "p=nowhere")
    assert (answer.status_code, answer.text) == (404, "<p>There is no such page. <code>not-found</code></p>")


def test_the_operators_role_is_what_the_front_says_not_the_name(app: Flask) -> None:
    support = headers(OPERATOR) | {"X-Ocsp-Stapling-User": "cptkt8f3a91"}
    assert "cptkt8f3a91" in app.test_client().get("/?p=trial/a", headers=support).text
    rootless = headers(OPERATOR) | {"X-Ocsp-Stapling-Role": str(Role.VIEWER)}
    assert app.test_client().post("/?p=trial/change", headers=rootless).status_code == 403
