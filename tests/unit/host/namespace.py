"""Runs code of ours in network and mount namespaces of its own: addresses, routes, firewalls, /etc files are real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def _available() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        return False
    return (
        subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode
        == 0
    )


needs_namespace = pytest.mark.skipif(not _available(), reason="needs root and network namespaces")


def in_namespace(setup: str, expression: str) -> Any:
    """Run the shell commands `setup` in new namespaces, then return what the Python code prints.

    `expression` is Python code that calls `show(value)` once with something JSON can hold.
    """
    code = f"import json\ndef show(v): print(json.dumps(v, default=str))\n{expression}"
    script = f'set -e\nip link set lo up\n{setup}\nexec "$@"'
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# A link with an IPv4 and an IPv6 address whose far end answers nothing.
LINK = """
ip link add out type veth peer name far
ip link set far up
ip address add 192.0.2.10/24 dev out
ip -6 address add 2a00:1:2:3::10/64 dev out nodad
ip link set out up
"""
ROUTES = "ip route add default via 192.0.2.1\nip -6 route add default via 2a00:1:2:3::1\n"
