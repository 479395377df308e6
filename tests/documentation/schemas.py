"""The JSON schemas of docs/json/, and documents held against them."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.documentation.pages import DOCS

SUFFIX = ".schema.json"
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.datetime.fromisoformat(value).tzinfo is not None


@FORMATS.checks("date", raises=ValueError)
def _is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.date.fromisoformat(value))


@functools.cache
def schemas() -> dict[str, Any]:
    """Return every published schema by its name (`check`, `status` ...)."""
    return {
        path.name.removesuffix(SUFFIX): json.loads(path.read_text())
        for path in (DOCS / "json").glob(f"*{SUFFIX}")
    }


def faults(name: str, document: Any) -> list[str]:
    """Return what is wrong with a document: a key that is missing, of another type, or that no schema tells of.

    Published schemas allow further keys, so that they can be added; here everything must be documented.
    """
    found = _validator(name).iter_errors(document)
    return [f"{each.json_path}: {each.message[:300]}" for each in found]


@functools.cache
def _validator(name: str) -> Draft202012Validator:
    strict = {f"{key}{SUFFIX}": _closed(schema) for key, schema in schemas().items()}
    registry: Registry[Any] = Registry().with_resources(
        (key, DRAFT202012.create_resource(schema)) for key, schema in strict.items()
    )
    return Draft202012Validator(strict[f"{name}{SUFFIX}"], registry=registry, format_checker=FORMATS)


def dead_references(name: str) -> Iterator[str]:
    """Yield the references of a schema that lead nowhere."""
    for target in _references(schemas()[name]):
        there, _, place = target.partition(f"{SUFFIX}#/$defs/")
        if place not in schemas().get(there or name, {}).get("$defs", {}):
            yield target


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        yield schema["$ref"]
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _references(each)


def _closed(schema: Any) -> Any:
    """The same schema, with no other keys in an object than those it names."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(value) for key, value in schema.items()}
    return found | {"additionalProperties": False} if "required" in found and "properties" in found else found
