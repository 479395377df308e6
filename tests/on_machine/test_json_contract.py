"""Every command's JSON on the machine is what docs/json/ says: complete, typed, nothing undocumented."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.documentation.schemas import faults, schemas
from tests.machine import Machine, Shape
from tests.on_machine.shielding import put_unit

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
    ("the cache fits", "operation", ("cache", "fit", "--yes")),
    ("installation", "doctor", ("doctor",)),
    ("a shield that is off", "shield", ("shield", "status")),
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
    ("armed", "return", ("return", "on")),
    ("a test mail", "test-mail", ("watch", "--test-mail")),
    ("the incident", "incident", ("history", "--incident", "latest")),
    ("post-mortem", "report", ("report",)),
    ("taken back", "operation", ("undo", "--yes")),
    ("plan for one site", "plan", ("off", "--site", "site0001.example.test", "--dry-run")),
    ("one site alone", "operation", ("off", "--site", "site0001.example.test", "--yes")),
    ("off alone", "status", ("status",)),
    ("all operations", "history", ("history",)),
    ("samples", "metrics", ("metrics",)),
    ("a shield", "operation", ("shield", "on", "--yes")),
    ("answers", "shield-refresh", ("shield", "refresh")),
    ("a shield that holds them", "shield", ("shield", "status")),
)


def test_what_a_command_prints_is_what_its_schema_says(start_machine: Callable[[Shape], Machine]) -> None:
    machine = start_machine(Shape(sites=3, cas=2))
    put_unit(machine)
    printed = _told(machine, HEALTHY)
    machine.fault("alpha", "refuse")
    machine.run(RESTART, "--hard")
    machine.run("machine", "visit", "2")
    printed |= _told(machine, BROKEN)
    identity = json.loads(printed["history", "all operations"])["operations"][0]["operation"]
    printed |= _told(machine, (("one operation", "history-operation", ("history", identity)),))
    assert {key: found for key, text in printed.items() if (found := _faults(key[0], text))} == {}
    _hold_the_parts(json.loads(printed["history-operation", "one operation"]))


def _faults(name: str, text: str) -> list[str]:
    documents = _documents(name, text)
    return [fault for each in documents for fault in faults(name, each)] if documents else ["nothing printed"]


def _hold_the_parts(operation: dict[str, Any]) -> None:
    """An operation in the history holds its plan and its result."""
    assert faults("plan", operation["plan"]) == []
    assert faults("operation", operation["result"]) == []


def _told(machine: Machine, story: Story) -> dict[tuple[str, str], str]:
    return {(name, what): _call(machine, *words) for what, name, words in story}


def _call(machine: Machine, *words: str) -> str:
    certificate = next(machine.path("/var/cpanel/ssl/apache_tls").glob("site0001*/combined"))
    inside = f"/var/cpanel/ssl/apache_tls/{certificate.parent.name}/combined"
    named = [inside if word == "CERTIFICATE" else word for word in words]
    return machine.run("ocsp-stapling", *named, "--json", check=False).stdout


def _documents(name: str, text: str) -> list[Any]:
    """One document, or one for each line of the log."""
    return [json.loads(line) for line in text.splitlines()] if name == "log" else [json.loads(text)]


def test_every_schema_is_met_by_something() -> None:
    met = {name for _, name, _ in (*HEALTHY, *BROKEN)} | {
        "history-operation",
        "common",
        "serve",
        "notification",
    }
    assert met == set(schemas())
