"""What a viewer keeps of the evidence: each field is filled with a text of its own, and those kept are listed."""

from __future__ import annotations

import collections.abc
import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest

from ocsp_stapling.check.evidence import Evidence, Unseen
from ocsp_stapling.check.incident import Incident, Note, Trouble, Wait, words
from ocsp_stapling.check.incident.model import SingleRelief, Span
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.finding import Outcome
from ocsp_stapling.web.restricted import restricted, restricted_incident
from ocsp_stapling.whm.accounts import Visible
from tests.unit.web import made

MARK = "§"
OWN = "own.test"
VIEWER = Visible(frozenset({OWN}))
OWN_PLACES = re.compile(
    r"(responders\.1\.sites|stapling|incomplete_chains|never_stapled|unreadable)\.1\.name"
    r"|names\.1|handshakes\.1\.site|configuration\.still_on\.1|shield\.(missing_must_staple|revoked)\.1"
)
SHOWN = {
    "responders.finding.url",
    "responders.finding.host",
    "responders.finding.addresses.address",
    "responders.finding.addresses.family",
    "responders.finding.addresses.certificate_status",
    "responders.authority",
    "responders.issuer",
    "responders.sites.owner",
    "responders.operator",
    "responders.serial",
    "responders.root_connects",
    "responders.elsewhere.url",
    "responders.elsewhere.sentence",
    "responders.public.asked",
    "responders.public.right",
    "stapling.owner",
    "incomplete_chains.owner",
    "never_stapled.owner",
    "unreadable.owner",
    "handshakes.address",
    "handshakes.error",
    "handshakes.key",
    "handshakes.responder",
    "handshakes.staple",
    "authorities.name",
    "authorities.sentence",
    "authorities.url",
    "authorities.incidents",
    "authorities.ocsp_ended",
    "shield.responders.host",
}


def filled(kind: Any, path: str) -> Any:
    """A value of that type in which every text tells its own place; of each tuple, the second may be the viewer's."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return filled(of[0], path)
    if origin is tuple:
        return tuple(filled(of[0], f"{path}.{place}") for place in range(2))
    if origin is frozenset:
        return frozenset({filled(of[0], path)})
    if origin is collections.abc.Mapping:
        return {filled(of[0], path): filled(of[1], path)}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: filled(hints[name], f"{path}.{name}") for name in fields})  # type: ignore[operator]
    return one(kind, path.removeprefix("."))


def one(kind: Any, path: str) -> Any:
    if kind is str:
        if re.fullmatch(r"(authorities|responders)\.1\.(name|authority)", path):
            return f"{MARK}authority"
        if re.fullmatch(r"responders\.1\.finding\.(url|host)|handshakes\.1\.responder", path):
            return f"http://{MARK}host/"
        if path == "shield.responders.1.host":
            return f"{MARK}host"
        return OWN if OWN_PLACES.fullmatch(path) else MARK + path
    plain = {bool: True, int: 7, float: 7.0, datetime: datetime(2026, 1, 1, tzinfo=UTC)}
    return next(iter(kind)) if issubclass(kind, Enum) else plain[kind]


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in a value with the names of the fields that lead to it."""
    if isinstance(value, str):
        yield path.removeprefix("."), value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, collections.abc.Mapping):
        yield from texts((*value.keys(), *value.values()), path)
    elif isinstance(value, tuple | frozenset):
        for each in value:
            yield from texts(each, path)


@pytest.fixture(scope="module")
def everything() -> Evidence:
    found = filled(Evidence, "")
    assert isinstance(found, Evidence)
    # A place's own name stands in what was said about it.
    heard = tuple(
        replace(told, sentence=f"From {told.place}: {MARK}told") for told in found.responders[1].elsewhere
    )
    return replace(found, responders=(found.responders[0], replace(found.responders[1], elsewhere=heard)))


def test_of_all_that_evidence_can_hold_a_viewer_gets_only_what_is_listed_here(everything: Evidence) -> None:
    through = {path for path, text in texts(restricted(everything, VIEWER)) if MARK in text}
    assert through == SHOWN


def test_whatever_else_a_viewer_reads_is_one_of_these_general_words(everything: Evidence) -> None:
    words = {text for _, text in texts(restricted(everything, VIEWER)) if text and MARK not in text}
    assert words == {
        OWN,
        "another site (1)",
        "another site (2)",
        "another machine",
        "a rule of this server's firewall",
        "a name server of this server",
        "what resolves names on this server",
    }


def test_no_name_server_is_told_of_where_none_is_dead(everything: Evidence) -> None:
    bare = replace(everything.responders[1], dead_nameservers=())
    assert restricted(replace(everything, responders=(bare,)), VIEWER).responders[0].dead_nameservers == ()


def test_whoever_has_root_privileges_gets_all_of_it(everything: Evidence) -> None:
    assert restricted(everything, Visible(everything=True)) is everything


def test_only_a_viewers_own_sites_have_a_name_and_an_account(everything: Evidence) -> None:
    found = restricted(everything, VIEWER)
    assert [[(site.name, site.owner) for site in one.sites] for one in found.responders] == [
        [(OWN, f"{MARK}responders.1.sites.1.owner"), ("another site (1)", "")]
    ]
    for sites in (found.stapling, found.incomplete_chains, found.never_stapled, found.unreadable):
        assert [site.name for site in sites] == [OWN]
    assert [site.name for site in found.stapling] == [OWN]
    assert found.site_count == 1
    assert found.configuration.still_on == (OWN,)


def test_of_the_shield_a_viewer_learns_that_it_is_on_and_what_their_own_certificates_lack(
    everything: Evidence,
) -> None:
    found = restricted(everything, VIEWER).shield
    assert found is not None
    assert (found.answering, found.held_count, found.certificate_count, found.question_count) == (
        True,
        0,
        0,
        None,
    )
    assert (found.missing_must_staple, found.revoked) == ((OWN,), (OWN,))
    counts = [(one.host, one.held_count, one.missing_count, one.ended_count) for one in found.responders]
    assert counts == [(f"{MARK}host", 0, 1, 1)]


@pytest.mark.parametrize(
    ("front", "sentence"),
    [
        (Server.HTTPD, ""),
        (Server.NGINX, "nginx answers on port 443"),
        (Server.LITESPEED, "LiteSpeed answers on port 443"),
    ],
)
def test_what_is_in_front_is_told_in_general_words(
    everything: Evidence, front: Server, sentence: str
) -> None:
    found = restricted(replace(everything, host=replace(everything.host, front=front)), VIEWER).host
    assert (found.front, found.front_sentence, found.hostname, dict(found.traces)) == (
        front,
        sentence,
        "",
        {},
    )


def test_others_handshakes_are_numbered_and_lead_to_no_responder_of_theirs(everything: Evidence) -> None:
    others, own = restricted(everything, VIEWER).handshakes
    assert (others.site, others.address, others.responder) == ("another site (2)", "", "")
    assert own == everything.handshakes[1]
    at_own = replace(everything.handshakes[0], responder=everything.responders[1].url)
    asked = replace(everything, handshakes=(at_own,))
    assert restricted(asked, VIEWER).handshakes[0].responder == everything.responders[1].url


def test_a_rule_a_resolver_and_another_machine_are_told_of_in_general_words(everything: Evidence) -> None:
    (found,) = restricted(everything, VIEWER).responders
    assert found.blocked_by == ("a rule of this server's firewall",)
    assert found.public is not None
    assert found.public.source == "what resolves names on this server"
    assert {told.place for told in found.elsewhere} == {"another machine"}
    assert {told.sentence for told in found.elsewhere} == {f"From another machine: {MARK}told"}


def test_without_a_rule_none_is_told_of(everything: Evidence) -> None:
    bare = replace(everything, responders=(replace(everything.responders[1], blocked_by=(), public=None),))
    (found,) = restricted(bare, VIEWER).responders
    assert (found.blocked_by, found.public) == ((), None)


def test_of_the_authorities_only_those_of_own_certificates_are_told_of(everything: Evidence) -> None:
    assert [one.name for one in restricted(everything, VIEWER).authorities] == [f"{MARK}authority"]


# -- what is at fault among that which is left out ----------------------------------------------------------


def unseen(evidence: Evidence, *domains: str) -> Unseen | None:
    return restricted(evidence, Visible(frozenset(domains))).unseen


DIGICERT, SECTIGO = "site001.digicert.example", "site001.sectigo.example"


@pytest.mark.parametrize(
    ("evidence", "domain", "expected"),
    [
        (made.healthy(), DIGICERT, Unseen.NOTHING),
        (made.stalling(), DIGICERT, Unseen.OTHERS_RESPONDER),
        (made.stalling(), SECTIGO, Unseen.NOTHING),
        (made.failing(), SECTIGO, Unseen.NOTHING),
        (made.off_by_us(healed=False), DIGICERT, Unseen.OTHERS_RESPONDER),
        (made.off_by_us(), DIGICERT, Unseen.NOTHING),
        (made.not_applicable(), DIGICERT, Unseen.NOTHING),
    ],
)
def test_a_viewer_learns_whether_anothers_responder_is_at_fault(
    evidence: Evidence, domain: str, expected: Unseen
) -> None:
    assert unseen(evidence, domain) is expected


@pytest.mark.parametrize(
    ("outcome", "on", "expected"),
    [
        (Outcome.REFUSED, True, Unseen.NOTHING),  # it fails at once: nobody waits
        (Outcome.REFUSED, False, Unseen.OTHERS_RESPONDER),  # and yet keeps stapling off
        (Outcome.REVOKED, False, Unseen.NOTHING),  # one customer's certificate keeps nothing off
    ],
)
def test_what_fails_at_once_matters_to_others_only_where_it_keeps_stapling_off(
    outcome: Outcome, on: bool, expected: Unseen
) -> None:
    found = made.healthy() if on else made.off_by_us()
    bad = made.responder("ocsp.sectigo.com", outcome=outcome)
    assert unseen(replace(found, responders=(bad, *found.responders[1:])), DIGICERT) is expected


def test_answers_that_are_right_and_only_late_are_at_fault_for_nobody_else() -> None:
    one = made.responder("ocsp.sectigo.com")
    late = tuple(replace(each, http_ms=2500.0) for each in one.finding.addresses)
    bad = replace(one, finding=replace(one.finding, addresses=late))
    found = made.off_by_us()
    assert unseen(replace(found, responders=(bad, *found.responders[1:])), DIGICERT) is Unseen.NOTHING


def incident(url: str, **more: Any) -> Incident:
    """One of everybody's sites, in which each text of root's is marked."""
    trouble = Trouble(url, f"{MARK}authority", f"{MARK}cause", f"{MARK}sentence", 0, 60)
    secrets = {name: f"{MARK}{name}" for name in ("cause", "sentence", "off_by", "ending")}
    lists: dict[str, Any] = {
        "singles": (SingleRelief(50, f"{MARK}site", f"{MARK}who", (f"{MARK}still",)),),
        "notes": (Note(0, "sign", f"{MARK}note"),),
        "operations": (f"{MARK}operation",),
        "kept": {"sentence": f"{MARK}kept"},
    }
    made = Incident("i1", 0, "check", 60, 60, spans=(Span(0, 60, 60),), wait=Wait(12, 0), troubles=(trouble,))
    return replace(made, off_since=60, sites=41, waiting=42, **{**secrets, **lists, **more})


def test_of_an_incident_a_viewer_learns_when_and_how_long_sites_waited_and_only_of_their_own_responder() -> (
    None
):
    evidence = made.healthy()
    own = evidence.responders[0].url
    for url, who in (
        (own, "ocsp.sectigo.com"),
        ("http://other.test", "a responder of other customers' certificates"),
    ):
        found = restricted_incident(incident(url), evidence)
        assert found is not None
        assert re.search(
            f"Sites waited up to 12 s .*; stapling turned off .*; {who} still fails", words.sentence(found)
        )
        secret = repr(replace(found, troubles=())) + "".join(each.sentence for each in found.troubles)
        assert not re.search(f"{MARK}|other.test|4[12]", secret)


def test_an_incident_of_others_alone_is_not_told_to_a_viewer() -> None:
    alone = incident("http://other.test", kept={"sites_waiting": ["shop.test"]})
    quiet = incident("http://other.test", spans=(), kept={})
    assert restricted_incident(alone, made.healthy()) is None
    assert restricted_incident(quiet, made.healthy()) is None
    assert restricted_incident(replace(alone, troubles=()), None) is None
