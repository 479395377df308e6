"""Over all JSON documents a name has one meaning and one type, and every document says which it is."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from ocsp_stapling.text import schema
from tests.documentation.schema_parts import WORDS
from tests.documentation.schemas import schemas

NO_DOCUMENTS = ("common", "log")
# Relied on from outside as they are: an Apache log's lines name their responder and whether they are about stapling.
APART = ("log",)
# Whole numbers that count nothing.
MEASURES = {
    *("line", "port", "shield_port", "begin", "end", "exit_status", "http_status"),
    *("age_seconds", "availability_days", "failures_by_responder", "failures_by_kind"),
}
Shape = tuple[str, frozenset[str]]
"""A JSON type, and the words of a closed list, the keys of an object, or the shape of an array's items."""


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """The part itself, or what its reference leads to."""
    while "$ref" in part:
        part = schemas()["common"]["$defs"][part["$ref"].rpartition("/")[2]]
    return part


def shapes(part: dict[str, Any]) -> set[Shape]:
    """Everything that may stand there, but for null."""
    part = resolved(part)
    if choices := part.get("anyOf"):
        return {shape for each in choices for shape in shapes(each)}
    if "const" in part:
        return {(type(part["const"]).__name__, frozenset())}
    if "enum" in part:
        return {("word", frozenset(each for each in part["enum"] if each is not None))}
    types = [part["type"]] if isinstance(part["type"], str) else part["type"]
    return {_shape(each, part) for each in types if each != "null"}


def _shape(kind: str, part: dict[str, Any]) -> Shape:
    if kind == "array":
        ((inner, details),) = shapes(part["items"])
        return f"array of {inner}", details
    if kind == "object":
        return kind, frozenset(part.get("properties", ()))
    return f"{kind} {part.get('format', '')}".rstrip(), frozenset()


def named(part: Any, place: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every name below, where it stands, and what it is there."""
    if isinstance(part, list):
        for each in part:
            yield from named(each, place)
    if not isinstance(part, dict):
        return
    for name, inner in part.get("properties", {}).items():
        yield name, f"{place}.{name}", inner
        yield from named(inner, f"{place}.{name}")
    for key, inner in part.items():
        if key in ("items", "anyOf", "oneOf"):
            yield from named(inner, place)
        elif key == "$defs":
            for name, each in inner.items():
                yield from named(each, f"{place}#{name}")


def uses() -> dict[str, dict[str, set[Shape]]]:
    """What each name is, by the place where it stands."""
    found: dict[str, dict[str, set[Shape]]] = defaultdict(dict)
    for document, whole in schemas().items():
        if document not in APART:
            for name, place, part in named(whole, document):
                found[name][place] = shapes(part)
    return found


def agree(one: set[Shape], other: set[Shape]) -> bool:
    """Of the same type; of two closed lists, or two objects, one may be shorter than the other."""
    if len(one) > 1 or len(other) > 1:
        return one == other
    ((kind, few), (also, many)) = (*one, *other)
    return kind == also and (few <= many or many <= few)


@pytest.mark.parametrize("name", sorted(uses()))
def test_a_name_has_one_type_wherever_it_stands(name: str) -> None:
    odd = [
        f"{a} {one} / {b} {other}"
        for (a, one), (b, other) in combinations(uses()[name].items(), 2)
        if not agree(one, other)
    ]
    assert odd == []


@pytest.mark.parametrize("name", sorted(set(schemas()) - set(NO_DOCUMENTS)))
def test_every_document_says_what_it_is(name: str) -> None:
    whole = schemas()[name]
    for form in whole.get("oneOf", [whole]):
        assert form["properties"]["schema"] == {"const": schema(name)}
        assert "schema" in form["required"]


# Lists that no type of the code holds: what a document says in its own words, and steps told by those who take them.
OWN_WORDS = {
    *("common#onOff", "common#key", "common#rung", "common#address.family", "common#operationState"),
    *(
        "common#incident.incident_state",
        "common#incident.first_sign",
        "incident.incident_state",
        "incident.first_sign",
    ),
    *("incident.timeline.event", "history.outages.scope", "history-operation.steps.step", "operation.state"),
    *("history-operation.steps.facts.direction", "check.configuration.stapling", "probe.target_kind"),
    "check.shield.trouble",
}


def closed_lists(part: Any, place: str) -> Iterator[str]:
    for key, inner in part.items() if isinstance(part, dict) else ():
        if key == "enum":
            yield place
        elif key in ("properties", "$defs"):
            mark = "#" if key == "$defs" else "."
            for name, each in inner.items():
                yield from closed_lists(each, f"{place}{mark}{name}")
        else:
            for each in inner if isinstance(inner, list) else [inner]:
                yield from closed_lists(each, place)


def test_a_closed_list_of_words_is_written_from_the_code() -> None:
    found = {place for name, whole in schemas().items() for place in closed_lists(whole, name)}
    from_code = {place.replace("/$defs/", "#").replace("/[]", "").replace("/", ".") for place in WORDS}
    assert found - from_code == OWN_WORDS


def test_no_time_is_a_number() -> None:
    text = json.dumps({name: whole for name, whole in schemas().items() if name not in APART})
    assert "epoch" not in text


def test_what_is_for_people_is_called_a_sentence() -> None:
    assert "message" not in uses()


@pytest.mark.parametrize("name", sorted(uses()))
def test_a_whole_number_counts_something_or_is_known_to_measure(name: str) -> None:
    integer = any(kind == "integer" for found in uses()[name].values() for kind, _ in found)
    assert not integer or name.endswith("_count") or name in MEASURES


def test_a_change_and_what_to_do_have_names_of_their_own() -> None:
    common = schemas()["common"]["$defs"]
    assert uses()["action"].keys().isdisjoint(uses()["advice"])
    assert all(
        found <= {("word", frozenset(common["action"]["enum"]))} for found in uses()["action"].values()
    )
    assert all(
        found <= {("word", frozenset(common["advice"]["enum"]))} for found in uses()["advice"].values()
    )
