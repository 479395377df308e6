"""A real systemd as the machine's first process, in namespaces within the machine's own; it may reboot.

The machine's disks (overlays), cable and responders stay while systemd comes and goes, as a server's do. Each start
has proc, sysfs, an empty /run and /dev of its own; its control groups lie in one of the machine's own.
Usage: python -m tests.machine.init   (becomes systemd)
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.machine.shape import Shape

# MACHINE_SYSTEMD=stand-in: stand-ins also where a real one boots.
CHOICE, STAND_IN = "MACHINE_SYSTEMD", "stand-in"
SYSTEMD = Path("/lib/systemd/systemd")
REPO = Path(__file__).resolve().parents[2]
UNITS = Path("/etc/systemd/system")
GENERATORS = SYSTEMD.parent / "system-generators"
KEPT = Path("/mnt/run-machine")  # /run/machine of every start
GROUPS = Path("/mnt/groups")
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
NAMESPACES = (
    *("--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "--propagation", "private"),
)
# What a whole machine's systemd would do that a machine in namespaces has not, or that is this system's.
MASKED = (
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-modules-load.service"),
    *("systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-sysctl.service"),
    *(
        "systemd-timesyncd.service",
        "systemd-networkd.service",
        "systemd-networkd.socket",
        "networking.service",
    ),
    *("systemd-resolved.service", "systemd-logind.service", "getty.target", "console-getty.service"),
    *("systemd-remount-fs.service", "systemd-tmpfiles-setup-dev.service", "systemd-binfmt.service"),
    *("systemd-tmpfiles-setup.service", "systemd-tmpfiles-clean.timer", "systemd-firstboot.service"),
    *("systemd-machine-id-commit.service", "systemd-random-seed.service", "systemd-pstore.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-journal-flush.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("systemd-sysusers.service", "systemd-user-sessions.service", "kmod-static-nodes.service"),
    *("sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount"),
    *(
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dpkg-db-backup.timer",
        "e2scrub_all.timer",
        "fstrim.timer",
    ),
)
# As EasyApache 4's: httpd is the service's main process by its pid file, and systemd's own start limit holds.
HTTPD = """\
[Unit]
Description=Apache web server of the machine
After=network.target

[Service]
Type=forking
PIDFile=/run/apache2/httpd.pid
ExecStart=/usr/sbin/httpd -k start
ExecReload=/bin/kill -USR1 $MAINPID
KillMode=mixed
TimeoutStopSec=20

[Install]
WantedBy=multi-user.target
"""


def with_systemd(shape: Shape) -> Shape:
    """Return the shape with a real systemd, or as it is where that cannot be had."""
    return replace(shape, systemd=not why_not_here())


@functools.cache
def why_not_here() -> str:
    """Return why systemd does not run in a machine on this system in one sentence, or "" if it does."""
    if os.environ.get(CHOICE) == STAND_IN:
        return f"{CHOICE}={STAND_IN} is set"
    if REPO.is_relative_to("/tmp"):
        return "this checkout lies in /tmp, of which a confined service sees nothing"
    if not SYSTEMD.exists():
        return f"{SYSTEMD} is missing (the package systemd)"
    line = "mount -t proc p /proc && mount -t sysfs s /sys && mount -t cgroup2 c /sys/fs/cgroup"
    line += " && mount -t tmpfs d /dev && mknod /dev/null c 1 3 && : >/dev/null"
    if subprocess.run(
        ["unshare", "--net", *NAMESPACES, "sh", "-c", line], capture_output=True, check=False
    ).returncode:
        return "this system does not allow a systemd of its own in namespaces (cgroup2, sysfs, devices)"
    return ""


def prepare() -> None:
    """Once a machine: units of this system that must not run here go, Apache's comes."""
    for directory in (UNITS, Path("/run/systemd")):
        shutil.rmtree(directory, ignore_errors=True)
    wants = UNITS / "multi-user.target.wants"
    wants.mkdir(parents=True)
    for name in MASKED:
        (UNITS / name).symlink_to("/dev/null")
    masked = Path(
        "/etc/systemd/system-generators"
    )  # they would run at every daemon-reload, for disks and terminals
    masked.mkdir(exist_ok=True)
    for generator in GENERATORS.iterdir():
        (masked / generator.name).symlink_to("/dev/null")
    (UNITS / "httpd.service").write_text(HTTPD)
    (wants / "httpd.service").symlink_to(UNITS / "httpd.service")
    (UNITS / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    Path("/etc/fstab").write_text("")
    Path("/etc/machine-id").write_text(f"{os.urandom(16).hex()}\n")
    KEPT.mkdir()
    subprocess.run(["mount", "--rbind", "/run/machine", str(KEPT)], check=True)


@contextlib.contextmanager
def own_control_group() -> Iterator[None]:
    """Have what starts meanwhile in a control group of its own, gone at the end with all that were made in it.

    A namespace of control groups begins at the group of who makes it: those of machines started from one would be one
    and the same, and each systemd would find the other's processes in its services, numbered 0.
    """
    GROUPS.mkdir()
    _mount("-t", "cgroup2", "cgroup2", str(GROUPS))
    now = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::")
    outer = GROUPS / now.lstrip("/")
    own = outer / f"machine-{os.urandom(4).hex()}"
    own.mkdir()
    (own / "cgroup.procs").write_text("0")
    try:
        yield
    finally:
        (outer / "cgroup.procs").write_text("0")
        for directory, *_ in os.walk(own, topdown=False):
            Path(directory).rmdir()


def start() -> subprocess.Popen[bytes]:
    """Start systemd; ends with whoever calls."""
    argv = ["unshare", *NAMESPACES, sys.executable, "-m", "tests.machine.init"]
    return subprocess.Popen(argv, cwd=REPO, stdin=subprocess.DEVNULL, stdout=2)


def first_process(unshare: int) -> int:
    """The pid of systemd as seen from here, as soon as it is there."""
    children = Path(f"/proc/{unshare}/task/{unshare}/children")
    deadline = time.monotonic() + 10
    while not (found := children.read_text().split()):
        if time.monotonic() > deadline:
            raise SystemExit("systemd did not start")
        time.sleep(0.01)
    return int(found[0])


def rebooted(status: int) -> bool:
    """Whether systemd ended for a reboot: reboot(2), "Behavior inside PID namespaces"."""
    return status in (-signal.SIGHUP, 128 + signal.SIGHUP)


def wait(first: int, seconds: float) -> bool:
    """Wait until the machine is up, and return whether it is: `first` is systemd's pid as seen from here."""
    deadline = time.monotonic() + seconds
    while not Path(f"/proc/{first}/root/run/systemd/private").exists():  # until then nobody answers
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    words = ["nsenter", "-t", str(first), "-m", "-p", "systemctl", "is-system-running", "--wait"]
    said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds).stdout.strip()
    return said in ("running", "degraded")


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _devices() -> None:
    _mount("-t", "tmpfs", "-o", "mode=755", "dev", "/dev")
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        Path("/dev", name).chmod(0o666)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        Path("/dev", name).symlink_to(f"/proc/self/fd{target}")
    for name in ("shm", "pts"):
        Path("/dev", name).mkdir()
    _mount("-t", "tmpfs", "-o", "mode=1777", "shm", "/dev/shm")
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", "/dev/pts")
    Path("/dev/ptmx").symlink_to("pts/ptmx")


def mounts() -> None:
    """What every start has anew."""
    _mount("-t", "proc", "proc", "/proc")
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    _devices()
    _mount("-t", "tmpfs", "-o", "mode=755", "run", "/run")
    for directory in ("/run/machine", "/run/lock", "/run/apache2"):
        Path(directory).mkdir()
    Path("/run/lock").chmod(0o1777)
    _mount("--rbind", str(KEPT), "/run/machine")


def main() -> None:
    mounts()
    environment = {"container": "machine", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    os.execve(SYSTEMD, [str(SYSTEMD), "--log-target=journal", "--show-status=no"], environment)


if __name__ == "__main__":
    main()
