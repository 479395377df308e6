"""The managed block: our few lines at the end of an include, between two marker comments.

Everything outside the markers belongs to the administrator and is kept byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ocsp_stapling.problem import Problem

BEGIN = b"# BEGIN OCSP Stapling for WHM"
END = b"# END OCSP Stapling for WHM"

# A marker is a whole line; only its beginning is fixed, so that a text editor's spaces at the end do no harm.
_BEGIN_LINE = re.compile(
    rb"^" + re.escape(BEGIN) + rb"(?: \(([12]) line ends? added above\))?[^\n]*\n?", re.M
)
_END_LINE = re.compile(rb"^" + re.escape(END) + rb"[ \t\r]*(?:\n|\Z)", re.M)
_ANY_MARKER = re.compile(rb"^[ \t]*#[ \t]*(?:BEGIN|END) OCSP Stapling for WHM", re.M)


@dataclass(frozen=True)
class Block:
    """A block found in a file: the bytes before and after it, and its lines between the markers."""

    before: bytes
    body: bytes
    after: bytes

    @property
    def foreign(self) -> bytes:
        """The file's bytes without the block."""
        return self.before + self.after


def find(content: bytes, name: str = "the include") -> Block | None:
    """Return our block in the file's bytes, None if there is none.

    Raises Problem `block-damaged` when the markers do not form exactly one block; `name` is the file's in it.
    """
    markers = [content.count(b"\n", 0, found.start()) + 1 for found in _ANY_MARKER.finditer(content)]
    if not markers:
        return None
    begin = _BEGIN_LINE.search(content)
    end = _END_LINE.search(content, begin.end()) if begin else None
    if begin is None or end is None or len(markers) != 2:
        raise _damaged(content, name, markers)
    after = content[end.end() :]
    added = int(begin[1] or 0)
    # The line ends we added go with the block, but only while nothing follows that needs them.
    before = content[: begin.start() - (added if not after else 0)]
    return Block(before, content[begin.end() : end.start()], after)


def _damaged(content: bytes, name: str, markers: list[int]) -> Problem:
    """What is left of the block is for a person to judge: whose the lines between are cannot be told any more."""
    lines = content.decode("utf-8", "replace").split("\n")
    shown = [f"{name}:{number}: {lines[number - 1].strip()}" for number in markers[:20]]
    sentence = (
        f"The block of OCSP Stapling for WHM in {name} was edited: there must be one BEGIN line and one END line "
        "after it. Nothing was touched. Delete the marker lines named below and what is left of the block "
        "between them (its comments and its SSLUseStapling line), then try again."
    )
    return Problem("block-damaged", sentence, "\n".join(shown))


def apply(content: bytes, lines: list[str]) -> bytes:
    """Return the bytes with a block of these lines at the end; an older block of ours is replaced.

    `remove` gives back exactly the bytes without the block. Raises Problem `block-damaged` as `find` does.
    """
    foreign = remove(content)
    added = _line_ends_needed(foreign)
    note = b"" if not added else b" (%d line end%s added above)" % (added, b"s" if added > 1 else b"")
    body = b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines)
    return foreign + b"\n" * added + BEGIN + note + b"\n" + body + END + b"\n"


def remove(content: bytes) -> bytes:
    """Return the bytes without our block. Raises Problem `block-damaged` as `find` does."""
    block = find(content)
    return content if block is None else block.foreign


def _line_ends_needed(foreign: bytes) -> int:
    """How many line ends separate our first line from the text before it.

    A last line without an end needs one. A last line ending in a backslash continues on the next line, so an
    empty line must take the continuation before our comment starts (Apache: "Configuration Files", syntax).
    """
    if not foreign:
        return 0
    missing = 0 if foreign.endswith(b"\n") else 1
    last = foreign.rstrip(b"\n") if missing == 0 else foreign
    tail = foreign[len(last) :]
    continued = last.rstrip(b"\r").endswith(b"\\") and len(tail) <= 1
    return missing + (1 if continued else 0)
