"""Where this server's Apache keeps its files, as EasyApache 4 itself writes it down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
