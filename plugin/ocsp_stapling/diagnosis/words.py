"""Small helpers for plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

_NAMES_SHOWN = 3


def listed(names: Sequence[str]) -> str:
    """Return a few names and how many more there are."""
    shown = list(dict.fromkeys(names))
    rest = len(shown) - _NAMES_SHOWN
    return ", ".join(shown[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def once(sentences: Sequence[str]) -> tuple[str, ...]:
    """Return the sentences without empty ones and repetitions."""
    return tuple(dict.fromkeys(filter(None, sentences)))


def capital(text: str) -> str:
    """Return a phrase as a sentence: a capital first, a full stop last."""
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith(".") else ".")


def uncapital(text: str) -> str:
    """Return a sentence so that it can follow a colon; abbreviations keep their capitals."""
    return text[:1].lower() + text[1:] if not text[:2].isupper() else text
