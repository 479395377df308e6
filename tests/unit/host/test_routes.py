"""Addresses and routes, as a real kernel reports them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from ocsp_stapling.host.routes import Ipv6Kind, ipv6_kind, own_addresses, route_to
from tests.unit.host.namespace import LINK, ROUTES, in_namespace, needs_namespace

IMPORT = "from ocsp_stapling.host.routes import route_to\n"
STATE = """
from ocsp_stapling.host.routes import ipv6_kind
show(ipv6_kind().value)
"""


def test_own_addresses_hold_loopback_even_if_nothing_can_be_read(tmp_path: Path) -> None:
    found = own_addresses(tmp_path, tmp_path / "none")
    assert {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")} <= found


def test_public_side_of_cpanels_nat_is_our_own(tmp_path: Path) -> None:
    table = tmp_path / "cpnat"
    table.write_text("10.0.0.5 203.0.113.5\n\nnonsense here\n10.0.0.6\n")
    assert {ipaddress.ip_address(a) for a in ("10.0.0.5", "203.0.113.5", "10.0.0.6")} <= own_addresses(
        tmp_path, table
    )


@needs_namespace
@pytest.mark.parametrize("tool", ["True", "False"], ids=["ip tool", "kernel tables only"])
def test_own_addresses_of_every_interface_are_found(tool: str) -> None:
    found = in_namespace(
        LINK,
        f"""
from ocsp_stapling.host import routes
if not {tool}: routes._ip_tool = lambda: iter(())
show(sorted(map(str, routes.own_addresses())))""",
    )
    assert {"127.0.0.1", "192.0.2.10", "2a00:1:2:3::10", "::1"} <= set(found)


@needs_namespace
@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("", Ipv6Kind.NONE),
        (LINK, Ipv6Kind.ADDRESS_WITHOUT_ROUTE),
        (LINK + ROUTES, Ipv6Kind.WORKING),
        (
            LINK + "ip -6 route add unreachable default metric 1",
            Ipv6Kind.ADDRESS_WITHOUT_ROUTE,
        ),
        (
            LINK
            + ROUTES
            + "ip -6 address del 2a00:1:2:3::10/64 dev out\nip -6 address add fd00::5/64 dev out nodad\n"
            "ip -6 route replace default dev out",
            Ipv6Kind.ROUTE_WITHOUT_ADDRESS,
        ),
    ],
    ids=["none", "no route", "working", "unreachable route", "unique local only"],
)
def test_what_ipv6_amounts_to(setup: str, expected: Ipv6Kind) -> None:
    assert in_namespace(setup, STATE) == expected.value


@needs_namespace
@pytest.mark.parametrize(
    ("setup", "word"),
    [
        ("", "unreachable"),
        (LINK + ROUTES + "ip route add unreachable 198.51.100.0/24", "unreachable"),
        (LINK + ROUTES + "ip route add prohibit 198.51.100.0/24", "prohibit"),
        (LINK + ROUTES + "ip route add blackhole 198.51.100.0/24", "blackhole"),
    ],
    ids=["no default", "unreachable", "prohibit", "blackhole"],
)
def test_missing_route_is_told_with_its_kind(setup: str, word: str) -> None:
    code = IMPORT + "r = route_to('198.51.100.7')\nshow([r.reachable, r.sentence])"
    reachable, sentence = in_namespace(setup, code)
    assert reachable is False
    assert word in sentence


@needs_namespace
def test_route_names_the_source_address() -> None:
    code = IMPORT + "show([route_to(a).source for a in ('198.51.100.7', '2a00::1')])"
    assert in_namespace(LINK + ROUTES, code) == ["192.0.2.10", "2a00:1:2:3::10"]


def test_loopback_is_reachable() -> None:
    assert route_to("127.0.0.1").reachable is True


def test_torn_kernel_tables_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/if_inet6").write_bytes(
        b"\n\xff zz\n2a0000010002000300000000000000\n" + b"2a" + b"0" * 30 + b" 02\n"
    )
    (tmp_path / "net/fib_trie").write_bytes(
        b"|--\n |-- 1.2.3\n /32 host LOCAL\n |-- 192.0.2.9\n\xff\n /32 host LOCAL"
    )
    found = {str(address) for address in own_addresses(tmp_path, tmp_path / "none")}
    assert {"2a00::", "192.0.2.9"} <= found
    assert ipv6_kind(tmp_path) in (Ipv6Kind.WORKING, Ipv6Kind.ADDRESS_WITHOUT_ROUTE)
