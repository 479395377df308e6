"""systemd's first process, as far as starting keepers goes: they must not inherit the asker's confinement.

The machine's first process listens here; the stand-ins for systemctl and systemd-run ask. One line in: JSON with
`unit` and the interpreter `python`. The keeper's own words come back; the connection closes when it ends or is ready.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

SOCKET = Path("/run/machine/systemd/manager.sock")
KEEPER = Path(__file__).with_name("keeper.py")


def listen() -> socket.socket:
    SOCKET.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(SOCKET))
    listener.listen(16)
    return listener


def serve(listener: socket.socket) -> None:
    """Answer one asker."""
    connection, _ = listener.accept()
    with connection, connection.makefile("r") as lines:
        asked = json.loads(lines.readline())
        with (SOCKET.parent / f"{asked['unit']}.keeper.log").open("a") as log:
            subprocess.Popen(
                [asked["python"], "-I", str(KEEPER), asked["unit"]],
                stdin=subprocess.DEVNULL,
                stdout=connection.fileno(),
                stderr=log,
                cwd="/",
                env={
                    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG": "C.UTF-8",
                },
                start_new_session=True,
            )


def ask(unit: str) -> socket.socket:
    """Have a unit's keeper started; return the connection on which it speaks."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(SOCKET))
    connection.sendall(json.dumps({"unit": unit, "python": sys.executable}).encode() + b"\n")
    return connection
