"""Pings many addresses at once over one socket per family. Evidence only: many responders answer no ping."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time

_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # request and reply types (RFC 792, RFC 4443)
_PROTOCOLS = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_PAYLOAD = b"ocsp-stapling probe"


def open_sockets() -> dict[socket.AddressFamily, socket.socket]:
    """Open a ping socket per family where the system permits it: raw for root, else the unprivileged kind.

    Root calls this before it gives up its rights; afterwards raw sockets cannot be had.
    """
    found = {}
    for family, protocol in _PROTOCOLS.items():
        for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
            with contextlib.suppress(OSError):
                found[family] = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
                break
    return found


class Pinger:
    """Sends one echo request per address and tells the time to its reply. Use within a running event loop."""

    def __init__(self, sockets: dict[socket.AddressFamily, socket.socket]) -> None:
        self._sockets = sockets
        self._waiting: dict[tuple[str, int], asyncio.Future[float]] = {}
        self._identifier = os.getpid() & 0xFFFF
        self._sequence = 0
        for family, opened in sockets.items():
            asyncio.get_running_loop().add_reader(opened, self._receive, family, opened)

    def close(self) -> None:
        """Stop listening for replies and close the sockets."""
        for opened in self._sockets.values():
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()

    async def ping(self, family: socket.AddressFamily, address: str, timeout: float) -> float | None:
        """Return the milliseconds to the reply, or None: none within `timeout` seconds, or not possible."""
        opened = self._sockets.get(family)
        if opened is None:
            return None
        self._sequence = (self._sequence + 1) & 0xFFFF
        key = (address, self._sequence)
        reply: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[key] = reply
        sent = time.perf_counter()
        try:
            opened.sendto(self._request(family, self._sequence), (address, 0))
            async with asyncio.timeout(timeout):
                return (await reply - sent) * 1000
        except (OSError, TimeoutError):
            return None
        finally:
            del self._waiting[key]

    def _request(self, family: socket.AddressFamily, sequence: int) -> bytes:
        kind = _ECHO[family][0]
        body = struct.pack("!HH", self._identifier, sequence) + _PAYLOAD
        checksum = _checksum(bytes((kind, 0, 0, 0)) + body) if family == socket.AF_INET else 0
        return struct.pack("!BBH", kind, 0, checksum) + body  # the kernel fills in the IPv6 checksum

    def _receive(self, family: socket.AddressFamily, opened: socket.socket) -> None:
        try:
            packet, sender = opened.recvfrom(2048)
        except OSError:
            return
        if family == socket.AF_INET and opened.type == socket.SOCK_RAW:
            packet = packet[(packet[0] & 15) * 4 :] if packet else b""
        if len(packet) < 8 or packet[0] != _ECHO[family][1]:
            return
        waiting = self._waiting.get((sender[0], struct.unpack("!H", packet[6:8])[0]))
        if waiting is not None and not waiting.done() and packet[8:] == _PAYLOAD:
            waiting.set_result(time.perf_counter())


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
