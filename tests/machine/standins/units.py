"""systemd's unit files as the stand-ins for systemctl and systemd-run read them: systemd.syntax(7). Standard library.

Every directive is either carried out, or known and not imitated, or refused: a misspelt one cannot hide.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ENABLED = Path("/etc/systemd/system")
SEARCHED = (ENABLED, Path("/run/systemd/system"), Path("/usr/lib/systemd/system"))
STATE = Path("/run/machine/systemd")

CARRIED_OUT = {
    "Unit": {"Description", "Requires", "Wants", "Documentation"},
    "Service": {
        *("Type", "ExecStart", "ExecStartPre", "Environment", "UMask", "TimeoutStopSec", "WorkingDirectory"),
        *("NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem", "ReadWritePaths", "ProtectHome"),
        *("PrivateTmp", "SuccessExitStatus", "StateDirectory", "StateDirectoryMode", "Restart", "RestartSec"),
        *("KillMode", "DynamicUser", "AmbientCapabilities"),
    },
    "Socket": {"ListenStream", "DirectoryMode", "SocketMode", "SocketUser", "SocketGroup", "RemoveOnStop"},
    "Timer": {"OnBootSec", "OnActiveSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec", "Unit"},
    "Install": {"WantedBy"},
}
NOT_IMITATED = {
    "Unit": {"After", "Before", "ConditionPathExists", "StartLimitIntervalSec", "StartLimitBurst"},
    "Service": {
        *("MemoryHigh", "MemoryMax", "TasksMax", "CPUQuota", "CPUWeight", "IOWeight", "Nice"),
        "ExecStartPost",
        *("IOSchedulingClass", "IOSchedulingPriority", "CPUSchedulingPolicy", "TimeoutStartSec"),
        *("ProtectKernelModules", "ProtectKernelTunables", "ProtectKernelLogs", "ProtectControlGroups"),
        *("ProtectClock", "ProtectHostname", "ProtectProc", "PrivateDevices", "RestrictAddressFamilies"),
        *("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality"),
        *("SystemCallArchitectures", "SystemCallFilter", "MemoryDenyWriteExecute", "LimitNOFILE"),
        *("SystemCallErrorNumber", "KeyringMode"),
        *("WatchdogSec", "WatchdogSignal", "IPAddressDeny", "IPAddressAllow"),
        *("RuntimeMaxSec", "SyslogIdentifier", "OOMScoreAdjust", "StandardOutput", "StandardError"),
    },
    "Socket": {"Backlog", "FileDescriptorName", "Accept"},
    "Timer": {"AccuracySec", "RandomizedDelaySec", "FixedRandomDelay", "Persistent", "OnCalendar"},
    "Install": {"Also"},
}
SPANS = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "ms": 0.001}


class UnitError(Exception):
    """A unit that systemd would not load or start; the text says why."""


@dataclass(frozen=True)
class Unit:
    """A unit file: section -> directive -> its values in order (an empty assignment clears the list)."""

    name: str
    path: Path
    sections: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def all(self, section: str, directive: str) -> list[str]:
        return self.sections.get(section, {}).get(directive, [])

    def words(self, section: str, directive: str) -> list[str]:
        return [word for value in self.all(section, directive) for word in shlex.split(value)]

    def get(self, section: str, directive: str, default: str = "") -> str:
        found = self.all(section, directive)
        return found[-1] if found else default

    def yes(self, section: str, directive: str) -> bool:
        return self.get(section, directive).lower() in ("yes", "true", "1", "on")

    @property
    def kind(self) -> str:
        return self.name.rpartition(".")[2]

    def sibling(self, kind: str) -> str:
        return self.name.rpartition(".")[0] + "." + kind


def load(name: str) -> Unit:
    """Return the unit of that name (`.service` is added if there is no ending). Raises UnitError."""
    name = name if "." in name else name + ".service"
    for directory in SEARCHED:
        path = directory / name
        if path.is_file():
            return parse(name, path)
    raise UnitError(f"Unit {name} not found.")


def parse(name: str, path: Path) -> Unit:
    """Return the unit with what drop-ins say more of it: systemd.unit(5)."""
    sections: dict[str, dict[str, list[str]]] = {}
    for file in (path, *sorted((ENABLED / f"{name}.d").glob("*.conf"))):
        _read(file, sections)
    return Unit(name, path, sections)


def _read(path: Path, sections: dict[str, dict[str, list[str]]]) -> None:
    section = ""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        if text.startswith("["):
            section = text.strip("[]")
            continue
        directive, separator, value = (part.strip() for part in text.partition("="))
        if not separator or directive not in CARRIED_OUT.get(section, set()) | NOT_IMITATED.get(
            section, set()
        ):
            raise UnitError(f"{path}: unknown directive in section [{section}]: {text}")
        values = sections.setdefault(section, {}).setdefault(directive, [])
        values.append(value) if value else values.clear()


def seconds(text: str) -> float:
    """Return a time span in seconds: systemd.time(7), as far as units use it."""
    total = 0.0
    for word in text.split():
        digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
        total += float(digits) * SPANS[word[len(digits) :]]
    return total


# -- what runs -----------------------------------------------------------------------------------------------


def remember(name: str, **fields: object) -> None:
    """Note facts about a unit: pid of its process, pid of its keeper, how it ended."""
    _write(name, recall(name) | fields)


def forget(name: str, *fields: str) -> None:
    """Note that nothing is known of these any more."""
    _write(name, {key: value for key, value in recall(name).items() if key not in fields})


def _write(name: str, known: dict[str, object]) -> None:
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = STATE / f"{name}.json"
    fresh = path.with_name(f".{name}.{os.getpid()}")
    fresh.write_text(json.dumps(known))
    fresh.replace(path)


def recall(name: str) -> dict[str, object]:
    try:
        found: dict[str, object] = json.loads((STATE / f"{name}.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def pid_of(name: str, which: str = "pid") -> int:
    """The living process of a unit (`pid`) or the keeper that waits for it (`keeper`); 0 if there is none."""
    pid = int(str(recall(name).get(which) or 0))
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if pid else "X"
    except OSError:
        return 0
    return 0 if state in "XZ" else pid


def active_state(name: str) -> str:
    if pid_of(name, "pid" if name.endswith(".service") else "keeper"):
        return "active"
    return "failed" if recall(name).get("result", "success") != "success" else "inactive"
