"""The lines of a managed block: off; on; a cache that fits; the shield. To the transaction they are data."""

from __future__ import annotations

import datetime
import re

from ocsp_stapling.apache.stapling import cache_bytes
from ocsp_stapling.apache.tree import ConfigTree
from ocsp_stapling.problem import Problem

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
