"""The last check's document, kept in the state directory for `status`, the page and the ticket."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "last-check.json"
_SIZE_LIMIT = 32 << 20


def store(directory: Path, found: Mapping[str, Any]) -> None:
    """Keep the document as the last check, readable for us alone. Raises OSError when it cannot be written."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Checks may run side by side: each writes its own file, and the last one to end stays.
    descriptor, name = tempfile.mkstemp(prefix=f".{NAME}.", dir=directory)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(found, file)
        temporary.replace(directory / NAME)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(directory: Path) -> dict[str, Any] | None:
    """Return the last check's document, None if there is none that can be read."""
    try:
        with (directory / NAME).open("rb") as file:
            found = json.loads(file.read(_SIZE_LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "cause" in found else None
