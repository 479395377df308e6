"""The guard against a long list of tricks: whatever the spelling, only public addresses pass."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.ocsp.guard import UnusableURLError, is_plain, parse_url, refusal
from ocsp_stapling.ocsp.prober import resolve

FORBIDDEN = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1
    172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1
    168.63.129.16 192.31.196.1 192.52.193.1 192.175.48.6 2620:4f:8000::6 2001:4:112::6
    203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    64:ff9b::7f00:1 64:ff9b::8.8.8.8 64:ff9b:1::1 64:ff9b:1::a9fe:a9fe 100::1 2001::1 2001:0:53aa:64c::1 2001:10::1
    2001:20::1 2001:db8::1 2002:7f00:1::1 2002:a9fe:a9fe::1 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254
    fe80::1 fe80::1%eth0 fe80::1%1 fec0::1 ff02::1 ff0e::1 4000::1 2606:4700::1%eth0
    nonsense 127.1 2130706433 0x7f000001
"""
PUBLIC = (
    "8.8.8.8 1.1.1.1 93.184.216.34 172.32.0.1 100.128.0.1 ::ffff:8.8.8.8 2606:4700::1111 2a00:1450:4001::1"
)


@pytest.mark.parametrize("address", FORBIDDEN.split())
def test_refuses(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_lets_public_addresses_pass(address: str) -> None:
    assert refusal(address) == ""


@pytest.mark.parametrize("spelling", ["2606:4700::1", "2606:4700:0:0:0:0:0:1", "::ffff:9.9.9.9", "9.9.9.9"])
def test_refuses_this_server_s_own_addresses_however_spelt(spelling: str) -> None:
    own = {ip_address("2606:4700::1"), ip_address("9.9.9.9")}
    assert refusal(spelling, own_addresses=own) == "it is this server's own address"


def test_the_operator_s_exception_covers_what_it_names_and_no_more() -> None:
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")]
    assert refusal("10.1.2.3", allowed) == ""
    assert refusal("::ffff:10.1.2.3", allowed) == ""
    assert refusal("fd00:1::5", allowed) == ""
    assert refusal("10.2.0.1", allowed)
    assert refusal("64:ff9b::10.1.2.3", allowed)
    assert refusal("fd00:2::5", allowed)


def test_an_exception_for_a_network_opens_none_of_this_servers_own_services_in_it() -> None:
    own = frozenset({ip_address("10.1.2.3")})
    assert refusal("10.1.2.3", [ip_network("10.1.0.0/16")], own) == "it is this server's own address"
    assert refusal("10.1.2.4", [ip_network("10.1.0.0/16")], own) == ""
    assert refusal("10.1.2.3", [ip_network("10.1.2.3/32")], own) == ""


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "0", "017700000001"]
)
def test_numeric_spellings_of_loopback_are_seen_through(host: str) -> None:
    found = resolve(parse_url(f"http://{host}/").host)
    assert found
    assert all(refusal(address) for _, address in found)


@pytest.mark.parametrize(
    "url",
    [
        "https://ocsp.example.com/",
        "ftp://ocsp.example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_",
        "ldap://ca.example.com/cn=x",
        "javascript:alert(1)",
        "ocsp.example.com",
        "//ocsp.example.com/",
        "http://",
        "http:///path",
        "http://user@/",
        "HTTP://ocsp.example.com/",
        "Http://ocsp.example.com/",
        "http://ocsp.example.com:80:80/",
        "http://ocsp.example.com:80x/",
        "http://ocsp.example.com:x/",
        "http://ocsp.example.com:８０/",
        "http://[::1",
        "http://::1/",
        "http://[::1]127.0.0.1/",
        "http://ocsp.example.com/\r\nX: y",
        "http://ocsp.example.com\x00.evil.example/",
        "http://ocsp.example.com/" + "a" * 16_400,
        "",
        " http://ocsp.example.com/",
    ],
)
def test_unusable_urls(url: str) -> None:
    with pytest.raises(UnusableURLError):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://ocsp.example.com", ("ocsp.example.com", 80, "/", "ocsp.example.com:80")),
        ("http://ocsp.example.com/", ("ocsp.example.com", 80, "/", "ocsp.example.com:80")),
        (
            "http://OCSP.example.com:8080/a/b?c=d#e",
            ("OCSP.example.com", 8080, "/a/b?c=d", "OCSP.example.com:8080"),
        ),
        ("http://ocsp.example.com:/x", ("ocsp.example.com", 80, "/x", "ocsp.example.com:80")),
        ("http://ocsp.example.com?q", ("ocsp.example.com", 80, "/?q", "ocsp.example.com:80")),
        ("http://[2606:4700::1]:81/", ("2606:4700::1", 81, "/", "2606:4700::1:81")),
        ("http://under_score.example/", ("under_score.example", 80, "/", "under_score.example:80")),
        ("http:ocsp.example.com", ("0.0.0.0", 80, "ocsp.example.com", "<NULL>:80")),
        ("http:/a?b#c", ("0.0.0.0", 80, "/a?b", "<NULL>:80")),
        ("http:?b", ("0.0.0.0", 80, "/?b", "<NULL>:80")),
        ("http://user@ocsp.example.com/", ("ocsp.example.com", 80, "/", "ocsp.example.com:80")),
        (
            "http://user:secret@ocsp.example.com:8080/",
            ("ocsp.example.com", 8080, "/", "ocsp.example.com:8080"),
        ),
        ("http://ocsp.example.com@127.0.0.1/", ("127.0.0.1", 80, "/", "127.0.0.1:80")),
        ("http://a@b@127.0.0.1/x@y", ("127.0.0.1", 80, "/x@y", "127.0.0.1:80")),
        ("http://ocsp.example.com\\@127.0.0.1/", ("127.0.0.1", 80, "/", "127.0.0.1:80")),
        ("http://ocsp.example.com:0/", ("ocsp.example.com", 80, "/", "ocsp.example.com:80")),
        ("http://ocsp.example.com:65536/", ("ocsp.example.com", 80, "/", "ocsp.example.com:80")),
        ("http://ocsp.example.com:65617/", ("ocsp.example.com", 81, "/", "ocsp.example.com:81")),
        ("http://ocsp.example.com:-80/", ("ocsp.example.com", 65456, "/", "ocsp.example.com:65456")),
        ("http://ocsp.example.com/ HTTP/1.1", ("ocsp.example.com", 80, "/ HTTP/1.1", "ocsp.example.com:80")),
        ("http://ocsp.example.com\t/", ("ocsp.example.com\t", 80, "/", "ocsp.example.com\t:80")),
        ("http://a%2eb/", ("a%2eb", 80, "/", "a%2eb:80")),
        ("http://ocsp.example.com#x/y", ("ocsp.example.com", 80, "/", "ocsp.example.com:80")),
        ("http://ocsp.example.com//x", ("ocsp.example.com", 80, "//x", "ocsp.example.com:80")),
    ],
)
def test_urls_are_taken_apart_as_apache_does(url: str, expected: tuple[str, int, str, str]) -> None:
    found = parse_url(url)
    assert (found.host, found.port, found.target, found.host_header) == expected


@given(st.text(max_size=60) | st.text(max_size=40).map("http://".__add__))
def test_no_text_breaks_the_url_reader(url: str) -> None:
    try:
        found = parse_url(url)
    except UnusableURLError:
        return
    assert 1 <= found.port <= 65535
    assert found.target.startswith("/")
    assert found.host
    assert not set(found.host + found.target) & set("\r\n\0")


@given(st.text(max_size=80).map("http://".__add__))
def test_what_is_handed_to_a_shell_is_plain(url: str) -> None:
    if is_plain(url):
        assert url.isascii()
        assert not set(url) & set(" @\r\n\t\0")


@given(st.ip_addresses())
def test_only_global_unicast_passes(address: object) -> None:
    found = ip_address(str(address))
    if not refusal(str(found)):
        inner = getattr(found, "ipv4_mapped", None) or found
        assert inner.is_global
        assert not (inner.is_private or inner.is_multicast or inner.is_loopback or inner.is_link_local)
