"""Forms: made by this page, for this user, in this session, not long ago."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ocsp_stapling.problem import Problem
from ocsp_stapling.web.csrf import FormTokens, load_key
from tests.unit.web.asking import OPERATOR, VIEWER

KEY = b"k" * 32


def refusal(tokens: FormTokens, token: str) -> str:
    with pytest.raises(Problem) as caught:
        tokens.check(OPERATOR, token)
    return caught.value.code


def test_a_token_is_good_for_whom_it_was_made_and_more_than_once() -> None:
    tokens = FormTokens(KEY)
    token = tokens.issue(OPERATOR)
    tokens.check(OPERATOR, token)
    tokens.check(OPERATOR, token)
    FormTokens(KEY).check(OPERATOR, token)  # after the service's idle exit


@pytest.mark.parametrize(
    "other",
    [
        VIEWER,
        replace(OPERATOR, user="root2"),
        replace(OPERATOR, token_prefix="/cpsess1234567891"),
        replace(OPERATOR, token_prefix=""),
        # Nobody may be able to move the border between two parts of what is signed.
        replace(OPERATOR, user="root\0/cpsess1234567890", token_prefix=""),
    ],
)
def test_another_users_or_another_sessions_token_is_foreign(other: object) -> None:
    tokens = FormTokens(KEY)
    assert refusal(tokens, tokens.issue(other)) == "form-foreign"  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["x", "form", "form.abc.def", "é", "form." * 1000, "\0"])
def test_what_is_no_token_is_foreign(token: str) -> None:
    assert refusal(FormTokens(KEY), token) == "form-foreign"


def test_no_token_and_an_old_token_say_so() -> None:
    assert refusal(FormTokens(KEY), "") == "form-missing"
    assert refusal(FormTokens(KEY, lifetime_seconds=-1), FormTokens(KEY).issue(OPERATOR)) == "form-expired"


def test_another_servers_token_is_foreign() -> None:
    assert refusal(FormTokens(KEY), FormTokens(b"o" * 32).issue(OPERATOR)) == "form-foreign"


def test_a_token_shows_nothing_of_the_session() -> None:
    token = FormTokens(KEY).issue(OPERATOR)
    assert "cpsess" not in token
    assert "1234567890" not in token


def test_the_key_is_made_once_and_for_root_alone(tmp_path: Path) -> None:
    first = load_key(tmp_path / "state")
    assert len(first) == 32
    assert load_key(tmp_path / "state") == first
    assert (tmp_path / "state/page.key").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in (tmp_path / "state").iterdir()] == ["page.key"]


def test_a_damaged_or_impossible_key_file_gives_a_passing_key(tmp_path: Path) -> None:
    (tmp_path / "page.key").write_bytes(b"")
    assert len(load_key(tmp_path)) == 32
    assert load_key(tmp_path) != load_key(tmp_path)
    (tmp_path / "file").touch()
    assert len(load_key(tmp_path / "file")) == 32
