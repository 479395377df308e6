"""Stand-in for systemctl(1), for systemd cannot run in a namespace of the machine: it reads and runs the real units.

Carried out: start stop restart try-restart enable disable [--now] is-active is-enabled is-failed status show
daemon-reload reset-failed list-timers. See units.py for the directives, keeper.py for what is active.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.machine.standins import manager, units
from tests.machine.standins.units import Unit, UnitError


def start(unit: Unit) -> int:
    for name in [*unit.words("Unit", "Requires"), *unit.words("Unit", "Wants")]:
        if units.active_state(name) != "active":
            start(units.load(name))
    if units.active_state(unit.name) == "active":
        return 0
    service = unit.sibling("service")
    if unit.kind == "socket" and units.active_state(service) == "active":
        raise UnitError(f"{unit.name}: Socket service {service} already active, refusing.")
    units.forget(unit.name, "pid", "stopping", "result")
    with manager.ask(unit.name) as keeper:
        if unit.kind != "service":
            if keeper.recv(64) != b"ready\n":
                raise UnitError(f"Job for {unit.name} failed.")
        elif unit.get("Service", "Type", "simple") == "oneshot":
            keeper.recv(64)  # closes with its end
        else:
            wait(lambda: "pid" in units.recall(unit.name), 10)
    return int(units.active_state(unit.name) == "failed")


def stop(unit: Unit) -> int:
    pid = units.pid_of(unit.name) if unit.kind == "service" else units.pid_of(unit.name, "keeper")
    if not pid:
        return 0
    units.remember(unit.name, stopping=pid)
    limit = units.seconds(unit.get("Service", "TimeoutStopSec", "90"))
    _signal(pid, signal.SIGTERM)
    if not wait(lambda: not Path(f"/proc/{pid}").exists() or not _alive(unit, pid), limit):
        _signal(pid, signal.SIGKILL)
        wait(lambda: not _alive(unit, pid), 5)
    return 0


def _alive(unit: Unit, pid: int) -> bool:
    which = "pid" if unit.kind == "service" else "keeper"
    return units.pid_of(unit.name, which) == pid


def _signal(pid: int, number: int) -> None:
    """To the whole group: every unit's process leads a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def restart(unit: Unit) -> int:
    return stop(unit) or start(unit)


def try_restart(unit: Unit) -> int:
    return restart(unit) if units.active_state(unit.name) == "active" else 0


def enable(unit: Unit) -> int:
    for target in unit.words("Install", "WantedBy"):
        link = units.ENABLED / f"{target}.wants" / unit.name
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(unit.path)
            tell(f"Created symlink {link} → {unit.path}.")
    return 0


def disable_name(name: str) -> int:
    """Also for a unit whose file is gone."""
    for link in units.ENABLED.glob(f"*.wants/{name}"):
        link.unlink()
        tell(f'Removed "{link}".')
        with contextlib.suppress(OSError):
            link.parent.rmdir()
    return 0


def enabled_state(name: str) -> str:
    if any(units.ENABLED.glob(f"*.wants/{name}")):
        return "enabled"
    return "disabled" if units.load(name).sections.get("Install") else "static"


def is_active(name: str) -> int:
    state = units.active_state(name)
    print(state)
    return 0 if state == "active" else 3


def is_failed(name: str) -> int:
    state = units.active_state(name)
    print(state)
    return int(state != "failed")


def is_enabled(name: str) -> int:
    state = enabled_state(name)
    print(state)
    return int(state == "disabled")


def status(name: str) -> int:
    unit, state = units.load(name), units.active_state(name)
    print(f"{'●' if state == 'active' else '○'} {name} - {unit.get('Unit', 'Description')}")
    print(f"     Loaded: loaded ({unit.path}; {enabled_state(name)})\n     Active: {state}")
    return 0 if state == "active" else 3


def show(name: str, wanted: list[str], value_only: bool) -> int:
    known = units.recall(name)
    exists = any((directory / name).is_file() for directory in units.SEARCHED)
    found = {
        "Id": name,
        "LoadState": "loaded" if exists else "not-found",
        "ActiveState": units.active_state(name),
        "MainPID": units.pid_of(name),
        "Result": known.get("result", "success"),
        "ExecMainStatus": known.get("status", 0),
        "UnitFileState": enabled_state(name) if exists else "",
    }
    for key in wanted or found:
        print(found.get(key, "") if value_only else f"{key}={found.get(key, '')}")
    return 0


def tell(text: str) -> None:
    if "--quiet" not in sys.argv and "-q" not in sys.argv:
        print(text, file=sys.stderr)


def wait(done: Callable[[], bool], limit: float) -> bool:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.01)
    return done()


CHANGES = {"start": start, "stop": stop, "restart": restart, "try-restart": try_restart, "enable": enable}
LOOKS = {"is-active": is_active, "is-failed": is_failed, "is-enabled": is_enabled, "status": status}
OPTIONS = {"--quiet", "-q", "--now", "--no-pager", "--full", "-l", "--system", "--value", "--no-block"}


def main() -> int:
    options = [w for w in sys.argv[1:] if w.startswith("-")]
    command, *names = [w for w in sys.argv[1:] if not w.startswith("-")] or [""]
    properties = [w.split("=", 1)[1] for w in options if w.startswith(("--property=", "-p="))]
    unknown = [w for w in options if w not in OPTIONS and not w.startswith(("--property=", "-p="))]
    if unknown:
        raise UnitError(f"systemctl: unrecognized option '{unknown[0]}'")
    names = [name if "." in name else name + ".service" for name in names]
    if command == "daemon-reload":
        return 0
    if command == "reset-failed":
        for name in names:
            units.remember(name, result="success")
        return 0
    if command == "show":
        return show(names[0], [p for each in properties for p in each.split(",")], "--value" in options)
    if command in LOOKS:
        return max(LOOKS[command](name) for name in names)
    if command in CHANGES or command == "disable":
        return max(change(command, name, "--now" in options) for name in names)
    raise UnitError(f"Unknown command verb '{command}'.")


def change(command: str, name: str, now: bool) -> int:
    if command == "disable":
        code = disable_name(name)
        return code or (stop(units.load(name)) if now else 0)
    unit = units.load(name)
    code = CHANGES[command](unit)
    return code or (start(unit) if now and command == "enable" else 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UnitError as problem:
        print(problem, file=sys.stderr)
        sys.exit(5 if "not found" in str(problem) else 1)
