"""What the commands that ask nobody load before they begin: loading is half of the time that `status` takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = {
    *(
        "cryptography",
        "ctypes",
        "difflib",
        "flask",
        "hashlib",
        "msgspec",
        "random",
        "selectors",
        "subprocess",
    ),
    *("tempfile", "tomllib"),
}
"""What takes long to load, and is needed by those commands seldom or never."""
UNUSED = {"ocsp_stapling.ocsp.certificate", "ocsp_stapling.apache.httpd", "ocsp_stapling.change.operate"}


@pytest.mark.parametrize("command", ["status"])
def test_a_command_that_asks_nobody_loads_nothing_slow(command: str) -> None:
    code = f"import sys, ocsp_stapling.cli, ocsp_stapling.cli.{command}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())

    assert f"ocsp_stapling.cli.{command}" in loaded
    assert not loaded & (SLOW | UNUSED)


def test_a_change_loads_nothing_that_asks_authorities() -> None:
    """In an outage visitors wait for it: loading is a third of what it adds to Apache's restart."""
    code = "import sys, ocsp_stapling.cli.switching; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"asyncio", "dns", "flask", "ocsp_stapling.ocsp.prober"}


@pytest.mark.parametrize(("word", "status"), [("--version", 0), ("nonsense", 2)])
def test_the_process_ends_at_once_with_its_status_and_all_that_was_said(word: str, status: int) -> None:
    code = "import threading, time\nfrom ocsp_stapling.cli import program\n"
    code += "threading.Thread(target=time.sleep, args=(60,)).start()\nprogram()"
    done = subprocess.run(
        [sys.executable, "-c", code, word], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == status
    assert ("ocsp-stapling" in done.stdout) is (status == 0)
    assert ("nonsense" in done.stderr) is (status == 2)
