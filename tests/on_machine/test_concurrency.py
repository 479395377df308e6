"""Twenty administrators and an Include Editor at once: no byte of anybody's is lost, no file is torn."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from ocsp_stapling.apache import managed_block
from tests.machine import Machine
from tests.on_machine.admin import GLOBAL, TWO, parent, stapled, switch
from tests.on_machine.editors import Editor, by_rename, in_place

pytestmark = pytest.mark.machine
REASONS = {
    "busy",
    "changed-meanwhile",
    "changed-since",
    "nothing-to-undo",
    "whmapi-failed",
}


def test_no_byte_is_lost_between_twenty_calls_and_two_editors(machine: Machine) -> None:
    saving = ((GLOBAL, in_place), (TWO, by_rename))
    editors = [Editor(machine.path(path), save, b"# start\n", lambda: 0.05) for path, save in saving]
    for each in editors:
        each.start()
    try:
        words = [(("off", "on", "undo")[i % 3], ("--wait=15",) if i % 2 else ()) for i in range(20)]
        running = [machine.popen("ocsp-stapling", a, "--yes", "--json", *w) for a, w in words]
        ended = [(each.communicate(timeout=240)[0], each.returncode) for each in running]
    finally:
        for each in editors:
            each.enough.set()
            each.join()
    told = Counter((code, _reason(out)) for out, code in ended)
    assert {code for code, _ in told} <= {0, 1, 3}, told
    assert {reason for code, reason in told if code == 1} <= REASONS, told
    assert sum(count for (code, _), count in told.items() if code == 0) >= 1, told
    final = switch(machine, "on", "--wait=30")
    assert final.code == 0, final.told
    for each in editors:
        content = each.path.read_bytes()
        assert managed_block.find(content) is None
        assert content == each.wanted
        assert not list(each.path.parent.glob(".*ocsp-stapling*"))
    assert parent(machine)
    assert stapled(machine)


def _reason(out: str) -> str:
    found = json.loads(out)
    return str((found.get("error") or {}).get("code", ""))


def test_a_second_change_is_told_who_holds_the_lock(machine: Machine) -> None:
    machine.path("/run/machine/whmapi1.mode").write_text("hang")
    machine.path("/etc/ocsp-stapling").mkdir(exist_ok=True)
    machine.path("/etc/ocsp-stapling/config.toml").write_text("[switch]\nwhm_restart_seconds = 3\n")
    first = machine.popen("ocsp-stapling", "off", "--yes", "--who=alice")
    assert first.stdout is not None
    for line in first.stdout:
        if "restart" in line:
            break
    second = switch(machine, "on")
    assert (second.code, second.error) == (1, "busy")
    assert "'off' by alice" in second.document["error"]["sentence"]
    machine.path("/run/machine/whmapi1.mode").unlink()
    assert switch(machine, "off", "--wait=30").code == 0
    first.communicate(timeout=60)
    assert first.returncode == 3
