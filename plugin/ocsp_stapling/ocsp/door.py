"""Where a site is met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Door:
    """An address of this server, a port, and the name sent as SNI (RFC 6066 section 3).

    `key` is the kind of certificate to be met (`rsa` or `ecdsa`), "" for whichever the server prefers. `called` is
    what people call the site where the name alone would be ambiguous.
    """

    address: str
    port: int
    name: str
    key: str = ""
    called: str = ""

    @property
    def site(self) -> str:
        """What the site is called."""
        return self.called or self.name
