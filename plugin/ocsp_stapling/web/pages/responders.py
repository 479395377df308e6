"""Responders, addresses and authorities as rows for people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Response,
    get_template_attribute,
    jsonify,
    make_response,
    render_template,
    request,
)
from markupsafe import Markup

from ocsp_stapling.ca.reading import Level
from ocsp_stapling.check.diagnosis import Cause, Diagnosis, ResponderDiagnosis
from ocsp_stapling.check.evidence import AuthorityEvidence, Evidence, ResponderEvidence, is_other
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome
from ocsp_stapling.text import uncapital
from ocsp_stapling.web.errors import wants_json
from ocsp_stapling.web.identity import operators_and_viewers
from ocsp_stapling.web.pages import picture, trends
from ocsp_stapling.web.pages.chart import Point
from ocsp_stapling.web.words import LEVELS, Tone, counted, milliseconds, outcome_word, sentence

blueprint = Blueprint("responders", __name__)
_DETAILED = 20  # responders up to which all their addresses are part of the page
_UNFOLDED = 2  # troubled responders that are shown unfolded
_HARMLESS = frozenset({Outcome.TRY_LATER, Outcome.UNAUTHORIZED, Outcome.DEADLINE})


@dataclass(frozen=True)
class AddressRow:
    """One address of a responder, each stage in words."""

    address: str
    family: str
    note: str
    ping: str
    tcp: str
    http: str
    ocsp: str
    until: datetime | None
    tone: Tone
    word: str
    sentence: str


@dataclass(frozen=True)
class ResponderRow:
    """One responder as asked for one issuer."""

    url: str
    host: str
    authority: str
    issuer: str
    anchor: str
    tone: Tone
    word: str
    sentence: str
    resolved: str
    site_count: int
    notes: tuple[str, ...]
    addresses: tuple[AddressRow, ...]
    points: tuple[Point, ...]
    command: str
    open: bool
    address_count: int
    detailed: bool
    """Whether its addresses are part of the page; of very many responders they are fetched when looked at."""


@dataclass(frozen=True)
class AuthorityRow:
    """One authority: what it says of itself, and what that means here."""

    name: str
    tone: Tone
    word: str
    sentence: str
    incidents: tuple[str, ...]
    meaning: str
    url: str
    page: str
    site_count: int


@dataclass(frozen=True)
class _Folded:
    """The rows of one look, those that fail first; by their anchors how they are drawn, and what they unfold to."""

    rows: tuple[ResponderRow, ...]
    drawn: Mapping[str, Markup]
    addresses: Mapping[str, Sequence[AddressFinding]]


_latest: picture.Latest[_Folded] = picture.Latest()


def _folded(evidence: Evidence, diagnosis: Diagnosis, points: Mapping[str, tuple[Point, ...]]) -> _Folded:
    judged = {(one.url, one.issuer): one for one in diagnosis.responders}
    rows = [
        _responder(one, judged.get((one.url, one.issuer)), points.get(one.url, ()))
        for one in evidence.responders
    ]
    rows.sort(key=lambda row: (row.tone == "good", -row.site_count))
    draw = get_template_attribute("responder.html", "responder")
    return _Folded(
        tuple(rows),
        {row.anchor: draw(row) for row in rows} if len(rows) > _DETAILED else {},
        {_anchor(one): one.finding.addresses for one in evidence.responders},
    )


def _unfolded(found: _Folded, opened: str) -> list[ResponderRow]:
    """Unfold the first in trouble and the one whose URL is `opened`; few come with all their addresses."""
    unfold = {row.anchor for row in found.rows[:_UNFOLDED] if row.tone != "good"}
    unfold |= {row.anchor for row in found.rows if row.url == opened}
    return [
        row
        if found.drawn and row.anchor not in unfold
        else replace(
            row,
            open=row.anchor in unfold,
            detailed=True,
            addresses=tuple(map(_address, found.addresses[row.anchor])),
        )
        for row in found.rows
    ]


def _anchor(one: ResponderEvidence) -> str:
    return (
        "r-" + hashlib.sha256(f"{one.url}\n{one.issuer}".encode("utf-8", "surrogateescape")).hexdigest()[:10]
    )


def _responder(
    one: ResponderEvidence, judged: ResponderDiagnosis | None, points: tuple[Point, ...]
) -> ResponderRow:
    finding = one.finding
    outcome = judged.why.outcome if judged else finding.outcome
    good = judged.ok if judged else outcome.is_good
    late = bool(judged and judged.why.late)
    tone: Tone = "good" if good else "warn" if late or outcome in _HARMLESS else "bad"
    return ResponderRow(
        one.url,
        finding.called,
        one.authority,
        one.issuer,
        _anchor(one),
        tone,
        "Answers" if good else "Slow" if late else outcome_word(outcome),
        judged.why.sentence if judged and judged.cause is not Cause.HEALTHY else finding.sentence,
        _resolved(one),
        _count(one),
        _notes(one, judged),
        (),
        points,
        one.command,
        False,
        len(finding.addresses),
        False,
    )


def _count(one: ResponderEvidence) -> int:
    return sum(not is_other(site.name) for site in one.sites)


def _resolved(one: ResponderEvidence) -> str:
    finding = one.finding
    if finding.resolve_ms is None:
        return outcome_word(finding.fault) if finding.fault else "not asked"
    return f"{counted(finding.address_count, 'address')} in {milliseconds(finding.resolve_ms)}"


def _notes(one: ResponderEvidence, judged: ResponderDiagnosis | None) -> tuple[str, ...]:
    strict = [site.name for site in one.sites if site.must_staple and not is_other(site.name)]
    notes = list(judged.why.reasons_for if judged and not judged.ok else ())
    notes += judged.why.reasons_against if judged else ()
    if one.name_sentence:
        notes.append(one.name_sentence.rstrip(".") + ".")
    notes += [told.sentence for told in one.elsewhere]
    if one.finding.address_count > len(one.finding.addresses) > 0:
        notes.append(f"Only the first {len(one.finding.addresses)} addresses were asked.")
    if strict:
        notes.append(f"{counted(len(strict), 'site')} with a Must-Staple certificate.")
    return tuple(dict.fromkeys(notes))


def _pinged(found: AddressFinding) -> str:
    """Who answers OCSP is not pinged."""
    if found.icmp_ms is None:
        return "–" if found.outcome.is_good else "no answer"
    return milliseconds(found.icmp_ms)


def _address(found: AddressFinding) -> AddressRow:
    status = f"{found.http_status}, {milliseconds(found.http_ms)}" if found.http_status else "–"
    tone: Tone = "good" if found.outcome.is_good else "warn" if found.outcome in _HARMLESS else "bad"
    return AddressRow(
        found.address,
        {"ipv4": "IPv4", "ipv6": "IPv6"}.get(found.family, found.family),
        "allowed by the configuration" if found.allowed_by_operator else "",
        _pinged(found),
        _connected(found),
        status,
        found.certificate_status or ("–" if found.verdict is None else found.verdict.value.replace("-", " ")),
        found.next_update,
        tone,
        outcome_word(found.outcome),
        found.sentence,
    )


def _connected(found: AddressFinding) -> str:
    if found.tcp_ms is not None:
        return milliseconds(found.tcp_ms)
    return "no route" if found.route is False else "no connection"


def authority_rows(evidence: Evidence, diagnosis: Diagnosis) -> list[AuthorityRow]:
    """Return a row for each authority whose responders are asked, troubled ones first."""
    said = {one.name: one for one in evidence.authorities}
    names = dict.fromkeys([*(one.authority for one in evidence.responders), *said])
    rows = [_authority(name, said.get(name), evidence, diagnosis.responders) for name in names]
    order = ("bad", "warn", "calm", "off", "good")
    return sorted(rows, key=lambda row: (order.index(row.tone), row.name))


def _authority(
    name: str,
    said: AuthorityEvidence | None,
    evidence: Evidence,
    judged: Sequence[ResponderDiagnosis],
) -> AuthorityRow:
    level = said.level if said else Level.UNKNOWN
    tone, word = LEVELS[level]
    own = [one for one in judged if one.authority == name]
    count = sum(_count(one) for one in evidence.responders if one.authority == name)
    return AuthorityRow(
        name,
        tone,
        word,
        sentence(said.sentence) if said else f"No status page of {name} is known.",
        said.incidents if said else (),
        _meaning(level, own),
        said.url if said and said.url.startswith("https://") else "",
        urlsplit(said.url).hostname or "" if said else "",
        count,
    )


def _meaning(level: Level, own: Sequence[ResponderDiagnosis]) -> str:
    broken = [one for one in own if not one.ok]
    trouble = level in (Level.DEGRADED, Level.OUTAGE)
    if not own:
        return "Nothing: no responder of it was asked."
    if broken and trouble:
        told = "too, which fits: wait for the authority. If sites hang, turn stapling off."
        return f"{_of_its(own, broken, 'fail')} here, {told}"
    if broken and level is Level.UNKNOWN:
        told = "no status page says whether that is so for others, too."
        return f"{_of_its(own, broken, 'fail')} here, and {told}"
    if broken:
        told = "Either the page lags, or the way from this server is at fault."
        return f"{_of_its(own, broken, 'fail')} here all the same. {told}"
    answer = _of_its(own, own, "answer")
    if trouble:
        return f"Nothing so far: {uncapital(answer)} our questions rightly. New certificates may be delayed."
    return f"Nothing: {uncapital(answer)} rightly."


def _of_its(every: Sequence[ResponderDiagnosis], some: Sequence[ResponderDiagnosis], verb: str) -> str:
    """`Its responder fails`, `All 3 of its responders fail`, `1 of its 3 responders fails`."""
    if len(every) == 1:
        return f"Its responder {verb}s"
    if len(some) == len(every):
        return f"All {len(every)} of its responders {verb}"
    return f"{len(some)} of its {len(every)} responders {verb}{'s' if len(some) == 1 else ''}"


@blueprint.get("/responders")
@operators_and_viewers
def show() -> Response:
    """Show a row for each responder; `open` names the URL of one to unfold; as JSON only what `row` unfolds to."""
    seen = picture.picture()
    values: dict[str, object] = {"evidence": seen.evidence, "rows": (), "shares": trends.availability()}
    rows: list[ResponderRow] = []
    if seen.evidence is not None and seen.diagnosis is not None:
        found = _latest.of(_folded, seen.evidence, seen.diagnosis, trends.trends())
        rows = _unfolded(found, request.args.get("open", ""))
        values |= {"rows": rows, "drawn": found.drawn}
    if wants_json():
        wanted = [row for row in rows if row.anchor == request.args.get("row")]
        return jsonify(html=render_template("responder_details.html", **(values | {"rows": wanted})))
    return make_response(render_template("responders.html", **values))


@blueprint.get("/authorities")
@operators_and_viewers
def authorities() -> str:
    """Show each authority's own word and what it means here."""
    seen = picture.picture()
    found: list[AuthorityRow] = []
    if seen.evidence is not None and seen.diagnosis is not None:
        found = authority_rows(seen.evidence, seen.diagnosis)
    return render_template("authorities.html", evidence=seen.evidence, rows=found)
