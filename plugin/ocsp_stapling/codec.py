"""Dataclasses to plain data and back, losing nothing: one codec for what is stored and read again.

msgspec does the work, from the types alone; here is only what the project adds: one kind of error, one spelling of
times (ISO 8601 with zone).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

_T = TypeVar("_T")
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time that must come with its zone."""


class UnreadableError(ValueError):
    """The data does not fit the type; the text names the path (`$.responders[0].finding`) and what is wrong."""


def plain(value: object) -> Any:
    """Return a dataclass (with enums, times, tuples, sets inside) as JSON values."""
    return msgspec.to_builtins(value)


def to_json(value: object) -> bytes:
    """Return plain data or a dataclass as JSON text.

    Names in Apache's files may hold bytes that are no UTF-8 (lone surrogates here), which msgspec's own text refuses.
    """
    return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()


def from_plain(data: object, kind: type[_T]) -> _T:
    """Return the object of that type which `plain` made the data from. Raises UnreadableError."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, UnicodeError) as error:  # half a character is no text either
        raise UnreadableError(str(error)) from error


def from_json(text: bytes) -> Any:
    """Return JSON text as plain data. Raises UnreadableError; text nested too deep is no better than broken."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(str(error)) from error
