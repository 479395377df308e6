"""Visitors at a steady rate, who come whether or not those before them are served yet (an open loop).

Usage: python -m tests.machine.traffic RATE SECONDS SITES [--limit SECONDS]
RATE handshakes a second that ask for a staple, at site0001 to the last of SITES in turn. Prints one JSON object:
handshakes, the share stapled, milliseconds at the median, the 99th percentile and the most, how many took over 50,
how late the latest of them came (the visitors' own wait for a processor: what is under it may be theirs), when the
slowest came and when the last one without a staple (seconds from the beginning, -1: none). A handshake that does not
complete within the limit counts as unstapled, and in `failed`.

One thread and one loop, so that what is measured is the server and not how visitors share a processor.
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import selectors
import socket
import time
from collections import deque
from dataclasses import dataclass, field

from OpenSSL import SSL

from tests.machine.shape import SERVER_V4


@dataclass(eq=False)
class Visit:
    """One handshake, from the call of connect() until it is complete."""

    came: float
    """Seconds from the beginning of all."""
    begin: float
    connection: SSL.Connection
    raw: socket.socket
    stapled: bool = False
    seconds: float = 0.0
    error: str = ""
    late: float = 0.0
    """How much later than planned: the visitors' own wait for the processor."""


@dataclass
class Crowd:
    """All visitors of one measurement."""

    limit: float
    found: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_ocsp_client_callback(_keep)
        self.waiting: deque[Visit] = deque()

    def come(self, site: str, came: float) -> None:
        raw = socket.socket()
        raw.setblocking(False)
        begin = time.monotonic()
        connection = SSL.Connection(self.context, raw)
        visit = Visit(came, begin, connection, raw)
        connection.set_app_data(visit)
        connection.set_tlsext_host_name(site.encode())
        connection.request_ocsp()
        connection.set_connect_state()
        self.found.append(visit)
        if (code := raw.connect_ex((SERVER_V4, 443))) not in (0, errno.EINPROGRESS):
            self._end(visit, errno.errorcode[code])
            return
        self.waiting.append(visit)
        self.selector.register(raw, selectors.EVENT_WRITE, visit)

    def serve(self, seconds: float) -> None:
        """Go on with who can go on, for so long; whoever waited for `limit` goes."""
        for key, _ in self.selector.select(max(0.0, seconds)):
            self._go_on(key.data)
        now = time.monotonic()
        while self.waiting and (self.waiting[0].seconds or now - self.waiting[0].begin > self.limit):
            visit = self.waiting.popleft()
            if not visit.seconds:
                self._end(visit, "no answer")

    def _go_on(self, visit: Visit) -> None:
        try:
            visit.connection.do_handshake()
        except SSL.WantReadError:
            self.selector.modify(visit.raw, selectors.EVENT_READ, visit)
        except SSL.WantWriteError:
            self.selector.modify(visit.raw, selectors.EVENT_WRITE, visit)
        except (OSError, SSL.Error) as problem:
            self._end(visit, type(problem).__name__)
        else:
            self._end(visit, "")

    def _end(self, visit: Visit, error: str) -> None:
        visit.seconds, visit.error = time.monotonic() - visit.begin, error
        if visit.raw in self.selector.get_map():
            self.selector.unregister(visit.raw)
        visit.raw.close()


def _keep(connection: SSL.Connection, staple: bytes, _data: object) -> bool:
    visit = connection.get_app_data()
    assert isinstance(visit, Visit)
    visit.stapled = bool(staple)
    return True


def drive(rate: float, seconds: float, sites: int, limit: float) -> list[Visit]:
    """Return every visit."""
    crowd = Crowd(limit)
    begin = time.monotonic()
    for number in range(int(rate * seconds)):
        came = number / rate
        while (left := begin + came - time.monotonic()) > 0:
            crowd.serve(left)
        crowd.come(f"site{number % sites + 1:04d}.example.test", came)
        crowd.found[-1].late = crowd.found[-1].begin - begin - came
    while crowd.waiting:
        crowd.serve(0.1)
    return crowd.found


def summed(found: list[Visit]) -> dict[str, float]:
    """Return the figures of these visits."""
    times = sorted(1000 * one.seconds for one in found)
    return {
        "handshakes": len(found),
        "stapled_percent": round(100 * sum(one.stapled and not one.error for one in found) / len(found), 1),
        "failed": sum(bool(one.error) for one in found),
        "p50_ms": round(times[len(times) // 2], 1),
        "p99_ms": round(times[min(len(times) - 1, int(0.99 * len(times)))], 1),
        "max_ms": round(times[-1], 1),
        "late_ms": round(1000 * max(one.late for one in found), 1),
        "over_50_ms": sum(each > 50 for each in times),
        "slowest_at_s": round(max(found, key=lambda one: one.seconds).came, 1),
        "unstapled_until_s": max((one.came for one in found if not one.stapled or one.error), default=-1.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("sites", type=int)
    parser.add_argument("--limit", type=float, default=30.0)
    options = parser.parse_args()
    gc.disable()
    print(json.dumps(summed(drive(options.rate, options.seconds, options.sites, options.limit))))


if __name__ == "__main__":
    main()
