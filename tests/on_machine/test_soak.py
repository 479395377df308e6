"""The watch over many passes with random faults: nothing grows, nothing is left behind, and it ends well."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

import pytest

from tests.machine import Machine, Shape

pytestmark = [pytest.mark.machine]
KNOWN = (
    *("journal.sqlite", "watch.sqlite", "last-check.json", "switch.lock", "watch.lock", "operations"),
    *("certificates.json", "page-check.lock", "page-check.out", "page-check.pasted"),
)
CONFIG = """
[probe]
timeout_seconds = 1
deadline_seconds = 3
public_resolvers = []
[status_pages]
enabled = false
[notify]
mail = false
[watch]
turn_off_when_stalling = true
turn_offs_per_day = 24
return_by_itself = "always"
metrics_file = "/run/ocsp_stapling.prom"
"""
STATE = "/var/lib/ocsp-stapling"
FILES = {f"{STATE}/{name}" for name in KNOWN}


def soak(passes: int, seed: int) -> list[dict[str, Any]]:
    with Machine(Shape(sites=4, cas=2)) as machine:
        path = machine.path("/etc/ocsp-stapling/config.toml")
        path.parent.mkdir()
        path.write_text(CONFIG)
        path.chmod(0o600)
        printed = machine.python("tests.on_machine.soaking", str(passes), str(seed), timeout=60 * passes)
        found = [json.loads(line) for line in printed.splitlines()]
        machine.heal()
        machine.run("ocsp-stapling", "on", "--yes")
        visit = json.loads(machine.python("tests.machine.clients", "1"))
        assert visit["stapled"], visit
        return found


def hold(found: Sequence[dict[str, Any]]) -> None:
    assert [each for each in found if each["code"] or "error" in each["said"]] == []
    assert [each["left"]["processes"] for each in found if each["left"]["processes"]] == []
    assert {name for each in found for name in each["left"]["files"]} <= FILES
    assert found[-1]["bytes"] < 1_000_000


def test_a_few_passes_leave_nothing_behind() -> None:
    hold(soak(8, 1))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_passes_use_the_same_memory_and_leave_nothing_behind() -> None:
    found = soak(220, 7)
    hold(found)
    memory = [each["memory_kib"] for each in found]
    early, late = statistics.median(memory[:50]), statistics.median(memory[-50:])
    assert late <= early * 1.05
    switches = sum(
        "off: done" in line or "on: done" in line for each in found for line in each["said"]["done"]
    )
    cpu = [each["cpu_seconds"] for each in found]
    print(
        f"{len(found)} passes, {switches} switches by the watch, longest {max(e['seconds'] for e in found):.1f} s"
    )
    print(f"memory {min(memory)} to {max(memory)} KiB, medians {early:.0f} (first 50), {late:.0f} (last 50)")
    print(
        f"CPU median {statistics.median(cpu):.2f} s, at most {max(cpu):.2f} s; {found[-1]['bytes']} bytes on disk"
    )
