"""The one exception that reaches people: a stable code and one plain sentence."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 - the word that users read
    """Something a user can meet.

    `code` is stable and lower-case with hyphens (programs match on it). `sentence` says in plain words what
    happened, what it means and what to do. `detail` is the original text of a tool, shown below the sentence.
    """

    def __init__(self, code: str, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.detail = detail

    def as_json(self) -> dict[str, str]:
        """Return the problem as the JSON object every face prints."""
        found = {"code": self.code, "sentence": self.sentence}
        return found | {"detail": self.detail} if self.detail else found


def reason_of(error: Exception) -> str:
    """Return why something failed, in the system's words where it has some, without its numbers."""
    return getattr(error, "strerror", None) or str(error)


def not_root() -> Problem:
    """Return the one Problem for whatever only root can do."""
    return Problem("not-root", "This needs root: repeat it as root or with sudo.")
