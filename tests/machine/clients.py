"""Visitors: timed TLS handshakes, many at once, with or without asking for a staple.

Usage: python -m tests.machine.clients COUNT [--site NAME ...] [--no-status] [--address A] [--limit SECONDS]
Prints one JSON object a handshake, when it ends: {"site", "seconds", "stapled", "error"}; `seconds` is the time of
the handshake. It uses pyOpenSSL directly, so that a measurement never rests on the code under test.
"""

from __future__ import annotations

import argparse
import json
import queue
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from OpenSSL import SSL

from tests.machine.shape import SERVER_V4


def handshake(
    site: str, status: bool = True, address: str = SERVER_V4, limit: float = 60.0
) -> dict[str, Any]:
    """Return the result of one handshake; `error` is "" when it completed within `limit` seconds."""
    staples: list[bytes] = []

    def keep(_connection: SSL.Connection, staple: bytes, _data: object) -> bool:
        staples.append(staple)
        return True

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if status:
        context.set_ocsp_client_callback(keep)
    begin = time.monotonic()
    error = ""
    try:
        with socket.create_connection((address, 443), limit) as raw:
            raw.setblocking(False)
            connection = SSL.Connection(context, raw)
            connection.set_tlsext_host_name(site.encode())
            if status:
                connection.request_ocsp()
            connection.set_connect_state()
            _complete(connection, raw, begin + limit)
    except (OSError, SSL.Error) as problem:
        error = type(problem).__name__ + ": " + str(problem)
    seconds = round(time.monotonic() - begin, 4)
    return {"site": site, "seconds": seconds, "stapled": bool(staples and staples[0]), "error": error}


def _complete(connection: SSL.Connection, raw: socket.socket, end: float) -> None:
    while True:
        try:
            connection.do_handshake()
            return
        except SSL.WantReadError:
            if not select.select([raw], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("no answer") from None
        except SSL.WantWriteError:
            select.select([], [raw], [], 1)


def many(places: list[str], status: bool, address: str, limit: float) -> Iterator[dict[str, Any]]:
    """Yield the results of simultaneous handshakes, one a place, each when it ends."""
    results: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for site in places:
        threading.Thread(
            target=lambda site=site: results.put(handshake(site, status, address, limit))
        ).start()
    for _ in places:
        yield results.get()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--site", action="append", default=None)
    parser.add_argument("--no-status", action="store_true")
    parser.add_argument("--address", default=SERVER_V4)
    parser.add_argument("--limit", type=float, default=60.0)
    options = parser.parse_args()
    wanted = options.site or ["site0001.example.test"]
    places = [wanted[i % len(wanted)] for i in range(options.count)]
    threading.stack_size(256 * 1024)
    for result in many(places, not options.no_status, options.address, options.limit):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
