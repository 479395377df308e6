"""What the first version left on a server is read, shown and brought to its end by this one."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

import pytest

from tests.machine import Machine, Shape, why_not_here
from tests.machine.machine import REPO
from tests.machine.whm import log_in, open_whm
from tests.on_machine.admin import GLOBAL, RESTART, STATE, TWO, call, stapled, switch

pytestmark = pytest.mark.machine
LEFT = REPO / "tests/fixtures/state/state-0.1.0.tar.xz"


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine of the shape on which the files were made, with them and this version."""
    if reason := why_not_here():
        pytest.skip(reason)
    with Machine(Shape(sites=2, cas=2)) as machine:
        with tarfile.open(LEFT) as archive:
            archive.extractall(machine.path("/"), filter="tar")
        machine.run(RESTART, "--hard")
        yield machine


def test_its_history_and_who_turned_stapling_off_are_known(upgraded: Machine) -> None:
    listed = call(upgraded, "history", "--json").document["operations"]
    assert [(each["action"], each["reason"], each["state"]) for each in listed] == [
        ("off", "again", "done"),
        ("on", None, "done"),
        ("off", "alpha is down", "done"),
    ]
    told = call(upgraded, "history", listed[0]["operation"], "--json").document
    assert told["steps"], told
    now = call(upgraded, "status", "--json").document
    assert (now["stapling"], now["origin"], now["reason"]) == ("off", "managed-block", "again")
    assert call(upgraded, "metrics").code == 0


def test_every_page_opens_with_its_files(upgraded: Machine) -> None:
    open_whm(upgraded)
    root = log_in(upgraded)
    for page in ("", "guide", "responders", "sites", "errorlog", "configuration", "history", "ticket"):
        assert root.get(page).status == 200, page
    assert "again" in root.get("history").text


def test_the_watch_goes_on_and_undo_takes_its_last_change_back(upgraded: Machine) -> None:
    assert call(upgraded, "watch").code == 0
    assert call(upgraded, "check", "--json").document["cause"] == "off-by-plugin"
    called = switch(upgraded, "undo")
    assert (called.code, called.document["state"]) == (0, "done"), called.told
    assert stapled(upgraded)
    assert {upgraded.path(path).read_bytes() for path in (GLOBAL, TWO)} == {b""}
    damaged = [path.name for path in upgraded.path(STATE).glob("*.damaged*")]
    assert damaged == [], "no file of the first version was taken for damaged"
