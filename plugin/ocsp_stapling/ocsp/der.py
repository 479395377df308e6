"""Just enough DER (X.690) to walk bytes that customers may have made by hand: every length is checked."""

from __future__ import annotations

from typing import NamedTuple

SEQUENCE, SET, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
ENCODINGS = {0x0C: "utf-8", 0x14: "latin-1", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
"""Of the strings that are not Latin 1 or a part of it, by tag."""


MOST_ELEMENTS = 4096
"""In one list: more are there to keep the reader busy."""


class DerError(ValueError):
    """The bytes are not the DER that was expected; the caller turns it into a sentence or an empty answer."""


class Element(NamedTuple):
    """One tag-length-value: the contents are `data[start:stop]`."""

    tag: int
    start: int
    stop: int


_new = tuple.__new__  # half the time of Element(...)


def read(data: bytes, at: int, end: int) -> Element:
    """Return the element that begins at `at` and ends within `end`; raises DerError otherwise."""
    start = at + 2
    if start > end:
        raise DerError("truncated")
    tag, length = data[at], data[at + 1]
    if length > 127:
        count = length & 127
        if not 1 <= count <= 4 or start + count >= end:  # OpenSSL wants a byte behind
            raise DerError("bad length")
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    stop = start + length
    if stop > end or tag & 31 == 31:
        raise DerError("bad element")
    return _new(Element, (tag, start, stop))


def expect(data: bytes, at: int, end: int, tag: int) -> Element:
    """Return the element at `at`, which must carry `tag`."""
    element = read(data, at, end)
    if element.tag != tag:
        raise DerError(f"tag {element.tag:#x} where {tag:#x} belongs")
    return element


def children(data: bytes, start: int, stop: int) -> list[Element]:
    """Return all elements between `start` and `stop`, which they must fill exactly.

    The same checks as `read`, written out: an inventory of 5,000 certificates spends half its time here.
    """
    found: list[Element] = []
    for _ in range(MOST_ELEMENTS):
        if start >= stop:
            return found
        at = start + 2
        if at > stop:
            raise DerError("truncated")
        tag, length = data[start], data[start + 1]
        if length > 127:
            at += (count := length & 127)
            if not 1 <= count <= 4 or at >= stop:
                raise DerError("bad length")
            length = int.from_bytes(data[at - count : at], "big")
        start = at + length
        if start > stop or tag & 31 == 31:
            raise DerError("bad element")
        found.append(_new(Element, (tag, at, start)))
    if start < stop:
        raise DerError("too many elements")
    return found


def members(value: bytes) -> list[Element]:
    """Return the members of the SEQUENCE that `value` begins with; what follows is ignored, as in OpenSSL."""
    whole = expect(value, 0, len(value), SEQUENCE)
    return children(value, whole.start, whole.stop)


def encode(tag: int, *contents: bytes) -> bytes:
    """Return one element holding the contents joined, its length in the shortest form DER asks for."""
    body = b"".join(contents)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 128 | len(length))) + length + body
