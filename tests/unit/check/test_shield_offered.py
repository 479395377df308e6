"""Whether the shield is what a check recommends: the operator's order, and whether it can be turned on here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocsp_stapling.check.surroundings import offers_shield
from ocsp_stapling.settings import parse
from ocsp_stapling.shield import service


@pytest.mark.parametrize(
    ("config", "unit", "server", "offered"),
    [
        ("", True, {}, True),
        ('[switch]\nfirst_aid = "off"\n', True, {}, False),
        ("", False, {}, False),
        ("", True, {"shielded": True}, False),
        ("", True, {"md": object()}, False),
    ],
    ids=["as shipped", "the operator wants off first", "not installed", "on already", "mod_md staples"],
)
def test_the_shield_comes_first_unless_the_operator_turns_the_order_round_or_it_cannot_be(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    unit: bool,
    server: dict[str, Any],
    offered: bool,
) -> None:
    monkeypatch.setattr(service, "UNIT_FILE", tmp_path / "unit")
    if unit:
        (tmp_path / "unit").touch()
    stapling = SimpleNamespace(md_stapling=server.get("md"))
    state: Any = SimpleNamespace(shielded=server.get("shielded", False), stapling=stapling)
    assert offers_shield(state, parse(config, "config.toml")) is offered
