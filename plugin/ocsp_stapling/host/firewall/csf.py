"""Reads ConfigServer Firewall's own files: what it blocks follows from them, and there it has to be mended."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.host.firewall.ruleset import HTTP, Blocked, IPAddress, RuleAction

TOOL = "csf"
FOLDER = Path("/etc/csf")

_SIZE_LIMIT = 8 * 1024 * 1024
_SETTING = re.compile(r'^\s*([A-Z0-9_]+)\s*=\s*"([^"\n]*)"', re.MULTILINE)
_OUT_LISTS = {4: "TCP_OUT", 6: "TCP6_OUT"}


@dataclass(frozen=True)
class Csf:
    """CSF's configuration: its settings, and the addresses in csf.deny and csf.allow."""

    folder: Path
    settings: dict[str, str]
    denied: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    allowed: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    def blocks(self, destination: IPAddress) -> tuple[Blocked, ...]:
        """Return why CSF blocks a question to this address, if it does."""
        if destination.version == 6 and self.settings.get("IPV6", "0") != "1":
            return ()  # then CSF leaves IPv6 alone
        if any(destination in network for network in self.allowed):
            return ()
        if any(destination in network for network in self.denied):
            return (self._block("csf.deny", f"{destination} is listed in csf.deny"),)
        name = _OUT_LISTS[destination.version]
        if name in self.settings and not _lists(self.settings[name], HTTP):
            return (self._block("csf.conf", f"{name} lacks port 80"),)
        return ()

    def _block(self, file: str, text: str) -> Blocked:
        action = RuleAction.DROP if self.settings.get("DROP_OUT", "") == "DROP" else RuleAction.REJECT
        return Blocked(TOOL, str(self.folder / file), text, action, certain=True)


def read(folder: Path = FOLDER) -> Csf | None:
    """Return CSF's configuration, None if it is not installed, disabled or not readable."""
    if (folder / "csf.disable").exists():
        return None
    text = _text(folder / "csf.conf")
    if text is None:
        return None
    settings = dict(_SETTING.findall(text))
    return Csf(
        folder, settings, tuple(_networks(folder / "csf.deny")), tuple(_networks(folder / "csf.allow"))
    )


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_SIZE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return None


def _lists(ports: str, port: int) -> bool:
    """Whether a CSF port list ("20,21,30000:35000") contains a port."""
    for part in ports.split(","):
        low, colon, high = part.strip().partition(":")
        with contextlib.suppress(ValueError):
            if int(low) <= port <= int(high if colon else low):
                return True
    return False


def _networks(path: Path) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Plain addresses and networks, and advanced filters for our port ("tcp|out|d=80|d=192.0.2.1")."""
    for line in (_text(path) or "").split("\n"):
        entry = line.split("#", 1)[0].split()
        with contextlib.suppress(ValueError):
            if entry:
                yield ipaddress.ip_network(_advanced(entry[0]), strict=False)


def _advanced(entry: str) -> str:
    """The destination address of an entry, if it concerns TCP to port 80; ValueError if not."""
    if "|" not in entry:
        return entry
    parts = entry.split("|")
    if (
        parts[:2] != ["tcp", "out"]
        or len(parts) != 4
        or parts[2] != f"d={HTTP}"
        or not parts[3].startswith("d=")
    ):
        raise ValueError
    return parts[3].removeprefix("d=")
