"""Every command's JSON on the machine is what docs/json/ says: complete, typed, nothing undocumented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.documentation.schemas import faults, schemas
from tests.machine import Machine, Shape

pytestmark = pytest.mark.machine

RESTART = "/usr/local/cpanel/scripts/restartsrv_httpd"
# (what it shows, schema, command): one story on one machine, in this order.
Story = tuple[tuple[str, str, tuple[str, ...]], ...]
HEALTHY: Story = (
    ("nothing known yet", "status", ("status",)),
    ("nothing to take back", "error", ("undo", "--yes")),
    ("without consent", "error", ("off",)),
    ("no metrics yet", "metrics", ("metrics",)),
    ("no history yet", "history", ("history",)),
    ("all well", "check", ("check",)),
    ("template", "config", ("config",)),
    ("every site", "sites", ("sites",)),
    ("one site", "sites", ("sites", "noocsp.example.test")),
    ("a site that is not there", "error", ("sites", "nobody.example.test")),
    ("a certificate", "probe", ("probe", "CERTIFICATE")),
    ("nothing to do", "operation", ("on", "--yes")),
    ("installation", "doctor", ("doctor",)),
)
BROKEN: Story = (
    ("responder refuses", "check", ("check",)),
    ("a host", "probe", ("probe", "ocsp.alpha-ca.test")),
    ("lines", "log", ("log",)),
    ("plan", "plan", ("off", "--dry-run", "--return")),
    ("done", "operation", ("off", "--yes", "--reason", "the responder refuses")),
    ("off", "status", ("status",)),
    ("our block", "config", ("config",)),
    ("text", "ticket", ("ticket", "--last", "--redact")),
    ("pass", "watch", ("watch",)),
    ("taken back", "operation", ("undo", "--yes")),
    ("all operations", "history", ("history",)),
    ("samples", "metrics", ("metrics",)),
)


@pytest.fixture(scope="module")
def printed() -> Iterator[dict[tuple[str, str], str]]:
    """What every command printed, by schema and by what it shows."""
    with Machine(Shape(sites=3, cas=2)) as machine:
        found = _told(machine, HEALTHY)
        machine.fault("alpha", "refuse")
        machine.run(RESTART, "--hard")
        machine.run("machine", "visit", "2")
        found |= _told(machine, BROKEN)
        identity = json.loads(found["history", "all operations"])["operations"][0]["operation"]
        yield found | _told(machine, (("one operation", "history-operation", ("history", identity)),))


def _told(machine: Machine, story: Story) -> dict[tuple[str, str], str]:
    return {(name, what): _call(machine, *words) for what, name, words in story}


def _call(machine: Machine, *words: str) -> str:
    certificate = next(machine.path("/var/cpanel/ssl/apache_tls").glob("site0001*/combined"))
    inside = f"/var/cpanel/ssl/apache_tls/{certificate.parent.name}/combined"
    named = [inside if word == "CERTIFICATE" else word for word in words]
    return machine.run("ocsp-stapling", *named, "--json", check=False).stdout


STORIES = [pytest.param(name, what, id=f"{name}: {what}") for what, name, _ in (*HEALTHY, *BROKEN)]


@pytest.mark.parametrize(("name", "what"), STORIES)
def test_what_a_command_prints_is_what_its_schema_says(
    printed: dict[tuple[str, str], str], name: str, what: str
) -> None:
    documents = _documents(name, printed[name, what])
    assert documents
    assert [fault for each in documents for fault in faults(name, each)] == []


def _documents(name: str, text: str) -> list[Any]:
    """One document, or one for each line of the log."""
    return [json.loads(line) for line in text.splitlines()] if name == "log" else [json.loads(text)]


def test_an_operation_in_the_history_holds_its_plan_and_its_result(
    printed: dict[tuple[str, str], str],
) -> None:
    document = json.loads(printed["history-operation", "one operation"])
    assert faults("history-operation", document) == []
    assert faults("plan", document["plan"]) == []
    assert faults("operation", document["result"]) == []


def test_every_schema_is_met_by_something() -> None:
    met = {name for _, name, _ in (*HEALTHY, *BROKEN)} | {"history-operation", "common"}
    assert met == set(schemas())
