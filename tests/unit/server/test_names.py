"""Names and addresses of virtual hosts: however they are written, and where a site is met."""

from __future__ import annotations

import pytest

from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.server.names import address, doors, host_name


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("a.test", "a.test"),
        ("https://A.Test:443", "a.test"),
        ("A.TEST.", "a.test"),
        ("a.test:8443", "a.test"),
        ("a.test:https", "a.test:https"),
        ("\u00fc" * 64 + ".test", "\u00fc" * 64 + ".test"),
        ("https://a.test.:443", "a.test"),
        ("b\u00fccher.test", "xn--bcher-kva.test"),
        ("B\u00dcCHER.test:443", "xn--bcher-kva.test"),
        ("stra\u00dfe.test", "xn--strae-oqa.test"),
        ("*.a_b.b\u00fccher.test", "*.a_b.xn--bcher-kva.test"),
        ("\u2603.b\u00fccher.test", "\u2603.xn--bcher-kva.test"),
        ("*.Wild.test", "*.wild.test"),
        ("\udcff.test", "?.test"),
        ("", ""),
    ],
)
def test_a_server_name_is_one_name_however_it_is_written(written: str, wanted: str) -> None:
    assert host_name(written) == wanted


@pytest.mark.parametrize(
    ("addresses", "listen", "wanted"),
    [
        (["192.0.2.1:443", "[2001:db8::1]:443"], [], [("192.0.2.1", 443), ("2001:db8::1", 443)]),
        (["192.0.2.1:8443"], ["443"], [("192.0.2.1", 8443)]),
        (["192.0.2.1"], [], [("192.0.2.1", 443)]),
        (["*:443"], ["443"], [("127.0.0.1", 443)]),
        (["*:443"], ["0.0.0.0:443", "[::]:443 https"], [("127.0.0.1", 443), ("::1", 443)]),
        (["_default_:443"], ["203.0.113.5:443", "80"], [("203.0.113.5", 443)]),
        (["name.example:443"], ["443"], []),
        (["192.0.2.1:99999"], [], [("192.0.2.1", 443)]),
        (["192.0.2.1:65535"], [], [("192.0.2.1", 65535)]),
        (["192.0.2.1:65536"], [], [("192.0.2.1", 443)]),
        (["192.0.2.1:*"], [], [("192.0.2.1", 443)]),
        (["[2001:db8::1]"], [], [("2001:db8::1", 443)]),
        (["*"], ["8443"], [("127.0.0.1", 443)]),
        (["*"], ["443", "[::1]:443"], [("127.0.0.1", 443), ("::1", 443)]),
        (["0.0.0.0:443"], ["192.0.2.9:443"], [("192.0.2.9", 443)]),
        (["[::]:443"], [], [("::1", 443)]),
        (["*:443"], ["", "123456"], [("127.0.0.1", 443)]),
    ],
)
def test_a_site_is_met_at_its_own_addresses(
    addresses: list[str], listen: list[str], wanted: list[tuple[str, int]]
) -> None:
    found = doors("a.test", map(address, addresses), listen)
    assert found == tuple(Door(address, port, "a.test") for address, port in wanted)


def test_a_wildcard_name_is_never_sent_as_sni() -> None:
    assert doors("*.example.test", [address("192.0.2.1:443")], ())[0].name == "localhost"


def test_a_name_that_is_missing_is_not_sent_either() -> None:
    assert doors("", [address("192.0.2.1:443")], ())[0].name == "localhost"


def test_an_address_that_is_written_twice_is_one_door() -> None:
    assert len(doors("a.test", [address("192.0.2.1:443")] * 2, ())) == 1
