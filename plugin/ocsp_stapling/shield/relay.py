"""The relay: answers Apache's OCSP questions from the kept answers, at once, and asks nobody.

Standard library alone, and of this project only the store: it runs as a user of its own that can write nothing and
reach nothing. A parent and two workers accept on one listening socket; the parent ends and replaces a worker that is
silent for a second. What is not known gets an OCSP `tryLater` with HTTP 200, which Apache remembers: never an HTTP
error, never silence.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from urllib.parse import unquote_to_bytes

from ocsp_stapling.shield import store

TRY_LATER = bytes.fromhex("30030a0103")
"""OCSPResponse { responseStatus tryLater } (RFC 6960 section 4.2.1)."""
WORKERS = 2
MAX_QUESTION_BYTES = 70_000
"""A visitor's own status_request extensions travel in Apache's question."""
MAX_CONNECTIONS = 256
QUESTION_SECONDS = 0.25
SILENT_SECONDS = 1.0
_BEAT_SECONDS = 0.2
_LOOK_SECONDS = 0.25
_CHUNK = 16 * 1024
_HEAD_BYTES = 8 * 1024
# CertID: two hashes of twenty bytes and the serial number, as SHA-1 has them (RFC 6960 section 4.1.1). The first one
# is Apache's: what a visitor adds stands in the extensions, which follow.
_CERT_ID = re.compile(rb"\x04\x14(.{20})\x04\x14(.{20})\x02([\x01-\x7f])", re.DOTALL)
_LENGTH = re.compile(rb"\r?\ncontent-length:[ \t]*(\d{1,6})", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")


def cert_id_of(question: bytes) -> str:
    """Return the CertID asked about, in hexadecimal, "" if there is none."""
    found = _CERT_ID.search(question)
    if found is None:
        return ""
    serial = question[found.end() : found.end() + found[3][0]]
    return (found[1] + found[2] + serial).hex() if len(serial) == found[3][0] else ""


@dataclass
class Book:
    """The answers in memory, read again when the directory changes."""

    directory: Path
    answers: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """CertID -> answer and until when it may be handed out."""
    _files: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    _stamp: int = -1
    _looked: float = 0.0

    def refresh(self, now: float) -> None:
        """Read what changed since the last look; damaged files are passed over (`shield status` names them)."""
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        try:
            stamp = self.directory.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._read()

    def _read(self) -> None:
        files: dict[str, tuple[int, int, str]] = {}
        for path in store.entries(self.directory):
            with contextlib.suppress(OSError, store.Damaged):
                found = path.stat()
                known = self._files.get(path.name)
                tag = (found.st_ino, found.st_mtime_ns)
                if known and known[:2] == tag:
                    files[path.name] = known
                    continue
                kept = store.read(path)
                self.answers[kept.cert_id] = kept.answer, kept.until
                files[path.name] = (*tag, kept.cert_id)
        self._files = files
        left = {cert_id for _, _, cert_id in files.values()}
        self.answers = {cert_id: answer for cert_id, answer in self.answers.items() if cert_id in left}

    def answer(self, question: bytes, now: float) -> bytes:
        """Return the answer to a question, tryLater if none is known that is still valid."""
        answer, until = self.answers.get(cert_id_of(question), (TRY_LATER, 0))
        return answer if until > now else TRY_LATER


def question_in(request: bytes) -> bytes | None:
    """Return the question in an HTTP request, b"" for one that holds none, None while it is not complete."""
    end = _END.search(request, 0, _HEAD_BYTES)
    if end is None:
        return b"" if len(request) >= _HEAD_BYTES else None
    head, body = request[: end.start()], request[end.end() :]
    if head.startswith(b"GET "):
        path = unquote_to_bytes(head.split(b" ", 2)[1].lstrip(b"/"))
        try:
            return base64.b64decode(path)
        except (binascii.Error, ValueError):
            return b""
    found = _LENGTH.search(head)
    length = int(found[1]) if found else 0
    if length > MAX_QUESTION_BYTES:
        return b""
    return body[:length] if len(body) >= length else None


def response(answer: bytes) -> bytes:
    """Return the HTTP response that carries an answer."""
    head = (
        "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\nConnection: close\r\n"
        f"Content-Length: {len(answer)}\r\n\r\n"
    )
    return head.encode() + answer


def listening(port: int) -> socket.socket:
    """Return the socket on the loopback address. Raises OSError when the port is taken or not ours to take."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError, AttributeError):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        opened.bind(("127.0.0.1", port))
        opened.listen(512)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


class _Worker:
    """One process: accepts, reads a question, answers, closes. A connection has a quarter of a second."""

    def __init__(self, listener: socket.socket, book: Book, beat: int) -> None:
        self.listener, self.book, self.beat = listener, book, beat
        self.selector = selectors.DefaultSelector()  # made after the fork: one made before would be shared
        self.selector.register(listener, selectors.EVENT_READ)
        self.open: dict[socket.socket, tuple[bytearray, float]] = {}

    def run(self) -> None:
        """Serve until the parent is gone or says so."""
        next_beat = 0.0
        while True:
            now = time.monotonic()
            if now >= next_beat:
                try:
                    os.write(self.beat, b".")
                except BlockingIOError:
                    pass
                except OSError:
                    return  # the parent is gone
                next_beat = now + _BEAT_SECONDS
            self.book.refresh(now)
            self._expire(now)
            for key, _ in self.selector.select(0.05):
                opened = key.fileobj
                assert isinstance(opened, socket.socket)
                if opened is self.listener:
                    self._accept()
                elif opened in self.open:  # one that was closed for want of room may still be in this batch
                    self._read(opened)

    def _accept(self) -> None:
        for _ in range(64):
            try:
                opened, _ = self.listener.accept()
            except OSError:
                return
            opened.setblocking(False)
            if len(self.open) >= MAX_CONNECTIONS:
                self._close(next(iter(self.open)))  # the oldest
            self.open[opened] = bytearray(), time.monotonic() + QUESTION_SECONDS
            self.selector.register(opened, selectors.EVENT_READ)
            self._read(opened)

    def _read(self, opened: socket.socket) -> None:
        buffer, _ = self.open[opened]
        try:
            chunk = opened.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._close(opened)
            return
        buffer += chunk
        question = question_in(bytes(buffer))
        if question is not None:
            self._answer(opened, self.book.answer(question, time.time()))
        elif not chunk:
            self._answer(opened, TRY_LATER)

    def _answer(self, opened: socket.socket, answer: bytes) -> None:
        """An answer is smaller than any socket's buffer, so it goes out at once or not at all."""
        with contextlib.suppress(OSError):
            opened.send(response(answer))
            opened.shutdown(socket.SHUT_WR)
        self._close(opened)

    def _expire(self, now: float) -> None:
        while self.open:
            oldest = next(iter(self.open))
            if self.open[oldest][1] > now:
                return
            self._answer(oldest, TRY_LATER)

    def _close(self, opened: socket.socket) -> None:
        self.open.pop(opened, None)
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(opened)
        opened.close()


@dataclass
class _Child:
    pid: int
    pipe: int
    heard: float


class Parent:
    """Keeps the workers alive and tells systemd so."""

    def __init__(self, directory: Path, port: int, workers: int = WORKERS) -> None:
        self.directory, self.count = directory, workers
        self.listener = listening(port)
        self.children: list[_Child] = []
        self.stopping = False

    def run(self) -> None:
        """Serve until a signal to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.children = [self._spawn() for _ in range(self.count)]
        notify("READY=1")
        try:
            while not self.stopping:
                self._look()
                notify("WATCHDOG=1")
                time.sleep(_BEAT_SECONDS)
        finally:
            for child in self.children:
                self._end(child)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _look(self) -> None:
        now = time.monotonic()
        for index, child in enumerate(self.children):
            with contextlib.suppress(BlockingIOError):
                if os.read(child.pipe, 4096):
                    child.heard = now
            if now - child.heard > SILENT_SECONDS or os.waitpid(child.pid, os.WNOHANG)[0]:
                self._end(child)
                self.children[index] = self._spawn()

    def _spawn(self) -> _Child:
        pipe, beat = os.pipe()
        os.set_blocking(pipe, False)
        os.set_blocking(beat, False)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                os.close(pipe)
                for other in self.children:
                    with contextlib.suppress(OSError):
                        os.close(other.pipe)
                _Worker(self.listener, Book(self.directory), beat).run()
                status = 0
            finally:
                os._exit(status)
        os.close(beat)
        return _Child(pid, pipe, time.monotonic())

    def _end(self, child: _Child) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child.pid, 0)
        with contextlib.suppress(OSError):
            os.close(child.pipe)


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where nobody asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.connect("\0" + address[1:] if address.startswith("@") else address)
        opened.send(state.encode())


def main(directory: Path, port: int) -> int:
    """Serve; return 0 after a signal to stop, 1 with a sentence if the port cannot be had."""
    try:
        parent = Parent(directory, port)
    except OSError as error:
        print(
            f"ocsp-stapling shield: 127.0.0.1:{port} cannot be listened on ({error.strerror}).",
            file=sys.stderr,
        )
        return 1
    parent.run()
    return 0
