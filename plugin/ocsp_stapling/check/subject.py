"""What a survey asks about: one responder and one issuer, with the sites behind them and where to meet those."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.check.evidence import Site, SteeringLine
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.guard import UnusableURLError, parse_url
from ocsp_stapling.ocsp.responder import Target


@dataclass(frozen=True)
class Single:
    """One certificate by itself: the question about it, the sites that serve it, and where to meet one of them."""

    target: Target
    sites: tuple[Site, ...]
    doors: tuple[Door, ...] = ()
    file: Path | None = None
    must_staple: bool = False

    @property
    def serial(self) -> str:
        """Its serial number in hexadecimal, "" if it is not asked about."""
        return f"{self.target.certificate.serial:X}" if self.target.certificate else ""


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
    asked: Single | None = None
    """The certificate that is asked about first."""
    others: tuple[Single, ...] = ()
    """Further ones of the same issuer in the order of asking: those that must staple, and some of the rest."""
    certificate_count: int = 1
    """How many different certificates are behind it."""
    must_staple_count: int = 0
    """Those of them that must staple."""
    steered_by: tuple[SteeringLine, ...] = ()
    """What its sites' own virtual hosts say of whom to ask, and through whom."""

    @property
    def weight(self) -> tuple[int, int]:
        """What it counts for: accounts first, for one customer can have any number of sites."""
        return len({site.owner for site in self.sites}), len(self.sites)

    @property
    def serial(self) -> str:
        """The serial number of the certificate asked about, "" if others are behind the same question."""
        alone = self.asked is not None and len(self.asked.sites) == len(self.sites)
        return self.asked.serial if alone and self.asked else ""

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
