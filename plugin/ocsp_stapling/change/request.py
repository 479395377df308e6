"""What somebody asked for: one form from the terminal, the page and the watch to the block in the file."""

from __future__ import annotations

import datetime
import re
import shlex
from dataclasses import dataclass, field
from typing import NamedTuple

from ocsp_stapling.problem import Problem

OFF, ON, UNDO, SHIELD_ON, SHIELD_OFF = "off", "on", "undo", "shield-on", "shield-off"
SITE_OFF, SITE_ON = "site-off", "site-on"
CACHE_FIT = "cache-fit"
OF_ONE_SITE = (SITE_OFF, SITE_ON)
IDENTITY = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{6}")


class Words(NamedTuple):
    """A change in words: as it is typed, offered, under way, told of somebody, and told once it is done."""

    typed: str
    do: str
    doing: str
    did: str
    done: str


def _turned(typed: str, thing: str, way: str) -> Words:
    turn = f"{thing} {way}"
    done = f"{thing[0].upper()}{thing[1:]} was turned {way}"
    return Words(typed, f"Turn {turn}", f"Turning {turn}", f"turned {turn}", done)


_OFF, _ON = _turned("off", "stapling", "off"), _turned("on", "stapling", "on")
_WORDS = {
    OFF: _OFF,
    ON: _ON,
    UNDO: Words(
        "undo", "Undo a change", "Taking a change back", "took a change back", "A change was taken back"
    ),
    SHIELD_ON: _turned("shield on", "the shield", "on"),
    SHIELD_OFF: _turned("shield off", "the shield", "off"),
    CACHE_FIT: Words(
        "cache fit",
        "Make the staple cache fit",
        "Making the staple cache fit",
        "made the staple cache fit",
        "The staple cache was made to fit",
    ),
    SITE_OFF: _OFF,
    SITE_ON: _ON,
}
ACTIONS = tuple(_WORDS)


def worded(action: str) -> Words:
    """Return an action in words; of one that another version wrote, its name."""
    return _WORDS.get(action) or Words(
        action, action, action, "changed how Apache staples", "A change was made"
    )


REASON_LIMIT = 300
"""Characters of a reason: for the form, the history and the note in the file alike."""
_NAME_LIMIT = 200
ACCOUNT = "@"
"""Before an account's name: it stands for all sites of that account whose certificates name a responder."""


def already(action: str, on: bool, site: str = "") -> str:
    """Return what holds already where there is nothing to write; `on`: whether stapling is, there."""
    if action == CACHE_FIT:
        return "The staple cache holds every staple"
    if action in (SHIELD_ON, SHIELD_OFF):
        return f"The shield is {'on' if action == SHIELD_ON else 'off'}"
    return f"Stapling is {'on' if on else 'off'}{f' for {called(site)}' if site else ''}"


def alone(told: str, site: str) -> str:
    """Return what was told of a change with whom it concerns, if that is a `site` of a request."""
    return f"{told} for {called(site)} alone" if site else told


def called(site: str) -> str:
    """Return whom a `site` of a request means, in words."""
    return f"the sites of account {site[1:]}" if site.startswith(ACCOUNT) else site


@dataclass(frozen=True)
class ChangeRequest:
    """A change as it was asked for, checked when it is made. Raises Problem `invalid-input`.

    `tag` is that of the plan that was shown; `undone` names the operation to take back; `identity` is the one to
    record the operation under (empty: a new one). `shield_port` is that of the relay where the shield is wished
    for, 0 where it is not: then `on` returns to it. `site` is the only one that `site-off` and `site-on` concern
    (`@NAME`: all of that account's); `with_overrides` means those, too, that have a line of their own. `wait` is how
    many seconds another change is waited for.
    """

    action: str
    who: str
    reason: str = ""
    with_overrides: bool = False
    write_on: bool = False
    return_when_healthy: bool = False
    undone: str = ""
    identity: str = ""
    tag: str = ""
    wait: float = 0.0
    shield_port: int = 0
    site: str = ""
    now: datetime.datetime = field(default_factory=lambda: datetime.datetime.now().astimezone())

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", " ".join(self.reason.split()))
        if len(self.reason) > REASON_LIMIT:
            raise Problem(
                "invalid-input",
                f"The reason has {len(self.reason)} characters, and {REASON_LIMIT} fit, so nothing was done.",
            )
        if not self._is_well_formed():
            raise Problem(
                "invalid-input",
                "The request holds something that is not allowed with it, so nothing was done. "
                "Look at the plan again and confirm that.",
            )

    def _is_well_formed(self) -> bool:
        texts = (self.who, self.reason, self.tag, self.undone, self.site)
        return (
            self.action in ACTIONS
            and all(text.isprintable() and len(text) <= REASON_LIMIT for text in texts)
            and len(self.who) <= _NAME_LIMIT
            and (not self.undone or self.action == UNDO)
            and bool(self.site) is (self.action in OF_ONE_SITE)
            and not (self.with_overrides and self.action not in (OFF, ON))
            and not (self.write_on and self.action != ON)
            and not (self.return_when_healthy and self.action != OFF)
        )

    @property
    def _words(self) -> list[str]:
        return self.action.removeprefix("site-").split("-")

    @property
    def _choices(self) -> list[str]:
        """The options that decide what it does: the same for a person and for us."""
        flags = {
            "--overrides": self.with_overrides,
            "--write-on": self.write_on,
            "--return": self.return_when_healthy,
        }
        port = [f"--port={self.shield_port}"] if self.action == SHIELD_ON and self.shield_port else []
        return [*port, *[flag for flag, wanted in flags.items() if wanted]]

    @property
    def command(self) -> str:
        """What a person would type for the same."""
        option, name = ("account", self.site[1:]) if self.site.startswith(ACCOUNT) else ("site", self.site)
        of = [f"--{option}", name] if name else []
        return shlex.join(
            ["ocsp-stapling", *self._words, *of, *self._choices, *([self.undone] if self.undone else [])]
        )

    def arguments(self) -> list[str]:
        """Return the command's arguments; every value is glued to its option, so none can become an option."""
        given = {
            "operation": self.identity,
            "who": self.who,
            "reason": self.reason,
            "tag": self.tag,
            "site": self.site,
        }
        return [
            *self._words,
            "--yes",
            "--json",
            *[f"--{name}={value}" for name, value in given.items() if value],
            *self._choices,
            *(["--", self.undone] if self.undone else []),
        ]
