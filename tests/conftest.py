"""Fixtures shared by every test: the WHM-shaped machine, and the option for long campaigns."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.machine import Machine, Shape, why_not_here


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the campaigns that are too long for CI")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    machines = [item for item in items if item.get_closest_marker("machine")]
    reason = why_not_here() if machines else ""
    for item in machines:
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="a long campaign: run with --long"))


@pytest.fixture(scope="session", autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """Where tests keep files: machines see pytest's own directory, and what else is made is gone at the end."""
    base = tmp_path_factory.getbasetemp()
    Machine.shared = (base.parent if hasattr(request.config, "workerinput") else base,)
    scratch = base / "scratch"
    scratch.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        patch.setattr(tempfile, "tempdir", None)
        yield
    assert list(scratch.iterdir()) == [], "a test left something in the directory for temporary files"


_BEFORE = pytest.StashKey[set[Path]]()
# Where the plugin, its installer or a program that a test starts would leave something on this system.
OURS = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/opt", "/etc", "/etc/systemd/system", "/var/lib", "/var/log")
CPANELS = ("/usr/local/cpanel", "/var/cpanel", "/etc/cpanel", "/run/machine", "/mnt/*")
PROGRAMS = (
    ".ansible",
    ".cache/ansible*",
    ".cache/mozilla",
    ".cache/selenium",
    ".config/chromium",
    ".mozilla",
)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_BEFORE] = _traces()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that leaves something behind: looked at once, by the process that outlives all who run tests."""
    before: set[Path] = session.config.stash[_BEFORE]
    left = _traces() - before
    if left and not hasattr(session.config, "workerinput"):
        sys.stderr.write(f"\nTests left something on this system: {sorted(map(str, left))}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _traces() -> set[Path]:
    """What lies on this system itself: not every program heeds TMPDIR, and a machine's own places are not these."""
    patterns = [*(f"{place}/ocsp-stapling*" for place in OURS), *CPANELS]
    patterns += [f"{Path.home()}/{name}" for name in PROGRAMS]
    found = {path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))}
    # A test's own directory goes with it; there may be one of another run beside this one.
    return {path for path in found if not path.name.startswith("ocsp-stapling-test-")}


@pytest.fixture
def start_machine() -> Iterator[Callable[[Shape], Machine]]:
    """Start a machine of a given shape; it ends with the test."""
    with ExitStack() as stack:
        yield lambda shape: stack.enter_context(Machine(shape))


@pytest.fixture
def shape() -> Shape:
    """The shape of `machine`; a file that wants another one says so."""
    return Shape()


@pytest.fixture
def machine(shape: Shape) -> Iterator[Machine]:
    """A machine of the test's own."""
    with Machine(shape) as started:
        yield started
