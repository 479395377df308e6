"""docs/configuration.md from the settings' rules and from the comments of the shipped config.toml."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ocsp_stapling.settings import DEFAULT_PATH, PATH_VARIABLE, Authority, Settings
from tests.documentation.markdown import GENERATED, page, table

FILE = Path(__file__).resolve().parents[2] / "plugin/config.toml"
_SECTION = re.compile(r"\[(\w+)\]")
_KEY = re.compile(r"(\w+) = (.+)")

_INTRODUCTION = f"""\
# Configuration

Everything stands in one file, `{DEFAULT_PATH}` (TOML). The installer writes it once, with every setting at its
default and explained; an upgrade keeps yours. A missing file means the defaults.

- Changes hold from the next command and the next pass of the watch. The page's service reads the file when it starts:
  `systemctl stop ocsp-stapling` ends it, and the next request to the page starts it anew.
- A misspelt name or a value out of range is an error that names the line's key and what is allowed; nothing is
  ignored in silence. `ocsp-stapling doctor` reads the file, too.
- The file must belong to root and be writable for root only, else it is not used.
- `{PATH_VARIABLE}` in the environment names another file."""


@dataclass(frozen=True)
class Setting:
    """One setting as the shipped file has it."""

    section: str
    name: str
    default: str
    comment: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name


def settings() -> Iterator[Setting]:
    """Yield the settings of the shipped file with the comments above them."""
    section, comment = "", [""]
    for line in FILE.read_text().splitlines():
        if found := _SECTION.fullmatch(line):
            section, comment = found[1], []
        elif found := _KEY.fullmatch(line):
            yield Setting(section, found[1], found[2], " ".join(comment).strip())
            comment = []
        elif line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif not line:
            comment = []


def allowed() -> dict[str, str]:
    """Return what each setting may be, in the words of its rule, by the setting's path."""
    found = {}
    for each in dataclasses.fields(Settings):
        if "rule" in each.metadata:
            found[each.name] = each.metadata["rule"].allowed
        elif dataclasses.is_dataclass(each.default):
            for inner in dataclasses.fields(each.default):
                found[f"{each.name}.{inner.name}"] = inner.metadata["rule"].allowed
    return found


def render() -> str:
    """Return the page."""
    words, parts, section = allowed(), [], ""
    for each in settings():
        if each.section != section:
            section = each.section
            parts.append(f"## [{section}]")
        parts.append(f"### `{each.path}`")
        parts.append(f"{each.comment}\n\n- Default: `{each.default}`\n- Allowed: {words[each.path]}")
    return page(GENERATED, _INTRODUCTION, *parts, _authorities())


def _authorities() -> str:
    rows = [
        (f"`{f.name}`", f.metadata["rule"].allowed, f"`{_toml(f.default)}`")
        for f in dataclasses.fields(Authority)
    ]
    text = """\
## [[authority]]

A certificate authority that the plugin does not know, or better data for one it knows: an entry of the same name
replaces it. Repeat the section for each. `responders` are host names that stand for themselves and for the names
below them; `issuers` are compared with the organisation of a certificate's issuer (`*` stands for any text). `kind`
says how its status page is read: `statusio` (Status.io), `statuspage` (Atlassian Statuspage) or `link` (shown, not
read).

```toml
[[authority]]
name = "Example CA"
responders = ["ocsp.example.com"]
issuers = ["Example Trust*"]
status_page = "https://status.example.com"
kind = "statuspage"
```"""
    return page(text, table(("key", "allowed", "default"), rows))


def _toml(value: object) -> str:
    return "[]" if value == () else f'"{value}"'
