"""What of the schemas is written from the code's types: closed lists of words, and what dataclasses hand on as it is.

The rest of a schema (descriptions, which keys there are, what a document says in other words than the type) is
written by hand, and held to every document that a test sees.
"""

from __future__ import annotations

import contextlib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from ocsp_stapling.apache.errorlog.codes import Kind
from ocsp_stapling.apache.stapling import Origin, StaplingState
from ocsp_stapling.apache.tree import Directive, Finding, ManagedBlock
from ocsp_stapling.ca.reading import Level
from ocsp_stapling.change.plan import Plan
from ocsp_stapling.change.request import ACTIONS
from ocsp_stapling.change.transaction import Result
from ocsp_stapling.change.verify import Verification
from ocsp_stapling.check import evidence, report
from ocsp_stapling.check.diagnosis import Cause, Severity
from ocsp_stapling.check.diagnosis.advice import Action
from ocsp_stapling.check.diagnosis.explanation import Confidence
from ocsp_stapling.check.ticket import READERS
from ocsp_stapling.cli.doctor import check as doctor
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.host.routes import Ipv6Kind
from ocsp_stapling.ocsp.answer import Verdict
from ocsp_stapling.ocsp.finding import AddressFinding, Outcome, ResponderFinding
from ocsp_stapling.server.retirement import Retirement
from ocsp_stapling.server.sites import Endpoint, EndpointCertificate
from ocsp_stapling.shield import standing

JSON = Path(__file__).resolve().parents[2] / "docs/json"
SUFFIX = ".schema.json"

WORDS: Mapping[str, Iterable[str] | type[Enum]] = {
    "common/$defs/cause": Cause,
    "common/$defs/severity": Severity,
    "common/$defs/confidence": Confidence,
    "common/$defs/outcome": Outcome,
    "common/$defs/verdict": Verdict,
    "common/$defs/logKind": Kind,
    "common/$defs/front": Server,
    "common/$defs/origin": Origin,
    "common/$defs/advice": Action,
    "common/$defs/action": ACTIONS,
    "common/$defs/monitoringState": list(report.STATES.values()),
    "check/responders/[]/name_state": evidence.NameState,
    "check/authorities/[]/level": Level,
    "check/this_server/ipv6": Ipv6Kind,
    "doctor/checks/[]/grade": (doctor.OK, doctor.WARNING, doctor.FAILED),
    "ticket/reader": READERS,
}
"""Where a closed list stands, and what it is in the code."""

FIELDS: Mapping[str, tuple[type, ...]] = {
    "common/$defs/address": (AddressFinding,),
    "common/$defs/directive": (Directive,),
    "common/$defs/elsewhere": (evidence.Elsewhere,),
    "common/$defs/handshake": (evidence.HandshakeEvidence,),
    "common/$defs/retirement": (Retirement,),
    "common/$defs/steering": (evidence.SteeringLine,),
    "common/$defs/responder": (ResponderFinding,),
    "check": (evidence.Evidence,),
    "check/certificates_asked": (evidence.AskedCertificates,),
    "check/responders/[]": (ResponderFinding, evidence.ResponderEvidence),
    "check/handshakes/[]": (evidence.HandshakeEvidence,),
    "check/authorities/[]": (evidence.AuthorityEvidence,),
    "check/this_server": (evidence.HostEvidence,),
    "check/shield": (standing.ShieldEvidence,),
    "check/shield/held_by_responder/[]": (standing.ShieldedResponder,),
    "config": (StaplingState,),
    "config/block/places/[]": (ManagedBlock,),
    "config/directives/[]": (Directive,),
    "config/findings/[]": (Finding,),
    "config/overrides/[]": (Directive,),
    "doctor/checks/[]": (doctor.DoctorCheck,),
    "operation": (Result,),
    "operation/after": (Verification,),
    "plan": (Plan,),
    "shield/held_by_responder/[]": (standing.ShieldedResponder,),
    "sites/sites/[]": (Endpoint,),
    "sites/sites/[]/certificates/[]": (EndpointCertificate,),
}
"""Where an object stands, and the dataclasses of which keys of the same name are fields."""

IN_OTHER_WORDS = {
    ("HandshakeEvidence", "staple"), ("HandshakeEvidence", "key"),  # "" is told as null
    ("AuthorityEvidence", "ocsp_ended"),
    ("ShieldEvidence", "responders"),
    ("ResponderFinding", "addresses"), ("ResponderEvidence", "elsewhere"),  # with keys of the document's own
    ("EndpointCertificate", "problem"), ("EndpointCertificate", "responder"),
    ("AddressFinding", "family"),  # a closed list of two words
    *(("Plan", name) for name in ("action", "front", "origin", "site", "stapling_now", "stapling_then")),
    ("StaplingState", "responder_timeout"),  # a number, should it ever have parts
    *(("Result", name) for name in ("action", "rungs", "state")),
}  # fmt: skip
"""Fields that the document does not hand on as they are."""

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", Path: "string", datetime: "string"}
_HELD = ("minimum", "pattern", "description")
_WORDS_OF = {
    kind: place for place, kind in WORDS.items() if isinstance(kind, type) and place.startswith("common/")
}


NAMES = sorted({place.partition("/")[0] for place in (*WORDS, *FIELDS)})
"""The schemas in which something has a type."""


def render(name: str) -> str:
    """Return a schema's text with everything that has a type written anew."""
    schema = json.loads((JSON / f"{name}{SUFFIX}").read_text())
    for place, kind in WORDS.items():
        if place.startswith(f"{name}/"):
            _at(schema, place)["enum"] = _listed(kind)
    for place, kinds in FIELDS.items():
        if place.partition("/")[0] == name:
            properties = _at(schema, place)["properties"]
            properties |= {key: _field(key, kinds, was) for key, was in properties.items()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _at(schema: Any, place: str) -> Any:
    for step in place.split("/")[1:]:
        inside = schema["items"] if step == "[]" else schema.get("properties", schema).get(step)
        schema = inside or schema[step]
    return schema


def _field(key: str, kinds: Iterable[type], was: Mapping[str, Any]) -> Mapping[str, Any]:
    for kind in kinds:
        hint = typing.get_type_hints(kind).get(key)
        if hint is not None and (kind.__name__, key) not in IN_OTHER_WORDS:
            with contextlib.suppress(TypeError):  # a dataclass inside: its place stands in FIELDS by itself
                return typed(hint) | {word: was[word] for word in _HELD if word in was}
    return was


def typed(hint: Any) -> dict[str, Any]:
    """Return what a schema says of a value of that type."""
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _or_null(typed(of[0]))
    if origin in (tuple, frozenset):
        return {"type": "array", "items": typed(of[0])}
    if origin is not None:
        return {"type": "object", "additionalProperties": typed(of[1])}
    if issubclass(hint, Enum):
        place = _WORDS_OF.get(hint)
        return (
            {"$ref": f"common{SUFFIX}#/$defs/{place.rpartition('/')[2]}"}
            if place
            else {"enum": _listed(hint)}
        )
    if hint not in _PLAIN:
        raise TypeError(f"{hint} is told in other words, or its place belongs in FIELDS.")
    return {"type": _PLAIN[hint]} | ({"format": "date-time"} if hint is datetime else {})


def _or_null(one: dict[str, Any]) -> dict[str, Any]:
    if "type" in one:
        return one | {"type": [one["type"], "null"]}
    return {"anyOf": [one, {"type": "null"}]}


def _listed(kind: Iterable[str] | type[Enum]) -> list[str]:
    return [each.value if isinstance(each, Enum) else each for each in kind]
