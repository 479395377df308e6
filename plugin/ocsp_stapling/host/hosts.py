"""The two files that steer name resolution on this server: /etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")

_SIZE_LIMIT = 16 * 1024 * 1024
_NAMESERVERS = 3  # as many as the C library uses (MAXNS, resolv.conf(5))
_LOCAL = "127.0.0.1"  # what the C library asks when no name server is named


@dataclass(frozen=True)
class HostsEntry:
    """A line of /etc/hosts that gives a name an address, whatever DNS says."""

    name: str
    address: str
    line_number: int


@dataclass(frozen=True)
class ResolvConf:
    """The name servers in force, in order; `named` tells whether the file names any."""

    nameservers: tuple[str, ...]
    named: bool


def hosts_entries(name: str, path: Path = HOSTS) -> tuple[HostsEntry, ...]:
    """Return the lines of /etc/hosts for a name (hosts(5)); none if the file cannot be read."""
    wanted = name.rstrip(".").lower()
    return tuple(entry for entry in _entries(path) if entry.name == wanted)


def _entries(path: Path) -> Iterator[HostsEntry]:
    for number, line in enumerate(_lines(path), 1):
        words = line.split("#", 1)[0].split()
        if len(words) > 1 and _is_address(words[0]):
            yield from (HostsEntry(name.rstrip(".").lower(), words[0], number) for name in words[1:])


def read_resolv_conf(path: Path = RESOLV_CONF) -> ResolvConf:
    """Return the name servers of resolv.conf(5), as many as the C library uses."""
    found = []
    for line in _lines(path):
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_address(words[1]):
            found.append(words[1])
    return ResolvConf(tuple(found[:_NAMESERVERS]) or (_LOCAL,), bool(found))


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(_SIZE_LIMIT).decode("utf-8", "replace").split("\n")
    except OSError:
        return []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
