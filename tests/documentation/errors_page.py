"""docs/errors.md: every stable error code, what it says (from the source), and what to do (from advice.toml)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.documentation.markdown import GENERATED, page, table
from tests.documentation.problems import sentences

_INTRODUCTION = """\
# Errors

An error is one sentence with a code in square brackets, such as `[not-root]`; with `--json` it is
`{"error": {"code": ..., "sentence": ..., "detail": ...}}`. The codes are stable, so programs may match on them; the
sentences may be worded better one day. *Slanted words* stand for what is known only then: a path, a name, a number.

`off`, `on` and `undo` that end with exit status 1 touched nothing; with 3 everything was put back. Only 4 means that
something is left to be mended by hand: the sentence names it."""

ADVICE = Path(__file__).with_name("advice.toml")


def render() -> str:
    """Return the page. Raises KeyError for a code without advice."""
    found, advice = sentences(), tomllib.loads(ADVICE.read_text())
    rows = (
        (f'<a id="{code}"></a>`{code}`', "<br>".join(map(_escaped, told)), advice[code])
        for code, told in found.items()
    )
    return page(GENERATED, _INTRODUCTION, table(("code", "what it says", "what to do"), rows))


def _escaped(sentence: str) -> str:
    """Stars that are not ours must not slant anything."""
    return re.sub(r"/\*\*/\*", r"/\\*\\*/\\*", sentence)
