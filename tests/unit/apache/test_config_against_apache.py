"""Generated configuration trees, read by us and by the real httpd: both must take the same lines."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from ocsp_stapling.apache.config import read_config
from ocsp_stapling.apache.httpd import Httpd
from ocsp_stapling.apache.layout import Layout
from ocsp_stapling.apache.stapling import compare_includes, effective
from tests.unit.apache.generated_config import write_tree
from tests.unit.apache.real_apache import Taken, binary, dump_config, layout_at, needs_apache

NAMES = {"sslusestapling", "sslstaplingcache", "sslstaplingrespondertimeout", "timeout"}
SEEDS_PER_TEST = 12


def expected(taken: Taken) -> str:
    return taken.args.split("#")[0].strip().strip("\"'").lower()


def compare(layout: Layout) -> bool:
    """Return False if httpd refuses the tree, so that there is nothing to compare."""
    dumped = dump_config(layout)
    if dumped is None:
        return False
    theirs = [t for t in dumped if t.name in NAMES]
    tree = read_config(layout, lambda: binary(layout))
    ours = [d for d in tree.directives if d.name.lower() in NAMES]
    assert [(str(d.file), d.name.lower()) for d in ours] == [(t.file, t.name) for t in theirs]
    for directive, taken in zip(ours, theirs, strict=True):
        assert (directive.vhost is not None) == taken.in_vhost
        assert taken.line - 2 <= directive.line <= taken.line
        assert directive.certain
        if "${" not in taken.args:
            assert directive.value.lower() == expected(taken)
    included = Httpd(layout).includes()
    assert list(tree.files) == list(included)
    assert compare_includes(tree, included) == ()
    server_level = [t for t in theirs if t.name == "sslusestapling" and not t.in_vhost]
    state = effective(tree)
    assert (state.decided_by is None) == (not server_level)
    if server_level and "${" not in server_level[-1].args:
        assert state.on == (expected(server_level[-1]) == "on")
    return True


@needs_apache
@pytest.mark.parametrize("group", range(8))
def test_we_take_the_lines_that_httpd_takes(group: int) -> None:
    compared = 0
    for seed in range(group * SEEDS_PER_TEST, (group + 1) * SEEDS_PER_TEST):
        with tempfile.TemporaryDirectory(prefix="apache-tree-") as name:
            base = Path(name)
            write_tree(base, seed)
            try:
                compared += compare(layout_at(base))
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
    assert compared >= SEEDS_PER_TEST // 3
