"""The newer Debian's Python, systemd, Apache and OpenSSL: the same tests, the same installer, the same story there.

The last results stand in docs/reliability.md. Another suite by hand: `python -m tests.machine.newer sid` (a shell).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest

from tests.machine.newer import Newer, newer, why_not_here

pytestmark = [pytest.mark.machine, pytest.mark.long, pytest.mark.timeout(3600)]
PYTEST = (".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
MACHINE = ("systemd", "install", "switch", "restart_ladder", "watch", "shield", "hooks", "probe", "front")


@pytest.fixture(scope="module", params=["trixie"])
def world(request: pytest.FixtureRequest) -> Iterator[Newer]:
    if reason := why_not_here():
        pytest.skip(reason)
    with newer(request.param) as made:
        print(made.versions())
        yield made


def passed(world: Newer, *argv: str) -> int:
    """Run tests there and return how many passed. Raises AssertionError if one failed."""
    done = world.run(*PYTEST, *argv)
    assert done.returncode == 0, done.stdout[-8000:]
    print(done.stdout.rstrip().rpartition("\n")[2])
    found = re.search(r"(\d+) passed", done.stdout)
    assert found, done.stdout[-2000:]
    return int(found[1])


def test_it_is_newer_than_what_this_system_has(world: Newer) -> None:
    assert not shutil.which("python3.13", path="/usr/bin")
    assert "Python 3.11" not in world.versions()


def test_every_unit_test_passes_there(world: Newer) -> None:
    assert passed(world, "-n2", "tests/unit") > 4000


def test_install_switch_watch_and_page_work_under_its_own_systemd(world: Newer) -> None:
    assert passed(world, *(f"tests/on_machine/test_{name}.py" for name in MACHINE)) > 150


def test_haproxy_in_front_is_known_there(world: Newer) -> None:
    world.must("apt-get", "install", "-y", "-qq", "--no-install-recommends", "haproxy")
    assert passed(world, "tests/on_machine/test_haproxy.py") == 2


def test_the_story_is_told_there_with_the_installed_plugin(world: Newer) -> None:
    done = world.run("./install.sh", "--sandbox", "--tour")
    assert done.returncode == 0, done.stdout[-4000:]
    assert "The tour ends well" in done.stdout
