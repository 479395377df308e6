"""Where a site is met: the addresses of its virtual host, or those that Apache listens on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocsp_stapling.apache.tree import Place, VirtualHost
from ocsp_stapling.ocsp.staple import Door
from ocsp_stapling.switch.situation import doors


def vhost(*addresses: str, name: str = "a.test") -> VirtualHost:
    place = Place(Path("httpd.conf"), 1, addresses)
    return VirtualHost(place, name, (), "", True, (Path("cert"),), None, None, (), True)


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
    ],
)
def test_a_site_is_met_at_its_own_addresses(
    addresses: list[str], listen: list[str], wanted: list[tuple[str, int]]
) -> None:
    found = doors(vhost(*addresses), tuple(listen))
    assert found == tuple(Door(address, port, "a.test") for address, port in wanted)


def test_a_wildcard_name_is_never_sent_as_sni() -> None:
    assert doors(vhost("192.0.2.1:443", name="*.example.test"), ())[0].name == "localhost"
