"""One HTTP exchange exactly as mod_ssl makes it: HTTP/1.0, a time-out per socket operation, read to the end.

mod_ssl looks at the status code and at nothing else: it follows no redirect, ignores Content-Length and waits
until the responder closes. Facts from its messages AH01974-AH01988 and from the bytes it sends.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime

from ocsp_stapling.ocsp.answer import MAX_ANSWER_BYTES
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.ocsp.guard import ResponderURL

_MAX_HEADER_BYTES = 65_536
_CHUNK = 4096
_STATUS_LINE = re.compile(rb"HTTP/[^ \r\n]* +(\d{3})(?!\d)[^\n]*\n")
_DATE = re.compile(rb"\r?\ndate:[ \t]*([^\r\n]{10,40})", re.IGNORECASE)
_CODING = re.compile(
    rb"\r?\n(?:content|transfer)-encoding:[ \t]*(gzip|deflate|br|zstd|chunked)\b", re.IGNORECASE
)
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_CONNECT_ERRORS = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ENETUNREACH: Outcome.NO_ROUTE,
    errno.EHOSTUNREACH: Outcome.NO_ROUTE,
    errno.EADDRNOTAVAIL: Outcome.NO_PORT,  # a route with an address to start from was found before
    errno.ETIMEDOUT: Outcome.CONNECT_TIMEOUT,
    errno.ECONNRESET: Outcome.RESET,
    errno.EACCES: Outcome.NOT_PERMITTED,
    errno.EPERM: Outcome.NOT_PERMITTED,
}


class ExchangeError(Exception):
    """The exchange ended early; `outcome` says how, `detail` in the system's own words."""

    def __init__(self, outcome: Outcome, detail: str = "") -> None:
        super().__init__(outcome.value)
        self.outcome = outcome
        self.detail = detail


@dataclass
class Reply:
    """What has been received so far; filled while it arrives, so that a deadline finds what there was."""

    received: bytearray = field(default_factory=bytearray)
    status: int | None = None
    header_end: int | None = None

    @property
    def body(self) -> bytes:
        """The body as far as it was read."""
        return b"" if self.header_end is None else bytes(self.received[self.header_end :])

    @property
    def date(self) -> datetime | None:
        """The `Date` of the reply (RFC 9110 section 6.6.1), aware; None if there is none that can be read."""
        found = _DATE.search(self.received, 0, self.header_end or 0)
        try:
            when = parsedate_to_datetime(found[1].decode("ascii", "replace")) if found else None
        except ValueError:
            return None
        return when if when and when.tzinfo else None

    @property
    def coding(self) -> str:
        """How the body is packed, in words: mod_ssl unpacks nothing; "" if it is as it is."""
        found = _CODING.search(self.received, 0, self.header_end or 0)
        if found is None:
            return ""
        how = "sent in chunks" if found[1].lower() == b"chunked" else "compressed"
        return f"it is {how}, and Apache reads it as it comes"

    @property
    def is_html(self) -> bool:
        """Whether the body is a web page."""
        return self.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def request_bytes(url: ResponderURL, question: bytes | None) -> bytes:
    """Return the bytes mod_ssl sends for an OCSP request; without a question, a plain GET of the same URL."""
    if question is None:
        return f"GET {url.target} HTTP/1.0\r\nHost: {url.host_header}\r\nConnection: close\r\n\r\n".encode(
            "latin-1", "replace"
        )
    head = (
        f"POST {url.target} HTTP/1.0\r\n"
        f"Host: {url.host_header}\r\n"
        "Content-Type: application/ocsp-request\r\n"
        "Connection: close\r\n"
        f"Content-Length: {len(question)}\r\n\r\n"
    )
    return head.encode("latin-1", "replace") + question


async def connect(opened: socket.socket, address: str, port: int, timeout: float) -> None:
    """Connect within `timeout` seconds; raises ExchangeError."""
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except OSError as error:
        raise ExchangeError(_connect_outcome(error), _own_words(error)) from error


async def send(opened: socket.socket, data: bytes, timeout: float) -> None:
    """Send all of `data`; raises ExchangeError."""
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_sendall(opened, data)
    except OSError as error:
        raise _broken(error) from error


async def receive(opened: socket.socket, reply: Reply, timeout: float, *, whole: bool) -> None:
    """Read into `reply` until the responder closes, `timeout` seconds per read; raises ExchangeError.

    Stops as soon as mod_ssl would: at a status other than 2xx, or beyond the size it accepts. Unless the
    `whole` answer is wanted, the status line is enough.
    """
    done = False
    while not done:
        try:
            async with asyncio.timeout(timeout):
                chunk = await asyncio.get_running_loop().sock_recv(opened, _CHUNK)
        except OSError as error:
            raise _broken(error) from error
        done = _take(reply, chunk, whole) if chunk else _end(reply)


def _connect_outcome(error: OSError) -> Outcome:
    if isinstance(error, TimeoutError):
        return Outcome.CONNECT_TIMEOUT
    return _CONNECT_ERRORS.get(error.errno or 0, Outcome.NO_ROUTE)


def _broken(error: OSError) -> ExchangeError:
    if isinstance(error, TimeoutError):
        return ExchangeError(Outcome.REPLY_TIMEOUT)
    return ExchangeError(Outcome.RESET, _own_words(error))


def _own_words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else ""  # asyncio puts words of its own into `strerror`


def _take(reply: Reply, chunk: bytes, whole: bool) -> bool:
    """Add what came; True if nothing more needs to be read. Raises ExchangeError."""
    seen = max(len(reply.received) - 3, 0)  # where an end of header may begin that was not complete yet
    reply.received += chunk
    if reply.status is None and b"\n" in chunk:
        reply.status = _status(reply)
    if reply.status is not None and not (whole and 200 <= reply.status <= 299):
        return True
    if reply.header_end is None:
        reply.header_end = _header_end(reply, seen)
    elif len(reply.received) - reply.header_end > MAX_ANSWER_BYTES:
        raise ExchangeError(Outcome.HTML if reply.is_html else Outcome.OVERSIZE)
    return False


def _status(reply: Reply) -> int:
    found = _STATUS_LINE.match(reply.received)
    if found is None:
        raise ExchangeError(Outcome.NOT_HTTP)
    return int(found[1])


def _header_end(reply: Reply, start: int) -> int | None:
    found = _END_OF_HEADER.search(reply.received, start)
    if found is None and len(reply.received) > _MAX_HEADER_BYTES:
        raise ExchangeError(Outcome.NOT_HTTP)
    return found.end() if found else None


def _end(reply: Reply) -> bool:
    """The responder has closed: True if what came is an answer. Raises ExchangeError."""
    if reply.received and reply.status is None:
        raise ExchangeError(Outcome.NOT_HTTP)
    if not reply.body:
        raise ExchangeError(Outcome.EMPTY_REPLY)
    return True
