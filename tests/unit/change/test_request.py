"""One form of what was asked for, checked once, from whichever face it came."""

from __future__ import annotations

from typing import Any

import pytest

from ocsp_stapling.apache.managed_block import off_block
from ocsp_stapling.change.request import REASON_LIMIT, ChangeRequest
from ocsp_stapling.problem import Problem
from tests.unit.change.made import NOON


@pytest.mark.parametrize("length", [1, 199, 201, 250, REASON_LIMIT])
def test_a_reason_that_fits_is_the_same_in_the_command_and_in_the_file(length: int) -> None:
    request = ChangeRequest("off", "root", "r" * length, now=NOON)
    assert f"--reason={request.reason}" in request.arguments()
    assert any(line.endswith(f": {'r' * length}") for line in off_block(request.who, request.reason, NOON))


def test_a_longer_reason_is_refused_wherever_it_comes_from_and_told_how_long_it_may_be() -> None:
    with pytest.raises(Problem, match=f"{REASON_LIMIT + 1} characters, and {REASON_LIMIT} fit") as caught:
        ChangeRequest("off", "root", "r" * (REASON_LIMIT + 1))
    assert caught.value.code == "invalid-input"


def test_a_reason_of_several_lines_becomes_one() -> None:
    assert ChangeRequest("off", "root", " a\r\n b\tc ").reason == "a b c"


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "rm"},
        {"action": "off", "tag": "\x1b[2J"},
        {"action": "off", "reason": "a\x00b"},
        {"action": "off", "who": "w" * 201},
        {"action": "off", "undone": "20250101T000000-abcdef"},
        {"action": "undo", "with_overrides": True},
        {"action": "off", "site": "a.test"},
        {"action": "site-off"},
        {"action": "site-off", "site": "a.test", "return_when_healthy": True},
        {"action": "undo", "write_on": True},
        {"action": "on", "return_when_healthy": True},
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Problem) as caught:
        ChangeRequest(**({"who": "root"} | fields))
    assert caught.value.code == "invalid-input"


def test_the_shields_commands_are_two_words_and_nothing_given_can_become_an_option() -> None:
    arguments = ChangeRequest("shield-on", "root", "--yes; rm -rf /", shield_port=341).arguments()
    assert arguments[:2] == ["shield", "on"]
    assert "--port=341" in arguments
    assert "--reason=--yes; rm -rf /" in arguments
    for other in (ChangeRequest("off", "root", shield_port=341), ChangeRequest("shield-on", "root")):
        assert [each for each in other.arguments() if each.startswith("--port")] == []


@pytest.mark.parametrize("action", ["off", "on"])
def test_a_site_is_an_option_of_off_and_on_and_can_become_no_other(action: str) -> None:
    arguments = ChangeRequest(f"site-{action}", "root", site="--overrides").arguments()
    assert arguments[0] == action
    assert "--site=--overrides" in arguments
    assert "--overrides" not in arguments


@pytest.mark.parametrize(
    ("fields", "typed"),
    [
        ({"action": "undo", "undone": "20250101T000000-abcdef"}, "undo 20250101T000000-abcdef"),
        ({"action": "off", "with_overrides": True, "return_when_healthy": True}, "off --overrides --return"),
        ({"action": "on", "write_on": True}, "on --write-on"),
        ({"action": "shield-on", "shield_port": 341}, "shield on --port=341"),
        ({"action": "site-off", "site": "@anna"}, "off --account anna"),
        ({"action": "site-on", "site": "a.test; reboot"}, "on --site 'a.test; reboot'"),
    ],
)
def test_what_a_person_would_type_does_the_same_and_nothing_else(fields: dict[str, Any], typed: str) -> None:
    assert ChangeRequest(**({"who": "root"} | fields)).command == f"ocsp-stapling {typed}"
