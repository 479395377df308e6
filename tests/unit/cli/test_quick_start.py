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
