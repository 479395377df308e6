"""Apache's processes, WHM's restart and the sites as visitors meet them, on a clock of its own: no second is waited.

What the real ones do is shown on the machine (`tests/on_machine/test_restart_ladder.py`); here the decisions between
two looks at them are: every rung, its order, and how long what is waited for.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocsp_stapling.apache.processes import Process
from ocsp_stapling.change import plan, restart, running, transaction, verify, whm_restart
from ocsp_stapling.change.journal import Journal
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.change.running import Apache
from ocsp_stapling.change.transaction import ChangeTarget, ConfigTest, Result, Watcher
from ocsp_stapling.change.verify import Sample
from ocsp_stapling.change.whm_restart import Patience
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.staple import Handshake
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.state import ServerState
from ocsp_stapling.whm import api
from tests.unit.change.made import Tree, wish

NEVER = 1e9
IDENTITY = "an-identity"
PARENT, NEXT = Process(100, 1), Process(200, 2)
OLD = frozenset({Process(101, 1), Process(102, 1)})
FRESH = frozenset({Process(111, 3), Process(112, 3)})
SITE = Sample(Door("192.0.2.1", 443, "a.test"), "ocsp.ca.test", False)


@dataclass
class Server:
    """The simulated server. What WHM's restart does, and when, is set before it is called."""

    directory: Path
    now: float = 1000.0
    parent: Process | None = PARENT
    workers: frozenset[Process] = OLD
    pid_in_file: int = PARENT.pid
    ticks: int = 0
    staple: bytes | None = None
    hangs: Callable[[Server], bool] = lambda _server: False
    """Whether a client that asks for a staple waits."""
    plain_hangs: Callable[[Server], bool] = lambda server: server.parent is None
    whm: Sequence[tuple[float, Callable[[Server], None]]] = ()
    """What WHM's restart does, seconds after the call."""
    answers: float = 1.5
    said: str = "restarted"
    failure: Problem | None = None
    reads: Callable[[Server], None] = lambda _server: None
    """What else happens whenever it reads its files."""
    met: Door = SITE.door
    """Whom the handshake under way meets."""
    obeys: bool = True
    """Whether the parent reads its files at a graceful signal."""
    stops: bool = True
    starts: bool = True
    rebuild: Callable[[Server], None] = lambda _server: None
    httpd_starts: bool = True
    orphaned: frozenset[Process] = frozenset()
    serving: frozenset[Process] = frozenset()
    """Workers in the middle of somebody's download, whether they hang beside it or not."""
    root_runs: Callable[[Server, str], bool] = lambda _server, _program: False
    did: list[str] = field(default_factory=list)
    ended: set[Process] = field(default_factory=set)
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    _due: list[tuple[float, Callable[[Server], None]]] = field(default_factory=list)
    _writes: int = 0

    def __post_init__(self) -> None:
        self.apache = Apache(self.directory / "httpd", self.directory / "httpd.conf", self.directory / "pid")
        self.touch()

    def touch(self) -> None:
        """Write the pid file anew, as Apache does at every restart."""
        self.apache.pid_file.write_text(f"{self.pid_in_file}\n")
        self.reads(self)
        self._writes += 1
        os.utime(self.apache.pid_file, (self.now, self.now + self._writes))

    def sleep(self, seconds: float) -> None:
        """Let time pass, and happen what is due."""
        end = self.now + max(seconds, 0.0)
        while self._due and min(self._due, key=lambda each: each[0])[0] <= end:
            first = min(self._due, key=lambda each: each[0])
            self._due.remove(first)
            self.now = max(self.now, first[0])
            first[1](self)
        self.now = end

    def after(self, seconds: float, what: Callable[[Server], None]) -> None:
        """Let something happen by itself."""
        self._due.append((self.now + seconds, what))

    def report(self, name: str, detail: Mapping[str, Any]) -> None:
        """Take a step that is reported before it is taken."""
        self.reports.append({"name": name, **detail})

    @property
    def rungs(self) -> list[str]:
        """The rungs that were reported, in order."""
        return [each["rung"] for each in self.reports if each["name"] == "restart"]

    # -- what stands in place of the system's processes, cPanel's scripts and the network -------------------

    def end(self, which: Iterable[Process]) -> int:
        gone = set(which)
        self.did.append("end")
        self.ended |= gone
        self.workers -= gone
        if self.parent in gone:
            self.parent, self.workers = None, frozenset()
        return len(gone)

    def send(self, _process: Process, number: signal.Signals) -> bool:
        self.did.append(number.name)
        if self.obeys:
            read(self)
        return True

    def wait_until_gone(self, process: Process, seconds: float) -> bool:
        self.sleep(seconds if self.parent == process else 0.0)
        return self.parent != process

    def stop_httpd(self, _timeout: float) -> bool:
        self.did.append("stop")
        if self.stops:
            stopped(self)
        return self.stops

    def start_httpd(self, _timeout: float) -> bool:
        self.did.append("start")
        if self.starts:
            started(self)
        return self.starts

    def run(self, argv: Sequence[str], timeout: float) -> None:
        assert timeout > 0
        self.did.append(" ".join(argv).replace(f"{self.directory}/", ""))
        if argv[-1] == "start" and self.httpd_starts:
            started(self)

    def handshake(self, door: Door, *, ask: bool, limit: float) -> Handshake:
        self.met = door
        waits = self.hangs(self) if ask else self.plain_hangs(self)
        if self.parent is None:
            return Handshake(door, ask, 0.0, "refused")
        self.sleep(limit if waits else 0.01)
        return (
            Handshake(door, ask, limit, "timeout") if waits else Handshake(door, ask, 0.01, "", self.staple)
        )

    def handshakes(self, doors: Sequence[Door], *, ask: bool, limit: float) -> tuple[Handshake, ...]:
        return tuple(self.handshake(door, ask=ask, limit=limit) for door in doors)


def read(server: Server) -> None:
    """Apache reads its files: fresh workers, the pid file anew; workers that hang stay."""
    server.workers |= FRESH
    server.touch()


def stopped(server: Server) -> None:
    """Apache is stopped whole."""
    server.parent, server.workers = None, frozenset()


def started(server: Server) -> None:
    """Apache is started: another parent."""
    server.parent, server.workers, server.pid_in_file = NEXT, FRESH, NEXT.pid
    server.touch()


def old_workers_hang(server: Server) -> bool:
    """Visitors wait for as long as a worker of before is there."""
    return bool(server.workers & OLD)


class _Call:
    """WHM's restart, as `_WhmCall` is asked about it."""

    def __init__(self, server: Server) -> None:
        self._server, self._answers = server, server.now + server.answers
        server.did.append("whm")
        for seconds, what in server.whm:
            server.after(seconds, what)

    @property
    def is_running(self) -> bool:
        return self._server.now < self._answers

    @property
    def said(self) -> str:
        return "" if self.is_running or self._server.failure else self._server.said

    @property
    def failure(self) -> Problem | None:
        return None if self.is_running else self._server.failure

    def wait(self, seconds: float) -> None:
        self._server.sleep(min(max(seconds, 0.0), max(self._answers - self._server.now, 0.0)))


def simulate(monkeypatch: pytest.MonkeyPatch, server: Server) -> Server:
    """Put the simulated server in the place of this one, for all that changes and restarts it."""
    clock = SimpleNamespace(monotonic=lambda: server.now, sleep=server.sleep)
    seen = SimpleNamespace(
        parent=lambda _pid_file, _httpd: server.parent,
        workers=lambda _parent: server.workers,
        cpu_ticks=lambda _parent: server.ticks,
        named_by=lambda _pid_file: server.pid_in_file,
        orphans=lambda _httpd: server.orphaned,
        is_alive=lambda process: process in server.workers | {server.parent},
        root_runs=lambda program, *_words: server.root_runs(server, program),
        end=lambda which: server.end(which),
        send=lambda process, number: server.send(process, number),
        wait_until_gone=lambda process, seconds: server.wait_until_gone(process, seconds),
    )
    monkeypatch.setattr(api, "stop_httpd", server.stop_httpd)
    monkeypatch.setattr(api, "start_httpd", lambda seconds: server.start_httpd(seconds))
    monkeypatch.setattr(api, "rebuild_httpd_conf", lambda: server.rebuild(server))
    for room in (running, whm_restart):
        monkeypatch.setattr(room, "time", clock)
    for room in (running, whm_restart, restart):
        monkeypatch.setattr(room, "processes", seen)
    monkeypatch.setattr(running, "run", server.run)
    monkeypatch.setattr(whm_restart, "_WhmCall", lambda: _Call(server))
    serving = SimpleNamespace(serving=lambda _pids, _ports: {each.pid for each in server.serving})
    monkeypatch.setattr(whm_restart, "connections", serving)
    for room in (verify, transaction):
        monkeypatch.setattr(room, "time", clock)
        monkeypatch.setattr(room, "handshake", server.handshake)
        monkeypatch.setattr(room, "handshakes", server.handshakes)
    monkeypatch.setattr(transaction, "processes", seen)
    return server


def having(server: Server, **facts: Any) -> None:
    """Set facts of the simulated server."""
    for name, value in facts.items():
        setattr(server, name, value)


Step = tuple[str, Mapping[str, Any], float]


class World:
    """A server whose Apache staples as its files say once it has read them."""

    def __init__(self, tree: Tree, server: Server, journal: Journal) -> None:
        self.tree, self.server, self.journal = tree, server, journal
        self.words: list[str] = []
        """What httpd says at each test of its configuration, from the first on; nothing after that."""
        self.shown: list[Step] = []
        self.watch: Watcher = lambda name, detail, seconds: self.shown.append((name, detail, seconds))
        self.configtest: ConfigTest = lambda: self.words.pop(0) if self.words else ""
        server.reads = self._staples
        server.whm = [(1.0, read)]
        self._staples(server)

    def _staples(self, server: Server) -> None:
        server.staple = b"staple" if self.tree.situation().server.stapling.on else None

    def plan(self, action: str = "off", **options: bool) -> Plan:
        return plan.make(wish(action, **options), self.tree.situation())

    @property
    def target(self) -> ChangeTarget:
        """What a transaction works on here."""
        return ChangeTarget(
            self.server.apache, self.configtest, self.read, self.journal, Patience(), self.watch
        )

    def read(self) -> ServerState:
        """The server as its files say now."""
        return self.tree.situation().server

    def run(self, made: Plan | None = None) -> Result:
        """Carry a plan out that was asked for five seconds ago."""
        return transaction.execute(made or self.plan(), self.target, IDENTITY, self.server.now - 5)

    @property
    def steps(self) -> list[str]:
        return [each.name for each in self.journal.steps(IDENTITY)]

    @property
    def bytes(self) -> dict[str, bytes]:
        files = (*self.tree.pre, *self.tree.post)
        return {path.name: path.read_bytes() for path in files if path.exists()}
