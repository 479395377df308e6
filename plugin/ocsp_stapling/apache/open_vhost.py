"""A virtual host while its section is being read: names, certificate files and its own word on stapling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ocsp_stapling.apache.tree import Directive, Place, VirtualHost

Resolver = Callable[[bytes], str]
"""Makes a file name absolute, as httpd does against ServerRoot."""


class OpenVhost:
    """Collects what its lines say; `first_file` counts the files read before it."""

    def __init__(self, place: Place, certain: bool, first_file: int) -> None:
        self.place, self.certain, self.first_file = place, certain, first_file
        self.name, self.document_root = "", ""
        self.aliases: list[str] = []
        self.engine: bool | None = None
        self.certificates: list[Path] = []
        self.chain_file: Path | None = None
        self.stapling: Directive | None = None
        self.trusted_file: Path | None = None
        self.trusted_path: Path | None = None
        self.own: list[Directive] = []

    def take(self, name: bytes, values: Sequence[bytes], absolute: Resolver) -> None:
        """Take a line whose name is in VHOST_LINES; one without arguments (httpd refuses it) says nothing."""
        if values:
            VHOST_LINES[name](self, values, absolute)

    def closed(self, files: Sequence[Path]) -> VirtualHost:
        """Return the finished virtual host; `files` are all files read so far."""
        return VirtualHost(
            self.place,
            self.name,
            tuple(self.aliases),
            self.document_root,
            self.engine,
            tuple(self.certificates),
            self.chain_file,
            self.stapling,
            tuple(files[self.first_file :]),
            self.certain,
            self.trusted_file,
            self.trusted_path,
            tuple(self.own),
        )


_Taker = Callable[[OpenVhost, Sequence[bytes], Resolver], None]


def _text_in(field: str) -> _Taker:
    return lambda vhost, values, _absolute: setattr(vhost, field, _text(values[0]))


def _path_in(field: str) -> _Taker:
    return lambda vhost, values, absolute: setattr(vhost, field, Path(absolute(values[0])))


def _alias(vhost: OpenVhost, values: Sequence[bytes], _absolute: Resolver) -> None:
    vhost.aliases.extend(map(_text, values))


def _engine(vhost: OpenVhost, values: Sequence[bytes], _absolute: Resolver) -> None:
    vhost.engine = values[0].lower() in (b"on", b"optional")


def _certificate(vhost: OpenVhost, values: Sequence[bytes], absolute: Resolver) -> None:
    vhost.certificates.append(Path(absolute(values[0])))


VHOST_LINES: dict[bytes, _Taker] = {
    b"servername": _text_in("name"),
    b"serveralias": _alias,
    b"documentroot": _text_in("document_root"),
    b"sslengine": _engine,
    b"sslcertificatefile": _certificate,
    b"sslcertificatechainfile": _path_in("chain_file"),
    b"sslcacertificatefile": _path_in("trusted_file"),
    b"sslcacertificatepath": _path_in("trusted_path"),
}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
