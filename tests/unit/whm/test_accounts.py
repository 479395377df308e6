"""Which accounts a reseller owns: from cPanel's own lists, and nothing when they cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.problem import Problem
from ocsp_stapling.web.visibility import visible_to
from ocsp_stapling.whm.accounts import owned_by
from tests.unit.web.asking import OPERATOR, VIEWER


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/trueuserowners").write_text(
        "alice: reseller1\nbob: root\ncarol:reseller1\nreseller1: root\ndave: reseller10\n\ntorn"
    )
    (tmp_path / "etc/userdomains").write_text(
        "*: nobody\nalice.example: alice\nShop.Alice.example: alice\nbob.example: bob\n"
        "own.example: reseller1\ndave.example: dave\n"
    )
    return tmp_path


def test_a_reseller_sees_the_accounts_they_own_and_their_own(root: Path) -> None:
    seen = owned_by("reseller1", root)
    assert seen.domains == {"alice.example", "shop.alice.example", "own.example"}


@pytest.mark.parametrize(
    "name",
    [
        "alice.example",
        "www.alice.example",
        "*.alice.example",
        "SHOP.alice.example.",
        "own.example",
        "own.example:8443",
    ],
)
def test_their_domains_are_seen(root: Path, name: str) -> None:
    assert owned_by("reseller1", root).domain(name)


@pytest.mark.parametrize(
    "name",
    [
        "bob.example",
        "dave.example",
        "alice.example.evil",
        "bob.example:443",
        "xalice.example",
        "*",
        "",
        "example",
    ],
)
def test_other_domains_are_not(root: Path, name: str) -> None:
    assert not owned_by("reseller1", root).domain(name)


def test_the_accounts_own_files_serve_where_the_list_is_missing(root: Path) -> None:
    (root / "etc/trueuserowners").unlink()
    users = root / "var/cpanel/users"
    users.mkdir(parents=True)
    (users / "alice").write_text("DNS=alice.example\nUSER=alice\nOWNER=reseller1\nOWNER=root\n")
    (users / "bob").write_text("DNS=bob.example\nXOWNER=reseller1\nOWNER=root\n")
    assert owned_by("reseller1", root).domains == {"alice.example", "shop.alice.example", "own.example"}


def test_without_any_list_nothing_is_shown(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        visible_to(VIEWER, tmp_path)
    assert caught.value.code == "accounts-unreadable"


def test_root_privileges_see_everything(root: Path) -> None:
    seen = visible_to(OPERATOR, root)
    assert seen.domain("anything.example")
    assert not visible_to(VIEWER, root).domain("anything.example")
