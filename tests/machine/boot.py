"""Process 1 of a machine: mounts, cable, authorities, EA4 tree, Apache; then reaps orphans until its owner
is gone.

Run by `machine.Machine` inside fresh mount, network, PID, UTS and IPC namespaces. Whatever it makes lives
in those namespaces or on a tmpfs inside them, so that it vanishes with this process, however that ends.
Usage: python -m tests.machine.boot SHAPE-AS-JSON [DIRECTORY OF /tmp TO BE SHARED ...]
(standard input: a pipe held open by the owner)
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.machine import distributions, ea4, faults, init, relay
from tests.machine.machine import FRESH
from tests.machine.shape import (
    GATEWAY_V4,
    GATEWAY_V6,
    PUBLIC_RESOLVERS,
    SERVER_V4,
    SERVER_V6,
    SLY_V4,
    STRANGER_V4,
    Shape,
    authorities,
)
from tests.machine.standins import manager

REPO = Path(__file__).resolve().parents[2]
SCRATCH = Path("/mnt")
OVERLAID = ("etc", "usr", "var", "opt", "home", "root")
STANDINS = {
    "/usr/local/cpanel/bin": ("whmapi1", "register_appconfig", "unregister_appconfig", "manage_hooks"),
    "/usr/local/cpanel/scripts": ("restartsrv_httpd", "rebuildhttpdconf"),
    "/usr/bin": ("systemctl", "systemd-run"),
}
_NAMED = ("whmapi1", "restartsrv_httpd")
"""These show under their own names among the processes, as cPanel's do."""


def sh(*argv: str, **more: object) -> None:
    subprocess.run(argv, check=True, **more)  # type: ignore[call-overload]


def mounts() -> None:
    """Make every changed path a private layer over the real one."""
    SCRATCH.mkdir(exist_ok=True)
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "machine", str(SCRATCH))
    for name in OVERLAID:
        if not Path("/", name).is_dir():
            continue
        for part in ("upper", "work"):
            (SCRATCH / name / part).mkdir(parents=True)
        layers = f"lowerdir=/{name},upperdir={SCRATCH}/{name}/upper,workdir={SCRATCH}/{name}/work"
        sh("mount", "-t", "overlay", "machine", "-o", layers, f"/{name}")
    for name in FRESH:  # whatever this system itself has there, the machine is new
        shutil.rmtree(name, ignore_errors=True)
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "machine", "/run")
    sh("mount", "-t", "tmpfs", "-o", "mode=1777", "machine", "/dev/shm")
    sh("mount", "-t", "proc", "proc", "/proc")
    Path("/run/systemd/system").mkdir(parents=True)
    for directory in ("/run/apache2", "/run/lock", str(faults.RUN), str(faults.RUN / "pki")):
        Path(directory).mkdir(mode=0o755, parents=True, exist_ok=True)
    (faults.RUN / "pki").chmod(0o700)


def own_tmp(shared: list[Path]) -> None:
    """A /tmp of the machine's own, in which only the shared directories are this system's."""
    outside = SCRATCH / "tmp"
    outside.mkdir()
    sh("mount", "--bind", "/tmp", str(outside))
    sh("mount", "-t", "tmpfs", "-o", "mode=1777", "machine", "/tmp")
    for path in shared:
        path.mkdir(parents=True)
        sh("mount", "--bind", str(outside / path.relative_to("/tmp")), str(path))
    sh("umount", str(outside))


def network(shape: Shape) -> None:
    """Give the server its addresses and the internet its own, joined by one cable."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], start_new_session=True)
    faults.WORLD_PID.write_text(str(holder.pid))
    there = ["nsenter", "-t", str(holder.pid), "-n"]
    _wait_for_namespace(holder.pid)
    faults.WORLD_NET.touch()
    sh("mount", "--bind", f"/proc/{holder.pid}/ns/net", str(faults.WORLD_NET))
    sh("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "cable", "netns", str(holder.pid))
    lines = [
        "link set lo up",
        "link set eth0 up",
        f"addr add {SERVER_V4}/24 dev eth0",
        f"addr add {SERVER_V6}/64 dev eth0 nodad",
    ]
    routes = [f"route add default via {gateway}" for gateway in (GATEWAY_V4, GATEWAY_V6)]
    theirs = [
        "link set lo up",
        "link set cable up",
        f"addr add {GATEWAY_V4}/24 dev cable",
        f"addr add {GATEWAY_V6}/64 dev cable nodad",
        *[f"addr add {a}/32 dev lo" for a in (*PUBLIC_RESOLVERS, STRANGER_V4, SLY_V4)],
        *[
            f"addr add {a}/{'128' if ':' in a else '32'} dev lo{' nodad' if ':' in a else ''}"
            for c in authorities(shape)
            for a in c.addresses
        ],
    ]
    _ip_batch([], lines)
    _ip_batch(there, theirs)
    _ip_batch([], routes)
    # systemd's default on the servers we stand for: any user may send an echo request.
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")


def _wait_for_namespace(pid: int) -> None:
    mine = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == mine:
        os.sched_yield()


def _ip_batch(prefix: list[str], lines: list[str]) -> None:
    sh(*prefix, "ip", "-batch", "-", input="\n".join(lines), text=True)


def world(shape: Shape) -> None:
    """Start responders and name servers where the cable ends, and wait until they answer."""
    ready, tell = os.pipe()
    if not os.fork():  # what they need is loaded already, for the most part
        try:
            os.setsid()
            log = os.open(faults.RUN / "world.log", os.O_WRONLY | os.O_CREAT, 0o600)
            for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), tell, log)):
                os.dup2(descriptor, number)
            os.closerange(3, 64)
            _show_as("tests.machine.world")
            relay.enter_network(int(faults.WORLD_PID.read_text()))
            from tests.machine import world

            world.run(shape, [GATEWAY_V4, *PUBLIC_RESOLVERS])
        finally:
            os._exit(1)
    os.close(tell)
    with open(ready) as said:  # noqa: PTH123 - a descriptor
        if said.readline() != "ready\n":
            raise SystemExit("the responders did not start")


def _show_as(name: str) -> None:
    """Have `ps` show this process by a name of its own, so that it can be found and replaced by another."""
    begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(name.encode()[: end - begin].ljust(end - begin, b"\0"))


def names() -> None:
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text(f"nameserver {GATEWAY_V4}\noptions timeout:2 attempts:2\n")
    Path("/etc/hosts").unlink(missing_ok=True)
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{SERVER_V4} whm.example.test whm\n")
    Path("/etc/hostname").write_text("whm.example.test\n")  # a real systemd takes the name from there
    sh("hostname", "whm.example.test")


def programs(shape: Shape) -> None:
    """Put the stand-ins, the machine's own command and (if wanted) the plugin's command in place."""
    interpreter = distributions.take_on(shape.distribution) if shape.distribution else sys.executable
    for directory, found in STANDINS.items():
        if shape.systemd and "systemctl" in found:
            continue
        Path(directory).mkdir(parents=True, exist_ok=True)
        for name in found:
            program = REPO / f"tests/machine/standins/{name.replace('-', '_')}.py"
            Path(directory, name).unlink(missing_ok=True)
            _script(Path(directory, name), f'{interpreter} -I "{program}" "$@"', stays=name in _NAMED)
    for directory in (
        "/usr/local/cpanel/whostmgr/docroot/cgi",
        "/usr/local/cpanel/whostmgr/docroot/addon_plugins",
    ):
        Path(directory).mkdir(parents=True, exist_ok=True)
    Path("/usr/local/cpanel/version").write_text("11.132.0.9\n")
    Path("/var/cpanel/apps").mkdir(parents=True, exist_ok=True)
    _script(
        Path("/usr/local/sbin/machine"), f'cd "{REPO}" && exec {sys.executable} -m tests.machine.command "$@"'
    )
    command = Path(sys.executable).with_name("ocsp-stapling")
    if shape.plugin and command.exists():
        Path("/usr/local/sbin/ocsp-stapling").symlink_to(command)


def _script(path: Path, line: str, *, stays: bool = False) -> None:
    path.write_text(f"#!/bin/sh\n{line if stays or line.startswith('cd ') else 'exec ' + line}\n")
    path.chmod(0o755)


def boot(shape: Shape, shared: list[Path]) -> None:
    mounts()
    own_tmp(shared)
    (faults.RUN / "shape.json").write_text(shape.to_json())
    network(shape)
    names()
    ea4.build(shape)
    ea4.certificates(shape, faults.RUN / "pki")
    world(shape)
    programs(shape)
    written, words = ea4.rebuild()
    if not written:
        raise SystemExit(words)
    if shape.systemd:
        init.prepare()
    else:
        sh("/usr/sbin/httpd", "-k", "start")
        while not ea4.PID_FILE.exists():
            time.sleep(0.01)


def supervise() -> None:
    """Have systemd run, again after a reboot, until the owner's end of standard input closes."""
    while True:
        first = init.start()
        pid = init.first_process(first.pid)
        if not init.wait(pid, 60):
            raise SystemExit("systemd did not come up")
        print("ready", flush=True)
        while first.poll() is None:
            ready, _, _ = select.select([0], [], [], 0.05)
            if ready and not os.read(0, 1):
                first.kill()
                first.wait()
                os.waitpid(pid, 0)  # ended with it, and all its processes before it
                return
        if not init.rebooted(first.returncode):
            raise SystemExit(f"systemd ended with {first.returncode}")


def live() -> None:
    """Reap orphans and play systemd's first process until the owner's end of standard input closes."""
    listener = manager.listen()
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([0, listener.fileno()], [], [], 0.2)
        if 0 in ready and not os.read(0, 1):
            return
        if listener.fileno() in ready:
            manager.serve(listener)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def main() -> None:
    shape = Shape.from_json(sys.argv[1])
    boot(shape, [Path(word) for word in sys.argv[2:]])
    if shape.systemd:
        with init.own_control_group():
            supervise()
    else:
        live()


if __name__ == "__main__":
    main()
