"""What shapes httpd.conf before a rebuild: WHM's own stapling switch, and changed templates. Read, never written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path("/var/cpanel/templates/apache2_4")
_KEY = "sslusestapling"
_SIZE_LIMIT = 1 << 20


@dataclass(frozen=True)
class NativeSwitch:
    """WHM > Apache Configuration > Global Configuration > "SSL Use Stapling" (JSON key `sslusestapling`).

    `value` is the text in the file, None if it says nothing: then cPanel's default, On, holds.
    """

    file: Path
    value: str | None

    @property
    def on(self) -> bool:
        """Whether the next rebuild of httpd.conf writes On."""
        return (self.value or "on").lower() not in ("off", "0", "false", "no")


def read_native_switch(ea4_conf: Path) -> NativeSwitch:
    """Return WHM's switch from ea4.conf; a missing or unreadable file says nothing."""
    try:
        with ea4_conf.open("rb") as file:
            found = json.loads(file.read(_SIZE_LIMIT))
    except (OSError, ValueError, RecursionError):
        return NativeSwitch(ea4_conf, None)
    value = found.get(_KEY) if isinstance(found, dict) else None
    return NativeSwitch(ea4_conf, None if value is None else str(value)[:40])


def local_templates(directory: Path = TEMPLATES) -> tuple[Path, ...]:
    """Return the administrator's own templates of httpd.conf (`*.local`), which may change any line of it."""
    try:
        return tuple(sorted(path for path in directory.iterdir() if path.suffix == ".local"))
    except OSError:
        return ()
