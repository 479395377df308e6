"""`install.sh --sandbox` for real: the tour, the shell, and that it leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.machine import Machine, sandbox

pytestmark = pytest.mark.machine
REPO = Path(__file__).resolve().parents[2]
SANDBOX = [str(REPO / "install.sh"), "--sandbox"]


@pytest.mark.alone
def test_the_tour_tells_the_whole_story_and_ends_with_0() -> None:
    done = subprocess.run(
        [*SANDBOX, "--tour"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seconds = [float(s) for s in re.findall(r"^ +([0-9.]+) s   (?:with|no) staple$", done.stdout, re.M)]
    assert len(seconds) == sandbox.VISITORS * 4
    assert max(seconds) == pytest.approx(12, abs=1.5)
    assert "stand-in" in done.stdout


def test_a_chapter_that_goes_astray_fails_the_tour(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.fault("alpha", "html")
    machine.run(sandbox.RESTART, "--hard")
    assert sandbox.tour(machine) == 1
    assert "astray: expected a staple in each" in capsys.readouterr().out


def test_a_change_that_fails_fails_the_tour(machine: Machine) -> None:
    command = machine.path("/usr/local/sbin/ocsp-stapling")
    command.unlink()
    command.write_text("#!/bin/sh\nexit 3\n")
    command.chmod(0o755)
    with pytest.raises(sandbox.ChapterError, match="not 3"):
        sandbox.off(machine)


def test_the_shell_has_the_plugin_in_it_survives_ctrl_c_and_ends_cleanly() -> None:
    owner, child = pty.openpty()
    process = subprocess.Popen(SANDBOX, stdin=child, stdout=child, stderr=child, start_new_session=True)
    os.close(child)
    try:
        read_until(owner, "[WHM-shaped machine]")
        os.write(owner, b"sleep 1000\n")
        time.sleep(0.3)
        os.write(owner, b"\x03")
        os.write(owner, b"machine fault alpha drop; machine show | grep drop; ocsp-stapling --version\n")
        shown = read_until(owner, "version 0")
        assert "alpha" in shown
        os.write(owner, b"exit\n")
        read_until(owner, "nothing of it is left")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(owner)


def test_ctrl_c_in_the_tour_takes_the_machine_down() -> None:
    process = subprocess.Popen([*SANDBOX, "--tour"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("1."):
            break
    first = machine_of(process.pid)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "removed" in rest
    assert not Path(f"/proc/{first}").exists()


def machine_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def read_until(descriptor: int, wanted: str) -> str:
    """Read a terminal until it shows `wanted`; pytest's time-out ends a wait in vain."""
    shown = ""
    while wanted not in shown:
        shown += os.read(descriptor, 65536).decode("utf-8", "replace")
    return shown
