"""Who asks: only what the front would write is believed."""

from __future__ import annotations

import pytest

from ocsp_stapling.problem import Problem
from ocsp_stapling.web.identity import (
    Caller,
    Role,
    caller_from,
    operators_and_viewers,
    operators_only,
    refuse_unless_allowed,
    roles_of,
)
from tests.unit.web.asking import OPERATOR, VIEWER, headers


def read(found: dict[str, str]) -> Caller:
    return caller_from(lambda name, default: found.get(name, default))


@pytest.mark.parametrize("caller", [OPERATOR, VIEWER, Caller("cptkt8f3a91", Role.OPERATOR)])
def test_the_fronts_headers_name_the_caller(caller: Caller) -> None:
    assert read(headers(caller)) == caller


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("User", ""),
        ("User", "root, reseller1"),
        ("User", "root\nX: y"),
        ("User", "-root"),
        ("User", "a" * 129),
        ("Role", ""),
        ("Role", "Operator"),
        ("Role", "operator, viewer"),
        ("Role", "root"),
        ("Token", "cpsess1"),
        ("Token", "/cpsess12x"),
        ("Token", "/cpsess1\n"),
    ],
)
def test_a_header_that_the_front_would_not_write_is_refused(name: str, value: str) -> None:
    with pytest.raises(Problem) as caught:
        read(headers(OPERATOR) | {f"X-Ocsp-Stapling-{name}": value})
    assert caught.value.code == "forbidden"


def test_a_view_is_for_the_roles_it_names_and_nobody_else() -> None:
    def unmarked() -> None: ...

    only = operators_only(lambda: None)
    both = operators_and_viewers(lambda: None)
    assert roles_of(unmarked) == frozenset()
    refuse_unless_allowed(OPERATOR, only)
    refuse_unless_allowed(VIEWER, both)
    for caller, view in ((VIEWER, only), (OPERATOR, unmarked), (VIEWER, unmarked)):
        with pytest.raises(Problem):
            refuse_unless_allowed(caller, view)
