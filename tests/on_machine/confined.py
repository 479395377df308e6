"""What a service tries to do, from within: run under a unit's confinement, it tells what it was allowed.

Usage: python -I confined.py RESULT   (writes JSON: attempt -> "" if it went well, else the error's name)
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_INIT_MODULE, _ADJTIMEX = 175, 159  # x86-64


def _call(code: int) -> None:
    if code < 0:
        raise OSError(ctypes.get_errno(), "")


def _write(path: str) -> Callable[[], None]:
    def attempt() -> None:
        Path(path).write_text("x")
        Path(path).unlink()

    return attempt


def _setuid_file() -> None:
    path = Path("/var/lib/confined-setuid")
    path.touch()
    try:
        path.chmod(0o4755)
    finally:
        path.unlink()


def _device() -> None:
    path = Path("/var/lib/confined-device")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))
    path.unlink()


def _kernel_setting() -> None:
    path = Path("/proc/sys/net/ipv4/ip_default_ttl")
    path.write_text(path.read_text())


def _read_clock_setting() -> None:
    """adjtimex(2) with no modes reads alone; a filter refuses the whole call."""
    _call(_LIBC.syscall(_ADJTIMEX, ctypes.create_string_buffer(256)))


def _personality() -> None:
    _call(_LIBC.personality(0x0008))  # PER_LINUX32


def _realtime() -> None:
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


ATTEMPTS: dict[str, Callable[[], None]] = {
    "write /etc": _write("/etc/confined"),
    "write /usr": _write("/usr/confined"),
    "write /home": _write("/home/confined"),
    "write /var/lib": _write("/var/lib/confined"),
    "write /usr/local/cpanel": _write("/usr/local/cpanel/confined"),
    "write /sys/fs/cgroup": lambda: Path("/sys/fs/cgroup/confined").mkdir(),
    "kernel setting": _kernel_setting,
    "mount": lambda: _call(_LIBC.mount(b"t", b"/mnt", b"tmpfs", 0, None)),
    "namespace of users": lambda: _call(_LIBC.unshare(_NEWUSER)),
    "host name": lambda: socket.sethostname(socket.gethostname()),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "setuid file": _setuid_file,
    "device": _device,
    "kernel log": lambda: _call(_LIBC.klogctl(10, None, 0)),
    "load a module": lambda: _call(_LIBC.syscall(_INIT_MODULE, b"", 0, b"")),
    "clock's settings": _read_clock_setting,
    "personality": _personality,
    "real time": _realtime,
    "chroot": lambda: os.chroot("/"),
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close(),
    "another's file": lambda: os.close(os.open("/proc/1/environ", os.O_RDONLY)),
}


def _outcome(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "unknown")
    return ""


def main() -> None:
    found: dict[str, str] = {}
    for name, attempt in ATTEMPTS.items():
        child = os.fork()  # an attempt that succeeds must not change the next one's conditions
        reader = Path(f"{sys.argv[1]}.{len(found)}")
        if not child:
            reader.write_text(_outcome(attempt))
            os._exit(0)
        os.waitpid(child, 0)
        found[name] = reader.read_text()
        reader.unlink()
    Path("/tmp/confined-in-tmp").touch()
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
