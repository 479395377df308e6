"""Routes by the query parameter `p`, because cpsrvd knows no path behind index.cgi.

`index.cgi?p=operations/ID` becomes Flask's ordinary path `/operations/ID`, so that views, converters and
blueprints are what everybody knows. Links are written relative (`?p=...`): the browser keeps the session prefix
of the address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from flask import Response, redirect, url_for

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_PAGE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._:@-]*(?:/[A-Za-z0-9][A-Za-z0-9._:@-]*)*)?")
_NOWHERE = "/-"


class ByParameter:
    """WSGI middleware: the parameter `p` is the path."""

    def __init__(self, application: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = _path(environ)
        return self._application(environ, start_response)


def _path(environ: WSGIEnvironment) -> str:
    """The path that `p` stands for; none that exists if it is odd, or there twice with two meanings."""
    pairs = parse_qsl(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)
    pages = [value for key, value in pairs if key == "p"] or [""]
    if environ.get("PATH_INFO", "/") != "/" or len(pages) != 1 or not _PAGE.fullmatch(pages[0]):
        return _NOWHERE
    return "/" + pages[0]


def link(endpoint: str, **values: Any) -> str:
    """Return the relative address of a view: `?p=responders&ca=alpha`. For templates and for `see_other`."""
    parts = urlsplit(url_for(endpoint, **values))
    page = quote(parts.path.lstrip("/"), safe="/:@")
    # `p` stands there even if it is empty: a bare question mark would not survive in a Location header.
    return "?" + "&".join(part for part in (f"p={page}", parts.query) if part)


def see_other(endpoint: str, **values: Any) -> Response:
    """Return the redirect after a form: 303, so that a reload does not send the form again."""
    answer = redirect(link(endpoint, **values), 303)
    assert isinstance(answer, Response)
    return answer
