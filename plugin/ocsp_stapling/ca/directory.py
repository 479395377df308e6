"""Which authority stands behind a responder or an issuer. Labels for people, never a list of what is allowed."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ocsp_stapling.settings import Authority, parse_authorities

DATA_FILE = "authorities.toml"


@dataclass(frozen=True)
class Directory:
    """The authorities we know, those of the configuration first."""

    authorities: tuple[Authority, ...]

    def find(self, responder: str = "", issuer: str = "") -> Authority | None:
        """Return the authority of a responder's host name, else of an issuer's organisation, else None.

        The longest matching host name wins, so that a brand below another authority's domain keeps its name.
        """
        return self._by_responder(responder) or self._by_issuer(issuer)

    def named(self, name: str) -> Authority | None:
        """Return the authority of that name, case ignored."""
        wanted = name.casefold()
        return next((a for a in self.authorities if a.name.casefold() == wanted), None)

    def _by_responder(self, host: str) -> Authority | None:
        wanted = "." + host.rstrip(".").lower()
        matches = [
            (len(suffix), -place)
            for place, authority in enumerate(self.authorities)
            for suffix in authority.responders
            if wanted.endswith("." + suffix)
        ]
        return self.authorities[-max(matches)[1]] if matches else None

    def _by_issuer(self, organisation: str) -> Authority | None:
        wanted = organisation.casefold()
        return next((a for a in self.authorities if any(_matches(wanted, p) for p in a.issuers)), None)


def _matches(organisation: str, pattern: str) -> bool:
    # Only `*` is special: brackets and question marks occur in real names.
    escaped = pattern.casefold().replace("[", "[[]").replace("?", "[?]")
    return fnmatch.fnmatchcase(organisation, escaped)


@cache
def shipped() -> tuple[Authority, ...]:
    """Return the authorities of the data file."""
    data = resources.files(__package__).joinpath(DATA_FILE)
    return parse_authorities(data.read_text("utf-8"), DATA_FILE)


def directory(own: Iterable[Authority] = ()) -> Directory:
    """Return the directory; an authority of the configuration replaces the shipped one of the same name."""
    first = tuple(own)
    replaced = {authority.name.casefold() for authority in first}
    return Directory((*first, *(a for a in shipped() if a.name.casefold() not in replaced)))
