"""What people and programs read: small helpers for plain sentences, and what all JSON documents share.

The documents' schemas are docs/json/; over all of them a name has one meaning and one type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

_NAMES_SHOWN = 3
_URL_SHOWN = 100


def listed(names: Sequence[str]) -> str:
    """Return a few names and how many more there are."""
    shown = list(dict.fromkeys(names))
    rest = len(shown) - _NAMES_SHOWN
    return ", ".join(shown[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int | Sequence[object], noun: str) -> str:
    """Return `1 site`, `2,000 sites`, `no site`."""
    count = number if isinstance(number, int) else len(number)
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"no {noun}" if not count else f"1 {noun}" if count == 1 else f"{count:,} {plural}"


def once(sentences: Sequence[str]) -> tuple[str, ...]:
    """Return the sentences without empty ones and repetitions."""
    return tuple(dict.fromkeys(filter(None, sentences)))


def capital(text: str) -> str:
    """Return a phrase as a sentence: a capital first, a full stop last."""
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith(".") else ".")


def uncapital(text: str) -> str:
    """Return a sentence so that it can follow a colon; abbreviations keep their capitals."""
    return text if text[:2].isupper() and text[1:2] != " " else text[:1].lower() + text[1:]


def duration(seconds: float) -> str:
    """Return a length of time in the one unit that fits it: `40 seconds`, `12 minutes`, `3 hours`, `2 days`."""
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count = round(seconds / unit)
        if count >= 2 or (unit == 1):
            return f"{count} {name}{'' if count == 1 else 's'}"
    raise AssertionError


def local(at: datetime | float) -> datetime:
    """Return a moment (seconds since the epoch, or a time with its zone) in the server's zone.

    The first and the last day of time, which anybody can write into an answer, are left in UTC where they would lie
    outside of it.
    """
    moment = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    try:
        return moment.astimezone()
    except OverflowError:
        return moment


def when(at: datetime | float) -> str:
    """Return a moment for people: `2026-11-24 03:41:07 CET`, in the server's zone."""
    there = local(at)
    return f"{there:%Y-%m-%d %H:%M:%S} {zone(there)}"


def zone(at: datetime | None = None) -> str:
    """Return the name of the server's time zone, or where it has none its distance to UTC."""
    there = local(at or datetime.now(UTC))
    name = there.tzname() or ""
    return name if name.isalpha() else f"UTC{there:%z}"


def ago(span: timedelta) -> str:
    """Return about how long ago something was, or in how long it will be."""
    if not (length := about(span)):
        return "just now"
    return f"{length} ago" if span > timedelta(0) else f"in {length}"


def about(span: timedelta) -> str:
    """Return a length of time in the one unit that fits it, "" below a minute."""
    seconds = abs(span.total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length or (unit == "minute" and seconds >= length):
            return counted(int(seconds // length), unit)
    return ""


def aged(at: datetime | float) -> str:
    """Return a moment with about how long ago it was."""
    return f"{when(at)} ({ago(local(datetime.now(UTC)) - local(at))})"


def milliseconds(value: float | None) -> str:
    """Return a short time, a dash for none."""
    return "-" if value is None else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def shown(url: str) -> str:
    """Return a foreign certificate's URL as a sentence can hold it: short, on one line, no control characters."""
    text = "".join(c if c.isprintable() else "?" for c in url[:_URL_SHOWN])
    return text + "..." if len(url) > _URL_SHOWN else text


def place_of(address: str, port: int) -> str:
    """Return where somebody is asked, as it stands in a URL (RFC 3986): `192.0.2.1:80`, `[2001:db8::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def host_of(url: str) -> str:
    """Return the host of a URL for a sentence, or as much of the URL as one can hold."""
    return shown(url.partition("://")[2].partition("/")[0] or url)


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
