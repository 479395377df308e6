"""How far OCSP has retired from this server: how many certificates still name a responder, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ocsp_stapling.server.sites import EndpointCertificate


@dataclass(frozen=True)
class Retirement:
    """Of the certificates in use that have not expired. `last_ends` is aware; None if none names a responder."""

    certificate_count: int = 0
    naming_count: int = 0
    last_ends: datetime | None = None

    @property
    def sentence(self) -> str:
        """How it stands, "" without certificates."""
        if not self.certificate_count:
            return ""
        if not self.naming_count or self.last_ends is None:
            return "No certificate in use names a responder any more."
        noun = "certificate" if self.certificate_count == 1 else "certificates"
        names = "names" if self.naming_count == 1 else "name"
        which = "it" if self.naming_count == 1 else "the last of them"
        return (
            f"{self.naming_count:,} of {self.certificate_count:,} {noun} in use {names} a responder; {which} ends "
            f"{self.last_ends:%Y-%m-%d}."
        )

    @property
    def advice(self) -> str:
        """What follows for stapling, "" without certificates."""
        if not self.certificate_count:
            return ""
        if not self.naming_count:
            return "Stapling has nothing to do here and harms nobody: it may stay as it is."
        return (
            "Authorities end OCSP one by one; a certificate renewed without a responder needs no staple. When none "
            "names one any more, stapling has nothing left to do, and nothing needs to be changed for that."
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "certificate_count": self.certificate_count,
            "naming_count": self.naming_count,
            "last_ends": self.last_ends.isoformat() if self.last_ends else None,
            "sentence": self.sentence,
            "advice_sentence": self.advice,
        }


def retirement(certificates: Iterable[EndpointCertificate]) -> Retirement:
    """Return how far OCSP has retired from these certificates; each file counts once."""
    used = {
        one.file: one for one in certificates if not one.problem and not one.expired and not one.self_signed
    }
    naming = [one for one in used.values() if one.ocsp_urls]
    ends = [one.not_after for one in naming if one.not_after]
    return Retirement(len(used), len(naming), max(ends, default=None))
