"""Which hosting accounts a reseller owns, and which domains those have.

Sources: /etc/trueuserowners (`account: owner`) and /etc/userdomains (`domain: account`), which cPanel rebuilds with
scripts/updateuserdomains; /var/cpanel/users/ACCOUNT (`OWNER=`, cPanel's documentation "The cpuser file") where the
first is missing. A reseller's own account is theirs whoever owns it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.problem import Problem

_OWNERS = Path("etc/trueuserowners")
_DOMAINS = Path("etc/userdomains")
_USERS = Path("var/cpanel/users")
_SIZE_LIMIT = 64 * 1024 * 1024
_USER_FILE_LIMIT = 1024 * 1024


@dataclass(frozen=True)
class Visible:
    """The domains of this server that somebody may see; `everything` stands for root privileges."""

    domains: frozenset[str] = frozenset()
    everything: bool = False

    def domain(self, name: str) -> bool:
        """Return whether a domain is theirs, also with `www.` or `*.` before it, or a port behind."""
        wanted = name.lower().removeprefix("*.").partition(":")[0].rstrip(".")
        return self.everything or wanted in self.domains or wanted.removeprefix("www.") in self.domains


def owned_by(reseller: str, root: Path = Path("/")) -> Visible:
    """Return the domains of a reseller's accounts; of files that cannot be read, nothing is shown.

    Raises Problem `accounts-unreadable` if none of cPanel's lists can be read.
    """
    owners = _owners(root)
    accounts = frozenset({name for name, owner in owners if owner == reseller} | {reseller})
    domains = frozenset(domain.lower() for domain, owner in _pairs(root / _DOMAINS) if owner in accounts)
    return Visible(domains)


def _owners(root: Path) -> list[tuple[str, str]]:
    found = list(_pairs(root / _OWNERS)) or list(_owners_by_file(root / _USERS))
    if not found:
        raise Problem(
            "accounts-unreadable",
            "This server's list of accounts cannot be read, so nobody but root is shown anything.",
        )
    return found


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """The lines `name: value` of one of cPanel's lists."""
    for line in _text(path, _SIZE_LIMIT).splitlines():
        name, separator, value = line.partition(":")
        if separator and name.strip() and value.strip():
            yield name.strip(), value.strip()


def _owners_by_file(directory: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(directory.glob("*")) if directory.is_dir() else ():
        for line in _text(path, _USER_FILE_LIMIT).splitlines():
            if line.startswith("OWNER="):
                yield path.name, line.removeprefix("OWNER=").strip()
                break


def _text(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
