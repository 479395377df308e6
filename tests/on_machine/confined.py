"""What a service tries to do, from within: run under a unit's confinement, it tells what it was allowed.

Usage: python -I confined.py [ATTEMPT]   (prints JSON: attempt -> "" if it went well, else the error's name)
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_INIT_MODULE, _ADJTIMEX, _SETTIMEOFDAY = 175, 159, 164  # x86-64
_GETPID_BY_INT80 = bytes.fromhex("b814000000cd80c3")  # mov eax, 20; int 0x80; ret
OUTSIDE = "/tmp/confined-from-outside"  # made by the test before
SETUID_PROGRAM = "/usr/local/sbin/confined-id"  # id(1) with the set-user-id bit
ELSEWHERE = ("44.128.1.1", 9)  # not this machine


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


def _gain_privileges() -> None:
    """Become root again by a program with the set-user-id bit."""
    found = subprocess.run(
        [SETUID_PROGRAM, "-u"], user=65534, group=65534, stdout=subprocess.PIPE, check=True
    )
    if found.stdout != b"0\n":
        raise OSError(errno.EPERM, "")


def _code_at_runtime() -> mmap.mmap:
    return mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _foreign_architecture() -> None:
    """A system call of 32-bit programs."""
    memory = _code_at_runtime()
    memory.write(_GETPID_BY_INT80)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _call(ctypes.CFUNCTYPE(ctypes.c_int)(address)())


def _many_threads() -> None:
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(300)]
    try:
        for each in threads:
            each.start()
    except RuntimeError:
        raise OSError(errno.EAGAIN, "") from None
    finally:
        done.set()


def _much_memory() -> None:
    bytearray(b"x") * (300 * 1024 * 1024)


def _public_file() -> None:
    path = Path("/var/lib/confined-public")
    path.touch()
    try:
        if not path.stat().st_mode & 0o044:
            raise OSError(errno.EACCES, "")
    finally:
        path.unlink()


def _see(path: str) -> Callable[[], None]:
    def attempt() -> None:
        if not list(Path(path).iterdir()):
            raise OSError(errno.ENOENT, "")

    return attempt


def _send_elsewhere() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", ELSEWHERE)


def _make_group() -> None:
    made = Path("/sys/fs/cgroup/confined")
    made.mkdir()
    made.rmdir()


def _listen_on_a_low_port() -> None:
    socket.create_server(("127.0.0.1", 341)).close()


ATTEMPTS: dict[str, Callable[[], object]] = {
    "write /etc": _write("/etc/confined"),
    "write /usr": _write("/usr/confined"),
    "write /home": _write("/home/confined"),
    "write /var/lib": _write("/var/lib/confined"),
    "write /usr/local/cpanel": _write("/usr/local/cpanel/confined"),
    "write /sys/fs/cgroup": _make_group,
    "see /home": _see("/home"),
    "see /tmp": lambda: Path(OUTSIDE).stat(),
    "kernel setting": _kernel_setting,
    "mount": lambda: _call(_LIBC.mount(b"t", b"/mnt", b"tmpfs", 0, None)),
    "namespace of users": lambda: _call(_LIBC.unshare(_NEWUSER)),
    "host name": lambda: socket.sethostname(socket.gethostname()),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "setuid file": _setuid_file,
    "gain privileges": _gain_privileges,
    "device": _device,
    "kernel log": lambda: _call(_LIBC.klogctl(10, None, 0)),
    "load a module": lambda: _call(_LIBC.syscall(_INIT_MODULE, b"", 0, b"")),
    "clock's settings": _read_clock_setting,
    "personality": _personality,
    "real time": _realtime,
    "chroot": lambda: os.chroot("/"),
    "code at run time": _code_at_runtime,
    "foreign architecture": _foreign_architecture,
    "many threads": _many_threads,
    "much memory": _much_memory,
    "public file": _public_file,
    "send elsewhere": _send_elsewhere,
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close(),
    "another's file": lambda: os.close(os.open("/proc/1/environ", os.O_RDONLY)),
    "low port": _listen_on_a_low_port,
}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "unknown")
    return ""


def _tried(attempt: Callable[[], object]) -> str:
    """In a child: an attempt that succeeds must not change the next one's conditions, and one may be ended for it."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, _outcome(attempt).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as said:  # noqa: PTH123 - a descriptor
        outcome = said.read()
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else outcome


def main() -> None:
    names = sys.argv[1:] or list(ATTEMPTS)
    print(json.dumps({name: _tried(ATTEMPTS[name]) for name in names}))


if __name__ == "__main__":
    main()
