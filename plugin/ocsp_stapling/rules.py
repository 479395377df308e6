"""Rules for single values of the configuration: each turns a TOML value into ours or says what is allowed."""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_SSH_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_\[][A-Za-z0-9_.:\]-]*")
_ITEMS = 1000
_TEXT = 500


@dataclass(frozen=True)
class Rule:
    """What a setting may be, in words, and the function that reads it (raises ValueError if it is not)."""

    allowed: str
    convert: Callable[[Any], Any]

    def read(self, value: Any) -> Any:
        """Return the converted value; ValueError carries the words for what is allowed."""
        try:
            return self.convert(value)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(self.allowed) from error


def shown(value: object) -> str:
    """Return a rejected value as short printable text."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "this list"
    return plain(repr(value))


def plain(text: str, limit: int = 80) -> str:
    """Return text that is safe to print on one line."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])


def _require(condition: object) -> None:
    if not condition:
        raise ValueError


def _text(value: Any) -> str:
    _require(isinstance(value, str) and len(value) <= _TEXT and value.isprintable())
    return str(value)


def _list_of(one: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def convert(value: Any) -> tuple[Any, ...]:
        _require(isinstance(value, list) and len(value) <= _ITEMS)
        return tuple(one(item) for item in value)

    return convert


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        _require(pattern.fullmatch(_text(value)))
        return str(value)

    return convert


def _boolean(value: Any) -> bool:
    _require(isinstance(value, bool))
    return bool(value)


def number(low: float, high: float, unit: str) -> Rule:
    """Return the rule for a number of `unit` from `low` to `high`."""

    def convert(value: Any) -> float:
        _require(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
        _require(low <= value <= high)
        return float(value)

    return Rule(f"a number of {unit} from {low:g} to {high:g}", convert)


def whole_number(low: int, high: int) -> Rule:
    """A rule for a whole number within the bounds."""

    def convert(value: Any) -> int:
        _require(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
        return int(value)

    return Rule(f"a whole number from {low} to {high}", convert)


def one_of(choices: tuple[str, ...]) -> Rule:
    """Return the rule for one of a few words."""

    def convert(value: Any) -> str:
        _require(isinstance(value, str) and value in choices)
        return str(value)

    return Rule("one of " + ", ".join(f'"{choice}"' for choice in choices), convert)


def _path(value: Any) -> Path:
    _require(_text(value).startswith("/"))
    return Path(value)


def _host_name(value: Any) -> str:
    name = _matching(_HOST_NAME)(value).lower()
    _require(len(name) <= 253 and "." in name)
    return name


def _pattern(value: Any) -> str:
    _require(re.search(r"\w", _text(value)))  # a pattern of nothing but `*` would claim every certificate
    return str(value)


def _https(value: Any) -> str:
    parts = urlsplit(_text(value))
    _require(parts.scheme == "https" and parts.hostname and not parts.username and not parts.fragment)
    _require(parts.port is None or parts.port > 0)
    return str(value)


def _proxy(value: Any) -> str:
    parts = urlsplit(_text(value))
    _require(parts.scheme in {"http", "https"} and parts.hostname and parts.path in {"", "/"})
    _require(parts.port is None or parts.port > 0)
    return str(value)


def _optional(one: Callable[[Any], Any]) -> Callable[[Any], str]:
    return lambda value: "" if value == "" else str(one(value))


def _date(value: Any) -> str:
    return datetime.date.fromisoformat(str(value)).isoformat()


boolean = Rule("true or false", _boolean)
networks = Rule(
    'a list of networks such as "10.20.0.0/16"', _list_of(lambda v: ipaddress.ip_network(_text(v)))
)
addresses = Rule(
    'a list of IP addresses such as "1.1.1.1"', _list_of(lambda v: str(ipaddress.ip_address(_text(v))))
)
absolute_path = Rule("an absolute path", _path)
optional_path = Rule('an absolute path, or ""', _optional(_path))
proxy_url = Rule('a proxy such as "http://proxy.example.com:3128", or ""', _optional(_proxy))
https_url = Rule('an address that begins with "https://", or ""', _optional(_https))
ssh_hosts = Rule('a list of ssh hosts such as "root@other.example.com"', _list_of(_matching(_SSH_HOST)))
host_names = Rule('a list of host names such as "ocsp.example.com"', _list_of(_host_name))
patterns = Rule('a list of organisation names such as "Example CA*"', _list_of(_pattern))
name = Rule("a short text", _matching(re.compile(r".{1,80}")))
note = Rule("a text of at most 500 characters", _text)
status_id = Rule(
    'the 24 hexadecimal digits of a Status.io page, or ""', _matching(re.compile(r"(?:[0-9a-f]{24})?"))
)
iso_date = Rule('a date such as "2025-08-06", or ""', _optional(_date))
