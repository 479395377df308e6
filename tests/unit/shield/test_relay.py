"""The relay answers everything at once: what it holds, else tryLater; a worker that hangs is replaced."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from ocsp_stapling.ocsp import der
from ocsp_stapling.ocsp.certificate import Certificate, parse
from ocsp_stapling.ocsp.request import certificate_id, ocsp_request
from ocsp_stapling.shield import book, relay, store
from ocsp_stapling.shield.book import TRY_LATER, Book
from ocsp_stapling.shield.refresh import cert_id_of
from ocsp_stapling.shield.standing import answers
from ocsp_stapling.shield.store import Kept
from tests.unit.ocsp.authority import issue, make_authority

CA = make_authority()
ISSUER = parse(CA.certificate.public_bytes(Encoding.DER))
ANSWER = b"an answer of this very certificate"


def certificate() -> Certificate:
    return parse(issue(CA, "http://ocsp.test").public_bytes(Encoding.DER))


LEAF = certificate()
ID = cert_id_of(LEAF, ISSUER)
QUESTION = ocsp_request(LEAF, ISSUER)


class Relay:
    """A relay in a process of its own."""

    def __init__(self, directory: Path, code: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = [sys.executable, "-c", code, str(directory), str(self.port)]
        if not code:
            words = relay.command(str(directory), self.port)
        # Whoever runs the tests as a shell's background job ignores SIGINT, and so would what it starts.
        self.process = subprocess.Popen(
            words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        )
        try:
            self._wait()
        except BaseException:
            self.process.kill()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while not answers(self.port) or len(self.workers()) < relay.WORKERS:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ask(self, question: bytes, extra: bytes = b"") -> bytes:
        head = b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % (len(question) + len(extra))
        return self.send(head + question + extra)

    def send(self, *pieces: bytes, pause: float = 0.0) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 5) as opened:
            for piece in pieces:
                opened.sendall(piece)
                time.sleep(pause)
            reply = b""
            while chunk := opened.recv(65536):
                reply += chunk
        head, _, body = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 OK"), head
        return body

    def descriptor_count(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def workers(self) -> list[int]:
        return [
            int(pid)
            for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]


def read_book(directory: Path, before: Book | None = None) -> Book:
    """What the relay would hold now."""
    paper = os.memfd_create("answers")
    try:
        book.write(str(directory), before or Book(), paper)
        return book.opened(paper)
    finally:
        os.close(paper)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("held")
    now = round(time.time())
    store.write(directory, Kept(ID, ANSWER, now, now + 900, now + 900, "good", "http://ocsp.test"))
    return directory


@pytest.fixture(scope="module")
def running(held: Path) -> Iterator[Relay]:
    made = Relay(held)
    yield made
    made.process.terminate()
    assert made.process.wait(5) == -signal.SIGTERM


def test_what_is_held_is_handed_out_and_anything_else_is_try_later(running: Relay) -> None:
    assert running.ask(QUESTION) == ANSWER
    other = ocsp_request(certificate(), ISSUER)
    assert running.ask(other) == TRY_LATER


@pytest.mark.parametrize("size", [15_000, 60_000])
def test_a_visitors_own_extensions_do_not_matter_whatever_they_hold(running: Relay, size: int) -> None:
    crafted = ocsp_request(certificate(), ISSUER)  # somebody else's CertID, where a visitor can put it
    assert running.ask(QUESTION, crafted + os.urandom(size)) == ANSWER


def test_a_cert_id_far_behind_is_nobodys_question(running: Relay) -> None:
    """It would be looked for in 70,000 bytes, milliseconds each, by whoever sends hundreds of those a second."""
    assert running.ask(b"\x04\x14" * 30_000 + QUESTION) == TRY_LATER
    assert running.ask(os.urandom(200) + QUESTION) == ANSWER


def test_of_several_questions_on_one_connection_the_first_is_answered_and_it_ends(running: Relay) -> None:
    request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(QUESTION) + QUESTION
    assert running.send(request + request[:40]) == ANSWER


@pytest.mark.parametrize(("sent", "answer"), [(1.0, ANSWER), (0.5, TRY_LATER), (0.0, None)])
def test_who_has_closed_his_half_is_answered_at_once(
    running: Relay, sent: float, answer: bytes | None
) -> None:
    request = b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(QUESTION) + QUESTION
    with socket.create_connection(("127.0.0.1", running.port), 5) as opened:
        opened.sendall(request[: round(sent * len(request))])
        opened.shutdown(socket.SHUT_WR)
        reply = b"".join(iter(lambda: opened.recv(65536), b""))
    assert reply.endswith(answer or TRY_LATER)


def test_who_breaks_off_in_any_moment_harms_nobody(running: Relay) -> None:
    before = running.workers()
    request = b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(QUESTION) + QUESTION
    for length in range(0, len(request) + 1, 7):
        opened = socket.create_connection(("127.0.0.1", running.port), 5)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        opened.sendall(request[:length])
        opened.close()  # with a reset
        assert running.ask(QUESTION) == ANSWER
    assert running.workers() == before


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /MGswaTBnMEUwQzAJBgUrDgMCGgUA HTTP/1.0\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 99999\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 9000,
        b"A" * 20_000,
        b"\r\n\r\n",
    ],
)
def test_nonsense_is_answered_try_later(running: Relay, request_bytes: bytes) -> None:
    assert running.send(request_bytes) == TRY_LATER


def test_a_question_that_comes_in_drops_or_never_is_answered_within_its_time(running: Relay) -> None:
    head = b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(QUESTION)
    assert running.send(head + QUESTION[:20], QUESTION[20:], pause=0.05) == ANSWER
    begun = time.monotonic()
    assert running.send(head + QUESTION[:20]) == TRY_LATER
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "begun_with", [b"P", b"POST / HTTP/1.0\r\nContent-Length: 70000\r\n\r\n" + bytes(60_000)], ids=len
)
def test_idle_connections_without_number_keep_nobody_from_an_answer(
    running: Relay, begun_with: bytes
) -> None:
    idle = [socket.create_connection(("127.0.0.1", running.port), 5) for _ in range(600)]
    for each in idle:
        each.setblocking(False)
        each.send(begun_with)
    begun = time.monotonic()
    assert running.ask(QUESTION) == ANSWER
    assert time.monotonic() - begun < 2
    for each in idle:
        each.close()


def test_who_must_go_for_want_of_room_is_answered_like_everybody(running: Relay) -> None:
    """Silence would be asked again at every handshake, and cost lines in Apache's log."""
    idle = [
        socket.create_connection(("127.0.0.1", running.port), 5) for _ in range(4 * relay.MAX_CONNECTIONS)
    ]
    for each in idle:
        each.send(b"P")
    replies = [each.recv(4096) for each in idle]
    assert all(reply.startswith(b"HTTP/1.0 200 OK") and reply.endswith(TRY_LATER) for reply in replies)
    for each in idle:
        each.close()


def test_a_worker_that_hangs_is_replaced_and_nobody_waits_meanwhile(running: Relay) -> None:
    first = running.workers()
    os.kill(first[0], signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while first[0] in running.workers():
        begun = time.monotonic()
        assert running.ask(QUESTION) == ANSWER
        assert time.monotonic() - begun < 2.5
        assert time.monotonic() < deadline
    while len(running.workers()) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_dies_is_replaced(running: Relay) -> None:
    for pid in running.workers():
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not answers(running.port):
        assert time.monotonic() < deadline
    assert running.ask(QUESTION) == ANSWER


def test_a_new_answer_is_handed_out_without_a_restart_and_an_old_one_is_not(tmp_path: Path) -> None:
    made = Relay(tmp_path)
    try:
        assert made.ask(QUESTION) == TRY_LATER
        now = round(time.time())
        store.write(tmp_path, Kept(ID, ANSWER, now, now + 4, now + 4, "good", "u"))
        deadline = time.monotonic() + 5
        while made.ask(QUESTION) != ANSWER:
            assert time.monotonic() < deadline
        time.sleep(max(0.0, now + 4 - time.time()))  # each of the workers learns of it in its own time
        assert made.ask(QUESTION) == TRY_LATER
    finally:
        made.process.kill()
        made.process.wait()


def test_while_answers_change_everybody_who_asks_is_answered(tmp_path: Path) -> None:
    """Others take the workers' places then; who came to those before is answered all the same."""
    now = round(time.time())
    first = Kept(ID, ANSWER, now, now + 900, now + 900, "good", "u")
    store.write(tmp_path, first)
    made = Relay(tmp_path)
    before, seen, wrong = made.workers(), set[int](), 0
    holding = made.descriptor_count()
    try:
        for number in range(8):
            store.write(tmp_path, replace(first, this_update=now + number))
            store.write(tmp_path, replace(first, cert_id=f"{number:088x}"))
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                wrong += made.ask(QUESTION) != ANSWER
                seen |= set(made.workers())
        assert wrong == 0
        assert len(seen) > len(before)
        deadline = time.monotonic() + 10
        # Nobody stays behind, and nothing of them.
        while (len(made.workers()), made.descriptor_count()) != (len(before), holding):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        made.process.kill()
        made.process.wait()


def test_answers_that_cannot_be_read_leave_those_before_and_are_read_later(
    held: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader = relay.BookReader(str(held))
    assert read_by(reader, 100.0)
    before, now = reader.book, time.time()
    assert before.answer(QUESTION, now) == ANSWER
    write = book.write
    monkeypatch.setattr(book, "write", lambda *_: [][0])
    os.utime(held)
    assert not read_by(reader, 200.0)
    assert "IndexError" in capfd.readouterr().err
    assert reader.book is before
    monkeypatch.setattr(book, "write", write)
    assert not reader.refresh(201.0, [])  # it rests
    assert reader.paper < 0
    assert read_by(reader, 210.0)
    assert reader.book.answer(QUESTION, now) == ANSWER


def test_where_answers_cannot_be_read_at_all_everybody_is_answered_all_the_same(held: Path) -> None:
    """A refused connection costs Apache lines in its log and is asked anew at every handshake."""
    code = "import sys; from ocsp_stapling.shield import book, relay; book.write = None; "
    code += "sys.exit(relay.main(sys.argv[1], int(sys.argv[2])))"
    made = Relay(held, code)
    try:
        assert made.ask(QUESTION) == TRY_LATER
    finally:
        made.process.kill()
        made.process.wait()


NO_FORK = """
import os, sys
from pathlib import Path
from ocsp_stapling.shield import relay
fork = os.fork
def fork_or_fail():
    if Path(sys.argv[1], "no-fork").exists():
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = fork_or_fail
sys.exit(relay.main(sys.argv[1], int(sys.argv[2])))
"""
"""A relay on a server that has no room for another process while a file is there."""


def test_where_no_process_can_be_started_those_who_serve_go_on_and_what_was_missed_is_made_up_for(
    tmp_path: Path,
) -> None:
    made = Relay(tmp_path, NO_FORK)
    holding = made.descriptor_count()
    try:
        first, *others = made.workers()
        (tmp_path / "no-fork").touch()
        now = round(time.time())
        store.write(tmp_path, Kept(ID, ANSWER, now, now + 900, now + 900, "good", "u"))
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert made.ask(QUESTION) == TRY_LATER
        assert made.workers() == others
        (tmp_path / "no-fork").unlink()
        deadline = time.monotonic() + 2 * relay._FAILED_SECONDS
        while made.ask(QUESTION) != ANSWER or len(made.workers()) != relay.WORKERS:
            assert time.monotonic() < deadline
        while made.descriptor_count() > holding:
            assert time.monotonic() < deadline
    finally:
        made.process.kill()
        made.process.wait()


def test_where_nobody_is_left_to_answer_and_nobody_can_be_started_it_ends(tmp_path: Path) -> None:
    """A visitor whose connection is refused waits for nothing; systemd starts it again."""
    made = Relay(tmp_path, NO_FORK)
    (tmp_path / "no-fork").touch()
    for pid in made.workers():
        os.kill(pid, signal.SIGKILL)
    assert made.process.wait(5) == 1


@pytest.mark.parametrize("name", ["memfd_create", "fork"])
def test_where_answers_cannot_be_read_for_want_of_room_they_are_read_later(
    held: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    reader, room = relay.BookReader(str(held)), getattr(os, name)
    before = sorted(Path("/proc/self/fd").iterdir())

    def no_room(*_: object) -> int:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, name, no_room)
    assert not reader.refresh(100.0, [])
    assert reader.paper < 0
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    monkeypatch.setattr(os, name, room)
    assert not reader.refresh(101.0, [])  # it rests
    assert reader.paper < 0
    assert read_by(reader, 110.0)


def read_by(reader: relay.BookReader, now: float) -> bool:
    """Have it read what changed; return whether there is a new book."""
    assert not reader.refresh(now, [])
    assert reader.paper >= 0
    while not (done := reader.refresh(now, [])) and reader.paper >= 0:
        time.sleep(0.01)
    return done


def test_who_reads_holds_nothing_open_that_visitors_or_workers_would_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may keep it for minutes, while the relay ends or is started anew."""
    told = tmp_path / "open"
    monkeypatch.setattr(book, "write", lambda *_: told.write_text("\n".join(sockets())))
    reader = relay.BookReader(str(tmp_path))
    with socket.socket() as listener:
        assert not reader.refresh(100.0, [listener.fileno()])
        os.waitpid(reader._child, 0)
        own = str(Path(f"/proc/self/fd/{listener.fileno()}").readlink())
        assert own in sockets()
        assert own not in told.read_text().splitlines()
    os.close(reader.paper)


def sockets() -> list[str]:
    """The sockets that this process has open, as the kernel names them."""
    links = [Path(f"/proc/self/fd/{number}") for number in range(256)]
    found = [str(each.readlink()) for each in links if each.is_symlink()]
    return [each for each in found if each.startswith("socket:")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_however_the_parent_ends_nobody_listens_any_more(tmp_path: Path, number: int) -> None:
    """Else Apache would connect, and wait."""
    made = Relay(tmp_path)
    workers = made.workers()
    made.process.send_signal(number)
    try:
        made.process.wait(5)
    finally:
        made.process.kill()
    deadline = time.monotonic() + 1
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", made.port), 1)


def is_running(pid: int) -> bool:
    """Whether a process lives; one that has ended may be there until somebody asks for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_did_not_change_is_not_read_again(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_book(held)
    monkeypatch.setattr(store, "read", lambda path: pytest.fail(f"{path} is read again"))
    again = read_book(held, first)
    assert again.answer(QUESTION, time.time()) == ANSWER


def test_a_file_with_facts_that_no_memory_holds_is_passed_over(tmp_path: Path) -> None:
    now = round(time.time())
    store.write(tmp_path, Kept("00" * 44, b"x", now, None, 10**30, "good", "u"))
    store.write(tmp_path, Kept(ID, ANSWER, now, now + 900, now + 900, "good", "u"))
    found = read_book(tmp_path)
    assert found.answer(QUESTION, time.time()) == ANSWER
    assert found.count == 1


def test_many_at_once_are_all_answered(running: Relay) -> None:
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(running.ask(QUESTION))) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [ANSWER] * 100


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=60))
def test_no_bytes_make_it_stumble(held: Path, question: bytes, piece: bytes) -> None:
    found = read_book(held)
    for asked in (question, QUESTION[:40] + piece, QUESTION[: len(piece)] + piece + QUESTION[len(piece) :]):
        assert found.answer(asked, time.time()) in (TRY_LATER, ANSWER)
    relay.question_in(question)
    relay.question_in(b"POST / HTTP/1.0\r\nContent-Length:" + piece + b"\r\n\r\n" + question)


def test_the_cert_id_is_the_one_that_apache_asks_with() -> None:
    assert book.cert_id_of(QUESTION).hex() == ID
    assert certificate_id(LEAF, ISSUER).serial == LEAF.serial
    assert book.cert_id_of(der.encode(der.SEQUENCE, b"")) == b""


def test_a_port_that_is_taken_is_said_in_a_sentence(
    running: Relay, held: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert relay.main(str(held), running.port) == 1
    assert "cannot be listened on" in capsys.readouterr().err


def test_the_command_becomes_the_relay_and_keeps_nothing_of_itself(held: Path) -> None:
    code = "import sys; from ocsp_stapling.cli import program; "
    code += "sys.argv[1:] = 'shield', 'serve', '--directory', sys.argv[1], '--port', sys.argv[2]; program()"
    made = Relay(held, code)
    try:
        words = Path(f"/proc/{made.process.pid}/cmdline").read_text().split("\0")[:-1]
        assert words == relay.command(str(held), made.port)
        assert made.ask(QUESTION) == ANSWER
    finally:
        made.process.kill()
        made.process.wait()


def test_it_loads_nothing_that_it_does_not_need(running: Relay) -> None:
    """Three processes hold it: what a command loads, or `socket`, `re` or `json`, would be most of their memory."""
    code = "import sys; before = set(sys.modules); import ocsp_stapling.shield.relay; "
    code += "print(*sorted(set(sys.modules) - before))"
    isolated = [sys.executable, "-I", "-c", code]
    loaded = subprocess.run(isolated, capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("ocsp_stapling")}
    assert ours == {
        "ocsp_stapling",
        "ocsp_stapling.shield",
        "ocsp_stapling.shield.book",
        "ocsp_stapling.shield.relay",
    }
    assert len(loaded) - len(ours) < 15, loaded
    files = Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "libcrypto" not in files
