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
import gc
import math
import mmap
import os
import re
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from urllib.parse import unquote_to_bytes

from ocsp_stapling.shield import store

TRY_LATER = bytes.fromhex("30030a0103")
"""OCSPResponse { responseStatus tryLater } (RFC 6960 section 4.2.1)."""
WORKERS = 2
COUNT_HEADER = "X-Questions-Answered"
MAX_QUESTION_BYTES = 70_000
"""A visitor's own status_request extensions travel in Apache's question."""
MAX_CONNECTIONS = 256
QUESTION_SECONDS = 0.25
SILENT_SECONDS = 1.0
_BEAT_SECONDS = 0.2
_LOOK_SECONDS = 0.25
READ_SECONDS = 0.002
"""How long a worker reads kept answers before it looks for questions again."""
_CLOCK_TICK_SECONDS = 0.1
"""Two writes within the tick of a file system's clock leave the same time behind."""
_COUNTER = struct.Struct("=Q")
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
    """The answers in memory, read again when the directory changes: a little at a time, for questions come first."""

    directory: Path
    answers: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """CertID -> answer and until when it may be handed out."""
    _files: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    _stamp: int = -1
    _looked: float = 0.0
    _reading: Iterator[None] | None = None

    def refresh(self, now: float, seconds: float = READ_SECONDS) -> bool:
        """Go on reading what changed, for `seconds`; return whether all is read that was there at the last look.

        Damaged files are passed over (`shield status` names them).
        """
        if self._reading is None:
            if now - self._looked < _LOOK_SECONDS:
                return True
            self._looked = now
            if not self._changed():
                return True
            self._reading = self._read()
        end = time.monotonic() + seconds
        for _ in self._reading:
            if time.monotonic() >= end:
                return False
        self._reading = None
        return True

    def _changed(self) -> bool:
        """Whether the directory was written since; what was written just now may be written again unseen."""
        try:
            stamp = self.directory.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if stamp == self._stamp:
            return False
        settled = abs(time.time() - stamp / 1e9) > _CLOCK_TICK_SECONDS
        self._stamp = stamp if settled else -1
        return True

    def _read(self) -> Iterator[None]:
        files: dict[str, tuple[int, int, str]] = {}
        for path in store.entries(self.directory):
            yield
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


def response(answer: bytes, count: int) -> bytes:
    """Return the HTTP response that carries an answer, and says how many questions were answered before."""
    head = (
        "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\nConnection: close\r\n"
        f"Content-Length: {len(answer)}\r\n{COUNT_HEADER}: {count}\r\n\r\n"
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

    def __init__(self, listener: socket.socket, book: Book, beat: int, tally: QuestionTally) -> None:
        self.listener, self.book, self.beat, self.tally = listener, book, beat, tally
        self._next_beat = 0.0
        self.selector = selectors.DefaultSelector()  # made after the fork: one made before would be shared
        self.selector.register(listener, selectors.EVENT_READ)
        self.open: dict[socket.socket, tuple[bytearray, float]] = {}

    def run(self) -> None:
        """Serve until the parent is gone; first of all read what was kept since the parent's start."""
        while not self.book.refresh(time.monotonic(), _BEAT_SECONDS):
            self._beat()
        while self._beat():
            now = time.monotonic()
            self.book.refresh(now)
            self._expire(now)
            for key, _ in self.selector.select(0.05):
                opened = key.fileobj
                assert isinstance(opened, socket.socket)
                if opened is self.listener:
                    self._accept()
                elif opened in self.open:  # one that was closed for want of room may still be in this batch
                    self._read(opened)

    def _beat(self) -> bool:
        """Tell the parent that we are alive, now and then; False: it is gone."""
        now = time.monotonic()
        if now < self._next_beat:
            return True
        self._next_beat = now + _BEAT_SECONDS
        try:
            os.write(self.beat, b".")
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

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
            opened.send(response(answer, self.tally.add()))
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


class QuestionTally:
    """How many questions were answered, in memory that all share; each worker has a place of its own."""

    def __init__(self, places: int) -> None:
        self._memory = memoryview(mmap.mmap(-1, _COUNTER.size * places))[: _COUNTER.size * places]
        self._own = 0

    def take(self, place: int) -> None:
        """Count at this place from now on."""
        self._own = place

    def add(self) -> int:
        """Count one more; return how many there were before, of all workers."""
        counted: list[int] = [count for (count,) in _COUNTER.iter_unpack(self._memory)]
        _COUNTER.pack_into(self._memory, self._own * _COUNTER.size, counted[self._own] + 1)
        return sum(counted)


@dataclass
class _Child:
    pid: int
    pipe: int
    heard: float
    serving: bool = False


class Parent:
    """Keeps the workers alive and tells systemd so."""

    def __init__(self, directory: Path, port: int, workers: int = WORKERS) -> None:
        self.book, self.count, self.tally = Book(directory), workers, QuestionTally(workers)
        # Before the port is listened on: a refused connection costs a visitor a millisecond, an unanswered one more.
        self.book.refresh(time.monotonic(), math.inf)
        gc.freeze()  # the workers share these pages
        self.listener = listening(port)
        self.children: list[_Child] = []
        self.stopping = self.ready = False

    def run(self) -> None:
        """Serve until a signal to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for place in range(self.count):
                self.children.append(self._spawn(place))
            while not self.stopping:
                self._look()
                self._tell()
                time.sleep(_BEAT_SECONDS if self.ready else 0.01)
        finally:
            for child in self.children:
                self._end(child)

    def _tell(self) -> None:
        if not self.ready and all(child.serving for child in self.children):
            self.ready = True
            notify("READY=1")
        notify("WATCHDOG=1")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _look(self) -> None:
        now = time.monotonic()
        for index, child in enumerate(self.children):
            with contextlib.suppress(BlockingIOError):
                if os.read(child.pipe, 4096):
                    child.heard, child.serving = now, True
            if now - child.heard > SILENT_SECONDS or os.waitpid(child.pid, os.WNOHANG)[0]:
                self._end(child)
                self.children[index] = self._spawn(index)

    def _spawn(self, place: int) -> _Child:
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
                self.tally.take(place)
                _Worker(self.listener, self.book, beat, self.tally).run()
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
