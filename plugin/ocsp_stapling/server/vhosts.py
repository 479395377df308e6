"""The TLS virtual hosts: their names, addresses, certificate files, owners, and what they say on stapling.

What a virtual host does not say it inherits from the server level (mod_ssl's ssl_engine_config.c); with SSLEngine
on there, the server itself answers over TLS where no virtual host does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ocsp_stapling.apache.tree import ConfigTree, Directive, Place, VirtualHost
from ocsp_stapling.server.names import HTTPS, Address, address, host_name, listener

USER_DOMAINS = Path("/etc/userdomains")
TRUE_USER_DOMAINS = Path("/etc/trueuserdomains")
_OWNER_LINE = re.compile(rb"^([^\s:*]+):[ \t]*(\S+)", re.MULTILINE)
_HOME = re.compile(r"/home\d*/([^/]+)/")
_NOBODY = ("", "nobody")
_WILD = ("*", "0.0.0.0", "::")  # noqa: S104 - what lines say, not a socket
_INHERITED = (
    *("SSLUseStapling", "SSLStaplingForceURL", "SSLOCSPProxyURL"),
    *("SSLStaplingResponderTimeout", "SSLStaplingResponseTimeSkew"),
)


class TlsVhost(NamedTuple):
    """A virtual host, or the server itself, with SSLEngine on and a certificate."""

    name: str
    """ServerName without scheme and port, in lower case; if there is none, the first address as written."""
    aliases: tuple[str, ...]
    addresses: tuple[Address, ...]
    certificates: tuple[Path, ...]
    """Usually one; a second one where RSA and ECDSA are served side by side."""
    chain_file: Path | None
    trusted_file: Path | None
    """`SSLCACertificateFile`: mod_ssl looks for an issuer there too."""
    trusted_path: Path | None
    """`SSLCACertificatePath`, likewise: a directory of files that are called by the hash of their subject."""
    owner: str | None
    """The cPanel account, None if unknown."""
    stapling: Directive | None
    """Its own SSLUseStapling, None if the server level holds."""
    place: Place | None
    """None: the server itself."""
    userdata: Path | None = None
    """The directory of includes in which a file of ours is read after its own SSLUseStapling; None without one."""
    in_force: Mapping[str, Directive] = MappingProxyType({})
    """The line that holds here, its own or the server's, by name: SSLUseStapling, SSLStaplingForceURL,
    SSLOCSPProxyURL, SSLStaplingResponderTimeout, SSLStaplingResponseTimeSkew."""

    @property
    def certificate_file(self) -> Path:
        """The first certificate file."""
        return self.certificates[0]

    @property
    def force_url(self) -> Directive | None:
        """The SSLStaplingForceURL in force; the shield's is none: its relay asks whom the certificates name."""
        line = self.in_force.get("SSLStaplingForceURL")
        return None if line is not None and line.managed else line


class _ServerLevel:
    """What holds where a virtual host says nothing, looked up once."""

    def __init__(self, tree: ConfigTree) -> None:
        self.tree = tree
        engine = tree.last("SSLEngine")
        self.engine = engine.value.lower() in ("on", "optional") if engine else None
        self.protocols: dict[Address, str] = {}
        for listen in tree.listen:
            at, said = listener(listen), listen.lower().split()[1:]
            self.protocols.setdefault(at, said[0] if said else "https" if at.port == HTTPS else "http")
        self.certificates = tuple(
            tree.server_root / d.value for d in tree.server_level("SSLCertificateFile") if d.certain
        )
        self.chain_file = self._path("SSLCertificateChainFile")
        self.trusted_file = self._path("SSLCACertificateFile")
        self.trusted_path = self._path("SSLCACertificatePath")
        self.lines = {name: line for name in _INHERITED if (line := tree.last(name))}

    def _path(self, name: str) -> Path | None:
        line = self.tree.last(name)
        return self.tree.server_root / line.value if line and line.value else None

    def speaks_tls(self, vhost: VirtualHost) -> bool:
        """By its own SSLEngine, else the server's, else what the `Listen` of just its address says or means."""
        for engine in (vhost.engine, self.engine):
            if engine is not None:
                return engine
        found = (self._protocol(address(text)) for text in vhost.place.addresses)
        return next(filter(None, found), "") == "https"

    def _protocol(self, at: Address) -> str:
        hosts = _WILD if at.host == "*" else (at.host, "*") if at.host in _WILD else (at.host,)
        return next(filter(None, (self.protocols.get(Address(host, at.port)) for host in hosts)), "")

    def certificates_of(self, vhost: VirtualHost) -> tuple[Path, ...]:
        """Its own; of the server's the ones that it has no counterpart for."""
        return _files(vhost.certificates + self.certificates[len(vhost.certificates) :])

    def lines_of(self, vhost: VirtualHost) -> dict[str, Directive]:
        """The lines that hold in a virtual host; its own ones win."""
        own = {line.name: line for line in vhost.own if line.certain and line.name in _INHERITED}
        if vhost.stapling:
            own["SSLUseStapling"] = vhost.stapling
        return self.lines | own if own else self.lines


def tls_vhosts(tree: ConfigTree, owners: Mapping[str, str] | None = None) -> tuple[TlsVhost, ...]:
    """Return what Apache serves over TLS in the order of the configuration, the server itself last.

    `owners` tells the account of a domain (`read_owners`); without it the account is guessed from the paths.
    """
    server = _ServerLevel(tree)
    found = (
        _tls_vhost(vhost, certificates, server, owners or {})
        for vhost in tree.vhosts
        if server.speaks_tls(vhost) and (certificates := server.certificates_of(vhost))
    )
    return (*found, *_itself(server, tree))


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
    vhost: VirtualHost, certificates: tuple[Path, ...], server: _ServerLevel, owners: Mapping[str, str]
) -> TlsVhost:
    addresses = vhost.place.addresses
    name = host_name(vhost.server_name) or (addresses[0] if addresses else "")
    return TlsVhost(
        name=name,
        aliases=tuple(map(host_name, vhost.aliases)),
        addresses=tuple(map(address, addresses)),
        certificates=certificates,
        chain_file=vhost.chain_file or server.chain_file,
        trusted_file=vhost.trusted_file or server.trusted_file,
        trusted_path=vhost.trusted_path or server.trusted_path,
        owner=owners.get(name) or _owner(vhost, server.tree.userdata),
        stapling=vhost.stapling,
        place=vhost.place,
        userdata=_userdata(vhost, server.tree.userdata),
        in_force=server.lines_of(vhost),
    )


def _userdata(vhost: VirtualHost, userdata: Path) -> Path | None:
    """The line may stand in a file that another one in that directory includes."""
    if vhost.stapling is None or vhost.stapling.file not in vhost.included:
        return None
    until = vhost.included[: vhost.included.index(vhost.stapling.file) + 1]
    return next((file.parent for file in reversed(until) if file.is_relative_to(userdata)), None)


def _itself(server: _ServerLevel, tree: ConfigTree) -> list[TlsVhost]:
    """The server itself, where it listens and no virtual host takes the connection."""
    certificates = _files(server.certificates)
    if not (server.engine and certificates):
        return []
    taken = {address(text) for vhost in tree.vhosts for text in vhost.place.addresses}
    left = tuple(one for one in map(listener, tree.listen) if one.port and not _is_taken(one, taken))
    if not left:
        return []
    named = tree.last("ServerName")
    name = host_name(named.value) if named else f"{left[0].host}:{left[0].port}"
    return [
        TlsVhost(
            name=name,
            aliases=(),
            addresses=left,
            certificates=certificates,
            chain_file=server.chain_file,
            trusted_file=server.trusted_file,
            trusted_path=server.trusted_path,
            owner=None,
            stapling=None,
            place=None,
            in_force=server.lines,
        )
    ]


def _is_taken(place: Address, taken: set[Address]) -> bool:
    return not taken.isdisjoint(Address(host, port) for host in (place.host, "*") for port in (place.port, 0))


def _files(certificates: tuple[Path, ...]) -> tuple[Path, ...]:
    """A certificate may also be a key on a token (`pkcs11:...`), which is no file to read."""
    return tuple({name: path for path in certificates if "pkcs11:" not in (name := str(path))}.values())


def _owner(vhost: VirtualHost, userdata: Path) -> str | None:
    """From cPanel's userdata/ssl/2_4/ACCOUNT/DOMAIN/, else from /home/ACCOUNT/."""
    for file in vhost.included:
        if file.is_relative_to(userdata) and len(parts := file.relative_to(userdata).parts) > 4:
            return parts[2]
    found = _HOME.match(vhost.document_root)
    return found[1] if found else None
