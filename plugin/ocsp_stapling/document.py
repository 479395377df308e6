"""What all JSON documents for programs share: the name and version of their schema, and one spelling of times.

The schemas are docs/json/; over all of them a name has one meaning and one type.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_VERSION = 1


def schema(name: str) -> str:
    """Return what `schema` says in a document of this kind; the number rises when a key goes or changes its type."""
    return f"ocsp-stapling/{name}/{_VERSION}"


def versioned(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts as a document that says which schema it follows."""
    return {"schema": schema(name), **facts}


def moment(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in the server's zone, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="milliseconds")
