"""ConfigServer Firewall's files."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.host.firewall import csf
from ocsp_stapling.host.firewall.report import read_firewall
from tests.unit.host.namespace import needs_namespace

V4 = ipaddress.ip_address("198.51.100.7")
V6 = ipaddress.ip_address("2a00:7::7")
WITH_80 = "20,21,22,25,53,80,110,443,2086:2087,30000:35000"
WITHOUT_80 = "20,21,22,25,53,110,443,2086:2087,30000:35000"


def folder(
    tmp_path: Path, tcp_out: str, tcp6_out: str = WITH_80, more: str = "", deny: str = "", allow: str = ""
) -> Path:
    (tmp_path / "csf.conf").write_text(
        f'###\n# TCP_OUT = "80" in a comment\nTESTING = "0"\nTCP_OUT = "{tcp_out}"\nIPV6 = "1"\n'
        f'TCP6_OUT = "{tcp6_out}"\n{more}\n'
    )
    (tmp_path / "csf.deny").write_text(deny)
    (tmp_path / "csf.allow").write_text(allow)
    return tmp_path


def found(place: Path) -> list[tuple[str, str, str]]:
    own = csf.read(place)
    assert own is not None
    return [
        (b.where.rpartition("/")[2], b.text, b.action.value)
        for address in (V4, V6)
        for b in own.blocks(address)
    ]


def test_port_80_in_both_lists_blocks_nothing(tmp_path: Path) -> None:
    assert found(folder(tmp_path, WITH_80)) == []


def test_missing_port_80_is_told_per_family(tmp_path: Path) -> None:
    assert found(folder(tmp_path, WITHOUT_80)) == [("csf.conf", "TCP_OUT lacks port 80", "reject")]
    assert found(folder(tmp_path, WITH_80, WITHOUT_80)) == [("csf.conf", "TCP6_OUT lacks port 80", "reject")]


@pytest.mark.parametrize(
    ("ports", "blocked"),
    [("1:100", False), ("79:80", False), ("81:65535", True), ("", True), ("x,80", False)],
)
def test_port_ranges_count(tmp_path: Path, ports: str, blocked: bool) -> None:
    assert bool(found(folder(tmp_path, ports))) is blocked


def test_drop_out_decides_the_action(tmp_path: Path) -> None:
    assert found(folder(tmp_path, WITHOUT_80, more='DROP_OUT = "DROP"'))[0][2] == "drop"


def test_ipv6_left_alone_by_csf_is_not_blocked(tmp_path: Path) -> None:
    assert found(folder(tmp_path, WITH_80, WITHOUT_80, more='IPV6 = "0"')) == []


def test_denied_responder_is_named(tmp_path: Path) -> None:
    deny = "# list\n198.51.100.0/24 # do not delete\ntcp|out|d=80|d=2a00:7::7\ntcp|in|d=80|s=203.0.113.1\nnonsense\n"
    assert found(folder(tmp_path, WITH_80, deny=deny)) == [
        ("csf.deny", "198.51.100.7 is listed in csf.deny", "reject"),
        ("csf.deny", "2a00:7::7 is listed in csf.deny", "reject"),
    ]


def test_allowed_responder_gets_through(tmp_path: Path) -> None:
    assert (
        found(folder(tmp_path, WITHOUT_80, deny="198.51.100.7\n", allow="tcp|out|d=80|d=198.51.100.7\n"))
        == []
    )


def test_disabled_or_missing_csf_says_nothing(tmp_path: Path) -> None:
    assert csf.read(tmp_path) is None
    place = folder(tmp_path, WITHOUT_80)
    (place / "csf.disable").touch()
    assert csf.read(place) is None


@needs_namespace
def test_csf_is_part_of_the_report(tmp_path: Path) -> None:
    report = read_firewall([V4, V6], csf_folder=folder(tmp_path, WITHOUT_80), seconds=60)
    assert "csf" in report.read
    hint = next(hint for hint in report.hints if hint.text.startswith("csf"))
    assert (
        hint.text
        == f"csf rejects connections to OCSP responders ({tmp_path}/csf.conf: TCP_OUT lacks port 80)"
    )
    assert hint.destinations == (str(V4),)


@given(st.text(max_size=200), st.text(max_size=100))
def test_any_file_is_survived(tmp_path_factory: pytest.TempPathFactory, conf: str, deny: str) -> None:
    place = tmp_path_factory.getbasetemp() / "fuzz-csf"
    place.mkdir(exist_ok=True)
    (place / "csf.conf").write_text(f'TCP_OUT = "{conf}"\n{conf}', "utf-8", "replace")
    (place / "csf.deny").write_text(deny, "utf-8", "replace")
    own = csf.read(place)
    assert own is not None
    own.blocks(V4)
