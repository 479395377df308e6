"""The kernel's table of connections: full, not full, not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.host.limits import selinux_denies, tracking_full


@pytest.mark.parametrize(
    ("count", "most", "full"), [("262140", "262144", True), ("900", "262144", False), ("5", "0", False)]
)
def test_a_full_table_is_told_with_its_size(tmp_path: Path, count: str, most: str, full: bool) -> None:
    (tmp_path / "nf_conntrack_count").write_text(f"{count}\n")
    (tmp_path / "nf_conntrack_max").write_text(f"{most}\n")

    assert bool(tracking_full(tmp_path)) is full
    assert not full or "262,140 connections of 262,144" in tracking_full(tmp_path)


def test_without_connection_tracking_nothing_is_full(tmp_path: Path) -> None:
    assert tracking_full(tmp_path) == ""
    (tmp_path / "nf_conntrack_count").write_text("many")
    assert tracking_full(tmp_path) == ""


@pytest.mark.parametrize(
    ("enforce", "connect", "relay", "denies"),
    [
        ("1", "0 0", "0 0", True),
        ("1", "1 1", "0 0", False),
        ("1", "0 0", "1 1", False),
        ("0", "0 0", "0 0", False),
    ],
)
def test_selinux_denies_where_it_is_enforced_and_neither_boolean_is_on(
    tmp_path: Path, enforce: str, connect: str, relay: str, denies: bool
) -> None:
    (tmp_path / "booleans").mkdir()
    (tmp_path / "enforce").write_text(enforce)
    (tmp_path / "booleans/httpd_can_network_connect").write_text(connect)
    (tmp_path / "booleans/httpd_can_network_relay").write_text(relay)

    assert selinux_denies(tmp_path) is denies
    assert not selinux_denies(tmp_path / "none")
