"""Names and addresses of virtual hosts, read from their directives in the one way that every room uses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from ocsp_stapling.ocsp.door import Door

HTTPS = 443
_ANY = ("", "*", "_default_")


class Address(NamedTuple):
    """Where a virtual host listens; host `*` is every address, port 0 every port of the server."""

    host: str
    port: int


def host_name(server_name: str) -> str:
    """Return the name in a ServerName, `[scheme://]host[:port]`, as browsers send it.

    Without scheme, port and trailing dot, in lower case, an international name in its ASCII form (RFC 5891, UTS 46:
    `straße.de` is not `strasse.de`); what has no such form stays as it is written, but for bytes that are no UTF-8.
    """
    host = server_name.rpartition("://")[2]
    name, colon, port = host.rpartition(":")
    name = (name if colon and port.isdecimal() else host).rstrip(".").lower()
    return name if name.isascii() else ".".join(map(_label, name.split(".")))


def _label(text: str) -> str:
    import idna  # it loads slowly, and cPanel writes names in ASCII

    try:
        return text if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError:
        return text.encode(
            "utf-8", "replace"
        ).decode()  # no browser can send it, and no page or file could hold it


@cache
def address(text: str) -> Address:
    """Read the argument of a `<VirtualHost>`: `192.0.2.1:443`, `[2001:db8::1]:443`, `*:443`, `_default_`."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isdecimal() or port == "*") or text.endswith("]"):
        host, port = text, "0"
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isdecimal() and len(port) <= 5 and int(port) < 65536 else 0
    return Address("*" if host.lower() in _ANY else host, number)


@cache
def listener(text: str) -> Address:
    """Read the arguments of a `Listen`: `443`, `192.0.2.1:443`, `[::]:443 https`; host `*` is every address."""
    word = text.split()[0] if text.split() else ""
    return Address("*", int(word)) if word.isdecimal() and len(word) <= 5 else address(word)


def doors(name: str, addresses: Iterable[Address], listen: Sequence[str]) -> tuple[Door, ...]:
    """Return where a site can be met; for a wildcard address at those that Apache listens on.

    A name is never looked up here: a virtual host whose address is a host name has no door.
    """
    sni = name if name and not name.startswith("*") else "localhost"
    listening = [listener(each) for each in listen]
    found: dict[Door, None] = {}
    for host, port in addresses:
        at = [Address(host, port or HTTPS)]
        if host in _ANY or _unspecified(host):
            at = [
                Address(each.host, port or HTTPS) for each in listening if each.port == (port or HTTPS)
            ] or at
        found |= dict.fromkeys(Door(to, number, sni) for host, number in at if (to := _connectable(host)))
    return tuple(found)


def _unspecified(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104 - what a virtual host says, not a socket


@cache
def _connectable(host: str) -> str:
    """The address to connect to; loopback for an unspecified one, "" for a name."""
    if host in _ANY:
        return "127.0.0.1"
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if not found.is_unspecified:
        return str(found)
    return "127.0.0.1" if found.version == 4 else "::1"
