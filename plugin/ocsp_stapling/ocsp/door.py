"""Where a site is met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Door:
    """An address of this server, a port, and the name sent as SNI (RFC 6066 section 3).

    `key` is the kind of certificate to be met (`rsa` or `ecdsa`), "" for whichever the server prefers.
    """

    address: str
    port: int
    name: str
    key: str = ""
