"""The TLS sites as rows: found by search, by authority, in pages; and a staple check of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from ocsp_stapling.ca.directory import Directory, directory
from ocsp_stapling.change.note import alone_in
from ocsp_stapling.check.diagnosis import Diagnosis, Severity
from ocsp_stapling.check.diagnosis.queue import refused
from ocsp_stapling.ocsp.answer import SKEW_SECONDS, Answer, verify_answer
from ocsp_stapling.ocsp.certificate import parse
from ocsp_stapling.ocsp.door import Door
from ocsp_stapling.ocsp.issuer import issuer_of
from ocsp_stapling.ocsp.staple import Handshake, handshake
from ocsp_stapling.problem import Problem
from ocsp_stapling.server import state as server
from ocsp_stapling.server.certificate_memory import NOT_READ
from ocsp_stapling.server.retirement import retirement
from ocsp_stapling.server.sites import Endpoint, EndpointCertificate, labels
from ocsp_stapling.web import routing
from ocsp_stapling.web.context import caller, services
from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture
from ocsp_stapling.web.visibility import visible_to
from ocsp_stapling.web.words import Tone, ago_of, duration, moment, told_time
from ocsp_stapling.whm.accounts import Visible

blueprint = Blueprint("sites", __name__, url_prefix="/sites")
Get = Callable[[str, str], str]
PER_PAGE = 100
MEET_SECONDS = 8.0
_QUICK = 1.0
FILTERS = (
    ("must-staple", "Must-Staple only"),
    ("responder", "With a responder"),
    ("none", "Without a responder"),
    ("odd", "With something odd"),
)
IN_AN_OUTAGE = (("waiting", "Waiting now"), ("causing", "Causing the wait"))


@dataclass(frozen=True)
class SiteRow:
    """One TLS site."""

    name: str
    owner: str
    authority: str
    host: str
    tone: Tone
    word: str
    must_staple: bool
    expires: datetime | None
    note: str
    door: Door
    mark: str = ""
    """In an outage `causing` for a site whose certificate is at fault, `waiting` for one that waits for it; `refused`
    for one that Firefox does not open without a staple, and that has none.
    """
    certificates: tuple[EndpointCertificate, ...] = ()
    alone: str = ""
    """The name under which this plugin turned it off alone."""
    skew: int = SKEW_SECONDS
    """Seconds that Apache forgives an answer's times there."""


@dataclass(frozen=True)
class Query:
    """What is looked for."""

    text: str = ""
    authority: str = ""
    show: str = ""
    page: int = 1

    @classmethod
    def of(cls, get: Get) -> Query:
        """Read a query from a form or the address; what makes no sense is left out."""
        number = get("page", "1")
        page = int(number) if number.isdecimal() and len(number) < 6 else 1
        return cls(get("q", "").strip().lower()[:100], get("ca", "")[:200], get("show", ""), max(page, 1))


@dataclass(frozen=True)
class Met:
    """How meeting one site went."""

    name: str
    tone: Tone
    sentence: str
    lines: tuple[str, ...]


def marks(found: Diagnosis | None, refused: Iterable[str] = ()) -> Mapping[str, str]:
    """Return the sites that cause an outage or wait in it, by name, else those that Firefox refuses."""
    if found is None:
        return {}
    if found.severity is not Severity.STALLING:
        return dict.fromkeys(refused, "refused")
    return dict.fromkeys(found.waiting, "waiting") | dict.fromkeys(found.causing, "causing")


def page(query: Query, visible: Visible, marked: Mapping[str, str] | None = None) -> dict[str, object]:
    """Return the values of the page of sites that fit, of those that may be seen; marked ones first."""
    marked = marked or {}
    seen = (row for row in _rows() if visible.domain(row.name))
    every = [replace(row, mark=marked.get(row.name, "")) for row in seen]
    every.sort(key=lambda row: ("causing", "waiting", "refused", "").index(row.mark))
    found = [row for row in every if _fits(row, query)]
    pages = max(-(-len(found) // PER_PAGE), 1)
    number = min(query.page, pages)
    counts = Counter(row.authority for row in every if row.authority)
    return {
        "total": len(every),
        "found": len(found),
        "rows": found[(number - 1) * PER_PAGE : number * PER_PAGE],
        "page": number,
        "pages": pages,
        "query": query.text,
        "authority": query.authority,
        "show": query.show,
        "authorities": counts.most_common(200),
        "filters": (*IN_AN_OUTAGE, *FILTERS) if "waiting" in marked.values() else FILTERS,
        "retirement": retirement(one for row in every for one in row.certificates),
    }


def find(name: str, visible: Visible) -> SiteRow | None:
    """Return the site of that name, None if there is none that may be seen."""
    return next((row for row in _rows() if row.name == name and visible.domain(name)), None)


def named(domain: str, visible: Visible) -> SiteRow | None:
    """Return the site that answers to a domain, also by an alias; None if there is none that may be seen."""
    settings = services().settings
    here = server.look(settings.state_directory)
    names, known = labels(here.endpoints), directory(settings.authorities)
    for one in sorted(here.endpoints, key=lambda each: domain != each.name.lower()):
        if domain in (one.name.lower(), *(alias.lower() for alias in one.aliases)) and visible.domain(
            one.name
        ):
            return _row(one, names[one.name, one.port], here.stapling.on, known)
    return None


def _fits(row: SiteRow, query: Query) -> bool:
    texts = (row.name, row.owner, row.authority, row.host)
    return (
        (not query.text or any(query.text in text.lower() for text in texts))
        and (not query.authority or row.authority == query.authority)
        and {
            "must-staple": row.must_staple,
            "responder": bool(row.host),
            "none": not row.host,
            "odd": bool(row.note),
            "waiting": row.mark in ("waiting", "causing"),
            "causing": row.mark == "causing",
        }.get(query.show, True)
    )


# -- reading them -------------------------------------------------------------------------------------------


def _rows() -> list[SiteRow]:
    settings = services().settings
    here = server.look(settings.state_directory)
    known, names = directory(settings.authorities), labels(here.endpoints)
    rows = [_row(one, names[one.name, one.port], here.stapling.on, known) for one in here.endpoints]
    return sorted(rows, key=lambda row: row.name)


def _row(one: Endpoint, name: str, server_on: bool, known: Directory) -> SiteRow:
    host = _host(one.responder)
    authority = known.find(_host(next(iter(one.ocsp_urls), "")), one.organization)
    tone, word = _stapling(one)
    return SiteRow(
        name,
        one.owner or "",
        authority.name if authority else one.organization or one.issuer,
        host,
        tone,
        word,
        one.must_staple,
        one.not_after,
        _note(one, server_on),
        next(iter(one.doors), Door("127.0.0.1", one.port, one.name)),
        certificates=one.certificates,
        alone=one.name if alone_in(one) else "",
        skew=one.skew,
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _stapling(one: Endpoint) -> tuple[Tone, str]:
    if one.problem and not one.responder:
        return "warn", "Certificate not read" if one.problem == NOT_READ else "Certificate unreadable"
    if not one.responder:
        return "calm", "No responder"
    if not one.stapling:
        return "off", "Off"
    return ("good", "On") if one.chain_complete else ("warn", "Not possible")


def _note(one: Endpoint, server_on: bool) -> str:
    if one.problem == NOT_READ:
        return "The account's certificates take too long to read; the next look goes on with this one."
    if one.problem:
        return "The certificate file cannot be read."
    if one.expired:
        return "The certificate has expired."
    if one.responder and not one.chain_complete:
        return "The issuer is missing from the chain, so Apache cannot staple."
    if one.responder and one.override and one.stapling != server_on:
        if alone_in(one):
            return "Turned off for this site alone."
        return f"Turns stapling {'on' if one.stapling else 'off'} for itself."
    return ""


# -- meeting one --------------------------------------------------------------------------------------------


def met_at(row: SiteRow) -> Met:
    """Return what a browser meets at a site: a handshake that asks for a staple, verified, and one that does not."""
    asked = handshake(row.door, ask=True, limit=MEET_SECONDS)
    plain = handshake(row.door, ask=False, limit=MEET_SECONDS / 2)
    tone, words, lines = _judged(asked, row)
    told = f"Without asking for a staple: {_took(plain)}."
    return Met(row.name, tone, words, (f"Asking for a staple, as browsers do: {_took(asked)}.", told, *lines))


def _judged(made: Handshake, row: SiteRow) -> tuple[Tone, str, Sequence[str]]:
    if made.error == "timeout":
        return "bad", "Visitors wait: the handshake did not complete.", ()
    if made.error:
        return "bad", f"The handshake failed ({made.error}).", ()
    if made.staple is None:
        return _without(row)
    answer = _answer(made, row.skew)
    if answer is None:
        return "warn", "It sends a staple, which cannot be verified with the chain it sends.", ()
    good = answer.verdict.value == "good"
    tone: Tone = "good" if good and made.seconds < _QUICK else "warn"
    words = "It sends a good staple, verified." if good else f"It sends a staple. {answer.verdict.sentence}"
    return tone, words, tuple(_validity(answer))


def _without(row: SiteRow) -> tuple[Tone, str, Sequence[str]]:
    if not row.host:
        return "good", "It sends no staple, and needs none: its certificate names no responder.", ()
    if row.must_staple:
        return "bad", "It sends no staple, though its certificate says Must-Staple: Firefox refuses it.", ()
    tone: Tone = "calm" if row.word == "Off" else "warn"
    return tone, "It sends no staple.", ()


def _answer(made: Handshake, skew: int) -> Answer | None:
    try:
        leaf = parse(made.certificate or b"")
        issuer = issuer_of(leaf, [parse(der) for der in made.chain])
    except Problem:
        return None
    if issuer is None or made.staple is None:
        return None
    return verify_answer(made.staple, leaf, issuer, datetime.now(UTC), skew)


def _validity(answer: Answer) -> Iterable[str]:
    if answer.this_update:
        yield f"Signed {told_time(answer.this_update)}."
    if answer.next_update:
        yield f"Valid until {moment(answer.next_update)}, which is {ago_of(answer.next_update)}."


def _took(made: Handshake) -> str:
    if made.error == "timeout":
        return f"given up after {duration(made.seconds)}"
    return made.error or duration(made.seconds)


@blueprint.get("")
@operators_and_viewers
def show() -> Response:
    """Show one page of the sites that fit `q`, `ca` and `show`; as JSON the table alone, for the search box."""
    seen = picture.picture()
    marked = marks(seen.diagnosis, refused(seen.evidence) if seen.evidence else ())
    values = page(Query.of(request.args.get), visible_to(caller()), marked)
    if wants_json():
        return jsonify(html=render_template("sites_table.html", **values))
    name = request.args.get("met", "")
    job = services().meetings.look(caller().user, name)
    meeting = name if job is not None and job.running else ""
    met = job.found if job is not None else None
    return make_response(render_template("sites.html", met=met, meeting=meeting, **values))


@blueprint.post("")
@operators_and_viewers
def meet() -> Response:
    """Begin to meet one site (field `site`) as a browser does, and lead to where what came back is shown."""
    name = request.form.get("site", "")
    found = find(name, visible_to(caller()))
    if found is None:
        raise Problem("not-found", "There is no such site on this server, or it is not yours.")
    # A site that hangs takes seconds: not those of a thread that answers requests.
    services().meetings.begin(caller().user, name, lambda: met_at(found), of_viewer=not caller().is_operator)
    query = {field: request.form.get(field, "")[:200] or None for field in ("q", "ca", "show", "page")}
    return routing.see_other("sites.show", met=name, **query)


@blueprint.get("/met")
@operators_and_viewers
def following() -> Response:
    """Say whether the meeting of the site `met` has ended, for the page's script."""
    job = services().meetings.look(caller().user, request.args.get("met", ""))
    return jsonify(ended=job is None or not job.running)
