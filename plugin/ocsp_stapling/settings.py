"""The configuration file: config.toml in, frozen Settings out; anything it does not know is an error."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ocsp_stapling import files, rules
from ocsp_stapling.problem import Problem, reason_of
from ocsp_stapling.rules import IPNetwork, Rule

DEFAULT_PATH = Path("/etc/ocsp-stapling/config.toml")
DEFAULT_STATE_DIRECTORY = Path("/var/lib/ocsp-stapling")
PATH_VARIABLE = "OCSP_STAPLING_CONFIG"
SIZE_LIMIT = 1024 * 1024

STATUS_PAGE_KINDS = ("statusio", "statuspage", "link")


def _setting(default: Any, rule: Rule) -> Any:
    """A field of a section: its default, and the rule for what may stand in the file."""
    return field(default=default, metadata={"rule": rule})


@dataclass(frozen=True)
class ProbeSettings:
    """How OCSP responders are asked. Times in seconds."""

    timeout_seconds: float = _setting(3.0, rules.number(0.1, 30, "seconds"))
    deadline_seconds: float = _setting(8.0, rules.number(0.5, 120, "seconds"))
    allow_networks: tuple[IPNetwork, ...] = _setting((), rules.networks)
    public_resolvers: tuple[str, ...] = _setting(("1.1.1.1", "8.8.8.8"), rules.addresses)


@dataclass(frozen=True)
class StatusPageSettings:
    """How the authorities' status pages are read. Times in seconds."""

    enabled: bool = _setting(True, rules.boolean)
    timeout_seconds: float = _setting(3.0, rules.number(0.1, 30, "seconds"))
    cache_seconds: float = _setting(120.0, rules.number(0, 86400, "seconds"))
    proxy: str = _setting("", rules.proxy_url)
    ca_bundle: str = _setting("", rules.optional_path)


@dataclass(frozen=True)
class SwitchSettings:
    """How a change is made and verified. Times in seconds."""

    quick_handshake_seconds: float = _setting(1.0, rules.number(0.1, 2.5, "seconds"))
    first_aid: str = _setting("shield", rules.one_of(("shield", "off")))
    whm_restart_seconds: float = _setting(240.0, rules.number(1, 900, "seconds"))


@dataclass(frozen=True)
class WatchSettings:
    """What the watch may do by itself, and where it writes metrics."""

    return_by_itself: str = _setting("ask", rules.one_of(("ask", "always", "never")))
    turn_off_when_stalling: bool = _setting(False, rules.boolean)
    turn_offs_per_day: int = _setting(3, rules.whole_number(1, 24))
    metrics_file: str = _setting("", rules.optional_path)


@dataclass(frozen=True)
class NotifySettings:
    """How people are told."""

    mail: bool = _setting(True, rules.boolean)
    command: str = _setting("", rules.optional_path)


@dataclass(frozen=True)
class ElsewhereSettings:
    """Other machines on which a question to a responder can be repeated."""

    ssh_hosts: tuple[str, ...] = _setting((), rules.ssh_hosts)


@dataclass(frozen=True)
class PageSettings:
    """The page in WHM."""

    idle_seconds: float = _setting(600.0, rules.number(10, 86400, "seconds"))


@dataclass(frozen=True)
class Authority:
    """A certificate authority: how it is recognised and where it reports its state.

    `responders` are host names that stand for themselves and everything below them; `issuers` are patterns
    (`*` for any text, case ignored) for the organisation in a certificate's issuer. `ocsp_ended` is the ISO
    date since which it runs no responders, empty while it does. `operator` is who runs its responders, empty if it
    does itself: brands of one operator fail together.
    """

    name: str = _setting("", rules.name)
    responders: tuple[str, ...] = _setting((), rules.host_names)
    issuers: tuple[str, ...] = _setting((), rules.patterns)
    operator: str = _setting("", rules.note)
    status_page: str = _setting("", rules.https_url)
    kind: str = _setting("link", rules.one_of(STATUS_PAGE_KINDS))
    status_id: str = _setting("", rules.status_id)
    ocsp_ended: str = _setting("", rules.iso_date)
    note: str = _setting("", rules.note)


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured; every default is what the shipped config.toml says."""

    state_directory: Path = _setting(DEFAULT_STATE_DIRECTORY, rules.absolute_path)  # noqa: RUF009 - immutable
    probe: ProbeSettings = ProbeSettings()
    status_pages: StatusPageSettings = StatusPageSettings()
    switch: SwitchSettings = SwitchSettings()
    watch: WatchSettings = WatchSettings()
    notify: NotifySettings = NotifySettings()
    elsewhere: ElsewhereSettings = ElsewhereSettings()
    page: PageSettings = PageSettings()
    authorities: tuple[Authority, ...] = ()


def load(path: Path | None = None) -> Settings:
    """Return the settings in `path`, else in $OCSP_STAPLING_CONFIG, else in /etc/ocsp-stapling/config.toml.

    A missing default file means defaults; a file that was asked for must exist. Raises Problem
    `config-invalid` (names the file, the key and what is allowed; also a file that someone other than root
    could have written, while we are root) or `config-unreadable`.
    """
    asked = path or _path_from_environment()
    text = _read(asked or DEFAULT_PATH, must_exist=asked is not None)
    return Settings() if text is None else parse(text, str(asked or DEFAULT_PATH))


def parse(text: str, file: str) -> Settings:
    """Return the settings in TOML `text`; `file` names it in errors. Raises Problem `config-invalid`."""
    table = _toml(text, file)
    faults: list[str] = []
    authorities = _authorities(table.pop("authority", []), faults)
    settings = _section(Settings, table, "", faults)
    if not faults and settings.probe.deadline_seconds < settings.probe.timeout_seconds:
        faults.append("probe.deadline_seconds must not be smaller than probe.timeout_seconds")
    _raise_if(faults, file)
    return dataclasses.replace(settings, authorities=authorities)


def parse_authorities(text: str, file: str) -> tuple[Authority, ...]:
    """Return the `[[authority]]` entries of TOML `text`. Raises Problem `config-invalid`."""
    faults: list[str] = []
    authorities = _authorities(_toml(text, file).get("authority", []), faults)
    _raise_if(faults, file)
    return authorities


def _path_from_environment() -> Path | None:
    """The path in the environment, which only counts if whoever set it is who we run as."""
    named = os.environ.get(PATH_VARIABLE, "")
    if not named or os.getuid() != os.geteuid():
        return None
    if not named.startswith("/"):
        raise Problem(
            "config-invalid", f"{PATH_VARIABLE} must be an absolute path, not {rules.shown(named)}."
        )
    return Path(named)


def _read(path: Path, must_exist: bool) -> str | None:
    try:
        descriptor = files.open_regular(path)
    except FileNotFoundError:
        if not must_exist:
            return None
        raise Problem("config-unreadable", f"The configuration file {path} does not exist.") from None
    except files.NotRegularError:
        raise Problem("config-unreadable", f"The configuration file {path} is not a regular file.") from None
    except (OSError, ValueError) as error:
        raise Problem(
            "config-unreadable", f"The configuration file {path} cannot be read.", reason_of(error)
        ) from error
    try:
        _refuse_unsafe(path, os.fstat(descriptor))
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    finally:
        os.close(descriptor)
    if len(content) > SIZE_LIMIT:
        raise Problem("config-invalid", f"The configuration file {path} is larger than 1 MiB.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Problem(
            "config-invalid", f"The configuration file {path} is not UTF-8 text.", str(error)
        ) from error


def _refuse_unsafe(path: Path, found: os.stat_result) -> None:
    if os.geteuid() != 0 or (found.st_uid == 0 and not found.st_mode & 0o022):
        return
    raise Problem(
        "config-invalid",
        f"The configuration file {path} is not used because someone other than root could have written it; "
        f"if its content is right, run: chown root:root {path} && chmod go-w {path}",
    )


def _toml(text: str, file: str) -> dict[str, Any]:
    import tomllib  # there may be no file

    try:
        return tomllib.loads(text)
    except (RecursionError, ValueError) as error:  # TOMLDecodeError is a ValueError
        raise Problem(
            "config-invalid", f"The configuration file {file} is not valid TOML.", str(error)
        ) from error


def _raise_if(faults: list[str], file: str) -> None:
    if faults:
        raise Problem(
            "config-invalid",
            f"The configuration file {file} is not valid: {faults[0]}.",
            "\n".join(faults[1:21]),
        )


S = TypeVar("S")


def _section(kind: type[S], table: Mapping[str, Any], prefix: str, faults: list[str]) -> S:
    """Build one section from its table; what is wrong is added to `faults` and its default stands in."""
    known = {f.name: f for f in dataclasses.fields(kind) if f.name != "authorities"}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            faults.append(_unknown(prefix + key, key, [*known, *([] if prefix else ["authority"])]))
        elif "rule" in known[key].metadata:
            _take(known[key].metadata["rule"].read, key, value, prefix, values, faults)
        elif isinstance(value, dict):
            values[key] = _section(type(known[key].default), value, f"{prefix}{key}.", faults)
        else:
            faults.append(f"{prefix}{key} must be a section, written [{prefix}{key}]")
    return kind(**values)


def _take(
    read: Callable[[Any], Any], key: str, value: Any, prefix: str, values: dict[str, Any], faults: list[str]
) -> None:
    try:
        values[key] = read(value)
    except ValueError as error:
        faults.append(f"{prefix}{key} must be {error}, not {rules.shown(value)}")


def _authorities(entries: Any, faults: list[str]) -> tuple[Authority, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        faults.append("authority must be a list of tables, each written [[authority]]")
        return ()
    return tuple(_authority(entry, number, faults) for number, entry in enumerate(entries, 1))


def _authority(entry: Mapping[str, Any], number: int, faults: list[str]) -> Authority:
    where = f"authority[{number}]"
    authority = _section(Authority, entry, f"{where}.", faults)
    if "name" not in entry:
        faults.append(f"{where}.name is missing")
    if "responders" not in entry and "issuers" not in entry:
        faults.append(f"{where} needs responders or issuers, else no certificate can belong to it")
    if authority.kind != "link" and not authority.status_page:
        faults.append(f"{where}.status_page is missing: {authority.kind} is read from it")
    return authority


def _unknown(path: str, key: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(key[:60], known, n=1)
    hint = f"did you mean {near[0]}?" if near else "known here: " + ", ".join(known)
    return f"{rules.plain(path)} is not a setting ({hint})"
