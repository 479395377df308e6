"""The README's commands, copied from the page as they are printed, do what their comments say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.machine import sandbox
from tests.machine.machine import REPO
from tests.on_machine.sandboxes import PROMPT, Shell

pytestmark = pytest.mark.machine

_SHELL = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
_SECONDS = re.compile(r"^ +([0-9.]+) s   (with staple|no staple)", re.M)
CRITICAL = 2  # what `check` ends with while sites stall
ASKED = "[y/N]"


def commands(section: str) -> list[list[str]]:
    """The shell blocks of a part of the README: the lines of each, without their comments."""
    _, _, text = (REPO / "README.md").read_text().partition(f"\n## {section}\n")
    part = text.partition("\n## ")[0]
    blocks = [block.splitlines() for block in _SHELL.findall(part)]
    return [[line.partition("  #")[0].strip() for line in lines] for lines in blocks]


def type_in(shell: Shell, line: str) -> tuple[int, str]:
    """Type a command and answer as the README says; return its exit status and what the terminal showed."""
    shell.type(f"{line}; echo status=$?=\n")
    shown = shell.read_until(ASKED, *(f"status={n}=" for n in range(128)))
    if ASKED in shown:
        shell.type("n\n" if line == "ocsp-stapling check" else "y\n")
        shown += shell.read_until(*(f"status={n}=" for n in range(128)))
    found = re.search(r"status=(\d+)=", shown)
    assert found
    return int(found[1]), shown


def test_a_minute_in_the_sandbox() -> None:
    """Started by the README's own words, from the directory of the clone."""
    start, inside = commands("Try it, without cPanel")
    status, shown, visits = {}, {}, []
    with Shell(shlex.split(start[0])) as shell:
        for line in inside:
            code, text = type_in(shell, line)
            status[line], shown[line] = code, text
            if line.startswith("machine visit"):
                visits.append([(float(seconds), how) for seconds, how in _SECONDS.findall(text)])
            shell.read_until(PROMPT)
        shell.type("exit\n")
        shell.read_until(sandbox.REMOVED)
    assert {line for line, code in status.items() if code} == {"ocsp-stapling check"}, shown
    assert status["ocsp-stapling check"] == CRITICAL
    during, after = visits
    assert [round(seconds / 3) for seconds, _ in during] == [1, 2, 3, 4], during
    assert len(after) == len(during)
    assert all(seconds < 1.5 and how == "no staple" for seconds, how in after), after
    assert "Do it now (ocsp-stapling shield on)?" in shown["ocsp-stapling check"]


def test_every_way_to_start_that_is_printed_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    start, _ = commands("Try it, without cPanel")
    assert len(start) == 3
    for line in start:
        script, option, *rest = shlex.split(line)
        assert (script, option) == ("./install.sh", "--sandbox")
        assert os.access(REPO / script, os.X_OK)
        monkeypatch.setattr("sys.argv", ["sandbox", *rest])
        assert sandbox.chosen()


def test_the_commands_for_those_who_work_on_it_exist() -> None:
    (lines,) = commands("Test it")
    options = Path(REPO / "tests/run").read_text()
    for line in lines:
        script, *rest = shlex.split(line)
        assert os.access(REPO / script, os.X_OK)
        assert all(f"    {word})" in options for word in rest)
    assert lines


def test_both_commands_are_the_installers_and_elsewhere_than_on_a_server_it_points_to_the_sandbox() -> None:
    ((install, try_it),) = commands("Two commands")
    assert try_it == "./install.sh --sandbox"
    done = subprocess.run(shlex.split(install), cwd=REPO, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "not a cPanel & WHM server" in done.stderr
    assert try_it in done.stderr
