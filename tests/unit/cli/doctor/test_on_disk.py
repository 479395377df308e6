"""What the doctor says of a release, its files elsewhere, the state directory and the history."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ocsp_stapling.cli.doctor import on_disk
from ocsp_stapling.cli.doctor.check import FAILED, OK, WARNING, Places
from ocsp_stapling.settings import Settings


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A release as install.sh leaves it: manifest, files elsewhere, `current`."""
    home = tmp_path / "opt/ocsp-stapling"
    release = home / "releases/1.0-abc"
    for tree in (release / "files", tmp_path):
        (tree / "usr/local/sbin").mkdir(parents=True)
        (tree / "usr/local/sbin/front").write_text("front\n")
        (tree / "usr/local/sbin/link").symlink_to("/opt/ocsp-stapling/current/bin/front")
    (release / "code.py").write_text("pass\n")
    digest = hashlib.sha256(b"pass\n").hexdigest()
    (release / "manifest").write_text(f"{digest}  ./code.py\n")
    (home / "current").symlink_to("releases/1.0-abc")
    return Places(root=tmp_path, release=release)


def test_a_whole_release_is_in_order(places: Places) -> None:
    assert on_disk.release(places).state == OK
    assert on_disk.files(places).state == OK


@pytest.mark.parametrize("spoil", ["changed", "missing"])
def test_a_changed_or_missing_file_of_the_release_is_named(places: Places, spoil: str) -> None:
    code = places.release / "code.py"
    code.write_text("import os\n") if spoil == "changed" else code.unlink()
    check = on_disk.release(places)
    assert (check.state, "code.py" in check.sentence) == (FAILED, True)


def test_running_from_somewhere_else_is_no_installation(places: Places, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    check = on_disk.release(Places(root=tmp_path, release=tmp_path / "checkout"))
    assert check.state == FAILED
    assert "install.sh" in check.mend


def test_files_elsewhere_must_be_the_releases_own_to_the_mode(places: Places) -> None:
    there = places.root / "usr/local/sbin"
    (there / "front").chmod(0o600)
    (there / "link").unlink()
    (there / "link").symlink_to("/somewhere/else")
    check = on_disk.files(places)
    assert check.state == FAILED
    assert str(there / "front") in check.sentence
    assert str(there / "link") in check.sentence


def test_no_more_than_a_few_files_are_named(places: Places) -> None:
    for number in range(6):
        (places.files / f"extra{number}").touch()
    assert on_disk.files(places).sentence.endswith("and 3 more.")


@pytest.mark.skipif(os.geteuid() != 0, reason="the state directory belongs to root")
class TestState:
    def test_a_directory_of_roots_own_is_in_order(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        assert on_disk.state(Settings(state_directory=tmp_path)).state == OK

    def test_a_link_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path)
        assert on_disk.state(Settings(state_directory=tmp_path / "link")).state == FAILED

    def test_a_damaged_history_is_a_warning(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        (tmp_path / "journal.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 4096)
        check = on_disk.state(Settings(state_directory=tmp_path))
        assert (check.state, "damaged" in check.sentence) == (WARNING, True)
