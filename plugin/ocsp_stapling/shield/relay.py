"""The relay: answers Apache's OCSP questions from the kept answers, at once, and asks nobody.

Standard library alone, and of this project only the book: it runs as a user of its own that can write nothing and
reach nothing. A parent and two workers accept on one listening socket; the parent ends and replaces a worker that is
silent for a second. What is not known gets an OCSP `tryLater` with HTTP 200, which Apache remembers: never an HTTP
error, never silence.

Three processes hold what is loaded here, so it is little: `socket`, `signal`, `selectors`, `re`, `contextlib` and
`pathlib` would cost as much again as all of Python's interpreter.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time
from _socket import (
    AF_INET,
    AF_UNIX,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    SHUT_WR,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_DEFER_ACCEPT,
    socket,
)
from mmap import mmap

from ocsp_stapling.shield import book
from ocsp_stapling.shield.book import TRY_LATER, Book

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

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
_REST_FACTOR = 5
"""After reading it rests so many times as long, so that many changes cost a sixth of a processor at most."""
_FAILED_SECONDS = 5.0
_CLOCK_TICK_SECONDS = 0.1
"""Two writes within the tick of a file system's clock leave the same time behind."""
_SIGKILL = 9
_CHUNK = 16 * 1024
_HEAD_BYTES = 8 * 1024
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


def _be(work: Callable[[], None]) -> NoReturn:
    """Do this as the process that was just forked, and end."""
    status = 1
    try:
        work()
        status = 0
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class BookReader:
    """Has the kept answers read when the directory changes, by a process of its own.

    So nobody who must answer, or look after those who do, ever waits for a disk.
    """

    def __init__(self, directory: str) -> None:
        self.directory, self.book = directory, Book()
        self.paper = -1
        """What is being written, -1: nothing."""
        self._child = 0
        self._stamp = -1
        self._began = self._next_look = 0.0

    def refresh(self, now: float, inherited: list[int]) -> bool:
        """Look for changes, and have them read; return whether there is a new book.

        The process that reads closes what it has inherited.
        """
        if self.paper >= 0:
            return self._is_read(now)
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            if self._changed():
                self._begin(now, inherited)
        return False

    def _begin(self, now: float, inherited: list[int]) -> None:
        self._began = now
        try:
            self.paper = os.memfd_create("answers")
            self._child = os.fork()
        except OSError:
            self.end(now, failed=True)
            return
        if not self._child:
            _be(lambda: self._read(inherited))

    def _read(self, inherited: list[int]) -> None:
        for descriptor in inherited:
            os.close(descriptor)
        book.write(self.directory, self.book, self.paper)

    def _changed(self) -> bool:
        """Whether the directory was written since; what was written just now may be written again unseen."""
        try:
            stamp = os.stat(self.directory).st_mtime_ns  # noqa: PTH116 - pathlib is not loaded
        except OSError:
            stamp = 0
        if stamp == self._stamp:
            return False
        settled = abs(time.time() - stamp / 1e9) > _CLOCK_TICK_SECONDS
        self._stamp = stamp if settled else -1
        return True

    def _is_read(self, now: float) -> bool:
        child, status = os.waitpid(self._child, os.WNOHANG)
        if not child:
            return False
        if not status:
            self.book = book.opened(self.paper)
        self.end(now, failed=bool(status))
        return not status

    def end(self, now: float, *, failed: bool) -> None:
        """Rest for a while; what failed (also what came of it: others may have no room) is done again then."""
        self._next_look = now + max(_LOOK_SECONDS, _REST_FACTOR * (now - self._began))
        if failed:
            self._next_look, self._stamp = now + _FAILED_SECONDS, -1
        if self.paper >= 0:
            os.close(self.paper)
        self.paper = -1


def question_in(request: bytes | bytearray) -> bytes | None:
    """Return the question in an HTTP request, b"" for one that holds none, None while it is not complete."""
    end = request.find(_HEAD_END, 0, _HEAD_BYTES)
    if end < 0:
        return b"" if len(request) >= _HEAD_BYTES else None
    begin, length = end + len(_HEAD_END), _content_length(request[:end])
    if length > MAX_QUESTION_BYTES:
        return b""
    return bytes(request[begin : begin + length]) if len(request) >= begin + length else None


def _content_length(head: bytes | bytearray) -> int:
    """What a head says of its body's length, 0 if nothing that can be understood."""
    _, _, rest = head.lower().partition(_LENGTH)
    digits = rest.partition(b"\r\n")[0].strip()
    if not digits.isdigit():
        return 0
    return int(digits) if len(digits) < 7 else MAX_QUESTION_BYTES + 1


def response(answer: bytes, count: int) -> bytes:
    """Return the HTTP response that carries an answer, and says how many questions were answered before."""
    head = (
        "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\nConnection: close\r\n"
        f"Content-Length: {len(answer)}\r\n{COUNT_HEADER}: {count}\r\n\r\n"
    )
    return head.encode() + answer


def bound(port: int) -> socket:
    """Return a socket on the loopback address. Raises OSError when the port is taken or not ours to take."""
    opened = socket(AF_INET, SOCK_STREAM)
    opened.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    opened.setsockopt(IPPROTO_TCP, TCP_DEFER_ACCEPT, 1)
    opened.bind(("127.0.0.1", port))
    opened.setblocking(False)
    return opened


class _Worker:
    """One process: accepts, reads a question, answers, closes. A connection has a quarter of a second."""

    def __init__(self, listener: socket, answers: Book, beat: int, tally: QuestionTally) -> None:
        self.listener, self.book, self.beat, self.tally = listener, answers, beat, tally
        self._next_beat = 0.0
        self.poll = select.epoll()  # made after the fork: one made before would be shared
        self.poll.register(listener.fileno(), select.EPOLLIN)
        self.poll.register(beat, 0)  # tells when nobody is there to hear
        self.open: dict[int, tuple[socket, bytearray, float]] = {}
        self.leaving = False

    def run(self) -> None:
        """Serve until the parent is gone, or until it has another in our place and all who came are answered."""
        listener = self.listener.fileno()
        while self.open or not self.leaving:
            now = time.monotonic()
            self._beat(now)
            self._expire(now)
            for descriptor, _ in self.poll.poll(0.05):
                if descriptor == listener:
                    self._accept()
                elif descriptor == self.beat:
                    self._leave()
                elif descriptor in self.open:  # not closed for want of room since
                    self._read(descriptor)

    def _leave(self) -> None:
        self.leaving = True
        for descriptor in (self.beat, self.listener.fileno()):
            self.poll.unregister(descriptor)
        self.listener.close()

    def _beat(self, now: float) -> None:
        """Tell the parent that we are alive, now and then."""
        if now < self._next_beat:
            return
        self._next_beat = now + _BEAT_SECONDS
        try:
            os.write(self.beat, b".")
        except OSError:
            return  # it does not listen at the moment, or is gone

    def _accept(self) -> None:
        until = time.monotonic() + QUESTION_SECONDS
        for _ in range(64):
            try:
                descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            if len(self.open) >= MAX_CONNECTIONS:
                self._answer(next(iter(self.open)), TRY_LATER)  # the oldest
            opened = socket(AF_INET, SOCK_STREAM, 0, descriptor)
            self.open[descriptor] = opened, bytearray(), until
            self._read(descriptor)
            if descriptor in self.open:
                self.poll.register(descriptor, select.EPOLLIN)

    def _read(self, descriptor: int) -> None:
        """Read all there is; a question, or the end of what is none, is answered."""
        opened, buffer, _ = self.open[descriptor]
        question = chunk = None
        try:
            while question is None and chunk != b"":
                chunk = opened.recv(_CHUNK, MSG_DONTWAIT)
                buffer += chunk
                question = question_in(buffer)
        except BlockingIOError:
            return
        except OSError:
            self.open.pop(descriptor)[0].close()
            return
        self._answer(descriptor, self.book.answer(question or b"", time.time()))

    def _answer(self, descriptor: int, answer: bytes) -> None:
        """An answer is smaller than any socket's buffer, so it goes out at once or not at all."""
        opened, *_ = self.open.pop(descriptor)
        try:
            opened.send(response(answer, self.tally.add()), MSG_DONTWAIT)
            opened.shutdown(SHUT_WR)
        except OSError:
            return  # who asked is gone
        finally:
            opened.close()

    def _expire(self, now: float) -> None:
        while self.open:
            oldest = next(iter(self.open))
            if self.open[oldest][2] > now:
                return
            self._answer(oldest, TRY_LATER)


class QuestionTally:
    """How many questions were answered, in memory that all share; each worker has a place of its own."""

    def __init__(self, places: int) -> None:
        self._counts = memoryview(mmap(-1, 8 * places)).cast("Q")
        self._own = 0

    def take(self, place: int) -> None:
        """Count at this place from now on."""
        self._own = place

    def add(self) -> int:
        """Count one more; return how many there were before, of all workers."""
        before = sum(self._counts)
        self._counts[self._own] += 1
        return before


class _Child:
    def __init__(self, pid: int, pipe: int) -> None:
        self.pid, self.pipe, self.heard, self.serving = pid, pipe, time.monotonic(), False
        """The pid of one that has ended is 0."""


class Parent:
    """Has the kept answers read, keeps workers alive who hand them out, and tells systemd so.

    Where answers change, other workers are started with the new book, and those before them leave.
    """

    def __init__(self, directory: str, listener: socket, workers: int = WORKERS) -> None:
        self.reader, self.tally = BookReader(directory), QuestionTally(workers)
        self.listener, self.count = listener, workers
        self.children: list[_Child] = []
        self.leaving: list[_Child] = []
        self.ready = False

    def run(self) -> int:
        """Serve until a signal ends this; workers leave when it is gone, however it went."""
        try:
            # Before anybody can connect: a refused connection costs a visitor a millisecond, an unanswered one more.
            while not self.reader.refresh(time.monotonic(), []) and self.reader.paper >= 0:
                time.sleep(0.005)
            self.listener.listen(BACKLOG)
            self._renew()
            while True:
                self._look()
                inherited = [self.listener.fileno(), *(child.pipe for child in self.children)]
                if self.reader.refresh(time.monotonic(), inherited):
                    self._renew()
                self._tell()
                time.sleep(0.01 if not self.ready else 0.05 if self.reader.paper >= 0 else _BEAT_SECONDS)
        except KeyboardInterrupt:
            return 0

    def _renew(self) -> None:
        """Start workers with the book as it is now; those before them answer who came to them, and go."""
        before, now, fresh = self.children, time.monotonic(), list[_Child]()
        try:
            for place in range(self.count):
                fresh.append(self._spawn(place, [*before, *fresh]))
            self.children, leaving = fresh, before
        except OSError:  # there is no room for more processes: those before go on
            if not before:
                raise
            leaving = fresh
            self.reader.end(now, failed=True)
        for child in leaving:
            child.heard = now
            os.close(child.pipe)
        self.leaving += leaving

    def _tell(self) -> None:
        if not self.ready and all(child.serving for child in self.children):
            self.ready = True
            notify("READY=1")
        notify("WATCHDOG=1")

    def _look(self) -> None:
        now = time.monotonic()
        for index, child in enumerate(self.children):
            try:
                if os.read(child.pipe, 4096):
                    child.heard, child.serving = now, True
            except BlockingIOError:
                pass
            if _is_gone(child, now):
                self._replace(index, child)
        self.leaving = [child for child in self.leaving if not _is_gone(child, now)]

    def _replace(self, place: int, gone: _Child) -> None:
        """Start another in its place, with the next look where that fails; with nobody left to answer it must not.

        A refused connection costs a visitor a millisecond, one that nobody accepts many seconds.
        """
        try:
            self.children[place] = self._spawn(place, self.children)
            os.close(gone.pipe)
        except OSError:
            if not any(each.pid for each in self.children):
                raise

    def _spawn(self, place: int, others: list[_Child]) -> _Child:
        """Raises OSError where there is no room for another process."""
        pipe, beat = os.pipe()
        os.set_blocking(pipe, False)
        os.set_blocking(beat, False)
        inherited = [pipe, *(other.pipe for other in others)]
        if self.reader.paper >= 0:
            inherited.append(self.reader.paper)
        gc.freeze()  # the workers share these pages
        try:
            pid = os.fork()
        except OSError:
            os.close(pipe)
            os.close(beat)
            raise
        if not pid:
            _be(lambda: self._work(place, beat, inherited))
        os.close(beat)
        return _Child(pid, pipe)

    def _work(self, place: int, beat: int, inherited: list[int]) -> None:
        for descriptor in inherited:
            os.close(descriptor)
        self.tally.take(place)
        _Worker(self.listener, self.reader.book, beat, self.tally).run()


def _is_gone(child: _Child, now: float) -> bool:
    """Whether a worker has ended; one that is silent is ended."""
    if child.pid and not os.waitpid(child.pid, os.WNOHANG)[0]:
        if now - child.heard <= SILENT_SECONDS:
            return False
        os.kill(child.pid, _SIGKILL)
        os.waitpid(child.pid, 0)
    child.pid = 0
    return True


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where nobody asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    opened = socket(AF_UNIX, SOCK_DGRAM)
    try:
        opened.connect("\0" + address[1:] if address.startswith("@") else address)
        opened.send(state.encode())
    except OSError:
        pass  # systemd is being started anew
    finally:
        opened.close()


def command(directory: str, port: int) -> list[str]:
    """Return the command line of a relay that loads nothing but what it needs: no command line, no site-packages."""
    code = "import sys; sys.path.append(sys.argv[1]); from ocsp_stapling.shield import relay; "
    code += "sys.exit(relay.main(sys.argv[2], int(sys.argv[3])))"
    place = __file__.removesuffix(f"/{__name__.replace('.', '/')}.py")
    return [sys.executable, "-I", "-S", "-c", code, place, directory, str(port)]


def main(directory: str, port: int) -> int:
    """Serve; return 1 with a sentence if the port cannot be had."""
    try:
        listener = bound(port)
    except OSError as error:
        print(
            f"ocsp-stapling shield: 127.0.0.1:{port} cannot be listened on ({error.strerror}).",
            file=sys.stderr,
        )
        return 1
    return Parent(directory, listener).run()
