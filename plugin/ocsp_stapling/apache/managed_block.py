"""The managed block: our few lines at the end of an include, between two marker comments, and what they can be.

Everything outside the markers belongs to the administrator and is kept byte for byte. The lines (off; on; a cache
that fits; the shield) are data to the transaction.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from ocsp_stapling.apache.stapling import cache_bytes
from ocsp_stapling.apache.tree import ConfigTree
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


# Read last in a userdata directory, for names are taken in order.
OVERRIDE_NAME = "zzz_ocsp_stapling.conf"
SITE_NAME = "zzz_ocsp_stapling_site.conf"
"""For a site that is turned off alone: it stays off when stapling returns for the others."""
OF_SITES = (OVERRIDE_NAME, SITE_NAME)

_RELAY = re.compile(r"^\s*SSLStaplingForceURL http://127\.0\.0\.1:(\d{1,5})/\s*$", re.M)
_NOTE = re.compile(
    r"^# Stapling was turned (?P<what>off|on) at (?P<when>\S+ \S+ \S+) by (?P<who>.*?)(?:: (?P<reason>.*))?$",
    re.M,
)


def off_block(who: str, reason: str, now: datetime.datetime, cache: str | None = None) -> list[str]:
    """Return the lines that turn stapling off, with what an administrator who finds them must know.

    `cache` is the SSLStaplingCache line that must stay: Apache ends at a graceful restart that finds the last
    one gone (AH01872).
    """
    lines = [cache] if cache else []
    return [*_notes("off", who, reason, now), *_guarded([*lines, "SSLUseStapling Off"])]


def site_block(site: str, who: str, reason: str, now: datetime.datetime) -> list[str]:
    """Return the lines that turn stapling off for the virtual host that includes them, and for no other."""
    return [*_notes("off", who, reason, now, f"on --site {site}"), *_guarded(["SSLUseStapling Off"])]


def on_block(who: str, reason: str, now: datetime.datetime, cache: str | None) -> list[str]:
    """Return the lines that turn stapling on; `cache` is the SSLStaplingCache line if none is in force."""
    lines = [cache] if cache else []
    return [*_notes("on", who, reason, now), *_guarded([*lines, "SSLUseStapling On"])]


def cache_block(who: str, reason: str, now: datetime.datetime, cache: str) -> list[str]:
    """Return the lines that give Apache a staple cache which holds every certificate's staple, and nothing else."""
    told = f"# The staple cache was made to fit at {now:%Y-%m-%d %H:%M:%S %z} by {_one_line(who)}"
    because = _one_line(reason)
    return [
        f"{told}: {because}" if because else told,
        "# To undo: WHM > Plugins > OCSP Stapling, or as root: ocsp-stapling undo",
        *_guarded([cache]),
    ]


def shield_block(
    who: str, reason: str, now: datetime.datetime, cache: str, port: int, turns_on: bool
) -> list[str]:
    """Return the lines by which Apache asks the relay on this machine, and nobody else.

    `cache` is the SSLStaplingCache line, large enough for every certificate; `turns_on` says whether stapling must
    be turned on as well. The address is always written in exactly this form: without a scheme Apache's children
    crash at each handshake, and its configuration test says OK.
    """
    lines = [
        cache,
        f"SSLStaplingForceURL http://127.0.0.1:{port}/",
        "SSLStaplingResponderTimeout 1",
        "SSLStaplingStandardCacheTimeout 3600",
        "SSLStaplingErrorCacheTimeout 10",
        "SSLStaplingReturnResponderErrors off",
        "SSLStaplingFakeTryLater off",
        *(["SSLUseStapling On"] if turns_on else []),
    ]
    told = f"# The shield was turned on at {now:%Y-%m-%d %H:%M:%S %z} by {_one_line(who)}"
    because = _one_line(reason)
    return [
        f"{told}: {because}" if because else told,
        "# Apache asks the relay on this machine (ocsp-stapling shield status). To undo: ocsp-stapling shield off",
        *_guarded(lines),
    ]


def relay_port(text: str) -> int:
    """Return the port of the relay that the lines of a block send Apache to, 0 if they do not."""
    found = _RELAY.search(text)
    return int(found[1]) if found else 0


def cache_line(
    tree: ConfigTree, modules: frozenset[str], certificates: int, name: str = "ocsp_stapling"
) -> str:
    """Return the SSLStaplingCache line that uses the provider and directory of SSLSessionCache.

    It holds the staples of so many certificates.

    Raises Problem `no-socache` when Apache lacks the module of that provider, `no-session-cache` when there is
    no session cache to match. (Apache: SSLStaplingCache, SSLSessionCache.)
    """
    session = tree.last("SSLSessionCache")
    provider, _, rest = (session.value if session else "none").partition(":")
    provider = provider.lower()
    path = rest.partition("(")[0].strip('" ')
    if provider not in ("shmcb", "dbm") or not path:
        sentence = (
            "No SSLStaplingCache is in force and there is no SSLSessionCache (shmcb or dbm) to match, so stapling "
            "cannot be turned on safely. Nothing was touched; add an SSLStaplingCache first."
        )
        raise Problem("no-session-cache", sentence)
    if f"socache_{provider}_module" not in modules:
        sentence = (
            f"Apache runs without mod_socache_{provider}, which a stapling cache needs. Nothing was touched."
        )
        raise Problem("no-socache", sentence)
    directory = path.rpartition("/")[0]
    target = f"{directory}/{name}_{provider}" if directory else f"{name}_{provider}"
    return (
        f'SSLStaplingCache "{provider}:{target}({cache_bytes(certificates)})"'
        if provider == "shmcb"
        else (f'SSLStaplingCache "{provider}:{target}"')
    )


def larger_cache_line(tree: ConfigTree, certificates: int) -> str:
    """Return the SSLStaplingCache line for so many certificates, beside the shmcb cache that is in force."""
    cache = tree.last("SSLStaplingCache")
    path = cache.value.partition(":")[2].partition("(")[0].strip('" ') if cache else ""
    directory = path.rpartition("/")[0]
    target = f"{directory}/ocsp_stapling_shmcb" if directory else "ocsp_stapling_shmcb"
    return f'SSLStaplingCache "shmcb:{target}({cache_bytes(certificates)})"'


def read_note(body: str) -> dict[str, str]:
    """Return what, when, who and reason from a block's own comment; {} if it was edited away."""
    found = _NOTE.search(body)
    return {name: value or "" for name, value in found.groupdict().items()} if found else {}


def _notes(what: str, who: str, reason: str, now: datetime.datetime, undo: str = "") -> list[str]:
    told = f"# Stapling was turned {what} at {now:%Y-%m-%d %H:%M:%S %z} by {_one_line(who)}"
    because = _one_line(reason)
    undo = undo or ("on" if what == "off" else "undo")
    return [
        f"{told}: {because}" if because else told,
        f"# To undo: WHM > Plugins > OCSP Stapling, or as root: ocsp-stapling {undo}",
    ]


def _one_line(text: str) -> str:
    """Printable, on one line, and without the backslash at the end that would continue a comment."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split()).rstrip("\\ ")


def _guarded(lines: list[str]) -> list[str]:
    """Without mod_ssl a bare directive would be a syntax error for the whole server."""
    return ["<IfModule ssl_module>", *(f"    {line}" for line in lines), "</IfModule>"]
