"""What shapes httpd.conf before a rebuild: WHM's own stapling switch, and changed templates. Read, never written."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocsp_stapling.apache.tree import Place

TEMPLATES = Path("/var/cpanel/templates/apache2_4")
USERDATA = Path("/var/cpanel/userdata")
_KEY = "sslusestapling"
_VHOST_TEMPLATE = re.compile(rb"""^custom_vhost_template_ap2:[ \t]*['"]?([^\s'"]+)""", re.MULTILINE)
_CONTENT_LIMIT = 1 << 20


@dataclass(frozen=True)
class NativeSwitch:
    """WHM > Apache Configuration > Global Configuration > "SSL Use Stapling" (JSON key `sslusestapling`).

    `value` is the text in the file, None if it says nothing: then cPanel's default, On, holds.
    """

    file: Path
    value: str | None
    own_lines: Mapping[str, Place] = field(default_factory=dict, repr=False)
    """Where the administrator's own templates have which line that cPanel's have not."""

    def own_line(self, text: str) -> Place | None:
        """Return where a line of httpd.conf comes from, if that is an administrator's own template."""
        return self.own_lines.get(_plain(text))

    @property
    def on(self) -> bool:
        """Whether the next rebuild of httpd.conf writes On."""
        return (self.value or "on").lower() not in ("off", "0", "false", "no")


def read_native_switch(ea4_conf: Path, templates: Path = TEMPLATES) -> NativeSwitch:
    """Return WHM's switch from ea4.conf, and the lines of own templates; what cannot be read says nothing."""
    try:
        found = json.loads(_content(ea4_conf))
    except (OSError, ValueError, RecursionError):
        found = None
    value = found.get(_KEY) if isinstance(found, dict) else None
    lines: dict[str, Place] = {}
    for path in local_templates(templates):
        lines |= _own_lines(path)
    return NativeSwitch(ea4_conf, None if value is None else str(value)[:40], lines)


def vhost_template_line(text: str, account: str | None, site: str, userdata: Path = USERDATA) -> Place | None:
    """Return where a line of a virtual host comes from, if it has a template of its own.

    cPanel's userdata of a site names one as `custom_vhost_template_ap2`.
    """
    if not account or "/" in f"{account}{site}":
        return None
    for name in (f"{site}_SSL", site):
        try:
            named = _VHOST_TEMPLATE.search(_content(userdata / account / name))
        except OSError:
            continue
        template = Path(named[1].decode("utf-8", "replace")) if named else None
        numbered = enumerate(_lines(template), 1) if template else ()
        if template and (number := next((n for n, line in numbered if line == _plain(text)), 0)):
            return Place(template, number, ())
    return None


def _own_lines(template: Path) -> dict[str, Place]:
    """The directives that a template has more often than cPanel's own beside it (`NAME.default`)."""
    theirs = Counter(_lines(template.with_suffix(".default")))
    found: dict[str, Place] = {}
    for number, line in enumerate(_lines(template), 1):
        theirs[line] -= 1
        if line and line[0] not in "#[<" and theirs[line] < 0:
            found[line] = Place(template, number, ())
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [_plain(line) for line in _content(path).decode("utf-8", "replace").splitlines()]
    except OSError:
        return []


def _plain(line: str) -> str:
    """A directive as httpd reads it: without regard to spaces, and to the case of its name."""
    name, *rest = line.split() or [""]
    return " ".join([name.lower(), *rest])


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_CONTENT_LIMIT)


def local_templates(directory: Path = TEMPLATES) -> tuple[Path, ...]:
    """Return the administrator's own templates of httpd.conf (`*.local`), which may change any line of it."""
    try:
        return tuple(sorted(path for path in directory.iterdir() if path.suffix == ".local"))
    except OSError:
        return ()
