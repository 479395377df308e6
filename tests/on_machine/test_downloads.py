"""What a visitor downloads while stapling is turned off: cut by nothing that WHM's own restart would not cut."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape
from tests.machine.shape import SERVER_V4
from tests.on_machine.admin import RESTART, crowd, stapled, switch

pytestmark = pytest.mark.machine
MOOD = "/run/machine/restart.mood"
SIZE = 40 << 20
VISITOR = """
import os, socket, ssl, sys, time
context = ssl._create_unverified_context()
raw = socket.create_connection((sys.argv[1], 443), 30)
visitor = context.wrap_socket(raw, server_hostname=sys.argv[2])
visitor.sendall(f"GET /large HTTP/1.0\\r\\nHost: {sys.argv[2]}\\r\\n\\r\\n".encode())
count = len(visitor.recv(65536))
print("begun", flush=True)
while not os.path.exists("/run/machine/read-on"):
    time.sleep(0.05)
while found := visitor.recv(65536):
    count += len(found)
print(count, flush=True)
"""


@contextlib.contextmanager
def download(machine: Machine) -> Iterator[subprocess.Popen[str]]:
    """A visitor in the middle of a large file, who reads on when told."""
    site = machine.sites[0]
    with machine.path(f"/home/{site.user}/public_html/large").open("wb") as file:
        file.truncate(SIZE)
    visitor = machine.popen(sys.executable, "-I", "-c", VISITOR, SERVER_V4, site.name)
    try:
        assert visitor.stdout is not None
        assert visitor.stdout.readline() == "begun\n"
        yield visitor
    finally:
        visitor.kill()
        visitor.communicate()


@pytest.mark.parametrize(
    "mpm",
    ["event-tight", "prefork", *(pytest.param(each, marks=pytest.mark.long) for each in ("event", "worker"))],
)
def test_a_download_lives_through_a_gentle_restart_that_comes_late(mpm: str) -> None:
    """Workers that hang are ended while WHM's restart is awaited; one that also serves somebody is not."""
    with Machine(Shape(mpm=mpm)) as machine:
        machine.fault("alpha", "hang")
        machine.run(RESTART, "--hard")
        with download(machine) as visitor, crowd(machine, 60):
            machine.path(MOOD).write_text("deferred 4")
            called = switch(machine, "off")
            machine.path("/run/machine/read-on").touch()
            told, _ = visitor.communicate(timeout=60)
        print(called.told)
        assert called.code == 0, called.told
        assert int(told) > SIZE
        assert not stapled(machine)
