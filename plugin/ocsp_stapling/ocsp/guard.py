"""The address guard: any customer can install a certificate with any OCSP URL, and root's plugin asks it.

So: plain http to public addresses only. The name is resolved once, every address is vetted here, and the
connection is made to the vetted address, so that a resolver that changes its mind gains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAX_URL_LENGTH, _MAX_PLAIN_LENGTH = 16_384, 2048
_LONGEST_NUMBER = 2**63
_SCHEME = re.compile(r"([^:/?#]+):")
_ITSELF = "0.0.0.0"  # noqa: S104 - where a connection to no host at all goes
_AUTHORITY_END = re.compile(r"[/?#]")
_PORT = re.compile(r"[ \t\v\f]*[+-]?[0-9]+|")
_LINE_END = re.compile(r"[\r\n\0]")
ITS_OWN = "it is this server's own address"
NO_HOST = "it names no host"
"""Of such a URL alone Apache turns nobody away: it looks for the host, and finds none."""
_PLAIN = re.compile(
    r"http://(?:\[[0-9a-f:.]+\]|[a-z0-9_.-]{1,253})(?::[0-9]{0,5})?(?:[/?][\x21-\x7e]*)?", re.IGNORECASE
)

# Outside these, or inside a reserved part of them, nothing public lives (IANA special-purpose registries).
# Written out because `is_global` differs between Python versions and misses transition addresses.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_RESERVED_NETWORKS = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    168.63.129.16/32 192.31.196.0/24 192.52.193.0/24 192.175.48.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    2001::/23 2001:4:112::/48 2620:4f:8000::/48 2001:db8::/32 2002::/16 3fff::/20
"""
_RESERVED = tuple(ip_network(text) for text in _RESERVED_NETWORKS.split())


class UnusableURLError(ValueError):
    """The URL is none that Apache can ask, or none that we will; the text says why."""


@dataclass(frozen=True)
class ResponderURL:
    """A responder's URL, taken apart as mod_ssl does. `host` is a name or an address without brackets."""

    host: str
    port: int
    target: str
    """Path and query, as they stand in the request line; through a proxy the whole URL."""
    asked: str = ""
    """Host and port for the `Host:` line, if others than those connected to."""

    @property
    def host_header(self) -> str:
        """What mod_ssl writes after `Host:`: always with the port, and IPv6 addresses without brackets."""
        return self.asked or f"{self.host}:{self.port}"


def parse_url(url: str) -> ResponderURL:
    """Take a responder's URL apart as Apache does; raises UnusableURLError for one that Apache cannot ask.

    Follows apr_uri_parse (APR-util, apr_uri.c) and mod_ssl (ssl_util_stapling.c): the scheme is compared as it is
    written, a user name is passed over, the host ends at its first colon, a port is taken modulo 65536. Without a
    scheme mod_ssl has none to compare and its child crashes; without `//` after it Apache asks itself. Line ends,
    which would end the request line, are refused by us alone.
    """
    if len(url) > MAX_URL_LENGTH or _LINE_END.search(url):
        raise UnusableURLError("it is too long or has characters that do not belong into a URL")
    found = _SCHEME.match(url)
    if found is None:
        raise UnusableURLError("it is not a URL")
    if found[1] != "http":
        raise UnusableURLError("Apache can ask over http only, written in small letters")
    rest = url[found.end() :]
    if not rest.startswith("//"):
        target = rest.partition("#")[0]
        return ResponderURL(_ITSELF, 80, target if target[:1] not in ("", "?") else f"/{target}", "<NULL>:80")
    rest = rest[2:]
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    host, port = _host_and_port(authority.rpartition("@")[2])
    if not host:
        raise UnusableURLError(NO_HOST)
    target = rest[len(authority) :].partition("#")[0]
    return ResponderURL(host, port, target if target.startswith("/") else f"/{target}")


def _host_and_port(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise UnusableURLError("its host cannot be read")
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if not _PORT.fullmatch(port):
        raise UnusableURLError("its port cannot be read")
    return host, _as_strtol(port) % 65536 or 80


def _as_strtol(text: str) -> int:
    """The number as strtol(3) reads it, which ends at the largest and the smallest."""
    digits = text.strip().lstrip("+-").lstrip("0")
    number = int(digits[:20] or 0) * (-1 if "-" in text else 1)
    return max(-_LONGEST_NUMBER, min(number, _LONGEST_NUMBER - 1))


def is_plain(url: str) -> bool:
    """Say whether the URL is one that a shell, curl and a person read alike: no user name, no odd characters."""
    return len(url) <= _MAX_PLAIN_LENGTH and _PLAIN.fullmatch(url) is not None


def through(url: ResponderURL, proxy: ResponderURL) -> ResponderURL:
    """Return what is connected to and written when Apache asks `url` through an HTTP proxy."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = "" if url.port == 80 else f":{url.port}"
    return ResponderURL(proxy.host, proxy.port, f"http://{host}{port}{url.target}", url.host_header)


def refusal(
    address: str,
    allowed_networks: Collection[IPNetwork] = (),
    own_addresses: Collection[IPAddress] = (),
) -> str:
    """Return why this address (as the resolver gave it) must not be connected to, or an empty text if it may.

    `allowed_networks` is the operator's exception for an internal PKI; `own_addresses` are this server's. Its own
    are excepted only where one is named by itself: in a network of many lie the local services of this server, too.
    """
    try:
        ip = unwrapped(ip_address(address))
    except ValueError:
        return "it is not an address"
    if ip in own_addresses and not is_allowed(
        address, [one for one in allowed_networks if one.num_addresses == 1]
    ):
        return ITS_OWN
    if is_allowed(address, allowed_networks):
        return ""
    if isinstance(ip, IPv6Address) and (ip.scope_id or ip not in _GLOBAL_IPV6):
        return "it is not a public address"
    if not ip.is_global or ip.is_multicast or any(ip in network for network in _RESERVED):
        return "it is not a public address"
    return ""


def is_allowed(address: str, allowed_networks: Collection[IPNetwork]) -> bool:
    """Say whether the operator's exceptions cover this address."""
    ip = unwrapped(ip_address(address))
    return any(ip in network for network in allowed_networks)


def unwrapped(ip: IPAddress) -> IPAddress:
    """Return the IPv4 address inside an IPv4-mapped IPv6 address: that is where a connection would go."""
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip
