"""The relay as a service of systemd: started and asked before any block is written, stopped after it is gone."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ocsp_stapling.host.listeners import owner_of
from ocsp_stapling.problem import Problem
from ocsp_stapling.run import run
from ocsp_stapling.shield.standing import PORT, answers

UNIT = "ocsp-stapling-shield.service"
UNIT_FILE = Path("/etc/systemd/system") / UNIT
DROP_IN = UNIT_FILE.with_name(f"{UNIT}.d") / "port.conf"
UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_START_SECONDS = 10.0
_COMMAND_SECONDS = 20.0


def start(port: int) -> None:
    """Start the relay, now and at every boot, and see that it answers.

    Raises Problem `shield-port` (taken, or anybody may listen there), `shield-down` (it does not answer).
    """
    require_port(port)
    _write_port(port)
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT)
    done = _systemctl("restart" if not answers(port) else "start", UNIT)
    if not _answers_within(port, _START_SECONDS):
        stop()
        raise Problem(
            "shield-down",
            f"The relay does not answer on 127.0.0.1:{port}, so Apache was not told to ask it. Look at: "
            f"journalctl -u {UNIT}",
            done,
        )


def restart(port: int) -> bool:
    """Start the relay anew; return whether it answers then."""
    with contextlib.suppress(OSError):  # where /etc cannot be written, the port is the last one asked for
        _write_port(port)
        _systemctl("daemon-reload")
    _systemctl("restart", UNIT)
    return _answers_within(port, _START_SECONDS / 2)


def _answers_within(port: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not answers(port):
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def stop() -> None:
    """Stop the relay for good."""
    _systemctl("disable", "--now", UNIT)
    with contextlib.suppress(OSError):
        DROP_IN.unlink(missing_ok=True)


def require_port(port: int) -> None:
    """Raise Problem `shield-port` where another program has the port, or anybody may have it. Changes nothing."""
    _refuse_open_port(port)
    if not answers(port):
        owner = owner_of(port)
        if owner.listeners:
            raise Problem(
                "shield-port",
                f"Port {port} of this machine is taken: {owner.sentence}. Nothing was touched; choose another port "
                "with --port.",
            )


def _refuse_open_port(port: int) -> None:
    """Whoever can listen on that port can have anything stapled, or stall the server: it must be root's alone."""
    first = first_open_port()
    if port >= first:
        raise Problem(
            "shield-port",
            f"Any account of this server could listen on port {port} (ip_unprivileged_port_start is {first}) and "
            "hand Apache answers of its own. Nothing was touched; choose a smaller port, or raise that setting.",
        )


def first_open_port() -> int:
    """Return the first port that any account may listen on."""
    try:
        return int(UNPRIVILEGED.read_text())
    except (OSError, ValueError):
        return 1024


def _write_port(port: int) -> None:
    if port == PORT:
        DROP_IN.unlink(missing_ok=True)
        return
    DROP_IN.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    DROP_IN.write_text(f"[Service]\nEnvironment=OCSP_STAPLING_SHIELD_PORT={port}\n")


def _systemctl(*words: str) -> str:
    done = run(["systemctl", *words], timeout=_COMMAND_SECONDS)
    return (done.out + done.err).strip()[-500:]
