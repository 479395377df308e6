"""A simulated server with a tree of its own, ready for a change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ocsp_stapling.change.journal import Journal
from tests.unit.change.made import Tree
from tests.unit.change.simulated import Server, World, simulate


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two sites under stapling, includes with a line of the administrator's, Apache running."""
    tree = Tree(tmp_path)
    for path in (*tree.pre, *tree.post):
        path.write_bytes(b"# theirs\n")
    (tmp_path / "run").mkdir()
    server = simulate(monkeypatch, Server(tmp_path / "run"))
    with Journal(tmp_path / "state") as journal:
        yield World(tree, server, journal)
