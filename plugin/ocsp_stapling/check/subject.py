"""What a survey asks about: one responder and one issuer, with the sites behind them and where to meet those."""

from __future__ import annotations

from dataclasses import dataclass

from ocsp_stapling.check.evidence import Site
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.guard import UnusableURLError, parse_url
from ocsp_stapling.ocsp.responder import Target


@dataclass(frozen=True)
class Subject:
    """One question to put, and on whose behalf. `doors` are a few places where its sites answer."""

    target: Target
    authority: str
    issuer: str
    sites: tuple[Site, ...]
    doors: tuple[Door, ...]
    expired: bool = False
    """Whether all these sites' certificates have expired."""
    operator: str = ""
    """Who runs the responder, "" if that is not known."""

    @property
    def weight(self) -> tuple[int, int]:
        """What it counts for: accounts first, for one customer can have any number of sites."""
        return len({site.owner for site in self.sites}), len(self.sites)

    @property
    def url(self) -> str:
        """The OCSP URL."""
        return self.target.url

    @property
    def host(self) -> str:
        """The responder's host name, "" if the URL cannot be used."""
        try:
            return parse_url(self.url).host
        except UnusableURLError:
            return ""
