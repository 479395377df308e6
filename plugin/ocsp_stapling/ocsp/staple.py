"""Timed TLS handshakes, with and without asking for a staple.

Clients that send no `status_request` are served at once even in the worst stall, so only a handshake that asks
(TLS Certificate Status Request, RFC 6066 section 8) tells what a browser meets.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from OpenSSL import SSL, crypto

from ocsp_stapling.ocsp.door import Door

_STACK_BYTES = 512 * 1024
_STAPLE_LIMIT = 64 * 1024
_NAME_BYTES = 255
_CIPHERS = {"rsa": b"aRSA", "ecdsa": b"aECDSA"}


@dataclass(frozen=True)
class Handshake:
    """One handshake: seconds until it completed or was given up; `error` is "" when it completed.

    `staple` is the OCSP response (DER) the server sent, None if it sent none or was not asked. `certificate`
    and `chain` are what the server presented (DER).
    """

    door: Door
    asked: bool
    seconds: float
    error: str = ""
    staple: bytes | None = None
    certificate: bytes | None = None
    chain: tuple[bytes, ...] = ()

    @property
    def completed(self) -> bool:
        """Whether the handshake came to its end in time."""
        return not self.error

    @property
    def milliseconds(self) -> int:
        """The time it took, in whole milliseconds."""
        return round(self.seconds * 1000)


def handshake(door: Door, *, ask: bool, limit: float) -> Handshake:
    """Return how one handshake with `door` went, giving up after `limit` seconds. Verifies no certificate.

    `error` is one of `refused`, `unreachable`, `timeout`, `reset`, or `tls: ...` with OpenSSL's reason.
    """
    staples: list[bytes] = []
    begin = time.monotonic()
    try:
        with socket.create_connection((door.address, door.port), max(limit, 0.001)) as raw:
            raw.setblocking(False)
            connection = _connection(raw, door, staples if ask else None)
            _complete(connection, raw, begin + limit)
            seconds = time.monotonic() - begin
            chain = _presented(connection)
            _close(connection)
    except (OSError, SSL.Error) as error:
        return Handshake(door, ask, time.monotonic() - begin, _reason(error))
    staple = staples[0] if staples and staples[0] else None
    return Handshake(door, ask, seconds, "", staple, chain[0] if chain else None, chain[1:])


def handshakes(doors: Sequence[Door], *, ask: bool, limit: float) -> tuple[Handshake, ...]:
    """Return the handshakes with all `doors`, made at the same moment, in the order of `doors`."""
    found: list[Handshake | None] = [None] * len(doors)

    def meet(i: int) -> None:
        found[i] = handshake(doors[i], ask=ask, limit=limit)

    previous = threading.stack_size(_STACK_BYTES)
    try:
        threads = [threading.Thread(target=meet, args=(i,), daemon=True) for i in range(len(doors))]
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(previous)
    for thread in threads:
        thread.join()
    return tuple(each for each in found if each is not None)


def _connection(raw: socket.socket, door: Door, staples: list[bytes] | None) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if door.key:
        # TLS 1.2 names the kind of certificate in its cipher; of TLS 1.3's signature algorithms pyOpenSSL knows none.
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(_CIPHERS[door.key])
    if staples is not None:

        def keep(_connection: SSL.Connection, staple: bytes, _data: object) -> bool:
            staples.append(staple[:_STAPLE_LIMIT])
            return True

        context.set_ocsp_client_callback(keep)
    connection = SSL.Connection(context, raw)
    if server_name := _server_name(door.name):
        connection.set_tlsext_host_name(server_name)
    if staples is not None:
        connection.request_ocsp()
    connection.set_connect_state()
    return connection


def _server_name(name: str) -> bytes:
    """Return the name as it is sent (RFC 6066 section 3), nothing for one that cannot be: it comes from a vhost."""
    try:
        encoded = name.encode() if name.isascii() else name.encode("idna")
    except UnicodeError:
        return b""
    return encoded if len(encoded) <= _NAME_BYTES and b"\0" not in encoded else b""


def _complete(connection: SSL.Connection, raw: socket.socket, deadline: float) -> None:
    while True:
        try:
            connection.do_handshake()
            return
        except SSL.WantReadError:
            ready = select.select([raw], [], [], max(0.0, deadline - time.monotonic()))[0]
        except SSL.WantWriteError:
            ready = select.select([], [raw], [], max(0.0, deadline - time.monotonic()))[1]
        if not ready:
            raise TimeoutError


def _presented(connection: SSL.Connection) -> tuple[bytes, ...]:
    # By OpenSSL, which takes any certificate that Apache serves; `cryptography` refuses odd ones.
    chain = connection.get_peer_cert_chain() or []
    return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in chain)


def _close(connection: SSL.Connection) -> None:
    """Say goodbye, for a worker left waiting would hold its slot."""
    try:
        connection.shutdown()
    except (OSError, SSL.Error):
        return


def _reason(error: OSError | SSL.Error) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (ConnectionResetError, BrokenPipeError, SSL.SysCallError)):
        return "reset"
    if isinstance(error, SSL.Error):
        reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return "tls: " + (str(reasons[0][-1]) if reasons else type(error).__name__)
    return "unreachable"
