"""Every JSON document that the code makes in a test here is held to its schema: code and docs/json/ cannot drift."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import settings

from ocsp_stapling import text
from tests.documentation.schemas import faults, schemas

# Fuzzing without a time limit per example: test machines may be busy.
settings.register_profile("calm", deadline=None)
settings.load_profile("calm")
_versioned = text.versioned
_found: list[str] = []


def _held(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    made = _versioned(name, facts)
    printed = json.loads(json.dumps(made, default=str))
    wrong = faults(name, printed) if name in schemas() else ["docs/json/ has no schema for it"]
    _found.extend(f"{name}: {each}" for each in wrong)
    return made


# Before the modules under test take the function's name; those that have it already get the new one.
for each in [text, *sys.modules.values()]:
    if getattr(each, "versioned", None) is _versioned:
        each.versioned = _held  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def documents_as_their_schemas_say() -> Iterator[None]:
    """Fail a test whose documents are not what docs/json/ says."""
    _found.clear()
    yield
    assert _found == []
