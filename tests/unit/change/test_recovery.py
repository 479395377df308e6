"""Going back file by file: what others wrote meanwhile stays, only our block goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ocsp_stapling import files
from ocsp_stapling.apache import managed_block
from ocsp_stapling.change import whm_restart
from ocsp_stapling.change.journal import FileRecord, Journal
from ocsp_stapling.change.model import Change
from ocsp_stapling.change.recovery import _settle_leftover, recover
from ocsp_stapling.change.running import Apache
from ocsp_stapling.change.transaction import ChangeTarget, put_back
from ocsp_stapling.change.whm_restart import Patience

OLD = b"# mine\n"
NEW = managed_block.apply(OLD, ["SSLUseStapling Off"])


@pytest.fixture
def include(tmp_path: Path) -> Path:
    path = tmp_path / "include.conf"
    path.write_bytes(OLD)
    return path


def change(include: Path) -> Change:
    return Change(files.snapshot(include), NEW)


def test_our_bytes_go_back_to_the_old_ones(include: Path) -> None:
    planned = change(include)
    include.write_bytes(NEW)
    assert put_back(planned) == ""
    assert include.read_bytes() == OLD


def test_a_file_edited_meanwhile_loses_only_our_block(include: Path) -> None:
    planned = change(include)
    include.write_bytes(b"# somebody\n" + NEW + b"# after\n")
    assert put_back(planned) == ""
    assert include.read_bytes() == b"# somebody\n# mine\n# after\n"


def test_an_older_block_of_ours_comes_back_into_an_edited_file(include: Path) -> None:
    include.write_bytes(NEW)
    planned = Change(files.snapshot(include), OLD)
    include.write_bytes(OLD + b"# somebody\n")
    assert put_back(planned) == ""
    assert include.read_bytes() == managed_block.apply(OLD + b"# somebody\n", ["SSLUseStapling Off"])


def test_a_file_that_was_not_there_goes_unless_httpd_conf_names_it(tmp_path: Path) -> None:
    path = tmp_path / "new.conf"
    planned = Change(files.snapshot(path), NEW)
    path.write_bytes(NEW)
    assert put_back(planned, named=True) == ""
    assert path.read_bytes() == b""
    path.write_bytes(NEW)
    assert put_back(planned) == ""
    assert not path.exists()


def test_a_file_that_was_removed_comes_back_with_its_mode(include: Path) -> None:
    include.chmod(0o640)
    planned = Change(files.snapshot(include), None)
    include.unlink()
    assert put_back(planned) == ""
    assert (include.read_bytes(), include.stat().st_mode & 0o777) == (OLD, 0o640)


def test_what_cannot_be_put_back_is_said(include: Path) -> None:
    planned = change(include)
    include.unlink()
    include.mkdir()
    assert "regular file" in put_back(planned)


@pytest.mark.parametrize("left", [OLD, NEW, b"half writ"])
def test_a_leftover_of_a_killed_write_is_removed(include: Path, left: bytes) -> None:
    beside = include.with_name(".include.conf.ocsp-stapling-new")
    beside.write_bytes(left)
    _settle_leftover(FileRecord(include, OLD, NEW))
    assert include.read_bytes() == OLD
    assert not beside.exists()


def test_an_editors_bytes_caught_in_the_exchange_come_back(include: Path) -> None:
    """Killed right after the exchange, while somebody had written the old file: those bytes are theirs."""
    include.write_bytes(NEW)
    beside = include.with_name(".include.conf.ocsp-stapling-new")
    beside.write_bytes(b"# mine, edited\n")
    _settle_leftover(FileRecord(include, OLD, NEW))
    assert include.read_bytes() == b"# mine, edited\n"
    assert not beside.exists()


class _WaitingError(Exception):
    """The wait for WHM begins."""


@pytest.mark.parametrize(
    ("acts", "told"),
    [
        (True, "'off' by root was interrupted; it is brought to its end first, once WHM's restart of Apache is over "
               "(up to 4 minutes) ..."),
        (False, "'off' by root was interrupted; it is brought to its end first ..."),
    ],
)  # fmt: skip
def test_what_a_recovery_waits_for_is_said_before_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acts: bool, told: str
) -> None:
    said: list[str] = []

    def wait(*_: Any) -> None:
        raise _WaitingError

    monkeypatch.setattr(whm_restart, "whm_acts", lambda: acts)
    monkeypatch.setattr(whm_restart, "await_whm", wait)
    with Journal(tmp_path) as journal:
        journal.begin("off", "root", "", {}, ())
        server = ChangeTarget(
            cast(Apache, None),
            lambda: "",
            lambda: cast(Any, None),
            journal,
            Patience(),
            lambda _name, detail, _seconds: said.append(str(detail["sentence"])),
        )
        with pytest.raises(_WaitingError):
            recover(server)
    assert said == [told]
