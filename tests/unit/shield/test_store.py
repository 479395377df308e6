"""Kept answers: whole or not at all; what is damaged is named and never handed out."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling.shield import store
from ocsp_stapling.shield.store import Damaged, Kept

KEPT = Kept("ab" * 44, b"0" * 500, 1_000, 5_000, 5_000, "good", "http://ocsp.test")


def test_what_is_written_is_read_again_and_everybody_may_read_it(tmp_path: Path) -> None:
    store.write(tmp_path / "store", KEPT)
    (path,) = store.entries(tmp_path / "store")
    assert store.read(path) == KEPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert store.load(tmp_path / "store") == ({KEPT.cert_id: KEPT}, ())


@given(place=st.integers(0, 900), byte=st.integers(0, 255))
def test_a_file_with_any_byte_changed_holds_no_answer(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    directory = tmp_path_factory.mktemp("store")
    store.write(directory, KEPT)
    (path,) = store.entries(directory)
    data = bytearray(path.read_bytes())
    place %= len(data)
    if data[place] == byte:
        return
    data[place] = byte
    path.write_bytes(data)
    with pytest.raises(Damaged):
        store.read(path)


@pytest.mark.parametrize("length", [0, 5, 7, 60, 200])
def test_a_torn_file_is_named_and_passed_over(tmp_path: Path, length: int) -> None:
    store.write(tmp_path, KEPT)
    store.write(tmp_path, replace(KEPT, cert_id="cd" * 44))
    first = tmp_path / store.name_of(KEPT.cert_id)
    first.write_bytes(first.read_bytes()[:length])
    found, damaged = store.load(tmp_path)
    assert list(found) == ["cd" * 44]
    assert first.name in damaged[0]


def test_an_answer_under_another_certificates_name_is_none(tmp_path: Path) -> None:
    store.write(tmp_path, KEPT)
    (tmp_path / store.name_of(KEPT.cert_id)).rename(tmp_path / store.name_of("cd" * 44))
    assert store.load(tmp_path)[0] == {}


@pytest.mark.parametrize("size", [0, store.MAX_ANSWER_BYTES + 1])
def test_an_answer_that_apache_would_not_keep_is_not_kept(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="size"):
        store.write(tmp_path, replace(KEPT, answer=b"0" * size))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_the_old_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(tmp_path, KEPT)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write(tmp_path, replace(KEPT, answer=b"1" * 500))
    assert store.load(tmp_path)[0] == {KEPT.cert_id: KEPT}
    assert len(list(tmp_path.iterdir())) == 1


def test_what_has_ended_and_is_not_served_any_more_goes_and_so_does_what_a_killed_writer_left(
    tmp_path: Path,
) -> None:
    store.write(tmp_path, KEPT)
    store.write(tmp_path, replace(KEPT, cert_id="cd" * 44))
    (tmp_path / ".new-abc").write_bytes(b"half")
    assert store.discard_ended(tmp_path, {KEPT.cert_id}, KEPT.until - 1) == 1
    assert store.discard_ended(tmp_path, {KEPT.cert_id}, KEPT.until) == 1
    assert [path.name for path in tmp_path.iterdir()] == [store.name_of(KEPT.cert_id)]


WRITER = """
import sys
from pathlib import Path
from ocsp_stapling.shield.store import Kept, write
for number in range(100000):
    write(Path(sys.argv[1]), Kept("ab" * 44, bytes([number % 256]) * 5000, number, None, number, "good", "u"))
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_a_whole_answer(tmp_path: Path) -> None:
    for pause in (0.25, 0.31, 0.37):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        end = time.monotonic() + 60
        while not list(tmp_path.glob("*")) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found, damaged = store.load(tmp_path)
        assert (len(found), damaged) == (1, ())
        assert all(set(kept.answer) == {kept.this_update % 256} for kept in found.values())


def test_everybody_may_read_it_whatever_the_umask_and_whoever_made_the_directory(tmp_path: Path) -> None:
    """The watch's umask is 077, a hardened root shell's too; the relay is a user of its own."""
    directory = tmp_path / "store"
    before = os.umask(0o077)
    try:
        store.write(directory, KEPT)
        assert directory.stat().st_mode & 0o7777 == 0o755
        assert all(path.stat().st_mode & 0o7777 == 0o644 for path in directory.iterdir())
        directory.chmod(0o1777)
        if os.geteuid() == 0:
            os.chown(directory, 65534, 65534)
        store.write(directory, KEPT)
    finally:
        os.umask(before)
    found = directory.stat()
    assert (found.st_mode & 0o7777, found.st_uid) == (0o755, os.geteuid())


def test_a_store_that_is_a_link_to_elsewhere_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="store"):
        store.write(tmp_path / "store", KEPT)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_store_is_an_empty_one(tmp_path: Path) -> None:
    assert store.load(tmp_path / "none") == ({}, ())
    assert not os.path.exists(tmp_path / "none")  # noqa: PTH110
