"""Who owns a port on this server: the process that visitors' handshakes reach."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

PROC = Path("/proc")
HTTPS = 443

_LISTEN = "0A"


class Server(Enum):
    """Which web server a process is; UNKNOWN when we may not look (not root)."""

    HTTPD = "httpd"
    OTHER_HTTPD = "other-httpd"
    """An Apache that is not the one of this server's sites."""
    NGINX = "nginx"
    LITESPEED = "litespeed"
    OPENLITESPEED = "openlitespeed"
    HAPROXY = "haproxy"
    CADDY = "caddy"
    ENVOY = "envoy"
    HITCH = "hitch"
    TRAEFIK = "traefik"
    VARNISH = "varnish"
    OTHER = "other"
    NOBODY = "nobody"
    UNKNOWN = "unknown"

    @property
    def name_for_people(self) -> str:
        """What people call it."""
        return _NAMES.get(self, self.value.capitalize())

    @property
    def is_apache(self) -> bool:
        """Whether visitors reach this server's Apache, as far as anybody can see."""
        return self in (Server.HTTPD, Server.NOBODY, Server.UNKNOWN)

    @property
    def asks_beside(self) -> bool:
        """Whether it is known to ask responders beside its visitors, never while one of them waits."""
        return not self.is_apache and self not in (Server.OTHER_HTTPD, Server.OTHER)


_NAMES = {
    Server.HTTPD: "Apache",
    Server.OTHER_HTTPD: "another Apache",
    Server.NGINX: "nginx",
    Server.LITESPEED: "LiteSpeed",
    Server.OPENLITESPEED: "OpenLiteSpeed",
    Server.HAPROXY: "HAProxy",
    Server.OTHER: "another program",
}

# program name -> server; "lshttpd" is LiteSpeed's own, also with a version behind it (lshttpd.6.3)
_PROGRAMS = {
    "httpd": Server.HTTPD,
    "apache2": Server.HTTPD,
    "nginx": Server.NGINX,
    "litespeed": Server.LITESPEED,
    "lshttpd": Server.LITESPEED,
    "openlitespeed": Server.OPENLITESPEED,
    "haproxy": Server.HAPROXY,
    "caddy": Server.CADDY,
    "envoy": Server.ENVOY,
    "hitch": Server.HITCH,
    "traefik": Server.TRAEFIK,
    "varnishd": Server.VARNISH,
}


@dataclass(frozen=True)
class Listener:
    """One listening socket: `process` is the program's name, empty when it cannot be seen; pid 0 likewise."""

    address: str
    port: int
    pid: int
    process: str
    server: Server


@dataclass(frozen=True)
class PortOwner:
    """Who answers on a port. `server` is the one with most of it, every listener is in `listeners`."""

    port: int
    server: Server
    listeners: tuple[Listener, ...]
    sentence: str


def owner_of(port: int = HTTPS, proc: Path = PROC) -> PortOwner:
    """Return who listens on a TCP port. Never raises; sees other users' processes only as root."""
    sockets = {inode: address for name in ("tcp", "tcp6") for inode, address in _sockets(proc, name, port)}
    owners = _owners(proc, set(sockets))
    listeners = tuple(
        sorted(
            (_listener(proc, address, port, owners.get(inode, 0)) for inode, address in sockets.items()),
            key=lambda found: (not ipaddress.ip_address(found.address).is_unspecified, found.address),
        )
    )
    server = _front(listeners)
    return PortOwner(port, server, listeners, _sentence(port, server, listeners))


def _sockets(proc: Path, table: str, port: int) -> Iterator[tuple[int, str]]:
    """Inode and address of each listening socket on `port` in /proc/net/tcp or tcp6 (format: proc(5))."""
    try:
        lines = (proc / "net" / table).read_text("ascii", "replace").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) > 9 and words[3] == _LISTEN:
            found = _address(words[1])
            if found and found[1] == port and words[9].isdigit():
                yield int(words[9]), found[0]


def _address(text: str) -> tuple[str, int] | None:
    """Decode `0100007F:01BB`: 32-bit words in the machine's own (little-endian) order, hexadecimal port."""
    try:
        host, port = text.split(":")
        raw = bytes.fromhex(host)
        words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
        return str(ipaddress.ip_address(words)), int(port, 16)
    except ValueError:
        return None


def _owners(proc: Path, inodes: set[int]) -> dict[int, int]:
    """Which process has each socket open; the lowest pid, which is the parent, when workers share it."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    owners: dict[int, int] = {}
    for pid in _pids(proc):
        if len(owners) == len(wanted):
            break
        for target in open_files(proc / str(pid) / "fd"):
            if target in wanted:
                owners.setdefault(wanted[target], pid)
    return owners


def _pids(proc: Path) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(proc) if name.isdigit())  # noqa: PTH208 - thousands
    except OSError:
        return []


def open_files(folder: Path) -> Iterator[str]:
    """What the descriptors in /proc/PID/fd lead to; nothing of a process that is gone or not ours to look at."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a busy server has hundreds of thousands
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"{folder}/{name}")  # noqa: PTH115
        except OSError:
            continue


def _listener(proc: Path, address: str, port: int, pid: int) -> Listener:
    process = _program(proc / str(pid)) if pid else ""
    server = _server(process) if pid else Server.UNKNOWN
    return Listener(address, port, pid, process, server)


def _program(process: Path) -> str:
    """The name of the program file: comm can be anything, LiteSpeed's is a whole sentence."""
    try:
        return (process / "exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        pass
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _server(process: str) -> Server:
    return _PROGRAMS.get(process.split(".")[0].split(" ")[0].lower(), Server.OTHER)


def _front(listeners: tuple[Listener, ...]) -> Server:
    """The server on most addresses; one that listens on every address (it sorts first) wins a tie."""
    if not listeners:
        return Server.NOBODY
    servers = [listener.server for listener in listeners]
    return max(servers, key=servers.count)


def _sentence(port: int, server: Server, listeners: tuple[Listener, ...]) -> str:
    if server is Server.NOBODY:
        return f"nothing listens on port {port}"
    if server is Server.UNKNOWN:
        return f"something listens on port {port}; only root can see what"
    names = sorted({listener.process or "an unknown program" for listener in listeners})
    return f"port {port} belongs to {' and '.join(names)}"
