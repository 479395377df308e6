"""The documents say what is so: generated pages are fresh, and what a page names exists."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ocsp_stapling.apache.errorlog.codes import Kind
from ocsp_stapling.apache.stapling import Origin
from ocsp_stapling.check.diagnosis import Action, Cause, Confidence, Severity
from ocsp_stapling.check.words import cause_words
from ocsp_stapling.host.listeners import Server
from ocsp_stapling.ocsp.answer import Verdict
from ocsp_stapling.ocsp.finding import Outcome
from tests.documentation import references
from tests.documentation.errors_page import ADVICE
from tests.documentation.pages import DOCS, PAGES, REPO
from tests.documentation.problems import sentences
from tests.documentation.schemas import dead_references, schemas

DOCUMENTS = [pytest.param(path, id=str(path.relative_to(REPO))) for path in references.documents()]
CHECKS: tuple[Callable[[Path], Iterator[str]], ...] = (
    references.dead_links,
    references.unknown_commands,
    references.unknown_script_options,
    references.missing_places,
    references.unknown_settings,
)


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run: python -m tests.documentation"


def test_every_error_code_has_advice_and_no_advice_is_left_over() -> None:
    assert set(tomllib.loads(ADVICE.read_text())) == set(sentences())


@pytest.mark.parametrize("path", DOCUMENTS)
def test_what_a_page_names_exists(path: Path) -> None:
    assert {check.__name__: found for check in CHECKS if (found := list(check(path)))} == {}


def test_the_architecture_has_every_room_and_all_of_the_ground() -> None:
    code, text = REPO / "plugin/ocsp_stapling", (DOCS / "architecture.md").read_text()
    rooms = [f"{path.parent.relative_to(code)}/" for path in code.glob("*/**/__init__.py")]
    ground = [path.name for path in code.glob("[a-z]*.py")]
    assert [name for name in (*rooms, *ground) if f"`{name}`" not in text] == []


def test_the_checks_see_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "[a](nowhere.md) [b](#not-there) `ocsp-stapling mend` `ocsp-stapling off --force` `./install.sh --quick`\n"
        "`tests/unit/test_docs.py::test_that_is_not_there` `watch.never`\n"
    )
    assert list(references.dead_links(page)) == ["nowhere.md", "#not-there"]
    assert list(references.unknown_commands(page)) == ["mend", "off --force"]
    assert list(references.unknown_script_options(page)) == ["install.sh --quick"]
    assert list(references.missing_places(page)) == ["tests/unit/test_docs.py::test_that_is_not_there"]
    assert list(references.unknown_settings(page)) == ["watch.never"]


@pytest.mark.parametrize("name", sorted(schemas()))
def test_a_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(schemas()[name])
    assert list(dead_references(name)) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cause", Cause),
        ("severity", Severity),
        ("confidence", Confidence),
        ("advice", Action),
        ("origin", Origin),
        ("outcome", Outcome),
        ("verdict", Verdict),
        ("logKind", Kind),
        ("front", Server),
    ],
)
def test_a_closed_list_in_the_schemas_is_the_codes(name: str, values: type[Enum]) -> None:
    assert sorted(schemas()["common"]["$defs"][name]["enum"]) == sorted(each.value for each in values)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_is_in_the_table_of_causes_and_has_words(cause: Cause) -> None:
    table = (DOCS / "diagnosis.md").read_text().partition("## Causes")[2].partition("## Actions")[0]
    rows = [
        line
        for line in table.splitlines()
        if f"`{cause.value}`" in line.partition("| ")[2].partition(" |")[0]
    ]
    assert len(rows) == 1
    assert cause_words(cause.value) != cause.value.replace("-", " ") or cause is Cause.HEALTHY
