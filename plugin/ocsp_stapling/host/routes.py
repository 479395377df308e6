"""Which addresses this server has, and whether its kernel has a route to another one. Sends no packet."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ocsp_stapling.run import run

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

PROC = Path("/proc")
NAT_TABLE = Path("/var/cpanel/cpnat")  # cPanel's 1:1 NAT: "local public" a line
SOMEWHERE_ON_IPV6 = ipaddress.ip_address("2620:0:2d0:200::7")  # any global address: only the kernel is asked

_DISCARD_PORT = 9
_NO_ROUTE = {
    errno.ENETUNREACH: "the network is unreachable: there is no route to it",
    errno.EHOSTUNREACH: "the host is unreachable: the route to it says so",
    errno.EACCES: "a route of type prohibit forbids it",
    errno.EINVAL: "a route of type blackhole swallows it",
    errno.EADDRNOTAVAIL: "this server has no address of that family to send from",
    errno.EAFNOSUPPORT: "this server's kernel does not speak that protocol",
    errno.ENETDOWN: "the network interface is down",
}


@dataclass(frozen=True)
class Route:
    """What the kernel would do with a packet to `address`; `reachable` is None if it could not be asked."""

    address: str
    reachable: bool | None
    source: str
    sentence: str


class Ipv6Kind(Enum):
    """What this server's IPv6 amounts to; ADDRESS_WITHOUT_ROUTE is the trap where only IPv6 fails."""

    NONE = "none"
    WORKING = "working"
    ADDRESS_WITHOUT_ROUTE = "address-without-route"
    ROUTE_WITHOUT_ADDRESS = "route-without-address"
    UNKNOWN = "unknown"

    @property
    def sentence(self) -> str:
        """The same in plain words."""
        return _IPV6_SENTENCES[self]


def own_addresses(proc: Path = PROC, nat_table: Path = NAT_TABLE) -> frozenset[IPAddress]:
    """Return every address of every interface, and the public side of cPanel's 1:1 NAT.

    Read from several places, since the guard that refuses requests to ourselves rests on it. Whatever cannot
    be read is left out; loopback is always in.
    """
    always = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
    return frozenset((*always, *_ip_tool(), *_kernel_ipv4(proc), *_kernel_ipv6(proc), *_nat(nat_table)))


def devices() -> dict[str, str]:
    """Return which interface each of our addresses belongs to; empty if `ip` cannot tell."""
    return {address: device for device, address in _links()}


def _ip_tool() -> Iterator[IPAddress]:
    yield from _addresses(address for _, address in _links())


def _links() -> Iterator[tuple[str, str]]:
    """Interface and address, as `ip` lists them."""
    done = run(["ip", "-j", "address", "show"], timeout=2)
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        for link in json.loads(done.out or "[]"):
            for entry in link.get("addr_info", []):
                yield str(link.get("ifname", "")), str(entry.get("local", ""))


def _addresses(texts: Iterable[str]) -> Iterator[IPAddress]:
    for text in texts:
        with contextlib.suppress(ValueError):
            yield ipaddress.ip_address(text)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _kernel_ipv4(proc: Path) -> Iterator[IPAddress]:
    """Local addresses in fib_trie: an address line followed by its type, `/32 host LOCAL`."""
    address = ""
    for line in _lines(proc / "net/fib_trie"):
        words = line.split()
        if len(words) == 2 and words[0] == "|--":
            address = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            yield from _addresses([address])


def _kernel_ipv6(proc: Path) -> Iterator[IPAddress]:
    for line in _lines(proc / "net/if_inet6"):
        with contextlib.suppress(ValueError):
            yield ipaddress.IPv6Address(bytes.fromhex(line.split(" ", 1)[0]))


def _nat(table: Path) -> Iterator[IPAddress]:
    for line in _lines(table):
        yield from _addresses(line.split()[:2])


def route_to(address: IPAddress | str) -> Route:
    """Return whether the kernel has a route to an address and from which address it would send.

    Connecting a UDP socket asks the routing table (policy rules included) and sends nothing.
    """
    target = ipaddress.ip_address(address)
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect((str(target), _DISCARD_PORT))
            source = str(asked.getsockname()[0])
    except OSError as error:
        return _failed(str(target), error)
    return Route(str(target), True, source, f"there is a route to {target}, from {source}")


def _failed(target: str, error: OSError) -> Route:
    why = _NO_ROUTE.get(error.errno or 0)
    if why is None:
        what = os.strerror(error.errno) if error.errno else str(error)
        return Route(target, None, "", f"the route to {target} could not be looked up ({what})")
    return Route(target, False, "", f"no route to {target}: {why}")


def ipv6_kind(proc: Path = PROC) -> Ipv6Kind:
    """Return whether this server has a global IPv6 address and a way out for it.

    As its kernel sees it; whether packets come back only a probe can tell.
    """
    has_address = any(address.is_global for address in _kernel_ipv6(proc))
    route = route_to(SOMEWHERE_ON_IPV6).reachable
    if route is None:
        return Ipv6Kind.UNKNOWN
    if has_address:
        return Ipv6Kind.WORKING if route else Ipv6Kind.ADDRESS_WITHOUT_ROUTE
    return Ipv6Kind.ROUTE_WITHOUT_ADDRESS if route else Ipv6Kind.NONE


_IPV6_SENTENCES = {
    Ipv6Kind.NONE: "this server has no IPv6, which is in order",
    Ipv6Kind.WORKING: "this server has a global IPv6 address and a route for it",
    Ipv6Kind.ADDRESS_WITHOUT_ROUTE: "this server has a global IPv6 address but no IPv6 route to the internet",
    Ipv6Kind.ROUTE_WITHOUT_ADDRESS: "this server has an IPv6 route but no global IPv6 address",
    Ipv6Kind.UNKNOWN: "this server's IPv6 routes could not be looked up",
}
