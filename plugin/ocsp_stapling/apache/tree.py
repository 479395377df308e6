"""What one reading of Apache's configuration yields: directives, virtual hosts, files, findings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

DEFAULT_TIMEOUT = 60  # seconds; httpd's Timeout


class Place(NamedTuple):
    """Where a virtual host begins: its file and 1-based line, and the addresses as written there."""

    file: Path
    line: int
    addresses: tuple[str, ...]


class Directive(NamedTuple):
    """One directive that takes part in stapling. Texts are the file's bytes, undecodable ones escaped."""

    name: str
    value: str
    """The arguments without quotes, with defined `${variables}` replaced."""
    file: Path
    line: int
    vhost: Place | None
    """None at server level."""
    condition: tuple[str, ...]
    """The sections around it, outermost first: `IfModule ssl_module`."""
    certain: bool
    """False if httpd may or may not take it: a condition that cannot be judged from here."""
    managed: bool
    """Inside our own managed block."""
    text: str

    def as_json(self) -> dict[str, object]:
        """Return the keys file, line, text, name, value."""
        return {
            "file": str(self.file),
            "line": self.line,
            "text": self.text,
            "name": self.name,
            "value": self.value,
        }


class VirtualHost(NamedTuple):
    """One `<VirtualHost>` section; None means that it says nothing, so the server level holds."""

    place: Place
    server_name: str
    aliases: tuple[str, ...]
    document_root: str
    engine: bool | None
    certificates: tuple[Path, ...]
    chain_file: Path | None
    stapling: Directive | None
    included: tuple[Path, ...]
    """The files included inside the section (userdata)."""
    certain: bool
    trusted_file: Path | None = None
    """`SSLCACertificateFile`, where mod_ssl also looks for an issuer."""
    trusted_path: Path | None = None
    """`SSLCACertificatePath`, likewise."""
    own: tuple[Directive, ...] = ()
    """The directives inside the section that take part, in order."""

    def last(self, name: str) -> Directive | None:
        """Return the section's own directive of that name which httpd certainly takes, the last one."""
        return next((d for d in reversed(self.own) if d.name == name and d.certain), None)


class ManagedBlock(NamedTuple):
    """Our markers in a file: 1-based lines; `end` is None when the end marker is missing."""

    file: Path
    begin: int
    end: int | None


class Finding(NamedTuple):
    """Something odd met while reading: a stable code, one plain sentence, and where."""

    code: str
    message: str
    file: Path | None = None
    line: int = 0

    def as_json(self) -> dict[str, object]:
        """Return the keys code, sentence, file, line."""
        file = str(self.file) if self.file else None
        return {"code": self.code, "sentence": self.message, "file": file, "line": self.line}


@dataclass(frozen=True)
class ConfigTree:
    """The configuration in the order in which httpd reads it."""

    conf: Path
    server_root: Path
    files: tuple[Path, ...]
    """Every file each time it is read, in order; what `httpd -t -D DUMP_INCLUDES` lists."""
    directives: tuple[Directive, ...]
    vhosts: tuple[VirtualHost, ...]
    managed: tuple[ManagedBlock, ...]
    findings: tuple[Finding, ...]
    userdata: Path
    """The directory below which cPanel keeps the includes of single virtual hosts."""

    def server_level(self, name: str) -> tuple[Directive, ...]:
        """Return the directives of that (canonically spelt) name outside virtual hosts, in order."""
        return tuple(d for d in self.directives if d.name == name and d.vhost is None)

    def last(self, name: str) -> Directive | None:
        """Return the server-level directive in force: the last one that httpd certainly takes."""
        return next((d for d in reversed(self.server_level(name)) if d.certain), None)

    def reads(self, path: Path) -> bool:
        """Say whether httpd reads this file, perhaps under another name (old paths are symbolic links)."""
        if path in self.files:
            return True
        real = path.resolve()
        return any(file.resolve() == real for file in set(self.files) if file.name in (path.name, real.name))

    @property
    def user(self) -> str | None:
        """The account of Apache's workers (`User`), None if the configuration names none."""
        return self._value("User")

    @property
    def group(self) -> str | None:
        """The group of Apache's workers (`Group`)."""
        return self._value("Group")

    @property
    def pid_file(self) -> Path | None:
        """The parent's `PidFile` as an absolute path, None if the configuration names none."""
        value = self._value("PidFile")
        return self.server_root / value if value else None

    @property
    def listen(self) -> tuple[str, ...]:
        """The arguments of every `Listen` in order (`443`, `[::]:443 https`)."""
        return tuple(d.value for d in self.server_level("Listen"))

    @property
    def timeout(self) -> int:
        """httpd's `Timeout` in seconds."""
        value = self._value("Timeout") or ""
        return int(value) if value.isdecimal() else DEFAULT_TIMEOUT

    def _value(self, name: str) -> str | None:
        directive = self.last(name)
        return directive.value if directive else None
