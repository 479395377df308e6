"""Stand-in for systemd's socket activation: systemd.socket(5), systemd.service(5), sd_listen_fds(3).

Reads the real unit files. Usage: activator.py UNIT.socket   (its .service lies beside it; output to LOG)
"""

from __future__ import annotations

import configparser
import os
import select
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

LOG = Path("/run/machine/service.log")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
FIRST = 3


def unit(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(path)
    return found


def listen(path: Path) -> socket.socket:
    section = unit(path)["Socket"]
    where = Path(section["ListenStream"])
    where.parent.mkdir(mode=int(section.get("DirectoryMode", "0755"), 8), parents=True, exist_ok=True)
    where.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.umask(0o777 ^ int(section.get("SocketMode", "0666"), 8))
    listener.bind(str(where))
    listener.listen(128)
    return listener


def start(service: Path, listener: socket.socket) -> int:
    section = unit(service)["Service"]
    argv = shlex.split(section["ExecStart"])
    mask = int(section.get("UMask", "0022"), 8)
    pid = os.fork()
    if not pid:
        become(argv, mask, listener)
    return pid


def become(argv: list[str], mask: int, listener: socket.socket) -> NoReturn:
    """Turn this process into the service, as systemd hands it over."""
    os.setsid()
    os.umask(mask)
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    handed = os.dup(listener.fileno())  # so that it cannot be 3 already, which dup2 would leave uninheritable
    os.dup2(handed, FIRST, inheritable=True)
    os.closerange(FIRST + 1, 64)
    os.execve(argv[0], argv, {"PATH": PATH, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})


def main() -> None:
    path = Path(sys.argv[1])
    listener = listen(path)
    print("ready", flush=True)
    while True:
        select.select([listener], [], [])
        os.waitpid(start(path.with_suffix(".service"), listener), 0)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
