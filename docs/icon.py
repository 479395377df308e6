"""Draws plugin/icon.png (48 x 48): a padlock with a staple in it, on blue. Run: python docs/icon.py

Drawn large from simple shapes and made smaller, so that its edges are smooth. No library needed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

SIZE, FINE = 48, 8  # pixels; how many samples each way make one pixel
TARGET = Path(__file__).resolve().parents[1] / "plugin/icon.png"
Colour = tuple[int, int, int, int]
TOP, BOTTOM = (47, 128, 237), (22, 82, 178)
WHITE, STAPLE, SHADE = (255, 255, 255, 255), (255, 191, 64, 255), (16, 58, 128, 255)
NOTHING: Colour = (0, 0, 0, 0)


def rounded(x: float, y: float, box: tuple[float, float, float, float], radius: float) -> bool:
    """Is the point in a box with round corners?"""
    left, top, right, bottom = box
    dx = max(left + radius - x, x - (right - radius), 0)
    dy = max(top + radius - y, y - (bottom - radius), 0)
    return left <= x <= right and top <= y <= bottom and dx * dx + dy * dy <= radius * radius


def shackle(x: float, y: float) -> bool:
    """The padlock's bow: a half ring on two legs."""
    if y > 19:
        return y < 24 and (abs(x - 17.5) <= 1.7 or abs(x - 30.5) <= 1.7)
    distance = ((x - 24) ** 2 + (y - 19) ** 2) ** 0.5
    return 4.8 <= distance <= 8.2


def staple(x: float, y: float) -> bool:
    """A staple across the lock's body: a bar with its two ends bent down."""
    bar = rounded(x, y, (16.5, 28.0, 31.5, 30.6), 1.2)
    return bar or rounded(x, y, (16.5, 28.0, 19.1, 35.5), 1.2) or rounded(x, y, (28.9, 28.0, 31.5, 35.5), 1.2)


def colour(x: float, y: float) -> Colour:
    """The picture at a point, in pixels from the top left."""
    if not rounded(x, y, (1, 1, 47, 47), 10):
        return NOTHING
    if staple(x, y):
        return STAPLE
    if staple(x, y - 1.0) and rounded(x, y, (12, 23, 36, 39), 3):
        return SHADE
    if rounded(x, y, (12, 23, 36, 39), 3) or shackle(x, y):
        return WHITE
    part = y / SIZE
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(TOP, BOTTOM, strict=True))
    return (red, green, blue, 255)


def pixel(column: int, row: int) -> bytes:
    """The mean of the samples of one pixel; transparent ones do not tint the others."""
    steps = [(i + 0.5) / FINE for i in range(FINE)]
    found = [colour(column + x, row + y) for y in steps for x in steps]
    seen = [c for c in found if c[3]]
    if not seen:
        return bytes(4)
    mean = [round(sum(c[i] for c in seen) / len(seen)) for i in range(3)]
    return bytes([*mean, round(255 * len(seen) / len(found))])


def png(rows: Iterable[bytes]) -> bytes:
    """A PNG of 8-bit RGBA rows (PNG specification, chunks IHDR, IDAT, IEND)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 6, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


if __name__ == "__main__":
    TARGET.write_bytes(png(b"".join(pixel(x, y) for x in range(SIZE)) for y in range(SIZE)))
