"""Proof that a form was made by this page for this session: a signed field, for cookies do not reach a WHM plugin.

A token is valid for one user in one WHM session until it expires, and may be used more than once: a second tab or
a repeated form must work. That a repeated form does not do its work twice is the operation's business, whose
identity is a field of the form too.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from itsdangerous import BadSignature, SignatureExpired, TimestampSigner

from ocsp_stapling.problem import Problem
from ocsp_stapling.web.identity import Caller

FIELD = "csrf"
KEY_NAME = "page.key"
LIFETIME_SECONDS = 4 * 3600
_KEY_BYTES = 32
_SAID = b"form"


class FormTokens:
    """Issues and checks the tokens; `lifetime_seconds` is how long a form may stay open in a browser."""

    def __init__(self, key: bytes, lifetime_seconds: int = LIFETIME_SECONDS) -> None:
        self._key = key
        self._lifetime = lifetime_seconds

    def issue(self, caller: Caller) -> str:
        """Return a token for the forms of a page shown to `caller`."""
        return self._signer(caller).sign(_SAID).decode("ascii")

    def check(self, caller: Caller, token: str) -> None:
        """Raise Problem `form-missing`, `form-foreign` or `form-expired` unless the token is this caller's."""
        if not token:
            raise Problem(
                "form-missing", "The form came without its proof of origin. Open the page anew and try again."
            )
        try:
            self._signer(caller).unsign(token.encode(), max_age=self._lifetime)
        except SignatureExpired:
            raise Problem(
                "form-expired", "The form is too old. Nothing was done; open the page anew and try again."
            ) from None
        except BadSignature:
            raise Problem(
                "form-foreign",
                "The form belongs to another login. Nothing was done; open the page anew and try again.",
            ) from None

    def _signer(self, caller: Caller) -> TimestampSigner:
        # The session is part of the key, not of the token: a page that leaks its token leaks no session.
        salt = f"form\0{caller.user}\0{caller.token_prefix}".encode()
        return TimestampSigner(self._key, salt=salt, digest_method=hashlib.sha256)


def load_key(directory: Path) -> bytes:
    """Return this server's signing key, made at first use, so that a form survives the service's idle exit.

    Where nothing can be written the key lives as long as the process: better a form to open anew than no page.
    """
    path = directory / KEY_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError:
        key = b""
    return key if len(key) == _KEY_BYTES else secrets.token_bytes(_KEY_BYTES)


def _make(path: Path) -> None:
    """Give a finished key its name; of two that start at once, the first wins."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
