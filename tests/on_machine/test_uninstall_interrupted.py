"""Removed after a change was killed half way: Apache is as it was before the plugin, and nothing is left over.

A change is killed when a step of it stands in the journal and nothing of it is done; then everything is purged.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine import Machine
from tests.on_machine.admin import GLOBAL, TWO, file_state, meet, parent, sabotage, write
from tests.on_machine.installing import HOME, SERVER, Kit, differences, facts

pytestmark = pytest.mark.machine
SITE = "site0002.example.test"
CHANGES = {
    "off": ((), ("off",)),
    "on": (("off",), ("on",)),
    "off for one site": ((), ("off", "--site", SITE)),
    "on for one site": (("off", "--site", SITE), ("on", "--site", SITE)),
}
IN_CI = {"on": 2, "off for one site": 3}


@pytest.fixture(scope="module")
def server(kit: Kit) -> Iterator[Machine]:
    with Machine(SERVER) as machine:
        write(machine, GLOBAL, b"# mine\n# no line end at the end", 0o640)
        yield machine


@pytest.mark.parametrize("change", CHANGES)
def test_removal_recovers_first_and_leaves_apache_as_before_the_plugin(
    server: Machine, kit: Kit, change: str, request: pytest.FixtureRequest
) -> None:
    """One step of two changes; `--long` takes every one of every change."""
    every = request.config.getoption("--long")
    if not every and change not in IN_CI:
        pytest.skip("a long campaign: run with --long")
    first = 0 if every else IN_CI[change]
    before, files = facts(server), file_state(server, GLOBAL, TWO)
    step = first
    while _killed_and_removed(server, kit, change, step):
        assert differences(before, facts(server)) == [], (change, step)
        assert file_state(server, GLOBAL, TWO) == files
        assert parent(server), (change, step)
        for name in ("site0001.example.test", SITE):
            assert meet(server, name)["stapled"], (change, step, name)
        step += 1
        if not every:
            break
    assert step > (4 if every else first)


def _killed_and_removed(server: Machine, kit: Kit, change: str, step: int) -> bool:
    """Return whether there was such a step."""
    kit.installed(server)
    prepared, words = CHANGES[change]
    if prepared:
        server.run("ocsp-stapling", *prepared, "--yes")
    killed = sabotage(server, "kill-step", step, *words, "--yes", "--json").code != 0
    done = server.run(f"{HOME}/current/uninstall.sh", "--yes", "--purge", check=False)
    assert done.returncode == 0, (change, step, done.stdout, done.stderr)
    return killed
