"""Who is asking, and who may: the front's word about the caller, and the roles that every view must name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from ocsp_stapling.problem import Problem

HEADER = "X-Ocsp-Stapling-"
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
_TOKEN = re.compile(r"(?:/cpsess[0-9]{1,32})?")
_ROLES_ATTRIBUTE = "ocsp_stapling_roles"
View = TypeVar("View", bound=Callable[..., Any])


class Role(StrEnum):
    """What WHM says about the caller: root privileges, or the privilege `software-ocsp-stapling`."""

    OPERATOR = "operator"
    VIEWER = "viewer"


@dataclass(frozen=True)
class Caller:
    """Whoever is logged in to WHM and asks.

    `token_prefix` is the session's `/cpsess##########` (empty for basic authentication). A root-level user need not
    be called root.
    """

    user: str
    role: Role
    token_prefix: str = ""

    @property
    def is_operator(self) -> bool:
        """Whether the caller may see and do everything."""
        return self.role is Role.OPERATOR


def caller_from(header: Callable[[str, str], str]) -> Caller:
    """Return the caller that the front names; `header` is a request's `headers.get`.

    Raises Problem `forbidden` for anything that the front would not write.
    These headers prove something only because the server lets nobody but root connect (see web.server).
    """
    user, role, token = (header(HEADER + x, "") for x in ("User", "Role", "Token"))
    if not _USER.fullmatch(user) or role not in set(Role) or not _TOKEN.fullmatch(token):
        raise forbidden()
    return Caller(user, Role(role), token)


def operators_only(view: View) -> View:
    """Mark a view: for callers with root privileges."""
    return _mark(view, frozenset({Role.OPERATOR}))


def operators_and_viewers(view: View) -> View:
    """Mark a view: also for resellers with the plugin's privilege; it must show them their own accounts only."""
    return _mark(view, frozenset(Role))


def roles_of(view: Callable[..., Any]) -> frozenset[Role]:
    """Return who may use a view; nobody if it does not say."""
    roles: frozenset[Role] = getattr(view, _ROLES_ATTRIBUTE, frozenset())
    return roles


def refuse_unless_allowed(caller: Caller, view: Callable[..., Any]) -> None:
    """Raise Problem `forbidden` unless the view names the caller's role."""
    if caller.role not in roles_of(view):
        raise forbidden()


def forbidden() -> Problem:
    """Return the refusal that tells nothing about what was asked for."""
    return Problem("forbidden", "This needs root privileges in WHM, which you do not have here.")


def _mark(view: View, roles: frozenset[Role]) -> View:
    setattr(view, _ROLES_ATTRIBUTE, roles)
    return view
