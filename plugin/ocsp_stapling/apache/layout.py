"""Where this server's Apache keeps its files, as EasyApache 4 itself writes it down, and what shapes httpd.conf.

Before a rebuild those are WHM's own stapling switch and an administrator's templates: read, never written.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocsp_stapling.apache.tree import Place
from ocsp_stapling.problem import Problem

PATHS_CONF = Path("/etc/cpanel/ea4/paths.conf")
EA4_CONF = Path("/etc/cpanel/ea4/ea4.conf")

# EasyApache 4's own places, for a paths.conf that lacks a line.
_DEFAULTS = {
    "dir_base": "/etc/apache2",
    "dir_conf_includes": "/etc/apache2/conf.d/includes",
    "dir_conf_userdata": "/etc/apache2/conf.d/userdata",
    "dir_run": "/run/apache2",
    "file_conf": "/etc/apache2/conf/httpd.conf",
    "file_error_log": "/etc/apache2/logs/error_log",
    "bin_httpd": "/usr/sbin/httpd",
}
_SIZE_LIMIT = 1 << 16
_PATH_LIMIT = 1024


@dataclass(frozen=True)
class Layout:
    """Absolute paths of one EasyApache 4 server; nothing here says that they exist."""

    base: Path
    conf: Path
    """The generated httpd.conf."""
    includes: Path
    """The directory of the Include Editor's files (pre_virtualhost_global.conf and its like)."""
    userdata: Path
    run_dir: Path
    error_log: Path
    httpd: Path
    ea4_conf: Path = EA4_CONF
    """cPanel's JSON with the answers of "Global Configuration"; `sslusestapling` is WHM's own switch."""

    @property
    def pre_virtualhost_files(self) -> tuple[Path, Path]:
        """The two includes that httpd.conf reads after everything global and before the virtual hosts."""
        return self.includes / "pre_virtualhost_global.conf", self.includes / "pre_virtualhost_2.conf"

    @property
    def post_virtualhost_files(self) -> tuple[Path, Path]:
        """The two includes that httpd.conf reads after the accounts' virtual hosts."""
        return self.includes / "post_virtualhost_global.conf", self.includes / "post_virtualhost_2.conf"


def read_layout(paths_conf: Path = PATHS_CONF) -> Layout:
    """Return the server's layout from EasyApache 4's `paths.conf`; a missing key has EA4's default.

    Raises Problem `no-cpanel` if there is no such file, `bad-paths-conf` if it is unreadable or names a path
    that is not a plain absolute one.
    """
    values = _DEFAULTS | _known_lines(_read(paths_conf))
    paths = {key: _vetted(key, value, paths_conf) for key, value in values.items()}
    return Layout(
        base=paths["dir_base"],
        conf=paths["file_conf"],
        includes=paths["dir_conf_includes"],
        userdata=paths["dir_conf_userdata"],
        run_dir=paths["dir_run"],
        error_log=paths["file_error_log"],
        httpd=paths["bin_httpd"],
        ea4_conf=paths_conf.parent / EA4_CONF.name,
    )


def _read(paths_conf: Path) -> str:
    try:
        with paths_conf.open("rb") as file:
            content = file.read(_SIZE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Problem(
            "no-cpanel",
            f"This is not a cPanel server with EasyApache 4: {paths_conf} does not exist. "
            "Run ocsp-stapling on the server whose websites hang.",
        ) from error
    except OSError as error:
        raise Problem("bad-paths-conf", f"{paths_conf} cannot be read: {error.strerror}.") from error
    if len(content) > _SIZE_LIMIT:
        raise Problem("bad-paths-conf", f"{paths_conf} is far larger than EasyApache 4 writes it.")
    return content.decode("utf-8", "surrogateescape")


def _known_lines(text: str) -> dict[str, str]:
    """The KEY=VALUE lines of keys we use; a key without a value counts as missing."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = {key.strip(): value.strip() for key, _, value in pairs}
    return {key: value for key, value in found.items() if key in _DEFAULTS and value}


def _vetted(key: str, value: str, paths_conf: Path) -> Path:
    """Only a plain absolute path may steer what root reads, writes and runs."""
    plain = value.startswith("/") and value.isprintable() and len(value) <= _PATH_LIMIT
    if not plain or ".." in value.split("/"):
        raise Problem("bad-paths-conf", f"{paths_conf} gives {key} a value that is no plain absolute path.")
    return Path(value)


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
