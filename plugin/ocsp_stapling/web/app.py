"""The Flask application: who asks, may they, is the form ours; then the view; then the headers."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, current_app, g, request

from ocsp_stapling.change.jobs import Operations
from ocsp_stapling.settings import Settings
from ocsp_stapling.web import context, csrf, errors, pages, routing
from ocsp_stapling.web.context import Services, services
from ocsp_stapling.web.identity import Caller, caller_from, refuse_unless_allowed, roles_of

BODY_LIMIT = 1024 * 1024
# The front replaces the policy of pages that WHM wraps: WHM's own inline scripts must keep running there.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    # Not no-referrer: WHM can be set to refuse requests without a referrer.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class PageResponse(Response):
    """An answer in UTF-8: for bytes in Apache's files that are none (lone surrogates here) stand question marks."""

    def set_data(self, value: bytes | str) -> None:
        super().set_data(value.encode("utf-8", "replace") if isinstance(value, str) else value)


def create_app(
    settings: Settings,
    *,
    tokens: csrf.FormTokens | None = None,
    operations: Operations | None = None,
    register: Callable[[Flask], None] = lambda _app: None,
) -> Flask:
    """Return the application. `register` may add further views (tests do); a view without roles is refused."""
    app = Flask(__name__, static_folder=None)
    app.response_class = PageResponse
    app.config.update(MAX_CONTENT_LENGTH=BODY_LIMIT, MAX_FORM_MEMORY_SIZE=BODY_LIMIT, MAX_FORM_PARTS=1000)
    app.url_map.merge_slashes = False
    tokens = tokens or csrf.FormTokens(csrf.load_key(settings.state_directory))
    context.attach(app, Services(settings, tokens, operations or Operations(settings.state_directory)))
    pages.register(app)
    register(app)
    errors.register(app)
    app.before_request(_admit)
    app.after_request(_harden)
    app.teardown_request(_leave)
    app.context_processor(_in_templates)
    _refuse_views_without_roles(app)
    app.wsgi_app = routing.ByParameter(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _admit() -> None:
    """Let a request through to its view, or raise Problem; unknown pages are told apart only for those let in."""
    g.caller = caller_from(request.headers.get)
    if request.endpoint is None:
        return
    refuse_unless_allowed(g.caller, current_app.view_functions[request.endpoint])
    if not g.caller.is_operator:
        services().turns.take(g.caller.user)
        g.in_turn = g.caller.user
    if request.method not in ("GET", "HEAD"):
        services().tokens.check(g.caller, request.form.get(csrf.FIELD, ""))
    elif g.caller.is_operator:
        services().operations.finish_interrupted()


def _leave(_error: BaseException | None) -> None:
    """A viewer's request has been answered."""
    if user := g.pop("in_turn", ""):
        services().turns.give_back(user)


def _harden(answer: Response) -> Response:
    answer.headers.update(HEADERS)
    answer.make_sequence()  # the front wants a length, and never a part of a page
    return answer


def _in_templates() -> dict[str, object]:
    found: dict[str, object] = {"link": routing.link, "csrf_field": csrf.FIELD}
    if isinstance(g.get("caller"), Caller):
        found |= {"caller": g.caller, "csrf_token": _form_token}
    return found


def _form_token() -> str:
    """The token for all forms of one page."""
    if "form_token" not in g:
        g.form_token = services().tokens.issue(g.caller)
    token: str = g.form_token
    return token


def _refuse_views_without_roles(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        if not roles_of(app.view_functions[rule.endpoint]):
            raise RuntimeError(f"the view {rule.endpoint} does not say who may use it")
