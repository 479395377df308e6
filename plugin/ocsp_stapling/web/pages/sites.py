"""The TLS sites as rows: found by search, by authority, in pages; and a staple check of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.layout import read_layout
from ocsp_stapling.apache.native import read_native_switch
from ocsp_stapling.apache.stapling import StaplingState, effective, is_on
from ocsp_stapling.ca.directory import Directory, directory
from ocsp_stapling.ocsp.answer import Answer, verify_answer
from ocsp_stapling.ocsp.certificate import issuer_of, parse
from ocsp_stapling.ocsp.staple import Door, Handshake, handshake
from ocsp_stapling.problem import Problem
from ocsp_stapling.server.certificate_files import CertificateFiles, Reading
from ocsp_stapling.server.vhosts import TlsVhost, read_owners, tls_vhosts
from ocsp_stapling.web.context import services
from ocsp_stapling.web.words import Tone, duration, moment
from ocsp_stapling.whm.accounts import Visible

Get = Callable[[str, str], str]
PER_PAGE = 100
MEET_SECONDS = 8.0
_QUICK = 1.0
_HTTPS = 443
FILTERS = (
    ("must-staple", "Must-Staple only"),
    ("responder", "With a responder"),
    ("none", "Without a responder"),
    ("odd", "With something odd"),
)


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


def page(query: Query, visible: Visible) -> dict[str, object]:
    """Return the values of the page of sites that fit, of those that may be seen."""
    every = [row for row in _rows() if visible.domain(row.name)]
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
        "filters": FILTERS,
    }


def find(name: str, visible: Visible) -> SiteRow | None:
    """Return the site of that name, None if there is none that may be seen."""
    return next((row for row in _rows() if row.name == name and visible.domain(name)), None)


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
        }.get(query.show, True)
    )


# -- reading them -------------------------------------------------------------------------------------------


def _rows() -> list[SiteRow]:
    settings, layout = services().settings, read_layout()
    tree = read_config(layout)
    state = effective(tree, read_native_switch(layout.ea4_conf))
    vhosts = tls_vhosts(tree, read_owners())
    pairs = [(str(v.certificate_file), str(v.chain_file or "")) for v in vhosts]
    readings = CertificateFiles(settings.state_directory).read(pairs)
    known, now = directory(settings.authorities), datetime.now(UTC)
    rows = [_row(v, readings[pair], state, known, now) for v, pair in zip(vhosts, pairs, strict=True)]
    return sorted(rows, key=lambda row: row.name)


def _row(vhost: TlsVhost, read: Reading, state: StaplingState, known: Directory, now: datetime) -> SiteRow:
    url = read.ocsp_urls[0] if read.ocsp_urls else ""
    host = _host(url)
    authority = known.find(host, read.organization)
    expires = datetime.fromtimestamp(read.not_after, UTC) if read.not_after else None
    on = is_on(vhost.stapling) if vhost.stapling else state.on
    tone, word = _stapling(on, url, read)
    return SiteRow(
        vhost.name,
        vhost.owner or "",
        authority.name if authority else read.organization or read.issuer,
        host,
        tone,
        word,
        read.must_staple,
        expires,
        _note(vhost, read, on, state, expires, now),
        _door(vhost),
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _stapling(on: bool, url: str, read: Reading) -> tuple[Tone, str]:
    if read.problem:
        return "warn", "Certificate unreadable"
    if not url:
        return "calm", "No responder"
    if not on:
        return "off", "Off"
    return ("good", "On") if read.chain_complete else ("warn", "Not possible")


def _note(
    vhost: TlsVhost, read: Reading, on: bool, state: StaplingState, expires: datetime | None, now: datetime
) -> str:
    if read.problem:
        return "The certificate file cannot be read."
    if expires and expires <= now:
        return "The certificate has expired."
    if read.ocsp_urls and not read.chain_complete:
        return "The issuer is missing from the chain, so Apache cannot staple."
    if read.ocsp_urls and vhost.stapling and on != state.on:
        return f"Turns stapling {'on' if on else 'off'} for itself."
    return ""


def _door(vhost: TlsVhost) -> Door:
    places = [place for place in vhost.addresses if place.port in (_HTTPS, 0)] or list(vhost.addresses)
    host, port = (places[0].host, places[0].port) if places else ("*", 0)
    shown = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - wildcards
    return Door(shown, port or _HTTPS, "localhost" if vhost.name.startswith("*") else vhost.name)


# -- meeting one --------------------------------------------------------------------------------------------


def meet(row: SiteRow) -> Met:
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
    answer = _answer(made)
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


def _answer(made: Handshake) -> Answer | None:
    try:
        leaf = parse(made.certificate or b"")
        issuer = issuer_of(leaf, [parse(der) for der in made.chain])
    except Problem:
        return None
    if issuer is None or made.staple is None:
        return None
    return verify_answer(made.staple, leaf, issuer, datetime.now(UTC))


def _validity(answer: Answer) -> Iterable[str]:
    if answer.this_update:
        yield f"Signed {moment(answer.this_update)}."
    if answer.next_update:
        yield f"Valid until {moment(answer.next_update)}."


def _took(made: Handshake) -> str:
    if made.error == "timeout":
        return f"given up after {duration(made.seconds)}"
    return made.error or duration(made.seconds)
