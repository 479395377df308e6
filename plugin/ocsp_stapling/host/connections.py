"""Which processes serve somebody, and whom they ask: what the kernel knows of their connections (sock_diag(7)).

A worker that hangs in the stapling mutex has sent its visitor nothing yet, for the staple belongs to the server's
first message. Whoever has got anything may be in the middle of a download.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from ocsp_stapling.host.listeners import open_files

PROC = Path("/proc")
_SOCK_DIAG, _BY_FAMILY, _ALL_OF_THEM, _ERROR, _DONE = 4, 20, 0x301, 2, 3
_ESTABLISHED, _BEGUN, _HALF_CLOSED, _LISTENS = 1, 2, 8, 10
_STATES = 1 << _ESTABLISHED | 1 << _BEGUN | 1 << _HALF_CLOSED | 1 << _LISTENS
_WITH_INFO, _INFO = 2, 2
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_MESSAGE = struct.Struct("=BB2x2s2s16x16s12x8xI4xI")
"""Of struct inet_diag_msg (linux/inet_diag.h): family, state, local port, the other side's port and address, bytes
that wait to be sent, inode."""
_QUESTION = struct.Struct("=BBBxI48x")
_BYTES = struct.Struct("=QQ")
_ACKNOWLEDGED_AT = 120
"""Of tcpi_bytes_acked in struct tcp_info (linux/tcp.h, since 4.1); tcpi_bytes_received follows."""
_READ_BYTES, _WAIT_SECONDS = 1 << 16, 2.0


class TcpSocket(NamedTuple):
    """One TCP socket of this system. Counts of bytes; `sent` is what the other side has got or will get."""

    inode: int
    port: int
    """Its local port."""
    listens: bool
    sent: int
    received: int
    peer: tuple[str, int] = ("", 0)
    """The other side's address and port; of one that listens neither."""
    half_closed: bool = False
    """Whether the other side has ended it: nothing more comes from there."""


def asked_by(pids: Collection[int]) -> frozenset[tuple[str, int]]:
    """Return address and port of whom the processes ask: they have opened a connection there or try to.

    Nobody waits for whoever has ended the connection. None where the kernel does not tell.
    """
    found = connections()
    ports = {each.port for each in found if each.listens}
    own = {
        f"socket:[{each.inode}]": each.peer
        for each in found
        if each.port not in ports and not each.half_closed
    }
    return frozenset(own[file] for pid in pids for file in open_files(PROC / str(pid) / "fd") if file in own)


def serving(pids: Collection[int], tls_ports: Collection[int]) -> frozenset[int]:
    """Return those of the processes that serve somebody; none where the kernel cannot be asked.

    On a port of TLS that is who was sent anything; on any other port that listens who has asked for anything, since
    the answer may be in the making. What a process has opened itself does not count.
    """
    found = connections()
    ports = {each.port for each in found if each.listens}
    busy = {
        f"socket:[{each.inode}]"
        for each in found
        if not each.listens
        and (each.sent if each.port in tls_ports else each.port in ports and each.received)
    }
    return frozenset(pid for pid in pids if busy.intersection(open_files(PROC / str(pid) / "fd")))


def connections() -> list[TcpSocket]:
    """Return every TCP socket that listens or is connected, [] where the kernel does not tell."""
    try:
        return [each for family in (socket.AF_INET, socket.AF_INET6) for each in _asked(family)]
    except (OSError, struct.error):
        return []


def _asked(family: socket.AddressFamily) -> Iterator[TcpSocket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
        kernel.settimeout(_WAIT_SECONDS)
        question = _QUESTION.pack(family, socket.IPPROTO_TCP, _WITH_INFO, _STATES)
        kernel.sendto(
            _HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _ALL_OF_THEM, 1, 0) + question, (0, 0)
        )
        while True:
            data = kernel.recv(_READ_BYTES)
            for kind, body in _messages(data):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("the kernel does not tell")
                yield _connection(body)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += max(_aligned(length), _HEADER.size)


def _connection(message: bytes) -> TcpSocket:
    family, state, port, peer_port, peer, waiting, inode = _MESSAGE.unpack_from(message)
    number = int.from_bytes(port, "big")
    if state == _LISTENS:
        return TcpSocket(inode, number, True, 0, 0)
    got, received = _counts(message[_MESSAGE.size :])
    told = ip_address(peer if family == socket.AF_INET6 else peer[:4])
    there = str(told), int.from_bytes(peer_port, "big")
    return TcpSocket(inode, number, False, got + waiting, received, there, state == _HALF_CLOSED)


def _counts(attributes: bytes) -> tuple[int, int]:
    """Bytes that the other side has acknowledged, and bytes that came from it."""
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if kind == _INFO:
            sent, received = _BYTES.unpack_from(attributes, at + _ATTRIBUTE.size + _ACKNOWLEDGED_AT)
            return int(sent), int(received)
        at += max(_aligned(length), _ATTRIBUTE.size)
    return 0, 0


def _aligned(length: int) -> int:
    return (length + 3) & ~3
