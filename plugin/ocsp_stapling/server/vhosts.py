"""The TLS virtual hosts: their names, addresses, certificate files and owners."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ocsp_stapling.apache.tree import ConfigTree, Directive, Place, VirtualHost

USER_DOMAINS = Path("/etc/userdomains")
TRUE_USER_DOMAINS = Path("/etc/trueuserdomains")
_OWNER_LINE = re.compile(rb"^([^\s:*]+):[ \t]*(\S+)", re.MULTILINE)
_HOME = re.compile(r"/home\d*/([^/]+)/")
_NOBODY = ("", "nobody")


class Address(NamedTuple):
    """Where a virtual host listens; host `*` is every address, port 0 every port of the server."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TlsVhost:
    """A virtual host with SSLEngine on and a certificate."""

    name: str
    """ServerName without port; if there is none, the first address as written."""
    aliases: tuple[str, ...]
    addresses: tuple[Address, ...]
    certificates: tuple[Path, ...]
    """Usually one; a second one where RSA and ECDSA are served side by side."""
    chain_file: Path | None
    owner: str | None
    """The cPanel account, None if unknown."""
    stapling: Directive | None
    """Its own SSLUseStapling, None if the server level holds."""
    place: Place

    @property
    def certificate_file(self) -> Path:
        """The first certificate file."""
        return self.certificates[0]


def tls_vhosts(tree: ConfigTree, owners: Mapping[str, str] | None = None) -> tuple[TlsVhost, ...]:
    """Return the TLS virtual hosts in the order of the configuration.

    `owners` tells the account of a domain (`read_owners`); without it the account is guessed from the paths.
    """
    engine = tree.last("SSLEngine")
    server_on = engine is not None and engine.value.lower() in ("on", "optional")
    server_certificates = tuple(
        tree.server_root / d.value for d in tree.server_level("SSLCertificateFile") if d.certain
    )
    found = []
    for vhost in tree.vhosts:
        certificates = _files(vhost.certificates or server_certificates)
        if (server_on if vhost.engine is None else vhost.engine) and certificates:
            found.append(_tls_vhost(vhost, certificates, tree, owners or {}))
    return tuple(found)


def read_owners(files: Iterable[Path] = (TRUE_USER_DOMAINS, USER_DOMAINS)) -> dict[str, str]:
    """Return domain -> account from cPanel's lists; missing ones are left out, the account `nobody` too."""
    owners: dict[str, str] = {}
    for file in files:
        try:
            content = file.read_bytes()
        except OSError:
            continue
        pairs = _OWNER_LINE.findall(content.decode("utf-8", "replace").encode())
        owners |= {d.decode().lower(): u.decode() for d, u in pairs if u.decode() not in _NOBODY}
    return owners


def _tls_vhost(
    vhost: VirtualHost, certificates: tuple[Path, ...], tree: ConfigTree, owners: Mapping[str, str]
) -> TlsVhost:
    addresses = vhost.place.addresses
    name = _host_name(vhost.server_name) or (addresses[0] if addresses else "")
    return TlsVhost(
        name,
        vhost.aliases,
        tuple(map(address, addresses)),
        certificates,
        vhost.chain_file,
        owners.get(name.lower()) or _owner(vhost, tree.userdata),
        vhost.stapling,
        vhost.place,
    )


def _files(certificates: tuple[Path, ...]) -> tuple[Path, ...]:
    """A certificate may also be a key on a token (`pkcs11:...`), which is no file to read."""
    if len(certificates) == 1:
        return certificates if "pkcs11:" not in str(certificates[0]) else ()
    return tuple(path for path in dict.fromkeys(certificates) if "pkcs11:" not in str(path))


def _host_name(server_name: str) -> str:
    """ServerName is `[scheme://]host[:port]`."""
    host = server_name.rpartition("://")[2]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _owner(vhost: VirtualHost, userdata: Path) -> str | None:
    """From cPanel's userdata/ssl/2_4/ACCOUNT/DOMAIN/, else from /home/ACCOUNT/."""
    for file in vhost.included:
        if file.is_relative_to(userdata) and len(parts := file.relative_to(userdata).parts) > 4:
            return parts[2]
    found = _HOME.match(vhost.document_root)
    return found[1] if found else None


def address(text: str) -> Address:
    """Read the argument of a `<VirtualHost>`: `192.0.2.1:443`, `[2001:db8::1]:443`, `*:443`, `_default_`."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isdecimal() or port == "*") or text.endswith("]"):
        host, port = text, "0"
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isdecimal() and len(port) <= 5 else 0
    return Address("*" if host.lower() in ("", "*", "_default_") else host, number)
