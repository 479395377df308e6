"""What systemd itself does while a unit is active: holds a socket, waits for a timer, waits for a service's end.

Usage: keeper.py UNIT   (started by the stand-ins for systemctl and systemd-run, in a session of its own)
Follows systemd.service(5), systemd.socket(5), systemd.timer(5), systemd.exec(5), sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.machine.standins import units
from tests.machine.standins.units import Unit

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
CLONE_NEWNS = 0x00020000
PR_SET_CHILD_SUBREAPER = 36
DYNAMIC_USER = 61184  # the first of those that systemd gives out
REPO = Path(__file__).resolve().parents[3]
READ_ONLY = {
    "full": ("/usr", "/boot", "/etc"),
    "yes": ("/usr", "/boot"),
    "true": ("/usr", "/boot"),
    "strict": ("/",),
}


def keep_socket(unit: Unit) -> None:
    """Listen, and start the service whenever somebody connects and it does not run."""
    listener, path = _listen(unit)

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        if unit.yes("Socket", "RemoveOnStop"):
            path.unlink(missing_ok=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    _ready(unit)
    while True:
        select.select([listener], [], [])
        service = units.load(unit.sibling("service"))
        run_service(service, listener)
        failed = units.recall(service.name).get("result") != "success"
        again = service.get("Service", "Restart") == "on-failure" and failed
        time.sleep(units.seconds(service.get("Service", "RestartSec", "100ms")) if again else 0.02)


def _listen(unit: Unit) -> tuple[socket.socket, Path]:
    path = Path(unit.get("Socket", "ListenStream"))
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(int(unit.get("Socket", "DirectoryMode", "0755"), 8))
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.umask(0o777 ^ int(unit.get("Socket", "SocketMode", "0666"), 8))
    listener.bind(str(path))
    owner = pwd.getpwnam(unit.get("Socket", "SocketUser", "root"))
    os.chown(path, owner.pw_uid, owner.pw_gid)
    listener.listen(128)
    return listener, path


def keep_timer(unit: Unit) -> None:
    """Start the unit after the first delay, then again and again."""
    first = [
        units.seconds(v) for d in ("OnActiveSec", "OnBootSec", "OnStartupSec") for v in unit.all("Timer", d)
    ]
    again = [units.seconds(v) for d in ("OnUnitActiveSec", "OnUnitInactiveSec") for v in unit.all("Timer", d)]
    _ready(unit)
    time.sleep(min(first, default=min(again, default=1e9)))
    while True:
        run_service(units.load(unit.get("Timer", "Unit", unit.sibling("service"))), None)
        time.sleep(min(again, default=1e9))


def keep_service(unit: Unit) -> None:
    run_service(unit, None)


def run_service(unit: Unit, listener: socket.socket | None) -> int:
    """Start the service's process, wait for its end, note how it ended; return its exit status."""
    for command in unit.all("Service", "ExecStartPre"):
        subprocess.run(shlex.split(command.lstrip("-+")), check=not command.startswith("-"))
    pid = os.fork()
    if not pid:
        try:
            _become(unit, listener)
        finally:
            os._exit(203)  # EXIT_EXEC of systemd.exec(5)
    units.remember(unit.name, pid=pid, result="success", status=0)
    _, status = os.waitpid(pid, 0)
    if unit.get("Service", "KillMode", "control-group") == "control-group":
        _end_what_is_left()
    code = os.waitstatus_to_exitcode(status)
    asked = units.recall(unit.name).get("stopping") == pid
    good = code in (0, -signal.SIGTERM) or asked or str(code) in unit.words("Service", "SuccessExitStatus")
    units.remember(unit.name, pid=0, result="success" if good else "exit-code", status=code)
    return code


def _end_what_is_left() -> None:
    """What the service's process started ends with it, in whatever session it is: systemd.kill(5)."""
    while left := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for pid in map(int, left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _become(unit: Unit, listener: socket.socket | None) -> NoReturn:
    """Turn this process into the service as systemd would hand it over."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _directories(unit)
    _confine(unit)
    os.umask(int(unit.get("Service", "UMask", "0022"), 8))
    environment = {"PATH": PATH, "LANG": "C.UTF-8"}
    environment |= dict(word.split("=", 1) for word in unit.words("Service", "Environment"))
    log = os.open(units.STATE / f"{unit.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if listener is not None:
        handed = os.dup(
            listener.fileno()
        )  # so that it cannot be 3 already, which dup2 would leave uninheritable
        os.dup2(handed, 3, inheritable=True)
        environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    os.closerange(4 if listener is not None else 3, 256)
    os.chdir(unit.get("Service", "WorkingDirectory", "/"))
    argv = [*_privileges(unit), *_command(unit, environment)]
    os.execve(shutil.which(argv[0], path=PATH + ":/sbin:/bin") or argv[0], argv, environment)


def _command(unit: Unit, environment: dict[str, str]) -> list[str]:
    words = unit.words("Service", "ExecStart")
    arguments = [part for word in words[1:] for part in _expanded(word, environment)]
    return [words[0].lstrip("-+!:@"), *arguments]


def _expanded(word: str, environment: dict[str, str]) -> list[str]:
    """systemd.service(5), "Command lines": $NAME as a word of its own, ${NAME} anywhere, $$ for a dollar sign."""
    alone = re.fullmatch(r"\$([A-Za-z_][A-Za-z0-9_]*)", word)
    if alone:
        return environment.get(alone[1], "").split()

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else environment.get(found[1], "")

    return [re.sub(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, word)]


def _privileges(unit: Unit) -> list[str]:
    """The program that gives up what the unit gives up: setpriv(1)."""
    argv = []
    if unit.yes("Service", "NoNewPrivileges"):
        argv += ["--no-new-privs"]
    if "CapabilityBoundingSet" in unit.sections.get("Service", {}):
        kept = [word.lower().removeprefix("cap_") for word in unit.words("Service", "CapabilityBoundingSet")]
        argv += ["--bounding-set", ",".join(["-all", *(f"+{name}" for name in kept)])]
    if unit.yes("Service", "DynamicUser"):
        argv += [f"--reuid={DYNAMIC_USER}", f"--regid={DYNAMIC_USER}", "--clear-groups"]
    if ambient := [w.lower().removeprefix("cap_") for w in unit.words("Service", "AmbientCapabilities")]:
        more = ",".join(f"+{name}" for name in ambient)
        argv += ["--inh-caps", more, "--ambient-caps", more]
    return ["setpriv", *argv, "--"] if argv else []


def _directories(unit: Unit) -> None:
    for name in unit.words("Service", "StateDirectory"):
        path = Path("/var/lib", name)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(int(unit.get("Service", "StateDirectoryMode", "0755"), 8))


def _confine(unit: Unit) -> None:
    """Make what the unit may only read a read-only mount, in a mount namespace of the service's own."""
    closed = list(READ_ONLY.get(unit.get("Service", "ProtectSystem"), ()))
    if unit.get("Service", "ProtectHome") == "read-only":
        closed += ["/home", "/root"]
    private_tmp = unit.yes("Service", "PrivateTmp")
    if not closed and not private_tmp:
        return
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for path in closed:
        _mount(path, "ro")
    for word in unit.words("Service", "ReadWritePaths"):
        if Path(word.lstrip("-")).exists():
            _mount(word.lstrip("-"), "rw")
    for path in ("/tmp", "/var/tmp") if private_tmp else ():
        if not REPO.is_relative_to(path):  # this checkout must stay in sight
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "private", path], check=True)


def _mount(path: str, mode: str) -> None:
    if Path(path).is_dir():
        subprocess.run(["mount", "--rbind", path, path], check=True)
        subprocess.run(["mount", "-o", f"remount,bind,{mode}", path], check=True)


def _ready(unit: Unit) -> None:
    units.remember(unit.name, keeper=os.getpid())
    print("ready", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    unit = units.load(sys.argv[1])
    if unit.kind == "service":
        units.remember(unit.name, keeper=os.getpid())
        keep_service(unit)
    else:
        {"socket": keep_socket, "timer": keep_timer}[unit.kind](unit)


if __name__ == "__main__":
    main()
