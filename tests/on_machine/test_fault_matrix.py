"""Every fault of the machine, in every variant that makes sense, is told rightly: cause, severity, action."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machine import Machine, Shape
from tests.on_machine.fault_matrix import Cell, as_markdown, cells, check_complete

RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/diagnosis.md"


@pytest.fixture(scope="module")
def whole() -> Iterator[Machine]:
    """One machine for all cells: starting it costs as much as a cell."""
    with Machine(Shape(sites=3)) as started:
        yield started


def mark(cell: Cell) -> Any:
    marks = [pytest.mark.machine, *([] if cell.in_ci else [pytest.mark.long])]
    return pytest.param(cell, id=str(cell), marks=marks)


@pytest.mark.parametrize("cell", [mark(cell) for cell in cells()])
def test_the_fault_is_told_by_cause_severity_and_action(whole: Machine, cell: Cell) -> None:
    whole.heal()
    whole.run(RESTART, "--stop")
    whole.run(RESTART, "--start")  # with no staple in its cache
    whole.fault("alpha" if cell.who == "one" else "all", cell.kind, cell.address, cell.user)

    found = json.loads(whole.run("ocsp-stapling", "check", "--json", check=False).stdout)

    expected = (cell.cause, cell.severity, cell.action)
    assert (found["cause"], found["severity"], found["advice"]) == expected, found["sentence"]
    if cell.severity == "stalling":
        assert found["afterwards"] == cell.remedy
    concerned = {"site0001.example.test", "muststaple.example.test"}
    others = {"site0002.example.test", "site0003.example.test"} if cell.who == "all" else set()
    assert set(found["sites_causing"]) == concerned | others
    if cell.severity == "stalling":
        # Each that staples; the one whose certificate names no responder never waits.
        assert (len(found["sites_waiting"]), found["site_count"]) == (4, 5)
    assert found["must_staple_sites"] == ["muststaple.example.test"]
    assert found["problems"] == []


def test_the_matrix_has_every_fault_of_the_machine() -> None:
    check_complete()


def test_the_published_matrix_is_the_tested_one() -> None:
    assert as_markdown() in DOCUMENT.read_text(), "run: python -m tests.on_machine.fault_matrix"
