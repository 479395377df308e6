"""The shield's campaigns beside the machine: very many answers, attackers on this server, kills, a full disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ocsp_stapling.shield import store
from ocsp_stapling.shield.book import TRY_LATER
from ocsp_stapling.shield.store import Kept
from tests.unit.shield.test_relay import ANSWER, ID, QUESTION, Relay
from tests.unit.shield.test_store import WRITER

FILLER = """
import sys
from pathlib import Path
from ocsp_stapling.shield.store import Kept, load, write
directory, kept, failures = Path(sys.argv[1]), 0, 0
for number in range(200):
    made = Kept("%088x" % (number % 20), bytes([number % 256]) * 5000, number, None, number, "good", "u")
    try:
        write(directory, made)
        kept += 1
    except OSError:
        failures += 1
found, damaged = load(directory)
assert damaged == (), damaged
assert all(set(each.answer) == {each.this_update % 256} for each in found.values())
assert not list(directory.glob(".new-*"))
print(kept, failures, len(found))
"""


def fill(directory: Path, count: int) -> None:
    """Keep so many answers of two kilobytes, and one that is asked for; not synced, which would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        _fill(directory, count)


def _fill(directory: Path, count: int) -> None:
    now = round(time.time())
    for number in range(count - 1):
        store.write(
            directory, Kept(f"{number:088x}", os.urandom(2000), now, now + 9999, now + 9999, "good", "u")
        )
    store.write(directory, Kept(ID, ANSWER, now, now + 9999, now + 9999, "good", "u"))


def questions(relay: Relay, seconds: float, pause: float = 0.002) -> list[float]:
    """Ask one after the other; milliseconds each. Every answer must be the good one."""
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        assert relay.ask(QUESTION) == ANSWER
        found.append(1000 * (time.monotonic() - begun))
        time.sleep(pause)
    return sorted(found)


def question(number: int) -> bytes:
    """Ask about one of those that `fill` keeps; what stands around its CertID does not matter."""
    whole = number.to_bytes(44, "big")
    return b"\x04\x14%b\x04\x14%b\x02\x04%b" % (whole[:20], whole[20:40], whole[40:])


def pss_kilobytes(relay: Relay) -> int:
    """What parent and workers hold together, shared pages counted once."""
    total = 0
    for pid in (relay.process.pid, *relay.workers()):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


@pytest.mark.long
@pytest.mark.timeout(600)
def test_five_thousand_answers(tmp_path: Path) -> None:
    fill(tmp_path, 5000)
    begun = time.monotonic()
    made = Relay(tmp_path)
    ready = time.monotonic() - begun
    try:
        fill(tmp_path, 5000)  # as after a night in which all were fetched anew
        time.sleep(5)
        times = questions(made, 10)
        assert all(made.ask(question(number)) != TRY_LATER for number in range(4999))
        sums = {"ready_s": round(ready, 2), "pss_mb": round(pss_kilobytes(made) * 1024 / 1e6, 1)}
        sums |= {"questions": len(times), "p50_ms": round(times[len(times) // 2], 2)}
        print(f"\n5,000 answers: {json.dumps(sums | {'p99_ms': round(times[int(0.99 * len(times))], 2)})}")
        assert sums["pss_mb"] < 25
        assert ready < 1
        assert times[int(0.99 * len(times))] < 1
    finally:
        made.process.kill()
        made.process.wait()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("size", "rate"), [(0, 10_000), (60_000, 2000), (0, 0), (60_000, 0)])
def test_connections_that_nobody_makes_without_end(tmp_path: Path, size: int, rate: int) -> None:
    """Of one byte each, closed at once; or half of a long question each, of which the last 10,000 stay open.

    As fast as he can (rate 0) he fills the queue at times, for here nobody puts the relay first; its unit does.
    """
    fill(tmp_path, 100)
    made = Relay(tmp_path)
    words = ["-m", "tests.machine.flood", str(made.port), "10", "2", str(size), str(round(0.55 * rate))]
    attackers = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        times = questions(made, 9)
    finally:
        told = attackers.communicate()[0]
        workers = made.workers()
        made.process.kill()
        made.process.wait()
    count, p99 = sum(map(int, told.split())) / 10, times[int(0.99 * len(times))]
    figures = f"{len(times)} questions, p99 {p99:.1f} ms, most {times[-1]:.1f} ms"
    print(f"\n{count:.0f} connections of {size or 1} bytes a second: {figures}")
    assert len(workers) == 2
    assert count >= rate
    assert times[-1] < 1000 or not rate


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_five_hundred_writers_killed(tmp_path: Path) -> None:
    choice, strikes = random.Random(6), 0
    for _ in range(500):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        time.sleep(choice.uniform(0.15, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found, damaged = store.load(tmp_path)
        assert damaged == ()
        assert all(set(kept.answer) == {kept.this_update % 256} for kept in found.values())
        left = list(tmp_path.glob(".new-*"))
        strikes += bool(left)  # killed in the middle of a write
        for path in left:
            path.unlink()
    print(f"\n500 writers killed, {strikes} of them in the middle of a write; no damaged answer")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full_costs_no_answer_that_was_kept(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=64k small "{tmp_path}" && exec "$0" -c "$1" "{tmp_path}"'
    argv = ["unshare", "--mount", "sh", "-c", mount, sys.executable, FILLER]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept, failures, held = map(int, done.stdout.split())
    assert min(kept, failures, held) > 0
