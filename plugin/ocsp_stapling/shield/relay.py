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
BACKLOG = 4096
"""Connections that wait to be accepted. Where there is no room the kernel drops Apache's, which tries again a second
later; a full queue of one-byte connections is worked off in a fifth of one. (EL 8's kernel allows 128.)"""
QUESTION_SECONDS = 0.25
SILENT_SECONDS = 1.0
_BEAT_SECONDS = 0.2
_LOOK_SECONDS = 0.25
READ_SECONDS = 0.05
"""How long the parent reads kept answers before it looks after its workers again."""
_REST_FACTOR = 5
"""After reading the parent rests so many times as long, so that many changes cost a sixth of a processor at most."""
_CLOCK_TICK_SECONDS = 0.1
"""Two writes within the tick of a file system's clock leave the same time behind."""
_COUNTER = struct.Struct("=Q")
_RECORD = struct.Struct("=QqqI")
"""Before each answer in a book: its file's number and time, until when it may be handed out, its length."""
_CHUNK = 16 * 1024
_HEAD_BYTES = 8 * 1024
_CERT_ID_WITHIN = 1024
"""So far from its begin a question is searched for a CertID; Apache's stands in the first hundred bytes."""
# CertID: two hashes of twenty bytes and the serial number, as SHA-1 has them (RFC 6960 section 4.1.1). The first one
# is Apache's: what a visitor adds stands in the extensions, which follow.
_CERT_ID = re.compile(rb"\x04\x14(.{20})\x04\x14(.{20})\x02([\x01-\x7f])", re.DOTALL)
_LENGTH = re.compile(rb"\r?\ncontent-length:[ \t]*(\d{1,6})", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")


def cert_id_of(question: bytes) -> str:
    """Return the CertID asked about, in hexadecimal, "" if there is none."""
    found = _CERT_ID.search(question, 0, _CERT_ID_WITHIN)
    if found is None:
        return ""
    serial = question[found.end() : found.end() + found[3][0]]
    return (found[1] + found[2] + serial).hex() if len(serial) == found[3][0] else ""


class Book:
    """The answers of one moment, in memory that parent and workers share: held once, not three times."""

    def __init__(self, size: int = 0) -> None:
        self.memory = mmap.mmap(-1, size or 1)
        self.index: dict[str, int] = {}
        """The name of an answer's file -> where its record begins."""

    def add(self, name: str, record: bytes) -> None:
        """Take a record in; ValueError if there is no room left."""
        begin = self.memory.tell()
        self.memory.write(record)
        self.index[name] = begin

    def record(self, name: str) -> bytes:
        """Return a record: the facts and the answer; b"" if there is none."""
        begin = self.index.get(name)
        if begin is None:
            return b""
        return self.memory[begin : begin + _RECORD.size + _RECORD.unpack_from(self.memory, begin)[3]]

    def answer(self, question: bytes, now: float) -> bytes:
        """Return the answer to a question, tryLater if none is known that is still valid."""
        record = self.record(store.name_of(cert_id_of(question)))
        return record[_RECORD.size :] if record and _RECORD.unpack_from(record)[2] > now else TRY_LATER


@dataclass
class BookReader:
    """Reads the kept answers, again when the directory changes: a little at a time, for the workers come first."""

    directory: Path
    book: Book = field(default_factory=Book)
    _stamp: int = -1
    _next_look: float = 0.0
    _began: float = 0.0
    _reading: Iterator[None] | None = None

    @property
    def reading(self) -> bool:
        """Whether there is more to read at once."""
        return self._reading is not None

    def refresh(self, now: float, seconds: float = READ_SECONDS) -> bool:
        """Go on reading what changed, for `seconds`; return whether there is a new book.

        Damaged files are passed over (`shield status` names them).
        """
        if self._reading is None:
            if now < self._next_look:
                return False
            self._next_look = now + _LOOK_SECONDS
            if not self._changed():
                return False
            self._began, self._reading = now, self._read()
        end = time.monotonic() + seconds
        for _ in self._reading:
            if time.monotonic() >= end:
                return False
        self._reading = None
        over = time.monotonic()
        self._next_look = over + max(_LOOK_SECONDS, _REST_FACTOR * (over - self._began))
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
        size = 0
        for path in store.entries(self.directory):
            yield
            with contextlib.suppress(OSError):
                size += path.stat().st_size + _RECORD.size
        fresh = Book(size)
        for path in store.entries(self.directory):
            yield
            # ValueError: there is more than before; the directory has another time then, and is read again.
            with contextlib.suppress(OSError, store.Damaged, struct.error, ValueError):
                fresh.add(path.name, self._record(path))
        self.book = fresh

    def _record(self, path: Path) -> bytes:
        """Return the record of a file; the one in the book where the file is still the same."""
        found, record = path.stat(), self.book.record(path.name)
        if record and _RECORD.unpack_from(record)[:2] == (found.st_ino, found.st_mtime_ns):
            return record
        kept = store.read(path)
        return _RECORD.pack(found.st_ino, found.st_mtime_ns, kept.until, len(kept.answer)) + kept.answer


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
        opened.listen(BACKLOG)
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
        self.leaving = False

    def run(self) -> None:
        """Serve until the parent is gone, or until it has another in our place and all who came are answered."""
        signal.signal(signal.SIGTERM, self._leave)
        while self._beat() and (self.open or not self.leaving):
            self._expire(time.monotonic())
            for key, _ in self.selector.select(0.05):
                opened = key.fileobj
                assert isinstance(opened, socket.socket)
                if opened is self.listener:
                    self._accept()
                elif opened in self.open:  # one that was closed for want of room may still be in this batch
                    self._read(opened)

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self.leaving = True
        with contextlib.suppress(KeyError):
            self.selector.unregister(self.listener)

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
                self._answer(next(iter(self.open)), TRY_LATER)  # the oldest
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
    """Reads the kept answers, keeps workers alive who hand them out, and tells systemd so.

    Where answers change, other workers are started with the new book, and those before them leave.
    """

    def __init__(self, directory: Path, port: int, workers: int = WORKERS) -> None:
        self.reader, self.count, self.tally = BookReader(directory), workers, QuestionTally(workers)
        # Before the port is listened on: a refused connection costs a visitor a millisecond, an unanswered one more.
        self.reader.refresh(time.monotonic(), math.inf)
        self.listener = listening(port)
        self.children: list[_Child] = []
        self.leaving: list[_Child] = []
        self.stopping = self.ready = False

    def run(self) -> None:
        """Serve until a signal to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            self._renew()
            while not self.stopping:
                self._look()
                if self.reader.refresh(time.monotonic()):
                    self._renew()
                self._tell()
                time.sleep(_BEAT_SECONDS if self.ready and not self.reader.reading else 0.01)
        finally:
            for child in (*self.children, *self.leaving):
                self._end(child)

    def _renew(self) -> None:
        """Start workers with the book as it is now; those before them answer who came to them, and go."""
        before = self.children
        self.children = [self._spawn(place) for place in range(self.count)]
        for child in before:
            child.heard = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
        self.leaving += before

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
        for child in self.leaving[:]:
            if now - child.heard > SILENT_SECONDS or os.waitpid(child.pid, os.WNOHANG)[0]:
                self._end(child)
                self.leaving.remove(child)

    def _spawn(self, place: int) -> _Child:
        pipe, beat = os.pipe()
        os.set_blocking(pipe, False)
        os.set_blocking(beat, False)
        gc.freeze()  # the workers share these pages
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.close(pipe)
                self._work(place, beat)
                status = 0
            finally:
                os._exit(status)
        os.close(beat)
        return _Child(pid, pipe, time.monotonic())

    def _work(self, place: int, beat: int) -> None:
        """Be a worker, in the process that was just made."""
        for other in (*self.children, *self.leaving):
            with contextlib.suppress(OSError):
                os.close(other.pipe)
        book = self.reader.book
        del self.reader  # what it has read of the next one is not kept alive here
        self.tally.take(place)
        _Worker(self.listener, book, beat, self.tally).run()

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
